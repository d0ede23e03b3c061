// SPDX-License-Identifier: Apache-2.0
//! The shells with threads, played without any: the probe, the resolver and the meter answer after a while, and keep what the
//! readers of the daemon keep. Nothing of theirs arrives but through a post office.

use super::super::super::Courier;
use super::town::{Life, Town};
use crate::clock::Clock;
use crate::messages::{EnergyReady, IdentityReady, Paid, Tick, UsageReady};
use actix::{Actor, AsyncContext, Context, Handler};
use attribution::engine::{RESOLVER, USAGE};
use attribution::model::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const METER: SourceId = SourceId("rapl-sysfs");

/// A reading takes a while.
const READING: Duration = Duration::from_millis(3);

fn report<T>(clock: &Clock, tick: TickId, reporter: &str, body: T) -> Report<T> {
    let now = clock();
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

/// Counts CPU time, and forgets the dead once they are paid, as `probe_ebpf` does.
pub(super) struct Probe {
    pub(super) town: Town,
    pub(super) clock: Clock,
    pub(super) to: Vec<Courier<UsageReady>>,
    pub(super) acked: TickId,
    /// Of the dead, the report that had the last news of them.
    pub(super) settled: HashMap<u32, TickId>,
    pub(super) newest: TickId,
    /// Moment of the last drain.
    pub(super) drained: Arc<Mutex<u64>>,
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Probe {
    fn drain(&mut self, tick: TickId) -> Usage {
        let now = (self.clock)().as_nanos();
        *self.drained.lock().expect("one thread") = now;
        let born: Vec<Life> = self
            .town
            .0
            .iter()
            .filter(|life| life.born <= now)
            .copied()
            .collect();
        let mut listed = Vec::new();
        for life in born {
            let is_forgotten = self
                .settled
                .get(&life.tgid)
                .is_some_and(|settled| *settled <= self.acked);
            if !is_forgotten {
                listed.push(life);
            }
            if life.dies <= now {
                self.settled.entry(life.tgid).or_insert(tick);
            }
        }
        self.town.report(&listed, now)
    }
}

impl Handler<Tick> for Probe {
    type Result = ();

    fn handle(&mut self, tick: Tick, ctx: &mut Self::Context) {
        // One thread drains, in the order of the ticks.
        if tick.id <= self.newest {
            return;
        }
        self.newest = tick.id;
        ctx.run_later(READING, move |this, _| {
            let usage = Arc::new(this.drain(tick.id));
            let ready = UsageReady(report(&this.clock, tick.id, USAGE, usage));
            this.to.iter().for_each(|to| to.send(ready.clone()));
        });
    }
}

impl Handler<Paid> for Probe {
    type Result = ();

    fn handle(&mut self, Paid(tick): Paid, _: &mut Self::Context) {
        self.acked = self.acked.max(tick);
    }
}

/// Knows everybody by the cgroup.
pub(super) struct Resolver {
    pub(super) clock: Clock,
    pub(super) to: Courier<IdentityReady>,
}

impl Actor for Resolver {
    type Context = Context<Self>;
}

impl Handler<UsageReady> for Resolver {
    type Result = ();

    fn handle(&mut self, UsageReady(usage): UsageReady, ctx: &mut Self::Context) {
        ctx.run_later(READING, move |this, _| {
            let identity = Arc::new(Town::identity(&usage.body));
            let report = report(&this.clock, usage.tick, RESOLVER, identity);
            this.to.send(IdentityReady(report, Vec::new()));
        });
    }
}

/// Reads the zones.
pub(super) struct Meter {
    pub(super) town: Town,
    pub(super) clock: Clock,
    pub(super) to: Courier<EnergyReady>,
    /// Moments of the first reading and of the last one.
    pub(super) read: Arc<Mutex<Option<(u64, u64)>>>,
    pub(super) newest: TickId,
}

impl Actor for Meter {
    type Context = Context<Self>;
}

impl Handler<Tick> for Meter {
    type Result = ();

    fn handle(&mut self, tick: Tick, ctx: &mut Self::Context) {
        if tick.id <= self.newest {
            return;
        }
        self.newest = tick.id;
        ctx.run_later(READING, move |this, _| {
            let now = (this.clock)().as_nanos();
            let mut read = this.read.lock().expect("one thread");
            let first = read.map_or(now, |(first, _)| first);
            *read = Some((first, now));
            this.to.send(EnergyReady {
                source: METER,
                detail: None,
                report: report(&this.clock, tick.id, METER.0, this.town.readings(now)),
            });
        });
    }
}
