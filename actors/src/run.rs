// SPDX-License-Identifier: Apache-2.0
//! `kepler run`: from a configuration to a running pipeline, and from a signal to an exit code.

use crate::accountants;
use crate::choice;
use crate::clock;
use crate::harden::{Network, Security};
use crate::health::EXIT_DIED;
use crate::node::{self, CgroupResolver};
use crate::pipeline::{News, Parts, Pipeline};
use crate::reload::files::Files;
use crate::reload::prepare::{Held, InForce};
use crate::reload::{self, Load, Reload};
use crate::settings::{Idle, Probes, Root, Smt, Sources, Split};
use crate::state::Memory;
use actix::System;
use anyhow::Context;
use attribution::engine::{FloorPolicy, Settings};
use attribution::model::NodeFacts;
use config::Loaded;
use exporter::passthrough::{PassthroughConfig, Writer};
use exporter::push::Pusher;
use exporter::{BuildInfo, Entrance, ExporterConfig, Kept, Page, Reloader, RenderSettings};
use probe_workloads::pods::KubernetesConfig;
use probe_workloads::{Machine, Roots, RuntimesConfig};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
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

/// Runs until a signal to stop comes or a part dies. SIGHUP, or a request, has the configuration loaded by `load` once more.
///
/// # Errors
/// When it cannot start: an address in use, a probe that was asked for and cannot be had.
pub fn run(loaded: &Loaded, load: Load) -> anyhow::Result<Outcome> {
    System::new().block_on(async {
        let (stop, hangup) = (stop_signal()?, reload::hangup()?);
        let (reloader, requests) = Reloader::new();
        let (parts, in_force) = daemon(loaded, reloader)?;
        in_force.render.reloads().succeeded(clock::unix());
        let mut pipeline = Pipeline::start(parts)?;
        let mut reload = Reload::new(load, in_force, hangup, requests);
        let mut stop = pin!(stop);
        let outcome = loop {
            let ready = tokio::select! {
                () = &mut stop => break Outcome::Stopped,
                ready = reload.next(), if !pipeline.is_parting() => ready,
                news = pipeline.news() => match news {
                    News::Died(name) => break Outcome::Died(name),
                    News::Parted => {
                        if let Err(error) = pipeline.part().await {
                            tracing::error!(error = format!("{error:#}"), "sources that are read no more go on");
                        }
                        continue;
                    }
                },
            };
            tokio::select! {
                () = &mut stop => break Outcome::Stopped,
                () = reload.finish(ready, &mut pipeline) => {}
            }
        };
        pipeline.stop().await;
        tracing::info!(?outcome, "stopped");
        Ok(outcome)
    })
}

/// The parts of the daemon, and what is in force then.
fn daemon(loaded: &Loaded, reloader: Reloader) -> anyhow::Result<(Parts, InForce)> {
    let entrance = listen(loaded)?;
    // Before anything is read that they name: what changes in between is seen by the first reload.
    let files = Files::of(loaded);
    let machine = node::machine();
    let (mut parts, meters) = opened(loaded, &machine, entrance)?;
    if !parts.meters.is_empty() {
        parts.memory = memory(loaded, &machine, &parts.render.kept())?;
    }
    parts.passthrough = passthrough(loaded, &parts.render)?;
    parts.network = Network::of(loaded, &parts.entrance)?;
    parts.pusher = pusher(loaded, &parts.render)?;
    parts.reloader = reloader;
    parts.least_between_pages = least_between_pages(loaded)?;
    announce(&parts);
    let in_force = InForce {
        loaded: loaded.clone(),
        files,
        machine: Arc::new(machine),
        facts: Arc::clone(&parts.facts),
        meters,
        render: Arc::clone(&parts.render),
    };
    Ok((parts, in_force))
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

/// Binds what the configuration asks for, with the certificates and users that it names. Before anything else: a port that is
/// taken is the likeliest reason not to start, and nothing else must have been touched then.
pub(crate) fn listen(loaded: &Loaded) -> anyhow::Result<Entrance> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    Ok(Entrance::open(&exporter)?)
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
        ended_keep: ended_keep(loaded)?,
    })
}

/// How long what has ended stays. At least until it was shown once more, where not every snapshot is: its last total would be
/// told to nobody.
pub(crate) fn ended_keep(loaded: &Loaded) -> anyhow::Result<Duration> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    let keep = Duration::from(exporter.ended.keep);
    Ok(keep.max(least_between_pages(loaded)?.saturating_mul(2)))
}

