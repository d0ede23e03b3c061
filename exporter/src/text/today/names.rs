// SPDX-License-Identifier: Apache-2.0
//! Every family of schema `kepler-0.11`, as `prometheus/collector` of Kepler 0.11 declares them.

use crate::config::Level;
use crate::text::metric::{Kind, Metric};

/// Levels that Kepler 0.11 has.
pub(super) const LEVELS: [Level; 4] = [Level::Process, Level::Container, Level::Vm, Level::Pod];

const STATE_ZONE: &[&str] = &["state", "zone"];
const STATE: &[&str] = &["state"];
const NODE_ZONE: &[&str] = &["node_name", "zone", "path"];
const GPU: &[&str] = &["node_name", "gpu", "gpu_uuid", "gpu_name", "vendor"];
const PROCESS: &[&str] = &["node_name", "pid", "comm", "exe", "type", "container_id", "vm_id"];
const CONTAINER: &[&str] = &["node_name", "container_id", "container_name", "runtime", "pod_id"];
const VM: &[&str] = &["node_name", "vm_id", "vm_name", "hypervisor"];
const POD: &[&str] = &["node_name", "pod_id", "pod_name", "pod_namespace"];

const fn labels_of(level: Level) -> &'static [&'static str] {
    match level {
        Level::Node | Level::Unit => &[],
        Level::Container => CONTAINER,
        Level::Pod => POD,
        Level::Vm => VM,
        Level::Process => PROCESS,
    }
}

/// What of a zone's energy is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Active,
    Idle,
}

impl Part {
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Active, Self::Idle];

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("", "all"),
            Self::Active => ("_active", "dynamic"),
            Self::Idle => ("_idle", "idle"),
        }
    }
}

pub(super) fn cpu_joules(part: Part) -> Metric {
    let (infix, what) = part.words();
    let help = format!("Energy of a CPU zone of the node, {what}.");
    Metric::new(
        Kind::Counter,
        format!("kepler_node_cpu{infix}_joules_total"),
        help,
    )
    .with(NODE_ZONE)
}

pub(super) fn cpu_watts(part: Part) -> Metric {
    let (infix, what) = part.words();
    let help = format!("Power of a CPU zone of the node between its last two readings, {what}.");
    Metric::new(Kind::Gauge, format!("kepler_node_cpu{infix}_watts"), help).with(NODE_ZONE)
}

/// That of [`Part::All`] has the name and the help of schema `kepler`.
pub(super) fn gpu_joules(part: Part) -> Metric {
    let (infix, what) = part.words();
    let help = format!("Energy of a GPU, {what}.");
    Metric::new(
        Kind::Counter,
        format!("kepler_node_gpu{infix}_joules_total"),
        help,
    )
    .with(GPU)
}

pub(super) fn gpu_watts(part: Part) -> Metric {
    let (infix, what) = part.words();
    let help = format!("Power of a GPU between its last two readings, {what}.");
    Metric::new(Kind::Gauge, format!("kepler_node_gpu{infix}_watts"), help).with(GPU)
}

pub(super) fn gpu_info() -> Metric {
    Metric::new(Kind::Gauge, "kepler_node_gpu_info", "A GPU of the node.").with(GPU)
}

pub(super) fn usage_ratio() -> Metric {
    let help = "Busy time of all CPUs over all their time in the last window.";
    Metric::new(Kind::Gauge, "kepler_node_cpu_usage_ratio", help).with(&["node_name"])
}

pub(super) fn cpu_info() -> Metric {
    let help = "A logical CPU as /proc/cpuinfo describes it.";
    let labels: &[&str] = &["processor", "vendor_id", "model_name", "physical_id", "core_id"];
    Metric::new(Kind::Gauge, "kepler_node_cpu_info", help).with(labels)
}

pub(super) fn platform_watts() -> Metric {
    let help = "Power of the whole machine by a meter of its own.";
    let labels: &[&str] = &[
        "node_name",
        "source",
        "bmc_id",
        "chassis_id",
        "source_id",
        "source_name",
        "source_type",
    ];
    Metric::new(Kind::Gauge, "kepler_platform_watts", help).with(labels)
}

pub(super) fn build_info() -> Metric {
    let labels: &[&str] = &["arch", "branch", "revision", "version", "goversion"];
    Metric::new(Kind::Gauge, "kepler_build_info", "The running build.").with(labels)
}

pub(super) fn joules(level: Level) -> Metric {
    let word = level.name();
    let help = format!("Dynamic energy of a CPU zone charged to this {word}.");
    Metric::new(Kind::Counter, format!("kepler_{word}_cpu_joules_total"), help)
        .with(labels_of(level))
        .and(STATE_ZONE)
}

pub(super) fn watts(level: Level) -> Metric {
    let word = level.name();
    let help =
        format!("Dynamic power of a CPU zone charged to this {word}, between the zone's last two readings.");
    Metric::new(Kind::Gauge, format!("kepler_{word}_cpu_watts"), help)
        .with(labels_of(level))
        .and(STATE_ZONE)
}

/// Processes and containers have it.
pub(super) fn seconds(level: Level) -> Metric {
    let word = level.name();
    let help = format!("CPU time of this {word}.");
    Metric::new(Kind::Counter, format!("kepler_{word}_cpu_seconds_total"), help).with(labels_of(level))
}

/// Virtual machines have none.
pub(super) fn workload_gpu_joules(level: Level) -> Metric {
    let word = level.name();
    let help = format!("Dynamic energy of GPUs charged to this {word}.");
    Metric::new(Kind::Counter, format!("kepler_{word}_gpu_joules_total"), help)
        .with(labels_of(level))
        .and(STATE)
}

pub(super) fn workload_gpu_watts(level: Level) -> Metric {
    let word = level.name();
    let help = format!("Dynamic power of GPUs charged to this {word}, between a GPU's last two readings.");
    Metric::new(Kind::Gauge, format!("kepler_{word}_gpu_watts"), help)
        .with(labels_of(level))
        .and(STATE)
}

/// All of them, by the headings of the reference.
pub(in crate::text) fn all() -> Vec<(&'static str, Vec<Metric>)> {
    let mut node = Vec::new();
    for part in Part::ALL {
        node.extend([cpu_joules(part), cpu_watts(part)]);
    }
    node.extend([usage_ratio(), cpu_info()]);
    for part in Part::ALL {
        node.extend([gpu_joules(part), gpu_watts(part)]);
    }
    node.extend([gpu_info(), platform_watts(), build_info()]);
    let mut sections = vec![("Node", node)];
    for level in LEVELS {
        let mut metrics = vec![joules(level), watts(level)];
        if matches!(level, Level::Process | Level::Container) {
            metrics.push(seconds(level));
        }
        if level != Level::Vm {
            metrics.extend([workload_gpu_joules(level), workload_gpu_watts(level)]);
        }
        let heading = match level {
            Level::Process => "Processes",
            Level::Container => "Containers",
            Level::Vm => "Virtual machines",
            Level::Pod | Level::Node | Level::Unit => "Pods",
        };
        sections.push((heading, metrics));
    }
    sections
}
