// SPDX-License-Identifier: Apache-2.0
//! What reporters say at each tick.
//!
//! All totals are **cumulative** since the reporter began, and every report is whole: what it does not list does not
//! exist any more. So a report that is lost or late costs resolution and never energy; the next one says it all again.

use super::events::{EventCounts, EventSet};
use super::facts::ProbeState;
use super::ids::{CgroupId, Comm, ContainerId, PackageId, PodUid, ReporterId, TaskKey, TickId, VmId};
use super::units::{CpuNanos, DeviceNanos, Microjoules, MonotonicNanos};
use super::zone::{Provenance, Zone};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The time during which a reporter read: its figures belong to a moment inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Before the first read.
    pub began: MonotonicNanos,
    /// After the last read.
    pub ended: MonotonicNanos,
}

/// One reporter's answer to one tick.
#[derive(Clone, Debug)]
pub struct Report<T> {
    /// The tick that it answers.
    pub tick: TickId,
    /// Who answers.
    pub reporter: ReporterId,
    /// When it read.
    pub section: Section,
    /// What it read.
    pub body: T,
}

/// Who ran: CPU time of every task since the probe began.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// One row per task, cgroup and package; no two rows share all three.
    pub tasks: Vec<TaskUsage>,
    /// Busy and idle time of each package, all its CPUs together, from the clock that also charged the tasks.
    pub packages: Vec<PackageTime>,
    /// The same for each CPU that is or was online, where the probe tells CPUs apart.
    pub cpus: Vec<CpuTime>,
    /// Softirqs by package and vector, where they are counted.
    pub softirqs: Vec<SoftirqTime>,
    /// Which events the rows count.
    pub counted: EventSet,
    /// What the probe had to drop or fold, cumulative, by reason.
    pub lost: Vec<LostEvents>,
    /// Rises when another probe goes on counting: the rows of its reports have another zero.
    pub era: u32,
    /// What of the rows of this era the probe before had counted, too.
    pub base: Arc<[TaskUsage]>,
}

/// CPU time of one task inside one cgroup on one package.
#[derive(Clone, Copy, Debug)]
pub struct TaskUsage {
    /// The process; `None` for time of this cgroup of no process known by name (a full map, or what `cpu.stat` counted beyond).
    pub task: Option<TaskKey>,
    /// The cgroup it ran in.
    pub cgroup: CgroupId,
    /// The package it ran on.
    pub package: PackageId,
    /// Time on that package's CPUs since the probe began.
    pub cpu: CpuNanos,
    /// Events since the probe began, as far as [`Usage::counted`] says that they are counted.
    pub events: EventCounts,
    /// The newest command name that the probe saw.
    pub comm: Comm,
    /// Whose code it runs.
    pub kind: TaskKind,
    /// Whether the whole thread group is dead. It is listed until the window that paid it has closed.
    pub ended: bool,
}

/// Whose code a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A process of user space.
    User,
    /// A kernel thread (`PF_KTHREAD`).
    Kernel,
}

/// Busy and idle time of a package since the probe began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageTime {
    /// The package.
    pub package: PackageId,
    /// Online CPUs (hardware threads) of it.
    pub cpus: u32,
    /// Time its CPUs ran tasks or softirqs.
    pub busy: CpuNanos,
    /// Time its CPUs ran the idle task.
    pub idle: CpuNanos,
}

/// Busy and idle time of one CPU (hardware thread) since the probe began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    /// The kernel's number of it.
    pub cpu: u32,
    /// The package that it is on.
    pub package: PackageId,
    /// Whether it is online now.
    pub online: bool,
    /// Time it ran tasks or softirqs.
    pub busy: CpuNanos,
    /// Time it ran the idle task.
    pub idle: CpuNanos,
    /// Time a hypervisor took from it, in a guest whose hypervisor tells; in neither `busy` nor `idle`.
    pub steal: Option<CpuNanos>,
}

/// Softirqs of one vector on one package since the probe began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftirqTime {
    /// The package.
    pub package: PackageId,
    /// The kernel's name of the vector: `net_rx`, `timer` (`softirq_to_name` in kernel/softirq.c, in lower case).
    pub vector: &'static str,
    /// How often it ran.
    pub count: u64,
    /// Time inside.
    pub time: CpuNanos,
}

