// SPDX-License-Identifier: Apache-2.0
//! Starts one actor with its thread at a time, at the start and where a reload wants another one; and remembers the seats in which
//! a reload may put somebody else.

use crate::clock::{self, Clock};
use crate::health::{Drops, Leave, Queue, Vitals};
use crate::messages::{EnergyReady, Publish, Stop, Tick, UsageReady};
use crate::pace::Pace;
use crate::shells::{
    AttributionShell, Courier, EstimatorShell, PassthroughShell, PayTo, Resolve, ResolverShell, Saver, Score,
    SourceShell, UsageReader, UsageShell,
};
use crate::slot::{Shared, Slot};
use crate::splice::Splice;
use crate::state::Keeper;
use crate::worker::{Inbox, Worker};
use actix::{Actor, Addr, ArbiterHandle, Recipient};
use anyhow::Context as _;
use attribution::engine::{LearnedZone, RESOLVER, USAGE};
use attribution::model::{Component, SourceId};
use exporter::passthrough::Writer;
use power_sources::PowerSource;
use power_sources::estimator::Estimator;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What the builder carries from step to step.
pub(super) struct Builder {
    pub(super) clock: Clock,
    pub(super) drops: Drops,
    pub(super) vitals: Vitals,
    /// How far apart snapshots are that readers are shown.
    pub(super) least: Duration,
    /// Where the attribution and the shells that feed it run.
    pub(super) arbiter: ArbiterHandle,
    pub(super) shells: Vec<Recipient<Stop>>,
    pub(super) readers: Vec<JoinHandle<()>>,
    /// The thread that saves what was learned, if there is one.
    pub(super) saver: Option<JoinHandle<()>>,
}

/// Where somebody may take another one's place.
#[derive(Default)]
pub(super) struct Seats {
    pub(super) usage: Slot<Box<dyn UsageReader>>,
    pub(super) resolver: Slot<Box<dyn Resolve>>,
    pub(super) estimator: Slot<Option<Estimator>>,
    /// What the estimator answers for; nothing where there is none.
    pub(super) estimated: Vec<Component>,
    pub(super) meters: Vec<Seat>,
    /// Those that are read until nobody waits for them.
    pub(super) leaving: Vec<Seat>,
    /// Totals of sources that are read no more, should they come back: one for each source that there is at most.
    pub(super) left: Vec<(SourceId, Splice)>,
    /// `None` until somebody is fed.
    pub(super) passthrough: Option<Slot<Option<Writer>>>,
    /// `None` until something is kept.
    pub(super) keeper: Option<Slot<Option<Keeper>>>,
}

/// One source that is read.
pub(super) struct Seat {
    pub(super) id: SourceId,
    /// That it is read for.
    pub(super) components: Vec<Component>,
    pub(super) ticks: Courier<Tick>,
    pub(super) next: Slot<Box<dyn PowerSource>>,
    pub(super) splice: Shared<Splice>,
    pub(super) shell: Recipient<Stop>,
    pub(super) leave: Leave,
}

/// A thread that saves, and may still be given leave to end.
pub(super) struct SaverSeat {
    next: Slot<Option<Keeper>>,
    thread: JoinHandle<()>,
    pub(super) leave: Leave,
}

/// A thread that feeds guests with its shell, likewise.
pub(super) struct FeederSeat {
    next: Slot<Option<Writer>>,
    thread: JoinHandle<()>,
    shell: Recipient<Stop>,
    pub(super) leave: Leave,
}

/// Who always hears the ticker.
pub(super) struct Beaten {
    pub(super) period: Duration,
    pub(super) attribution: Courier<Tick>,
    pub(super) usage: Courier<Tick>,
}

impl Beaten {
    /// The attribution hears a tick before any producer, so that the window is open when the first report comes.
    pub(super) fn score<'a>(&self, meters: impl Iterator<Item = &'a Seat>) -> Score {
        let mut listeners = vec![self.attribution.clone()];
        listeners.extend(meters.map(|meter| meter.ticks.clone()));
        listeners.push(self.usage.clone());
        Score {
            period: self.period,
            listeners,
        }
    }
}

impl Builder {
    pub(super) fn new(clock: &Clock, vitals: &Vitals, arbiter: ArbiterHandle, least: Duration) -> Self {
        Self {
            clock: Arc::clone(clock),
            drops: Drops::default(),
            vitals: vitals.clone(),
            least,
            arbiter,
            shells: Vec::new(),
            readers: Vec::new(),
            saver: None,
        }
    }

    /// `splice` is what readers of this source before have told. To be called on the System's arbiter.
    pub(super) fn source(
        &mut self,
        meter: Box<dyn PowerSource>,
        splice: Splice,
        attribution: &Addr<AttributionShell>,
    ) -> anyhow::Result<Seat> {
        let (id, components) = (meter.id(), meter.components());
        let (next, splice, leave) = (Slot::default(), Shared::new(splice), Leave::default());
        let to = Courier::<EnergyReady>::new(attribution, Queue::Attribution, &self.drops);
        let work = SourceShell::work(meter, next.clone(), splice.clone(), Arc::clone(&self.clock), to);
        let (reader, inbox) = Worker::new(Queue::SourceReader, &self.drops);
        let thread = inbox.spawn(&self.vitals, id.0, &leave, work)?;
        // Those of sources that have left: nobody has to wait for them.
        self.readers.retain(|reader| !reader.is_finished());
        self.readers.push(thread);
        let shell = SourceShell::new(reader, self.vitals.lifeline_until(id.0, &leave)).start();
        Ok(Seat {
            id,
            components,
            ticks: Courier::new(&shell, Queue::Source, &self.drops),
            next,
            splice,
            shell: shell.recipient(),
            leave,
        })
    }

