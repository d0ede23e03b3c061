// SPDX-License-Identifier: Apache-2.0
//! The wiring: builds the actors consumer before producer, and takes them down again in order.
//!
//! The only place that knows concrete actors; everybody else holds couriers. Threads: the System's arbiter (ticker and the
//! shells of sources), one arbiter for the attribution and for the shells of usage, resolver, estimator and exporter, one for
//! HTTP, and one plain thread per reader that may block. Those shells only hand things on, from or to the attribution: on
//! its thread that is a matter of nanoseconds, from another one each costs a wake-up.

mod stop;

use crate::clock::{self, Clock};
use crate::driven::Driven;
use crate::health::{Drops, Queue, Vitals};
use crate::messages::{Beat, EnergyReady, Publish, Stop, Tick, UsageReady};
use crate::recorder::Tap;
use crate::shells::{
    AttributionShell, Courier, EstimatorShell, ExporterShell, PassthroughShell, PayTo, Resolve,
    ResolverShell, Saver, SourceShell, Ticker, UsageReader, UsageShell,
};
use crate::state::{Keeper, Memory};
use crate::worker::{Inbox, Worker};
use actix::{Actor, Addr, Arbiter, ArbiterHandle, Recipient};
use anyhow::Context as _;
use attribution::engine::{Engine, LearnedZone, RESOLVER, Settings, Trust, USAGE};
use attribution::model::{NodeFacts, ReporterId, Snapshot};
use attribution::recording::Entry;
use exporter::passthrough::Writer;
use exporter::{Page, RenderSettings};
use power_sources::PowerSource;
use power_sources::estimator::{Estimator, SOURCE as ESTIMATED};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Everything that the pipeline is made of.
pub struct Parts {
    /// Period of the ticker.
    pub tick: Duration,
    /// Tells the time.
    pub clock: Clock,
    /// Reads who ran.
    pub usage: Box<dyn UsageReader>,
    /// Finds out who is who.
    pub resolver: Box<dyn Resolve>,
    /// Meters.
    pub meters: Vec<Box<dyn PowerSource>>,
    /// The model for components without a meter.
    pub estimator: Option<Estimator>,
    /// Rules of the split.
    pub rules: Settings,
    /// Decisions of the start-up.
    pub facts: Arc<NodeFacts>,
    /// What is rendered, and how.
    pub render: Arc<RenderSettings>,
    /// What an earlier run has left.
    pub memory: Memory,
    /// Bound sockets; empty for a pipeline that only measures.
    pub listeners: Vec<std::net::TcpListener>,
    /// Who hears what the attribution is asked, where it is recorded.
    pub tap: Option<Tap>,
    /// Feeds guests, where that is asked for.
    pub passthrough: Option<Writer>,
}

/// A running pipeline.
pub struct Pipeline {
    vitals: Vitals,
    deaths: mpsc::Receiver<String>,
    pages: watch::Receiver<Arc<Page>>,
    ticker: Addr<Ticker>,
    attribution: Addr<AttributionShell>,
    shells: Vec<Recipient<Stop>>,
    readers: Vec<JoinHandle<()>>,
    saver: Option<JoinHandle<()>>,
    arbiters: Vec<Arbiter>,
    http: Option<Http>,
}

struct Http {
    stop: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
}

