// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Softirqs by vector, and pages of the page cache. A softirq runs on top of whoever has the CPU,
// mostly for somebody else: its time is taken out of that slice and kept by vector. How often it
// hit whom is counted, too, as Kepler always did.
#ifndef KEPLER_SOFTIRQ_H
#define KEPLER_SOFTIRQ_H

#include "slot.h"

// The kernel has ten vectors (include/linux/interrupt.h); 16, so that `& 15` is all the bounds
// check that any verifier wants.
#define VECTORS	       16
#define NET_TX_SOFTIRQ 2
#define NET_RX_SOFTIRQ 3
#define BLOCK_SOFTIRQ  4

struct softirqs {
	u64 count[VECTORS];
	u64 ns[VECTORS];
	u64 unmeasured; // ended somewhere else than they began: a kernel that preempts softirqs
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct softirqs);
} softirqs SEC(".maps");

SEC("tp_btf/softirq_entry")
int softirq_entry(u64 *ctx)
{
	u32 vector = ctx[0];
	struct slot *slot = this_slot();

	if (!slot)
		return 0;
	slot->softirq_since = bpf_ktime_get_ns();
	if (vector == NET_TX_SOFTIRQ)
		slot->happened.net_tx++;
	else if (vector == NET_RX_SOFTIRQ)
		slot->happened.net_rx++;
	else if (vector == BLOCK_SOFTIRQ)
		slot->happened.block++;
	else
		return 0;
	// A page may be counted by somebody that this softirq interrupts.
	__sync_fetch_and_add(&slot->events, 1);
	return 0;
}

SEC("tp_btf/softirq_exit")
int softirq_exit(u64 *ctx)
{
	u64 vector = ctx[0] & (VECTORS - 1);
	struct slot *slot = this_slot();
	u32 zero = 0;
	struct softirqs *all = bpf_map_lookup_elem(&softirqs, &zero);
	u64 since, ran;

	if (!slot || !all)
		return 0;
	all->count[vector]++;
	since = slot->softirq_since;
	if (!since) {
		all->unmeasured++;
		return 0;
	}
	ran = bpf_ktime_get_ns() - since;
	// In this order: a flush between the two finds too little, and the next slice has it.
	slot->softirq_since = 0;
	barrier();
	if (ran <= SLICE_MAX_NS) {
		slot->softirq_total_ns += ran;
		all->ns[vector] += ran;
	}
	return 0;
}

inline_always int count_page(void)
{
	struct slot *slot = this_slot();

	if (!slot)
		return 0;
	// Two programs count pages, and either may be preempted by the other.
	__sync_fetch_and_add(&slot->happened.page_cache, 1);
	__sync_fetch_and_add(&slot->events, 1);
	return 0;
}

#endif
