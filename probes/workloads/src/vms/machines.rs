// SPDX-License-Identifier: Apache-2.0
//! The machines: who has which id, what they are called, and which cgroups are theirs.

use super::command::{Command, name};
use super::libvirt::{Domain, State};
use super::scope::{Scope, scope_of};
use attribution::model::{
    CgroupOwner, ContainerId, Identity, PodUid, Reservation, TaskKey, Tenant, VmFacts, VmId,
};
use foldhash::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a machine's cgroup waits for a process in it that says who it is. A hypervisor is started within it in a
/// moment; after that nothing better will come.
const WAIT: Duration = Duration::from_secs(10);

/// All that was found out about a machine's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) command: Command,
    /// The real user, where that can be known.
    user: Option<u32>,
    /// Whether the host itself says that it is this machine, as far as its own files tell.
    vouched: bool,
    /// By libvirt, where it speaks of the same machine.
    domain: Domain,
    /// Root of its own cgroup, and how that is called.
    scope: Option<(String, String)>,
    /// Part of the name in the cgroup's.
    scope_name: String,
}

impl Told {
    /// Puts together what the process `task` of `user` says, its cgroups' paths, and libvirt's state.
    pub(super) fn new(
        command: Command,
        user: Option<u32>,
        cgroups: &[String],
        task: TaskKey,
        libvirt: &State,
    ) -> Self {
        let scope = cgroups.iter().find_map(|path| scope_of(path));
        let scope_name = scope.as_ref().map(|scope| scope.name.clone()).unwrap_or_default();
        let called = command.name.as_deref().unwrap_or(&scope_name);
        let domain = libvirt
            .domain(command.hypervisor, called)
            .filter(|domain| {
                let same_id = command.id.is_some() && command.id == domain.uuid;
                same_id || domain.pid == Some(task.tgid)
            })
            .unwrap_or_default();
        Self {
            user,
            vouched: domain.pid == Some(task.tgid) || scope.as_ref().is_some_and(Scope::is_the_hosts),
            scope: scope.map(|scope| (scope.root.to_owned(), scope.machine)),
            scope_name,
            command,
            domain,
        }
    }

    /// Whether the host itself says that it is this machine, and not only its own command line. Where the daemon has a cgroup
    /// namespace of its own, only the tree says where the process's cgroup is.
    pub(super) fn is_vouched(&self, base: &CgroupOwner) -> bool {
        self.vouched || scope_of(&base.path).as_ref().is_some_and(Scope::is_the_hosts)
    }

    /// The id that it would have if nobody else had it.
    pub(super) fn best_id(&self) -> Option<VmId> {
        self.known_ids().next().map(VmId::new)
    }

    fn known_ids(&self) -> impl Iterator<Item = &str> {
        let scope = self.scope.as_ref().map(|(_, machine)| machine.as_str());
        let ids = [self.command.id.as_deref(), self.domain.uuid.as_deref(), scope];
        ids.into_iter().flatten()
    }

    /// Ids from the best on, and the last resort, which nobody shares.
    fn ids(&self, task: TaskKey) -> (Vec<VmId>, VmId) {
        let last = VmId::new(&format!("{}-{}", task.tgid, task.start_ticks));
        (self.known_ids().map(VmId::new).collect(), last)
    }

    /// What people call it. In KubeVirt the domain is called `NAMESPACE_NAME` and the machine `NAME`; neither part can
    /// hold an underscore.
    fn name(&self, pod: Option<&PodUid>) -> String {
        let by_itself = self.command.name.as_ref().or(self.domain.name.as_ref());
        let found = self.domain.server.as_ref().or(by_itself);
        let Some(found) = found else {
            return self.scope_name.clone();
        };
        let in_pod = pod.and_then(|_| found.split_once('_'));
        match in_pod {
            Some((namespace, name)) if is_dns(namespace) && is_dns(name) => name.to_owned(),
            _ => found.clone(),
        }
    }
}

