// SPDX-License-Identifier: Apache-2.0
//! One reading of all chassis, document by document: owns which one is next and the moment that a figure is about.

use super::failure::Failure;
use super::figure::Fault;
use super::meter::{Figure, Meter, sum};
use super::policy::Span;
use crate::moment::Moment;
use attribution::model::{Microwatts, MonotonicNanos};
use serde_json::Value;
use std::sync::Arc;

/// What a document came to.
#[derive(Debug)]
pub(super) enum Read<'a> {
    /// There is another part to be read.
    More,
    /// The chassis's figure and its moment.
    Figure(Figure, Moment),
    /// An answer without a usable figure.
    Useless(Fault),
    /// No answer.
    Failed(&'a Failure),
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Round {
    began: MonotonicNanos,
    /// Index into the plan, and of the part of its meter.
    chassis: usize,
    part: usize,
    figures: Vec<Figure>,
    /// When the first part of this chassis was asked for.
    first: Moment,
    answered: bool,
    failed: bool,
}

impl Round {
    pub(super) fn begin(now: MonotonicNanos) -> Self {
        Self {
            began: now,
            chassis: 0,
            part: 0,
            figures: Vec::new(),
            first: Moment::default(),
            answered: false,
            failed: false,
        }
    }

    pub(super) const fn began(&self) -> MonotonicNanos {
        self.began
    }

    /// Index of the chassis that is being read.
    pub(super) const fn chassis(&self) -> usize {
        self.chassis
    }

    /// Whether there were answers to nothing at all.
    pub(super) const fn was_in_vain(&self) -> bool {
        self.failed && !self.answered
    }

    /// The next path of `meter`.
    pub(super) fn wanted(&self, meter: &Meter) -> Option<Arc<str>> {
        meter.parts.get(self.part).map(|part| Arc::clone(&part.path))
    }

    /// Takes what came for the next path.
    pub(super) fn take<'a>(
        &mut self,
        meter: &Meter,
        most: Microwatts,
        span: Span,
        answer: Result<&Value, &'a Failure>,
    ) -> Read<'a> {
        if self.part == 0 {
            self.first = span.began;
        }
        let document = match answer {
            Ok(document) => document,
            Err(failure) => {
                self.failed = true;
                self.end_chassis();
                return Read::Failed(failure);
            }
        };
        self.answered = true;
        match self.figure(meter, most, document) {
            Ok(None) => {
                self.part = self.part.saturating_add(1);
                Read::More
            }
            Ok(Some(figure)) => {
                self.end_chassis();
                // The BMC looked at its meter somewhere between question and answer; in the middle, the error is at most
                // half of that time.
                let first = self.first.at;
                let when = Moment {
                    at: first.after(span.ended.since(first) / 2),
                    slept: (self.first.slept.0, span.began.slept.1),
                };
                Read::Figure(figure, when)
            }
            Err(fault) => {
                self.end_chassis();
                Read::Useless(fault)
            }
        }
    }

    /// The chassis's figure, if this was the last part of it.
    fn figure(&mut self, meter: &Meter, most: Microwatts, document: &Value) -> Result<Option<Figure>, Fault> {
        let Some(part) = meter.parts.get(self.part) else {
            return Ok(None);
        };
        let figure = part.read(document, meter.kind, most);
        let whole = figure.and_then(|figure| {
            self.figures.push(figure);
            let last = self.figures.len() >= meter.parts.len();
            last.then(|| sum(&self.figures, most)).transpose()
        });
        whole.map_err(|fault| Fault::new(fault.reason, format!("{} {}", part.path, fault.words)))
    }

    fn end_chassis(&mut self) {
        self.chassis = self.chassis.saturating_add(1);
        self.part = 0;
        self.figures.clear();
    }
}
