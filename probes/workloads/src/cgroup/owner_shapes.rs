// SPDX-License-Identifier: Apache-2.0
//! What the names in a cgroup's path mean, runtime by runtime. Pure; a name alone is taken for a container only where no
//! unit of the host can be called so. In doubt it is none: a false container would split a unit's energy, a missed one
//! is still there as the unit that runs it.
//!
//! Known and left alone: BuildKit's build steps (no shape that is written down), Apptainer and Singularity
//! (`apptainer-PID.scope`: a unit of the user, and only when limits are asked for), Flatpak, snaps and bubblewrap
//! (applications in units), libvirt's and systemd-vmspawn's machines (found by their processes).

use super::owner::unescape;
use attribution::model::PodUid;
use std::borrow::Cow;

/// A container's own cgroup.
pub(super) struct Hit<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) runtime: &'static str,
    /// The pod that the same name tells.
    pub(super) pod: Option<PodUid>,
    /// Where its children are.
    pub(super) inside: Place<'a>,
}

impl<'a> Hit<'a> {
    const fn new(id: &'a str, runtime: &'static str) -> Self {
        Self {
            id: Cow::Borrowed(id),
            runtime,
            pod: None,
            inside: Place::Host,
        }
    }
}

/// Where in a path we are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Anywhere else.
    Host,
    /// In kubelet's tree, above the pods.
    Kubepods,
    /// In a pod's folder that kubelet's cgroupfs driver made: every child is a container.
    PodFolder,
    /// In a pod's slice that kubelet's systemd driver made: its containers are scopes.
    PodSlice,
    /// In `docker`, dockerd's parent under its cgroupfs driver (`moby` where containerd's namespace shows).
    Docker,
    /// In a namespace of containerd, whose clients' default is `/NAMESPACE/ID` (`oci.WithNamespacedCgroup`).
    Containerd,
    /// In podman's parent under its cgroupfs driver: folders of pods, and `libpod-ID`.
    Libpod,
    /// In LXC's folder: `lxc/NAME` before LXC 4 and on Proxmox VE.
    Lxc,
    /// In `machine.slice` or a slice below it, where systemd-machined puts its machines.
    Machines,
    /// In `machine`, libvirt's partition where there is no systemd.
    Partition,
    /// In the ECS agent's folder, and in a task's.
    Ecs,
    EcsTask(&'a str),
    /// In Slurm's tree of version 1, above the jobs.
    SlurmUsers,
    /// Where the children are jobs of Slurm.
    SlurmJobs,
    /// In a job: its steps.
    SlurmJob,
    /// In Nomad's tree.
    Nomad,
    /// In the Mesos agent's tree.
    Mesos,
    /// In Garden's tree (Cloud Foundry, Concourse).
    Garden,
}

/// Prefixes of cgroup names that runtimes give their containers, and whether the rest has to be 64 hex digits (those
/// runtimes make no other ids, and units of the host may begin alike: `docker-compose.scope`).
/// docker and cri-dockerd: `docker-ID.scope`; containerd's CRI plugin: `cri-containerd-ID.scope`; CRI-O: `crio-ID[.scope]`;
/// podman: `libpod-ID[.scope]`, `libpod-payload-ID` with split cgroups; LXC and Incus: `lxc.payload.NAME`; Kata's
/// sandbox: `kata_ID` beside where the container would be, whichever runtime called it.
/// The monitors (`crio-conmon-ID`, `libpod-conmon-ID`, `lxc.monitor.NAME`) fit none of them.
const PREFIXES: [(&str, &str, IdShape); 8] = [
    ("docker-", "docker", IdShape::Hex),
    ("cri-containerd-", "containerd", IdShape::Name),
    ("nerdctl-", "containerd", IdShape::Hex),
    ("crio-", "cri-o", IdShape::Hex),
    ("libpod-payload-", "podman", IdShape::Hex),
    ("libpod-", "podman", IdShape::Hex),
    ("lxc.payload.", "lxc", IdShape::Name),
    ("kata_", "", IdShape::Hex),
];

/// Suffixes of the systemd units that can have a cgroup (systemd.unit(5)); slices are told apart.
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

#[derive(Clone, Copy)]
enum IdShape {
    /// 64 hex digits.
    Hex,
    /// A name as containerd allows it.
    Name,
}

impl IdShape {
    fn fits(self, id: &str) -> bool {
        match self {
            Self::Hex => is_hex_id(id),
            // `cri-containerd-shim.service` is the host's.
            Self::Name => is_name(id) && !is_systemds(id),
        }
    }
}

