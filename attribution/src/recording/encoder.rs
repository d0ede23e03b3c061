// SPDX-License-Identifier: Apache-2.0
//! Entries to bytes: owns what was said before, which is what the next entry is written against.

use super::entry::Entry;
use super::usage::MOST_ROWS;
use super::wire::{Code, Out};
use super::{MAGIC, Moment, VERSION, energy, frame, identity, kind, usage};
use crate::model::{Energy, Identity, Report, SourceId, Tally, Usage};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Writes entries. Holds the newest report of each reporter and nothing older.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Out,
    moment: Moment,
    usage: Usage,
    identity: Option<Arc<Identity>>,
    energies: HashMap<SourceId, Energy>,
    details: HashMap<SourceId, Arc<str>>,
    tallies: Vec<Tally>,
    dropped: Vec<(&'static str, u64)>,
}

/// A report that is bigger than what a recording holds of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this node says more in one window than a recording holds ({MOST_ROWS} rows of usage, or {} MiB)",
            frame::LONGEST_FRAME >> 20
        )
    }
}

impl std::error::Error for TooMuch {}

impl Encoder {
    /// One that has written nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first bytes of every recording.
    #[must_use]
    pub fn head() -> Vec<u8> {
        [MAGIC.as_slice(), &[VERSION]].concat()
    }

    /// Writes an entry into the frame that is open.
    ///
    /// # Errors
    /// When no recording can hold it. The encoder is of no use any more then.
    pub fn write(&mut self, entry: &Entry) -> Result<(), TooMuch> {
        match entry {
            Entry::Begin(beginning) => {
                self.out.byte(kind::BEGIN);
                beginning.put(&mut self.out);
            }
            Entry::Expect(reporter) => {
                self.out.byte(kind::EXPECT);
                reporter.put(&mut self.out);
            }
            Entry::ExpectSource(source) => {
                self.out.byte(kind::EXPECT_SOURCE);
                source.put(&mut self.out);
            }
            Entry::Open { tick, at, deadline } => {
                self.out.byte(kind::OPEN);
                self.out.step(tick.0, self.moment.tick.0);
                self.out.step(at.as_nanos(), self.moment.opened.as_nanos());
                self.out.step(deadline.as_nanos(), at.as_nanos());
                (self.moment.tick, self.moment.opened) = (*tick, *at);
            }
            Entry::Usage(report) => self.usage(report)?,
            Entry::Identity(report) => self.identity(report),
            Entry::Tallies(tallies) => self.tallies(tallies),
            Entry::Slept { total } => {
                self.out.byte(kind::SLEPT);
                self.out
                    .number(u64::try_from(total.as_nanos()).unwrap_or(u64::MAX));
            }
            Entry::Describe { source, detail } => self.describe(*source, detail),
            Entry::Energy { source, report } => self.energy(*source, report),
            Entry::Close { at, dropped } => {
                self.out.byte(kind::CLOSE);
                self.out.step(at.as_nanos(), self.moment.opened.as_nanos());
                let other = *dropped != self.dropped;
                other.put(&mut self.out);
                if other {
                    dropped.put(&mut self.out);
                    self.dropped.clone_from(dropped);
                }
            }
            Entry::Gap { missing } => {
                self.out.byte(kind::GAP);
                self.out.number(*missing);
            }
            Entry::End => self.out.byte(kind::END),
        }
        Ok(())
    }

    /// Closes the frame that is open and adds it to `to`. Nothing is added where nothing was written.
    ///
    /// # Errors
    /// When no recording can hold it. The encoder is of no use any more then.
    pub fn finish_frame(&mut self, to: &mut Vec<u8>) -> Result<(), TooMuch> {
        if self.out.bytes.is_empty() {
            return Ok(());
        }
        frame::wrap(&self.out.bytes, to).ok_or(TooMuch)?;
        self.out.bytes.clear();
        Ok(())
    }

    /// Bytes in the frame that is open.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.out.bytes.len()
    }

    fn report<T>(&mut self, kind: u8, report: &Report<T>) {
        let Report {
            tick,
            reporter,
            section,
            body: _,
        } = report;
        self.out.byte(kind);
        self.out.step(tick.0, self.moment.tick.0);
        reporter.put(&mut self.out);
        self.out
            .step(section.began.as_nanos(), self.moment.opened.as_nanos());
        self.out.step(section.ended.as_nanos(), section.began.as_nanos());
    }

    fn usage(&mut self, report: &Report<Arc<Usage>>) -> Result<(), TooMuch> {
        if report.body.tasks.len() > MOST_ROWS {
            return Err(TooMuch);
        }
        self.report(kind::USAGE, report);
        usage::put(&mut self.out, &report.body, &self.usage);
        // Copied, so that whoever gave the list gets it back for the next one.
        self.usage.clone_from(&report.body);
        Ok(())
    }

    fn identity(&mut self, report: &Report<Arc<Identity>>) {
        self.report(kind::IDENTITY, report);
        let same = self
            .identity
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, &report.body));
        same.put(&mut self.out);
        if !same {
            let nobody = Arc::default();
            let before = self.identity.as_ref().unwrap_or(&nobody);
            identity::put(&mut self.out, &report.body, before);
            self.identity = Some(Arc::clone(&report.body));
        }
    }

    fn tallies(&mut self, tallies: &Vec<Tally>) {
        if self.tallies == *tallies {
            return;
        }
        self.out.byte(kind::TALLIES);
        tallies.put(&mut self.out);
        self.tallies.clone_from(tallies);
    }

    fn describe(&mut self, source: SourceId, detail: &Arc<str>) {
        if self.details.get(&source) == Some(detail) {
            return;
        }
        self.out.byte(kind::DESCRIBE);
        source.put(&mut self.out);
        detail.put(&mut self.out);
        self.details.insert(source, Arc::clone(detail));
    }

    fn energy(&mut self, source: SourceId, report: &Report<Energy>) {
        self.report(kind::ENERGY, report);
        source.put(&mut self.out);
        let before = self.energies.entry(source).or_default();
        energy::put(&mut self.out, &report.body, before, report.section.began);
        before.clone_from(&report.body);
    }
}
