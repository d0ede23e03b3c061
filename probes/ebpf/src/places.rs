// SPDX-License-Identifier: Apache-2.0
//! The rows of one task by cgroup and package, which of them is home, and which may leave. What a row holds is its owner's.
//!
//! Pure: no system call, no clock.

use crate::listing::{Listing, Moment, Turn};
use attribution::model::CgroupId;
use std::time::Duration;

/// Where time belongs, beside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup: u64,
    /// Package of the CPU.
    pub(crate) package: u32,
}

impl Place {
    /// The root cgroup is there as long as the machine, and its row holds what fitted nowhere, too: it never leaves.
    pub(crate) const fn may_leave(self) -> bool {
        self.cgroup != CgroupId::ROOT.0
    }
}

/// What one task did in one place.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    pub(crate) place: Place,
    pub(crate) listing: Listing,
    pub(crate) held: T,
}

/// All that one task did.
#[derive(Debug)]
pub(crate) struct ByPlace<T> {
    /// By place, in this order. Most tasks have one; one that goes from cgroup to cgroup has many, and newer cgroups have
    /// higher numbers.
    rows: Vec<Placed<T>>,
    /// The cgroup in which it ran last: what it has there is listed as long as it lives, however long it sleeps.
    home: u64,
    /// When that was, by the clock of whoever says so.
    home_at_ns: u64,
}

impl<T> ByPlace<T> {
    /// No rows yet, of a task that is at `home`.
    pub(crate) const fn new(home: u64) -> Self {
        Self {
            rows: Vec::new(),
            home,
            home_at_ns: 0,
        }
    }

    /// All rows, in the order of their places.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Placed<T>> {
        self.rows.iter()
    }

    /// The row of `place`, where there is one.
    pub(crate) fn get(&self, place: Place) -> Option<&Placed<T>> {
        self.rows.get(self.find(place).ok()?)
    }

    /// The row of `place`, where there is one.
    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut Placed<T>> {
        let at = self.find(place).ok()?;
        self.rows.get_mut(at)
    }

    /// The row of `place`, made with what is `new` where there is none.
    pub(crate) fn of(&mut self, place: Place, new: impl FnOnce() -> T) -> &mut Placed<T> {
        let at = self.find(place).unwrap_or_else(|at| {
            let row = Placed {
                place,
                listing: Listing::new(),
                held: new(),
            };
            self.rows.insert(at, row);
            at
        });
        #[expect(clippy::indexing_slicing, reason = "found or inserted just now")]
        &mut self.rows[at]
    }

    /// It ran in `cgroup`, `at_ns`; whether that is the first time since the last report. Clocks of other CPUs may be behind.
    pub(crate) const fn ran_in(&mut self, cgroup: u64, at_ns: u64, first: bool) {
        if first || at_ns >= self.home_at_ns {
            (self.home, self.home_at_ns) = (cgroup, at_ns);
        }
    }

    /// Whether anything came that was in no report yet.
    pub(crate) fn rose(&self) -> bool {
        self.rows.iter().any(|row| row.listing.rose())
    }

    /// Says of each row what a report means for it. Rows are listed for `keep` after their last rise; those of a task that has
    /// `ended` stay until it leaves as a whole.
    pub(crate) fn list(
        &mut self,
        now: &Moment,
        keep: Duration,
        ended: bool,
        mut each: impl FnMut(&mut Placed<T>, Turn),
    ) {
        let lets_go = !ended && self.lets_go();
        let mut over = false;
        for row in &mut self.rows {
            let may_leave = lets_go && row.place.cgroup != self.home;
            let turn = row.listing.turn(now, keep, may_leave);
            over |= turn == Turn::Over;
            each(row, turn);
        }
        if over {
            self.rows.retain(|row| !row.listing.is_over(now));
        }
    }

    /// Not while the row of its home is kept back, or a task that lives would be in no report.
    fn lets_go(&self) -> bool {
        let is_home = |row: &Placed<T>| row.place.cgroup == self.home && !row.listing.is_away();
        self.rows.len() > 1 && self.rows.iter().any(is_home)
    }

    fn find(&self, place: Place) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&place, |row| row.place)
    }
}
