// SPDX-License-Identifier: Apache-2.0
//! What the containers of pods have reserved, in the identity: owns what was written there from here.

use super::rules::KnownPod;
use attribution::model::{ContainerId, Identity, PodUid, Reservation, Tenant};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Reserving {
    wanted: HashMap<Tenant, Reservation>,
    given: HashSet<Tenant>,
    /// Pods of which a container runs that Kubernetes knows.
    inhabited: HashSet<PodUid>,
    sandboxes: Vec<(ContainerId, PodUid, Reservation)>,
}

impl Reserving {
    /// A container of a pod, under its name.
    pub(super) fn container(&mut self, id: &ContainerId, uid: &PodUid, pod: &KnownPod, name: &str) {
        self.inhabited.insert(uid.clone());
        let tenant = Tenant::Container(id.clone());
        self.wanted.insert(tenant, pod.requests.by(name));
    }

    /// The container that holds a pod's namespaces.
    pub(super) fn sandbox(&mut self, id: &ContainerId, uid: &PodUid, pod: &KnownPod) {
        if !pod.is_over {
            let whole = pod.requests.whole;
            self.sandboxes.push((id.clone(), uid.clone(), whole));
        }
    }

    /// Writes down what changed. The sandbox of a pod that nothing else runs in pays for the pod: its containers are being
    /// fetched, wait to be started again, or are out of our sight in a machine (Kata), and the pod's part of the node is
    /// held meanwhile.
    pub(super) fn hand_over(&mut self, identity: &mut Arc<Identity>) {
        let empty = self
            .sandboxes
            .drain(..)
            .filter(|(_, uid, _)| !self.inhabited.contains(uid));
        let empty = empty.map(|(id, _, whole)| (Tenant::Container(id), whole));
        self.wanted.extend(empty);
        self.inhabited.clear();
        let is_new =
            |(tenant, reserved): &(&Tenant, &Reservation)| identity.reserved.get(*tenant) != Some(*reserved);
        let new: Vec<Tenant> = self
            .wanted
            .iter()
            .filter(is_new)
            .map(|(tenant, _)| tenant.clone())
            .collect();
        let is_over =
            |tenant: &&Tenant| !self.wanted.contains_key(*tenant) && identity.reserved.contains_key(*tenant);
        let over: Vec<Tenant> = self.given.iter().filter(is_over).cloned().collect();
        if !new.is_empty() || !over.is_empty() {
            let reserved = &mut Arc::make_mut(identity).reserved;
            over.iter().for_each(|tenant| {
                reserved.remove(tenant);
            });
            let new = new
                .into_iter()
                .filter_map(|tenant| Some((tenant.clone(), *self.wanted.get(&tenant)?)));
            reserved.extend(new);
        }
        self.given = self.wanted.drain().map(|(tenant, _)| tenant).collect();
    }
}
