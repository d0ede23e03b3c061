// SPDX-License-Identifier: Apache-2.0
//! Totals that go on when another reader takes a reader's place: each begins at a zero of its own, and nobody outside may see that.
//!
//! Pure: reports come in as readers give them, and go out as if one and the same reader had given all of them. What a reader has
//! counted before its first report here is not told: the one before it has counted that.

use attribution::model::{
    CpuNanos, CpuTime, Energy, LostEvents, Microjoules, PackageTime, SoftirqTime, SourceError, Tally,
    TallyKind, TaskUsage, Usage, Zone,
};
use std::sync::Arc;

/// Turns one zero into another: what was told less what was said when the reader came. Wraps, because a reader may have counted
/// more than was ever told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shift(u64);

impl Shift {
    const fn between(said: u64, told: u64) -> Self {
        Self(told.wrapping_sub(said))
    }

    const fn of(self, said: u64) -> u64 {
        said.wrapping_add(self.0)
    }

    const fn nanos(self, said: CpuNanos) -> CpuNanos {
        CpuNanos::from_nanos(self.of(said.as_nanos()))
    }
}

#[derive(Clone, Debug)]
struct Joint {
    zone: Zone,
    told: Microjoules,
    told_idle: Microjoules,
    total: Shift,
    idle: Shift,
    /// Another reader has come, and has not spoken of this zone yet.
    is_new: bool,
}

/// The totals of one source.
#[derive(Clone, Debug, Default)]
pub struct Splice {
    joints: Vec<Joint>,
    /// Errors of readers that are gone.
    before: Vec<SourceError>,
    told: Vec<SourceError>,
}

impl Splice {
    /// The next report, as it goes out.
    pub fn tell(&mut self, mut said: Energy) -> Energy {
        for reading in &mut said.zones {
            let total = reading.total.as_micro();
            let idle = reading.idle.unwrap_or_default().as_micro();
            let known = self.joints.iter().position(|joint| joint.zone == reading.zone);
            let at = known.unwrap_or_else(|| {
                self.joints.push(Joint {
                    zone: reading.zone.clone(),
                    told: Microjoules::ZERO,
                    told_idle: Microjoules::ZERO,
                    total: Shift::default(),
                    idle: Shift::default(),
                    is_new: false,
                });
                self.joints.len() - 1
            });
            let Some(joint) = self.joints.get_mut(at) else {
                continue;
            };
            if std::mem::take(&mut joint.is_new) {
                joint.total = Shift::between(total, joint.told.as_micro());
                joint.idle = Shift::between(idle, joint.told_idle.as_micro());
            }
            joint.told = Microjoules::from_micro(joint.total.of(total));
            joint.told_idle = Microjoules::from_micro(joint.idle.of(idle));
            reading.total = joint.told;
            reading.idle = reading.idle.map(|_| joint.told_idle);
        }
        if !self.before.is_empty() {
            said.errors = together(&self.before, said.errors);
        }
        self.told.clone_from(&said.errors);
        said
    }

    /// Another reader speaks from now on. It goes on by itself with the zones in `followed`; what it says first of any other stands
    /// where that zone stood.
    pub fn turn(&mut self, followed: &[Zone]) {
        for joint in &mut self.joints {
            joint.is_new = joint.is_new || !followed.contains(&joint.zone);
        }
        self.before.clone_from(&self.told);
    }

    /// Another reader has read `first`, right after the one before it had said `last`: what only it reads is told with that.
    pub fn turn_to(&mut self, followed: &[Zone], first: Energy, last: &mut Energy) {
        self.turn(followed);
        let first = self.tell(first).zones.into_iter();
        let is_new = |zone: &Zone| !last.zones.iter().any(|reading| reading.zone == *zone);
        let new: Vec<_> = first.filter(|reading| is_new(&reading.zone)).collect();
        last.zones.extend(new);
    }
}

/// Errors of readers that are gone and of the one that reads now.
fn together(before: &[SourceError], mut now: Vec<SourceError>) -> Vec<SourceError> {
    for old in before {
        let same = |error: &&mut SourceError| error.zone == old.zone && error.reason == old.reason;
        match now.iter_mut().find(same) {
            Some(error) => error.count = error.count.saturating_add(old.count),
            None => now.push(old.clone()),
        }
    }
    now
}