/// The container that `name` is in `place`.
pub(super) fn container_in<'a>(name: &'a str, place: Place<'a>) -> Option<Hit<'a>> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let prefixed = PREFIXES.iter().find_map(|(prefix, runtime, shape)| {
        let id = stem.strip_prefix(prefix).filter(|id| shape.fits(id))?;
        Some(Hit::new(id, runtime))
    });
    if let Some(hit) = prefixed
        .or_else(|| slice_prefix_id(name))
        .or_else(|| nspawn(name, place))
    {
        return Some(hit);
    }
    if name.contains("conmon") {
        return None; // a monitor that sits beside its container
    }
    if let Some(hit) = placed(name, stem, place) {
        return Some(hit);
    }
    // Nobody but runtimes names folders so; podman's pods are the exception.
    (is_hex_id(name) && place != Place::Libpod).then(|| Hit::new(name, ""))
}

/// What only its place tells.
fn placed<'a>(name: &'a str, stem: &'a str, place: Place<'a>) -> Option<Hit<'a>> {
    let is_plain = is_name(name) && !is_systemds(name);
    match place {
        Place::PodFolder => is_plain.then(|| Hit::new(name, "")),
        Place::PodSlice => {
            // A runtime that we do not know by name, in a place where only runtimes put scopes.
            let id = stem.rsplit_once('-').map(|(_, id)| id)?;
            (name.ends_with(".scope") && is_hex_id(id)).then(|| Hit::new(id, ""))
        }
        Place::Docker => is_hex_id(name).then(|| Hit::new(name, "docker")),
        Place::Containerd => is_plain.then(|| Hit::new(name, "containerd")),
        Place::Lxc => is_plain.then(|| Hit::new(name, "lxc")),
        Place::Partition => {
            let machine = name
                .strip_suffix(".libvirt-lxc")
                .filter(|machine| is_name(machine))?;
            Some(Hit::new(machine, "libvirt-lxc"))
        }
        // On EC2 the agent drives Docker; Fargate calls a container after its task.
        Place::EcsTask(_) if is_hex_id(name) => Some(Hit::new(name, "docker")),
        Place::EcsTask(task) => {
            let number = name.strip_prefix(task)?.strip_prefix('-')?;
            is_number(number).then(|| Hit::new(name, ""))
        }
        Place::SlurmJobs => is_number(name.strip_prefix("job_")?).then(|| Hit {
            inside: Place::SlurmJob,
            ..Hit::new(name, "slurm")
        }),
        // `step_0`, `step_batch`, `step_extern`, `step_interactive`, and `step_0+1` in heterogeneous jobs.
        Place::SlurmJob => {
            is_name(&name.strip_prefix("step_")?.replace('+', "_")).then(|| Hit::new(name, "slurm"))
        }
        Place::Nomad => {
            let (allocation, task) = stem.split_once('.')?;
            (is_guid(allocation) && !task.is_empty()).then(|| Hit::new(stem, "nomad"))
        }
        Place::Mesos => is_guid(name).then(|| Hit::new(name, "mesos")),
        Place::Garden => is_guid(name).then(|| Hit::new(name, "garden")),
        Place::Host | Place::Kubepods | Place::Libpod | Place::Machines | Place::Ecs | Place::SlurmUsers => {
            None
        }
    }
}

/// `SLICE:PREFIX:ID` is what runc makes of a systemd path when it drives cgroupfs itself.
fn slice_prefix_id(name: &str) -> Option<Hit<'_>> {
    let (left, id) = name.rsplit_once(':')?;
    let (slice, prefix) = left.rsplit_once(':')?;
    let (runtime, shape) = runtime_of(prefix)?;
    if !shape.fits(id) {
        return None;
    }
    Some(Hit {
        pod: pod_of_slice(slice).flatten(),
        ..Hit::new(id, runtime)
    })
}

/// The runtime whose prefix this is, without its dash, and what its ids are like.
fn runtime_of(word: &str) -> Option<(&'static str, IdShape)> {
    PREFIXES
        .iter()
        .find(|(prefix, ..)| prefix.strip_suffix('-') == Some(word))
        .map(|(_, runtime, shape)| (*runtime, *shape))
}

