// SPDX-License-Identifier: Apache-2.0
//! Zones of a recording with totals of their own: owns that none of them ever falls, also when the recording begins again.

use attribution::model::{Component, Energy, Microjoules, MonotonicNanos, SourceId, Zone, ZoneReading};

/// One zone.
#[derive(Debug)]
struct Track {
    /// Whose zone it is: of two sources that have the same zone the first one counts.
    source: SourceId,
    /// What is told.
    told: ZoneReading,
    /// Recorded totals that are paid, in this round.
    paid: Option<(Microjoules, Option<Microjoules>)>,
    /// Whether its source had it in the newest report.
    up: bool,
}

/// All zones that were met. Bounded by what one recorded report of each source holds.
#[derive(Debug, Default)]
pub(super) struct Tracks(Vec<Track>);

/// Most zones that are followed. Machines have dozens.
const MOST: usize = 4096;

impl Tracks {
    /// Takes a recorded report, of which only `wanted` components count. `live` turns a recorded moment into one of today.
    pub(super) fn take(
        &mut self,
        source: SourceId,
        energy: Energy,
        wanted: &[Component],
        live: impl Fn(MonotonicNanos) -> MonotonicNanos,
    ) {
        let own = self.0.iter_mut().filter(|track| track.source == source);
        own.for_each(|track| track.up = false);
        for reading in energy.zones {
            if !wanted.contains(&reading.zone.component) {
                continue;
            }
            let reading = ZoneReading {
                at: live(reading.at),
                ..reading
            };
            let has_room = self.0.len() < MOST;
            match self.0.iter_mut().find(|track| track.told.zone == reading.zone) {
                Some(track) if track.source == source => track.advance(&reading),
                // The same zone by another meter: counted once.
                Some(_) => {}
                None if has_room => self.0.push(Track::new(source, reading)),
                None => {}
            }
        }
    }

    /// The recording begins again: its totals are below those that were paid, and go on from there.
    pub(super) fn begin_again(&mut self) {
        self.0.iter_mut().for_each(|track| track.paid = None);
    }

    /// What is told now.
    pub(super) fn readings(&self) -> Vec<ZoneReading> {
        let up = self.0.iter().filter(|track| track.up);
        up.map(|track| track.told.clone()).collect()
    }

    /// Names of all zones that were met.
    pub(super) fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.0.iter().map(|track| &track.told.zone)
    }
}

impl Track {
    /// Totals begin at nothing: what was counted before the recording is nobody's here.
    fn new(source: SourceId, reading: ZoneReading) -> Self {
        let paid = Some((reading.total, reading.idle));
        let told = ZoneReading {
            total: Microjoules::ZERO,
            idle: reading.idle.map(|_| Microjoules::ZERO),
            // Who used a device is known by pids of another day.
            device: None,
            ..reading
        };
        Self {
            source,
            told,
            paid,
            up: true,
        }
    }

    fn advance(&mut self, reading: &ZoneReading) {
        let (total, idle) = self.paid.unwrap_or((reading.total, reading.idle));
        self.told.total += reading.total.saturating_sub(total);
        self.told.idle = match (self.told.idle, reading.idle, idle) {
            (Some(told), Some(now), Some(then)) => Some(told + now.saturating_sub(then)),
            (told, now, _) => now.map(|_| told.unwrap_or_default()),
        };
        self.told.provenance = reading.provenance;
        // A reading that a slow meter repeats at the beginning of a round is about a moment of the round before.
        self.told.at = self.told.at.max(reading.at);
        self.paid = Some((reading.total, reading.idle));
        self.up = true;
    }
}
