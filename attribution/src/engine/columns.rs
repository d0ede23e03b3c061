// SPDX-License-Identifier: Apache-2.0
//! What everybody who ran in a window weighs by each plain feature, socket by socket: worked out once for all zones.
//!
//! Nearly every payment is for this window's own time, on one socket, by one plain feature; two zones of a socket often
//! share that feature. So the weights lie ready in columns, with their sums, and a split only reads them. Whatever is
//! different (a zone that was late, a device, learned weights) goes the long way, over rises.

use super::accounts::{AccountId, Delta};
use super::feature::{Pace, Weighing, weight};
use super::rise::Rise;
use crate::model::{Feature, PackageId};
use std::ops::Range;

/// Features that have a column.
const PLAIN: [Feature; 3] = [Feature::CpuTime, Feature::CpuCycles, Feature::CacheMisses];

/// The part of one socket.
#[derive(Clone, Debug)]
struct Socket {
    package: PackageId,
    rows: Range<usize>,
    /// Whether anybody weighs anything, by feature.
    weighs: [bool; PLAIN.len()],
}

/// The columns.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    ids: Vec<AccountId>,
    weights: [Vec<u64>; PLAIN.len()],
    sockets: Vec<Socket>,
}

/// Those who pay for a zone, and their weights in the same order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payers<'a> {
    pub(crate) ids: &'a [AccountId],
    pub(crate) weights: &'a [u64],
    pub(crate) feature: Feature,
}

impl Columns {
    /// Fills the columns with what `deltas` weigh.
    pub(crate) fn fill(&mut self, deltas: &[Delta], by: Weighing<'_>) {
        self.ids.clear();
        self.weights.iter_mut().for_each(Vec::clear);
        self.sockets.clear();
        for delta in deltas {
            if !self.sockets.iter().any(|socket| socket.package == delta.package) {
                self.sockets.push(Socket {
                    package: delta.package,
                    rows: 0..0,
                    weighs: [false; PLAIN.len()],
                });
            }
        }
        for socket in &mut self.sockets {
            let ours = || deltas.iter().filter(|delta| delta.package == socket.package);
            let wants_pace = by.counted.has(crate::model::Event::CpuCycles);
            let pace = if wants_pace {
                Pace::of(ours().map(|delta| delta.rise))
            } else {
                Pace::default()
            };
            let first = self.ids.len();
            self.ids.extend(ours().map(|delta| delta.id));
            let columns = PLAIN.into_iter().zip(&mut self.weights).zip(&mut socket.weighs);
            for ((feature, column), weighs) in columns {
                column.extend(ours().map(|delta: &Delta| weight(feature, by.smt, pace, &delta.rise)));
                let own = column.get(first..).unwrap_or_default();
                *weighs = own.iter().any(|weight| *weight > 0);
            }
            socket.rows = first..self.ids.len();
        }
    }

    /// Who pays by `wanted`, on one socket or on all; by CPU time where nobody weighs anything by it.
    pub(crate) fn payers(&self, wanted: Feature, socket: Option<PackageId>) -> Payers<'_> {
        let ours = |known: &&Socket| socket.is_none_or(|socket| socket == known.package);
        let column = |feature: Feature| PLAIN.iter().position(|plain| *plain == feature);
        let weighs = |column: usize| {
            let mut ours = self.sockets.iter().filter(ours);
            ours.any(|socket| socket.weighs.get(column).copied().unwrap_or(false))
        };
        let (feature, place) = column(wanted)
            .filter(|place| weighs(*place))
            .map_or((Feature::CpuTime, 0), |place| (wanted, place));
        let mut ours = self.sockets.iter().filter(ours);
        let rows = match (socket, ours.next()) {
            (None, _) => 0..self.ids.len(),
            (Some(_), Some(socket)) => socket.rows.clone(),
            (Some(_), None) => 0..0,
        };
        let weights = self
            .weights
            .get(place)
            .and_then(|column| column.get(rows.clone()));
        Payers {
            ids: self.ids.get(rows).unwrap_or_default(),
            weights: weights.unwrap_or_default(),
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
    use crate::engine::feature::{Smt, SplitRules, weigh};
    use crate::model::{Event, EventSet};
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
                .map(|(package, rise)| Delta { id: AccountId::default(), package: PackageId(package), rise })
                .collect();
            let counted = EventSet::NONE.with(Event::CpuCycles).with(Event::CacheMisses);
            let (rules, smt) = (SplitRules::default(), Smt(crate::model::Permille(600)));
            let mut columns = Columns::default();
            columns.fill(&deltas, Weighing { rules: &rules, counted, smt });
            for wanted in PLAIN {
                let place = Some(PackageId(socket));
                let (mut ids, mut weights) = (Vec::new(), Vec::new());
                let (_, feature) = weigh(wanted, smt, paying(place, &deltas), &Rise::default(), &mut ids, &mut weights);
                let payers = columns.payers(wanted, place);
                let all_zero = payers.weights.iter().all(|weight| *weight == 0);
                prop_assert_eq!(payers.feature, feature);
                prop_assert!(all_zero && weights.is_empty() || payers.weights == weights);
                prop_assert_eq!(columns.payers(wanted, None).ids.len(), deltas.len());
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