/// How far apart snapshots are that readers are shown.
fn least_between_pages(loaded: &Loaded) -> anyhow::Result<Duration> {
    let security: Security = loaded.section("security")?;
    Ok(security.min_export_interval.0)
}

/// Opens everything that the configuration asks for, and remembers nothing: what an earlier run has left is the daemon's
/// alone.
pub(crate) fn parts(loaded: &Loaded, machine: &Machine, entrance: Entrance) -> anyhow::Result<Parts> {
    opened(loaded, machine, entrance).map(|(parts, _)| parts)
}

/// The same, and which meters are in use.
fn opened(loaded: &Loaded, machine: &Machine, entrance: Entrance) -> anyhow::Result<(Parts, Vec<Held>)> {
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
    let kubernetes = kubernetes(loaded, &exporter)?;
    let resolver = node::resolver(roots, &runtimes, &kubernetes)?;
    let facts = node::facts(
        machine,
        &chosen,
        estimator.as_ref(),
        usage.probes,
        usage.accounting,
    );
    let held = Held::all(&chosen);
    let parts = Parts {
        tick: root.tick.0,
        clock: clock::system(),
        usage: usage.reader,
        resolver: Box::new(CgroupResolver(resolver)),
        meters: chosen.meters.into_iter().map(|meter| meter.source).collect(),
        estimator,
        rules: rules(loaded)?,
        facts: Arc::new(facts),
        render: Arc::new(render(loaded, machine)?),
        memory: Memory::default(),
        entrance,
        tap: None,
        passthrough: None,
        network: Network::unrestricted(),
        pusher: None,
        reloader: Reloader::default(),
        least_between_pages: Duration::ZERO,
    };
    Ok((parts, held))
}

/// Who is asked for pods. What becomes a label of series has to be kept.
pub(crate) fn kubernetes(loaded: &Loaded, exporter: &ExporterConfig) -> anyhow::Result<KubernetesConfig> {
    let mut kubernetes: KubernetesConfig = loaded.section("kubernetes")?;
    kubernetes.labels.keep(exporter.pod_labels.of_pods());
    Ok(kubernetes)
}

/// What is on pages.
pub(crate) fn render(loaded: &Loaded, machine: &Machine) -> anyhow::Result<RenderSettings> {
    let root: Root = loaded.section("")?;
    Ok(RenderSettings::new(&loaded.section("exporter")?, build_info())
        .with_cpu_architecture(node::microarchitecture(machine))
        .with_node_name(&node::name(&loaded.section("kubernetes")?))
        .with_tick(root.tick.0.max(least_between_pages(loaded)?))
        .with_start(clock::unix(), clock::system()())
        .with_clocks(clock::all))
}

/// What an earlier run has learned. Asked for where there are meters: what a model says it knows the idle part of.
pub(crate) fn memory(loaded: &Loaded, machine: &Machine, kept: &Arc<Kept>) -> anyhow::Result<Memory> {
    let idle: Idle = loaded.section("attribution.idle")?;
    let root: Root = loaded.section("")?;
    Ok(match idle.floor.0 {
        FloorPolicy::Measured => Memory::open(node::state(&root.state, machine), kept, clock::unix_seconds()),
        FloorPolicy::BusyRatio | FloorPolicy::None | FloorPolicy::Fixed(_) => Memory::default(),
    })
}

/// Who feeds guests, where that is asked for. The daemon's alone, too: a recording beside it would count twice.
fn passthrough(loaded: &Loaded, render: &RenderSettings) -> anyhow::Result<Option<Writer>> {
    let config: PassthroughConfig = loaded.section("vm_passthrough")?;
    Ok(Writer::new(&config, ended_keep(loaded)?, render))
}

/// Who tells those that do not scrape, where there are any. The daemon's alone, too: its series are not a replay's.
fn pusher(loaded: &Loaded, render: &RenderSettings) -> anyhow::Result<Option<Pusher>> {
    let exporter: ExporterConfig = loaded.section("exporter")?;
    let kubernetes: KubernetesConfig = loaded.section("kubernetes")?;
    Ok(Pusher::new(&exporter.push, &node::name(&kubernetes), render))
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
    for address in parts.entrance.addresses() {
        tracing::info!(%address, security = parts.entrance.describe(), "listening");
    }
    if let Some(warning) = parts.entrance.warning() {
        tracing::warn!(warning, "not secure");
    }
}
