// SPDX-License-Identifier: Apache-2.0
//! The wiring: builds the actors consumer before producer, and takes them down again in order.
//!
//! The only place that knows concrete actors; everybody else holds couriers. Threads: the System's arbiter (ticker and the
//! shells of sources), one arbiter for the attribution and for the shells of usage, resolver, estimator and exporter, one for
//! HTTP, one plain thread that pushes, and one per reader that may block. Those shells only hand things on, from or to the attribution: on
//! its thread that is a matter of nanoseconds, from another one each costs a wake-up.

mod adopt;
mod builder;
mod part;
mod push;
mod stop;

pub use adopt::{Changes, Reader};
pub use part::News;

use crate::clock::{self, Clock, Sleep};
use crate::driven::Driven;
use crate::harden::Network;
use crate::health::{Drops, Queue, Vitals};
use crate::messages::{Beat, Publish, UsageReady};
use crate::pace::Pace;
use crate::recorder::Tap;
use crate::shells::{AttributionShell, Courier, ExporterShell, Resolve, Score, Ticker, UsageReader};
use crate::splice::Splice;
use crate::state::Memory;
use actix::{Actor, Addr, Arbiter};
use attribution::engine::{Engine, LearnedZone, RESOLVER, Settings, Trust, USAGE};
use attribution::model::{NodeFacts, ReporterId, Snapshot};
use attribution::recording::Entry;
use builder::{Beaten, Builder, Seats};
use exporter::passthrough::Writer;
use exporter::push::Pusher;
use exporter::{Entrance, Page, Reloader, RenderSettings};
use part::Parting;
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
    /// Where people come in; closed for a pipeline that only measures.
    pub entrance: Entrance,
    /// Who hears what the attribution is asked, where it is recorded.
    pub tap: Option<Tap>,
    /// Feeds guests, where that is asked for.
    pub passthrough: Option<Writer>,
    /// What the thread that answers HTTP may do.
    pub network: Network,
    /// Tells those that do not scrape, where there are any.
    pub pusher: Option<Pusher>,
    /// Who reloads the configuration, where it can be.
    pub reloader: Reloader,
    /// How far apart snapshots are that readers are shown; nothing: every one is.
    pub least_between_pages: Duration,
}

/// A running pipeline.
pub struct Pipeline {
    deaths: mpsc::Receiver<String>,
    pages: watch::Receiver<Arc<Page>>,
    ticker: Addr<Ticker>,
    attribution: Addr<AttributionShell>,
    exporter: Addr<ExporterShell>,
    builder: Builder,
    seats: Seats,
    beaten: Beaten,
    parting: Option<Parting>,
    pusher: Option<JoinHandle<()>>,
    arbiters: Vec<Arbiter>,
    http: Option<Http>,
}

struct Http {
    stop: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
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
        let least = parts.least_between_pages;
        let mut builder = Builder::new(&parts.clock, &vitals, attribution_arbiter.handle(), least);
        let mut seats = Seats::default();

        let lifeline = vitals.lifeline("exporter");
        let render = Arc::clone(&parts.render);
        let exporter = ExporterShell::start_in_arbiter(&builder.arbiter, move |_| {
            ExporterShell::new(page_sender, render, Pace::new(least), lifeline)
        });
        let mut published = vec![Courier::<Publish>::new(
            &exporter,
            Queue::Exporter,
            &builder.drops,
        )];
        if let Some(writer) = parts.passthrough.take() {
            let (told, seat) = builder.passthrough(writer)?;
            builder.feed_by(seat, &mut seats);
            published.push(told);
        }

        let pusher = match parts.pusher.take() {
            Some(pusher) => Some(push::start(pusher, pages.clone(), vitals.lifeline("push"))?),
            None => None,
        };

        let memory = std::mem::take(&mut parts.memory);
        let engine = engine(&mut parts, &builder.drops, memory.restored, memory.trust);
        let keeper = memory.keeper;
        let saver = keeper.map(|keeper| builder.saver(keeper)).transpose()?;
        let saver = saver.map(|(saver, seat)| {
            builder.save_by(seat, &mut seats);
            saver
        });
        let (clock, drops, lifeline) = (
            Arc::clone(&builder.clock),
            builder.drops.clone(),
            vitals.lifeline("attribution"),
        );
        let attribution = AttributionShell::start_in_arbiter(&builder.arbiter, move |_| {
            AttributionShell::new(engine, clock, drops, published, saver, lifeline)
                .watching(Sleep::new(clock::all))
        });

        for meter in parts.meters {
            let source = builder.source(meter, Splice::default(), &attribution)?;
            seats.meters.push(source);
        }
        let told = vec![
            Courier::<UsageReady>::new(&attribution, Queue::Attribution, &builder.drops),
            builder.estimator(parts.estimator, &mut seats, &attribution),
            builder.resolver(parts.resolver, &mut seats, &attribution)?,
        ];
        let usage = builder.usage(parts.usage, told, &mut seats, &attribution)?;
        let beaten = Beaten {
            period: parts.tick,
            attribution: Courier::new(&attribution, Queue::Attribution, &builder.drops),
            usage,
        };
        let Score { period, listeners } = beaten.score(seats.meters.iter());
        let ticker = Ticker::new(
            period,
            Arc::clone(&builder.clock),
            listeners,
            vitals.lifeline("ticker"),
        )
        .start();
        Ok(Self {
            deaths,
            pages,
            ticker,
            attribution,
            exporter,
            builder,
            seats,
            beaten,
            parting: None,
            pusher,
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
    let entrance = parts.entrance.clone();
    if entrance.is_closed() {
        return None;
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let (finished, done) = oneshot::channel();
    let context = exporter::Context {
        pages,
        tick: parts.tick.max(parts.least_between_pages),
        now: clock::monotonic,
        reloader: parts.reloader.clone(),
    };
    let lifeline = vitals.lifeline("http");
    let network = parts.network.clone();
    arbiter.spawn(async move {
        let _lifeline = lifeline;
        if let Err(error) = network.restrict() {
            tracing::error!(%error, "http ended");
            return;
        }
        let shutdown = async {
            drop(stopped.await);
        };
        if let Err(error) = exporter::serve(entrance, context, shutdown).await {
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

    pub(super) fn parts(meter: impl PowerSource + 'static) -> Parts {
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
            entrance: Entrance::closed(),
            tap: None,
            passthrough: None,
            network: Network::unrestricted(),
            pusher: None,
            reloader: Reloader::default(),
            least_between_pages: Duration::ZERO,
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
