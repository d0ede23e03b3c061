// SPDX-License-Identifier: Apache-2.0
//! One watched cgroup: what its counter says and what of that is explained. Reads no file.

use super::residue::Residue;
use attribution::model::{CgroupId, CpuNanos, PackageId};
use std::path::PathBuf;

/// What `cpu.stat` may not show yet: it is cut to microseconds, and so is a base.
const CUT: CpuNanos = CpuNanos::from_nanos(1_000);

/// One cgroup in which a process was seen, that is the root of a container in which one was, or that a watched one was in
/// that is gone.
pub(super) struct Group {
    pub(super) path: String,
    pub(super) folder: PathBuf,
    /// The cgroups that it is in, the nearest first, watched or not. By id: another one may come to have the path.
    pub(super) above: Vec<CgroupId>,
    /// The nearest watched cgroup above.
    pub(super) parent: Option<CgroupId>,
    /// The counter when counting began; `None` until it is read for the first time.
    pub(super) base: Option<CpuNanos>,
    pub(super) usage: Option<CpuNanos>,
    /// Charged to processes here, or already paid elsewhere.
    pub(super) explained: CpuNanos,
    pub(super) residue: Residue,
    /// Processes seen here in this scan whose time came from ticks.
    pub(super) in_ticks: u64,
    /// Package of the process seen here last; a counter of the cgroup names none.
    pub(super) package: PackageId,
    /// Sums over the watched cgroups below, remade at each settlement.
    pub(super) explained_below: CpuNanos,
    /// Not to be paid here yet: what ticks may hide below, and what is left to cgroups below that were not read yet.
    pub(super) withheld_below: CpuNanos,
}

impl Group {
    pub(super) fn new(path: &str, folder: PathBuf, above: Vec<CgroupId>, base: Option<CpuNanos>) -> Self {
        Self {
            path: path.to_owned(),
            folder,
            above,
            parent: None,
            base,
            usage: None,
            explained: CpuNanos::ZERO,
            residue: Residue::default(),
            in_ticks: 0,
            package: PackageId(0),
            explained_below: CpuNanos::ZERO,
            withheld_below: CpuNanos::ZERO,
        }
    }

    pub(super) fn counts(&self) -> bool {
        self.base.is_some() && self.usage.is_some()
    }
    /// Takes back what was explained and cannot have run here: the counter, which was read after, does not have it, nor do
    /// `below`, of which it has that much. (A move explains time in both cgroups.) What was paid too much as residue stays, and
    /// holds the next one back. Returns how much of the counter is accounted for, for the one above.
    pub(super) fn trim(&mut self, below: CpuNanos) -> CpuNanos {
        let (Some(base), Some(usage)) = (self.base, self.usage) else {
            return CpuNanos::ZERO;
        };
        let ran = usage.saturating_sub(base);
        self.explained = self.explained.min((ran + CUT).saturating_sub(below));
        (below + self.explained + self.residue.total()).min(ran)
    }
}
