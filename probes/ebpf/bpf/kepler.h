// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What every program here needs from the kernel, declared by hand: no vmlinux.h, no libbpf headers.
// The structs list only the fields that are read; clang records each access (CO-RE) and the loader
// puts the running kernel's offsets in.
#ifndef KEPLER_H
#define KEPLER_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;
typedef _Bool bool;

#define SEC(name)     __attribute__((section(name), used))
#define inline_always static inline __attribute__((always_inline))

// How a map is described in BTF: numbers as array lengths, types as pointers (kernel:
// Documentation/bpf/btf.rst).
#define MAP_NUMBER(name, number) int(*name)[number]
#define MAP_TYPE(name, type)	 __typeof__(type) *name

// Keeps the compiler from moving memory accesses across it.
#define barrier() __asm__ volatile("" ::: "memory")

// include/uapi/linux/bpf.h: enum bpf_map_type.
#define BPF_MAP_TYPE_HASH	      1
#define BPF_MAP_TYPE_ARRAY	      2
#define BPF_MAP_TYPE_PERF_EVENT_ARRAY 4
#define BPF_MAP_TYPE_PERCPU_ARRAY     6
// Flag of a map: user space may map it into its memory.
#define BPF_F_MMAPABLE 1024
// Index of bpf_perf_event_read_value: the element of this CPU.
#define BPF_F_CURRENT_CPU 0xffffffffULL
// Flag of bpf_map_update_elem: create only.
#define BPF_NOEXIST 1

struct seq_file;

// Helpers by their number in include/uapi/linux/bpf.h.
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static s64 (*const bpf_map_update_elem)(
	void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*const bpf_get_current_task)(void) = (void *)35;
static s64 (*const bpf_perf_event_read_value)(
	void *map, u64 index, void *value, u32 size) = (void *)55;
static u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
static s64 (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static s64 (*const bpf_seq_write)(struct seq_file *seq, const void *data, u32 size) = (void *)127;

// include/linux/sched.h
#define PF_EXITING    0x00000004
#define PF_KTHREAD    0x00200000
#define TASK_COMM_LEN 16
// Value of task_struct.exit_state: nobody waits for it any more, it is about to be released.
#define EXIT_DEAD 0x00000010

// Whether the running kernel's struct has the field (clang: BPF_FIELD_EXISTS).
#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	s32 counter;
} atomic_t;

struct signal_struct {
	atomic_t live; // threads of the group that have not begun to exit
};

struct thread_info {
	u32 cpu; // since 5.16; before it in task_struct
};

struct rq {
	u64 prev_irq_time; // only with CONFIG_IRQ_TIME_ACCOUNTING; 0 while it is switched off
};

struct cfs_rq {
	struct rq *rq;
};

// Every scheduling class keeps the first two, not only the fair one.
struct sched_entity {
	u64 exec_start; // the run queue's clock when sum_exec_runtime was last brought up to date
	u64 sum_exec_runtime;
	struct cfs_rq *cfs_rq; // only with CONFIG_FAIR_GROUP_SCHED
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; // in the unified hierarchy
};

struct task_struct {
	u32 flags;
	s32 exit_state;
	s32 pid;
	s32 tgid;
	u64 start_time; // CLOCK_MONOTONIC
	u64 start_boottime;
	u64 nvcsw;
	u64 nivcsw;
	struct thread_info thread_info;
	struct sched_entity se;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct css_set *cgroups;
	char comm[TASK_COMM_LEN];
};

// As it was before 5.16.
struct task_struct___own_cpu {
	u32 cpu;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

#pragma clang attribute pop

#endif
