// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The classic way of counting at a context switch, to be compared with ours: a stamp for each
// thread in one LRU hash, a total for each process in another, counters read for each CPU and
// compared with their last readings, sums without atomics. Written anew from a description of what
// earlier versions of Kepler did; the time that it loses (the first slice of a process, whatever
// the LRU evicts, the task that runs at a drain) it loses here, too.
#include "../kepler.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_ANY		      0
#define MAX_CPUS	      128
#define IRQ_VECTORS	      10

static s64 (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static s64 (*const bpf_get_current_comm)(void *to, u32 size) = (void *)16;

struct counter_value {
	u64 counter;
	u64 enabled;
	u64 running;
};

struct process {
	u64 cgroup_id;
	u64 pid;
	u64 run_time_us;
	u64 cycles;
	u64 instructions;
	u64 cache_misses;
	u64 page_cache_hits;
	unsigned short softirqs[IRQ_VECTORS];
	char comm[TASK_COMM_LEN];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 32768);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct process);
} processes SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 32768);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} pid_time_map SEC(".maps");

#define COUNTER(name)                                                                              \
	struct {                                                                                   \
		MAP_NUMBER(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);                                   \
		MAP_NUMBER(max_entries, MAX_CPUS);                                                 \
		MAP_TYPE(key, int);                                                                \
		MAP_TYPE(value, u32);                                                              \
	} name##_reader SEC(".maps");                                                              \
	struct {                                                                                   \
		MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);                                              \
		MAP_NUMBER(max_entries, MAX_CPUS);                                                 \
		MAP_TYPE(key, u32);                                                                \
		MAP_TYPE(value, u64);                                                              \
	} name##_last SEC(".maps")

COUNTER(cycles);
COUNTER(instructions);
COUNTER(cache_misses);

// Whether the counters are read. Frozen by the loader, so that the verifier drops the code at 0.
const volatile int counters = 0;

inline_always u64 counted(void *reader, void *last, u32 cpu)
{
	struct counter_value now = {};
	u64 *before, delta;

	if (bpf_perf_event_read_value(reader, cpu, &now, sizeof(now)) < 0)
		return 0;
	before = bpf_map_lookup_elem(last, &cpu);
	delta = before && now.counter > *before ? now.counter - *before : 0;
	bpf_map_update_elem(last, &cpu, &now.counter, BPF_ANY);
	return delta;
}

inline_always u64 run_time_us(u32 tid, u64 now)
{
	u64 *since = bpf_map_lookup_elem(&pid_time_map, &tid);
	u64 ran = 0;

	if (since) {
		ran = now > *since ? (now - *since) / 1000 : 0;
		bpf_map_delete_elem(&pid_time_map, &tid);
	}
	return ran;
}

SEC("tp_btf/sched_switch")
int sched_switch(u64 *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	u32 tid = prev->pid, tgid = prev->tgid, next_tid = next->pid;
	u32 cpu = bpf_get_smp_processor_id();
	u64 now = bpf_ktime_get_ns(), ran;
	struct process *process, fresh = {};
	u64 cycles_ran = 0, instructions_ran = 0, misses = 0;

	if (counters) {
		cycles_ran = counted(&cycles_reader, &cycles_last, cpu);
		instructions_ran = counted(&instructions_reader, &instructions_last, cpu);
		misses = counted(&cache_misses_reader, &cache_misses_last, cpu);
	}
	ran = run_time_us(tid, now);
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (process && ran) {
		process->run_time_us += ran;
		process->cycles += cycles_ran;
		process->instructions += instructions_ran;
		process->cache_misses += misses;
	} else if (!process) {
		fresh.pid = tgid;
		fresh.cgroup_id = bpf_get_current_cgroup_id();
		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		bpf_map_update_elem(&processes, &tgid, &fresh, BPF_NOEXIST);
	}
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&pid_time_map, &next_tid, &now, BPF_ANY);
	return 0;
}
