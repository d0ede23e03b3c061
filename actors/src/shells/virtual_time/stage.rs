// SPDX-License-Identifier: Apache-2.0
//! Ticker, attribution and a node that answers, wired together.

use super::*;

/// Decisions by which these are read.
pub(super) fn facts(readers: &[Reader]) -> Arc<NodeFacts> {
    let of = |reader: &Reader| facts::SourceFacts {
        source: reader.source,
        components: reader.components.clone(),
        detail: String::new(),
    };
    Arc::new(NodeFacts {
        sources: readers.iter().map(of).collect(),
        ..NodeFacts::default()
    })
}

/// All actors, on an arbiter whose clock is paused.
pub(super) struct Stage {
    vitals: Vitals,
    heard: tokio::sync::mpsc::Receiver<String>,
    published: Arc<Mutex<Vec<Arc<Snapshot>>>>,
    pub(super) paid: Arc<Mutex<Vec<u64>>>,
    pub(super) attribution: Addr<AttributionShell>,
    pub(super) ticker: Addr<Ticker>,
    pub(super) listeners: Vec<Courier<Tick>>,
    pub(super) readers: Readers,
}

impl Stage {
    pub(super) async fn new(settings: Settings, plan: Plan, readers: Vec<Reader>) -> Self {
        let zero = Instant::now();
        let clock: Clock = Arc::new(move || {
            MonotonicNanos::from_nanos(u64::try_from(zero.elapsed().as_nanos()).expect("a short test"))
        });
        let (vitals, heard) = Vitals::new();
        let (drops, published) = (Drops::default(), Arc::new(Mutex::new(Vec::new())));
        let listener = Listener(Arc::clone(&published)).start();
        let mut engine = Engine::new(settings, facts(&readers));
        engine.expect(&ReporterId::new(USAGE));
        engine.expect(&ReporterId::new(RESOLVER));
        readers
            .iter()
            .for_each(|reader| engine.expect_source(reader.source));
        let readers = Arc::new(Mutex::new(readers));
        let publish = Courier::new(&listener, Queue::Exporter, &drops);
        let lifeline = vitals.lifeline("attribution");
        let attribution = AttributionShell::new(
            Driven::new(engine, None),
            Arc::clone(&clock),
            drops.clone(),
            vec![publish],
            None,
            lifeline,
        )
        .watching(Sleep::new(bed::clocks))
        .start();
        let paid = Arc::new(Mutex::new(Vec::new()));
        let to = attribution.clone();
        let node = Node {
            plan,
            readers: Arc::clone(&readers),
            to,
            clock: Arc::clone(&clock),
            paid: Arc::clone(&paid),
        }
        .start();
        attribution
            .send(PayTo(Courier::new(&node, Queue::Usage, &drops)))
            .await
            .expect("alive");
        let listeners = vec![
            Courier::new(&attribution, Queue::Attribution, &drops),
            Courier::new(&node, Queue::Usage, &drops),
        ];
        let lifeline = vitals.lifeline("ticker");
        let ticker = Ticker::new(TICK, clock, listeners.clone(), lifeline).start();
        Self {
            vitals,
            heard,
            published,
            paid,
            attribution,
            ticker,
            listeners,
            readers,
        }
    }

    /// What was published, and who died.
    pub(super) async fn end(mut self) -> (Vec<Arc<Snapshot>>, Option<String>) {
        self.vitals.begin_shutdown();
        self.ticker.send(Stop).await.expect("alive");
        self.attribution.send(Stop).await.expect("alive");
        let snapshots = self.published.lock().expect("one thread").clone();
        (snapshots, self.heard.try_recv().ok())
    }
}
