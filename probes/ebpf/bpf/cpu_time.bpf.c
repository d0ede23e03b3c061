// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who ran on which CPU for how long. Each CPU has a slot that knows since when its present slice
// runs; whoever ends a slice (a context switch, or user space through `flush`) charges it to the
// task that ran. Only running totals are kept; nothing is streamed. The structs below are mirrored
// in src/abi.rs.
#include "kepler.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TASK_KTHREAD 1
#define TASK_ENDED   2

// No slice is longer than a day: user space flushes every running CPU at each tick (60 s at most),
// so only a stamp that is broken can say so. An idle CPU is not flushed, and no kernel leaves one
// without a timer for a day.
#define SLICE_MAX_NS (24ULL * 3600 * 1000000000)

struct task_key {
	u64 started_ns; // start of the group leader (CLOCK_BOOTTIME): pids are reused
	u64 cgroup_id;
	u32 tgid;
	u32 package;
};

struct task_value {
	u64 cpu_ns;
	u64 comm_stamp_ns; // when comm was read: several rows of a task may disagree
	u32 flags;
	u32 pad;
	char comm[TASK_COMM_LEN];
};

struct overflow_key {
	u64 cgroup_id;
	u32 package;
	u32 pad;
};

struct overflow_value {
	u64 cpu_ns;
};

// User space reads a slot while its CPU may be writing it. The kernel copies it word by word from
// the front, `since` is the last word, and writers store it first: so a mixed copy may miss a slice
// (the next one has it), but never holds a slice both as charged and as still running.
struct slot {
	u64 busy_ns;
	u64 idle_ns;
	u64 unplaced_ns; // busy time that found no room in either hash
	u64 map_full; // slices that went to `overflow` because `tasks` was full
	u64 overflow_full; // slices that went to unplaced_ns because `overflow` was full too
	u64 implausible; // slices refused: negative, or longer than SLICE_MAX_NS
	u32 package; // written by user space before anything is attached
	u32 idle; // the idle task runs
	u64 since; // CLOCK_MONOTONIC; 0: not known yet
};

// Preallocated: an allocation under the run queue's lock may fail or recurse. The loader sets the
// size.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, struct task_key);
	MAP_TYPE(value, struct task_value);
} tasks SEC(".maps");

// Cgroups of a node times its packages, when `tasks` is full: 4096 entries of 72 bytes are 300 KB.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, struct overflow_key);
	MAP_TYPE(value, struct overflow_value);
} overflow SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct slot);
} slots SEC(".maps");

// Who is charged, as far as the kernel structs tell.
struct runner {
	struct task_struct *leader;
	u64 started_ns;
	u32 tgid;
	u32 flags;
};

inline_always struct slot *this_slot(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&slots, &zero);
}

// Ends the slice that runs on this CPU and begins the next one. Returns what there is to charge, in
// nanoseconds.
inline_always u64 end_slice(struct slot *slot)
{
	u64 now = bpf_ktime_get_ns();
	u64 since = slot->since;
	u64 ran = now - since;

	if (!since) {
		// Whatever runs began at a time nobody knows.
		ran = 0;
	} else if (ran > SLICE_MAX_NS) {
		slot->implausible++;
		// A start ahead of now: time up to it is charged already, so it stays.
		if ((s64)ran < 0)
			return 0;
		ran = 0;
	}
	slot->since = now;
	barrier();
	return ran;
}

inline_always void read_comm(struct task_value *value, struct task_struct *leader, u64 stamp)
{
	bpf_probe_read_kernel(value->comm, sizeof(value->comm), leader->comm);
	value->comm_stamp_ns = stamp;
}

// `tasks` is full: the time keeps its cgroup, or at least its CPU.
inline_always void charge_overflow(struct slot *slot, u64 cgroup_id, u64 ran)
{
	struct overflow_key key = {.cgroup_id = cgroup_id, .package = slot->package};
	struct overflow_value fresh = {};
	struct overflow_value *value;

	slot->map_full++;
	value = bpf_map_lookup_elem(&overflow, &key);
	if (!value) {
		bpf_map_update_elem(&overflow, &key, &fresh, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&overflow, &key);
	}
	if (value) {
		__sync_fetch_and_add(&value->cpu_ns, ran);
	} else {
		slot->overflow_full++;
		slot->unplaced_ns += ran;
	}
}

inline_always struct task_value *new_entry(
	const struct task_key *key, const struct runner *runner, u64 now)
{
	struct task_value fresh = {.flags = runner->flags};

	read_comm(&fresh, runner->leader, now);
	// Another CPU may be faster, then its entry is as good.
	bpf_map_update_elem(&tasks, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tasks, key);
}

// Charges the present slice to the current task, which is not idle. `renew_comm` is for callers
// that are rare.
inline_always void charge(
	struct slot *slot, const struct runner *runner, u64 ran, const bool renew_comm)
{
	struct task_key key = {
		.started_ns = runner->started_ns,
		.cgroup_id = bpf_get_current_cgroup_id(),
		.tgid = runner->tgid,
		.package = slot->package,
	};
	struct task_value *value;

	slot->busy_ns += ran;
	value = bpf_map_lookup_elem(&tasks, &key);
	if (!value)
		value = new_entry(&key, runner, slot->since);
	if (!value) {
		charge_overflow(slot, key.cgroup_id, ran);
		return;
	}
	__sync_fetch_and_add(&value->cpu_ns, ran);

	// The last switch of every thread passes here with PF_EXITING, so the mark needs no hook of
	// its own and is on an entry that the dead task's last slice creates, too. Bits are only
	// ever set, so a plain store will do.
	if (runner->flags & TASK_ENDED && !(value->flags & TASK_ENDED)) {
		read_comm(value, runner->leader, slot->since);
		value->flags |= TASK_ENDED;
	} else if (renew_comm) {
		read_comm(value, runner->leader, slot->since);
	}
}

// At this tracepoint `current` still is `prev`, interrupts are off, and the task pointers may be
// read directly.
SEC("tp_btf/sched_switch")
int sched_switch(u64 *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	struct slot *slot = this_slot();
	struct runner runner;
	u32 flags;
	u64 ran;

	if (!slot)
		return 0;
	ran = end_slice(slot);
	slot->idle = next->pid == 0;
	if (prev->pid == 0) {
		slot->idle_ns += ran;
		return 0;
	}

	flags = prev->flags;
	runner.leader = prev->group_leader;
	runner.started_ns = runner.leader->start_boottime;
	runner.tgid = prev->tgid;
	runner.flags = flags & PF_KTHREAD ? TASK_KTHREAD : 0;
	if (flags & PF_EXITING && prev->signal->live.counter == 0)
		runner.flags |= TASK_ENDED;
	charge(slot, &runner, ran, 0);
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
	struct runner runner;
	u32 flags;
	u64 ran;

	if (!slot)
		return 0;
	ran = end_slice(slot);
	slot->idle = PROBE(task->pid) == 0;
	if (slot->idle) {
		slot->idle_ns += ran;
		return 0;
	}

	flags = PROBE(task->flags);
	signal = PROBE(task->signal);
	runner.leader = PROBE(task->group_leader);
	runner.started_ns = PROBE(runner.leader->start_boottime);
	runner.tgid = PROBE(task->tgid);
	runner.flags = flags & PF_KTHREAD ? TASK_KTHREAD : 0;
	if (flags & PF_EXITING && PROBE(signal->live.counter) == 0)
		runner.flags |= TASK_ENDED;
	charge(slot, &runner, ran, 1);
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
