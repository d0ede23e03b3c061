// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The slot of a CPU: since when its present slice runs, and what happened in it. The structs are
// mirrored in src/abi.rs.
//
// Who writes what, so that no two writers meet: the programs that end a slice (`sched_switch` with
// interrupts off, `flush` inside an interrupt or with preemption off) never interrupt each other;
// they may interrupt the programs that count events. So events are totals that only the counting
// programs write, and the slice enders keep what they have seen of them beside it.
#ifndef KEPLER_SLOT_H
#define KEPLER_SLOT_H

#include "kepler.h"

// Hardware counters, by their bit in `counters` and their place in every array of counters.
#define COUNTERS 4

// Written by user space before the object is loaded; the verifier removes the code behind a flag
// that is 0.
const volatile u32 counters = 0; // which hardware counters are open on every CPU
const volatile u32 smt = 0; // whether cores have two hardware threads

// What is counted beside time. Totals.
struct events {
	u64 switches;
	u64 smt_ns; // time during which the sibling hardware thread was busy too
	u64 page_cache;
	u64 net_tx;
	u64 net_rx;
	u64 block;
};

// All time is the scheduler's own: what it charged to a task (`sum_exec_runtime`, the figure that
// cgroups and schedstat show) and, for idle, the run queue's clock by which it did. So tasks and
// idle leave no gap, stolen time is nobody's, and no clock has to be read at each switch. User
// space cannot read that clock; what CLOCK_MONOTONIC is ahead of it is measured now and then.
//
// User space reads a slot while its CPU may be writing it. The kernel copies it word by word from
// the front, `idle_since` is the last word, and writers store it first: so a mixed copy may miss an
// idle slice (the next one has it), but never holds it both as charged and as still running.
struct slot {
	u64 unplaced_ns; // busy time that found no room in either hash
	u64 map_full; // slices that went to `overflow` because `tasks` was full
	u64 overflow_full; // slices that went to unplaced_ns because `overflow` was full too
	u64 implausible; // slices refused: negative, or longer than SLICE_MAX_NS
	u64 unseen; // slices before which a switch went by without us
	u64 counters_full; // slices whose hardware counts found no room
	u64 clock_since; // CLOCK_MONOTONIC of the last end of a slice; kept for the sibling only
	u64 clock_busy_ns; // time by the clock that anything but idle ran, for the sibling
	u64 sibling_busy_ns; // the sibling's clock_busy_ns when the present slice began
	struct events happened; // of these only the last four are used
	struct events seen; // of `happened`, charged already
	u64 events; // how often anything in `happened` was counted
	u64 events_seen;
	struct events idled; // of `happened`, while nobody ran
	u32 package; // written by user space before anything is attached, and by `place`
	u32 sibling; // written by user space: number of the sibling + 1, or 0
	u64 softirq_total_ns; // in softirqs that have ended
	u64 softirq_since; // CLOCK_MONOTONIC; 0 outside
	u64 softirq_seen_ns; // of both, taken out of a slice already
	u64 softirq_ns; // taken out of slices, of tasks and idle alike
	u64 task; // address of the task_struct that runs; 0: not known yet
	u64 charged_ns; // of its sum_exec_runtime, charged already
	u64 ahead_ns; // of charged_ns, what the scheduler had not charged yet
	u64 queue_ns; // the run queue's clock, up to which this CPU is charged
	u64 clock_gap; // CLOCK_MONOTONIC less the run queue's clock
	u64 gap_at; // run queue's clock when it was measured; 0: not yet
	u64 busy_ns; // time of tasks, without softirqs
	u64 idle_ns; // time of the idle task, without softirqs
	u64 idle_since; // CLOCK_MONOTONIC; 0: a task runs, or not known yet
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct slot);
} slots SEC(".maps");

inline_always struct slot *this_slot(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&slots, &zero);
}

#endif
