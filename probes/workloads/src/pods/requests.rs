// SPDX-License-Identifier: Apache-2.0
//! What a pod has reserved, and which of its containers pays for which part of it. Pure.
//!
//! The scheduler holds for a pod what its containers ask for together, or what the pod asks for as a whole, or what an init
//! container asks for, whichever is most, and what its runtime class takes beside it; and holds it for the pod's whole
//! life. So that a pod pays for just that: each container pays for its own request, and what is more than all requests
//! is spread over the containers alike. An init container runs before them and pays for all of it, but for the sidecars.
//!
//! Huge pages and devices are reserved, too, and paid by nobody here: idle energy is not known to go by them.

use super::shape::{Amounts, Container, ContainerStatus, Pod, Quantity, Resources};
use crate::reserved::{bytes, millicpus};
use attribution::model::Reservation;

/// What is reserved by a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// By the pod as a whole.
    pub(super) whole: Reservation,
    /// By each container that may run, by name. Names are unique within a pod.
    by_name: Vec<(String, Reservation)>,
}

impl Requests {
    /// What `pod` has reserved.
    pub(super) fn of(pod: &Pod) -> Self {
        let (spec, status) = (&pod.spec, &pod.status);
        let (sidecars, inits): (Vec<&Container>, Vec<&Container>) = all(spec.init_containers.as_ref())
            .iter()
            .partition(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers = all(spec.containers.as_ref());
        let statuses = [&status.container_statuses, &status.init_container_statuses];
        let statuses: Vec<&ContainerStatus> = statuses.into_iter().flatten().flatten().collect();
        let own = |container: &Container| own(container, &statuses);
        let beside = sidecars
            .iter()
            .fold(Reservation::default(), |sum, one| sum.and(own(one)));
        let sum = containers.iter().fold(beside, |sum, one| sum.and(own(one)));
        let as_a_whole = asked(spec.resources.as_ref());
        let peak = inits
            .iter()
            .fold(sum, |peak, one| most(peak, beside.and(own(one))));
        let overhead = amounts(spec.overhead.as_ref());
        let whole = most(peak, as_a_whole).and(overhead);
        let more = less(whole, sum);
        let count = u64::try_from(containers.len()).unwrap_or(u64::MAX);
        let mut by_name: Vec<(String, Reservation)> = Vec::new();
        for (at, container) in (0..).zip(containers) {
            let part = Reservation {
                millicpus: part(more.millicpus, count, at),
                memory: part(more.memory, count, at),
            };
            by_name.push((container.name.clone(), own(container).and(part)));
        }
        by_name.extend(sidecars.iter().map(|one| (one.name.clone(), own(one))));
        by_name.extend(inits.iter().map(|one| (one.name.clone(), less(whole, beside))));
        Self { whole, by_name }
    }

    /// By one container; nothing by one that only came later (an ephemeral container cannot ask for anything).
    pub(super) fn by(&self, name: &str) -> Reservation {
        let found = self.by_name.iter().find(|(of, _)| of == name);
        found.map(|(_, reserved)| *reserved).unwrap_or_default()
    }
}

fn all(containers: Option<&Vec<Container>>) -> &[Container] {
    containers.map(Vec::as_slice).unwrap_or_default()
}

/// What a container asks for itself. While it is being resized its status tells what is held for it.
fn own(container: &Container, statuses: &[&ContainerStatus]) -> Reservation {
    let status = statuses.iter().find(|status| status.name == container.name);
    let held = status.and_then(|status| status.allocated_resources.as_ref());
    let asked = asked(container.resources.as_ref());
    Reservation {
        millicpus: cpu(held).unwrap_or(asked.millicpus),
        memory: memory(held).unwrap_or(asked.memory),
    }
}

/// Who only has a limit asks for that much: the API server writes so, and a file of a static pod may be as it was given.
fn asked(resources: Option<&Resources>) -> Reservation {
    let requests = resources.and_then(|it| it.requests.as_ref());
    let limits = resources.and_then(|it| it.limits.as_ref());
    Reservation {
        millicpus: cpu(requests).or_else(|| cpu(limits)).unwrap_or(0),
        memory: memory(requests).or_else(|| memory(limits)).unwrap_or(0),
    }
}

fn amounts(amounts: Option<&Amounts>) -> Reservation {
    Reservation {
        millicpus: cpu(amounts).unwrap_or(0),
        memory: memory(amounts).unwrap_or(0),
    }
}

fn cpu(amounts: Option<&Amounts>) -> Option<u64> {
    read(amounts?.cpu.as_ref(), millicpus)
}

fn memory(amounts: Option<&Amounts>) -> Option<u64> {
    read(amounts?.memory.as_ref(), bytes)
}

fn read(quantity: Option<&Quantity>, as_integer: fn(&str) -> Option<u64>) -> Option<u64> {
    match quantity? {
        Quantity::Text(text) => as_integer(text),
        Quantity::Number(number) => as_integer(&number.to_string()),
        Quantity::Other(_) => None,
    }
}

fn most(a: Reservation, b: Reservation) -> Reservation {
    Reservation {
        millicpus: a.millicpus.max(b.millicpus),
        memory: a.memory.max(b.memory),
    }
}

fn less(a: Reservation, b: Reservation) -> Reservation {
    Reservation {
        millicpus: a.millicpus.saturating_sub(b.millicpus),
        memory: a.memory.saturating_sub(b.memory),
    }
}

/// The part of the one in `at`, so that all parts add up.
const fn part(amount: u64, count: u64, at: u64) -> u64 {
    match (amount.checked_div(count), amount.checked_rem(count)) {
        (Some(each), Some(rest)) => each.saturating_add(if at < rest { 1 } else { 0 }),
        _ => 0,
    }
}
