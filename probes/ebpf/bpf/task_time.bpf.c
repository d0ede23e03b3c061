// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the scheduler itself has charged to every thread: the living are listed when user space asks
// (`iter_task`), the dead say their last figure when they are freed (`sched_process_free`). Nothing
// runs at a context switch. The structs below are mirrored in src/scheduler/abi.rs.
//
// User space keeps the last figure of each thread that it saw and charges differences. So the two
// programs share one rule: a thread that may have been seen alive is reported on its own, with the
// name under which it was seen; only threads that cannot have been seen are added up here.
#include "kepler.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define THREAD_KTHREAD	1
#define THREAD_NAMELESS 2 // the leader was freed first: started_ns says nothing

#define ROW_KTHREAD	1
#define ROW_LEADER_GONE 2

struct thread_record {
	// Address of the task_struct: the only name of a thread that lasts as long as it does.
	// (When a thread calls exec it takes over its leader's tid and start, and the leader gets
	// the thread's tid.)
	u64 task;
	u64 at_ns; // when this was read (CLOCK_MONOTONIC)
	u64 start_ns; // start of the thread (CLOCK_MONOTONIC)
	u64 started_ns; // start of the group leader (CLOCK_BOOTTIME): with tgid, the process
	u64 cgroup_id;
	u64 cpu_ns; // up to the last time the scheduler charged it: a tick ago if it runs
	u64 switches;
	u32 tid;
	u32 tgid;
	u32 package; // of the CPU on which it ran last
	u32 flags;
	char comm[TASK_COMM_LEN]; // of the leader
};

struct dead_thread_key {
	u64 task;
	u64 at_ns; // an address has many owners, one after the other
};

struct dead_row_key {
	u64 started_ns;
	u64 cgroup_id;
	u32 tgid;
	u32 package;
};

struct dead_row {
	u64 cpu_ns;
	u64 switches;
	u64 comm_at_ns; // when comm was read
	u32 flags;
	u32 pad;
	char comm[TASK_COMM_LEN];
};

struct dead_cgroup_key {
	u64 cgroup_id;
	u32 package;
	u32 pad;
};

struct dead_cgroup {
	u64 cpu_ns;
	u64 switches;
};

// One per CPU. The counts only ever grow.
struct burials {
	u64 cpu_ns; // time of threads that found no room in dead_rows nor dead_cgroups
	u64 switches;
	u64 reported; // threads that were to go to dead_threads
	u64 added; // threads that went to dead_rows or further down
	u64 threads_full; // no room in dead_threads: what came after the last sighting is lost
	u64 rows_full; // no room in dead_rows, so in dead_cgroups
	u64 cgroups_full; // no room there, so in cpu_ns
};

// Hashes are preallocated, because the hook runs where an allocation may fail (softirq). The loader
// sets their sizes.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, struct dead_thread_key);
	MAP_TYPE(value, struct thread_record);
} dead_threads SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, struct dead_row_key);
	MAP_TYPE(value, struct dead_row);
} dead_rows SEC(".maps");

// Cgroups of a node times its packages, when `dead_rows` is full: 4096 entries of 80 bytes are
// 330 KB.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 4096);
	MAP_TYPE(key, struct dead_cgroup_key);
	MAP_TYPE(value, struct dead_cgroup);
} dead_cgroups SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct burials);
} burials SEC(".maps");

// When the last pass over the living ended (CLOCK_MONOTONIC); ~0 while one runs and before the
// first. Who began later was never seen.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} pass_ended SEC(".maps");

// Package by CPU, written by user space before anything is attached.
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} packages SEC(".maps");

inline_always u32 package_of(struct task_struct *task)
{
	struct task_struct___own_cpu *older = (void *)task;
	u32 *package;
	u32 cpu = 0;

	if (FIELD_EXISTS(task->thread_info.cpu))
		cpu = task->thread_info.cpu;
	else if (FIELD_EXISTS(older->cpu))
		cpu = older->cpu;
	package = bpf_map_lookup_elem(&packages, &cpu);
	return package ? *package : 0;
}

inline_always void read_thread(struct thread_record *record, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;

	record->task = (u64)task;
	record->at_ns = bpf_ktime_get_ns();
	record->start_ns = task->start_time;
	record->started_ns = leader->start_boottime;
	record->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	record->cpu_ns = task->se.sum_exec_runtime;
	record->switches = task->nvcsw + task->nivcsw;
	record->tid = task->pid;
	record->tgid = task->tgid;
	record->package = package_of(task);
	record->flags = task->flags & PF_KTHREAD ? THREAD_KTHREAD : 0;
	bpf_probe_read_kernel(record->comm, sizeof(record->comm), leader->comm);
}

