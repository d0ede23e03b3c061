// SPDX-License-Identifier: Apache-2.0
//! A curve of watts over busy share: a chain of straight lines that never falls and is never negative.
//!
//! Knows the load that it was made from. Inside, a figure is as wrong as the cross-validation found; outside, the curve
//! goes on with its mean slope and says that it does.

/// Most knots of a curve. The fit makes 13; a file that somebody wrote may have more.
pub(super) const MOST_KNOTS: usize = 64;
/// No zone of a node uses more, in watts: the largest servers take 20 kW, and a reading beyond this is no reading.
pub(super) const MOST_WATTS: f64 = 100_000.0;

/// See the module's head.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Busy share and watts, rising in the first and never falling in the second. At least two.
    knots: Vec<(f64, f64)>,
}

/// What a curve says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Watts: finite, and not negative.
    pub watts: f64,
    /// How far the busy share lies outside of what was seen; 0 inside.
    pub beyond: f64,
}

/// What is wrong with knots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KnotFault {
    /// Too few, or too many.
    #[error("a curve has 2 to {MOST_KNOTS} knots")]
    Number,
    /// A busy share out of range.
    #[error("busy shares are between 0 and 1, and each is greater than the one before")]
    Busy,
    /// Watts out of range.
    #[error("watts are between 0 and {MOST_WATTS}")]
    Watts,
    /// Watts that fall.
    #[error("watts never fall as busy shares rise")]
    Falling,
}

impl Curve {
    /// Of its knots.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(knots: Vec<(f64, f64)>) -> Result<Self, KnotFault> {
        if !(2..=MOST_KNOTS).contains(&knots.len()) {
            return Err(KnotFault::Number);
        }
        // A NaN is in no range.
        if knots.iter().any(|(busy, _)| !(0.0..=1.0).contains(busy)) {
            return Err(KnotFault::Busy);
        }
        if knots.iter().any(|(_, watts)| !(0.0..=MOST_WATTS).contains(watts)) {
            return Err(KnotFault::Watts);
        }
        let pairs = || knots.iter().zip(knots.iter().skip(1));
        if pairs().any(|(one, next)| next.0 <= one.0) {
            return Err(KnotFault::Busy);
        }
        if pairs().any(|(one, next)| next.1 < one.1) {
            return Err(KnotFault::Falling);
        }
        Ok(Self { knots })
    }

    /// Its knots: busy share and watts.
    #[must_use]
    pub fn knots(&self) -> &[(f64, f64)] {
        &self.knots
    }

    /// The busy shares between which it was made.
    #[must_use]
    pub fn seen(&self) -> (f64, f64) {
        let first = self.knots.first().map_or(0.0, |knot| knot.0);
        (first, self.knots.last().map_or(first, |knot| knot.0))
    }

    /// Watts at a busy share; what is no share is 0 or 1, whichever is nearer.
    #[must_use]
    pub fn at(&self, busy: f64) -> Figure {
        let busy = if busy.is_nan() { 0.0 } else { busy.clamp(0.0, 1.0) };
        let (low, high) = self.seen();
        let beyond = (low - busy).max(busy - high).max(0.0);
        let watts = if busy < low {
            self.end(busy, self.knots.first())
        } else if busy > high {
            self.end(busy, self.knots.last())
        } else {
            self.between(busy)
        };
        Figure {
            watts: watts.clamp(0.0, MOST_WATTS),
            beyond,
        }
    }

    /// The mean slope from an end on. The last segment alone may be the work of a few samples.
    fn end(&self, busy: f64, from: Option<&(f64, f64)>) -> f64 {
        let (Some(first), Some(last), Some(from)) = (self.knots.first(), self.knots.last(), from) else {
            return 0.0;
        };
        let slope = (last.1 - first.1) / (last.0 - first.0);
        from.1 + slope * (busy - from.0)
    }

    fn between(&self, busy: f64) -> f64 {
        let segments = self.knots.iter().zip(self.knots.iter().skip(1));
        let mut inside = segments.filter(|(_, to)| busy <= to.0);
        inside.next().map_or(0.0, |(from, to)| {
            from.1 + (to.1 - from.1) * (busy - from.0) / (to.0 - from.0)
        })
    }
}