/// Whether Kubernetes would take it for a name (RFC 1123).
fn is_dns(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

struct Machine {
    /// Processes that are it, and those of them that live.
    members: u32,
    living: u32,
    /// What tells it from another one that was given the same id: its own name, its container, and its user, whom nobody else
    /// can be.
    name: Option<String>,
    container: Option<ContainerId>,
    user: Option<u32>,
    /// As one of its processes.
    vouched: bool,
    facts: Arc<VmFacts>,
    reserved: Option<Reservation>,
    /// Root of its own cgroup.
    scope: Option<String>,
}

/// A machine's cgroup, by its root.
struct Claim {
    since: Duration,
    /// Whether this round saw a cgroup of it.
    seen: bool,
    /// Whose it is, also after the hypervisor's process has gone and others linger.
    vm: Option<VmId>,
}

/// All machines that run.
#[derive(Default)]
pub(super) struct Machines {
    all: HashMap<VmId, Machine>,
    /// As many as the cgroups that the resolver knows.
    claims: HashMap<String, Claim>,
    /// Machines that ended, and those with new facts, for the next [`Self::write`].
    ended: Vec<VmId>,
    told: Vec<VmId>,
    /// Whose process is in which machine's cgroup; made anew for each look at all cgroups.
    by_scope: HashMap<String, VmId>,
    waits: bool,
}

impl Machines {
    /// Makes a process a member of its machine, under the best id that is not another machine's. A copy of a process (QEMU
    /// forks to become a daemon) is the same machine. Two machines with one id exist: KubeVirt made the UUID from the
    /// name alone, so two of one name in two namespaces had the same.
    pub(super) fn join(&mut self, task: TaskKey, told: &Told, base: &CgroupOwner, lives: bool) -> VmId {
        let vouched = told.is_vouched(base);
        let root = scope_of(&base.path).map(|scope| scope.root.to_owned());
        let root = root.or_else(|| told.scope.as_ref().map(|(root, _)| root.clone()));
        let same = |machine: &Machine| match machine.living {
            0 => vouched || !machine.vouched,
            _ => {
                let is_apart = root.is_some() && machine.scope.is_some() && machine.scope != root;
                (&machine.name, &machine.container) == (&told.command.name, &base.container)
                    && machine.user.is_some()
                    && machine.user == told.user
                    && !is_apart
            }
        };
        let (ids, last) = told.ids(task);
        let is_taken = |id: &&VmId| self.all.get(*id).is_some_and(|machine| !same(machine));
        let id = ids.iter().find(|id| !is_taken(id)).unwrap_or(&last).clone();
        let machine = self.all.entry(id.clone()).or_insert_with(|| Machine {
            members: 0,
            living: 0,
            name: None,
            container: None,
            user: None,
            vouched: false,
            facts: Arc::default(),
            reserved: None,
            scope: None,
        });
        machine.members += 1;
        machine.living += u32::from(lives);
        machine.name.clone_from(&told.command.name);
        machine.container.clone_from(&base.container);
        machine.user = told.user;
        machine.vouched |= vouched;
        machine.scope = root;
        id
    }

    /// A process is dead: it does not hold its machine's id any more, but is listed until it was paid.
    pub(super) fn die(&mut self, id: &VmId) {
        if let Some(machine) = self.all.get_mut(id) {
            machine.living = machine.living.saturating_sub(1);
        }
    }

    /// Takes one process away; the machine ends with the last.
    pub(super) fn leave(&mut self, id: &VmId, lives: bool) {
        let Some(machine) = self.all.get_mut(id) else {
            return;
        };
        machine.living = machine.living.saturating_sub(u32::from(lives));
        machine.members = machine.members.saturating_sub(1);
        if machine.members == 0 {
            self.all.remove(id);
            self.ended.push(id.clone());
        }
    }

    /// Writes down what a machine is called.
    pub(super) fn describe(&mut self, id: &VmId, told: &Told, base: &CgroupOwner) {
        let facts = VmFacts {
            name: told.name(base.pod.as_ref()),
            hypervisor: told.command.hypervisor,
        };
        let Some(machine) = self.all.get_mut(id) else {
            return;
        };
        if let Some(scope) = scope_of(&base.path) {
            machine.scope = Some(scope.root.to_owned());
        }
        machine.vouched |= told.is_vouched(base);
        let size = told.domain.size().or(told.command.size);
        let reserved = size.reserved(told.command.hypervisor);
        if machine.reserved != reserved {
            machine.reserved = reserved;
            self.told.push(id.clone());
        }
        if *machine.facts != facts {
            machine.facts = Arc::new(facts);
            self.told.push(id.clone());
        }
    }

    /// Whether a living machine has this id by nothing but its own words.
    pub(super) fn is_only_claimed(&self, id: &VmId) -> bool {
        let holder = self.all.get(id);
        holder.is_some_and(|machine| machine.living > 0 && !machine.vouched)
    }

    /// Begins a look at all cgroups.
    pub(super) fn begin_cgroups(&mut self) {
        self.waits = false;
        self.claims.values_mut().for_each(|claim| claim.seen = false);
        let of_processes = self.all.iter().filter(|(_, machine)| machine.members > 0);
        self.by_scope = of_processes
            .filter_map(|(id, machine)| Some((machine.scope.clone()?, id.clone())))
            .collect();
    }

    /// The machine that a cgroup is part of: that of the process that said so, else, when none did for a while, one by the
    /// cgroup's own name.
    pub(super) fn of_cgroup(&mut self, scope: &Scope<'_>, libvirt: &State, now: Duration) -> Option<VmId> {
        let claim = self.claims.entry(scope.root.to_owned()).or_insert(Claim {
            since: now,
            seen: true,
            vm: None,
        });
        claim.seen = true;
        if let Some(id) = self.by_scope.get(scope.root) {
            claim.vm = Some(id.clone());
        }
        if claim.vm.is_some() {
            return claim.vm.clone();
        }
        if now.saturating_sub(claim.since) < WAIT {
            self.waits = true;
            return None;
        }
        // Whoever may make cgroups may call one like another's: it is not that machine for it, not even before that one starts.
        let is_ours = scope.is_the_hosts();
        let domain = is_ours.then(|| libvirt.domain(scope.hypervisor, &scope.name));
        let domain = domain.flatten().unwrap_or_default();
        let is_elsewhere = |id: &VmId| {
            let root = self.all.get(id).and_then(|machine| machine.scope.as_deref());
            root.is_some_and(|root| root != scope.root)
        };
        let ids = [domain.uuid.as_deref(), Some(scope.machine.as_str())];
        let mut ids = ids.into_iter().flatten().map(VmId::new);
        let id = ids.find(|id| is_ours && !is_elsewhere(id));
        let id = id.unwrap_or_else(|| VmId::new(scope.root));
        let size = domain.size();
        claim.vm = Some(id.clone());
        let called = domain
            .server
            .or(domain.name)
            .or_else(|| name(scope.name.as_bytes()));
        let reserved = size.reserved(scope.hypervisor);
        self.all.entry(id.clone()).or_insert_with(|| {
            self.told.push(id.clone());
            Machine {
                members: 0,
                living: 0,
                name: None,
                container: None,
                user: None,
                vouched: is_ours,
                facts: Arc::new(VmFacts {
                    name: called.unwrap_or_default(),
                    hypervisor: scope.hypervisor,
                }),
                reserved,
                scope: Some(scope.root.to_owned()),
            }
        });
        Some(id)
    }

    /// Drops the cgroups that this look did not see, and the machines that are known by nothing else.
    pub(super) fn forget_cgroups(&mut self) {
        let (all, claims, ended) = (&mut self.all, &mut self.claims, &mut self.ended);
        claims.retain(|_, claim| claim.seen);
        // Whoever may make cgroups may make thousands of machines.
        let claimed: HashSet<&VmId> = claims.values().filter_map(|claim| claim.vm.as_ref()).collect();
        all.retain(|id, machine| {
            let kept = machine.members > 0 || claimed.contains(id);
            if !kept {
                ended.push(id.clone());
            }
            kept
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a cgroup waits for a process.
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Puts names into the identity, where they are new.
    pub(super) fn write(&mut self, identity: &mut Arc<Identity>) {
        if self.told.is_empty() && self.ended.is_empty() {
            return;
        }
        let Identity { vms, reserved, .. } = Arc::make_mut(identity);
        for id in self.ended.drain(..) {
            vms.remove(&id);
            reserved.remove(&Tenant::Vm(id));
        }
        for id in self.told.drain(..) {
            let Some(machine) = self.all.get(&id) else {
                continue;
            };
            match machine.reserved {
                Some(held) => reserved.insert(Tenant::Vm(id.clone()), held),
                None => reserved.remove(&Tenant::Vm(id.clone())),
            };
            vms.insert(id, Arc::clone(&machine.facts));
        }
    }
}
