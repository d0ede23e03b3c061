// SPDX-License-Identifier: Apache-2.0
//! A storm: every message between the actors is lost, late or out of its order, in thousands of ways, while processes come and go,
//! rules and the beat change, windows are asked for and closed out of turn, and the machine stands still for a while. Afterwards
//! every joule and every nanosecond is where it belongs.
//!
//! Of what is awaited (a change of rules or of the beat) nothing can be lost; it comes at any moment. Ticks to a reader keep their
//! order, for a thread takes one after the other. `SEEDS` says how many storms there are; without it 300. `SEED` has one of them again.

mod players;
mod post;
mod sums;
mod town;

use super::reloads::rules;
use super::scramble;
use crate::clock::Clock;
use crate::driven::Driven;
use crate::health::{Drops, Queue, Vitals};
use crate::messages::{Beat, CloseNow, Publish, Stop};
use crate::shells::{Adopt, Adoption, AttributionShell, Courier, PayTo, Score, Ticker};
use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, Message, System};
use attribution::engine::{Engine, RESOLVER, USAGE};
use attribution::model::*;
use players::{METER, Meter, Probe, Resolver};
use post::{Fates, Post, STORM_ENDS};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sums::{conserves, nothing_falls};
use tokio::sync::oneshot;
use tokio::time::{Instant, advance, sleep};
use town::Town;

const SECOND: Duration = Duration::from_secs(1);
const PERIODS_MS: [u64; 5] = [100, 300, 1_000, 1_700, 3_000];
/// After the storm: everything that was late has come, and some windows more.
const CALM: Duration = Duration::from_secs(12);

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

/// What a storm left behind.
struct Left {
    snapshots: Vec<Arc<Snapshot>>,
    died: Option<String>,
    town: Town,
    /// Moments of the meter's first reading and of its last one.
    read: (u64, u64),
    /// Moment of the probe's last drain.
    drained: u64,
    fates: Fates,
}

/// What offices are opened with.
struct Offices {
    clock: Clock,
    drops: Drops,
    dice: u64,
    fates: Arc<Mutex<Fates>>,
}

impl Offices {
    /// One in front of `actor`.
    fn open<M, A>(&mut self, actor: &Addr<A>, queue: Queue) -> Courier<M>
    where
        M: Message<Result = ()> + Send + Unpin + 'static,
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.dice = scramble(self.dice ^ 0x0ff1_ce00);
        let post = Post {
            to: Courier::new(actor, queue, &self.drops),
            clock: Arc::clone(&self.clock),
            dice: self.dice,
            fates: Arc::clone(&self.fates),
        };
        Courier::new(&post.start(), queue, &self.drops)
    }
}

/// All of them, on an arbiter whose clock is paused.
struct Stage {
    vitals: Vitals,
    heard: tokio::sync::mpsc::Receiver<String>,
    published: Arc<Mutex<Vec<Arc<Snapshot>>>>,
    read: Arc<Mutex<Option<(u64, u64)>>>,
    drained: Arc<Mutex<u64>>,
    attribution: Addr<AttributionShell>,
    ticker: Addr<Ticker>,
    score: Score,
    beat: Courier<Beat>,
    close: Courier<CloseNow>,
}

impl Stage {
    async fn new(town: &Town, offices: &mut Offices) -> Self {
        let (clock, drops) = (Arc::clone(&offices.clock), offices.drops.clone());
        let (vitals, heard) = Vitals::new();
        let published = Arc::new(Mutex::new(Vec::new()));
        let listener = Listener(Arc::clone(&published)).start();
        let mut engine = Engine::new(rules(offices.dice), Arc::default());
        engine.expect(&ReporterId::new(USAGE));
        engine.expect(&ReporterId::new(RESOLVER));
        engine.expect_source(METER);
        let told = vec![offices.open(&listener, Queue::Exporter)];
        let attribution = AttributionShell::new(
            Driven::new(engine, None),
            Arc::clone(&clock),
            drops,
            told,
            None,
            vitals.lifeline("attribution"),
        )
        .start();
        let resolver = Resolver {
            clock: Arc::clone(&clock),
            to: offices.open(&attribution, Queue::Attribution),
        };
        let resolver = resolver.start();
        let drained = Arc::default();
        let probe = Probe {
            town: town.clone(),
            clock: Arc::clone(&clock),
            to: vec![
                offices.open(&attribution, Queue::Attribution),
                offices.open(&resolver, Queue::Resolver),
            ],
            acked: TickId(0),
            settled: Default::default(),
            newest: TickId(0),
            drained: Arc::clone(&drained),
        };
        let probe = probe.start();
        let read = Arc::default();
        let meter = Meter {
            town: town.clone(),
            clock: Arc::clone(&clock),
            to: offices.open(&attribution, Queue::Attribution),
            read: Arc::clone(&read),
            newest: TickId(0),
        };
        let meter = meter.start();
        let pay = PayTo(offices.open(&probe, Queue::Usage));
        attribution.send(pay).await.expect("alive");
        let score = Score {
            period: SECOND,
            listeners: vec![
                offices.open(&attribution, Queue::Attribution),
                offices.open(&meter, Queue::Source),
                offices.open(&probe, Queue::Usage),
            ],
        };
        let lifeline = vitals.lifeline("ticker");
        let ticker = Ticker::new(SECOND, clock, score.listeners.clone(), lifeline).start();
        Self {
            beat: offices.open(&ticker, Queue::Usage),
            close: offices.open(&attribution, Queue::Attribution),
            vitals,
            heard,
            published,
            read,
            drained,
            attribution,
            ticker,
            score,
        }
    }

