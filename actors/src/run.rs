// SPDX-License-Identifier: Apache-2.0
//! `kepler run`: from a configuration to a running pipeline, and from a signal to an exit code.

use crate::accountants;
use crate::choice;
use crate::clock;
use crate::health::EXIT_DIED;
use crate::node::{self, CgroupResolver};
use crate::pipeline::{Parts, Pipeline};
use crate::settings::{Idle, Probes, Root, Smt, Sources, Split};
use crate::state::Memory;
use actix::System;
use anyhow::Context;
use attribution::engine::{FloorPolicy, Settings};
use attribution::model::NodeFacts;
use config::Loaded;
use exporter::passthrough::{PassthroughConfig, Writer};
use exporter::{BuildInfo, ExporterConfig, Page, RenderSettings};
use probe_workloads::pods::KubernetesConfig;
use probe_workloads::{Machine, Roots, RuntimesConfig};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// This part died.
    Died(String),
}

impl Outcome {
    /// The process's exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Died(_) => EXIT_DIED,
        }
    }
}

/// Runs until a signal comes or a part dies.
///
/// # Errors
/// When it cannot start: an address in use, a probe that was asked for and cannot be had.
pub fn run(loaded: &Loaded) -> anyhow::Result<Outcome> {
    run_until(stop_signal, || {
        let listeners = listen(loaded)?;
        let machine = node::machine();
        let mut parts = parts(loaded, &machine, listeners)?;
        if !parts.meters.is_empty() {
            parts.memory = memory(loaded, &machine)?;
        }
        parts.passthrough = passthrough(loaded, &parts.render)?;
        announce(&parts);
        Ok(parts)
    })
}

/// Runs what `parts` gives until `stop` is done or one of them dies. `stop` is called first, so that a signal that comes
/// while probes are being loaded is heard.
///
/// # Errors
/// When it cannot start.
pub fn run_until<S: Future<Output = ()>>(
    stop: impl FnOnce() -> anyhow::Result<S>,
    parts: impl FnOnce() -> anyhow::Result<Parts>,
) -> anyhow::Result<Outcome> {
    run_to_the_last_page(stop, parts).map(|(outcome, _)| outcome)
}

/// As [`run_until`], and gives the page of the last window.
///
/// # Errors
/// When it cannot start.
pub fn run_to_the_last_page<S: Future<Output = ()>>(
    stop: impl FnOnce() -> anyhow::Result<S>,
    parts: impl FnOnce() -> anyhow::Result<Parts>,
) -> anyhow::Result<(Outcome, Arc<Page>)> {
    System::new().block_on(async {
        let stop = stop()?;
        let mut pipeline = Pipeline::start(parts()?)?;
        let outcome = tokio::select! {
            () = stop => Outcome::Stopped,
            name = pipeline.died() => Outcome::Died(name),
        };
        let pages = pipeline.pages();
        pipeline.stop().await;
        tracing::info!(?outcome, "stopped");
        let last = Arc::clone(&pages.borrow());
        Ok((outcome, last))
    })
}

/// Done when SIGTERM or SIGINT comes.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        let name = tokio::select! {
            () = came(&mut terminate) => "SIGTERM",
            () = came(&mut interrupt) => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    })
}

async fn came(signal: &mut Signal) {
    signal.recv().await;
}

/// Binds what the configuration asks for. Before anything else: a port that is taken is the likeliest reason not to start,
/// and nothing else must have been touched then.
pub(crate) fn listen(loaded: &Loaded) -> anyhow::Result<Vec<TcpListener>> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    Ok(exporter::bind(&exporter.listen.addresses())?)
}

/// The rules of the split that the configuration asks for.
pub(crate) fn rules(loaded: &Loaded) -> anyhow::Result<Settings> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    let idle: Idle = loaded.section("attribution.idle")?;
    let split: Split = loaded.section("attribution")?;
    let smt: Smt = loaded.section("attribution.smt")?;
    Ok(Settings {
        floor: idle.floor.0,
        idle_share: idle.share.into(),
        split: split.rules(&smt),
        processes_max: exporter.processes.max,
        ended_keep: exporter.ended.keep.into(),
    })
}

