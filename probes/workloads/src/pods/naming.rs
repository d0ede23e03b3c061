// SPDX-License-Identifier: Apache-2.0
//! Who gets which name, and who waits for one: owns the containers of pods that were seen, since when, and what they were
//! told. Pure: table, identity and moment are arguments.
//!
//! A container is awaited, and so is not shown, from the moment that it is seen until its names are known, but no longer
//! than the configured wait. In that time its energy is counted under its id, so that it is shown once, under its name,
//! with all of it. Who waited in vain is shown without names. If these come later after all (a server that was away
//! when the daemon began, a role that was granted late), it gets them then: its first series ends in the same scrape in
//! which the other begins, at the same total, and never are there both. Leaving it without a name for its whole life, which
//! may be months, would be the worse of the two.
//!
//! A container that ended before its name was known waits on: it may have run for a second.

use super::book::Pods;
use super::desk::{Known, State};
use super::reserving::Reserving;
use attribution::model::{
    Awaited, CgroupOwner, Comm, ContainerFacts, ContainerId, Identity, PodFacts, PodUid, Usage,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The container that holds a pod's namespaces is in no status. This is what Kubernetes' own tools and metrics call it.
const SANDBOX: &str = "POD";
/// What runs in it, whoever made the runtime.
const PAUSE: &[u8] = b"pause";
/// How old a container without a status has to be to be taken for that one: a runtime's `runc:[2:INIT]` is over by then.
const SETTLED: Duration = Duration::from_secs(2);
/// How long a pod may be missing in the table before somebody has a look.
const MISSED: Duration = Duration::from_secs(5);
/// And how long from one look to the next: what is missing may be another node's (a cluster in containers of this one).
const NEXT_LOOK: Duration = Duration::from_secs(10);
/// Containers remembered at most, as many as a level has rows. Those that ended leave first, then they are not remembered.
const MOST: usize = 16_384;

/// A container in a pod.
#[derive(Debug)]
struct Seen {
    pod: PodUid,
    since: Duration,
    /// The look that last saw it among the owners.
    look: u64,
    /// It was given what there is to give, at a look before.
    told: bool,
    is_sandbox: bool,
}

/// What somebody is to be called.
#[derive(Default)]
struct Given {
    containers: HashMap<ContainerId, Arc<ContainerFacts>>,
    pods: HashMap<PodUid, Arc<PodFacts>>,
    awaited: Awaited,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Naming {
    wait: Duration,
    seen: HashMap<ContainerId, Seen>,
    look: u64,
    /// What was left behind. It is another as soon as anybody changes it.
    left: Weak<Identity>,
    /// When somebody's wait is over.
    due: Option<Duration>,
    given_containers: HashSet<ContainerId>,
    given_pods: HashSet<PodUid>,
    awaited: Awaited,
    sandbox: Arc<ContainerFacts>,
    reserving: Reserving,
    nudged: HashSet<PodUid>,
    next_nudge: Duration,
}

impl Naming {
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            wait,
            seen: HashMap::new(),
            look: 0,
            left: Weak::new(),
            due: None,
            given_containers: HashSet::new(),
            given_pods: HashSet::new(),
            awaited: Awaited::default(),
            sandbox: Arc::new(ContainerFacts {
                name: SANDBOX.to_owned(),
                image: None,
            }),
            reserving: Reserving::default(),
            nudged: HashSet::new(),
            next_nudge: Duration::ZERO,
        }
    }

    /// Names what can be named. `is_news`: `known` is not what it was at the last call. `true`: a pod runs here that should
    /// be in the table and is not.
    pub(super) fn name(
        &mut self,
        known: &Known,
        is_news: bool,
        usage: &Usage,
        identity: &mut Arc<Identity>,
        now: Duration,
    ) -> bool {
        let is_same = std::ptr::eq(self.left.as_ptr(), Arc::as_ptr(identity));
        if is_same && !is_news && self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.see(identity, now);
        self.find_sandboxes(known, usage, identity, now);
        let given = self.give(known, now);
        self.hand_over(given, identity);
        self.reserving.hand_over(identity);
        self.note_probe(known, identity);
        self.left = Arc::downgrade(identity);
        self.nudge(&known.pods, now)
    }

    /// Takes note of who is there, and lets those go who are not and need nothing more.
    fn see(&mut self, identity: &Identity, now: Duration) {
        self.look += 1;
        for owner in identity.cgroups.values().chain(identity.tasks.values()) {
            let (Some(container), Some(pod)) = (&owner.container, &owner.pod) else {
                continue;
            };
            if let Some(seen) = self.seen.get_mut(container) {
                seen.look = self.look;
            } else if self.seen.len() < MOST {
                let seen = Seen {
                    pod: pod.clone(),
                    since: now,
                    look: self.look,
                    told: false,
                    is_sandbox: false,
                };
                self.seen.insert(container.clone(), seen);
            }
        }
        let (look, wait, is_full) = (self.look, self.wait, self.seen.len() >= MOST);
        self.seen.retain(|_, seen| {
            let waits = !seen.told && now.saturating_sub(seen.since) < wait;
            seen.look == look || (waits && !is_full)
        });
    }

    /// Finds out which of those without a status holds its pod's namespaces: one whose processes are all called `pause`,
    /// or, when the wait for its status is over, whichever was there first. Only while the table is current, for a
    /// container that was started again has no status in an old one either; and there is one at a time in each pod.
    fn find_sandboxes(&mut self, known: &Known, usage: &Usage, identity: &Identity, now: Duration) {
        if known.state != State::Current {
            return;
        }
        let has_one: HashSet<PodUid> = {
            let sandboxes = self
                .seen
                .values()
                .filter(|seen| seen.is_sandbox && seen.look == self.look);
            sandboxes.map(|seen| seen.pod.clone()).collect()
        };
        let mut first: HashMap<PodUid, (bool, Duration, ContainerId)> = HashMap::new();
        for (id, seen) in &self.seen {
            let age = now.saturating_sub(seen.since);
            let is_named = known.pod(&seen.pod).is_none_or(|pod| pod.container(id).is_some());
            if is_named || seen.is_sandbox || age < SETTLED || has_one.contains(&seen.pod) {
                continue;
            }
            let pauses = only_pauses(usage, identity, id);
            if !pauses && age < self.wait {
                continue;
            }
            let candidate = (!pauses, seen.since, id.clone());
            let best = first.entry(seen.pod.clone()).or_insert_with(|| candidate.clone());
            if candidate < *best {
                *best = candidate;
            }
        }
        for (_, _, id) in first.into_values() {
            if let Some(seen) = self.seen.get_mut(&id) {
                seen.is_sandbox = true;
            }
        }
    }

    /// What each is to be called.
    fn give(&mut self, known: &Known, now: Duration) -> Given {
        let mut given = Given::default();
        self.due = None;
        for (id, seen) in &mut self.seen {
            let over = seen.since + self.wait;
            let pod = known.pod(&seen.pod);
            if let Some(pod) = pod {
                given.pods.insert(seen.pod.clone(), Arc::clone(&pod.facts));
            }
            let named = pod.and_then(|pod| pod.container(id));
            match (pod, named) {
                _ if seen.look != self.look => {}
                (Some(pod), Some(facts)) => self.reserving.container(id, &seen.pod, pod, &facts.name),
                (Some(pod), None) if seen.is_sandbox => self.reserving.sandbox(id, &seen.pod, pod),
                _ => {}
            }
            let container = named.or_else(|| (pod.is_some() && seen.is_sandbox).then_some(&self.sandbox));
            if let Some(container) = container {
                given.containers.insert(id.clone(), Arc::clone(container));
                seen.told = true;
                continue;
            }
            let settled = seen.since + SETTLED;
            let missed = seen.since + MISSED;
            let next = [settled, missed, over].into_iter().find(|at| *at > now);
            self.due = [self.due, next].into_iter().flatten().min();
            if now < over {
                given.awaited.containers.insert(id.clone());
                if pod.is_none() {
                    given.awaited.pods.insert(seen.pod.clone());
                }
            }
        }
        given
    }

    /// Changes the identity where it has to be, and only there: every change is looked at by all of the attribution.
    fn hand_over(&mut self, given: Given, identity: &mut Arc<Identity>) {
        let containers = change(&identity.containers, &given.containers, &self.given_containers);
        let pods = change(&identity.pods, &given.pods, &self.given_pods);
        let is_awaited = |identity: &Identity, ours: &Awaited| {
            ours.containers.is_subset(&identity.awaited.containers)
                && ours.pods.is_subset(&identity.awaited.pods)
        };
        if given.awaited != self.awaited || !is_awaited(identity, &given.awaited) {
            let awaited = &mut Arc::make_mut(identity).awaited;
            awaited
                .containers
                .retain(|id| !self.awaited.containers.contains(id));
            awaited.pods.retain(|uid| !self.awaited.pods.contains(uid));
            awaited
                .containers
                .extend(given.awaited.containers.iter().cloned());
            awaited.pods.extend(given.awaited.pods.iter().cloned());
        }
        if !containers.is_empty() {
            apply(&mut Arc::make_mut(identity).containers, containers);
        }
        if !pods.is_empty() {
            apply(&mut Arc::make_mut(identity).pods, pods);
        }
        self.given_containers = given.containers.into_keys().collect();
        self.given_pods = given.pods.into_keys().collect();
        self.awaited = given.awaited;
    }

    fn note_probe(&self, known: &Known, identity: &mut Arc<Identity>) {
        let state = known.state.probe();
        if !identity.probes.contains(&state) {
            let probes = &mut Arc::make_mut(identity).probes;
            probes.retain(|other| other.probe != state.probe);
            probes.push(state);
        }
    }

    /// Whether a look is due for a pod that runs here and is not in the table. One look for each pod.
    fn nudge(&mut self, pods: &Pods, now: Duration) -> bool {
        let missing = |seen: &&Seen| seen.look == self.look && !pods.contains_key(&seen.pod);
        let missing: HashSet<&PodUid> = {
            let old = |seen: &&Seen| now.saturating_sub(seen.since) >= MISSED;
            let seen = self.seen.values().filter(missing).filter(old);
            seen.map(|seen| &seen.pod).collect()
        };
        self.nudged.retain(|uid| missing.contains(uid));
        if missing.len() == self.nudged.len() {
            return false;
        }
        if now < self.next_nudge {
            self.due = Some(self.due.map_or(self.next_nudge, |due| due.min(self.next_nudge)));
            return false;
        }
        self.nudged = missing.into_iter().cloned().collect();
        self.next_nudge = now + NEXT_LOOK;
        true
    }
}

