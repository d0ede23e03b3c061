// SPDX-License-Identifier: Apache-2.0
//! What everybody who ran in a window weighs by each plain feature, socket by socket: worked out once for all zones.
//!
//! Nearly every payment is for this window's own time, on one socket, by one plain feature; two zones of a socket often
//! share that feature. So the weights lie ready in columns, with their sums, and a split only reads them. Whatever is
//! different (a zone that was late, a device, learned weights) goes the long way, over rises.

use super::accounts::{AccountId, Delta};
use super::feature::{Counted, Smt};
use super::rise::Rise;
use super::share::{Scratch, largest_remainder};
use crate::model::{Feature, Microjoules, PackageId};

/// The part of one socket.
#[derive(Debug, Default)]
struct Socket {
    package: PackageId,
    rows: usize,
    time: Column,
    cycles: Column,
    misses: Column,
    /// Positions of those who ran and have no cycles.
    without: Vec<usize>,
    counted: Counted,
    /// Payments of this window, and room of earlier ones behind them.
    charged: Vec<Charged>,
    payments: usize,
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

/// What those of one socket have to pay for one zone, in the order of its columns.
#[derive(Debug, Default)]
struct Charged {
    zone: usize,
    parts: Vec<u64>,
}

/// What one account has to pay for this window's zones, where that went the short way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    charged: &'a [Charged],
    place: usize,
}

impl<'a> Line<'a> {
    /// Zones and dynamic microjoules.
    pub(crate) fn charges(self) -> impl Iterator<Item = (usize, u64)> + 'a {
        let part = move |charged: &Charged| Some((charged.zone, *charged.parts.get(self.place)?));
        self.charged.iter().filter_map(part)
    }
}

impl Socket {
    fn clear(&mut self) {
        self.rows = 0;
        self.without.clear();
        self.payments = 0;
        self.counted = Counted::default();
        for column in [&mut self.time, &mut self.cycles, &mut self.misses] {
            column.clear();
        }
    }

    fn push(&mut self, rise: &Rise, smt: Smt) {
        let time = smt.time(rise);
        if rise.cycles == 0 {
            self.without.push(self.rows);
        } else {
            self.counted.add(rise);
        }
        self.rows += 1;
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
    /// Fills the columns with what `deltas` weigh, and tells each its place.
    pub(crate) fn fill(&mut self, deltas: &mut [Delta], smt: Smt) {
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
                delta.place = socket.rows;
                socket.push(&delta.rise, smt);
            }
        }
        self.sockets.iter_mut().for_each(Socket::fill_in);
    }

    /// Splits the energy of a zone over those who ran on its socket, by `wanted`, or by CPU time where nobody weighs
    /// anything by it; returns nobody's part and the feature that it went by.
    pub(crate) fn split(
        &mut self,
        zone: usize,
        package: PackageId,
        wanted: Feature,
        dynamic: Microjoules,
        scratch: &mut Scratch,
    ) -> (Microjoules, Feature) {
        let Some(socket) = self.sockets.iter_mut().find(|socket| socket.package == package) else {
            return (dynamic, Feature::CpuTime);
        };
        let (weights, feature) = match wanted {
            Feature::CpuCycles if socket.cycles.weighs => (&socket.cycles.weights, wanted),
            Feature::CacheMisses if socket.misses.weighs => (&socket.misses.weights, wanted),
            _ => (&socket.time.weights, Feature::CpuTime),
        };
        if socket.charged.len() == socket.payments {
            socket.charged.push(Charged::default());
        }
        let Some(charged) = socket.charged.get_mut(socket.payments) else {
            return (dynamic, feature);
        };
        socket.payments += 1;
        charged.zone = zone;
        let nobody = largest_remainder(dynamic.as_micro(), weights, &mut charged.parts, scratch);
        (Microjoules::from_micro(nobody), feature)
    }

    /// The `deltas` that the columns were filled with, each with what its account has to pay.
    pub(crate) fn lines<'a>(&'a self, deltas: &'a [Delta]) -> impl Iterator<Item = (&'a Delta, Line<'a>)> {
        let nobody: &[Charged] = &[];
        deltas.iter().map(move |delta| {
            let socket = self.sockets.iter().find(|socket| socket.package == delta.package);
            let charged = socket.and_then(|socket| socket.charged.get(..socket.payments));
            let line = Line {
                charged: charged.unwrap_or(nobody),
                place: delta.place,
            };
            (delta, line)
        })
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
        fn columns_say_what_the_long_way_says(rises in prop::collection::vec((0..3_u16, rise()), 0..20), socket in 0..4_u16, energy in 0..1_000_000_u64) {
            let energy = Microjoules::from_micro(energy);
            let mut deltas: Vec<_> = rises
                .into_iter()
                .map(|(package, rise)| Delta { id: AccountId::default(), row: 0, place: 0, package: PackageId(package), rise })
                .collect();
            let smt = Smt(Permille(600));
            let (mut columns, mut scratch) = (Columns::default(), Scratch::default());
            // Nothing is left of another window.
            columns.fill(&mut deltas, Smt::PLAIN);
            columns.split(9, PackageId(socket), Feature::CpuTime, energy, &mut scratch);
            columns.fill(&mut deltas, smt);
            for (zone, wanted) in [Feature::CpuTime, Feature::CpuCycles, Feature::CacheMisses].into_iter().enumerate() {
                let place = PackageId(socket);
                let (mut ids, mut weights, mut parts) = (Vec::new(), Vec::new(), Vec::new());
                let paying = paying(Some(place), &deltas);
                let (_, feature) = weigh(wanted, smt, paying, &Rise::default(), &mut ids, &mut weights);
                let nobody = largest_remainder(energy.as_micro(), &weights, &mut parts, &mut scratch);
                let short = columns.split(zone, place, wanted, energy, &mut scratch);
                prop_assert_eq!(short, (Microjoules::from_micro(nobody), feature));
                let charges = columns.lines(&deltas).filter(|(delta, _)| delta.package == place);
                let charges: Vec<u64> = charges
                    .map(|(_, line)| line.charges().find(|(of, _)| *of == zone).map_or(0, |(_, part)| part))
                    .collect();
                let all_zero = charges.iter().all(|part| *part == 0);
                prop_assert!(all_zero && parts.is_empty() || charges == parts);
            }
            let elsewhere = columns.lines(&deltas).filter(|(delta, _)| delta.package != PackageId(socket));
            prop_assert_eq!(elsewhere.map(|(_, line)| line.charges().count()).sum::<usize>(), 0);
        }
    }
}