/// What a usage report says beside its rows.
#[derive(Clone, Debug, Default)]
struct Beside {
    packages: Vec<PackageTime>,
    cpus: Vec<CpuTime>,
    softirqs: Vec<SoftirqTime>,
    lost: Vec<LostEvents>,
}

impl Beside {
    fn write_down(&mut self, usage: &Usage) {
        self.packages.clone_from(&usage.packages);
        self.cpus.clone_from(&usage.cpus);
        self.softirqs.clone_from(&usage.softirqs);
        self.lost.clone_from(&usage.lost);
    }
}

/// The totals of the usage reporter. Rows are left as they are: the attribution books what they rise by, and is told from where.
#[derive(Debug, Default)]
pub struct UsageSplice {
    era: u32,
    base: Option<Arc<[TaskUsage]>>,
    told: Beside,
    /// What was told when the reader came, and what it said then; `None` for the first one.
    joint: Option<(Beside, Beside)>,
}

impl UsageSplice {
    /// The next report, as it goes out.
    pub fn tell(&mut self, mut said: Usage) -> Usage {
        if let Some((told, base)) = &self.joint {
            said.packages
                .iter_mut()
                .for_each(|row| of_package(row, told, base));
            said.cpus.iter_mut().for_each(|row| of_cpu(row, told, base));
            said.softirqs
                .iter_mut()
                .for_each(|row| of_softirq(row, told, base));
            of_softirqs_gone(&mut said.softirqs, told);
            of_lost(&mut said.lost, told);
        }
        said.era = self.era;
        if let Some(base) = &self.base {
            said.base = Arc::clone(base);
        }
        self.told.write_down(&said);
        said
    }

    /// Another reader speaks from now on; `base` is what it has counted so far. It goes on from what was told last, also where
    /// nothing was told since the exchange before.
    pub fn turn(&mut self, base: Usage) {
        self.era = self.era.wrapping_add(1);
        let mut said = Beside::default();
        said.write_down(&base);
        self.joint = Some((self.told.clone(), said));
        self.base = Some(Arc::from(base.tasks));
    }
}

fn of_package(row: &mut PackageTime, told: &Beside, base: &Beside) {
    let find = |rows: &[PackageTime]| rows.iter().find(|other| other.package == row.package).copied();
    let (told, base) = (find(&told.packages), find(&base.packages));
    let shift = |time: fn(&PackageTime) -> CpuNanos| {
        let nanos = |row: &Option<PackageTime>| row.as_ref().map_or(0, |row| time(row).as_nanos());
        Shift::between(nanos(&base), nanos(&told))
    };
    let (busy, idle) = (shift(|row| row.busy), shift(|row| row.idle));
    (row.busy, row.idle) = (busy.nanos(row.busy), idle.nanos(row.idle));
}

fn of_cpu(row: &mut CpuTime, told: &Beside, base: &Beside) {
    let find = |rows: &[CpuTime]| rows.iter().find(|other| other.cpu == row.cpu).copied();
    let (told, base) = (find(&told.cpus), find(&base.cpus));
    let shift = |time: fn(&CpuTime) -> CpuNanos| {
        let nanos = |row: &Option<CpuTime>| row.as_ref().map_or(0, |row| time(row).as_nanos());
        Shift::between(nanos(&base), nanos(&told))
    };
    let (busy, idle) = (shift(|row| row.busy), shift(|row| row.idle));
    let steal = shift(|row| row.steal.unwrap_or_default());
    (row.busy, row.idle) = (busy.nanos(row.busy), idle.nanos(row.idle));
    row.steal = row.steal.map(|time| steal.nanos(time));
}

fn of_softirq(row: &mut SoftirqTime, told: &Beside, base: &Beside) {
    let is = |other: &&SoftirqTime| other.package == row.package && other.vector == row.vector;
    let figures = |rows: &[SoftirqTime]| {
        let found = rows.iter().find(is);
        found.map_or((0, 0), |row| (row.count, row.time.as_nanos()))
    };
    let (told, base) = (figures(&told.softirqs), figures(&base.softirqs));
    row.count = Shift::between(base.0, told.0).of(row.count);
    row.time = Shift::between(base.1, told.1).nanos(row.time);
}

/// What only a reader before has counted stays where it stood.
fn of_softirqs_gone(rows: &mut Vec<SoftirqTime>, told: &Beside) {
    for old in &told.softirqs {
        let is = |row: &SoftirqTime| row.package == old.package && row.vector == old.vector;
        if !rows.iter().any(is) {
            rows.push(*old);
        }
    }
}

