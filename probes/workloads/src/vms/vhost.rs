// SPDX-License-Identifier: Apache-2.0
//! Kernel threads that work for one machine: `vhost-PID`, which carry its packets before Linux 6.4 (`vhost_worker_create` in
//! drivers/vhost/vhost.c). PID is who opened the device, in the host's numbers: the hypervisor's main thread.
//!
//! They stay the kernel's on the level of containers, as all kernel threads do, and are on no unit's; their machine has
//! them as well. Since Linux 6.4 they are threads of the hypervisor's process, and nothing is left to do here.

use attribution::model::{CgroupOwner, Comm, Identity, TaskKey, TaskKind, TaskUsage, VmId};
use foldhash::HashSet;
use std::sync::Arc;

/// The threads of the newest report.
#[derive(Default)]
pub(super) struct Workers {
    /// With the pid in their names.
    seen: Vec<(TaskKey, u32)>,
    /// Whose they are; no more than were seen.
    given: HashSet<TaskKey>,
}

impl Workers {
    /// Begins a report.
    pub(super) fn begin(&mut self) {
        self.seen.clear();
    }

    /// How many work for a machine.
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }

    /// Takes a look at a row.
    pub(super) fn note(&mut self, row: &TaskUsage) {
        let (Some(task), TaskKind::Kernel) = (row.task, row.kind) else {
            return;
        };
        let is_new = self.seen.last().is_none_or(|(last, _)| *last != task);
        if let Some(pid) = works_for(&row.comm).filter(|_| is_new) {
            self.seen.push((task, pid));
        }
    }

    /// Gives those that are new to the machine that `machine` says the process of this pid is, if it began before them. One
    /// that belongs to a machine does so for good: the dead are paid.
    pub(super) fn own(&mut self, machine: impl Fn(u32, u64) -> Option<VmId>, identity: &mut Arc<Identity>) {
        for (task, pid) in &self.seen {
            if self.given.contains(task) {
                continue;
            }
            let Some(vm) = machine(*pid, task.start_ticks) else {
                continue;
            };
            self.given.insert(*task);
            let owner = CgroupOwner {
                path: "/".to_owned(),
                vm: Some(vm),
                ..CgroupOwner::default()
            };
            Arc::make_mut(identity).tasks.insert(*task, Arc::new(owner));
        }
        let owned = self.seen.iter().filter(|(task, _)| self.given.contains(task));
        if owned.count() < self.given.len() {
            let seen: HashSet<TaskKey> = self.seen.iter().map(|(task, _)| *task).collect();
            self.given.retain(|task| {
                let kept = seen.contains(task);
                if !kept {
                    Arc::make_mut(identity).tasks.remove(task);
                }
                kept
            });
        }
    }
}

/// The pid in `vhost-PID`.
fn works_for(comm: &Comm) -> Option<u32> {
    let name = comm.0.split(|byte| *byte == 0).next()?;
    let pid = std::str::from_utf8(name.strip_prefix(b"vhost-")?).ok()?;
    pid.parse().ok()
}
