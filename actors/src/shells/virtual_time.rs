// SPDX-License-Identifier: Apache-2.0
//! Ticker and attribution in virtual time: an hour of late, lost and mute reporters in a moment.
//!
//! All actors run on the test's own arbiter, because a paused clock is per thread. Asserts stand in the test body: one that
//! fails inside a handler would take the actor away and leave the test green.

mod bed;
mod paced;
mod reloads;
mod stage;
mod storm;

use super::{AttributionShell, Courier, Ticker};
use crate::clock::{Clock, Sleep};
use crate::driven::Driven;
use crate::health::{Drops, Queue, Vitals};
use crate::messages::{EnergyReady, IdentityReady, Paid, Publish, Stop, Tick, UsageReady};
use crate::shells::PayTo;
use actix::{Actor, Addr, AsyncContext, Context, Handler, System};
use attribution::engine::{Engine, FloorPolicy, IdleShare, RESOLVER, Settings, SplitRules, USAGE};
use attribution::model::*;
use stage::Stage;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const TICK: Duration = Duration::from_secs(1);
const METER: SourceId = SourceId("rapl-sysfs");

/// When a reporter answers a tick; `None` is never.
type Plan = Box<dyn Fn(&str, u64) -> Option<Duration>>;

/// Who reads what of the node's one counter for each component.
#[derive(Clone)]
struct Reader {
    source: SourceId,
    components: Vec<Component>,
    /// In whose place it was put that read these, too: told once more, with the next tick.
    last: Vec<Component>,
}

impl Reader {
    fn new(source: SourceId, components: &[Component]) -> Self {
        Self {
            source,
            components: components.to_vec(),
            last: Vec::new(),
        }
    }

    /// What it says of the next tick.
    fn tells(&mut self) -> Vec<Component> {
        let mut told = std::mem::take(&mut self.last);
        told.retain(|of| !self.components.contains(of));
        told.extend(&self.components);
        told
    }
}

type Readers = Arc<Mutex<Vec<Reader>>>;

fn meter() -> Vec<Reader> {
    vec![Reader::new(METER, &[Component::Package])]
}

/// Usage, resolver and meters in one: a task that is always busy and counters that count 10 W each.
struct Node {
    plan: Plan,
    readers: Readers,
    to: Addr<AttributionShell>,
    clock: Clock,
    paid: Arc<Mutex<Vec<u64>>>,
}

impl Actor for Node {
    type Context = Context<Self>;
}

impl Node {
    fn report<T>(&self, tick: TickId, reporter: &str, body: T) -> Report<T> {
        let now = (self.clock)();
        Report {
            tick,
            reporter: ReporterId::new(reporter),
            section: Section {
                began: now,
                ended: now,
            },
            body,
        }
    }

    fn usage(&self) -> Usage {
        let cpu = CpuNanos::from_nanos((self.clock)().as_nanos());
        let task = TaskUsage {
            task: Some(TaskKey {
                tgid: 1,
                start_ticks: 1,
            }),
            cgroup: CgroupId(10),
            package: PackageId(0),
            cpu,
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(b"busy"),
            kind: TaskKind::User,
            ended: false,
        };
        let package = PackageTime {
            package: PackageId(0),
            cpus: 1,
            busy: cpu,
            idle: CpuNanos::ZERO,
        };
        Usage {
            tasks: vec![task],
            packages: vec![package],
            lost: Vec::new(),
            ..Usage::default()
        }
    }

    fn energy(&self, components: &[Component]) -> Energy {
        if let Some(energy) = bed::reads((self.clock)()) {
            return energy;
        }
        let total = Microwatts::from_watts(10).energy_over((self.clock)().since(MonotonicNanos::ZERO));
        let reading = |component: &Component| ZoneReading {
            zone: Zone {
                component: *component,
                place: Place::socket(PackageId(0)),
            },
            total,
            idle: None,
            provenance: Provenance::Counted,
            at: (self.clock)(),
            device: None,
        };
        Energy {
            zones: components.iter().map(reading).collect(),
            errors: Vec::new(),
        }
    }

