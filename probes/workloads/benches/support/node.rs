// SPDX-License-Identifier: Apache-2.0
//! A resolver and an engine that are driven as the daemon drives them.

use super::Cgroups;
use super::thread_time;
use attribution::engine::{Engine, RESOLVER, Settings, USAGE};
use attribution::model::snapshot::ContainerKey;
use attribution::model::{
    Component, CpuNanos, Energy, Identity, Microjoules, MonotonicNanos, PackageId, Place, Provenance, Report,
    ReporterId, Section, SourceId, TickId, Usage, Zone, ZoneReading,
};
use probe_workloads::{DiskNames, Resolver, RuntimesConfig, VmNames};
use std::sync::Arc;
use std::time::Duration;

const METER: SourceId = SourceId("meter");

/// A resolver with those who know names, as the daemon has it where there is no Kubernetes.
pub(crate) fn resolver(cgroups: &Cgroups, unified: bool) -> Resolver {
    let roots = cgroups.roots(unified);
    let names = DiskNames::new(&RuntimesConfig {
        host: cgroups.host().to_owned(),
    });
    let machines = VmNames::new(&roots.proc, &cgroups.host().join("run/libvirt"));
    Resolver::new(roots)
        .with(Box::new(names))
        .with(Box::new(machines))
}

/// A resolver and an engine.
pub(crate) struct Node {
    pub(crate) resolver: Resolver,
    pub(crate) engine: Engine,
    pub(crate) identity: Arc<Identity>,
    tick: u64,
    system: CpuNanos,
}

impl Node {
    pub(crate) fn new(resolver: Resolver, settings: Settings) -> Self {
        let mut engine = Engine::new(settings, Arc::default());
        engine.expect(&ReporterId::new(USAGE));
        engine.expect(&ReporterId::new(RESOLVER));
        engine.expect_source(METER);
        Self {
            resolver,
            identity: Arc::default(),
            engine,
            tick: 0,
            system: CpuNanos::ZERO,
        }
    }

    /// One window; gives what the resolver's part of it took, in nanoseconds.
    pub(crate) fn window(&mut self, usage: Usage, boot: Duration) -> u64 {
        let began = thread_time();
        let identity = self.resolver.resolve(&usage, boot);
        let took = thread_time() - began;
        self.identity = Arc::clone(&identity);
        self.pay(usage, identity, boot);
        took
    }

    /// One window in which somebody else says who is who.
    pub(crate) fn pay(&mut self, usage: Usage, identity: Arc<Identity>, boot: Duration) {
        self.tick += 1;
        let now = MonotonicNanos::from_nanos(u64::try_from(boot.as_nanos()).unwrap());
        self.engine
            .open(TickId(self.tick), now, now.after(Duration::from_millis(800)));
        let (zone, total) = (
            Zone {
                component: Component::Package,
                place: Place::socket(PackageId(0)),
            },
            Microjoules::from_micro(self.tick * 1_000_000),
        );
        let reading = ZoneReading {
            zone,
            total,
            idle: None,
            provenance: Provenance::Counted,
            at: now,
            device: None,
        };
        let energy = Energy {
            zones: vec![reading],
            errors: Vec::new(),
        };
        self.engine.on_identity(self.report(RESOLVER, now, identity));
        self.engine.on_usage(self.report(USAGE, now, Arc::new(usage)));
        self.engine.on_energy(METER, self.report(METER.0, now, energy));
        let closed = self.engine.close(now.after(Duration::from_millis(100))).unwrap();
        let system = closed
            .snapshot
            .containers
            .iter()
            .find(|row| row.key == ContainerKey::System);
        self.system = system.map_or(CpuNanos::ZERO, |row| row.ledger.cpu);
    }

    /// CPU time of processes of whom nobody knew whose they were.
    pub(crate) const fn system(&self) -> CpuNanos {
        self.system
    }

    fn report<T>(&self, reporter: &str, at: MonotonicNanos, body: T) -> Report<T> {
        Report {
            tick: TickId(self.tick),
            reporter: ReporterId::new(reporter),
            section: Section { began: at, ended: at },
            body,
        }
    }
}
