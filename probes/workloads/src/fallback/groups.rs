// SPDX-License-Identifier: Apache-2.0
//! What cgroups count beyond the processes seen in them: the time of processes that lived between two scans.
//!
//! The kernel's counter of a cgroup is the truth for everything below it. From what it rose by since `open` we take what
//! is explained: time charged to processes in it, and everything explained in cgroups below. What is left is its residue,
//! a row without a task: the time stays with this workload and is nobody else's. It is made to err on the low side, for a
//! residue that turns out to belong to a living process has been paid twice: counters are read **before** the processes.
//! A process's clock adds up the very slices that the counter does and gets each one first (`update_curr` in
//! kernel/sched/fair.c), so clocks read later explain no less than the counter has. Time in ticks may explain less, and
//! each living process whose time came from ticks is granted the two that its two counters hide by rounding. A residue
//! never falls.

use super::counter::read_counter;
use super::folders::{id_of, is_below, paths_above};
use super::group::Group;
use super::noted::Noted;
use super::residue::Residue;
use super::scan::Lost;
use crate::cgroup::{self, Accounting, CgroupMount, Hierarchy};
use crate::files::vanished;
use attribution::model::{CgroupId, CpuNanos, PackageId, TaskUsage};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Cgroups watched. A node with 500 pods has some 2,500; each costs one small read in every drain.
const GROUPS: usize = 16_384;

/// All watched cgroups.
pub(super) struct Groups {
    accounting: Option<Accounting>,
    groups: HashMap<CgroupId, Group>,
    /// Watched ids, the longest path first, so that children come before their parents.
    order: Vec<CgroupId>,
    order_is_old: bool,
    noted: Noted,
    /// [`GROUPS`], and less in tests.
    room: usize,
    /// Who takes over for a cgroup that is not watched, until the next reading. Of those that are gone: whoever ran in one
    /// shows it in the first scan after; at most [`GROUPS`] can go between two readings. And of those that there is no room
    /// for and that somebody runs in, no more than the kernel has cgroups.
    stand_ins: HashMap<CgroupId, CgroupId>,
    buffer: Vec<u8>,
    /// What children that nobody saw ran in the root, which has no counter of its own.
    root: Residue,
    /// Cgroups that were not watched for want of room.
    pub(super) overflow: u64,
}

impl Groups {
    /// No cgroup is watched yet; those that exist are noted.
    pub(super) fn new(accounting: Option<Accounting>) -> Self {
        Self {
            noted: Noted::at_open(accounting.as_ref()),
            accounting,
            groups: HashMap::new(),
            order: Vec::new(),
            order_is_old: false,
            room: GROUPS,
            stand_ins: HashMap::new(),
            buffer: Vec::new(),
            root: Residue::default(),
            overflow: 0,
        }
    }

    /// The hierarchy whose inode numbers are the ids.
    pub(super) fn hierarchy(&self) -> Option<Hierarchy> {
        self.accounting.as_ref().map(|found| found.hierarchy)
    }

    /// The id of the cgroup at `path`, which is watched from now on, and its container's with it. The root is not: its
    /// counter is the whole machine's. `None` where the path is not below our mount or gone.
    pub(super) fn enter(&mut self, path: &str) -> Option<CgroupId> {
        if path == "/" {
            return Some(CgroupId::ROOT);
        }
        let mount = self.accounting.as_ref()?.mount.clone();
        let id = id_of(&mount, path)?;
        self.watch(&mount, id, path);
        if let Some(root) = cgroup::container_root(path).filter(|root| *root != path)
            && let Some(root_id) = id_of(&mount, root)
        {
            self.watch(&mount, root_id, root);
        }
        Some(id)
    }

    /// The cgroup that pays for what ran at `path`, which is gone: this one or one above that went after the counters were
    /// read, or else the nearest above that is left; it is watched from now on. `None` where that is the root. It looks
    /// through all that are watched: only zombies have outlived their cgroup.
    pub(super) fn enter_gone(&mut self, path: &str) -> Option<CgroupId> {
        let mount = self.accounting.as_ref()?.mount.clone();
        mount.directory_of(path)?;
        for at in std::iter::once(path).chain(paths_above(path)) {
            let left = id_of(&mount, at);
            let mut watched = self.groups.iter();
            if let Some((id, _)) = watched.find(|(id, group)| group.path == at && Some(**id) != left) {
                return Some(*id);
            }
            if at != path
                && is_below(&mount, at)
                && let Some(id) = left
            {
                self.watch(&mount, id, at);
                return Some(id);
            }
        }
        None
    }