/// What the builder carries from step to step.
struct Builder {
    clock: Clock,
    drops: Drops,
    vitals: Vitals,
    /// Where the attribution and the shells that feed it run.
    arbiter: ArbiterHandle,
    shells: Vec<Recipient<Stop>>,
    readers: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Builds and starts everything. Must be called inside an actix System.
    ///
    /// # Errors
    /// When the kernel gives no thread or a socket cannot be used.
    pub fn start(mut parts: Parts) -> anyhow::Result<Self> {
        let (vitals, deaths) = Vitals::new();
        let (page_sender, pages) = watch::channel(Arc::new(first_page(&parts)));
        let (attribution_arbiter, http_arbiter) = (Arbiter::new(), Arbiter::new());
        let http = serve(&parts, &http_arbiter, pages.clone(), &vitals);
        let mut builder = Builder {
            clock: Arc::clone(&parts.clock),
            drops: Drops::default(),
            vitals: vitals.clone(),
            arbiter: attribution_arbiter.handle(),
            shells: Vec::new(),
            readers: Vec::new(),
        };

        let lifeline = vitals.lifeline("exporter");
        let render = Arc::clone(&parts.render);
        let exporter = ExporterShell::start_in_arbiter(&builder.arbiter, move |_| {
            ExporterShell::new(page_sender, render, lifeline)
        });
        let mut published = vec![Courier::<Publish>::new(
            &exporter,
            Queue::Exporter,
            &builder.drops,
        )];
        if let Some(writer) = parts.passthrough.take() {
            published.push(builder.passthrough(writer)?);
        }

        let memory = std::mem::take(&mut parts.memory);
        let engine = engine(&mut parts, &builder.drops, memory.restored, memory.trust);
        let (saver, saving) = match memory.keeper {
            Some(keeper) => builder
                .saver(keeper)
                .map(|(saver, thread)| (Some(saver), Some(thread)))?,
            None => (None, None),
        };
        let (clock, drops, lifeline) = (
            Arc::clone(&builder.clock),
            builder.drops.clone(),
            vitals.lifeline("attribution"),
        );
        let attribution = AttributionShell::start_in_arbiter(&builder.arbiter, move |_| {
            AttributionShell::new(engine, clock, drops, published, saver, lifeline)
        });

        // The attribution hears a tick before any producer, so that the window is open when the first report comes.
        let mut ticked = vec![Courier::<Tick>::new(
            &attribution,
            Queue::Attribution,
            &builder.drops,
        )];
        for meter in parts.meters {
            ticked.push(builder.source(meter, &attribution)?);
        }
        let mut told = vec![Courier::<UsageReady>::new(
            &attribution,
            Queue::Attribution,
            &builder.drops,
        )];
        told.extend(
            parts
                .estimator
                .map(|estimator| builder.estimator(estimator, &attribution)),
        );
        told.push(builder.resolver(parts.resolver, &attribution)?);
        ticked.push(builder.usage(parts.usage, told, &attribution)?);
        let ticker = Ticker::new(
            parts.tick,
            Arc::clone(&builder.clock),
            ticked,
            vitals.lifeline("ticker"),
        )
        .start();

        builder.shells.push(attribution.clone().recipient());
        builder.shells.push(exporter.recipient());
        Ok(Self {
            vitals,
            deaths,
            pages,
            ticker,
            attribution,
            shells: builder.shells,
            readers: builder.readers,
            saver: saving,
            arbiters: vec![attribution_arbiter, http_arbiter],
            http,
        })
    }

    /// Waits until an actor or a reader dies and gives its name.
    pub async fn died(&mut self) -> String {
        // The pipeline holds vitals itself, so the channel stays open.
        self.deaths.recv().await.unwrap_or_default()
    }

    /// Opens a window now; the next one comes a whole period later.
    pub fn beat(&self) {
        if let Err(error) = self.ticker.try_send(Beat) {
            tracing::debug!(%error, "the ticker beats by itself");
        }
    }

    /// Where the newest page is put.
    #[must_use]
    pub fn pages(&self) -> watch::Receiver<Arc<Page>> {
        self.pages.clone()
    }
}

impl Builder {
    fn source(
        &mut self,
        meter: Box<dyn PowerSource>,
        attribution: &Addr<AttributionShell>,
    ) -> anyhow::Result<Courier<Tick>> {
        let name = meter.id().0;
        let to = Courier::<EnergyReady>::new(attribution, Queue::Attribution, &self.drops);
        let work = SourceShell::work(meter, Arc::clone(&self.clock), to);
        let (reader, inbox) = Worker::new(Queue::SourceReader, &self.drops);
        self.reader(name, inbox, work)?;
        let shell = SourceShell::new(reader, self.vitals.lifeline(name)).start();
        self.shells.push(shell.clone().recipient());
        Ok(Courier::new(&shell, Queue::Source, &self.drops))
    }

    fn estimator(
        &mut self,
        estimator: Estimator,
        attribution: &Addr<AttributionShell>,
    ) -> Courier<UsageReady> {
        let to = Courier::<EnergyReady>::new(attribution, Queue::Attribution, &self.drops);
        let lifeline = self.vitals.lifeline("estimator");
        let shell = EstimatorShell::start_in_arbiter(&self.arbiter, move |_| {
            EstimatorShell::new(estimator, to, lifeline)
        });
        self.shells.push(shell.clone().recipient());
        Courier::new(&shell, Queue::Estimator, &self.drops)
    }

