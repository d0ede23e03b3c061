// SPDX-License-Identifier: Apache-2.0
//! What the attribution publishes at the close of a window: every total, at every level, at one moment.
//!
//! A snapshot is immutable and complete; whoever writes it as text or JSON adds nothing and leaves nothing out. At
//! every level the rows (with `retired` and, for processes, `other`) add up to the zones' own totals, to the microjoule.

use super::events::{EventCounts, EventSet};
use super::facts::NodeFacts;
use super::ids::{CgroupId, Comm, ContainerId, PodUid, ReporterId, SourceId, TaskKey, TickId, VmId};
use super::report::{
    CgroupOwner, ContainerFacts, CpuTime, LostEvents, PackageTime, PodFacts, Reservation, Section,
    SoftirqTime, SourceError, Tally, TaskKind, VmFacts,
};
use super::units::{CpuNanos, DeviceNanos, Microjoules, Microwatts, MonotonicNanos};
use super::zone::{Feature, FloorOrigin, Permille, Provenance, Zone};
use std::sync::Arc;
use std::time::Duration;

/// Everything that is known at the close of one window.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The tick that opened the window; 0 before the first window closed.
    pub tick: TickId,
    /// From the opening of the window to its close.
    pub window: Section,
    /// Every zone with its totals. The position is the index into every [`Charges`].
    pub zones: Vec<ZoneAccount>,
    /// Busy and idle time of each package.
    pub packages: Vec<PackageTime>,
    /// Busy and idle time of each CPU, where the probe tells CPUs apart.
    pub cpus: Vec<CpuTime>,
    /// Softirqs by package and vector, where they are counted.
    pub softirqs: Vec<SoftirqTime>,
    /// Which events the ledgers count.
    pub counted: EventSet,
    /// What time beside a busy sibling weighed of time alone on a core, where it is counted and weighed.
    pub smt_weight: Option<Permille>,
    /// Processes with a row of their own.
    pub processes: Vec<ProcessRow>,
    /// All other processes, living and dead, as one row (`pid="other"`).
    pub other_processes: Ledger,
    /// Containers, and the two rows for what is outside of them.
    pub containers: Vec<GroupRow<ContainerKey>>,
    /// Pods, as far as cgroup paths name them.
    pub pods: Vec<GroupRow<PodUid>>,
    /// Virtual machines.
    pub vms: Vec<GroupRow<VmId>>,
    /// systemd units.
    pub units: Vec<GroupRow<UnitKey>>,
    /// Rows that were visible once, ended and left, summed by level, so that each level still adds up.
    pub retired: Retired,
    /// CPU time charged to workloads over the node's busy time, in the last window that had both.
    pub coverage: Option<Permille>,
    /// Sources with their health.
    pub sources: Vec<SourceAccount>,
    /// Start-up decisions.
    pub facts: Arc<NodeFacts>,
    /// Windows so far, and their lateness.
    pub windows: WindowCounters,
    /// What probes dropped or folded.
    pub lost: Vec<LostEvents>,
    /// What those who know names count of themselves.
    pub tallies: Vec<Tally>,
    /// Messages that found a full mailbox or channel, by queue, cumulative.
    pub dropped: Vec<(&'static str, u64)>,
}

/// Energy of one workload in one zone since start, and its use of that zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Above the idle floor.
    pub dynamic: Microjoules,
    /// Its share of the idle floor.
    pub idle: Microjoules,
    /// Time that it used the device, where the zone is one.
    pub used: DeviceNanos,
}

/// One [`Charge`] per zone, by the zone's position in [`Snapshot::zones`]. Shorter than the zone list where the rest
/// is zero; empty for a workload that was never charged.
pub type Charges = Vec<Charge>;

/// Totals of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Energy by zone.
    pub charges: Charges,
    /// CPU time.
    pub cpu: CpuNanos,
    /// Events, as far as [`Snapshot::counted`] says that they are counted.
    pub events: EventCounts,
}

/// One zone's totals. `dynamic` + `idle` is all that was paid; of it, `unattributed` and `unreserved_idle` were
/// charged to nobody and the rest to workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneAccount {
    /// The zone.
    pub zone: Zone,
    /// The meter.
    pub source: SourceId,
    /// How its figures come about.
    pub provenance: Provenance,
    /// Energy above the idle floor.
    pub dynamic: Microjoules,
    /// Energy of the idle floor.
    pub idle: Microjoules,
    /// Part of `dynamic` that no workload was charged for.
    pub unattributed: Microjoules,
    /// Part of `idle` that no workload was charged for.
    pub unreserved_idle: Microjoules,
    /// Mean power over the time between the last two readings; `None` until there were two.
    pub power: Option<Microwatts>,
    /// The idle floor in use; `None` while it is not known.
    pub floor: Option<Microwatts>,
    /// How that floor came about, or what takes its place.
    pub floor_origin: FloorOrigin,
    /// Expected relative error of the floor, where it was learned; what is extrapolated may be far off.
    pub floor_error: Option<Permille>,
    /// By what its dynamic energy was split in the last payment.
    pub feature: Feature,
    /// How well its power can be foretold from what the node counts, where that is learned and believed.
    pub fit: Option<Fit>,
    /// Time from its last reading to the close of the window.
    pub age: Duration,
    /// Whether it answered in the last report of its source.
    pub up: bool,
}

