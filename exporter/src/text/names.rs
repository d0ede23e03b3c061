// SPDX-License-Identifier: Apache-2.0
//! Every family of schema `kepler` and of what the daemon says about itself: name, type, help, labels.

use super::metric::{Kind, Metric};
use super::node::describe;
use crate::config::Level;
use attribution::model::{Component, Event};
use std::borrow::Cow;

const METERED: &[&str] = &["mode", "source"];
const MODE: &[&str] = &["mode"];

fn counter(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Metric {
    Metric::new(Kind::Counter, name, help)
}

fn gauge(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Metric {
    Metric::new(Kind::Gauge, name, help)
}

/// The levels that hold workloads, in the order of the page.
pub(super) const WORKLOADS: [Level; 5] = [
    Level::Container,
    Level::Pod,
    Level::Vm,
    Level::Unit,
    Level::Process,
];

pub(super) fn node_joules(component: Component) -> Metric {
    let what = describe(component);
    counter(
        format!("kepler_node_{}_joules_total", component.name()),
        format!("Energy of {what}, above the idle floor (dynamic) and of the floor (idle)."),
    )
    .with(&["package", "mode", "source"])
}

pub(super) fn node_total() -> Metric {
    let help = "Energy of packages, memory, accelerators and other parts together; nothing is counted twice.";
    counter("kepler_node_joules_total", help).with(MODE)
}

pub(super) fn node_watts(component: Component) -> Metric {
    gauge(
        format!("kepler_node_{}_watts", component.name()),
        format!("Mean power of {} over the last window.", describe(component)),
    )
    .with(&["package", "source"])
}

pub(super) fn unattributed() -> Metric {
    let help = "Dynamic energy that no workload was charged for.";
    counter("kepler_node_unattributed_joules_total", help).with(&["component"])
}

pub(super) fn unreserved_idle() -> Metric {
    let help = "Idle energy that no workload was charged for.";
    counter("kepler_node_unreserved_idle_joules_total", help).with(&["component"])
}

pub(super) fn node_info() -> Metric {
    gauge(
        "kepler_node_info",
        "What kind of machine this is and who meters it.",
    )
    .with(&[
        "cpu_architecture",
        "components_power_source",
        "platform_power_source",
        "source",
    ])
}

pub(super) fn build_info() -> Metric {
    gauge("kepler_exporter_build_info", "The running build.")
        .with(&["version", "revision", "branch", "os", "arch"])
}

pub(super) fn joules(level: Level, component: Component) -> Metric {
    let (word, component, what) = (level.name(), component.name(), describe(component));
    counter(
        format!("kepler_{word}_{component}_joules_total"),
        format!("Energy of {what} charged to this {}.", level.name()),
    )
    .with(level.labels())
    .and(METERED)
}

pub(super) fn total(level: Level) -> Metric {
    let help = format!(
        "Energy of packages, memory, accelerators and other parts charged to this {}.",
        level.name()
    );
    counter(format!("kepler_{}_joules_total", level.name()), help)
        .with(level.labels())
        .and(MODE)
}

pub(super) fn cpu_time(level: Level) -> Metric {
    counter(
        format!("kepler_{}_bpf_cpu_time_ms_total", level.name()),
        format!("CPU time of this {} in milliseconds.", level.name()),
    )
    .with(level.labels())
}

/// `None` for what has no name in the schema and is in the JSON only.
pub(super) fn event(level: Level, event: Event) -> Option<Metric> {
    let (name, what) = in_kepler(event)?;
    let metric = counter(
        format!("kepler_{}_{name}_total", level.name()),
        format!("{what} this {}.", level.name()),
    );
    Some(metric.with(level.labels()))
}

pub(super) fn gpu_use(level: Level) -> Metric {
    let help = format!(
        "Device-seconds of GPU compute used by this {}: 1 is one GPU used wholly for 1 s.",
        level.name()
    );
    counter(format!("kepler_{}_gpu_compute_util_total", level.name()), help)
        .with(level.labels())
        .and(&["gpu_id"])
}

/// The name of an event in schema `kepler`, and the beginning of its help.
const fn in_kepler(event: Event) -> Option<(&'static str, &'static str)> {
    match event {
        Event::CpuCycles => Some(("cpu_cycles", "CPU cycles of")),
        Event::Instructions => Some(("cpu_instructions", "Instructions retired by")),
        Event::CacheMisses => Some(("cache_miss", "Misses of the last-level cache by")),
        Event::PageCacheHits => Some((
            "bpf_page_cache_hit",
            "Pages found or dirtied in the page cache by",
        )),
        Event::NetTxIrqs => Some((
            "bpf_net_tx_irq",
            "Softirqs for sent packets during the CPU time of",
        )),
        Event::NetRxIrqs => Some((
            "bpf_net_rx_irq",
            "Softirqs for received packets during the CPU time of",
        )),
        Event::BlockIrqs => Some((
            "bpf_block_irq",
            "Softirqs of block devices during the CPU time of",
        )),
        Event::RefCycles | Event::Switches | Event::SmtOverlap => None,
    }
}

pub(super) fn source_up() -> Metric {
    let help = "Whether the last reading of every zone of this component succeeded; 0 as well once its source says nothing any more.";
    gauge("kepler_source_up", help).with(&["source", "component"])
}

pub(super) fn source_info() -> Metric {
    let help = "How the figures of a source come about; provenance is unknown before the first reading.";
    gauge("kepler_source_info", help).with(&["source", "component", "provenance", "detail"])
}

pub(super) fn reading_age() -> Metric {
    let help = "Age of the newest reading of a source when the window closed.";
    gauge("kepler_source_reading_age_seconds", help).with(&["source"])
}

pub(super) fn source_errors() -> Metric {
    counter("kepler_source_errors_total", "Readings that failed, by reason.").with(&["source", "reason"])
}

pub(super) fn estimate_error() -> Metric {
    let help = "Expected relative error of an estimated component (90th percentile, as a ratio).";
    gauge("kepler_estimate_relative_error", help).with(&["component"])
}

pub(super) fn residual() -> Metric {
    let help = "How far dynamic power was off what a feature foretold of each window, over the newest windows (root of mean squares, relative).";
    gauge("kepler_attribution_residual_ratio", help).with(&["component", "package", "feature"])
}

pub(super) fn probe_up() -> Metric {
    let help = "Whether a probe measures, and why not.";
    gauge("kepler_probe_up", help).with(&["probe", "reason"])
}

pub(super) fn lost_events() -> Metric {
    let help = "Events that a probe dropped or folded into an aggregate.";
    counter("kepler_probe_lost_events_total", help).with(&["probe", "reason"])
}

pub(super) fn coverage() -> Metric {
    let help = "CPU time charged to workloads over the busy time of the node in the last window.";
    gauge("kepler_cpu_time_coverage_ratio", help)
}

pub(super) fn cpus_online() -> Metric {
    let help = "Logical CPUs that were online when the window's CPU time was read.";
    gauge("kepler_cpus_online", help)
}

pub(super) fn windows() -> Metric {
    counter("kepler_windows_total", "Closed windows.")
}

pub(super) fn windows_late() -> Metric {
    let help = "Windows that closed without this reporter.";
    counter("kepler_windows_late_total", help).with(&["reporter"])
}

pub(super) fn lateness() -> Metric {
    let help = "How late windows closed after their deadline.";
    Metric::new(Kind::Histogram, "kepler_window_lateness_seconds", help).with(&["le"])
}

pub(super) fn dropped() -> Metric {
    counter(
        "kepler_dropped_messages_total",
        "Messages that found a full queue.",
    )
    .with(&["queue"])
}

/// The heading of what the daemon says about itself.
pub(super) const OWN: &str = "The daemon itself";

/// All of them, by the headings of the reference.
pub(super) fn all() -> Vec<(&'static str, Vec<Metric>)> {
    let mut node: Vec<_> = Component::ALL.into_iter().map(node_joules).collect();
    node.push(node_total());
    node.extend(Component::ALL.into_iter().map(node_watts));
    node.extend([unattributed(), unreserved_idle(), node_info(), build_info()]);
    let mut sections = vec![("Node", node)];
    for (level, heading) in WORKLOADS.into_iter().zip([
        "Containers",
        "Pods",
        "Virtual machines",
        "systemd units",
        "Processes",
    ]) {
        let mut metrics: Vec<_> = Component::ALL.into_iter().map(|of| joules(level, of)).collect();
        metrics.extend([total(level), cpu_time(level)]);
        metrics.extend(Event::ALL.into_iter().filter_map(|of| event(level, of)));
        metrics.push(gpu_use(level));
        sections.push((heading, metrics));
    }
    let own = vec![
        source_up(),
        source_info(),
        reading_age(),
        source_errors(),
        estimate_error(),
        residual(),
        probe_up(),
        lost_events(),
        coverage(),
        cpus_online(),
        windows(),
        windows_late(),
        lateness(),
        dropped(),
    ];
    sections.push((OWN, own));
    sections
}
