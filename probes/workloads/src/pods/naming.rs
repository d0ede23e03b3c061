// SPDX-License-Identifier: Apache-2.0
//! Who gets which name, and who waits for one: owns the containers of pods that were seen, since when, and what they were
//! told. Pure: table, identity and moment are arguments.
//!
//! A container is awaited, and so is not shown, from the moment that it is seen until its names are known. In that time its
//! energy is counted under its id, so that it is shown once, under its name, with all of it. The wait runs while somebody
//! is there who would know, and who was heard since the container was first seen, or who says no in a way that only people
//! change (no right, no token, another certificate). While the server is away it stands still, up to a second, longer
//! limit: what is missing then comes with the server, and a series without names would be followed by a second one.
//! Who waited in vain is shown without names. If these come later after all (a server that was away
//! when the daemon began, a role that was granted late), it gets them then: its first series ends in the same scrape in
//! which the other begins, at the same total, and never are there both. Leaving it without a name for its whole life, which
//! may be months, would be the worse of the two.
//!
//! A container that ended before its name was known waits on: it may have run for a second.

use super::book::Pods;
use super::changes::{apply, change};
use super::clock::Clock;
use super::desk::{Known, PROBE, State};
use super::reserving::Reserving;
use crate::resolver::Tallies;
use attribution::model::{
    Awaited, CgroupOwner, Comm, ContainerFacts, ContainerId, Identity, PodFacts, PodUid, TallyKind, Usage,
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
    /// Answers that had been heard before.
    answers: u64,
    /// The clock of the wait when the first answer after that was heard.
    from: Option<Duration>,
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
    /// The limit for whoever waits while nobody can be asked.
    longest: Duration,
    clock: Clock,
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
    /// Containers that found no room at the last look.
    unremembered: u64,
}

impl Naming {
    pub(super) fn new(wait: Duration, away: Duration) -> Self {
        Self {
            wait,
            longest: away.max(wait),
            clock: Clock::default(),
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
            unremembered: 0,
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
        self.clock.pass(known.state.wait_runs(), now);
        self.see(known, identity, now);
        self.find_sandboxes(known, usage, identity, now);
        let given = self.give(known, now);
        self.hand_over(given, identity);
        self.reserving.hand_over(identity);
        self.note_probe(known, identity);
        self.left = Arc::downgrade(identity);
        self.nudge(&known.pods, now)
    }

    /// Takes note of who is there, and lets those go who are not and need nothing more.
    fn see(&mut self, known: &Known, identity: &Identity, now: Duration) {
        self.look += 1;
        self.unremembered = 0;
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
                    answers: known.answers,
                    from: None,
                    look: self.look,
                    told: false,
                    is_sandbox: false,
                };
                self.seen.insert(container.clone(), seen);
            } else {
                self.unremembered += 1;
            }
        }
        for seen in self.seen.values_mut() {
            if seen.from.is_none() && (known.answers > seen.answers || known.state.is_no()) {
                seen.from = Some(self.clock.shows);
            }
        }
        let (look, is_full) = (self.look, self.seen.len() >= MOST);
        let mut seen = std::mem::take(&mut self.seen);
        seen.retain(|_, seen| {
            let waits = !seen.told && now < self.over(seen, now);
            seen.look == look || (waits && !is_full)
        });
        self.seen = seen;
    }

    /// How long it waited while somebody was there who would know.
    fn waited(&self, seen: &Seen) -> Duration {
        let from = seen.from.unwrap_or(self.clock.shows);
        self.clock.shows.saturating_sub(from)
    }

    /// When its wait is over if the clock runs from now on. Where it does not, a look then finds that out.
    fn over(&self, seen: &Seen, now: Duration) -> Duration {
        let left = self.wait.saturating_sub(self.waited(seen));
        (seen.since + self.longest).min(now + left)
    }

    /// Finds out which of those without a status holds its pod's namespaces: one whose processes are all called `pause`,
    /// or, when the wait for its status is over, whichever was there first. Only while the table is current, for a
    /// container that was started again has no status in an old one either; and there is one at a time in each pod.
    fn find_sandboxes(&mut self, known: &Known, usage: &Usage, identity: &Identity, now: Duration) {
        if known.state != State::Current {
            return;
        }
        let sandboxes = self.seen.values().filter(|seen| seen.is_sandbox);
        let has_one: HashSet<PodUid> = sandboxes.map(|seen| seen.pod.clone()).collect();
        let mut first: HashMap<PodUid, (bool, Duration, ContainerId)> = HashMap::new();
        for (id, seen) in &self.seen {
            let age = now.saturating_sub(seen.since);
            let is_named = known.pod(&seen.pod).is_none_or(|pod| pod.container(id).is_some());
            if is_named || seen.is_sandbox || age < SETTLED || has_one.contains(&seen.pod) {
                continue;
            }
            let pauses = only_pauses(usage, identity, id);
            if !pauses && self.waited(seen) < self.wait {
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
        let mut all = std::mem::take(&mut self.seen);
        for (id, seen) in &mut all {
            let over = self.over(seen, now);
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
            let container = named.or_else(|| seen.is_sandbox.then_some(&self.sandbox));
            if let Some(container) = container {
                given.containers.insert(id.clone(), Arc::clone(container));
                seen.told = true;
                continue;
            }
            if seen.told {
                // Its row keeps the name that it had: its pod is long deleted, and it does not die.
                continue;
            }
            let settled = seen.since + SETTLED;
            let missed = seen.since + MISSED;
            let next = [settled, missed, over].into_iter().filter(|at| *at > now);
            self.due = next.chain(self.due).min();
            if now < over {
                given.awaited.containers.insert(id.clone());
                if pod.is_none() {
                    given.awaited.pods.insert(seen.pod.clone());
                }
            }
        }
        self.seen = all;
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

    /// What it counts; see [`crate::resolver::Namer`].
    pub(super) fn count(&self, tallies: &mut Tallies) {
        let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let held = [
            ("containers", whole(self.seen.len())),
            ("containers not remembered", self.unremembered),
            ("containers awaited", whole(self.awaited.containers.len())),
            ("pods awaited", whole(self.awaited.pods.len())),
        ];
        tallies.add(PROBE, TallyKind::Held, &held);
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
