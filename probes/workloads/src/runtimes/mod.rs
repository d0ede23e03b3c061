// SPDX-License-Identifier: Apache-2.0
//! Names of containers, and of the pods that they are in, from what the runtimes keep on this machine's disk.
//!
//! No socket and no server: it works while the API server is away and where there is none. A container is looked for when
//! it is first seen and a few times more, never at each tick; what is not found then has no name here. What others have
//! named is left as it is, and what is named here leaves with its container.
//!
//! Files are read on the resolver's thread: a container costs one file of a few KiB on a local disk, or on a tmpfs, once
//! in its life, 10 to 50 µs; a thread and its queue would cost a new workload a tick without a name. Homes of users,
//! where the disk may be anything, are entered only for containers of the user, and never beyond a mount.

mod config;
mod docker;
mod facts;
mod find;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod host;
mod oci;
mod podman;
#[cfg(test)]
mod tests;

pub use config::RuntimesConfig;

use crate::resolver::Namer;
use attribution::model::{
    Awaited, CgroupOwner, ContainerFacts, ContainerId, Identity, PodFacts, PodUid, Usage,
};
use facts::Facts;
use find::{Answer, Round};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use std::collections::HashSet as Waiting;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Time from one look to the next. Runtimes write a container's state before they start it, so the first look finds it;
/// the others are for a runtime that was restarting.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
];

/// How long a container that its runtime may still tell about is kept from being shown without a name.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks in one call; the rest waits for the next call, first come or not. At the daemon's start all containers of a node
/// are new, and should have their names before they are shown first: kubelet's limit of 110 pods (some have 500) makes
/// 300 to 1,500 containers. A look costs 10 to 50 µs, so this bounds a call at some 25 ms.
const LOOKS: usize = 512;

/// Bytes read in one call: [`LOOKS`] files of the usual 5 to 30 KiB. One look may read as much as its files hold (1 MiB
/// each) beyond it.
const BYTES: u64 = 16 * 1_024 * 1_024;

/// A container that is looked for.
struct Pending {
    owner: Arc<CgroupOwner>,
    since: Duration,
    /// When it is looked for next.
    due: Duration,
    looks: usize,
    /// Whether a name may come: its runtime keeps state here, or nobody has looked yet.
    may_come: bool,
}

/// A container in the newest identity; as many as there are, which the resolver bounds.
struct Known {
    round: u64,
    pod: Option<PodUid>,
    /// What was found here, to be taken away with the container.
    facts: Option<Arc<ContainerFacts>>,
}

/// Names containers from the runtimes' own state.
pub struct DiskNames {
    host: PathBuf,
    docker_root: Option<String>,
    round: u64,
    known: HashMap<ContainerId, Known>,
    /// Part of `known`.
    pending: HashMap<ContainerId, Pending>,
    /// Pods that were named here, with what was said of them.
    pods: HashMap<PodUid, Arc<PodFacts>>,
    /// Who waits because of us.
    awaited: Awaited,
    /// The identity as we left it. While we hold on to it weakly, whoever changes it has to move it elsewhere, so the same
    /// place means that nothing changed.
    seen: Weak<Identity>,
}

/// What is new after a round.
#[derive(Default)]
struct News {
    containers: Vec<(ContainerId, Arc<ContainerFacts>)>,
    pods: Vec<(PodUid, Arc<PodFacts>)>,
}

impl DiskNames {
    /// Names from the host whose root `config` says. Reads where Docker keeps its state and nothing else.
    #[must_use]
    pub fn new(config: &RuntimesConfig) -> Self {
        if !config.host.is_dir() {
            let host = config.host.display();
            tracing::warn!(%host, "no such folder: containers have no names from their runtimes; set workloads.runtimes.host");
        }
        Self {
            docker_root: find::docker_root(&config.host),
            host: config.host.clone(),
            round: 0,
            known: HashMap::new(),
            pending: HashMap::new(),
            pods: HashMap::new(),
            awaited: Awaited::default(),
            seen: Weak::new(),
        }
    }

    /// Takes new containers in and forgets those that have left.
    fn note(&mut self, identity: &mut Arc<Identity>, now: Duration) {
        self.round += 1;
        let owners = identity.cgroups.values().chain(identity.tasks.values());
        for owner in owners {
            let Some(id) = &owner.container else { continue };
            if let Some(known) = self.known.get_mut(id) {
                known.round = self.round;
                continue;
            }
            let known = Known {
                round: self.round,
                pod: owner.pod.clone(),
                facts: None,
            };
            self.known.insert(id.clone(), known);
            let pending = Pending {
                owner: Arc::clone(owner),
                since: now,
                due: now,
                looks: 0,
                may_come: true,
            };
            self.pending.insert(id.clone(), pending);
        }
        self.forget(identity);
    }

    fn forget(&mut self, identity: &mut Arc<Identity>) {
        let before = self.known.len();
        let (round, pending) = (self.round, &mut self.pending);
        self.known.retain(|id, known| {
            let stays = known.round == round;
            if !stays {
                pending.remove(id);
                let is_ours = |facts: &Arc<ContainerFacts>| {
                    known.facts.as_ref().is_some_and(|own| Arc::ptr_eq(own, facts))
                };
                if identity.containers.get(id).is_some_and(is_ours) {
                    Arc::make_mut(identity).containers.remove(id);
                }
            }
            stays
        });
        if self.known.len() == before || self.pods.is_empty() {
            return;
        }
        let inhabited: HashSet<_> = self
            .known
            .values()
            .filter_map(|known| known.pod.as_ref())
            .collect();
        self.pods.retain(|uid, own| {
            let stays = inhabited.contains(uid);
            if !stays
                && identity
                    .pods
                    .get(uid)
                    .is_some_and(|facts| Arc::ptr_eq(own, facts))
            {
                Arc::make_mut(identity).pods.remove(uid);
            }
            stays
        });
    }