/// Opens everything that the configuration asks for, and remembers nothing: what an earlier run has left is the daemon's
/// alone.
pub(crate) fn parts(
    loaded: &Loaded,
    machine: &Machine,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<Parts> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    let root: Root = loaded.section("")?;
    let sources: Sources = loaded.section("sources")?;
    let probes: Probes = loaded.section("probes")?;
    let roots = Roots::detect(Path::new("/proc")).context("cannot find the cgroup mounts")?;
    let usage = accountants::usage(&probes, root.tick.0, machine, &roots)?;
    let chosen = choice::choose(&sources, power_sources::ALL, |name| section(loaded, name));
    let estimator = node::estimator(
        machine,
        power_sources::rapl::thermal_design_power(&section(loaded, "rapl")),
        &loaded.section("estimator")?,
        &chosen.estimated,
    )?;
    let runtimes: RuntimesConfig = loaded.section("workloads.runtimes")?;
    let mut kubernetes: KubernetesConfig = loaded.section("kubernetes")?;
    // What becomes a label of series has to be kept.
    kubernetes.labels.keep(exporter.pod_labels.of_pods());
    let resolver = node::resolver(roots, &runtimes, &kubernetes)?;
    let facts = node::facts(
        machine,
        &chosen,
        estimator.as_ref(),
        usage.probes,
        usage.accounting,
    );
    Ok(Parts {
        tick: root.tick.0,
        clock: clock::system(),
        usage: usage.reader,
        resolver: Box::new(CgroupResolver(resolver)),
        meters: chosen.meters.into_iter().map(|meter| meter.source).collect(),
        estimator,
        rules: rules(loaded)?,
        facts: Arc::new(facts),
        render: Arc::new(
            RenderSettings::new(&exporter, build_info())
                .with_cpu_architecture(node::microarchitecture(machine))
                .with_node_name(&node::name(&kubernetes))
                .with_start(clock::unix(), clock::system()()),
        ),
        memory: Memory::default(),
        listeners,
        tap: None,
        passthrough: None,
    })
}

/// What an earlier run has learned. Asked for where there are meters: what a model says it knows the idle part of.
pub(crate) fn memory(loaded: &Loaded, machine: &Machine) -> anyhow::Result<Memory> {
    let idle: Idle = loaded.section("attribution.idle")?;
    let root: Root = loaded.section("")?;
    Ok(match idle.floor.0 {
        FloorPolicy::Measured => Memory::open(node::state(&root.state, machine), clock::unix_seconds()),
        FloorPolicy::BusyRatio | FloorPolicy::None | FloorPolicy::Fixed(_) => Memory::default(),
    })
}

/// Who feeds guests, where that is asked for. The daemon's alone, too: a recording beside it would count twice.
fn passthrough(loaded: &Loaded, render: &RenderSettings) -> anyhow::Result<Option<Writer>> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    let config: PassthroughConfig = loaded.section("vm_passthrough")?;
    Ok(Writer::new(&config, exporter.ended.keep.into(), render))
}

/// A source's own section. It was validated when the configuration was loaded; `null` stands for its defaults.
pub(crate) fn section(loaded: &Loaded, name: &str) -> serde_json::Value {
    loaded
        .value(&format!("sources.{name}"))
        .cloned()
        .unwrap_or(serde_json::Value::Null)
}

/// What this binary is.
#[must_use]
pub fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("BUILD_REVISION").unwrap_or("unknown"),
        branch: option_env!("BUILD_BRANCH").unwrap_or("unknown"),
    }
}

/// One line per decision, once.
pub(crate) fn announce(parts: &Parts) {
    let NodeFacts {
        memory: _,
        selections,
        probes,
        accounting,
        sources,
    } = parts.facts.as_ref();
    tracing::info!(
        accountant = accounting.chosen,
        reason = accounting.reason,
        "CPU time"
    );
    for probe in probes {
        tracing::info!(probe = probe.probe, up = probe.up, reason = probe.reason, "probe");
    }
    for selection in selections {
        for passed in &selection.passed_over {
            tracing::info!(
                key = selection.key,
                source = passed.name,
                reason = passed.reason,
                "source passed over"
            );
        }
        if selection.chosen.is_empty() {
            tracing::info!(key = selection.key, "no source: its metrics are absent");
        }
    }
    for source in sources {
        let components: Vec<_> = source
            .components
            .iter()
            .map(|component| component.name())
            .collect();
        tracing::info!(
            source = source.source.0,
            components = components.join(","),
            detail = source.detail,
            "source"
        );
    }
    for listener in &parts.listeners {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "listening");
        }
    }
}
