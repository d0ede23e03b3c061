// SPDX-License-Identifier: Apache-2.0
//! Virtual machines: finds the processes that are some, and says which.
//!
//! A machine is a hypervisor's process with all of its threads, the kernel's that work for it, and whatever else is in its own cgroup where it has one. In
//! a container (`KubeVirt`) it is the container's and its pod's as well. Its id is, in this order: what its command line
//! says (`-uuid`, `-id`, `--id`, `--startvm`), libvirt's UUID, its own cgroup's name, its pid and start time; an id that
//! another living machine has is passed over. Anybody may start a process that says it is a machine with any id, so one that
//! the host itself vouches for takes its id from whoever has it by nothing but words. Asks no daemon and opens no socket.

mod book;
mod command;
mod counters;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod libvirt;
mod look;
mod machines;
mod precedence;
mod qemu;
mod scope;
mod size;
mod vhost;

#[cfg(test)]
mod tests;

pub use counters::VmCounters;

use crate::resolver::{Namer, Tallies};
use attribution::model::{CgroupId, CgroupOwner, Comm, Identity, TaskKey, TaskKind, TaskUsage, Usage, VmId};
use book::Book;
use foldhash::{HashMap, HashMapExt as _};
use libvirt::State;
use look::{Looker, Seen};
use machines::{Machines, Told};
use scope::scope_of;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use vhost::Workers;

/// The process of a machine.
struct Member {
    told: Told,
    /// Whether the host itself says that it is its machine.
    vouched: bool,
    vm: Option<VmId>,
    /// Whether the report calls it dead.
    ended: bool,
    /// What the resolver said of the process itself, where it did.
    own: Option<Arc<CgroupOwner>>,
    /// Without the machine, and with it, as handed out.
    made: Option<(Arc<CgroupOwner>, Arc<CgroupOwner>)>,
}

/// Names virtual machines; see the module's head.
pub struct VmNames {
    looker: Looker,
    libvirt: State,
    book: Book,
    /// As many as there are machines' processes in the newest report.
    members: HashMap<TaskKey, Member>,
    /// Where the rows of members are in the newest report; kept for its room.
    rows: Vec<usize>,
    /// Rows of members in the report before: a thread in a cgroup that is new to it makes another one, and none leaves
    /// before its process does.
    rows_before: usize,
    /// Whether members came, went or changed in this call.
    stirred: bool,
    machines: Machines,
    /// Kernel threads that work for them.
    workers: Workers,
    /// What the last call left, without keeping it alive: any change since then is another allocation.
    left: Weak<Identity>,
    counters: VmCounters,
}

impl VmNames {
    /// One that looks below the proc mount `proc` and the run-time state of libvirt (`/run/libvirt`), which need not be
    /// there.
    #[must_use]
    pub fn new(proc: &Path, libvirt: &Path) -> Self {
        Self {
            looker: Looker::new(proc),
            libvirt: State::new(libvirt),
            book: Book::default(),
            members: HashMap::new(),
            rows: Vec::new(),
            rows_before: 0,
            stirred: false,
            machines: Machines::default(),
            workers: Workers::default(),
            left: Weak::new(),
            counters: VmCounters::default(),
        }
    }

    /// What it did since it began.
    #[must_use]
    pub const fn counters(&self) -> &VmCounters {
        &self.counters
    }

    /// Marks the processes of the report and the rows of members, and gives those to look at now with their command names.
    fn note(&mut self, rows: &[TaskUsage], now: u64) -> Vec<(TaskKey, Comm)> {
        self.book.begin();
        self.rows.clear();
        self.workers.begin();
        let mut last = (None, false);
        for (at, row) in rows.iter().enumerate() {
            let (Some(task), TaskKind::User) = (row.task, row.kind) else {
                self.workers.note(row);
                continue;
            };
            // Probes list a process's rows together.
            if last.0 != Some(task) {
                last = (Some(task), self.book.note(task, row.comm, row.ended, now));
            }
            if last.1 {
                self.rows.push(at);
            }
        }
        let (due, waiting) = self.book.take_due(now);
        self.counters.looks_put_off += u64::try_from(waiting).unwrap_or(u64::MAX);
        due
    }