// Shows one living thread; a pass over all of them is one reading of the iterator's file.
//
// A thread that is released may be freed, and have said so, while the pass holds it; it must not be
// seen after that. All of this runs inside one RCU section, and a thread that is not yet EXIT_DEAD
// in it is freed after it.
SEC("iter/task")
int iter_task(u64 *ctx)
{
	struct bpf_iter_meta *meta = (struct bpf_iter_meta *)ctx[0];
	struct task_struct *task = (struct task_struct *)ctx[1];
	struct thread_record record = {};

	// The call after the last one.
	if (!task)
		return 0;
	if (task->exit_state & EXIT_DEAD)
		return 0;
	read_thread(&record, task);
	// A full buffer: the kernel hands it over and shows this thread again.
	bpf_seq_write(meta->seq, &record, sizeof(record));
	return 0;
}

inline_always struct burials *this_burials(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&burials, &zero);
}

inline_always void add_to_cgroup(struct burials *burials, const struct thread_record *record)
{
	struct dead_cgroup_key key = {
		.cgroup_id = record->cgroup_id,
		.package = record->package,
	};
	struct dead_cgroup fresh = {};
	struct dead_cgroup *cgroup;

	cgroup = bpf_map_lookup_elem(&dead_cgroups, &key);
	if (!cgroup) {
		bpf_map_update_elem(&dead_cgroups, &key, &fresh, BPF_NOEXIST);
		cgroup = bpf_map_lookup_elem(&dead_cgroups, &key);
	}
	if (cgroup) {
		__sync_fetch_and_add(&cgroup->cpu_ns, record->cpu_ns);
		__sync_fetch_and_add(&cgroup->switches, record->switches);
	} else {
		burials->cgroups_full++;
		burials->cpu_ns += record->cpu_ns;
		burials->switches += record->switches;
	}
}

inline_always struct dead_row *new_row(
	const struct dead_row_key *key, const struct thread_record *record)
{
	struct dead_row fresh = {
		.comm_at_ns = record->at_ns,
		.flags = record->flags & THREAD_KTHREAD ? ROW_KTHREAD : 0,
	};

	__builtin_memcpy(fresh.comm, record->comm, sizeof(fresh.comm));
	// Another CPU may be faster, then its row is as good.
	bpf_map_update_elem(&dead_rows, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&dead_rows, key);
}

// Adds a thread that nobody has seen alive to the row of its process.
inline_always void add_to_row(struct burials *burials, const struct thread_record *record)
{
	struct dead_row_key key = {
		.started_ns = record->started_ns,
		.cgroup_id = record->cgroup_id,
		.tgid = record->tgid,
		.package = record->package,
	};
	struct dead_row *row;

	burials->added++;
	if (record->flags & THREAD_NAMELESS) {
		add_to_cgroup(burials, record);
		return;
	}
	row = bpf_map_lookup_elem(&dead_rows, &key);
	if (!row)
		row = new_row(&key, record);
	if (!row) {
		burials->rows_full++;
		add_to_cgroup(burials, record);
		return;
	}
	__sync_fetch_and_add(&row->cpu_ns, record->cpu_ns);
	__sync_fetch_and_add(&row->switches, record->switches);
	if (record->tid == record->tgid) {
		// One thread of a process comes here as its leader, so nobody else writes these.
		__builtin_memcpy(row->comm, record->comm, sizeof(row->comm));
		row->comm_at_ns = record->at_ns;
		row->flags |= ROW_LEADER_GONE;
	}
}

// The last user of the task_struct lets go: it has left its CPU for good and its figures are final.
// (At sched_process_exit the last slice is still to come.)
SEC("tp_btf/sched_process_free")
int sched_process_free(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct task_struct *leader = task->group_leader;
	struct burials *burials = this_burials();
	struct thread_record record = {};
	struct dead_thread_key key = {};
	u32 zero = 0;
	u64 *ended = bpf_map_lookup_elem(&pass_ended, &zero);

	if (!burials || !ended)
		return 0;
	read_thread(&record, task);
	// Leaders are released last, but freed in any order, so this one's memory may belong to
	// somebody else by now. A task holds its signal_struct until after this hook, so no other
	// process has the same. Looked at last: what was read before is good if this is.
	barrier();
	if (leader->signal != task->signal || leader->pid != task->tgid) {
		record.flags |= THREAD_NAMELESS;
		bpf_probe_read_kernel(record.comm, sizeof(record.comm), task->comm);
	}

	if (record.start_ns > *ended) {
		add_to_row(burials, &record);
		return 0;
	}
	burials->reported++;
	key.task = record.task;
	key.at_ns = record.at_ns;
	if (bpf_map_update_elem(&dead_threads, &key, &record, BPF_NOEXIST))
		burials->threads_full++;
	return 0;
}
