// SPDX-License-Identifier: Apache-2.0
//! What workloads have reserved of the node: Kubernetes' quantities, and the quotas of containers that nobody else speaks
//! for. Who has a virtual machine's size is [`crate::vms`], and who has requests is [`crate::pods`].
//!
//! A container's quota is read from its cgroup when the container is first seen, and once a minute from then on, because
//! `docker update` may change it and no event tells. Kubernetes goes first: where it has told of a pod, its requests are
//! the pod's reservation and a container of it without any has none. So does a virtual machine in the container whose size
//! is known. What they say is never touched here.
//!
//! Cost: a look opens up to seven files of some bytes: 0.19 ms in an unoptimised build on a busy machine. 500 containers are
//! eight to eleven looks a second; a call in which nothing is due and the identity did not change costs two comparisons.

#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod limits;
mod quantity;
#[cfg(test)]
mod tests;

pub(crate) use quantity::{bytes, millicpus};

use crate::cgroup::{CgroupMounts, container_root};
use crate::resolver::Namer;
use attribution::model::{CgroupOwner, ContainerId, Identity, PodUid, Reservation, Tenant, Usage, VmId};
use foldhash::{HashMap, HashMapExt as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// From one look at a container's quota to the next: how long idle energy may go by an old one.
const AGAIN: Duration = Duration::from_secs(60);
/// Containers met in one call, as at the start, are looked at again in as many parts of a quarter of that time.
const PARTS: u32 = 64;
/// Looks in one call: 12 ms at worst, and reached at the start only. The rest waits for the next call.
const LOOKS: usize = 64;

/// A container in the newest identity; as many as there are, which the resolver bounds.
struct Known {
    round: u64,
    /// Path of its own cgroup.
    root: String,
    pod: Option<PodUid>,
    /// A machine that runs in it.
    vm: Option<VmId>,
    due: Duration,
    /// What was said of it here.
    given: Option<Reservation>,
}

/// Knows the quotas of containers; see the module's head.
pub struct Quotas {
    mounts: CgroupMounts,
    round: u64,
    known: HashMap<ContainerId, Known>,
    /// Nobody is due before.
    next: Duration,
    looks: u32,
    /// What the last call left, without keeping it alive: any change since then is another allocation.
    left: Weak<Identity>,
    buffer: Vec<u8>,
}

impl Quotas {
    /// One that reads below these mounts.
    #[must_use]
    pub fn new(mounts: CgroupMounts) -> Self {
        Self {
            mounts,
            round: 0,
            known: HashMap::new(),
            next: Duration::ZERO,
            looks: 0,
            left: Weak::new(),
            buffer: Vec::new(),
        }
    }

    /// Takes new containers in and forgets those that have left, with all that was reserved for them.
    fn note(&mut self, identity: &mut Arc<Identity>, now: Duration) {
        self.round += 1;
        for owner in identity.cgroups.values().chain(identity.tasks.values()) {
            self.note_owner(owner, now);
        }
        let round = self.round;
        self.known.retain(|id, known| {
            let stays = known.round == round;
            // What Kubernetes says takes the place of a quota by itself; a machine's size is under another name.
            let is_over = !stays || (is_a_machines(identity, known) && !is_in_a_known_pod(identity, known));
            if is_over && known.given.take().is_some() {
                let tenant = Tenant::Container(id.clone());
                if identity.reserved.contains_key(&tenant) {
                    Arc::make_mut(identity).reserved.remove(&tenant);
                }
            }
            stays
        });
    }

    fn note_owner(&mut self, owner: &CgroupOwner, now: Duration) {
        let Some(id) = &owner.container else { return };
        let round = self.round;
        if let Some(known) = self.known.get_mut(id) {
            if known.round != round {
                (known.round, known.vm) = (round, None);
            }
            if owner.vm.is_some() {
                known.vm.clone_from(&owner.vm);
            }
            return;
        }
        let known = Known {
            round,
            root: container_root(&owner.path).unwrap_or_default().to_owned(),
            pod: owner.pod.clone(),
            vm: owner.vm.clone(),
            due: now,
            given: None,
        };
        self.known.insert(id.clone(), known);
        self.next = now;
    }

    /// Reads the quotas that are due, and gives those that changed.
    fn look(&mut self, identity: &Identity, now: Duration) -> Vec<(ContainerId, Reservation)> {
        let mut news = Vec::new();
        let mut looks_left = LOOKS;
        let mut next = Duration::MAX;
        for (id, known) in &mut self.known {
            if known.due <= now && looks_left > 0 {
                looks_left -= 1;
                self.looks = (self.looks + 1) % PARTS;
                known.due = now + AGAIN - AGAIN / 4 / PARTS * self.looks;
                if !is_in_a_known_pod(identity, known) && !is_a_machines(identity, known) {
                    let found = limits::limits(&self.mounts, &known.root, &mut self.buffer);
                    let before = known.given.replace(found);
                    if before.unwrap_or_default() != found {
                        news.push((id.clone(), found));
                    }
                }
            }
            next = next.min(known.due);
        }
        self.next = next;
        news
    }
}

/// Whether Kubernetes speaks for it. Only Kubernetes tells a pod's QoS class, and it always does.
fn is_in_a_known_pod(identity: &Identity, known: &Known) -> bool {
    let pod = known.pod.as_ref().and_then(|uid| identity.pods.get(uid));
    pod.is_some_and(|pod| !pod.qos.is_empty())
}

/// Whether a virtual machine whose size is known speaks for it.
fn is_a_machines(identity: &Identity, known: &Known) -> bool {
    let vm = known.vm.clone().map(Tenant::Vm);
    vm.is_some_and(|vm| identity.reserved.contains_key(&vm))
}

impl Namer for Quotas {
    fn name(&mut self, _usage: &Usage, identity: &mut Arc<Identity>, now: Duration) {
        if !std::ptr::eq(self.left.as_ptr(), Arc::as_ptr(identity)) {
            self.note(identity, now);
        }
        if self.next <= now {
            let news = self.look(identity, now);
            if !news.is_empty() {
                let news = news.into_iter().map(|(id, found)| (Tenant::Container(id), found));
                Arc::make_mut(identity).reserved.extend(news);
            }
        }
        self.left = Arc::downgrade(identity);
    }
}