    /// Looks at processes. One that no longer answers stays what it was.
    fn look(&mut self, due: Vec<(TaskKey, Comm)>, identity: &mut Arc<Identity>) {
        for (task, comm) in due {
            self.counters.looks += 1;
            match self.looker.look(task, comm) {
                Seen::Machine(command, user) => {
                    let told = Told::new(command, user, &self.looker.cgroups(task), task, &self.libvirt);
                    self.meet(task, told);
                    self.book.mark(task, true);
                }
                Seen::Other => {
                    if let Some(member) = self.members.remove(&task) {
                        self.leave(task, member, identity);
                        self.book.mark(task, false);
                    }
                }
                Seen::Gone => {
                    self.counters.gone += 1;
                    self.book.doubt(task);
                }
                Seen::Refused => {
                    self.counters.refused += 1;
                    self.book.doubt(task);
                }
            }
        }
    }

    fn meet(&mut self, task: TaskKey, told: Told) {
        match self.members.get_mut(&task) {
            Some(member) => {
                // What it is by now: the handed-out facts are made anew from it.
                if member.told != told {
                    if let Some(vm) = member.vm.take_if(|_| member.told.command.id != told.command.id) {
                        self.machines.leave(&vm, !member.ended);
                    }
                    member.told = told;
                    member.made = None;
                    self.stirred = true;
                }
            }
            None => {
                self.counters.found += 1;
                self.stirred = true;
                let member = Member {
                    told,
                    vouched: false,
                    vm: None,
                    ended: false,
                    own: None,
                    made: None,
                };
                self.members.insert(task, member);
            }
        }
    }

    /// A process is no machine any more.
    fn leave(&mut self, task: TaskKey, member: Member, identity: &mut Arc<Identity>) {
        self.stirred = true;
        let is_ours = identity.tasks.get(&task).is_some_and(|owner| owner.vm.is_some());
        if is_ours {
            let tasks = &mut Arc::make_mut(identity).tasks;
            match member.own.filter(|_| self.book.has(task)) {
                Some(own) => tasks.insert(task, own),
                None => tasks.remove(&task),
            };
        }
        if let Some(vm) = member.vm {
            self.machines.leave(&vm, !member.ended);
        }
    }

    /// Notes which members have died.
    fn bury(&mut self, rows: &[TaskUsage]) {
        let of_members = self.rows.iter().filter_map(|at| rows.get(*at));
        for task in of_members.filter(|row| row.ended).filter_map(|row| row.task) {
            let Some(member) = self.members.get_mut(&task).filter(|member| !member.ended) else {
                continue;
            };
            member.ended = true;
            if let Some(vm) = &member.vm {
                self.machines.die(vm);
            }
        }
    }

    fn forget(&mut self, identity: &mut Arc<Identity>) {
        if !self.book.forget() {
            return;
        }
        let gone: Vec<TaskKey> = self
            .members
            .keys()
            .copied()
            .filter(|task| !self.book.has(*task))
            .collect();
        for task in gone {
            if let Some(member) = self.members.remove(&task) {
                self.leave(task, member, identity);
            }
        }
    }

    /// Gives all members of machines their owners. Those that the host vouches for choose their ids first, and then those that
    /// began first, whatever the order of the rows.
    fn own(&mut self, rows: &[TaskUsage], identity: &mut Arc<Identity>) {
        let of_members = self.rows.iter().filter_map(|at| rows.get(*at));
        let cgroups = best_cgroups(of_members, identity);
        let mut tasks = Vec::with_capacity(self.members.len());
        for (task, member) in &mut self.members {
            let given = identity.tasks.get(task);
            if let Some(own) = given.filter(|owner| owner.vm.is_none()) {
                member.own = Some(Arc::clone(own));
            }
            let of_cgroup = || cgroups.get(task).and_then(|cgroup| identity.cgroups.get(cgroup));
            let base = member.own.as_ref().or_else(of_cgroup);
            let base = base.cloned().unwrap_or_else(nobody);
            member.vouched = member.told.is_vouched(&base);
            tasks.push((!member.vouched, *task, base));
        }
        self.make_way();
        tasks.sort_unstable_by_key(|(is_claim, task, _)| (*is_claim, task.start_ticks, task.tgid));
        for (_, task, base) in tasks {
            let Some(member) = self.members.get_mut(&task) else {
                continue;
            };
            let given = identity.tasks.get(&task);
            let settled = member.made.as_ref().is_some_and(|(from, made)| {
                *from == base && given.is_some_and(|given| Arc::ptr_eq(given, made))
            });
            if settled {
                continue;
            }
            let vm = member
                .vm
                .get_or_insert_with(|| self.machines.join(task, &member.told, &base, !member.ended))
                .clone();
            let owner = Arc::new(CgroupOwner {
                vm: Some(vm.clone()),
                ..CgroupOwner::clone(&base)
            });
            self.machines.describe(&vm, &member.told, &base);
            member.made = Some((base, Arc::clone(&owner)));
            Arc::make_mut(identity).tasks.insert(task, owner);
        }
    }

