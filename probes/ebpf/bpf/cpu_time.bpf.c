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

#define PROBE(field)                                                                               \
	({                                                                                         \
		__typeof__(field) copy = 0;                                                        \
		bpf_probe_read_kernel(&copy, sizeof(copy), &(field));                              \
		copy;                                                                              \
	})

// Whether the scheduler's figures are without the time of interrupts and softirqs already. The time
// of ksoftirqd is never taken out of it there.
inline_always bool without_interrupts(struct task_struct *task)
{
	struct cfs_rq *queue;
	struct rq *rq;

	if (!FIELD_EXISTS(((struct sched_entity *)0)->cfs_rq) ||
		!FIELD_EXISTS(((struct rq *)0)->prev_irq_time))
		return 0;
	queue = PROBE(task->se.cfs_rq);
	rq = PROBE(queue->rq);
	return PROBE(rq->prev_irq_time) != 0;
}

inline_always bool is_ksoftirqd(struct task_struct *task)
{
	char comm[4] = {};

	bpf_probe_read_kernel(comm, sizeof(comm), task->comm);
	return comm[0] == 'k' && comm[1] == 's' && comm[2] == 'o' && comm[3] == 'f';
}

// Softirqs that ran on top of `task` are not its own.
inline_always s64 without_softirqs(struct slot *slot, struct task_struct *task, u64 open, s64 ran)
{
	s64 taken;

	if (slot->softirq_total_ns + open == slot->softirq_seen_ns)
		return ran;
	taken = softirq_share(slot, open, ran);
	if (without_interrupts(task) && !is_ksoftirqd(task))
		return ran;
	return ran - taken;
}

// What was counted during a slice of `ran`, beside its softirqs.
inline_always void count_slice(
	struct slot *slot, struct slice *slice, s64 ran, bool was_idle, bool will_idle)
{
	if (counters)
		read_counters(&slice->hardware, ran);
	if (smt)
		slice->events.smt_ns = sibling_overlap(slot, ran, was_idle, will_idle);
}

// Measures how far CLOCK_MONOTONIC is ahead of the run queue's clock, when that is due. Not on the
// way into idle, where the scheduler may have looked for work elsewhere since it stopped its clock.
inline_always u64 keep_gap(struct slot *slot, u64 queue_ns, bool will_idle)
{
	u64 now;

	if (slot->gap_at && (will_idle || queue_ns - slot->gap_at < GAP_MAX_AGE_NS))
		return 0;
	now = bpf_ktime_get_ns();
	slot->clock_gap = now - queue_ns;
	slot->gap_at = queue_ns;
	return now;
}

// At this tracepoint `current` still is `prev`, interrupts are off, and the task pointers may be
// read directly. The scheduler has just brought both tasks' figures up to date (put_prev_task and
// set_next_task of each class), so `exec_start` is the run queue's clock of now; only the idle
// task has none.
SEC("tp_btf/sched_switch")
int sched_switch(u64 *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	struct slot *slot = this_slot();
	bool was_idle = prev->pid == 0, will_idle = next->pid == 0;
	struct slice slice;
	struct runner runner;
	u64 queue_ns, now;
	s64 ran;
	u32 flags;

	if (!slot)
		return 0;
	leave_softirq(slot);
	queue_ns = was_idle ? next->se.exec_start : prev->se.exec_start;
	now = keep_gap(slot, queue_ns, will_idle);
	if (was_idle)
		ran = idle_slice(slot, (u64)prev, queue_ns, now);
	else
		ran = task_slice(slot, (u64)prev, prev->se.sum_exec_runtime, queue_ns);
	begin_slice(slot, (u64)next, next->se.sum_exec_runtime, 0, queue_ns);
	if (will_idle)
		slot->idle_since = queue_ns + slot->clock_gap;
	slice.events.switches = 1;
	count_slice(slot, &slice, ran, was_idle, will_idle);
	slice.ran_ns = without_softirqs(slot, prev, 0, ran);
	if (was_idle) {
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

// How far the task that runs is ahead of the scheduler's figure: what the run queue's clock should
// say now, less what it said when the figure was last brought up to date. Stolen time since the gap
// was measured is in it; what is too much is taken back at the next switch.
inline_always s64 ahead_of_scheduler(struct slot *slot, u64 now, u64 exec_start)
{
	s64 ahead = now - slot->clock_gap - exec_start;

	if (!slot->gap_at || ahead < 0)
		return 0;
	return ahead < AHEAD_MAX_NS ? ahead : AHEAD_MAX_NS;
}

// Charges the task that runs on this CPU, up to now. Attached to nothing: user space runs it on a
// CPU of its choice (BPF_PROG_TEST_RUN), there it is called from the interrupt that carries the
// request, or, on the caller's own CPU, with preemption disabled. So no switch can come between,
// and it never interrupts `sched_switch`. An idle CPU is charged at its next switch.
SEC("raw_tp/flush")
int flush(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct slot *slot = this_slot();
	u64 now = bpf_ktime_get_ns();
	struct signal_struct *signal;
	struct slice slice;
	struct runner runner;
	u64 open, total_ns, queue_ns;
	s64 ran, ahead;
	u32 flags;

	if (!slot)
		return 0;
	if (PROBE(task->pid) == 0) {
		if (!slot->task && !slot->idle_since)
			slot->softirq_seen_ns = slot->softirq_total_ns;
		if (!slot->idle_since)
			slot->idle_since = now;
		return 0;
	}
	// In this order: another CPU may bring both up to date in between (whoever reads a task's
	// time), and what is too little now is charged at the next switch.
	total_ns = PROBE(task->se.sum_exec_runtime);
	barrier();
	queue_ns = PROBE(task->se.exec_start);
	ahead = ahead_of_scheduler(slot, now, queue_ns);
	total_ns += ahead;
	queue_ns += ahead;
	ran = task_slice(slot, (u64)task, total_ns, queue_ns);
	begin_slice(slot, (u64)task, total_ns, ahead, queue_ns);
	slice.events.switches = 0;
	count_slice(slot, &slice, ran, 0, 0);
	open = slot->softirq_since ? now - slot->softirq_since : 0;
	slice.ran_ns = without_softirqs(slot, task, open, ran);

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

// Tells the CPU that it runs on its package: of one that came online after user space had written
// the slots. Attached to nothing; run as `flush` is, so it interrupts no program that charges, and
// nobody else writes this word. (User space could only write the slot as a whole.)
SEC("raw_tp/place")
int place(u64 *ctx)
{
	struct slot *slot = this_slot();

	if (slot)
		slot->package = ctx[0];
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
	value = find_row(&key);
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