    /// Until the next reading `heir` pays for `id`, which is gone, unless it is watched or somebody does.
    pub(super) fn inherit(&mut self, id: CgroupId, heir: CgroupId) {
        if id != CgroupId::ROOT && !self.groups.contains_key(&id) {
            self.stand_ins.entry(id).or_insert(heir);
        }
    }

    fn watch(&mut self, mount: &CgroupMount, id: CgroupId, path: &str) {
        if self.groups.contains_key(&id) {
            return;
        }
        if self.groups.len() >= self.room {
            self.refuse(mount, id, path);
            return;
        }
        let Some(folder) = mount.directory_of(path) else {
            return;
        };
        self.order_is_old = true;
        let base = self.noted.is_new(id).then_some(CpuNanos::ZERO);
        let above = paths_above(path).map_while(|above| id_of(mount, above)).collect();
        self.groups.insert(id, Group::new(path, folder, above, base));
    }

    /// There is no room for a cgroup. What processes are charged in it is explained to the nearest watched one above. Once
    /// there is room for it or for one in between, its counter holds time that was never explained to it, and is its base.
    fn refuse(&mut self, mount: &CgroupMount, id: CgroupId, path: &str) {
        self.overflow += 1;
        self.noted.add(id);
        for above in paths_above(path).map_while(|above| id_of(mount, above)) {
            if self.groups.contains_key(&above) {
                self.stand_ins.insert(id, above);
                return;
            }
            self.noted.add(above);
        }
    }

    /// A process in `id` was charged `time` there; `in_ticks` when ticks may hide some of it.
    pub(super) fn explain(&mut self, id: CgroupId, package: PackageId, time: CpuNanos, in_ticks: bool) {
        if let Some(group) = self.stand_in(id) {
            group.explained += time;
            group.in_ticks += u64::from(in_ticks);
            group.package = package;
        }
    }

    /// Whether a counter pays, or has paid, what runs in `id` unseen: its own or one above it. Of a cgroup that is gone or
    /// was not watched for want of room nobody can tell, so it is taken for one that does.
    pub(super) fn counts(&self, id: CgroupId) -> bool {
        let mut at = self.groups.get(&id);
        if at.is_none() {
            return id != CgroupId::ROOT;
        }
        while let Some(group) = at {
            if group.counts() {
                return true;
            }
            at = group.parent.and_then(|parent| self.groups.get(&parent));
        }
        false
    }

    /// Charges time of children that nobody saw to `id`, where no counter pays it.
    pub(super) fn charge_unseen(&mut self, id: CgroupId, package: PackageId, time: CpuNanos) {
        match self.groups.get_mut(&id) {
            Some(group) => group.residue.add(package, time),
            None => self.root.add(package, time),
        }
    }

    /// `time` that ran in `id` has been charged elsewhere.
    pub(super) fn credit(&mut self, id: CgroupId, time: CpuNanos) {
        if let Some(group) = self.stand_in(id) {
            group.explained += time;
        }
    }

    /// The watched cgroup whose counter has what ran in `id`. A stand-in that went in the same reading has its own.
    fn stand_in(&mut self, id: CgroupId) -> Option<&mut Group> {
        let mut id = id;
        for _ in 0..cgroup::WALK_DEPTH {
            if self.groups.contains_key(&id) {
                break;
            }
            id = *self.stand_ins.get(&id)?;
        }
        self.groups.get_mut(&id)
    }

    /// Reads all counters, before the processes are scanned. Cgroups that are gone leave their rows in `gone`, and what
    /// they explained stays explained above. Each counter that cannot be read is counted in `lost`.
    pub(super) fn read(&mut self, gone: &mut Vec<TaskUsage>, lost: &mut Lost) {
        self.put_in_order();
        self.stand_ins.clear();
        let hierarchy = self.hierarchy();
        for at in 0..self.order.len() {
            let Some(id) = self.order.get(at).copied() else {
                break;
            };
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            group.in_ticks = 0;
            let below = std::mem::take(&mut group.below.explained);
            // A unit that is started again has the same path and another cgroup.
            let same = match fs::symlink_metadata(&group.folder) {
                Ok(metadata) => CgroupId(metadata.ino()) == id,
                Err(error) => !vanished(&error),
            };
            if !same {
                self.remove(id, gone);
                continue;
            }
            let usage = read_counter(&group.folder, hierarchy, &mut self.buffer);
            let Some(usage) = lost.count(usage) else {
                continue;
            };
            group.usage = usage;
            let parent = group.parent;
            let (known, surplus) = group.trim(below);
            if let Some(parent) = parent.and_then(|parent| self.groups.get_mut(&parent)) {
                parent.below.explained += known;
                parent.explained += surplus;
            }
        }
    }

