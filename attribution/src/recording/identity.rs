// SPDX-License-Identifier: Apache-2.0
//! Identities as bytes: for each map what left and what is new or other than it was. Owns the bound of what a hostile
//! recording can pile up in them.

use super::facts::fields;
use super::fault::Garbled;
use super::wire::{Code, In, Out};
use crate::model::{
    Awaited, CgroupOwner, ContainerFacts, ContainerId, Identity, PodFacts, PodUid, Reservation, Tenant,
    VmFacts,
};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// Most memory, as [`Weigh`] counts it, of one identity that is read: a hundred thousand owners with long names.
const MOST_WEIGHT: usize = 128 << 20;

fields! {
    CgroupOwner { path, container, runtime, nested, pod, vm, unit, slice }
    ContainerFacts { name, image }
    PodFacts { name, namespace, made_by, qos, labels }
    VmFacts { name, hypervisor }
    Reservation { millicpus, memory }
}

/// Writes `now` as what changed since `before`.
pub(super) fn put(to: &mut Out, now: &Identity, before: &Identity) {
    let Identity {
        cgroups,
        tasks,
        containers,
        pods,
        vms,
        reserved,
        awaited,
        probes,
    } = now;
    put_map(to, cgroups, &before.cgroups);
    put_map(to, tasks, &before.tasks);
    put_map(to, containers, &before.containers);
    put_map(to, pods, &before.pods);
    put_map(to, vms, &before.vms);
    put_map(to, reserved, &before.reserved);
    put_set(to, &awaited.containers, &before.awaited.containers);
    put_set(to, &awaited.pods, &before.awaited.pods);
    let other = *probes != before.probes;
    other.put(to);
    if other {
        probes.put(to);
    }
}

/// Reads what [`put`] wrote, on top of what there was before. `weight` is what that weighs.
pub(super) fn take(from: &mut In<'_>, now: &mut Identity, weight: &mut usize) -> Result<(), Garbled> {
    let Identity {
        cgroups,
        tasks,
        containers,
        pods,
        vms,
        reserved,
        awaited:
            Awaited {
                containers: awaited_containers,
                pods: awaited_pods,
            },
        probes,
    } = now;
    take_map(from, cgroups, weight)?;
    take_map(from, tasks, weight)?;
    take_map(from, containers, weight)?;
    take_map(from, pods, weight)?;
    take_map(from, vms, weight)?;
    take_map(from, reserved, weight)?;
    take_set(from, awaited_containers, weight)?;
    take_set(from, awaited_pods, weight)?;
    if bool::take(from)? {
        // Replaced as a whole, and bounded by the budget of one frame.
        *probes = Code::take(from)?;
    }
    Ok(())
}

/// In the order of the keys, so that the same identity gives the same bytes.
fn put_map<K: Code + Ord + Hash, V: Code + PartialEq>(
    to: &mut Out,
    now: &HashMap<K, V>,
    before: &HashMap<K, V>,
) {
    let mut left: Vec<&K> = before.keys().filter(|key| !now.contains_key(*key)).collect();
    left.sort_unstable();
    to.count(left.len());
    left.into_iter().for_each(|key| key.put(to));
    let mut other: Vec<(&K, &V)> = now
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .collect();
    other.sort_unstable_by(|a, b| a.0.cmp(b.0));
    to.count(other.len());
    for (key, value) in other {
        key.put(to);
        value.put(to);
    }
}

fn take_map<K: Code + Ord + Hash + Weigh, V: Code + Weigh>(
    from: &mut In<'_>,
    map: &mut HashMap<K, V>,
    weight: &mut usize,
) -> Result<(), Garbled> {
    for _ in 0..from.items(0)? {
        let key = K::take(from)?;
        if let Some(value) = map.remove(&key) {
            *weight = weight.saturating_sub(key.weight() + value.weight());
        }
    }
    for _ in 0..from.items(0)? {
        let (key, value) = (K::take(from)?, V::take(from)?);
        let key_weight = key.weight();
        add(weight, key_weight + value.weight())?;
        if let Some(old) = map.insert(key, value) {
            *weight = weight.saturating_sub(key_weight + old.weight());
        }
    }
    Ok(())
}

