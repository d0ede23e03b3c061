// SPDX-License-Identifier: Apache-2.0
//! From a page to requests: which samples are pushed, which series have ended, and where a request is full.

use super::points::{self, FamilyHead, Point};
use super::remote_write::Version1;
use crate::config::Schema;
use crate::text;
use bytes::Bytes;
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, HashSet};

/// Most samples of a request: what Prometheus itself sends at once, by default, so what receivers are made for.
pub(super) const MOST_SAMPLES: usize = 2_000;
/// Most text of the page in one request. Labels have 256 characters at most, and a dozen of such are still a tenth of the 16 MiB
/// that receivers take at least, or of the 20 MiB of the OpenTelemetry collector.
const MOST_TEXT: usize = 1 << 20;
/// How often remote write 1.0 says what families are, in Unix milliseconds: as often as Prometheus does.
const HEADS: i64 = 60_000;

/// How far the clock may be behind what was pushed last before it is followed, in Unix milliseconds. Corrections of a clock that runs
/// are seconds; within five minutes a query still finds what was pushed before (Prometheus' look-back), and above receivers
/// refuse what is ahead of their own clock anyway (Prometheus: ten minutes).
pub(super) const MOST_AHEAD: i64 = 300_000;

/// A request's body, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) samples: usize,
}

/// When something was so, in Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// A sample of that moment.
    Of(i64),
    /// The series had ended by that moment.
    End(i64),
}

impl Moment {
    pub(super) const fn millis(self) -> i64 {
        match self {
            Self::Of(at) | Self::End(at) => at,
        }
    }

    pub(super) const fn is_end(self) -> bool {
        matches!(self, Self::End(_))
    }
}

/// Writes samples in the form of a protocol.
pub(super) trait Encoder {
    /// Adds a sample.
    fn add(&mut self, point: &Point<'_>, moment: Moment);
    /// How many are in the request so far, as the receiver counts them.
    fn samples(&self) -> usize;
    /// Whether the request may end here.
    fn is_whole(&self) -> bool {
        true
    }
    /// The request, compressed; a new one begins.
    fn finish(&mut self) -> Bytes;
}

/// Which series of a page are pushed.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// `None` where all are.
    only: Option<Schema>,
    kepler: BTreeSet<String>,
    today: BTreeSet<String>,
}

impl Choice {
    /// Of these schemas; none means whatever is on the page.
    pub(super) fn of(schemas: &[Schema]) -> Self {
        match schemas {
            [only] => Self {
                only: Some(*only),
                kepler: text::families(Schema::Kepler),
                today: text::families(Schema::Kepler011),
            },
            _ => Self::default(),
        }
    }

    /// A family that both schemas have tells whose a sample is by its `node_name`.
    fn has(&self, point: &Point<'_>) -> bool {
        let Some(only) = self.only else { return true };
        let family = std::str::from_utf8(&point.family.name).unwrap_or_default();
        let (kepler, today) = (self.kepler.contains(family), self.today.contains(family));
        let is_of_today = match (kepler, today) {
            // What the daemon says of itself is in both.
            (false, false) => return true,
            (true, true) => point.pairs().any(|(name, _)| &*name == b"node_name"),
            (_, today) => today,
        };
        is_of_today == (only == Schema::Kepler011)
    }
}

/// Collects samples into requests.
struct Filling<'e> {
    encoder: &'e mut dyn Encoder,
    text: usize,
    done: Vec<Batch>,
}

impl Filling<'_> {
    fn add(&mut self, point: &Point<'_>, moment: Moment) {
        self.encoder.add(point, moment);
        self.text = self.text.saturating_add(point.size());
        if self.encoder.is_whole() && (self.encoder.samples() >= MOST_SAMPLES || self.text >= MOST_TEXT) {
            self.close();
        }
    }

    fn close(&mut self) {
        let samples = self.encoder.samples();
        if samples > 0 {
            let body = self.encoder.finish();
            self.done.push(Batch { body, samples });
        }
        self.text = 0;
    }
}