    pub(super) fn estimator(
        &mut self,
        estimator: Option<Estimator>,
        seats: &mut Seats,
        attribution: &Addr<AttributionShell>,
    ) -> Courier<UsageReady> {
        let to = Courier::<EnergyReady>::new(attribution, Queue::Attribution, &self.drops);
        let lifeline = self.vitals.lifeline("estimator");
        seats.estimated = estimator.as_ref().map_or_else(Vec::new, Estimator::components);
        let next = seats.estimator.clone();
        let shell = EstimatorShell::start_in_arbiter(&self.arbiter, move |_| {
            EstimatorShell::new(estimator, next, to, lifeline)
        });
        self.shells.push(shell.clone().recipient());
        Courier::new(&shell, Queue::Estimator, &self.drops)
    }

    pub(super) fn resolver(
        &mut self,
        resolver: Box<dyn Resolve>,
        seats: &mut Seats,
        attribution: &Addr<AttributionShell>,
    ) -> anyhow::Result<Courier<UsageReady>> {
        let to = Courier::new(attribution, Queue::Attribution, &self.drops);
        let work = ResolverShell::work(resolver, seats.resolver.clone(), Arc::clone(&self.clock), to);
        let (reader, inbox) = Worker::new(Queue::ResolverReader, &self.drops);
        self.reader(RESOLVER, inbox, work)?;
        let lifeline = self.vitals.lifeline(RESOLVER);
        let shell =
            ResolverShell::start_in_arbiter(&self.arbiter, move |_| ResolverShell::new(reader, lifeline));
        self.shells.push(shell.clone().recipient());
        Ok(Courier::new(&shell, Queue::Resolver, &self.drops))
    }

    /// Starts the thread that feeds guests; [`Self::feed_by`] has it stay.
    pub(super) fn passthrough(&self, writer: Writer) -> anyhow::Result<(Courier<Publish>, FeederSeat)> {
        let (next, leave) = (Slot::default(), Leave::default());
        let work = PassthroughShell::work(writer, next.clone(), Arc::clone(&self.clock));
        let (worker, inbox) = Worker::new(Queue::PassthroughWriter, &self.drops);
        let thread = inbox.spawn(&self.vitals, "vm-passthrough", &leave, work)?;
        let lifeline = self.vitals.lifeline_until("vm-passthrough", &leave);
        let pace = Pace::new(self.least);
        let shell = PassthroughShell::start_in_arbiter(&self.arbiter, move |_| {
            PassthroughShell::new(worker, pace, lifeline)
        });
        let told = Courier::new(&shell, Queue::Passthrough, &self.drops);
        let seat = FeederSeat {
            next,
            thread,
            shell: shell.recipient(),
            leave,
        };
        Ok((told, seat))
    }

    /// Seats it for good.
    pub(super) fn feed_by(&mut self, seat: FeederSeat, seats: &mut Seats) {
        self.readers.push(seat.thread);
        self.shells.push(seat.shell);
        seats.passthrough = Some(seat.next);
    }

    /// Starts the thread that saves; [`Self::save_by`] has it stay.
    pub(super) fn saver(&self, keeper: Keeper) -> anyhow::Result<(Saver, SaverSeat)> {
        let next: Slot<Option<Keeper>> = Slot::default();
        let (worker, inbox) = Worker::new(Queue::State, &self.drops);
        let (mut keeper, seat, leave) = (Some(keeper), next.clone(), Leave::default());
        let work = move |learned: Vec<LearnedZone>| {
            if let Some(next) = next.take() {
                let before = std::mem::replace(&mut keeper, next);
                if keeper.is_none() {
                    before.into_iter().for_each(Keeper::end);
                }
            }
            if let Some(keeper) = &mut keeper {
                keeper.save(&learned, clock::unix_seconds());
            }
        };
        let thread = inbox.spawn(&self.vitals, "state", &leave, work)?;
        let seat = SaverSeat {
            next: seat,
            thread,
            leave,
        };
        Ok((Saver::new(worker), seat))
    }

    /// Seats it for good.
    pub(super) fn save_by(&mut self, seat: SaverSeat, seats: &mut Seats) {
        seats.keeper = Some(seat.next);
        self.saver = Some(seat.thread);
    }

    pub(super) fn usage(
        &mut self,
        usage: Box<dyn UsageReader>,
        told: Vec<Courier<UsageReady>>,
        seats: &mut Seats,
        attribution: &Addr<AttributionShell>,
    ) -> anyhow::Result<Courier<Tick>> {
        let lifeline = self.vitals.lifeline(USAGE);
        // The reader's thread sends home to a shell that owns the way to the thread, so the way is made first.
        let (reader, inbox) = Worker::new(Queue::UsageReader, &self.drops);
        let shell =
            UsageShell::start_in_arbiter(&self.arbiter, move |_| UsageShell::new(reader, told, lifeline));
        let home = Courier::new(&shell, Queue::Usage, &self.drops);
        self.reader(
            "bpf-reader",
            inbox,
            UsageShell::work(usage, seats.usage.clone(), home),
        )?;
        let pay = PayTo(Courier::new(&shell, Queue::Usage, &self.drops));
        attribution
            .try_send(pay)
            .context("the attribution takes no messages")?;
        self.shells.push(shell.clone().recipient());
        Ok(Courier::new(&shell, Queue::Usage, &self.drops))
    }

    fn reader<Q: Send + 'static>(
        &mut self,
        name: &str,
        inbox: Inbox<Q>,
        work: impl FnMut(Q) + Send + 'static,
    ) -> anyhow::Result<()> {
        let thread = inbox.spawn(&self.vitals, name, &Leave::default(), work)?;
        self.readers.push(thread);
        Ok(())
    }
}