/// Something that a probe could not account where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostEvents {
    /// The probe, as in `kepler_probe_up`.
    pub probe: &'static str,
    /// Why, in one or two words.
    pub reason: &'static str,
    /// How often since start.
    pub count: u64,
}

/// What a probe counts of itself, for whoever wants to see how it fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The probe: `resolver`, or as in `kepler_probe_up`.
    pub probe: &'static str,
    /// What is counted, in one to four words.
    pub what: &'static str,
    /// What the count means.
    pub kind: TallyKind,
    /// How often since start, or how much now.
    pub count: u64,
}

/// What a [`Tally`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TallyKind {
    /// Work that was done, since start. Rises.
    Done,
    /// What could not be done or was left out, since start. Rises; shown among the lost events.
    Lost,
    /// How much there is now.
    Held,
}

impl TallyKind {
    /// As the JSON says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Lost => "lost",
            Self::Held => "held",
        }
    }
}

/// Who is who. Shared and copied only when it changes.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Owners by cgroup, for hosts whose runtimes use the unified hierarchy.
    pub cgroups: HashMap<CgroupId, Arc<CgroupOwner>>,
    /// Owners by process, where the process itself says more than its cgroup: a virtual machine, or a process that is in
    /// the root of the unified hierarchy while a version-1 hierarchy knows better. Wins over `cgroups`. A kernel thread that
    /// works for a machine has one with nothing but that.
    pub tasks: HashMap<TaskKey, Arc<CgroupOwner>>,
    /// What is known of containers beyond their ids.
    pub containers: HashMap<ContainerId, Arc<ContainerFacts>>,
    /// What is known of pods beyond their UIDs.
    pub pods: HashMap<PodUid, Arc<PodFacts>>,
    /// What is known of virtual machines beyond their ids.
    pub vms: HashMap<VmId, Arc<VmFacts>>,
    /// What workloads reserved of the node, as far as that is known. A virtual machine in a container may be listed beside
    /// it: its process is then the container's, with which the machine was reserved.
    pub reserved: HashMap<Tenant, Reservation>,
    /// Of the containers and pods that are owners and have no name yet, those whose names will come: whoever shows them
    /// by name waits, so that nobody has to be shown under two names.
    pub awaited: Awaited,
    /// Probes that ask others for names, as they stand now. What the start-up said of the same probe is replaced by it.
    pub probes: Vec<ProbeState>,
}

/// Who can reserve a part of the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tenant {
    /// A container, alone or of a pod.
    Container(ContainerId),
    /// A virtual machine.
    Vm(VmId),
}

/// A part of the node that is held for a workload whether it uses it or not: a Kubernetes request, a virtual machine's
/// vCPUs and memory, a container's quota. Zero where nothing was reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    /// Thousandths of a CPU (hardware thread), as Kubernetes counts them.
    pub millicpus: u64,
    /// Bytes of memory.
    pub memory: u64,
}

impl Reservation {
    /// Both together.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            millicpus: self.millicpus.saturating_add(more.millicpus),
            memory: self.memory.saturating_add(more.memory),
        }
    }
}

/// Workloads whose names are on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// Containers.
    pub containers: HashSet<ContainerId>,
    /// Pods.
    pub pods: HashSet<PodUid>,
}

/// A container by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its name: in the pod, or the one that its runtime gave it.
    pub name: String,
    /// What it was made from, where that is known.
    pub image: Option<String>,
}

/// A pod as the API server or the kubelet describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Kind and name of what made it (`Deployment`, `web`), where anything did; a ReplicaSet's own owner, not the ReplicaSet.
    pub made_by: Option<(String, String)>,
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos: String,
    /// Those of its labels that the configuration asks for, by name.
    pub labels: Vec<(String, String)>,
}

/// A virtual machine by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmFacts {
    /// Its name.
    pub name: String,
    /// `qemu`, `cloud-hypervisor`, `firecracker`, `virtualbox`, `vmware`, `xen`.
    pub hypervisor: &'static str,
}

