// SPDX-License-Identifier: Apache-2.0
//! What everybody who ran in a window weighs by each plain feature, socket by socket: worked out once for all zones.
//!
//! Nearly every payment is for this window's own time, on one socket, by one plain feature; two zones of a socket often
//! share that feature. So the weights lie ready in columns, with their sums, and a split only reads them. Whatever is
//! different (a zone that was late, a device, learned weights) goes the long way, over rises.

use super::accounts::{AccountId, Delta};
use super::feature::{Counted, Smt};
use super::rise::Rise;
use crate::model::{Feature, PackageId};

/// The part of one socket.
#[derive(Debug, Default)]
struct Socket {
    package: PackageId,
    ids: Vec<AccountId>,
    time: Column,
    cycles: Column,
    misses: Column,
    /// Positions of those who ran and have no cycles.
    without: Vec<usize>,
    counted: Counted,
}

/// Weights by one feature.
#[derive(Debug, Default)]
struct Column {
    weights: Vec<u64>,
    /// Whether anybody weighs anything.
    weighs: bool,
}

impl Column {
    fn push(&mut self, weight: u64) {
        self.weighs |= weight > 0;
        self.weights.push(weight);
    }

    fn clear(&mut self) {
        self.weights.clear();
        self.weighs = false;
    }
}

/// The columns. Those of a socket that nobody ran on are empty, and keep their room.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    sockets: Vec<Socket>,
}

/// Those who pay for a zone, and their weights in the same order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payers<'a> {
    pub(crate) ids: &'a [AccountId],
    pub(crate) weights: &'a [u64],
    pub(crate) feature: Feature,
}

impl Socket {
    fn clear(&mut self) {
        self.ids.clear();
        self.without.clear();
        self.counted = Counted::default();
        for column in [&mut self.time, &mut self.cycles, &mut self.misses] {
            column.clear();
        }
    }

    fn push(&mut self, id: AccountId, rise: &Rise, smt: Smt) {
        let time = smt.time(rise);
        if rise.cycles == 0 {
            self.without.push(self.ids.len());
        } else {
            self.counted.add(rise);
        }
        self.ids.push(id);
        self.time.push(time);
        self.cycles.push(smt.cycles(rise, time));
        self.misses.push(rise.misses);
    }

    /// Gives those without cycles as many as the others had in the time.
    fn fill_in(&mut self) {
        let pace = self.counted.pace();
        for place in self.without.drain(..) {
            let time = self.time.weights.get(place).copied().unwrap_or(0);
            if let Some(cycles) = self.cycles.weights.get_mut(place) {
                *cycles = pace.cycles_in(time);
            }
        }
    }
}

impl Columns {
    /// Fills the columns with what `deltas` weigh.
    pub(crate) fn fill(&mut self, deltas: &[Delta], smt: Smt) {
        self.sockets.iter_mut().for_each(Socket::clear);
        let mut last = 0;
        for delta in deltas {
            let is_ours = |socket: &Socket| socket.package == delta.package;
            if !self.sockets.get(last).is_some_and(is_ours) {
                last = self.sockets.iter().position(is_ours).unwrap_or_else(|| {
                    self.sockets.push(Socket {
                        package: delta.package,
                        ..Socket::default()
                    });
                    self.sockets.len() - 1
                });
            }
            if let Some(socket) = self.sockets.get_mut(last) {
                socket.push(delta.id, &delta.rise, smt);
            }
        }
        self.sockets.iter_mut().for_each(Socket::fill_in);
    }

    /// Who pays by `wanted` on one socket; by CPU time where nobody weighs anything by it.
    pub(crate) fn payers(&self, wanted: Feature, socket: PackageId) -> Payers<'_> {
        let Some(socket) = self.sockets.iter().find(|known| known.package == socket) else {
            return Payers {
                ids: &[],
                weights: &[],
                feature: Feature::CpuTime,
            };
        };
        let (column, feature) = match wanted {
            Feature::CpuCycles if socket.cycles.weighs => (&socket.cycles, wanted),
            Feature::CacheMisses if socket.misses.weighs => (&socket.misses, wanted),
            _ => (&socket.time, Feature::CpuTime),
        };
        Payers {
            ids: &socket.ids,
            weights: &column.weights,
            feature,
        }
    }
}

