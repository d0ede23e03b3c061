// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Hardware counters at the end of a slice. Events are open on every CPU and count whatever runs;
// the rise since the last slice belongs to the task that ran.
//
// A PMU with fewer counters than events takes turns. Then an event ran for less time than it was
// enabled; the difference is kept with the count, and user space scales the rise of each drain.
#ifndef KEPLER_COUNTERS_H
#define KEPLER_COUNTERS_H

#include "slot.h"

// Filled by user space, an event for each CPU. One map a counter, because aya makes no map of perf
// events larger than the number of CPUs, which is also what it takes an empty size for.
#define PERF_EVENTS(name)                                                                          \
	struct {                                                                                   \
		MAP_NUMBER(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);                                   \
		MAP_NUMBER(max_entries, 0);                                                        \
		MAP_NUMBER(key_size, 4);                                                           \
		MAP_NUMBER(value_size, 4);                                                         \
	} name SEC(".maps")

PERF_EVENTS(perf_events_0);
PERF_EVENTS(perf_events_1);
PERF_EVENTS(perf_events_2);
PERF_EVENTS(perf_events_3);

// include/uapi/linux/bpf.h: struct bpf_perf_event_value
struct perf_value {
	u64 counter;
	u64 enabled;
	u64 running;
};

// What one task did.
struct hardware {
	u64 enabled_ns[COUNTERS]; // time of its slices by perf's clock
	u64 count[COUNTERS];
	u64 missed_ns[COUNTERS]; // of enabled_ns, the event was waiting for its turn
};

// The last reading on a CPU.
struct readings {
	u64 enabled_ns[COUNTERS];
	u64 count[COUNTERS];
	u64 missed_ns[COUNTERS];
	u64 known; // bit by counter: there is a last reading
	u64 failed; // readings that the kernel refused, and those of events that stand still
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct readings);
} readings SEC(".maps");

// A CPU that goes offline takes its events along. When it is back they can be read as before, but
// they stand still: user space opens others where `failed` rises.
inline_always bool stands_still(
	const struct readings *last, const struct perf_value *value, const u32 which, s64 ran)
{
	return ran > 0 && last->known & 1ULL << which && value->enabled == last->enabled_ns[which];
}

inline_always void read_counter(
	struct readings *last, struct hardware *rise, void *perf_events, const u32 which, s64 ran)
{
	struct perf_value value = {};
	u64 missed;

	if (!(counters & 1U << which))
		return;
	if (bpf_perf_event_read_value(perf_events, BPF_F_CURRENT_CPU, &value, sizeof(value)) ||
		stands_still(last, &value, which, ran)) {
		// After a gap nobody knows whose the rise is.
		last->known &= ~(1ULL << which);
		last->failed++;
		return;
	}
	missed = value.enabled - value.running;
	// An event that was opened anew, because its CPU had been offline, begins at zero.
	if (last->known & 1ULL << which && value.enabled >= last->enabled_ns[which] &&
		value.counter >= last->count[which] && missed >= last->missed_ns[which]) {
		rise->enabled_ns[which] = value.enabled - last->enabled_ns[which];
		rise->count[which] = value.counter - last->count[which];
		rise->missed_ns[which] = missed - last->missed_ns[which];
	}
	last->enabled_ns[which] = value.enabled;
	last->count[which] = value.counter;
	last->missed_ns[which] = missed;
	last->known |= 1ULL << which;
}

// Takes new readings and says what was added during the slice of `ran`.
inline_always void read_counters(struct hardware *rise, s64 ran)
{
	u32 zero = 0;
	struct readings *last = bpf_map_lookup_elem(&readings, &zero);

	*rise = (struct hardware){};
	if (!last)
		return;
	read_counter(last, rise, &perf_events_0, 0, ran);
	read_counter(last, rise, &perf_events_1, 1, ran);
	read_counter(last, rise, &perf_events_2, 2, ran);
	read_counter(last, rise, &perf_events_3, 3, ran);
}

#endif