/// Turns page after page into requests.
pub(super) struct Gatherer {
    encoder: Box<dyn Encoder + Send>,
    choice: Choice,
    /// Whether families are told in requests of their own.
    tells_heads: bool,
    heads_told: Option<i64>,
    /// The page before, to see what has ended. Its bytes are shared with whoever still reads it.
    last: Vec<Bytes>,
    last_at: i64,
    /// A clock that was set back was followed, and nobody has asked yet.
    went_back: bool,
}

impl Gatherer {
    pub(super) fn new(encoder: Box<dyn Encoder + Send>, choice: Choice, tells_heads: bool) -> Self {
        Self {
            encoder,
            choice,
            tells_heads,
            heads_told: None,
            last: Vec::new(),
            last_at: i64::MIN,
            went_back: false,
        }
    }

    /// Whether a clock that was set back was followed since this was asked last.
    pub(super) const fn has_gone_back(&mut self) -> bool {
        std::mem::replace(&mut self.went_back, false)
    }

    /// The requests for a page of that moment. A clock that was set back a little is not followed: receivers refuse samples that are
    /// older than what they have, so time then stands still, a millisecond each, until it is that late again. One that was set
    /// back by more than [`MOST_AHEAD`] is: it was wrong before, or is now, and nobody shall wait for hours to see which.
    pub(super) fn take(&mut self, page: Vec<Bytes>, at: i64) -> Vec<Batch> {
        let at = self.later(at);
        let mut done = self.heads(&page, at);
        let mut filling = Filling {
            encoder: &mut *self.encoder,
            text: 0,
            done: Vec::new(),
        };
        points::each(&page, |point| {
            if self.choice.has(point) {
                filling.add(point, Moment::Of(at));
            }
        });
        let last = std::mem::replace(&mut self.last, page);
        let now = keys(&self.last);
        ended(&last, &now, &self.choice, |point| {
            filling.add(point, Moment::End(at))
        });
        filling.close();
        done.append(&mut filling.done);
        done
    }

    /// The end of every series.
    pub(super) fn end(&mut self, at: i64) -> Vec<Batch> {
        let at = self.later(at);
        let last = std::mem::take(&mut self.last);
        let mut filling = Filling {
            encoder: &mut *self.encoder,
            text: 0,
            done: Vec::new(),
        };
        ended(&last, &Keys::default(), &self.choice, |point| {
            filling.add(point, Moment::End(at))
        });
        filling.close();
        filling.done
    }

    fn later(&mut self, at: i64) -> i64 {
        if self.last_at.saturating_sub(at) > MOST_AHEAD {
            self.went_back = true;
            // Told at a moment that is yet to come.
            self.heads_told = None;
            self.last_at = at;
        } else {
            self.last_at = at.max(self.last_at.saturating_add(1));
        }
        self.last_at
    }

    fn heads(&mut self, page: &[Bytes], at: i64) -> Vec<Batch> {
        let is_time = self
            .heads_told
            .is_none_or(|told| at.saturating_sub(told) >= HEADS);
        if !(self.tells_heads && is_time) {
            return Vec::new();
        }
        self.heads_told = Some(at);
        let (mut seen, mut families) = (BTreeSet::new(), Vec::<FamilyHead>::new());
        points::each(page, |point| {
            if self.choice.has(point) && seen.insert(point.family.name.clone()) {
                families.push(point.family.clone());
            }
        });
        vec![Version1::heads(families)]
    }
}

/// Series by name and labels, as they are written.
type Keys<'a> = HashSet<&'a [u8], FixedState>;

/// Every series of a page. A line up to its last blank names it.
fn keys(page: &[Bytes]) -> Keys<'_> {
    let lines = page.iter().flat_map(|piece| piece.split(|byte| *byte == b'\n'));
    lines
        .filter_map(|line| line.rsplitn(2, |byte| *byte == b' ').nth(1))
        .collect()
}

/// Calls `each` for the samples of `page` whose series are not among `now`.
fn ended(page: &[Bytes], now: &Keys<'_>, choice: &Choice, mut each: impl FnMut(&Point<'_>)) {
    points::each(page, |point| {
        if !now.contains(point.series.as_bytes()) && choice.has(point) {
            each(point);
        }
    });
}