    fn resolver(
        &mut self,
        resolver: Box<dyn Resolve>,
        attribution: &Addr<AttributionShell>,
    ) -> anyhow::Result<Courier<UsageReady>> {
        let to = Courier::new(attribution, Queue::Attribution, &self.drops);
        let work = ResolverShell::work(resolver, Arc::clone(&self.clock), to);
        let (reader, inbox) = Worker::new(Queue::ResolverReader, &self.drops);
        self.reader(RESOLVER, inbox, work)?;
        let lifeline = self.vitals.lifeline(RESOLVER);
        let shell =
            ResolverShell::start_in_arbiter(&self.arbiter, move |_| ResolverShell::new(reader, lifeline));
        self.shells.push(shell.clone().recipient());
        Ok(Courier::new(&shell, Queue::Resolver, &self.drops))
    }

    fn passthrough(&mut self, writer: Writer) -> anyhow::Result<Courier<Publish>> {
        let work = PassthroughShell::work(writer, Arc::clone(&self.clock));
        let (thread, inbox) = Worker::new(Queue::PassthroughWriter, &self.drops);
        self.reader("vm-passthrough", inbox, work)?;
        let lifeline = self.vitals.lifeline("vm-passthrough");
        let shell = PassthroughShell::start_in_arbiter(&self.arbiter, move |_| {
            PassthroughShell::new(thread, lifeline)
        });
        self.shells.push(shell.clone().recipient());
        Ok(Courier::new(&shell, Queue::Passthrough, &self.drops))
    }

    fn saver(&self, mut keeper: Keeper) -> anyhow::Result<(Saver, JoinHandle<()>)> {
        let (worker, inbox) = Worker::new(Queue::State, &self.drops);
        let thread = self.thread("state", inbox, move |learned: Vec<LearnedZone>| {
            keeper.save(&learned, clock::unix_seconds());
        })?;
        Ok((Saver::new(worker), thread))
    }

    fn usage(
        &mut self,
        usage: Box<dyn UsageReader>,
        told: Vec<Courier<UsageReady>>,
        attribution: &Addr<AttributionShell>,
    ) -> anyhow::Result<Courier<Tick>> {
        let lifeline = self.vitals.lifeline(USAGE);
        // The reader's thread sends home to a shell that owns the way to the thread, so the way is made first.
        let (reader, inbox) = Worker::new(Queue::UsageReader, &self.drops);
        let shell =
            UsageShell::start_in_arbiter(&self.arbiter, move |_| UsageShell::new(reader, told, lifeline));
        let home = Courier::new(&shell, Queue::Usage, &self.drops);
        self.reader("bpf-reader", inbox, UsageShell::work(usage, home))?;
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
        let thread = self.thread(name, inbox, work)?;
        self.readers.push(thread);
        Ok(())
    }

    fn thread<Q: Send + 'static>(
        &self,
        name: &str,
        inbox: Inbox<Q>,
        work: impl FnMut(Q) + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let lifeline = self.vitals.lifeline(&format!("{name} reader"));
        inbox
            .spawn(lifeline, name, work)
            .with_context(|| format!("cannot start the thread {name}"))
    }
}

/// An engine that knows its reporters, and whoever listens heard which they are.
fn engine(parts: &mut Parts, drops: &Drops, restored: Vec<LearnedZone>, trust: Option<Trust>) -> Driven {
    let mut engine = Engine::new(parts.rules.clone(), Arc::clone(&parts.facts));
    if let Some(trust) = trust {
        engine.restore_floors(restored, trust);
    }
    let tap = parts.tap.take().map(|tap| tap.counted_with(drops));
    let mut engine = Driven::new(engine, tap);
    for reporter in [USAGE, RESOLVER] {
        engine.call(Entry::Expect(ReporterId::new(reporter)));
    }
    let meters = parts.meters.iter().map(|meter| meter.id());
    for source in meters.chain(parts.estimator.is_some().then_some(ESTIMATED)) {
        engine.call(Entry::ExpectSource(source));
    }
    engine
}

