// SPDX-License-Identifier: Apache-2.0
//! Reloads of a pipeline with all its threads. The clock of the meters is the test's: each window is one second and ten joules.

use super::super::tests::parts;
use super::*;
use crate::pipeline::News;
use actix::System;
use attribution::engine::Settings;
use attribution::model::facts::SourceFacts;
use attribution::model::{
    Energy, Microjoules, MonotonicNanos, PackageId, Place, Provenance, Snapshot, Zone, ZoneReading,
};
use std::sync::atomic::{AtomicU64, Ordering};

const RAPL: SourceId = SourceId("rapl-sysfs");
const NEXT: SourceId = SourceId("hwmon");
const BOTH: [Component; 2] = [Component::Package, Component::Dram];

/// Reads counters that all meters share: seconds that have passed.
struct Meter {
    id: SourceId,
    components: Vec<Component>,
    seconds: Arc<AtomicU64>,
}

impl PowerSource for Meter {
    fn id(&self) -> SourceId {
        self.id
    }

    fn components(&self) -> Vec<Component> {
        self.components.clone()
    }

    fn detail(&self) -> String {
        String::new()
    }

    fn read(&mut self, _: MonotonicNanos) -> Energy {
        let seconds = self.seconds.load(Ordering::SeqCst);
        let reading = |component: &Component| ZoneReading {
            zone: Zone {
                component: *component,
                place: Place::socket(PackageId(0)),
            },
            total: Microjoules::from_micro(seconds * 10_000_000),
            idle: None,
            provenance: Provenance::Counted,
            at: MonotonicNanos::from_nanos(seconds * 1_000_000_000),
            device: None,
        };
        Energy {
            zones: self.components.iter().map(reading).collect(),
            errors: Vec::new(),
        }
    }
}

struct Scene {
    pipeline: Pipeline,
    rules: Settings,
    seconds: Arc<AtomicU64>,
    windows: u64,
}