    /// Every reader reads, and those whose plan it is tell of it.
    fn read(&self, tick: TickId, ctx: &mut Context<Self>) {
        for reader in self.readers.lock().expect("one thread").iter_mut() {
            let Some(delay) = (self.plan)(reader.source.0, tick.0) else {
                continue;
            };
            let (source, components) = (reader.source, reader.tells());
            ctx.run_later(delay, move |this, _| {
                let report = this.report(tick, source.0, this.energy(&components));
                // As in the pipeline each has a slot of its own in the mailbox.
                let _sent = this.to.clone().try_send(EnergyReady {
                    detail: None,
                    source,
                    report,
                });
            });
        }
    }
}

impl Handler<Tick> for Node {
    type Result = ();

    fn handle(&mut self, tick: Tick, ctx: &mut Self::Context) {
        self.read(tick.id, ctx);
        for reporter in [USAGE, RESOLVER] {
            let Some(delay) = (self.plan)(reporter, tick.id.0) else {
                continue;
            };
            ctx.run_later(delay, move |this, _| {
                let _sent = match reporter {
                    USAGE => this
                        .to
                        .try_send(UsageReady(this.report(tick.id, USAGE, Arc::new(this.usage()))))
                        .is_ok(),
                    _ => {
                        let identity = Arc::new(Identity::default());
                        this.to
                            .try_send(IdentityReady(
                                this.report(tick.id, RESOLVER, identity),
                                Vec::new(),
                            ))
                            .is_ok()
                    }
                };
            });
        }
    }
}

impl Handler<Paid> for Node {
    type Result = ();

    fn handle(&mut self, Paid(tick): Paid, _: &mut Self::Context) {
        self.paid.lock().expect("one thread").push(tick.0);
    }
}

/// Keeps what is published.
struct Listener(Arc<Mutex<Vec<Arc<Snapshot>>>>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Publish> for Listener {
    type Result = ();

    fn handle(&mut self, Publish(snapshot): Publish, _: &mut Self::Context) {
        self.0.lock().expect("one thread").push(snapshot);
    }
}

struct Ran {
    snapshots: Vec<Arc<Snapshot>>,
    paid: Vec<u64>,
    deaths: Option<String>,
}

/// Runs the plan for `ticks`, with the whole arbiter stalled once after `stall.0` ticks for `stall.1`.
fn run(ticks: u32, stall: Option<(u32, Duration)>, plan: Plan) -> Ran {
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    };
    System::with_tokio_rt(move || paused().expect("a runtime")).block_on(async move {
        let settings = Settings {
            floor: FloorPolicy::None,
            idle_share: IdleShare::Node,
            split: SplitRules::default(),
            processes_max: 10,
            ended_keep: Duration::from_secs(180),
        };
        let stage = Stage::new(settings, plan, meter()).await;
        if let Some((after, stalled)) = stall {
            tokio::time::sleep(TICK * after + TICK / 2).await;
            tokio::time::advance(stalled).await;
        }
        tokio::time::sleep(TICK * ticks - TICK / 20).await;
        let paid = Arc::clone(&stage.paid);
        let (snapshots, deaths) = stage.end().await;
        let paid = paid.lock().expect("one thread").clone();
        Ran {
            snapshots,
            paid,
            deaths,
        }
    })
}

fn paid_energy(snapshot: &Snapshot) -> u64 {
    snapshot
        .zones
        .iter()
        .map(|zone| (zone.dynamic + zone.idle).as_micro())
        .sum()
}

fn charged(snapshot: &Snapshot) -> u64 {
    let charges = snapshot.containers.iter().flat_map(|row| &row.ledger.charges);
    charges
        .map(|charge| (charge.dynamic + charge.idle).as_micro())
        .sum()
}

