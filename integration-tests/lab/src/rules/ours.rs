// SPDX-License-Identifier: Apache-2.0
//! This project's engine, driven as the daemon drives it: expect, open, reports, close, once a second.
//!
//! The readers read once and every variant gets the same reports, but for the events that a machine of its kind counts.

use super::{Rule, feed, tree::Tree};
use crate::bill::Bill;
use crate::node::Node;
use crate::rng::Rng;
use crate::scenarios::Timing;
use crate::tasks::{MS, Nanos, Place, S, Workload};
use attribution::engine::{Engine, FloorPolicy, IdleShare, RESOLVER, Settings, SplitRules, USAGE};
use attribution::model::snapshot::{ContainerKey, GroupRow, Snapshot};
use attribution::model::{
    Component, Energy, EventSet, Identity, Microjoules, MonotonicNanos, Report, ReporterId, Section,
    SourceId, TickId,
};
use power_sources::PowerSource;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Default settings on a machine that counts everything.
pub const OURS: &str = "ours";
/// Default settings where there is no PMU, as in most virtual machines.
pub const UNCOUNTED: &str = "ours, no PMU";
/// With `attribution.weights = "learned"`.
pub const LEARNED: &str = "ours, learned";
/// CPU time alone, by configuration.
pub const BY_TIME: &str = "ours, CPU time";

