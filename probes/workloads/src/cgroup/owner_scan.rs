// SPDX-License-Identifier: Apache-2.0
//! Walks a cgroup's path from the outside in and notes the pod, the outermost container and those nested in it. Owns the
//! order; what a name means in its place is said by `owner_shapes`.

use super::owner_shapes::{Hit, Place, container_in, enter};
use attribution::model::{ContainerId, PodUid};
use std::borrow::Cow;

/// The outermost container of a path.
pub(super) struct Found<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) runtime: &'static str,
    /// Where its name ends in the path.
    pub(super) end: usize,
}

/// What a path says.
#[derive(Default)]
pub(super) struct Scan<'a> {
    pub(super) container: Option<Found<'a>>,
    /// Containers inside, from the outside in; none twice, and never the container itself. The kernel bounds a path at
    /// 4,096 bytes (`PATH_MAX`), so these are few.
    pub(super) nested: Vec<ContainerId>,
    /// The pod around the container, never one inside of it.
    pub(super) pod: Option<PodUid>,
}

impl<'a> Scan<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let mut scan = Self::default();
        // A container sees its own cgroup as the root of all, so what runs in it begins at the top again.
        let (mut place, mut is_top) = (Place::Host, true);
        for (name, end) in components(path) {
            if let Some(hit) = container_in(name, place) {
                place = hit.inside;
                is_top = true;
                scan.note(hit, end);
                continue;
            }
            let (inside, pod) = enter(name, place, is_top);
            if scan.container.is_none() {
                scan.pod = pod.or(scan.pod);
            }
            place = inside;
            is_top = false;
        }
        scan
    }

    fn note(&mut self, hit: Hit<'a>, end: usize) {
        match &self.container {
            None => {
                self.pod = hit.pod.or_else(|| self.pod.take());
                self.container = Some(Found {
                    id: hit.id,
                    runtime: hit.runtime,
                    end,
                });
            }
            Some(outer) => {
                let known = |id: &ContainerId| id.as_str() == hit.id;
                if outer.id != hit.id && !self.nested.iter().any(known) {
                    self.nested.push(ContainerId::new(&hit.id));
                }
            }
        }
    }
}

/// Components with the place where each ends; `.` and `..` are none.
pub(super) fn components(path: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut end = 0;
    path.split_inclusive('/').filter_map(move |part| {
        end += part.len();
        let name = part.strip_suffix('/').unwrap_or(part);
        let at = end - (part.len() - name.len());
        (!matches!(name, "" | "." | "..")).then_some((name, at))
    })
}
