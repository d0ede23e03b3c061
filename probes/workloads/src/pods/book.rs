// SPDX-License-Identifier: Apache-2.0
//! The table of this node's pods: owns who is in it and for how long. Asks nobody.

use super::config::Labels;
use super::rules::{self, KnownPod};
use super::shape::Pod;
use attribution::model::PodUid;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Pods that are in the table at most. A kubelet takes 110 by default and some hundreds where it is told to; pods that
/// are over leave by themselves. With ten containers each, 4,096 are 6 MiB.
const MOST_PODS: usize = 4_096;
/// How long a pod stays that is over or was deleted: a container that is killed with it may end later, its figures
/// come at the end of a window, and one that began seconds before has yet to be looked up.
const KEEP: Duration = Duration::from_secs(600);
/// Of those at most so many, the oldest leave first: one a second for ten minutes, and more than fits on a node.
const MOST_GONE: usize = 1_024;

/// All pods by the UID that cgroup paths have.
pub(super) type Pods = HashMap<PodUid, Arc<KnownPod>>;

/// See the module's head.
pub(super) struct Book {
    wanted: Labels,
    pods: Pods,
    /// Those that are over or deleted, the longest gone first.
    gone: VecDeque<(PodUid, Duration)>,
    refused: u64,
}

impl Book {
    pub(super) fn new(wanted: Labels) -> Self {
        Self {
            wanted,
            pods: Pods::new(),
            gone: VecDeque::new(),
            refused: 0,
        }
    }

    pub(super) const fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Pods that found no room, each time that they were told.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes a whole list: what it does not name is gone.
    pub(super) fn replace(&mut self, pods: &[Pod], now: Duration) {
        let listed: Vec<PodUid> = pods.iter().filter_map(rules::uid_in_paths).collect();
        let missing: Vec<PodUid> = {
            let listed: std::collections::HashSet<&PodUid> = listed.iter().collect();
            let known = self.pods.keys().filter(|uid| !listed.contains(*uid));
            known.cloned().collect()
        };
        missing.into_iter().for_each(|uid| self.leave(uid, now));
        for pod in pods {
            self.enter(pod, now);
        }
        self.forget(now);
    }

    /// Takes a pod as it is. `true` when that is news.
    pub(super) fn put(&mut self, pod: &Pod, now: Duration) -> bool {
        let is_new = self.enter(pod, now);
        self.forget(now) || is_new
    }

    /// Takes the end of a pod, with what it was last: the ids of its containers may be in there and nowhere before.
    pub(super) fn remove(&mut self, pod: &Pod, now: Duration) -> bool {
        let is_new = self.enter(pod, now);
        if let Some(uid) = rules::uid_in_paths(pod)
            && self.is_of(&uid, pod)
        {
            self.leave(uid, now);
        }
        self.forget(now) || is_new
    }

    fn enter(&mut self, pod: &Pod, now: Duration) -> bool {
        let Some(uid) = rules::uid_in_paths(pod) else {
            return false;
        };
        let mut known = rules::known(pod, &self.wanted);
        let before = self.pods.get(&uid);
        // Whoever may make a pod may write a mirror's annotation on it, and with it another pod's UID.
        if known.is_mirror && before.is_some_and(|before| !before.is_mirror) {
            return false;
        }
        if before.is_none() && self.pods.len() >= MOST_PODS {
            self.refused += 1;
            return false;
        }
        // Who compares addresses sees what stayed the same.
        if let Some(before) = before {
            if **before == known {
                self.stay(&uid, known.is_over);
                return false;
            }
            reuse(&mut known, before);
        }
        let is_over = known.is_over;
        self.pods.insert(uid.clone(), Arc::new(known));
        if is_over {
            self.leave(uid, now);
        } else {
            self.stay(&uid, false);
        }
        true
    }

    /// A pod that was missing is there again: in a list from a server that was behind it was not.
    fn stay(&mut self, uid: &PodUid, is_over: bool) {
        if !is_over {
            self.gone.retain(|(of, _)| of != uid);
        }
    }

    /// Whether the entry is this pod's and not that of one whose UID it wears.
    fn is_of(&self, uid: &PodUid, pod: &Pod) -> bool {
        let known = self.pods.get(uid);
        known.is_some_and(|known| known.is_mirror == rules::is_mirror(pod))
    }

    fn leave(&mut self, uid: PodUid, now: Duration) {
        if self.pods.contains_key(&uid) && !self.gone.iter().any(|(of, _)| *of == uid) {
            self.gone.push_back((uid, now));
        }
    }

    fn forget(&mut self, now: Duration) -> bool {
        let mut did = false;
        while let Some((_, since)) = self.gone.front()
            && (now.saturating_sub(*since) >= KEEP || self.gone.len() > MOST_GONE)
            && let Some((uid, _)) = self.gone.pop_front()
        {
            did |= self.pods.remove(&uid).is_some();
        }
        did
    }
}

/// Takes over those facts that are still the same.
fn reuse(known: &mut KnownPod, before: &KnownPod) {
    if known.facts == before.facts {
        known.facts = Arc::clone(&before.facts);
    }
    for (id, facts) in &mut known.containers {
        if let Some(same) = before.container(id).filter(|same| *same == facts) {
            *facts = Arc::clone(same);
        }
    }
}