fn put_set<K: Code + Ord + Hash>(to: &mut Out, now: &HashSet<K>, before: &HashSet<K>) {
    for (these, without) in [(before, now), (now, before)] {
        let mut keys: Vec<&K> = these.iter().filter(|key| !without.contains(*key)).collect();
        keys.sort_unstable();
        to.count(keys.len());
        keys.into_iter().for_each(|key| key.put(to));
    }
}

fn take_set<K: Code + Ord + Hash + Weigh>(
    from: &mut In<'_>,
    set: &mut HashSet<K>,
    weight: &mut usize,
) -> Result<(), Garbled> {
    for _ in 0..from.items(0)? {
        let key = K::take(from)?;
        if set.remove(&key) {
            *weight = weight.saturating_sub(key.weight());
        }
    }
    for _ in 0..from.items(0)? {
        let key = K::take(from)?;
        let key_weight = key.weight();
        if set.insert(key) {
            add(weight, key_weight)?;
        }
    }
    Ok(())
}

fn add(weight: &mut usize, more: usize) -> Result<(), Garbled> {
    *weight += more;
    if *weight > MOST_WEIGHT {
        return Err(Garbled("more names than any node has"));
    }
    Ok(())
}

/// What something takes in memory, about.
trait Weigh {
    fn weight(&self) -> usize;
}

/// A text in an allocation of its own.
const fn text(text: &str) -> usize {
    text.len() + 32
}

/// Two numbers at most, and what a map needs for each of its places.
macro_rules! plain {
    ($($name:ty),*) => { $(
        impl Weigh for $name {
            fn weight(&self) -> usize {
                size_of::<Self>() + 32
            }
        }
    )* };
}
plain!(crate::model::CgroupId, crate::model::TaskKey, Reservation);

macro_rules! named {
    ($($name:ty),*) => { $(
        impl Weigh for $name {
            fn weight(&self) -> usize {
                size_of::<Self>() + text(self.as_str())
            }
        }
    )* };
}
named!(ContainerId, PodUid, crate::model::VmId);

impl Weigh for Tenant {
    fn weight(&self) -> usize {
        match self {
            Self::Container(id) => id.weight(),
            Self::Vm(id) => id.weight(),
        }
    }
}

impl Weigh for Arc<CgroupOwner> {
    fn weight(&self) -> usize {
        let nested: usize = self.nested.iter().map(Weigh::weight).sum();
        let ids = self.container.as_ref().map_or(0, Weigh::weight)
            + self.pod.as_ref().map_or(0, Weigh::weight)
            + self.vm.as_ref().map_or(0, Weigh::weight);
        let texts = [&self.unit, &self.slice].into_iter().flatten();
        size_of::<CgroupOwner>()
            + text(&self.path)
            + nested
            + ids
            + texts.map(|part| text(part)).sum::<usize>()
    }
}

impl Weigh for Arc<ContainerFacts> {
    fn weight(&self) -> usize {
        size_of::<ContainerFacts>() + text(&self.name) + self.image.as_deref().map_or(0, text)
    }
}

impl Weigh for Arc<PodFacts> {
    fn weight(&self) -> usize {
        let pairs = self.labels.iter().chain(&self.made_by);
        let pairs: usize = pairs.map(|(name, value)| text(name) + text(value) + 48).sum();
        size_of::<PodFacts>() + text(&self.name) + text(&self.namespace) + text(&self.qos) + pairs
    }
}

impl Weigh for Arc<VmFacts> {
    fn weight(&self) -> usize {
        size_of::<VmFacts>() + text(&self.name)
    }
}