/// A container of systemd-nspawn: `machine-NAME.scope` with the name escaped (`machine_start_scope` in systemd's
/// src/machine/machine.c), or a service of the template `systemd-nspawn@.service`, whose instance is the name. The
/// supervisor in it is a part of what systemd accounts to the machine. libvirt registers its machines alike, as
/// DRIVER-ID-NAME (`virDomainGenerateMachineName`): those of QEMU and Cloud Hypervisor are no containers, those of LXC are.
fn nspawn<'a>(name: &'a str, place: Place<'a>) -> Option<Hit<'a>> {
    let of_template = |name: &'a str| name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service");
    let of_machined = |name: &'a str| name.strip_prefix("machine-")?.strip_suffix(".scope");
    let escaped = match place {
        Place::Machines => of_template(name).or_else(|| of_machined(name)),
        _ => of_template(name),
    }?;
    let machine = unescape(escaped);
    if !is_name(&machine) || machine.starts_with("qemu-") || machine.starts_with("ch-") {
        return None;
    }
    let runtime = if is_libvirt_lxc(&machine) {
        "libvirt-lxc"
    } else {
        "systemd-nspawn"
    };
    Some(Hit {
        id: Cow::Owned(machine),
        ..Hit::new("", runtime)
    })
}

fn is_libvirt_lxc(machine: &str) -> bool {
    let rest = machine.strip_prefix("lxc-").and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(id, _)| is_number(id))
}

/// Where we are inside of `name`, which is no container, and the pod that it is. `is_top`: nothing is above it, but for a
/// container that sees it as the top.
pub(super) fn enter<'a>(name: &'a str, place: Place<'a>, is_top: bool) -> (Place<'a>, Option<PodUid>) {
    if let Some(pod) = pod_of_slice(name) {
        let inside = pod.as_ref().map_or(Place::Kubepods, |_| Place::PodSlice);
        return (inside, pod);
    }
    if place == Place::Kubepods
        && let Some(uid) = name.strip_prefix("pod").filter(|uid| is_name(uid))
    {
        return (Place::PodFolder, Some(PodUid::new(uid)));
    }
    (folder(name, place, is_top), None)
}

fn folder<'a>(name: &'a str, place: Place<'a>, is_top: bool) -> Place<'a> {
    match (name, place) {
        ("kubepods", _) | ("burstable" | "besteffort", Place::Kubepods) => Place::Kubepods,
        ("docker" | "moby", _) => Place::Docker,
        // `default` is the namespace of ctr and nerdctl.
        ("k8s.io" | "default", _) if is_top => Place::Containerd,
        ("libpod_parent", _) => Place::Libpod,
        ("lxc" | "lxc.payload", _) if is_top => Place::Lxc,
        ("machine.slice", _) => Place::Machines,
        (_, Place::Machines) if name.starts_with("machine-") && name.ends_with(".slice") => Place::Machines,
        ("machine", _) if is_top => Place::Partition,
        ("ecs", _) if is_top => Place::Ecs,
        (_, Place::Ecs) => Place::EcsTask(name),
        ("nomad" | "nomad.slice", _) => Place::Nomad,
        ("share" | "reserve" | "share.slice" | "reserve.slice", Place::Nomad) => Place::Nomad,
        ("mesos", _) if is_top => Place::Mesos,
        ("garden", _) | ("good" | "bad", Place::Garden) => Place::Garden,
        (_, Place::SlurmUsers) if name.strip_prefix("uid_").is_some_and(is_number) => Place::SlurmJobs,
        _ if name == "slurmstepd.scope" || name.ends_with("_slurmstepd.scope") => Place::SlurmJobs,
        _ if is_top && (name == "slurm" || name.starts_with("slurm_")) => Place::SlurmUsers,
        _ if name.starts_with("garden-") => Place::Garden,
        _ => Place::Host,
    }
}

/// Whether `name` is a slice of kubelet's tree, and the pod that it names. Dashes part the levels of a slice
/// (systemd.slice(5)), so kubelet writes those of the UID as underscores; a cgroup root of kubelet's comes before
/// (`kubelet-kubepods-burstable-podUID.slice` in kind).
fn pod_of_slice(name: &str) -> Option<Option<PodUid>> {
    let stem = name.strip_suffix(".slice")?;
    let mut levels = stem.split('-').skip_while(|level| *level != "kubepods");
    levels.next()?;
    let last = levels.last().unwrap_or_default();
    let uid = last.strip_prefix("pod").filter(|uid| is_name(uid));
    Some(uid.map(|uid| PodUid::new(&uid.replace('_', "-"))))
}

pub(super) fn is_unit(name: &str) -> bool {
    UNITS
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// A unit or a slice: no runtime calls a container so.
fn is_systemds(name: &str) -> bool {
    is_unit(name) || name.ends_with(".slice")
}

fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && is_hex(id)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A UUID, or Cloud Foundry's id of an instance, whose last group is short.
fn is_guid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    matches!(*lengths, [8, 4, 4, 4, 12 | 4]) && groups.iter().all(|group| is_hex(group))
}

fn is_name(id: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    id.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && id.bytes().all(inner)
}
