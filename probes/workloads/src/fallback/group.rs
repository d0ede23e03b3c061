// SPDX-License-Identifier: Apache-2.0
//! One watched cgroup: what its counter says and what of that is explained. Reads no file.

use super::HIDDEN_BY_TICKS;
use super::residue::Residue;
use attribution::model::{CgroupId, CpuNanos, PackageId};
use std::path::PathBuf;

/// What `cpu.stat` may not show yet: it is cut to microseconds, and so is a base.
const CUT: CpuNanos = CpuNanos::from_nanos(1_000);

/// What the cgroups below add up to.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) explained: CpuNanos,
    /// What ticks may hide.
    hidden: CpuNanos,
    /// What is left to those that are unread.
    pending: CpuNanos,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.explained += more.explained;
        self.hidden += more.hidden;
        self.pending += more.pending;
    }
}

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
    pub(super) below: Sums,
    /// Of one that is read for the first time in the next drain: what is left to pay by then.
    pending: CpuNanos,
    /// What is unpaid is less than is pending below.
    pub(super) short: bool,
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
            below: Sums::default(),
            pending: CpuNanos::ZERO,
            short: false,
        }
    }

    pub(super) fn counts(&self) -> bool {
        self.base.is_some() && self.usage.is_some()
    }

    /// Whether its counter is wanted at the settlement, for want of a reading before the scan.
    pub(super) fn is_unread(&self) -> bool {
        self.base.is_none() || self.usage.is_none()
    }

    /// Works out what is left; `sight` is the counter of one that is unread. Returns what was added to the residue, and the
    /// sums for the one above.
    pub(super) fn settle(&mut self, sight: Option<CpuNanos>) -> (CpuNanos, Sums) {
        let below = std::mem::take(&mut self.below);
        let explained = self.explained + below.explained;
        let in_ticks = HIDDEN_BY_TICKS.as_nanos().saturating_mul(self.in_ticks);
        let hidden = below.hidden + CpuNanos::from_nanos(in_ticks);
        let (mut added, mut pending) = (CpuNanos::ZERO, below.pending);
        match (self.base, self.usage) {
            (Some(base), Some(usage)) => {
                let rest = usage.saturating_sub(base + explained + self.residue.total() + hidden);
                self.short = rest < pending;
                added = rest.saturating_sub(pending);
                if !added.is_zero() {
                    self.residue.add(self.package, added);
                }
            }
            // It was made since `open`, and is its own to pay from the next drain on.
            (Some(base), None) => {
                let ran = sight.unwrap_or_default().saturating_sub(base);
                self.pending = ran.saturating_sub(explained + hidden);
                pending = pending.max(self.pending);
            }
            // It existed at `open` and nobody was seen in it until now: what it counted so far is not ours to pay.
            // Where the counter cannot be read it has no residue, and the next settlement tries again.
            (None, _) => {
                self.usage = sight;
                self.base = sight.map(|usage| usage.saturating_sub(explained + pending));
            }
        }
        let explained = explained + self.residue.total();
        (
            added,
            Sums {
                explained,
                hidden,
                pending,
            },
        )
    }

    /// The one above has less unpaid than what this one, unread, would pay: it paid before anybody was seen here, or pays
    /// when it is read again. So it is left to it.
    pub(super) fn leave_pending(&mut self) {
        if let (Some(base), None) = (self.base, self.usage) {
            self.base = Some(base + std::mem::take(&mut self.pending));
            self.short = true;
        }
    }

    /// Takes back what was explained and cannot have run here: the counter, which was read after, does not have it, nor do
    /// those below, of whom it has `below`. (A move explains time in both cgroups.) What was paid too much as residue stays,
    /// and holds the next one back. Returns how much of the counter is accounted for and what was taken back: the counter
    /// above may have that all the same, where it is in the base here and not there.
    pub(super) fn trim(&mut self, below: CpuNanos) -> (CpuNanos, CpuNanos) {
        let (Some(base), Some(usage)) = (self.base, self.usage) else {
            return (CpuNanos::ZERO, CpuNanos::ZERO);
        };
        let ran = usage.saturating_sub(base);
        let held = self.explained.min((ran + CUT).saturating_sub(below));
        let surplus = self.explained.saturating_sub(held);
        self.explained = held;
        ((below + held + self.residue.total()).min(ran), surplus)
    }
}
