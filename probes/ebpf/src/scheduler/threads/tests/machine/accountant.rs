// SPDX-License-Identifier: Apache-2.0
//! What user space makes of it: a drain, and a consumer that charges what it reports.

use super::*;

/// What a thread does that is born and freed between the reading of a map and the deletion of an entry.
const PASSING: Counts = Counts {
    cpu_ns: 5,
    switches: 1,
};

impl Machine {
    /// What `SchedulerProbe::drain` does.
    pub(super) fn drain(&mut self, began_ns: u64, records: Vec<ThreadRecord>) {
        let mut deaths = Vec::new();
        if self.reported.stirred(self.burials.reported) {
            deaths.append(&mut self.dead_threads);
        }
        self.threads
            .record(began_ns, records.into_iter(), &mut deaths, &mut self.rows);
        if self.added.stirred(self.burials.added) {
            self.graves.begin(u64::MAX);
            for (key, row) in self.dead_rows.values() {
                self.graves.record_row(key, row, &mut self.rows);
            }
            for (cgroup_id, cgroup) in &self.dead_cgroups {
                let key = DeadCgroupKey {
                    cgroup_id: *cgroup_id,
                    ..DeadCgroupKey::default()
                };
                self.graves.record_cgroup(&key, cgroup, &mut self.rows);
            }
            self.graves
                .record_unplaced(&graves::sum(&[self.burials]), 0, &mut self.rows);
        }
        self.tick += 1;
        let (mut rows, mut forgotten, mut left_rows) = (Vec::new(), Vec::new(), Vec::new());
        let now = moment(self.tick, began_ns);
        self.rows.report(&now, &mut rows, &mut forgotten, &mut left_rows);
        for key in &forgotten {
            self.dead_rows.remove(&(key.started_ns, key.tgid, key.cgroup_id));
        }
        self.graves.forget(&forgotten);
        let mut left = Vec::new();
        self.rows.unnamed.report(&now, &mut rows, &mut left);
        self.consume(&rows);
        self.graves.begin(u64::MAX);
        for key in left_rows {
            let at = (key.started_ns, key.tgid, key.cgroup_id);
            if let Some((_, row)) = self.dead_rows.get_mut(&at).filter(|_| !self.ends) {
                // Another thread of it is born and freed, as below.
                self.ran.add(PASSING);
                self.burials.added += 1;
                row.cpu_ns += PASSING.cpu_ns;
                row.switches += PASSING.switches;
            }
            let last = self.dead_rows.remove(&at).map(|(_, row)| row);
            self.graves.take_row(&key, last.as_ref(), &mut self.rows);
        }
        for place in left {
            if !self.ends {
                self.come_and_go(place.cgroup);
            }
            let key = DeadCgroupKey {
                cgroup_id: place.cgroup,
                ..DeadCgroupKey::default()
            };
            let last = self.dead_cgroups.remove(&place.cgroup);
            self.graves.take_cgroup(&key, last.as_ref(), &mut self.rows);
        }
    }

    /// A thread that has no room in `dead_rows` is born and freed between the reading of a map and the deletion of an entry.
    fn come_and_go(&mut self, cgroup: u64) {
        self.ran.add(PASSING);
        self.burials.added += 1;
        let cgroup = self.dead_cgroups.entry(cgroup).or_default();
        cgroup.cpu_ns += PASSING.cpu_ns;
        cgroup.switches += PASSING.switches;
    }

    /// Charges the rises, as the attribution engine would.
    fn consume(&mut self, rows: &[TaskUsage]) {
        let mut now = HashMap::new();
        for row in rows {
            let name = (row.task, row.cgroup.0);
            let total = Counts {
                cpu_ns: row.cpu.as_nanos(),
                switches: row.events.get(Event::Switches),
            };
            let before = self.seen.get(&name).copied().unwrap_or_default();
            self.charged.add(total.since(before).expect("a row fell"));
            assert!(now.insert(name, total).is_none(), "two rows of {name:?}");
        }
        self.seen = now;
        self.listed = rows.iter().filter(|row| row.task.is_some()).count();
        assert!(self.charged.cpu_ns <= self.ran.cpu_ns, "more is charged than ran");
        let busy: u64 = self.rows.busy_ns().values().sum();
        assert_eq!(self.charged.cpu_ns, busy);
    }
}