/// A reader loses before it is asked, too, so all of its losses count.
fn of_lost(rows: &mut Vec<LostEvents>, told: &Beside) {
    for old in &told.lost {
        let is = |row: &&mut LostEvents| row.probe == old.probe && row.reason == old.reason;
        match rows.iter_mut().find(is) {
            Some(row) => row.count = row.count.saturating_add(old.count),
            None => rows.push(*old),
        }
    }
}

/// What those count of themselves who know names.
#[derive(Debug, Default)]
pub struct TallySplice {
    before: Vec<Tally>,
    told: Vec<Tally>,
}

impl TallySplice {
    /// The next counts, as they go out.
    pub fn tell(&mut self, mut said: Vec<Tally>) -> Vec<Tally> {
        for old in self.before.iter().filter(|old| old.kind != TallyKind::Held) {
            let is = |row: &&mut Tally| (row.probe, row.what, row.kind) == (old.probe, old.what, old.kind);
            match said.iter_mut().find(is) {
                Some(row) => row.count = row.count.saturating_add(old.count),
                None => said.push(*old),
            }
        }
        self.told.clone_from(&said);
        said
    }

    /// Somebody else counts from now on.
    pub fn turn(&mut self) {
        self.before.clone_from(&self.told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{
        CgroupId, Comm, Component, ErrorReason, EventCounts, MonotonicNanos, PackageId, Place, Provenance,
        TaskKind, ZoneReading,
    };

    fn zone(component: Component) -> Zone {
        Zone {
            component,
            place: Place::socket(PackageId(0)),
        }
    }

    fn energy(totals: &[(Component, u64)], errors: u64) -> Energy {
        let reading = |(component, total): &(Component, u64)| ZoneReading {
            zone: zone(*component),
            total: Microjoules::from_micro(*total),
            idle: Some(Microjoules::from_micro(total / 2)),
            provenance: Provenance::Counted,
            at: MonotonicNanos::ZERO,
            device: None,
        };
        let error = SourceError {
            zone: None,
            reason: ErrorReason::Io,
            count: errors,
            latest: Arc::from("x"),
        };
        Energy {
            zones: totals.iter().map(reading).collect(),
            errors: (errors > 0).then_some(error).into_iter().collect(),
        }
    }

    fn told(splice: &mut Splice, totals: &[(Component, u64)], errors: u64) -> (Vec<(u64, u64)>, u64) {
        let out = splice.tell(energy(totals, errors));
        let zones = out.zones.iter();
        let zones = zones.map(|row| (row.total.as_micro(), row.idle.unwrap().as_micro()));
        (zones.collect(), out.errors.iter().map(|error| error.count).sum())
    }

    #[test]
    fn a_reader_goes_on_where_the_one_before_stood_and_pays_nothing_for_before() {
        use Component::{Dram, Package};
        let mut splice = Splice::default();
        assert_eq!(
            told(&mut splice, &[(Package, 10), (Dram, 4)], 2),
            (vec![(10, 5), (4, 2)], 2)
        );
        splice.turn(&[]);
        // It had counted more than was ever told, and knows nothing of memory.
        assert_eq!(told(&mut splice, &[(Package, 100)], 0), (vec![(10, 5)], 2));
        assert_eq!(told(&mut splice, &[(Package, 130)], 1), (vec![(40, 20)], 3));
        splice.turn(&[]);
        assert_eq!(
            told(&mut splice, &[(Package, 0), (Dram, 7)], 0),
            (vec![(40, 20), (4, 2)], 3)
        );
        assert_eq!(
            told(&mut splice, &[(Package, 2), (Dram, 9)], 5),
            (vec![(42, 21), (6, 3)], 8)
        );
    }

    #[test]
    fn a_zone_that_the_next_reader_follows_by_itself_loses_nothing_in_between() {
        let mut splice = Splice::default();
        told(&mut splice, &[(Component::Package, 10)], 0);
        splice.turn(&[zone(Component::Package)]);
        assert_eq!(told(&mut splice, &[(Component::Package, 17)], 0).0, [(17, 8)]);
    }

    #[test]
    fn what_only_the_next_reader_reads_is_told_with_the_last_of_the_one_before() {
        use Component::{Dram, Package};
        let mut splice = Splice::default();
        let mut last = splice.tell(energy(&[(Package, 10)], 0));
        splice.turn_to(&[], energy(&[(Package, 50), (Dram, 7)], 0), &mut last);
        let rows = |energy: &Energy| -> Vec<_> {
            let rows = energy.zones.iter();
            rows.map(|row| (row.zone.component, row.total.as_micro()))
                .collect()
        };
        assert_eq!(rows(&last), [(Package, 10), (Dram, 7)]);
        let next = splice.tell(energy(&[(Package, 52), (Dram, 8)], 0));
        assert_eq!(rows(&next), [(Package, 12), (Dram, 8)]);
    }

    fn usage(busy: u64, lost: u64) -> Usage {
        let time = CpuNanos::from_nanos(busy);
        Usage {
            tasks: vec![TaskUsage {
                task: None,
                cgroup: CgroupId(1),
                package: PackageId(0),
                cpu: time,
                events: EventCounts::ZERO,
                comm: Comm::default(),
                kind: TaskKind::User,
                ended: false,
            }],
            packages: vec![PackageTime {
                package: PackageId(0),
                cpus: 1,
                busy: time,
                idle: time,
            }],
            cpus: vec![CpuTime {
                cpu: 0,
                package: PackageId(0),
                online: true,
                busy: time,
                idle: time,
                steal: Some(time),
            }],
            softirqs: vec![SoftirqTime {
                package: PackageId(0),
                vector: if busy > 500 { "timer" } else { "net_rx" },
                count: busy,
                time,
            }],
            lost: vec![LostEvents {
                probe: "p",
                reason: "r",
                count: lost,
            }],
            ..Usage::default()
        }
    }

    #[test]
    fn what_stands_beside_the_rows_of_usage_goes_on_and_the_rows_have_their_base() {
        let mut splice = UsageSplice::default();
        let first = splice.tell(usage(100, 3));
        assert_eq!((first.era, first.base.len()), (0, 0));
        splice.turn(usage(400, 1));
        let next = splice.tell(usage(425, 2));
        let at = |time: CpuNanos| time.as_nanos();
        assert_eq!((at(next.packages[0].busy), at(next.packages[0].idle)), (125, 125));
        let cpu = next.cpus[0];
        assert_eq!([at(cpu.busy), at(cpu.idle), cpu.steal.map_or(0, at)], [125; 3]);
        assert_eq!((next.softirqs[0].count, at(next.softirqs[0].time)), (125, 125));
        assert_eq!(next.lost[0].count, 5);
        assert_eq!(
            (at(next.tasks[0].cpu), next.era, at(next.base[0].cpu)),
            (425, 1, 400)
        );
        // A vector that nobody counts any more stays where it stood.
        splice.turn(usage(600, 0));
        let last = splice.tell(usage(601, 0));
        let counts: Vec<_> = last.softirqs.iter().map(|row| (row.vector, row.count)).collect();
        assert_eq!(counts, [("timer", 1), ("net_rx", 125)]);
        assert_eq!(
            (at(last.packages[0].busy), last.lost[0].count, last.era),
            (126, 5, 2)
        );
    }

    #[test]
    fn a_reader_that_is_exchanged_before_it_says_anything_takes_nothing_away() {
        let mut splice = UsageSplice::default();
        splice.tell(usage(100, 3));
        splice.turn(usage(400, 1));
        splice.turn(usage(7, 0));
        let next = splice.tell(usage(9, 0));
        assert_eq!((next.packages[0].busy.as_nanos(), next.lost[0].count), (102, 3));
        assert_eq!((next.softirqs[0].count, next.era), (102, 2));
    }

    #[test]
    fn tallies_go_on_but_for_what_is_held_now() {
        let tally = |kind, count| Tally {
            probe: "resolver",
            what: "walks",
            kind,
            count,
        };
        let mut splice = TallySplice::default();
        splice.tell(vec![tally(TallyKind::Done, 5), tally(TallyKind::Held, 9)]);
        splice.turn();
        let told = splice.tell(vec![tally(TallyKind::Held, 1)]);
        assert_eq!(told, [tally(TallyKind::Held, 1), tally(TallyKind::Done, 5)]);
        let told = splice.tell(vec![tally(TallyKind::Done, 2)]);
        assert_eq!(told, [tally(TallyKind::Done, 7)]);
    }
}
