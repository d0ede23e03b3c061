// SPDX-License-Identifier: Apache-2.0
//! What cgroups count beyond the processes seen in them: the time of processes that lived between two scans.
//!
//! The kernel's counter of a cgroup is the truth for everything below it. From what it rose by since `open` we take what
//! is explained: time charged to processes in it, and everything explained in cgroups below. What is left is its residue,
//! a row without a task. It is made to err on the low side, for a residue that turns out to belong to a living process
//! has been paid twice: counters are read **before** the processes, and each living process is granted the two ticks
//! that its two counters may hide by rounding. A residue never falls.

use crate::cgroup::{self, Accounting, CgroupMount, Hierarchy, WalkOutcome};
use crate::error::WorkloadError;
use crate::files::{read_into, vanished};
use attribution::model::{CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKind, TaskUsage};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Cgroups watched. A node with 500 pods has some 2,500; each costs one small read in every drain.
const GROUPS: usize = 16_384;

/// What one living process can hide: user and system time are each cut to whole ticks of 10 ms.
const HIDDEN_BY_ROUNDING: CpuNanos = CpuNanos::from_nanos(20_000_000);

/// One cgroup in which a process was seen, or that is the root of a container in which one was.
struct Group {
    path: String,
    folder: PathBuf,
    /// The nearest watched cgroup above.
    parent: Option<CgroupId>,
    /// The counter when counting began; `None` until it is read for the first time.
    base: Option<CpuNanos>,
    usage: Option<CpuNanos>,
    /// Charged to processes here, or already paid elsewhere.
    explained: CpuNanos,
    /// Rows without a task.
    residue: Vec<(PackageId, CpuNanos)>,
    /// Processes seen here in this scan.
    living: u64,
    /// Package of the process seen here last; a counter of the cgroup names none.
    package: PackageId,
    /// Sums over the watched cgroups below, remade at each settlement.
    explained_below: CpuNanos,
    living_below: u64,
}

impl Group {
    fn residue(&self) -> CpuNanos {
        self.residue.iter().map(|(_, time)| *time).sum()
    }

    fn rows(&self, id: CgroupId, ended: bool) -> impl Iterator<Item = TaskUsage> {
        self.residue.iter().map(move |(package, cpu)| TaskUsage {
            task: None,
            cgroup: id,
            package: *package,
            cpu: *cpu,
            events: EventCounts::ZERO,
            comm: Comm::default(),
            kind: TaskKind::User,
            ended,
        })
    }

    fn add_residue(&mut self, time: CpuNanos) {
        let package = self.package;
        match self.residue.iter_mut().find(|(known, _)| *known == package) {
            Some((_, total)) => *total += time,
            None => self.residue.push((package, time)),
        }
    }
}

/// All watched cgroups.
pub(super) struct Groups {
    accounting: Option<Accounting>,
    groups: HashMap<CgroupId, Group>,
    /// Watched ids, the longest path first, so that children come before their parents.
    order: Vec<CgroupId>,
    order_is_old: bool,
    /// Cgroups that were there at `open`; all others count from zero. `None` when not all could be listed: then none
    /// does. At most [`cgroup::WALK_DIRECTORIES`] numbers, half a megabyte.
    at_open: Option<HashSet<CgroupId>>,
    buffer: Vec<u8>,
    /// Cgroups that were not watched for want of room.
    pub(super) overflow: u64,
}

impl Groups {
    /// No cgroup is watched yet; those that exist are noted.
    pub(super) fn new(accounting: Option<Accounting>) -> Self {
        let mut at_open = HashSet::new();
        let outcome = accounting.as_ref().map_or_else(WalkOutcome::default, |found| {
            cgroup::walk(&found.mount, &mut |id, _| {
                at_open.insert(id);
                ControlFlow::Continue(())
            })
        });
        let complete = !outcome.truncated && outcome.unreadable == 0;
        Self {
            accounting,
            groups: HashMap::new(),
            order: Vec::new(),
            order_is_old: false,
            at_open: complete.then_some(at_open),
            buffer: Vec::new(),
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

    fn watch(&mut self, mount: &CgroupMount, id: CgroupId, path: &str) {
        if self.groups.contains_key(&id) {
            return;
        }
        if self.groups.len() >= GROUPS {
            self.overflow += 1;
            return;
        }
        let Some(folder) = mount.directory_of(path) else {
            return;
        };
        let is_new = self.at_open.as_ref().is_some_and(|known| !known.contains(&id));
        self.order_is_old = true;
        self.groups.insert(
            id,
            Group {
                path: path.to_owned(),
                folder,
                parent: None,
                base: is_new.then_some(CpuNanos::ZERO),
                usage: None,
                explained: CpuNanos::ZERO,
                residue: Vec::new(),
                living: 0,
                package: PackageId(0),
                explained_below: CpuNanos::ZERO,
                living_below: 0,
            },
        );
    }

    /// A process lives in `id` and was charged `time` there.
    pub(super) fn explain(&mut self, id: CgroupId, package: PackageId, time: CpuNanos) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.explained += time;
            group.living += 1;
            group.package = package;
        }
    }