#[test]
fn a_window_closes_as_soon_as_everybody_is_in() {
    let ran = run(10, None, Box::new(|_, _| Some(Duration::from_millis(5))));
    assert_eq!(ran.deaths, None);
    assert_eq!(ran.snapshots.len(), 10);
    for snapshot in &ran.snapshots {
        let open = snapshot.window.ended.since(snapshot.window.began);
        assert!(open < Duration::from_millis(10), "{open:?}");
        assert!(snapshot.windows.late_now.is_empty());
    }
    // Ticks one second apart, 10 W: nine differences.
    let last = ran.snapshots.last().expect("some");
    assert_eq!(charged(last), 90_000_000);
    assert_eq!(
        last.zones.first().and_then(|zone| zone.power),
        Some(Microwatts::from_watts(10))
    );
    assert_eq!(ran.paid, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_mute_reporter_is_waited_for_until_the_deadline_and_named_and_no_energy_is_lost() {
    // rapl is mute in ticks 3 and 4: both are paid in tick 5
    let mute = |reporter: &str, tick: u64| {
        (reporter != METER.0 || !(3..=4).contains(&tick)).then_some(Duration::from_millis(5))
    };
    let ran = run(6, None, Box::new(mute));
    let third = ran.snapshots.get(2).expect("a third window");
    assert_eq!(
        third.window.ended.since(third.window.began),
        Duration::from_millis(800)
    );
    assert_eq!(third.windows.late_now, [ReporterId::new(METER.0)]);
    let charges: Vec<_> = ran
        .snapshots
        .iter()
        .map(|snapshot| charged(snapshot) / 1_000_000)
        .collect();
    assert_eq!(charges, [0, 10, 10, 10, 40, 50]);
}

#[test]
fn a_stalled_machine_costs_beats_but_brings_no_burst_of_windows() {
    let ran = run(3, Some((2, TICK * 5)), Box::new(|_, _| Some(Duration::ZERO)));
    let times: Vec<_> = ran
        .snapshots
        .iter()
        .map(|s| s.window.began.as_nanos() / 1_000_000_000)
        .collect();
    assert!(
        times.windows(2).all(|pair| matches!(pair, [a, b] if b > a)),
        "two windows in one second: {times:?}"
    );
    assert!(
        times.windows(2).any(|pair| matches!(pair, [a, b] if b - a >= 5)),
        "nothing was skipped: {times:?}"
    );
    let last = ran.snapshots.last().expect("some");
    // The first beat after the stall comes at least three seconds after its time, and its window is late by as much.
    let late = last.windows.lateness_sum;
    assert!((TICK * 3..TICK * 5).contains(&late), "{late:?}");
    assert_eq!(
        charged(last),
        (times.last().expect("some") - times.first().expect("some")) * 10_000_000
    );
}

#[test]
fn whatever_is_late_or_lost_the_sum_is_exact_and_nothing_falls() {
    for seed in 0..40_u64 {
        let quiet_from = 60;
        let ran = run(
            64,
            None,
            Box::new(move |reporter, tick| {
                let dice = scramble(seed ^ (tick << 8) ^ (reporter.len() as u64) << 40) % 100;
                match dice {
                    _ if tick >= quiet_from || tick == 1 => Some(Duration::from_millis(5)),
                    0..20 => None,
                    20..50 => Some(Duration::from_millis(dice * 60)), // up to three ticks late, out of order
                    _ => Some(Duration::from_millis(dice)),
                }
            }),
        );
        assert_eq!(ran.deaths, None);
        let mut seen: HashMap<String, u64> = HashMap::new();
        for snapshot in &ran.snapshots {
            let unattributed: u64 = snapshot
                .zones
                .iter()
                .map(|zone| zone.unattributed.as_micro())
                .sum();
            assert_eq!(
                charged(snapshot) + unattributed,
                paid_energy(snapshot),
                "seed {seed}"
            );
            for (name, now) in [("paid", paid_energy(snapshot)), ("charged", charged(snapshot))] {
                let before = seen.insert(name.to_owned(), now).unwrap_or(0);
                assert!(now >= before, "seed {seed}: {name} fell from {before} to {now}");
            }
        }
        // The first reading came 5 ms after the first tick, the last one 5 ms after tick 64: 63 s of 10 W.
        assert_eq!(
            ran.snapshots.last().map(|last| paid_energy(last)),
            Some(630_000_000),
            "seed {seed}"
        );
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): a die that is the same on every machine.
fn scramble(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