    /// One thing that happens to a pipeline, whatever comes.
    async fn disturb(&self, dice: u64) {
        match dice % 8 {
            0 => self.beat.send(Beat),
            1 => self.close.send(CloseNow),
            2 => advance(Duration::from_millis((dice >> 8) % 6_000)).await,
            3 => {
                let period = PERIODS_MS[usize::try_from(dice >> 20).unwrap_or(0) % PERIODS_MS.len()];
                self.beat_every(Duration::from_millis(period)).await;
            }
            4 | 5 => {
                let adoption = Adoption {
                    rules: rules(dice),
                    facts: Arc::default(),
                    dismissed: Vec::new(),
                    expected: Vec::new(),
                    saver: None,
                    told: None,
                };
                let (done, adopted) = oneshot::channel();
                let (parted, _nobody_parts) = oneshot::channel();
                let adopt = Adopt {
                    adoption: Box::new(adoption),
                    adopted: done,
                    parted,
                };
                self.attribution.send(adopt).await.expect("alive");
                adopted.await.expect("it is taken over");
            }
            _ => {}
        }
    }

    async fn beat_every(&self, period: Duration) {
        let score = Score {
            period,
            ..self.score.clone()
        };
        self.ticker.send(score).await.expect("alive");
    }
}

fn storm(seed: u64) -> Left {
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    };
    System::with_tokio_rt(move || paused().expect("a runtime")).block_on(async move {
        let zero = Instant::now();
        let now = move || zero.elapsed();
        let town = Town::of(seed);
        let mut offices = Offices {
            clock: Arc::new(move || {
                MonotonicNanos::from_nanos(u64::try_from(now().as_nanos()).expect("a short test"))
            }),
            drops: Drops::default(),
            dice: scramble(seed),
            fates: Arc::default(),
        };
        let mut stage = Stage::new(&town, &mut offices).await;
        sleep(SECOND).await;
        let mut dice = scramble(seed ^ 0x5707);
        while now() < STORM_ENDS {
            dice = scramble(dice);
            sleep(Duration::from_millis(dice % 2_500)).await;
            stage.disturb(dice >> 13).await;
        }
        stage.beat_every(SECOND).await;
        sleep(CALM).await;
        // As the daemon ends: the beat first, then the window that is open.
        stage.vitals.begin_shutdown();
        stage.ticker.send(Stop).await.expect("alive");
        sleep(SECOND).await;
        stage.attribution.send(Stop).await.expect("alive");
        let snapshots = stage.published.lock().expect("one thread").clone();
        let read = stage.read.lock().expect("one thread").expect("a reading");
        let fates = *offices.fates.lock().expect("one thread");
        Left {
            snapshots,
            died: stage.heard.try_recv().ok(),
            town,
            read,
            drained: *stage.drained.lock().expect("one thread"),
            fates,
        }
    })
}

/// Those of `SEEDS` storms, or the one of `SEED`, to look at it again.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var_os(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(300),
    }
}

#[test]
fn after_any_storm_every_joule_and_every_nanosecond_is_where_it_belongs() {
    let (mut all, mut windows) = (Fates::default(), 0);
    for seed in seeds() {
        let Left {
            mut snapshots,
            died,
            town,
            read,
            drained,
            fates,
        } = storm(seed);
        assert_eq!(died, None, "seed {seed}");
        // As they were made: who listens may hear them in another order.
        snapshots.sort_by_key(|snapshot| snapshot.windows.closed);
        let mut seen = Default::default();
        for snapshot in &snapshots {
            conserves(snapshot, seed);
            nothing_falls(snapshot, &mut seen, seed);
        }
        let last = snapshots.last().expect("windows");
        let (first, newest) = (town.energy(read.0), town.energy(read.1));
        for (index, zone) in last.zones.iter().enumerate() {
            let paid = (zone.dynamic + zone.idle).as_micro();
            assert_eq!(paid, newest[index] - first[index], "seed {seed}: {}", zone.zone);
        }
        assert_eq!(sums::cpu(last), town.busy(drained), "seed {seed}: CPU time");
        windows += snapshots.len();
        all.passed += fates.passed;
        all.lost += fates.lost;
        all.late += fates.late;
    }
    println!("storms {:?}, {windows} windows, messages: {all:?}", seeds());
    assert!(all.lost > 0 && all.late > 0, "there was no storm");
}