/// What each account was charged in each zone of this window, where it went the short way: microjoules of dynamic energy,
/// by the account's place and the zone's.
#[derive(Debug, Default)]
pub(crate) struct Table {
    charges: Vec<u64>,
    zones: usize,
}

impl Table {
    /// Empties it for so many accounts and zones.
    pub(crate) fn begin(&mut self, accounts: usize, zones: usize) {
        self.charges.clear();
        self.charges.resize(accounts.saturating_mul(zones), 0);
        self.zones = zones;
    }

    /// Enters what payers have to pay for one zone.
    pub(crate) fn enter(&mut self, zone: usize, ids: &[AccountId], parts: &[u64]) {
        for (id, part) in ids.iter().zip(parts) {
            let place = id.place() * self.zones + zone;
            if let Some(charge) = self.charges.get_mut(place) {
                *charge = *part;
            }
        }
    }

    /// What an account has to pay, by zone.
    pub(crate) fn of(&self, id: AccountId) -> &[u64] {
        let first = id.place() * self.zones;
        self.charges.get(first..first + self.zones).unwrap_or_default()
    }
}

/// Deltas of one socket or of all, the long way.
pub(crate) fn paying(
    socket: Option<PackageId>,
    deltas: &[Delta],
) -> impl Iterator<Item = (AccountId, Rise)> + Clone {
    deltas
        .iter()
        .filter(move |delta| socket.is_none_or(|socket| socket == delta.package))
        .map(|delta| (delta.id, delta.rise))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::feature::weigh;
    use crate::model::Permille;
    use proptest::prelude::*;

    fn rise() -> impl Strategy<Value = Rise> {
        let some = || prop_oneof![Just(0_u64), 0..5_000_u64];
        (some(), some(), some(), some()).prop_map(|(time, overlap, cycles, misses)| Rise {
            time,
            overlap,
            cycles,
            misses,
            ..Rise::default()
        })
    }

    proptest! {
        #[test]
        fn columns_say_what_the_long_way_says(rises in prop::collection::vec((0..3_u16, rise()), 0..20), socket in 0..4_u16) {
            let deltas: Vec<_> = rises
                .into_iter()
                .map(|(package, rise)| Delta { id: AccountId::default(), row: 0, package: PackageId(package), rise })
                .collect();
            let smt = Smt(Permille(600));
            let mut columns = Columns::default();
            // Nothing is left of another window.
            columns.fill(&deltas, Smt::PLAIN);
            columns.fill(&deltas, smt);
            for wanted in [Feature::CpuTime, Feature::CpuCycles, Feature::CacheMisses] {
                let place = PackageId(socket);
                let (mut ids, mut weights) = (Vec::new(), Vec::new());
                let paying = paying(Some(place), &deltas);
                let (_, feature) = weigh(wanted, smt, paying, &Rise::default(), &mut ids, &mut weights);
                let payers = columns.payers(wanted, place);
                let all_zero = payers.weights.iter().all(|weight| *weight == 0);
                prop_assert_eq!(payers.feature, feature);
                prop_assert!(all_zero && weights.is_empty() || payers.weights == weights);
                prop_assert_eq!(payers.weights.len(), payers.ids.len());
            }
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_account_and_none_beyond() {
        let id = AccountId::default();
        let mut table = Table::default();
        table.begin(1, 3);
        table.enter(1, &[id], &[7]);
        table.enter(2, &[id], &[9]);
        assert_eq!(table.of(id), [0, 7, 9]);
        table.begin(0, 3);
        table.enter(0, &[id], &[7]);
        assert_eq!(table.of(id), [0_u64; 0]);
    }
}