/// Whether every process of a container that the report names is called `pause`, and there is one.
fn only_pauses(usage: &Usage, identity: &Identity, id: &ContainerId) -> bool {
    let pause = Comm::from_bytes(PAUSE);
    let of = |owner: &&Arc<CgroupOwner>| owner.container.as_ref() == Some(id);
    let rows = usage.tasks.iter().filter(|row| row.task.is_some());
    let mut comms = rows
        .filter(|row| identity.owner(row.task, row.cgroup).filter(of).is_some())
        .map(|row| row.comm)
        .peekable();
    comms.peek().is_some() && comms.all(|comm| comm == pause)
}

/// Entries to write (`Some`) and to take away (`None`): those that we gave before and give no more.
fn change<K, V>(
    now: &HashMap<K, Arc<V>>,
    wanted: &HashMap<K, Arc<V>>,
    given: &HashSet<K>,
) -> Vec<(K, Option<Arc<V>>)>
where
    K: Clone + Eq + std::hash::Hash,
    V: PartialEq,
{
    let to_write = wanted
        .iter()
        .filter(|(key, value)| {
            now.get(*key)
                .is_none_or(|is| !Arc::ptr_eq(is, value) && is != *value)
        })
        .map(|(key, value)| (key.clone(), Some(Arc::clone(value))));
    let to_take = given
        .iter()
        .filter(|key| !wanted.contains_key(*key) && now.contains_key(*key))
        .map(|key| (key.clone(), None));
    to_write.chain(to_take).collect()
}

fn apply<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, Arc<V>>, changes: Vec<(K, Option<Arc<V>>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}
