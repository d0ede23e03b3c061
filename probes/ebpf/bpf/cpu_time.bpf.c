// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who ran on which CPU for how long, and what else was counted meanwhile. Each CPU has a slot that
// knows since when its present slice runs; whoever ends a slice (a context switch, or user space
// through `flush`) charges it to the task that ran. Only running totals are kept; nothing is
// streamed. The structs of these files are mirrored in src/abi.rs.
//
// One object, because the programs share the slots and aya cannot give one object the maps of
// another without bpffs. It costs nobody anything: its maps are of types that every kernel with BTF
// has, and each program but `sched_switch` and `flush` is optional on its own.
#include "charge.h"
#include "softirq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// At this tracepoint `current` still is `prev`, interrupts are off, and the task pointers may be
// read directly.
SEC("tp_btf/sched_switch")
int sched_switch(u64 *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	struct slot *slot = this_slot();
	struct slice slice;
	struct runner runner;
	u32 flags;

	if (!slot)
		return 0;
	leave_softirq(slot);
	end_slice(slot, &slice, prev->pid == 0, next->pid == 0, 1);
	if (prev->pid == 0) {
		charge_idle(slot, &slice);
		return 0;
	}

	flags = prev->flags;
	runner.leader = prev->group_leader;
	runner.started_ns = runner.leader->start_boottime;
	// What bpf_get_current_cgroup_id would say, without the call: 40 ns of 170 here.
	runner.cgroup_id = prev->cgroups->dfl_cgrp->kn->id;
	runner.tgid = prev->tgid;
	runner.flags = flags & PF_KTHREAD ? TASK_KTHREAD : 0;
	if (flags & PF_EXITING && prev->signal->live.counter == 0)
		runner.flags |= TASK_ENDED;
	charge(slot, &runner, &slice, 0);
	return 0;
}

#define PROBE(field)                                                                               \
	({                                                                                         \
		__typeof__(field) copy = 0;                                                        \
		bpf_probe_read_kernel(&copy, sizeof(copy), &(field));                              \
		copy;                                                                              \
	})

// Charges the task that runs on this CPU, up to now. Attached to nothing: user space runs it on a
// CPU of its choice (BPF_PROG_TEST_RUN), there it is called from the interrupt that carries the
// request, or, on the caller's own CPU, with preemption disabled. So no switch can come between,
// and it never interrupts `sched_switch`.
SEC("raw_tp/flush")
int flush(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct slot *slot = this_slot();
	struct signal_struct *signal;
	struct slice slice;
	struct runner runner;
	u32 flags;
	u64 idle;

	if (!slot)
		return 0;
	idle = PROBE(task->pid) == 0;
	end_slice(slot, &slice, idle, idle, 0);
	if (idle) {
		charge_idle(slot, &slice);
		return 0;
	}

	flags = PROBE(task->flags);
	signal = PROBE(task->signal);
	runner.leader = PROBE(task->group_leader);
	runner.started_ns = PROBE(runner.leader->start_boottime);
	runner.cgroup_id = bpf_get_current_cgroup_id();
	runner.tgid = PROBE(task->tgid);
	runner.flags = flags & PF_KTHREAD ? TASK_KTHREAD : 0;
	if (flags & PF_EXITING && PROBE(signal->live.counter) == 0)
		runner.flags |= TASK_ENDED;
	charge(slot, &runner, &slice, 1);
	return 0;
}

// A command gets its name at exec and by prctl(PR_SET_NAME), both through this tracepoint and
// before the name is in its place. Without this hook a name is as old as the row that holds it,
// until a flush or the end of the task. There is nothing to charge: exec keeps the thread group and
// its start, so the time before and after has one key.
SEC("tp_btf/task_rename")
int task_rename(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct slot *slot = this_slot();
	struct task_key key = {};
	struct task_value *value;

	// Rows carry the name of the leader. Somebody else's row cannot be told from here: the
	// cgroup is current's.
	if (!slot || task->group_leader != task ||
		task != (struct task_struct *)bpf_get_current_task())
		return 0;
	key.started_ns = task->start_boottime;
	key.cgroup_id = bpf_get_current_cgroup_id();
	key.tgid = task->tgid;
	key.package = slot->package;
	value = bpf_map_lookup_elem(&tasks, &key);
	if (value) {
		bpf_probe_read_kernel(value->comm, sizeof(value->comm), (void *)ctx[1]);
		value->comm_stamp_ns = bpf_ktime_get_ns();
	}
	return 0;
}

// A page was found in the page cache. Attached to folio_mark_accessed, or mark_page_accessed before
// Linux 5.16.
SEC("fentry/folio_mark_accessed")
int page_accessed(void)
{
	return count_page();
}

// A page was dirtied there. Attached to writeback_dirty_folio, or writeback_dirty_page before 5.18.
SEC("tp_btf/writeback_dirty_folio")
int page_dirtied(void)
{
	return count_page();
}
