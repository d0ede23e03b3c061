// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The end of a slice, and the rows that it is charged to.
#ifndef KEPLER_CHARGE_H
#define KEPLER_CHARGE_H

#include "counters.h"
#include "slot.h"
#include "smt.h"

#define TASK_KTHREAD 1
#define TASK_ENDED   2

// No slice is longer than a day: user space flushes every running CPU at each tick (60 s at most),
// so only a stamp that is broken can say so. An idle CPU is not flushed, and no kernel leaves one
// without a timer for a day. User space holds each drain against the time that really passed.
#define SLICE_MAX_NS (24LL * 3600 * 1000000000)

// The scheduler brings a running task's figure up to date in each of its ticks: every 1 to 10 ms,
// and each second on a CPU without ticks (nohz_full).
#define AHEAD_MAX_NS 1000000000LL

// How old a gap between the clocks may be: they drift apart by interrupts and stolen time.
#define GAP_MAX_AGE_NS 100000000

struct task_key {
	u64 started_ns; // start of the group leader (CLOCK_BOOTTIME): pids are reused
	u64 cgroup_id;
	u32 tgid;
	u32 package;
};

// What a switch needs comes first.
struct task_value {
	u64 cpu_ns;
	u64 flags;
	struct events events;
	u64 comm_stamp_ns; // when comm was read: several rows of a task may disagree
	char comm[TASK_COMM_LEN];
};

// A row that is found without hashing. User space seats processes that have lived for a while, and
// nobody else ever writes a key here; a process without a seat is in `tasks`. What a switch needs
// is in the first cache line: key, time, flags, and the two events that most slices have.
struct seat {
	struct task_key key; // tgid 0: free
	struct task_value value;
	u64 pad[2];
};

struct overflow_key {
	u64 cgroup_id;
	u32 package;
	u32 pad;
};

struct overflow_value {
	u64 cpu_ns;
	struct events events;
};

// Written by user space before the object is loaded: number of seats, a power of two, less one.
const volatile u32 seat_mask = 0;

// So that a process has seats of its own on several packages. Mirrored in src/seats.rs.
#define SEAT_STRIDE 0x2aab

// In an array the look-up is no call but some instructions, and user space reads it in place.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_NUMBER(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct seat);
} seats SEC(".maps");

// Preallocated: an allocation under the run queue's lock may fail or recurse. The loader sets the
// size.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, struct task_key);
	MAP_TYPE(value, struct task_value);
} tasks SEC(".maps");

// Cgroups of a node times its packages, when `tasks` is full: 4096 entries of 120 bytes are 480 KB.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, struct overflow_key);
	MAP_TYPE(value, struct overflow_value);
} overflow SEC(".maps");

// By the keys of `tasks`, and for rows of `overflow` by a key without a process. A map of its own,
// because most virtual machines count none of it: the loader sets the size where `counters` is set.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, struct task_key);
	MAP_TYPE(value, struct hardware);
} hardware SEC(".maps");

// Who is charged, as far as the kernel structs tell.
struct runner {
	struct task_struct *leader;
	u64 started_ns;
	u64 cgroup_id;
	u32 tgid;
	u32 flags;
};

// What there is to charge. Filled piece by piece: on this path, stores of zeros are a cost.
struct slice {
	s64 ran_ns; // without softirqs; negative to take back what a flush had charged too much
	struct events events;
	struct hardware hardware;
};

// Time that softirqs took out of a slice of `ran`. `open` is the time of the one that a flush came
// in the middle of. What does not fit waits for the next slice.
inline_always s64 softirq_share(struct slot *slot, u64 open, s64 ran)
{
	s64 taken = slot->softirq_total_ns + open - slot->softirq_seen_ns;

	if (taken <= 0 || ran <= 0)
		return 0;
	if (taken > ran)
		taken = ran;
	slot->softirq_seen_ns += taken;
	slot->softirq_ns += taken;
	return taken;
}

// Only a kernel that preempts softirqs (PREEMPT_RT) switches inside of one. What comes after the
// switch is not the softirq's.
inline_always void leave_softirq(struct slot *slot)
{
	if (slot->softirq_since) {
		slot->softirq_total_ns += bpf_ktime_get_ns() - slot->softirq_since;
		slot->softirq_since = 0;
	}
}