    /// Gives the cgroups of machines to them: helpers beside a hypervisor's process are its machine's, too, and so is time
    /// in there that belongs to no process by name.
    fn own_cgroups(&mut self, identity: &mut Arc<Identity>, now: Duration) {
        let mut changes = Vec::new();
        self.machines.begin_cgroups();
        for (id, owner) in &identity.cgroups {
            let Some(scope) = scope_of(&owner.path) else {
                continue;
            };
            let vm = self.machines.of_cgroup(&scope, &self.libvirt, now);
            if let Some(vm) = vm.filter(|vm| owner.vm.as_ref() != Some(vm)) {
                let owner = CgroupOwner {
                    vm: Some(vm),
                    ..CgroupOwner::clone(owner)
                };
                changes.push((*id, Arc::new(owner)));
            }
        }
        self.machines.forget_cgroups();
        if !changes.is_empty() {
            Arc::make_mut(identity).cgroups.extend(changes);
        }
    }
}

impl Namer for VmNames {
    fn name(&mut self, usage: &Usage, identity: &mut Arc<Identity>, now: Duration) {
        let due = self.note(&usage.tasks, boot_ticks(now));
        self.stirred = false;
        self.look(due, identity);
        if self.stirred {
            let rows = usage.tasks.iter().enumerate();
            let of_members =
                rows.filter(|(_, row)| row.task.is_some_and(|task| self.members.contains_key(&task)));
            self.rows = of_members.map(|(at, _)| at).collect();
        }
        self.forget(identity);
        self.bury(&usage.tasks);
        let another = |left: &Weak<Identity>, identity: &Arc<Identity>| {
            !std::ptr::eq(left.as_ptr(), Arc::as_ptr(identity))
        };
        if self.stirred || self.rows.len() != self.rows_before || another(&self.left, identity) {
            self.own(&usage.tasks, identity);
        }
        self.rows_before = self.rows.len();
        let members = &self.members;
        let machine = |pid, start| {
            let of_pid = members
                .iter()
                .filter(|(task, _)| task.tgid == pid && task.start_ticks <= start);
            let (_, newest) = of_pid.max_by_key(|(task, _)| task.start_ticks)?;
            newest.vm.clone()
        };
        self.workers.own(machine, identity);
        if another(&self.left, identity) || self.machines.waits() {
            self.own_cgroups(identity, now);
        }
        self.machines.write(identity);
        self.left = Arc::downgrade(identity);
    }

    fn count(&self, tallies: &mut Tallies) {
        self.counters.count(tallies);
        let held = [
            ("processes", self.book.len()),
            ("machines' processes", self.members.len()),
            ("machines", self.machines.len()),
            ("kernel threads of machines", self.workers.len()),
        ];
        counters::hold(&held, tallies);
    }
}

/// A moment of the boot clock in the ticks of start times.
fn boot_ticks(now: Duration) -> u64 {
    TaskKey::from_boot_nanos(0, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)).start_ticks
}

/// The owner of a process whose cgroup nobody knows.
fn nobody() -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        path: "/".to_owned(),
        ..CgroupOwner::default()
    })
}

/// Of the cgroups in which each member ran, the one that says most: threads may be in cgroups of their own (libvirt's
/// `vcpu0`), and a process is moved by whoever made it (`libvirtd.service`, `docker.service`).
fn best_cgroups<'a>(
    rows: impl Iterator<Item = &'a TaskUsage>,
    identity: &Identity,
) -> HashMap<TaskKey, CgroupId> {
    let mut best: HashMap<TaskKey, (u8, CgroupId)> = HashMap::new();
    for row in rows {
        let (Some(task), Some(owner)) = (row.task, identity.cgroups.get(&row.cgroup)) else {
            continue;
        };
        let found = (rank(owner), row.cgroup);
        let kept = best.entry(task).or_insert(found);
        // Among equals the oldest cgroup, so that a thread more changes nothing.
        if found.0 > kept.0 || (found.0 == kept.0 && found.1 < kept.1) {
            *kept = found;
        }
    }
    best.into_iter()
        .map(|(task, (_, cgroup))| (task, cgroup))
        .collect()
}

fn rank(owner: &CgroupOwner) -> u8 {
    if owner.container.is_some() {
        4
    } else if scope_of(&owner.path).is_some() {
        3
    } else if owner.pod.is_some() {
        2
    } else {
        u8::from(owner.unit.is_some())
    }
}
