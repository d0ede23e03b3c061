// SPDX-License-Identifier: Apache-2.0
//! Who owns a cgroup, from its path alone. Pure; asks no runtime and no file.
//!
//! Read from the outside in: the **outermost** container owns everything below it (systemd in a container, kind,
//! docker-in-docker, the `container` folder of crun), and only a pod around it is its pod. A path inside no container
//! has a unit and a slice: the unit is the innermost one, the slice is the innermost one outside of **every** unit, so
//! `foo.service` of user 1000's own manager is (`foo.service`, `user-1000.slice`) and not one with that of user 1001.
//! Inside a container both are empty: a container is no unit, and its own systemd is its own affair.

use attribution::model::{CgroupOwner, ContainerId, PodUid};

/// The owner of the cgroup that `/proc/PID/cgroup` or the mount calls `path`. Leading `/..` (a cgroup outside of our
/// cgroup namespace) is skipped.
#[must_use]
pub fn owner_of(path: &str) -> CgroupOwner {
    let scan = Scan::of(path);
    let (unit, slice) = match scan.container {
        Some(_) => (None, None),
        None => unit_and_slice(path),
    };
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    CgroupOwner {
        path,
        container: scan.container.as_ref().map(|found| ContainerId::new(found.id)),
        runtime: scan.container.map_or("", |found| found.runtime),
        nested: Vec::new(),
        pod: scan.pod,
        vm: None,
        unit,
        slice,
    }
}

/// The part of `path` that ends with the container's own cgroup, without what is nested in it.
#[must_use]
pub fn container_root(path: &str) -> Option<&str> {
    Scan::of(path).container.and_then(|found| path.get(..found.end))
}

/// Prefixes of cgroup names that runtimes give their containers, and whether the rest has to be 64 hex digits (those
/// runtimes make no other ids, and units of the host may begin alike: `docker-compose.scope`).
/// docker and cri-dockerd: `docker-ID.scope`; containerd's CRI plugin: `cri-containerd-ID.scope`; CRI-O: `crio-ID[.scope]`;
/// podman: `libpod-ID[.scope]`, `libpod-payload-ID` with split cgroups; LXC and Incus: `lxc.payload.NAME`.
/// The monitors (`crio-conmon-ID`, `libpod-conmon-ID`, `lxc.monitor.NAME`) fit none of them.
const PREFIXES: [(&str, &str, IdShape); 7] = [
    ("docker-", "docker", IdShape::Hex),
    ("cri-containerd-", "containerd", IdShape::Name),
    ("nerdctl-", "containerd", IdShape::Hex),
    ("crio-", "cri-o", IdShape::Hex),
    ("libpod-payload-", "podman", IdShape::Hex),
    ("libpod-", "podman", IdShape::Hex),
    ("lxc.payload.", "lxc", IdShape::Name),
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
            Self::Name => is_name(id),
        }
    }
}

/// Where in a path we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Anywhere else.
    Host,
    /// In kubelet's tree, above the pods.
    Kubepods,
    /// In a pod's folder that kubelet's cgroupfs driver made: every child is a container.
    PodFolder,
    /// In a pod's slice that kubelet's systemd driver made: its containers are scopes.
    PodSlice,
}

struct Found<'a> {
    id: &'a str,
    runtime: &'static str,
    /// Where its name ends in the path.
    end: usize,
}

#[derive(Default)]
struct Scan<'a> {
    container: Option<Found<'a>>,
    pod: Option<PodUid>,
}

impl<'a> Scan<'a> {
    fn of(path: &'a str) -> Self {
        let mut scan = Self::default();
        let (mut place, mut parent) = (Place::Host, None);
        for (name, end) in components(path) {
            // `SLICE:PREFIX:ID` is what runc makes of a systemd path when it drives cgroupfs itself.
            let split = name
                .rsplit_once(':')
                .and_then(|(left, id)| left.rsplit_once(':').map(|(slice, prefix)| (slice, prefix, id)));
            if let Some((slice, prefix, id)) = split
                && let Some(runtime) = runtime_of(prefix)
                && is_name(id)
            {
                scan.pod = pod_of_slice(slice).flatten().or(scan.pod);
                scan.container = Some(Found { id, runtime, end });
                return scan;
            }
            if let Some((id, runtime)) = container_in(name, parent, place) {
                scan.container = Some(Found { id, runtime, end });
                return scan;
            }
            place = scan.enter(name, place);
            parent = Some((name, parent.is_none()));
        }
        scan
    }

