// SPDX-License-Identifier: Apache-2.0
//! What the two programs of bpf/task_time.bpf.c do on the machine.

use super::*;

impl Machine {
    /// The program `sched_process_free`.
    pub(super) fn free(&mut self, index: usize) {
        let task = self.tasks.remove(index);
        let mut record = ThreadRecord {
            at_ns: self.now_ns,
            ..task.record
        };
        let led = self
            .tasks
            .iter()
            .any(|other| other.process == task.process && other.leads);
        if !task.leads && !led {
            record.flags |= THREAD_NAMELESS;
            record.started_ns = 77;
        }
        if record.start_ns > self.pass_ended {
            self.burials.added += 1;
            self.add_to_row(&record);
            return;
        }
        self.burials.reported += 1;
        if self.dead_threads.len() < self.room.threads {
            self.dead_threads.push(record);
        } else {
            self.silenced += record.cpu_ns;
        }
    }

    fn add_to_row(&mut self, record: &ThreadRecord) {
        let key = DeadRowKey {
            started_ns: record.started_ns,
            cgroup_id: record.cgroup_id,
            tgid: record.tgid,
            package: 0,
        };
        let place = (key.started_ns, key.tgid, key.cgroup_id);
        let room = self.dead_rows.contains_key(&place) || self.dead_rows.len() < self.room.rows;
        if record.flags & THREAD_NAMELESS == 0 && room {
            let (_, row) = self
                .dead_rows
                .entry(place)
                .or_insert_with(|| (key, DeadRow::default()));
            row.cpu_ns += record.cpu_ns;
            row.switches += record.switches;
            if record.is_leader() {
                row.flags |= ROW_LEADER_GONE;
            }
            return;
        }
        let cgroup = record.cgroup_id;
        if self.dead_cgroups.contains_key(&cgroup) || self.dead_cgroups.len() < self.room.cgroups {
            let cgroup = self.dead_cgroups.entry(cgroup).or_default();
            cgroup.cpu_ns += record.cpu_ns;
            cgroup.switches += record.switches;
        } else {
            self.burials.cpu_ns += record.cpu_ns;
            self.burials.switches += record.switches;
        }
    }

    pub(super) fn go_on(&mut self) {
        let Some((began_ns, came_to, mut records)) = self.pass.take() else {
            self.pass_ended = u64::MAX;
            self.pass = Some((self.now_ns, 0, Vec::new()));
            return;
        };
        let next = self
            .tasks
            .iter()
            .filter(|task| !task.released && task.record.tid > came_to)
            .min_by_key(|task| task.record.tid);
        match next {
            Some(task) => {
                let record = ThreadRecord {
                    at_ns: self.now_ns,
                    ..task.record
                };
                records.push(record);
                self.pass = Some((began_ns, record.tid, records));
            }
            None => {
                self.pass_ended = self.now_ns;
                self.drain(began_ns, records);
            }
        }
    }
}