type Read<'a> = &'a [(SourceId, &'a [Component])];

fn facts(read: Read<'_>) -> Arc<NodeFacts> {
    let of = |(source, components): &(SourceId, &[Component])| SourceFacts {
        source: *source,
        components: components.to_vec(),
        detail: String::new(),
    };
    Arc::new(NodeFacts {
        sources: read.iter().map(of).collect(),
        ..NodeFacts::default()
    })
}

fn meter(id: SourceId, components: &[Component], seconds: &Arc<AtomicU64>) -> Box<dyn PowerSource> {
    Box::new(Meter {
        id,
        components: components.to_vec(),
        seconds: Arc::clone(seconds),
    })
}

impl Scene {
    /// RAPL reads these, and two windows have closed.
    async fn new(components: &[Component]) -> Self {
        let seconds = Arc::new(AtomicU64::new(1));
        let mut parts = parts(Meter {
            id: RAPL,
            components: components.to_vec(),
            seconds: Arc::clone(&seconds),
        });
        // Beats come when the test wants one.
        parts.tick = Duration::from_secs(3_600);
        parts.facts = facts(&[(RAPL, components)]);
        let rules = parts.rules.clone();
        let mut scene = Self {
            pipeline: Pipeline::start(parts).expect("it starts"),
            rules,
            seconds,
            windows: 0,
        };
        // The first one comes by itself.
        scene.closed().await;
        scene.window().await;
        scene
    }

    async fn window(&mut self) -> Arc<Snapshot> {
        self.seconds.fetch_add(1, Ordering::SeqCst);
        self.pipeline.beat();
        self.closed().await
    }

    async fn closed(&mut self) -> Arc<Snapshot> {
        self.windows += 1;
        let mut pages = self.pipeline.pages();
        let page = pages.wait_for(|page| page.snapshot().windows.closed >= self.windows);
        Arc::new(page.await.expect("it lives").snapshot().clone())
    }

    fn changes(&self, read: Read<'_>, changed: &[SourceId]) -> Changes {
        let meters = read.iter().map(|(id, components)| {
            let is_new = changed.contains(id);
            (*id, is_new.then(|| meter(*id, components, &self.seconds)))
        });
        Changes {
            tick: None,
            usage: None,
            resolver: None,
            meters: Some(meters.collect()),
            estimator: None,
            rules: self.rules.clone(),
            facts: facts(read),
            render: None,
            keeper: None,
            passthrough: None,
        }
    }

    async fn adopt(&mut self, read: Read<'_>, changed: &[SourceId]) {
        let changes = self.changes(read, changed);
        self.pipeline.adopt(changes).await.expect("it is taken over");
    }

    async fn part(&mut self) {
        assert!(matches!(self.pipeline.news().await, News::Parted));
        self.pipeline.part().await.expect("all actors live");
    }
}

/// Joules paid for a component by source.
fn paid(snapshot: &Snapshot, of: Component) -> Vec<(SourceId, u64)> {
    let zones = snapshot.zones.iter().filter(|zone| zone.zone.component == of);
    let paid = zones.map(|zone| {
        let paid = (zone.dynamic + zone.idle).as_micro() / 1_000_000;
        (zone.source, paid)
    });
    paid.collect()
}

#[test]
fn a_component_that_moves_to_another_source_loses_no_window_and_the_one_before_ends_then() {
    System::new().block_on(async {
        let mut scene = Scene::new(&BOTH[..1]).await;
        scene.adopt(&[(NEXT, &BOTH[..1])], &[NEXT]).await;
        assert!(scene.pipeline.is_parting());
        let both = scene.window().await;
        assert_eq!(paid(&both, BOTH[0]), [(RAPL, 20), (NEXT, 0)]);
        scene.part().await;
        assert!(!scene.pipeline.is_parting() && scene.pipeline.seats.leaving.is_empty());
        let next = scene.window().await;
        assert_eq!(paid(&next, BOTH[0]), [(RAPL, 20), (NEXT, 10)]);
        // And back: its totals go on.
        scene.adopt(&[(RAPL, &BOTH[..1])], &[RAPL]).await;
        scene.window().await;
        scene.part().await;
        let back = scene.window().await;
        assert_eq!(paid(&back, BOTH[0]), [(RAPL, 30), (NEXT, 20)]);
        scene.pipeline.stop().await;
    });
}

#[test]
fn sources_that_stay_hand_components_over_to_each_other() {
    System::new().block_on(async {
        let mut scene = Scene::new(&BOTH).await;
        let apart: Read<'_> = &[(RAPL, &BOTH[..1]), (NEXT, &BOTH[1..])];
        scene.adopt(apart, &[RAPL, NEXT]).await;
        scene.window().await;
        scene.part().await;
        let third = scene.window().await;
        assert_eq!(paid(&third, BOTH[0]), [(RAPL, 30)]);
        assert_eq!(paid(&third, BOTH[1]), [(RAPL, 20), (NEXT, 10)]);
        // One source gives the other what it reads, and takes what that one does.
        let crossed: Read<'_> = &[(RAPL, &BOTH[1..]), (NEXT, &BOTH[..1])];
        scene.adopt(crossed, &[RAPL, NEXT]).await;
        scene.window().await;
        scene.part().await;
        let last = scene.window().await;
        assert_eq!(paid(&last, BOTH[0]), [(RAPL, 40), (NEXT, 10)]);
        assert_eq!(paid(&last, BOTH[1]), [(RAPL, 30), (NEXT, 20)]);
        assert!(last.windows.late_now.is_empty());
        scene.pipeline.stop().await;
    });
}

#[test]
fn a_source_that_is_dropped_ends_at_once() {
    System::new().block_on(async {
        let mut scene = Scene::new(&BOTH).await;
        scene.adopt(&[], &[]).await;
        scene.part().await;
        let gone = scene.window().await;
        assert!(gone.zones.iter().all(|zone| !zone.up) && gone.windows.late_now.is_empty());
        scene.pipeline.stop().await;
    });
}

#[test]
fn what_was_started_for_a_reload_that_comes_to_nothing_ends_and_nobody_takes_it_for_dead() {
    System::new().block_on(async {
        let mut scene = Scene::new(&BOTH).await;
        scene
            .pipeline
            .attribution
            .send(crate::messages::Stop)
            .await
            .expect("it lives");
        let changes = scene.changes(&[(NEXT, &BOTH)], &[NEXT]);
        let error = scene
            .pipeline
            .adopt(changes)
            .await
            .expect_err("nobody takes it over");
        assert!(error.to_string().contains("the attribution"), "{error}");
        let readers = std::mem::take(&mut scene.pipeline.builder.readers);
        let (new, others): (Vec<_>, Vec<_>) = readers
            .into_iter()
            .partition(|reader| reader.thread().name() == Some(NEXT.0));
        scene.pipeline.builder.readers = others;
        for reader in new {
            tokio::task::spawn_blocking(|| reader.join())
                .await
                .expect("a thread")
                .expect("an orderly end");
        }
        let seats = &scene.pipeline.seats;
        assert!(seats.leaving.is_empty() && seats.meters.iter().all(|seat| seat.id == RAPL));
        let mut dead = Vec::new();
        while let Ok(name) = scene.pipeline.deaths.try_recv() {
            dead.push(name);
        }
        assert_eq!(dead, ["attribution"]);
        scene.pipeline.stop().await;
    });
}