    /// Where we are inside of `name`; notes the pod.
    fn enter(&mut self, name: &str, place: Place) -> Place {
        if let Some(pod) = pod_of_slice(name) {
            let inside = if pod.is_some() {
                Place::PodSlice
            } else {
                Place::Kubepods
            };
            self.pod = pod.or_else(|| self.pod.take());
            return inside;
        }
        match place {
            _ if name == "kubepods" => Place::Kubepods,
            Place::Kubepods if matches!(name, "burstable" | "besteffort" | "guaranteed") => Place::Kubepods,
            Place::Kubepods => match name.strip_prefix("pod").filter(|uid| is_name(uid)) {
                Some(uid) => {
                    self.pod = Some(PodUid::new(uid));
                    Place::PodFolder
                }
                None => Place::Host,
            },
            _ => Place::Host,
        }
    }
}

/// Components with the place where each ends; `.` and `..` are none.
fn components(path: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut end = 0;
    path.split_inclusive('/').filter_map(move |part| {
        end += part.len();
        let name = part.strip_suffix('/').unwrap_or(part);
        let at = end - (part.len() - name.len());
        (!matches!(name, "" | "." | "..")).then_some((name, at))
    })
}

/// The container that `name` is; `parent` comes with whether it is the first component.
fn container_in<'a>(
    name: &'a str,
    parent: Option<(&str, bool)>,
    place: Place,
) -> Option<(&'a str, &'static str)> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    for (prefix, runtime, shape) in PREFIXES {
        if let Some(id) = stem.strip_prefix(prefix).filter(|id| shape.fits(id)) {
            return Some((id, runtime));
        }
    }
    if name.contains("conmon") {
        return None; // a monitor that sits beside its container
    }
    let known_parent = match parent {
        Some(("docker" | "moby", _)) => "docker",
        // containerd's own cgroups are /NAMESPACE/NAME; `default` is ctr's and nerdctl's namespace.
        Some(("k8s.io" | "default", true)) => "containerd",
        _ => "",
    };
    let by_place = match place {
        Place::PodFolder => is_name(name) && !is_unit(name),
        Place::PodSlice | Place::Kubepods | Place::Host => {
            matches!(parent, Some(("k8s.io", true))) && is_name(name)
        }
    };
    if by_place || is_hex_id(name) {
        return Some((name, known_parent));
    }
    // A runtime that we do not know by name, in a place where only runtimes put scopes.
    let id = stem.rsplit_once('-').map(|(_, id)| id)?;
    (place == Place::PodSlice && name.ends_with(".scope") && is_hex_id(id)).then_some((id, ""))
}

/// The runtime whose prefix this is, without its dash.
fn runtime_of(word: &str) -> Option<&'static str> {
    PREFIXES
        .iter()
        .find(|(prefix, ..)| prefix.strip_suffix('-') == Some(word))
        .map(|(_, runtime, _)| *runtime)
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

fn unit_and_slice(path: &str) -> (Option<String>, Option<String>) {
    let (mut unit, mut slice) = (None, None);
    for (name, _) in components(path) {
        if is_unit(name) {
            unit = Some(name);
        } else if unit.is_none() && name.len() > ".slice".len() && name.ends_with(".slice") {
            slice = Some(name);
        }
    }
    (unit.map(unescape), slice.map(unescape))
}

fn is_unit(name: &str) -> bool {
    UNITS
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_name(id: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    id.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && id.bytes().all(inner)
}

/// Undoes systemd's `\x2d` (systemd-escape(1)). What would come out as a control character or as broken UTF-8 stays as
/// it is: the text becomes a label.
fn unescape(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] if let Some(byte) = hex_byte(*high, *low) => {
                out.push(byte);
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) if !text.chars().any(char::is_control) => text,
        _ => name.to_owned(),
    }
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}
