// SPDX-License-Identifier: Apache-2.0
//! RAPL as software sees it: a counter that moves about once a millisecond, in units, and wraps after 32 bits.

use crate::rng::{Rng, mix};
use crate::tasks::{MS, Nanos};
use std::collections::VecDeque;

/// Between two updates of the counter: 1/1024 s.
const UPDATE: Nanos = 976_562;
/// An update comes up to so much late.
const JITTER: u64 = 50_000;
/// How far back a reading can have to look: one update and its jitter, with room.
const PAST: Nanos = 4 * MS;

/// One RAPL domain.
#[derive(Clone, Debug)]
pub struct Rapl {
    /// Joules per count.
    unit: f64,
    idle: f64,
    seed: u64,
    /// Energy since the beginning at moments not long ago; straight in between.
    knots: VecDeque<(Nanos, f64)>,
    /// Counts that the register held when it was last set.
    set_to: f64,
    set_at: f64,
    /// The register goes to zero then (a driver that is loaded again, a resume from sleep).
    pub resets: Option<Nanos>,
    /// Cannot be read from the first to the second moment.
    pub gap: Option<(Nanos, Nanos)>,
}

/// A reading.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// `energy_uj`.
    pub microjoules: u64,
    /// `max_energy_range_uj`.
    pub range: u64,
}

impl Rapl {
    /// A package: units of 2^-14 J.
    #[must_use]
    pub fn package(idle: f64, rng: Rng) -> Self {
        Self::new(1.0 / 16_384.0, idle, rng)
    }

    /// Memory of a server: units of 15.3 µJ.
    #[must_use]
    pub fn dram(idle: f64, rng: Rng) -> Self {
        Self::new(15.3e-6, idle, rng)
    }

    fn new(unit: f64, idle: f64, mut rng: Rng) -> Self {
        let seed = rng.next();
        let mut rapl = Self {
            unit,
            idle,
            seed,
            knots: VecDeque::from([(0, 0.0)]),
            set_to: 0.0,
            set_at: 0.0,
            resets: None,
            gap: None,
        };
        // Anywhere, but so that nothing wraps that is not meant to.
        rapl.begin_at(rng.below(1 << 31) as f64);
        rapl
    }

    /// The register holds so many counts now.
    pub fn begin_at(&mut self, counts: f64) {
        self.set_to = counts;
        self.set_at = self.total();
    }

    /// The register wraps after so many more joules.
    pub fn wrap_after(&mut self, joules: f64) {
        self.begin_at(4_294_967_296.0 - joules / self.unit);
    }

    /// Joules since the beginning, the true ones.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.knots.back().map_or(0.0, |(_, joules)| *joules)
    }

    /// Power of its floor.
    #[must_use]
    pub const fn idle(&self) -> f64 {
        self.idle
    }

    /// Draws so many watts at rest, from the beginning.
    pub const fn rest_at(&mut self, watts: f64) {
        self.idle = watts;
    }

    /// `joules` above the floor were used since it was last told, until `now`.
    pub fn draw(&mut self, now: Nanos, joules: f64) {
        let Some((then, total)) = self.knots.back().copied() else {
            return;
        };
        let total = total + joules + self.idle * ((now - then) as f64 / 1e9);
        self.knots.push_back((now, total));
        while self.knots.get(1).is_some_and(|(at, _)| *at + PAST < now) {
            self.knots.pop_front();
        }
    }

    /// Joules since the beginning at a moment not long ago.
    fn at(&self, moment: Nanos) -> f64 {
        let after = self.knots.iter().position(|(at, _)| *at >= moment);
        match after {
            None => self.total(),
            Some(0) => self.knots[0].1,
            Some(after) => {
                let ((t0, e0), (t1, e1)) = (self.knots[after - 1], self.knots[after]);
                e0 + (e1 - e0) * ((moment - t0) as f64 / (t1 - t0).max(1) as f64)
            }
        }
    }

    /// The newest update at `now`.
    fn updated(&self, now: Nanos) -> Nanos {
        let when = |turn: u64| turn * UPDATE + mix(self.seed ^ turn) % JITTER;
        let turn = now / UPDATE;
        [turn, turn.saturating_sub(1)]
            .map(when)
            .into_iter()
            .find(|at| *at <= now)
            .unwrap_or(0)
    }

    /// Reads at `now`, until which [`Self::draw`] was told. `None` while the counter cannot be read.
    pub fn read(&mut self, now: Nanos) -> Option<Reading> {
        if self.resets.take_if(|at| *at <= now).is_some() {
            self.begin_at(0.0);
        }
        if self.gap.is_some_and(|(from, to)| (from..to).contains(&now)) {
            return None;
        }
        let energy = (self.at(self.updated(now)) - self.set_at).max(0.0);
        let counts = (self.set_to + energy / self.unit).floor() % 4_294_967_296.0;
        Some(Reading {
            microjoules: (counts * self.unit * 1e6) as u64,
            range: (4_294_967_295.0 * self.unit * 1e6) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::S;

    #[test]
    fn a_reading_is_at_most_an_update_old_and_a_whole_number_of_units() {
        let mut rapl = Rapl::package(20.0, Rng::new(1));
        rapl.begin_at(0.0);
        let mut now = 0;
        for step in 1..2_000_u64 {
            now = step * 777_777;
            rapl.draw(now, 0.0);
            let read = rapl.read(now).unwrap().microjoules as f64 / 1e6;
            let late = rapl.total() - read;
            assert!((-1e-6..20.0 * 0.0011 + 7e-5).contains(&late), "{late}");
        }
        assert!((rapl.total() - 20.0 * now as f64 / S as f64).abs() < 1e-6);
    }

    #[test]
    fn it_wraps_where_powercap_says() {
        let mut rapl = Rapl::package(100.0, Rng::new(1));
        rapl.wrap_after(50.0);
        let before = rapl.read(0).unwrap();
        rapl.draw(S, 0.0);
        let after = rapl.read(S).unwrap();
        assert!(after.microjoules < before.microjoules);
        let stepped = before.range + 61 - before.microjoules + after.microjoules;
        assert!((stepped as f64 / 1e6 - 100.0).abs() < 0.2, "{stepped}");
    }

    #[test]
    fn a_reset_begins_at_zero_and_a_gap_has_no_reading() {
        let mut rapl = Rapl::package(100.0, Rng::new(1));
        rapl.resets = Some(2 * S);
        rapl.gap = Some((3 * S, 4 * S));
        rapl.draw(2 * S, 0.0);
        assert!(rapl.read(2 * S).unwrap().microjoules < 1_000);
        assert!(rapl.read(3 * S).is_none());
    }
}