    /// Works out what is left, after the processes were scanned, and returns how much that is.
    pub(super) fn settle(&mut self) -> CpuNanos {
        self.put_in_order();
        let (mut added, mut unread) = (CpuNanos::ZERO, false);
        let hierarchy = self.hierarchy();
        for id in &self.order {
            let Some(group) = self.groups.get_mut(id) else {
                continue;
            };
            let mut sight = None;
            if group.is_unread() {
                unread = true;
                let usage = read_counter(&group.folder, hierarchy, &mut self.buffer);
                sight = usage.ok().flatten();
            }
            let parent = group.parent;
            let (rest, sums) = group.settle(sight);
            added += rest;
            if let Some(parent) = parent.and_then(|parent| self.groups.get_mut(&parent)) {
                parent.below += sums;
            }
        }
        if unread {
            self.leave_pending();
        }
        added
    }

    /// Nothing is paid above a new cgroup and then here once more.
    fn leave_pending(&mut self) {
        for id in self.order.iter().rev() {
            let parent = self.groups.get(id).and_then(|group| group.parent);
            let is_short = parent
                .and_then(|parent| self.groups.get(&parent))
                .is_some_and(|parent| parent.short);
            if is_short && let Some(group) = self.groups.get_mut(id) {
                group.leave_pending();
            }
        }
    }

    /// Forgets what was explained: the start of counting. Every cgroup takes its counter as its base.
    pub(super) fn begin(&mut self) {
        for group in self.groups.values_mut() {
            group.explained = CpuNanos::ZERO;
            group.residue = Residue::default();
            group.base = None;
        }
        self.settle();
    }

    /// Leaves so much room, for tests.
    #[cfg(test)]
    pub(super) fn keep_room_for(&mut self, groups: usize) {
        self.room = groups;
    }

    /// Rows without a task.
    pub(super) fn report(&self, rows: &mut Vec<TaskUsage>) {
        for (id, group) in &self.groups {
            rows.extend(group.residue.rows(*id, false));
        }
        rows.extend(self.root.rows(CgroupId::ROOT, false));
    }

    fn remove(&mut self, id: CgroupId, gone: &mut Vec<TaskUsage>) {
        let Some(group) = self.groups.remove(&id) else {
            return;
        };
        self.order_is_old = true;
        gone.extend(group.residue.rows(id, true));
        let explained = group.explained + group.residue.total();
        let Some(heir) = self.heir(&group) else {
            return;
        };
        self.stand_ins.insert(id, heir);
        if let Some(heir) = self.groups.get_mut(&heir) {
            // Its counter stays in those above it for ever, so its explanation has to stay too.
            heir.explained += explained;
        }
    }

    /// The nearest cgroup that is left above one that is gone. It is watched from now on: if it were seen only later, its
    /// counter would hold time that nothing explains. There is room for it, that of the one that is gone. The mount point
    /// is left out: it was there at `open`, and has a base once somebody is seen in it.
    fn heir(&mut self, gone: &Group) -> Option<CgroupId> {
        let mount = self.accounting.as_ref()?.mount.clone();
        for (id, path) in gone.above.iter().copied().zip(paths_above(&gone.path)) {
            if self.groups.contains_key(&id) {
                return Some(id);
            }
            if is_below(&mount, path) && id_of(&mount, path) == Some(id) {
                self.watch(&mount, id, path);
                return Some(id);
            }
        }
        None
    }

    /// Remakes order and parents when cgroups came or went.
    fn put_in_order(&mut self) {
        if !self.order_is_old {
            return;
        }
        self.order_is_old = false;
        let parent_of = |group: &Group| {
            let mut above = group.above.iter();
            above.find(|id| self.groups.contains_key(id)).copied()
        };
        let parents: Vec<(CgroupId, Option<CgroupId>)> = self
            .groups
            .iter()
            .map(|(id, group)| (*id, parent_of(group)))
            .collect();
        for (id, parent) in parents {
            if let Some(group) = self.groups.get_mut(&id) {
                group.parent = parent;
            }
        }
        self.order.clear();
        self.order.extend(self.groups.keys().copied());
        let groups = &self.groups;
        self.order
            .sort_by_key(|id| std::cmp::Reverse(groups.get(id).map_or(0, |group| group.path.len())));
    }
}
