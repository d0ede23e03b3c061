// SPDX-License-Identifier: Apache-2.0
//! Who owns a cgroup, from its path alone. Pure; asks no runtime and no file.
//!
//! Read from the outside in: the **outermost** container owns everything below it (systemd in a container, kind,
//! docker-in-docker, the `container` folder of crun), the containers that the path goes on to are kept as nested in it,
//! and only a pod around it is its pod. A path inside no container has a unit and a slice: the unit is the innermost one,
//! the slice is the innermost one outside of **every** unit, so `foo.service` of user 1000's own manager is
//! (`foo.service`, `user-1000.slice`) and not one with that of user 1001.
//! Inside a container both are empty: a container is no unit, and its own systemd is its own affair.

use super::owner_scan::{Scan, components};
use super::owner_shapes::is_unit;
use attribution::model::{CgroupOwner, ContainerId};

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
        container: scan.container.as_ref().map(|found| ContainerId::new(&found.id)),
        runtime: scan.container.map_or("", |found| found.runtime),
        nested: scan.nested,
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

/// Undoes systemd's `\x2d` (systemd-escape(1)). What would come out as a control character or as broken UTF-8 stays as
/// it is: the text becomes a label.
pub(super) fn unescape(name: &str) -> String {
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