/// How well a zone's power is foretold, window by window before it is known: root of mean squares over the newest windows,
/// relative to the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The plain feature.
    pub plain: Feature,
    /// Error by the plain feature alone.
    pub plain_error: Permille,
    /// Error by the learned weights.
    pub learned_error: Permille,
}

/// A process with a row of its own. Counts from the window in which it was given the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    /// Which process.
    pub task: TaskKey,
    /// Its command name.
    pub comm: Comm,
    /// Whose code it runs.
    pub kind: TaskKind,
    /// The cgroup it was last seen in.
    pub cgroup: CgroupId,
    /// What that cgroup says.
    pub owner: Option<Arc<CgroupOwner>>,
    /// Its totals.
    pub ledger: Ledger,
    /// Since when they count: the close before the window that gave it the row, or zero in the first one. Never later than it
    /// was before, for as long as the totals go on.
    pub began: MonotonicNanos,
    /// Whether it is dead; it stays for `exporter.ended.keep` and then leaves.
    pub ended: bool,
}

/// A container, a pod, a virtual machine or a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow<K> {
    /// Which one.
    pub key: K,
    /// A cgroup owner out of the group, for its names; `None` for the rows outside of containers.
    pub owner: Option<Arc<CgroupOwner>>,
    /// What it is called.
    pub names: Names,
    /// Its totals.
    pub ledger: Ledger,
    /// Since when they count: the close before the window that it was first seen in, or zero in the first one. A row that comes
    /// back and goes on where it stopped has the moment that it had.
    pub began: MonotonicNanos,
    /// Whether nothing of it lives any more; it stays for `exporter.ended.keep` and then leaves.
    pub ended: bool,
}

/// What is known of a group beyond its key: what it is called, and what it has reserved. Names once known stay, also when
/// the group has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of a container.
    pub container: Option<Arc<ContainerFacts>>,
    /// Of a pod, and of a container's pod.
    pub pod: Option<Arc<PodFacts>>,
    /// Of a virtual machine.
    pub vm: Option<Arc<VmFacts>>,
    /// What it has reserved now, where that is known; of a pod what its containers have. Unlike a name it goes with the group.
    pub reserved: Option<Reservation>,
    /// Whether they are on their way: whoever shows rows by name waits for them.
    pub awaited: bool,
}

/// A row on the container level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKey {
    /// A real container, by its id.
    Container(ContainerId),
    /// Host processes outside every container.
    System,
    /// Kernel threads.
    Kernel,
}

/// A row on the unit level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitKey {
    /// `ssh.service`, `session-3.scope`; empty where a cgroup is in no unit.
    pub unit: String,
    /// `system.slice`, `user-1000.slice`; empty where there is none.
    pub slice: String,
}

/// Totals of the rows that left, by level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Processes that had a row.
    pub processes: Ledger,
    /// Containers.
    pub containers: Ledger,
    /// Pods.
    pub pods: Ledger,
    /// Virtual machines.
    pub vms: Ledger,
    /// Units.
    pub units: Ledger,
}

/// One source's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAccount {
    /// The source.
    pub source: SourceId,
    /// Time from its last report with at least one reading to the close of the window; `None` before the first.
    pub age: Option<Duration>,
    /// Errors since start.
    pub errors: Vec<SourceError>,
}

/// Windows so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowCounters {
    /// Closed windows.
    pub closed: u64,
    /// Reporters that were not in when a window closed, each with how often.
    pub late: Vec<(ReporterId, u64)>,
    /// Reporters that were late for this window.
    pub late_now: Vec<ReporterId>,
    /// Reporters missing for three windows or more: their figures are stale.
    pub stale: Vec<ReporterId>,
    /// How late windows closed after their deadline: counts by bucket of [`LATENESS_BUCKETS_MS`] and one above.
    pub lateness: [u64; LATENESS_BUCKETS_MS.len() + 1],
    /// Sum of all lateness.
    pub lateness_sum: Duration,
}

/// Upper bounds of the lateness histogram in milliseconds; 0 holds the windows that closed in time.
pub const LATENESS_BUCKETS_MS: [u64; 8] = [0, 1, 5, 10, 50, 100, 500, 1_000];
