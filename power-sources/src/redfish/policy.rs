// SPDX-License-Identifier: Apache-2.0
//! What the machine, the walk and the shell agree on: owns the settings in their own types, and the words of their dialogue.

use super::access::Mode;
use super::config::{AuthMethod, Checked, Preference};
use super::failure::Failure;
use crate::moment::Moment;
use attribution::model::{Microwatts, MonotonicNanos};
use std::sync::Arc;
use std::time::Duration;

/// What was decided by the configuration.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) chassis: Vec<String>,
    pub(super) reading: Preference,
    pub(super) most: Microwatts,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) mode: Mode,
    /// First wait for a BMC that does not answer.
    pub(super) first_wait: Duration,
    /// First wait after a refused password: longer than the time within which BMCs count failures.
    pub(super) first_refusal: Duration,
}

impl Policy {
    pub(super) fn new(checked: &Checked) -> Self {
        let section = &checked.section;
        Self {
            chassis: section.chassis.0.clone(),
            reading: section.reading,
            most: Microwatts::from_watts(u64::from(section.max_watts)),
            interval: section.interval.0,
            timeout: section.timeout.0,
            mode: match section.auth {
                _ if section.username.is_empty() => Mode::Open,
                AuthMethod::Basic => Mode::Basic,
                AuthMethod::Session => Mode::Session,
            },
            first_wait: Duration::from_secs(1),
            first_refusal: Duration::from_secs(300),
        }
    }

    /// Between two readings further apart than this nothing is billed, and so long a chassis is listed after its last answer.
    pub(super) fn longest_gap(&self) -> Duration {
        let three = self.interval.saturating_add(self.timeout).saturating_mul(3);
        three.max(Duration::from_secs(60))
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the credentials again.
    Credentials,
    /// Make a session at this path.
    LogIn(Arc<str>),
    /// Ask for the document at this path.
    Get(Arc<str>),
    /// Do nothing until then.
    Wait(MonotonicNanos),
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The credentials are there; whether they are others than before.
    Credentials {
        changed: bool,
    },
    LoggedIn,
    /// The body of an answer.
    Body(Vec<u8>),
    Failed(Failure),
}

/// When a step was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Its begin, and how long the machine had slept by then and by its end.
    pub(super) began: Moment,
    pub(super) ended: MonotonicNanos,
}

/// On a machine that never sleeps.
#[cfg(any(test, feature = "fuzzing"))]
impl From<(MonotonicNanos, MonotonicNanos)> for Span {
    fn from((began, ended): (MonotonicNanos, MonotonicNanos)) -> Self {
        Self {
            began: began.into(),
            ended,
        }
    }
}