impl Identity {
    /// The owner of what `task` did inside `cgroup`.
    #[must_use]
    pub fn owner(&self, task: Option<TaskKey>, cgroup: CgroupId) -> Option<&Arc<CgroupOwner>> {
        task.and_then(|task| self.tasks.get(&task))
            .or_else(|| self.cgroups.get(&cgroup))
    }
}

/// Who a process belongs to: what its cgroup's path says, and for a virtual machine the process itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CgroupOwner {
    /// The path below the mount point, beginning with `/`.
    pub path: String,
    /// The container, if it is one.
    pub container: Option<ContainerId>,
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `libvirt-lxc`, `systemd-nspawn`, `slurm`, `nomad`, `mesos`, `garden`,
    /// or empty where the path does not tell.
    pub runtime: &'static str,
    /// Containers inside it that the path goes on to, from the outside in (Docker in Docker, kind; the step of a Slurm job).
    /// They pay nothing of their own: the outermost one is the workload.
    pub nested: Vec<ContainerId>,
    /// The pod, if the path names one.
    pub pod: Option<PodUid>,
    /// The virtual machine whose process this is. It may be in a container, too (KubeVirt).
    pub vm: Option<VmId>,
    /// The systemd unit (`ssh.service`, `session-3.scope`), for host processes.
    pub unit: Option<String>,
    /// The systemd slice that holds the unit (`system.slice`, `user-1000.slice`).
    pub slice: Option<String>,
}

/// What it cost: the zones that one source could read at this tick.
#[derive(Clone, Debug, Default)]
pub struct Energy {
    /// One row per zone that answered. A zone that is missing is down; its next reading pays the gap.
    pub zones: Vec<ZoneReading>,
    /// Errors since start, by zone and reason; every reason that ever happened.
    pub errors: Vec<SourceError>,
}

/// A zone's total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneReading {
    /// The zone.
    pub zone: Zone,
    /// Energy since the source was opened. Wraps and resets are already dealt with; it never falls.
    pub total: Microjoules,
    /// How much of `total` the source knows to be idle energy (an estimator does, a meter does not).
    pub idle: Option<Microjoules>,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The moment that `total` is about. A meter that is asked less often than the tick repeats its last reading with
    /// that reading's moment; nothing new is paid until it moves on.
    pub at: MonotonicNanos,
    /// Who used the device; only these processes pay for it. `None` for what is no device, and for a GPU whose use is not
    /// known at this reading: that is not the same as nobody, and what its energy is worth then is unattributed.
    pub device: Option<DeviceUse>,
}

/// Use of a device (a GPU) since its source was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceUse {
    /// Time that its busiest engine was in use, whoever used it. `None` where it does not tell: then what its users add up to.
    pub busy: Option<DeviceNanos>,
    /// One row per process that uses it or has used it since the reading before. A process that is not listed any more has
    /// gone, and begins at zero should its pid come again.
    pub users: Vec<DeviceUser>,
}

/// One process's use of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceUser {
    /// The process as the driver names it, in the host's pid namespace: drivers know no start times, so the newest of this pid.
    pub pid: u32,
    /// Time that it used the device's busiest engine. Two that share it over the same second have half a second each.
    pub used: DeviceNanos,
}

/// Errors of one kind on one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// The zone, or `None` for the source as a whole.
    pub zone: Option<Zone>,
    /// What kind.
    pub reason: ErrorReason,
    /// How often since start.
    pub count: u64,
    /// The latest one, in words: path, what was found, what was expected.
    pub latest: Arc<str>,
}

/// Kinds of source error: the `reason` label of `kepler_source_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorReason {
    /// The kernel or the wire refused the read.
    Io,
    /// The bytes were no reading.
    Parse,
    /// A value that the hardware cannot have produced.
    Implausible,
    /// No answer in time.
    Timeout,
    /// The meter does not know us.
    Auth,
    /// The counter went back and it was no wrap.
    Reset,
    /// The zone vanished.
    Gone,
}

impl ErrorReason {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Parse => "parse",
            Self::Implausible => "implausible",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::Reset => "reset",
            Self::Gone => "gone",
        }
    }
}