inline_always s64 plausible(struct slot *slot, s64 ran, s64 least)
{
	if (ran >= least && ran <= SLICE_MAX_NS)
		return ran;
	slot->implausible++;
	return 0;
}

// The slice of the idle task, which is `task`, up to `queue_ns`, the run queue's clock. The one
// that ran when we came began by the other clock: it says `now`.
inline_always s64 idle_slice(struct slot *slot, u64 task, u64 queue_ns, u64 now)
{
	u64 since = slot->idle_since;

	slot->idle_since = 0;
	barrier();
	if (!slot->task) {
		if (!since)
			slot->softirq_seen_ns = slot->softirq_total_ns;
		return since ? plausible(slot, now - since, 0) : 0;
	}
	// A switch into idle went by without us, and nobody knows when: some of this may be the
	// time of a task that is gone, which must not be looked at.
	if (slot->task != task)
		slot->unseen++;
	return plausible(slot, queue_ns - slot->queue_ns, -(s64)slot->ahead_ns);
}

// The slice of `task`, whose time so far is `total_ns`, up to `queue_ns`.
inline_always s64 task_slice(struct slot *slot, u64 task, u64 total_ns, u64 queue_ns)
{
	s64 ran = total_ns - slot->charged_ns;

	if (slot->task == task)
		return plausible(slot, ran, -(s64)slot->ahead_ns);
	// Whatever ran when we came began at a time nobody knows, and so did the softirqs so far.
	if (!slot->task) {
		slot->softirq_seen_ns = slot->softirq_total_ns;
		return 0;
	}
	// A switch went by without us. What we know is the time since the last one that did not, or
	// since a flush, which may have been ahead of the scheduler.
	slot->unseen++;
	ran = plausible(slot, queue_ns - slot->queue_ns, -(s64)slot->ahead_ns);
	if (slot->idle_since) {
		slot->idle_since = 0;
		barrier();
		slot->idle_ns += ran;
		return 0;
	}
	return ran;
}

// Begins the slice of `task`, of whose time `charged_ns` is charged up to `queue_ns`; `ahead_ns` of
// that the scheduler has still to charge.
inline_always void begin_slice(
	struct slot *slot, u64 task, u64 charged_ns, u64 ahead_ns, u64 queue_ns)
{
	slot->task = task;
	slot->charged_ns = charged_ns;
	slot->ahead_ns = ahead_ns;
	slot->queue_ns = queue_ns;
}

inline_always void read_comm(struct task_value *value, struct task_struct *leader, u64 stamp)
{
	bpf_probe_read_kernel(value->comm, sizeof(value->comm), leader->comm);
	value->comm_stamp_ns = stamp;
}

// Reads the total once: in a flush on the caller's own CPU a softirq may come at any point.
inline_always void take_event(u64 *rise, const volatile u64 *happened, u64 *seen)
{
	u64 total = *happened;

	*rise = total - *seen;
	*seen = total;
}

// Counted events become the task's that is on the CPU. Seldom: most slices have none.
inline_always void collect_events(struct slot *slot, struct events *events)
{
	slot->events_seen = slot->events;
	barrier();
	take_event(&events->page_cache, &slot->happened.page_cache, &slot->seen.page_cache);
	take_event(&events->net_tx, &slot->happened.net_tx, &slot->seen.net_tx);
	take_event(&events->net_rx, &slot->happened.net_rx, &slot->seen.net_rx);
	take_event(&events->block, &slot->happened.block, &slot->seen.block);
}

inline_always void charge_idle(struct slot *slot, struct slice *slice)
{
	slot->idle_ns += slice->ran_ns;
	if (slot->events == slot->events_seen)
		return;
	collect_events(slot, &slice->events);
	slot->idled.net_tx += slice->events.net_tx;
	slot->idled.net_rx += slice->events.net_rx;
	slot->idled.block += slice->events.block;
}

// Rows are shared by all CPUs of a package, so everything is added atomically.
inline_always void add_slice(
	u64 *cpu_ns, struct events *to, const struct slice *slice, bool collected)
{
	__sync_fetch_and_add(cpu_ns, slice->ran_ns);
	if (slice->events.switches)
		__sync_fetch_and_add(&to->switches, 1);
	if (smt && slice->events.smt_ns)
		__sync_fetch_and_add(&to->smt_ns, slice->events.smt_ns);
	if (!collected)
		return;
	__sync_fetch_and_add(&to->page_cache, slice->events.page_cache);
	__sync_fetch_and_add(&to->net_tx, slice->events.net_tx);
	__sync_fetch_and_add(&to->net_rx, slice->events.net_rx);
	__sync_fetch_and_add(&to->block, slice->events.block);
}

