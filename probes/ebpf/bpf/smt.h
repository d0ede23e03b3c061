// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How long the two hardware threads of a core were busy at the same time. Each CPU publishes one
// word; its sibling reads it at the end of its own slices.
#ifndef KEPLER_SMT_H
#define KEPLER_SMT_H

#include "slot.h"

// One word says all, so that a reader on the other CPU never sees half of a change. While busy:
// (now - busy time so far) << 1 | 1, whose busy time grows with the clock. While idle: busy time
// << 1. A cache line each.
struct busy_word {
	u64 word;
	u64 pad[7];
};

// The loader sets the size to the number of possible CPUs where `smt` is set.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct busy_word);
} busy_words SEC(".maps");

inline_always volatile u64 *busy_word_of(u32 cpu)
{
	struct busy_word *entry = bpf_map_lookup_elem(&busy_words, &cpu);

	return entry ? &entry->word : (void *)0;
}

// Called at the end of a slice of `ran`. By CLOCK_MONOTONIC: run queues have clocks of their own.
// Returns how much of it the sibling was busy.
// Its readings telescope: what one misses by some nanoseconds the next one has, and what one had
// too much of, because a switch over there went unseen, later ones pay back.
inline_always u64 sibling_overlap(struct slot *slot, s64 ran, bool was_idle, bool will_idle)
{
	u64 now = bpf_ktime_get_ns();
	u32 cpu = bpf_get_smp_processor_id();
	volatile u64 *own = busy_word_of(cpu);
	volatile u64 *other;
	u64 word, busy, overlap;

	if (!was_idle && slot->clock_since)
		slot->clock_busy_ns += now - slot->clock_since;
	slot->clock_since = now;
	if (own)
		*own = will_idle ? slot->clock_busy_ns << 1 : (now - slot->clock_busy_ns) << 1 | 1;

	if (!slot->sibling)
		return 0;
	other = busy_word_of(slot->sibling - 1);
	if (!other)
		return 0;
	word = *other;
	busy = word & 1 ? now - (word >> 1) : word >> 1;
	overlap = busy - slot->sibling_busy_ns;
	// It switched between our reading of the clock and of its word.
	if ((s64)overlap < 0)
		return 0;
	slot->sibling_busy_ns = busy;
	if (ran <= 0)
		return 0;
	return overlap < (u64)ran ? overlap : (u64)ran;
}

#endif