    /// Looks for those that are due.
    fn look(&mut self, identity: &Identity, now: Duration) -> News {
        self.pending
            .retain(|id, pending| !is_named(identity, id, pending.owner.pod.as_ref()));
        let mut news = News::default();
        if !self.pending.values().any(|pending| pending.due <= now) {
            return news;
        }
        let Some(round) = Round::new(&self.host, self.docker_root.as_deref(), BYTES) else {
            self.pending.clear();
            return news;
        };
        let mut looks_left = LOOKS;
        self.pending.retain(|id, pending| {
            if pending.due > now || looks_left == 0 || round.is_over() {
                return true;
            }
            looks_left -= 1;
            match round.find(&pending.owner) {
                Answer::Named(facts) => {
                    news.add(id, pending.owner.pod.as_ref(), facts);
                    false
                }
                other => pending.wait(other == Answer::NotYet, now),
            }
        });
        news
    }

    /// Takes what was found into the identity, where nobody has said it better, and who waits.
    fn publish(&mut self, identity: &mut Arc<Identity>, news: News, now: Duration) {
        for (id, facts) in news.containers {
            if identity.containers.contains_key(&id) {
                continue;
            }
            if let Some(known) = self.known.get_mut(&id) {
                known.facts = Some(Arc::clone(&facts));
            }
            Arc::make_mut(identity).containers.insert(id, facts);
        }
        for (uid, facts) in news.pods {
            if identity.pods.contains_key(&uid) {
                continue;
            }
            self.pods.insert(uid.clone(), Arc::clone(&facts));
            Arc::make_mut(identity).pods.insert(uid, facts);
        }
        let wanted = self.awaited_now(identity, now);
        // Others may wait for the same ones, and longer: what they have put there is theirs.
        let is_new = |all: &Awaited| {
            wanted.containers.iter().any(|id| !all.containers.contains(id))
                || wanted.pods.iter().any(|uid| !all.pods.contains(uid))
        };
        let is_over = |own: &Awaited| {
            own.containers.iter().any(|id| !wanted.containers.contains(id))
                || own.pods.iter().any(|uid| !wanted.pods.contains(uid))
        };
        if is_new(&identity.awaited) || is_over(&self.awaited) {
            let all = &mut Arc::make_mut(identity).awaited;
            renew(
                &mut all.containers,
                &mut self.awaited.containers,
                wanted.containers,
            );
            renew(&mut all.pods, &mut self.awaited.pods, wanted.pods);
        }
    }

    fn awaited_now(&self, identity: &Identity, now: Duration) -> Awaited {
        let mut awaited = Awaited::default();
        for (id, pending) in &self.pending {
            if !pending.may_come || now.saturating_sub(pending.since) >= PATIENCE {
                continue;
            }
            if !identity.containers.contains_key(id) {
                awaited.containers.insert(id.clone());
            }
            let pod = pending.owner.pod.as_ref();
            awaited
                .pods
                .extend(pod.filter(|uid| !identity.pods.contains_key(uid)).cloned());
        }
        awaited
    }
}

impl Namer for DiskNames {
    fn name(&mut self, _usage: &Usage, identity: &mut Arc<Identity>, now: Duration) {
        let is_same = std::ptr::eq(self.seen.as_ptr(), Arc::as_ptr(identity));
        if is_same && self.pending.is_empty() {
            return;
        }
        if !is_same {
            self.note(identity, now);
        }
        let news = self.look(identity, now);
        self.publish(identity, news, now);
        self.seen = Arc::downgrade(identity);
    }
}

impl Pending {
    /// Puts off the next look; `false` when it was the last.
    fn wait(&mut self, may_come: bool, now: Duration) -> bool {
        self.may_come = may_come;
        let next = WAITS.get(self.looks);
        self.looks += 1;
        self.due = now.saturating_add(next.copied().unwrap_or_default());
        next.is_some()
    }
}

impl News {
    fn add(&mut self, id: &ContainerId, pod: Option<&PodUid>, facts: Facts) {
        self.containers.push((id.clone(), Arc::new(facts.container)));
        if let Some((uid, facts)) = pod.zip(facts.pod) {
            self.pods.push((uid.clone(), Arc::new(facts)));
        }
    }
}

/// Takes out of `all` what is `own` and no longer wanted, and puts in what is wanted and not there.
fn renew<T: Clone + Eq + Hash>(all: &mut Waiting<T>, own: &mut Waiting<T>, wanted: Waiting<T>) {
    own.retain(|waiting| {
        let stays = wanted.contains(waiting);
        if !stays {
            all.remove(waiting);
        }
        stays
    });
    for waiting in wanted {
        if all.insert(waiting.clone()) {
            own.insert(waiting);
        }
    }
}

/// Whether all is known that could be found here.
fn is_named(identity: &Identity, id: &ContainerId, pod: Option<&PodUid>) -> bool {
    identity.containers.contains_key(id) && pod.is_none_or(|uid| identity.pods.contains_key(uid))
}