/// What is served until the first window closes: decisions and no figures.
fn first_page(parts: &Parts) -> Page {
    let nothing = Snapshot {
        facts: Arc::clone(&parts.facts),
        ..Snapshot::default()
    };
    Page::new(Arc::new(nothing), Arc::clone(&parts.render))
}

/// Starts HTTP on its own arbiter.
fn serve(
    parts: &Parts,
    arbiter: &Arbiter,
    pages: watch::Receiver<Arc<Page>>,
    vitals: &Vitals,
) -> Option<Http> {
    let sockets: Vec<_> = parts
        .listeners
        .iter()
        .filter_map(|listener| listener.try_clone().ok())
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let (finished, done) = oneshot::channel();
    let context = exporter::Context {
        pages,
        tick: parts.tick,
        now: clock::monotonic,
    };
    let lifeline = vitals.lifeline("http");
    arbiter.spawn(async move {
        let _lifeline = lifeline;
        let shutdown = async {
            drop(stopped.await);
        };
        if let Err(error) = exporter::serve(sockets, context, shutdown).await {
            tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "http ended");
        }
        let _ = finished.send(());
    });
    Some(Http { stop, done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Outcome, run_until};
    use attribution::engine::{FloorPolicy, IdleShare, SplitRules};
    use attribution::model::*;
    use crossbeam_channel::{Receiver, bounded};

    /// A reader that has seen nobody run.
    struct Nobody;

    impl UsageReader for Nobody {
        fn drain(&mut self, _: TickId, _: TickId, _: Vec<TaskUsage>) -> anyhow::Result<(Section, Usage)> {
            Ok((
                Section {
                    began: clock::monotonic(),
                    ended: clock::monotonic(),
                },
                Usage::default(),
            ))
        }
    }

    impl Resolve for Nobody {
        fn resolve(&mut self, _: &Usage) -> Arc<Identity> {
            Arc::default()
        }
    }

    /// A meter that does at its second reading whatever the test wants.
    struct Meter<F: FnMut() + Send>(u32, F);

    impl<F: FnMut() + Send> PowerSource for Meter<F> {
        fn id(&self) -> SourceId {
            SourceId("rapl-sysfs")
        }

        fn components(&self) -> Vec<Component> {
            vec![Component::Package]
        }

        fn detail(&self) -> String {
            String::new()
        }

        fn read(&mut self, _: MonotonicNanos) -> Energy {
            self.0 += 1;
            if self.0 == 2 {
                (self.1)();
            }
            Energy::default()
        }
    }

    fn parts(meter: impl PowerSource + 'static) -> Parts {
        Parts {
            tick: Duration::from_millis(100),
            clock: clock::system(),
            usage: Box::new(Nobody),
            resolver: Box::new(Nobody),
            meters: vec![Box::new(meter)],
            estimator: None,
            rules: Settings {
                floor: FloorPolicy::None,
                idle_share: IdleShare::Node,
                split: SplitRules::default(),
                processes_max: 1,
                ended_keep: Duration::ZERO,
            },
            facts: Arc::default(),
            render: Arc::new(RenderSettings::new(
                &exporter::ExporterConfig::default(),
                crate::run::build_info(),
            )),
            memory: Memory::default(),
            listeners: Vec::new(),
            tap: None,
            passthrough: None,
        }
    }

    #[test]
    fn a_reader_that_dies_ends_the_pipeline_with_its_name_and_code_70() {
        let meter = Meter(0, || panic!("a bug in a source"));
        let outcome = run_until(|| Ok(std::future::pending::<()>()), || Ok(parts(meter))).expect("it starts");
        assert_eq!(outcome, Outcome::Died("rapl-sysfs reader".to_owned()));
        assert_eq!(outcome.code(), 70);
        assert_eq!(Outcome::Stopped.code(), 0);
    }

    #[test]
    fn a_meter_that_hangs_for_ever_does_not_hold_up_the_stop() {
        let (hangs, hung) = bounded::<()>(0);
        let (never, wait): (_, Receiver<()>) = bounded(0);
        let meter = Meter(0, move || {
            hangs.send(()).expect("the test listens");
            let _ = wait.recv();
        });
        let stop = || Ok(async move { drop(tokio::task::spawn_blocking(move || hung.recv()).await) });
        let outcome = run_until(stop, || Ok(parts(meter))).expect("it starts");
        assert_eq!(outcome, Outcome::Stopped);
        drop(never);
    }
}