    /// `time` that ran in `id` has been charged elsewhere.
    pub(super) fn credit(&mut self, id: CgroupId, time: CpuNanos) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.explained += time;
        }
    }

    /// Reads all counters, before the processes are scanned. Cgroups that are gone leave their rows in `gone`, and what
    /// they explained stays explained above.
    pub(super) fn read(&mut self, gone: &mut Vec<TaskUsage>) -> Result<(), WorkloadError> {
        self.put_in_order();
        let mut failed = Ok(());
        for at in 0..self.order.len() {
            let Some(id) = self.order.get(at).copied() else {
                break;
            };
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            group.living = 0;
            // A unit that is started again has the same path and another cgroup.
            let same = match fs::symlink_metadata(&group.folder) {
                Ok(metadata) => CgroupId(metadata.ino()) == id,
                Err(error) => !vanished(&error),
            };
            if !same {
                self.remove(id, gone);
                continue;
            }
            let hierarchy = self.accounting.as_ref().map(|found| found.hierarchy);
            match read_counter(&group.folder, hierarchy, &mut self.buffer) {
                Ok(usage) => group.usage = usage,
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// Works out what is left, after the processes were scanned.
    pub(super) fn settle(&mut self) {
        self.put_in_order();
        let hierarchy = self.accounting.as_ref().map(|found| found.hierarchy);
        for id in &self.order {
            let Some(group) = self.groups.get_mut(id) else {
                continue;
            };
            let explained = group.explained + group.explained_below;
            match (group.base, group.usage) {
                (Some(base), Some(usage)) => {
                    let hidden = CpuNanos::from_nanos(
                        HIDDEN_BY_ROUNDING
                            .as_nanos()
                            .saturating_mul(group.living + group.living_below),
                    );
                    let known = base + explained + group.residue() + hidden;
                    if let Some(rest) = usage.checked_sub(known).filter(|rest| !rest.is_zero()) {
                        group.add_residue(rest);
                    }
                }
                // It existed at `open` and nobody was seen in it until now: what it counted so far is not ours to pay.
                // Where the counter cannot be read it has no residue, and the next settlement tries again.
                (None, _) => {
                    let usage = read_counter(&group.folder, hierarchy, &mut self.buffer);
                    group.base = usage.ok().flatten().map(|usage| usage.saturating_sub(explained));
                }
                (Some(_), None) => {}
            }
            let (parent, living) = (group.parent, group.living + group.living_below);
            let explained = explained + group.residue();
            (group.explained_below, group.living_below) = (CpuNanos::ZERO, 0);
            if let Some(parent) = parent.and_then(|parent| self.groups.get_mut(&parent)) {
                parent.explained_below += explained;
                parent.living_below += living;
            }
        }
    }

    /// Forgets what was explained: the start of counting. Every cgroup takes its counter as its base.
    pub(super) fn begin(&mut self) {
        for group in self.groups.values_mut() {
            group.explained = CpuNanos::ZERO;
            group.residue.clear();
            group.base = None;
        }
        self.settle();
    }

    /// Rows without a task.
    pub(super) fn report(&self, rows: &mut Vec<TaskUsage>) {
        for (id, group) in &self.groups {
            rows.extend(group.rows(*id, false));
        }
    }

    fn remove(&mut self, id: CgroupId, gone: &mut Vec<TaskUsage>) {
        let Some(group) = self.groups.remove(&id) else {
            return;
        };
        self.order_is_old = true;
        gone.extend(group.rows(id, true));
        let explained = group.explained + group.residue();
        if let Some(parent) = group.parent.and_then(|parent| self.groups.get_mut(&parent)) {
            // Its counter stays in those above it for ever, so its explanation has to stay too.
            parent.explained += explained;
        }
    }

    /// Remakes order and parents when cgroups came or went.
    fn put_in_order(&mut self) {
        if !self.order_is_old {
            return;
        }
        self.order_is_old = false;
        let by_path: HashMap<&str, CgroupId> = self
            .groups
            .iter()
            .map(|(id, group)| (group.path.as_str(), *id))
            .collect();
        let parents: Vec<(CgroupId, Option<CgroupId>)> = self
            .groups
            .iter()
            .map(|(id, group)| (*id, nearest_above(&group.path, &by_path)))
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

fn nearest_above(path: &str, by_path: &HashMap<&str, CgroupId>) -> Option<CgroupId> {
    let mut path = path;
    while let Some((above, _)) = path.rsplit_once('/') {
        if let Some(id) = by_path.get(above) {
            return Some(*id);
        }
        path = above;
    }
    None
}

fn id_of(mount: &CgroupMount, path: &str) -> Option<CgroupId> {
    let folder = mount.directory_of(path)?;
    let metadata = fs::symlink_metadata(folder).ok()?;
    Some(CgroupId(metadata.ino()))
}

/// CPU time of everything below a cgroup; `None` where the kernel keeps no such counter (version 2 without `cpu.stat`,
/// before Linux 4.15) or the cgroup is gone.
fn read_counter(
    folder: &std::path::Path,
    hierarchy: Option<Hierarchy>,
    buffer: &mut Vec<u8>,
) -> Result<Option<CpuNanos>, WorkloadError> {
    let (name, expected) = match hierarchy {
        Some(Hierarchy::Unified) => ("cpu.stat", "usage_usec line"),
        Some(Hierarchy::Version1) => ("cpuacct.usage", "number of nanoseconds"),
        None => return Ok(None),
    };
    let path = folder.join(name);
    if !read_into(&path, buffer)? {
        return Ok(None);
    }
    let text = std::str::from_utf8(buffer).unwrap_or_default();
    let nanos = match hierarchy {
        Some(Hierarchy::Unified) => text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .and_then(|usage| usage.trim().parse::<u64>().ok())
            .map(|micros| micros.saturating_mul(1_000)),
        _ => text.trim().parse().ok(),
    };
    match nanos {
        Some(nanos) => Ok(Some(CpuNanos::from_nanos(nanos))),
        None => Err(WorkloadError::malformed(&path, expected)),
    }
}