inline_always void add_hardware(
	struct slot *slot, const struct task_key *key, const struct hardware *rise)
{
	struct hardware fresh = {};
	struct hardware *row = bpf_map_lookup_elem(&hardware, key);

	if (!row) {
		bpf_map_update_elem(&hardware, key, &fresh, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&hardware, key);
	}
	if (!row) {
		slot->counters_full++;
		return;
	}
#pragma unroll
	for (u32 i = 0; i < COUNTERS; i++) {
		if (!(counters & 1U << i))
			continue;
		__sync_fetch_and_add(&row->enabled_ns[i], rise->enabled_ns[i]);
		__sync_fetch_and_add(&row->count[i], rise->count[i]);
		if (rise->missed_ns[i])
			__sync_fetch_and_add(&row->missed_ns[i], rise->missed_ns[i]);
	}
}

// `tasks` is full: the time keeps its cgroup, or at least its CPU.
inline_always void charge_overflow(
	struct slot *slot, u64 cgroup_id, const struct slice *slice, bool collected)
{
	struct overflow_key key = {.cgroup_id = cgroup_id, .package = slot->package};
	struct task_key nobody = {.cgroup_id = cgroup_id, .package = slot->package};
	struct overflow_value fresh = {};
	struct overflow_value *value;

	slot->map_full++;
	value = bpf_map_lookup_elem(&overflow, &key);
	if (!value) {
		bpf_map_update_elem(&overflow, &key, &fresh, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&overflow, &key);
	}
	if (!value) {
		slot->overflow_full++;
		slot->unplaced_ns += slice->ran_ns;
		return;
	}
	add_slice(&value->cpu_ns, &value->events, slice, collected);
	if (counters)
		add_hardware(slot, &nobody, &slice->hardware);
}

inline_always struct task_value *new_entry(const struct task_key *key, const struct runner *runner)
{
	struct task_value fresh = {.flags = runner->flags};

	read_comm(&fresh, runner->leader, bpf_ktime_get_ns());
	// Another CPU may be faster, then its entry is as good.
	bpf_map_update_elem(&tasks, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tasks, key);
}

// The row of `key` among the seats, or among those that have none.
inline_always struct task_value *find_row(const struct task_key *key)
{
	u32 at = (key->tgid + key->package * SEAT_STRIDE) & seat_mask;
	struct seat *seat = bpf_map_lookup_elem(&seats, &at);

	if (seat && seat->key.tgid == key->tgid && seat->key.started_ns == key->started_ns &&
		seat->key.cgroup_id == key->cgroup_id && seat->key.package == key->package)
		return &seat->value;
	return bpf_map_lookup_elem(&tasks, key);
}

// Charges the slice that has ended to the current task, which is not idle. `renew_comm` is for
// callers that are rare.
inline_always void charge(
	struct slot *slot, const struct runner *runner, struct slice *slice, const bool renew_comm)
{
	struct task_key key = {
		.started_ns = runner->started_ns,
		.cgroup_id = runner->cgroup_id,
		.tgid = runner->tgid,
		.package = slot->package,
	};
	bool collected = slot->events != slot->events_seen;
	struct task_value *value;

	slot->busy_ns += slice->ran_ns;
	if (collected)
		collect_events(slot, &slice->events);
	value = find_row(&key);
	if (!value)
		value = new_entry(&key, runner);
	if (!value) {
		charge_overflow(slot, key.cgroup_id, slice, collected);
		return;
	}
	add_slice(&value->cpu_ns, &value->events, slice, collected);
	if (counters)
		add_hardware(slot, &key, &slice->hardware);

	// The last switch of every thread passes here with PF_EXITING, so the mark needs no hook of
	// its own and is on an entry that the dead task's last slice creates, too. Bits are only
	// ever set, so a plain store will do.
	if (runner->flags & TASK_ENDED && !(value->flags & TASK_ENDED)) {
		read_comm(value, runner->leader, bpf_ktime_get_ns());
		value->flags |= TASK_ENDED;
	} else if (renew_comm) {
		read_comm(value, runner->leader, bpf_ktime_get_ns());
	}
}

#endif
