// SPDX-License-Identifier: Apache-2.0
//! Bytes to entries: the mirror of the encoder, and the one who trusts nobody.

use super::entry::Entry;
use super::fault::Garbled;
use super::names::Names;
use super::wire::{Code, In, budget};
use super::{Moment, energy, identity, kind, usage};
use crate::model::{Energy, Identity, MonotonicNanos, Report, Section, SourceId, TickId, Usage};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Most sources that report. There are a dozen in the house.
const MOST_SOURCES: usize = 64;
/// Most memory that the newest reports of all sources may take.
const MOST_ENERGY: usize = 64 << 20;

/// Reads entries.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    names: Names,
    moment: Moment,
    usage: Arc<Usage>,
    identity: Option<Arc<Identity>>,
    weight: usize,
    /// The newest report of each source, and what it takes.
    energies: HashMap<SourceId, (Energy, usize)>,
    dropped: Vec<(&'static str, u64)>,
}

impl Decoder {
    /// Reads the first entry of `bytes` and moves on behind it. `memory` is the budget of its frame.
    pub(super) fn read(&mut self, bytes: &mut &[u8], memory: &mut usize) -> Result<Entry, Garbled> {
        let mut names = std::mem::take(&mut self.names);
        let mut from = In::new(bytes, &mut names, memory);
        let entry = self.entry(&mut from);
        let left = from.left();
        self.names = names;
        *bytes = bytes.get(bytes.len().saturating_sub(left)..).unwrap_or_default();
        entry
    }

    fn entry(&mut self, from: &mut In<'_>) -> Result<Entry, Garbled> {
        Ok(match from.byte()? {
            kind::BEGIN => Entry::Begin(Code::take(from)?),
            kind::EXPECT => Entry::Expect(Code::take(from)?),
            kind::EXPECT_SOURCE => Entry::ExpectSource(Code::take(from)?),
            kind::OPEN => self.open(from)?,
            kind::USAGE => Entry::Usage(self.usage(from)?),
            kind::IDENTITY => Entry::Identity(self.identity(from)?),
            kind::TALLIES => Entry::Tallies(Code::take(from)?),
            kind::SLEPT => Entry::Slept {
                total: Duration::from_nanos(from.number()?),
            },
            kind::DESCRIBE => Entry::Describe {
                source: Code::take(from)?,
                detail: Code::take(from)?,
            },
            kind::ENERGY => self.energy(from)?,
            kind::CLOSE => self.close(from)?,
            kind::GAP => Entry::Gap {
                missing: from.number()?,
            },
            kind::END => Entry::End,
            _ => return Err(Garbled("an unknown kind of entry")),
        })
    }

    fn open(&mut self, from: &mut In<'_>) -> Result<Entry, Garbled> {
        let tick = TickId(from.step(self.moment.tick.0)?);
        let at = MonotonicNanos::from_nanos(from.step(self.moment.opened.as_nanos())?);
        let deadline = MonotonicNanos::from_nanos(from.step(at.as_nanos())?);
        (self.moment.tick, self.moment.opened) = (tick, at);
        Ok(Entry::Open { tick, at, deadline })
    }

    fn close(&mut self, from: &mut In<'_>) -> Result<Entry, Garbled> {
        let at = MonotonicNanos::from_nanos(from.step(self.moment.opened.as_nanos())?);
        if bool::take(from)? {
            self.dropped = Code::take(from)?;
        } else {
            from.spend(size_of_val(self.dropped.as_slice()))?;
        }
        Ok(Entry::Close {
            at,
            dropped: self.dropped.clone(),
        })
    }

    /// What every report begins with; its body comes after.
    fn report(&self, from: &mut In<'_>) -> Result<Report<()>, Garbled> {
        let tick = TickId(from.step(self.moment.tick.0)?);
        let reporter = Code::take(from)?;
        let began = MonotonicNanos::from_nanos(from.step(self.moment.opened.as_nanos())?);
        let ended = MonotonicNanos::from_nanos(from.step(began.as_nanos())?);
        Ok(Report {
            tick,
            reporter,
            section: Section { began, ended },
            body: (),
        })
    }

    fn usage(&mut self, from: &mut In<'_>) -> Result<Report<Arc<Usage>>, Garbled> {
        let report = self.report(from)?;
        self.usage = Arc::new(usage::take(from, &self.usage)?);
        Ok(with(report, Arc::clone(&self.usage)))
    }

    fn identity(&mut self, from: &mut In<'_>) -> Result<Report<Arc<Identity>>, Garbled> {
        let report = self.report(from)?;
        let before = self.identity.take().unwrap_or_default();
        let identity = match bool::take(from)? {
            true => before,
            false => {
                let mut identity = Arc::unwrap_or_clone(before);
                identity::take(from, &mut identity, &mut self.weight)?;
                Arc::new(identity)
            }
        };
        self.identity = Some(Arc::clone(&identity));
        Ok(with(report, identity))
    }

    fn energy(&mut self, from: &mut In<'_>) -> Result<Entry, Garbled> {
        let report = self.report(from)?;
        let source: SourceId = Code::take(from)?;
        let memory = from.memory();
        let nothing = (Energy::default(), 0);
        let (before, _) = self.energies.get(&source).unwrap_or(&nothing);
        let body = energy::take(from, before, report.section.began)?;
        let spent = memory.saturating_sub(from.memory());
        self.energies.insert(source, (body.clone(), spent));
        let held: usize = self.energies.values().map(|(_, spent)| spent).sum();
        if self.energies.len() > MOST_SOURCES || held > MOST_ENERGY {
            return Err(Garbled("more sources than any node has"));
        }
        Ok(Entry::Energy {
            source,
            report: with(report, body),
        })
    }
}

/// The same report with its body.
fn with<T>(report: Report<()>, body: T) -> Report<T> {
    Report {
        tick: report.tick,
        reporter: report.reporter,
        section: report.section,
        body,
    }
}

/// The budget of a frame.
pub(super) const fn memory() -> usize {
    budget()
}