/// One way to run the engine: name, what the machine counts, rules of the split. A new way is a new line, here and in the
/// plot.
type Way = (&'static str, fn() -> EventSet, fn() -> SplitRules);
const WAYS: &[Way] = &[
    (OURS, feed::all_events, SplitRules::default),
    (UNCOUNTED, feed::time_events, SplitRules::default),
    (LEARNED, feed::all_events, learned),
    (BY_TIME, feed::all_events, || SplitRules {
        by_time_alone: true,
        ..SplitRules::default()
    }),
];

fn learned() -> SplitRules {
    SplitRules {
        learned: true,
        ..SplitRules::default()
    }
}

const RAPL: SourceId = power_sources::rapl::SOURCE;
const GPU: SourceId = SourceId("NVML");

/// The daemon's defaults.
const TICK: Nanos = S;
const DEADLINE: Nanos = TICK * 8 / 10;

fn settings(split: SplitRules) -> Settings {
    Settings {
        floor: FloorPolicy::default(),
        idle_share: IdleShare::default(),
        split,
        processes_max: 200,
        // Nobody scrapes here: rows stay until the end.
        ended_keep: Duration::from_secs(1 << 20),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Open,
    Usage,
    Rapl,
    Gpu,
    Close,
}

struct Variant {
    name: &'static str,
    counted: EventSet,
    engine: Engine,
    snapshot: Snapshot,
}

/// See the module's head.
pub struct Ours {
    variants: Vec<Variant>,
    tree: Tree,
    source: Box<dyn PowerSource>,
    identity: Arc<Identity>,
    timing: Timing,
    rng: Rng,
    tick: u64,
    plan: Vec<(Nanos, Act)>,
    /// Pids of the dead that were listed in the newest report, and of those that are paid.
    listed: HashSet<u32>,
    paid: HashSet<u32>,
    /// By zone, as the source first and last told it.
    told: Vec<(attribution::model::Zone, Microjoules, Microjoules)>,
    workloads: Vec<Workload>,
    broken: Vec<String>,
}

impl Ours {
    /// Begins at zero.
    ///
    /// # Errors
    /// The file system's, which holds the counters.
    pub fn new(node: &mut Node, timing: Timing) -> io::Result<Self> {
        let tree = Tree::new(node)?;
        let source = tree.open(|| MonotonicNanos::ZERO)?;
        let has_gpu = node.gpu.is_some();
        let variants = WAYS.iter().map(|(name, counted, split)| {
            let mut engine = Engine::new(settings(split()), Arc::default());
            engine.expect(&ReporterId::new(USAGE));
            engine.expect(&ReporterId::new(RESOLVER));
            engine.expect_source(RAPL);
            if has_gpu {
                engine.expect_source(GPU);
            }
            Variant {
                name,
                counted: counted(),
                engine,
                snapshot: Snapshot::default(),
            }
        });
        let mut ours = Self {
            variants: variants.collect(),
            source,
            tree,
            identity: Arc::new(feed::identity(node)),
            timing,
            rng: node.rng.fork(),
            tick: 0,
            plan: Vec::new(),
            listed: HashSet::new(),
            paid: HashSet::new(),
            told: Vec::new(),
            workloads: node.workloads.clone(),
            broken: Vec::new(),
        };
        ours.plan_tick(0);
        Ok(ours)
    }

    /// Decides when the reporters of the tick at `at` read. The window closes when all are in, or at its deadline.
    fn plan_tick(&mut self, at: Nanos) {
        self.tick += 1;
        let usage = at + self.timing.usage(&mut self.rng);
        let rapl = at + self.timing.meter(&mut self.rng);
        let last = usage.max(rapl).max(at + 4 * MS);
        let close = (last + MS).min(at + DEADLINE);
        self.plan = vec![
            (at, Act::Open),
            (usage, Act::Usage),
            (rapl, Act::Rapl),
            (close, Act::Close),
        ];
        self.plan.push((at + 3 * MS, Act::Gpu));
        self.plan.sort_by_key(|(at, _)| *at);
    }

    fn report<T>(&self, reporter: &str, node: &Node, body: T) -> Report<T> {
        let now = MonotonicNanos::from_nanos(node.now);
        Report {
            tick: TickId(self.tick),
            reporter: ReporterId::new(reporter),
            section: Section {
                began: now,
                ended: now,
            },
            body,
        }
    }

    fn open(&mut self, node: &Node) {
        let now = MonotonicNanos::from_nanos(node.now);
        let report = self.report(RESOLVER, node, Arc::clone(&self.identity));
        for variant in &mut self.variants {
            variant
                .engine
                .open(TickId(self.tick), now, now.after(Duration::from_nanos(DEADLINE)));
            variant.engine.on_identity(report.clone());
        }
    }

    fn usage(&mut self, node: &Node) {
        for index in 0..self.variants.len() {
            let usage = feed::usage(node, &self.paid, self.variants[index].counted);
            let report = self.report(USAGE, node, Arc::new(usage));
            self.variants[index].engine.on_usage(report);
        }
        let dead = node
            .processes
            .iter()
            .filter(|it| it.ended.is_some() && !self.paid.contains(&it.pid));
        self.listed = dead.map(|process| process.pid).collect();
    }

    fn rapl(&mut self, node: &mut Node) {
        if let Err(error) = self.tree.write(node) {
            self.broken.push(error.to_string());
        }
        let energy = self.source.read(MonotonicNanos::from_nanos(node.now));
        self.note(&energy);
        let report = self.report(RAPL.0, node, energy);
        for variant in &mut self.variants {
            variant.engine.on_energy(RAPL, report.clone());
        }
    }

    fn note(&mut self, energy: &Energy) {
        for reading in &energy.zones {
            match self.told.iter_mut().find(|(zone, ..)| *zone == reading.zone) {
                Some((_, _, last)) => *last = reading.total,
                None => self
                    .told
                    .push((reading.zone.clone(), reading.total, reading.total)),
            }
        }
    }

    fn close(&mut self, node: &Node) {
        for variant in &mut self.variants {
            let Some(closed) = variant.engine.close(MonotonicNanos::from_nanos(node.now)) else {
                continue;
            };
            variant.snapshot = closed.snapshot;
            if closed.acked == Some(TickId(self.tick)) {
                self.paid.extend(self.listed.drain());
            }
            self.broken
                .extend(unbalanced(&variant.snapshot).map(|zone| format!("{}: {zone}", variant.name)));
        }
    }
}

/// Zones whose rows do not add up to what they say themselves, to the microjoule.
fn unbalanced(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    snapshot.zones.iter().enumerate().filter_map(|(index, zone)| {
        let ledgers = snapshot
            .containers
            .iter()
            .map(|row| &row.ledger)
            .chain([&snapshot.retired.containers]);
        let (mut dynamic, mut idle) = (zone.unattributed, zone.unreserved_idle);
        for charge in ledgers.filter_map(|ledger| ledger.charges.get(index)) {
            dynamic += charge.dynamic;
            idle += charge.idle;
        }
        (dynamic != zone.dynamic || idle != zone.idle).then(|| zone.zone.to_string())
    })
}

fn joules(energy: Microjoules) -> f64 {
    energy.as_micro() as f64 / 1e6
}

/// The place of a component in [`crate::bill::Parts`].
const fn part(component: Component) -> Option<usize> {
    match component {
        Component::Package => Some(0),
        Component::Dram => Some(1),
        Component::Gpu => Some(2),
        Component::Core | Component::Uncore | Component::Other | Component::Platform => None,
    }
}

fn is_of(row: &GroupRow<ContainerKey>, workload: &Workload) -> bool {
    match (&row.key, workload.place) {
        (ContainerKey::Container(id), Place::Container) => id.as_str() == workload.name,
        (ContainerKey::System, Place::System) | (ContainerKey::Kernel, Place::Kernel) => true,
        _ => false,
    }
}

impl Rule for Ours {
    fn next(&self) -> Nanos {
        self.plan.first().map_or(Nanos::MAX, |(at, _)| *at)
    }

    fn act(&mut self, node: &mut Node) {
        let (_, act) = self.plan.remove(0);
        match act {
            Act::Open => self.open(node),
            Act::Usage => self.usage(node),
            Act::Rapl => self.rapl(node),
            Act::Gpu => {
                if let Some(energy) = feed::gpu(node) {
                    let report = self.report(GPU.0, node, energy);
                    for variant in &mut self.variants {
                        variant.engine.on_energy(GPU, report.clone());
                    }
                }
            }
            Act::Close => self.close(node),
        }
        if self.plan.is_empty() {
            self.plan_tick(self.tick * TICK);
        }
    }

    fn bills(&self) -> Vec<(&'static str, Bill)> {
        let bill = |snapshot: &Snapshot| {
            let mut bill = Bill::new(self.workloads.len());
            for (index, zone) in snapshot.zones.iter().enumerate() {
                let Some(part) = part(zone.zone.component) else {
                    continue;
                };
                bill.unattributed[part] += joules(zone.unattributed);
                bill.idle += joules(zone.idle);
                for (workload, dynamic) in self.workloads.iter().zip(&mut bill.dynamic) {
                    let rows = snapshot.containers.iter().filter(|row| is_of(row, workload));
                    let charges = rows.filter_map(|row| row.ledger.charges.get(index));
                    dynamic[part] += charges.map(|charge| joules(charge.dynamic)).sum::<f64>();
                }
            }
            bill
        };
        self.variants
            .iter()
            .map(|variant| (variant.name, bill(&variant.snapshot)))
            .collect()
    }

    fn broken(&self) -> Vec<String> {
        let mut broken = self.broken.clone();
        for variant in &self.variants {
            for (zone, first, last) in &self.told {
                let row = variant.snapshot.zones.iter().find(|row| row.zone == *zone);
                let billed = row.map_or(Microjoules::ZERO, |row| row.dynamic + row.idle);
                if billed != last.saturating_sub(*first) {
                    broken.push(format!(
                        "{}: {zone} told {last:?} and billed {billed:?}",
                        variant.name
                    ));
                }
            }
        }
        broken.sort();
        broken.dedup();
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microjoule_that_is_on_no_row_is_told() {
        let mut node = crate::scenarios::named("busy-loop")
            .map(|scenario| (scenario.build)())
            .unwrap();
        let mut ours = Ours::new(&mut node, Timing::Prompt).unwrap();
        while ours.next() <= 3 * S {
            node.run_until(ours.next());
            ours.act(&mut node);
        }
        assert_eq!(ours.broken(), [""; 0]);
        let mut snapshot = ours.variants[0].snapshot.clone();
        snapshot.zones[0].dynamic += Microjoules::from_micro(1);
        assert_eq!(unbalanced(&snapshot).collect::<Vec<_>>(), ["package/socket0"]);
        ours.variants[0].snapshot.zones[0].idle += Microjoules::from_micro(1);
        assert_eq!(ours.broken().len(), 1, "{:?}", ours.broken());
    }
}
