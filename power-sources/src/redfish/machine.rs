// SPDX-License-Identifier: Apache-2.0
//! What to ask a BMC next, and what its answer means: owns the order of requests, their times, back-off and totals.
//!
//! Pure: moments, answers and a seed for jitter come in, steps come out. One step at a time, and the next one only after the
//! answer to the last, so there is never more than one request in flight.

use super::SOURCE;
use super::access::{Access, Mode, Verdict};
use super::account::Account;
use super::config::{MOST_CHASSIS, Preference};
use super::discovery::{Discovery, Found};
use super::failure::{Failure, Kind, document};
use super::figure::Fault;
use super::meter::Figure;
use super::policy::{Outcome, Policy, Span, Step};
use super::round::{Read, Round};
use crate::backoff::Backoff;
use crate::errors::ErrorLedger;
use crate::moment::Moment;
use attribution::model::{ErrorReason, MonotonicNanos, SourceError, ZoneReading};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The tree is walked again after this time, for what was plugged in or updated meanwhile.
const WALK_AGAIN: Duration = Duration::from_secs(3_600);
/// Longest wait before a tree in which something is missing is walked again: a walk may be a hundred requests.
const LONGEST_WALK_WAIT: Duration = Duration::from_secs(300);
/// Longest wait for a BMC that does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest wait after a refused password.
const LONGEST_REFUSAL: Duration = Duration::from_secs(3_600);
/// From this walk on, a resource that fails again and again is left out instead of waited for.
const STRICT_WALKS: u32 = 2;

/// What it is about at present.
#[derive(Debug)]
enum Activity {
    Idle,
    Walk(Box<Discovery>),
    Round(Round),
}

/// See the module's head.
pub(super) struct Machine {
    policy: Arc<Policy>,
    activity: Activity,
    /// A walk that lets a round pass, so that a slow BMC is read also while its tree is walked again.
    paused: Option<Box<Discovery>>,
    /// Whether the walk came further since it last did so.
    walked: bool,
    access: Access,
    plan: Vec<Found>,
    /// Bounded by [`MOST_CHASSIS`].
    accounts: BTreeMap<Arc<str>, Account>,
    /// Chassis whose counter stood still.
    coarse: BTreeSet<Arc<str>>,
    /// Nothing is asked before this moment.
    hold: Option<MonotonicNanos>,
    /// The next look at credentials that were refused.
    look: MonotonicNanos,
    lost: Backoff,
    walk_due: MonotonicNanos,
    walk_again: Backoff,
    walks_failed: u32,
    round_due: MonotonicNanos,
    errors: ErrorLedger,
    random: u64,
}

impl Machine {
    pub(super) fn new(policy: Policy, seed: u64) -> Self {
        Self {
            activity: Activity::Idle,
            paused: None,
            walked: false,
            access: Access::new(
                policy.mode,
                policy.first_refusal,
                LONGEST_REFUSAL.max(policy.first_refusal),
            ),
            plan: Vec::new(),
            accounts: BTreeMap::new(),
            coarse: BTreeSet::new(),
            hold: None,
            look: MonotonicNanos::ZERO,
            lost: Backoff::between(policy.first_wait, LONGEST_WAIT),
            walk_due: MonotonicNanos::ZERO,
            walk_again: Backoff::between(policy.first_wait, LONGEST_WALK_WAIT),
            walks_failed: 0,
            round_due: MonotonicNanos::ZERO,
            errors: ErrorLedger::default(),
            random: seed,
            policy: Arc::new(policy),
        }
    }

    /// What to do at `now`. Asked again before the step was done, the answer is the same.
    pub(super) fn next(&mut self, now: MonotonicNanos) -> Step {
        if let Some(hold) = self.hold {
            if now < hold {
                let looks = self.access.is_refused() && self.policy.mode != Mode::Open;
                return match looks {
                    true if now >= self.look => Step::Credentials,
                    true => Step::Wait(hold.min(self.look)),
                    false => Step::Wait(hold),
                };
            }
            self.hold = None;
        }
        if matches!(self.activity, Activity::Walk(_)) && self.walked && self.is_round_due(now) {
            if let Activity::Walk(walk) = std::mem::replace(&mut self.activity, Activity::Idle) {
                self.paused = Some(walk);
            }
            self.walked = false;
            self.activity = Activity::Round(Round::begin(now));
        }
        if matches!(self.activity, Activity::Idle) {
            if let Some(walk) = self.paused.take() {
                self.activity = Activity::Walk(walk);
            } else if now >= self.walk_due {
                let strict = self.walks_failed < STRICT_WALKS;
                let walk = Discovery::new(&self.policy, self.coarse.clone(), strict);
                self.activity = Activity::Walk(Box::new(walk));
            } else if self.plan.is_empty() {
                return Step::Wait(self.walk_due);
            } else if self.is_round_due(now) {
                self.activity = Activity::Round(Round::begin(now));
            } else {
                return Step::Wait(self.round_due.min(self.walk_due));
            }
        }
        match self.wanted() {
            Some(path) => self.access.before(&path).unwrap_or(Step::Get(path)),
            // Not reached: a walk and a round end when they want nothing more.
            None => {
                self.activity = Activity::Idle;
                Step::Wait(now.after(self.policy.interval))
            }
        }
    }

    fn is_round_due(&self, now: MonotonicNanos) -> bool {
        !self.plan.is_empty() && now >= self.round_due
    }

    fn wanted(&self) -> Option<Arc<str>> {
        match &self.activity {
            Activity::Idle => None,
            Activity::Walk(walk) => walk.next(),
            Activity::Round(round) => {
                let found = self.plan.get(round.chassis())?;
                round.wanted(&found.meter)
            }
        }
    }

    /// Takes what came of `step`.
    pub(super) fn take(&mut self, step: &Step, span: Span, outcome: Outcome) {
        let now = span.ended;
        match (step, outcome) {
            (Step::Wait(_), _) => {}
            (Step::Credentials, outcome) => self.take_credentials(now, outcome),
            (Step::LogIn(_), Outcome::LoggedIn) => self.access.logged_in(),
            (Step::LogIn(_), Outcome::Failed(failure))
                if matches!(failure.kind, Kind::Unauthorized | Kind::Forbidden) =>
            {
                self.refused(now, &failure);
            }
            (Step::LogIn(_), Outcome::Failed(failure)) => self.lose(now, failure.reason(), &failure.words),
            (Step::Get(_), Outcome::Failed(failure)) if failure.kind == Kind::Unreachable => {
                self.lose(now, failure.reason(), &failure.words);
            }
            (Step::Get(path), Outcome::Failed(failure)) if failure.kind == Kind::Unauthorized => {
                if self.access.unauthorized(path) == Verdict::Refused {
                    self.refused(now, &failure);
                }
            }
            (Step::Get(path), Outcome::Body(body)) => match document(path, &body) {
                Ok(document) => {
                    self.access.answered(path);
                    self.answer(span, Ok(&document));
                }
                Err(failure) => self.answer(span, Err(&failure)),
            },
            (Step::Get(_), Outcome::Failed(failure)) => self.answer(span, Err(&failure)),
            (Step::Get(_) | Step::LogIn(_), Outcome::Credentials { .. })
            | (Step::Get(_), Outcome::LoggedIn)
            | (Step::LogIn(_), Outcome::Body(_)) => {}
        }
    }

    fn take_credentials(&mut self, now: MonotonicNanos, outcome: Outcome) {
        self.look = now.after(self.policy.interval);
        match outcome {
            Outcome::Credentials { changed } => {
                if self.access.credentials(changed) {
                    self.hold = None;
                }
            }
            // While a refusal is waited out, the file is looked at again anyhow.
            Outcome::Failed(failure) if self.access.is_refused() => {
                self.errors.note(SOURCE, None, failure.reason(), &failure.words);
            }
            Outcome::Failed(failure) => self.lose(now, failure.reason(), &failure.words),
            Outcome::LoggedIn | Outcome::Body(_) => {}
        }
    }

    fn answer(&mut self, span: Span, answer: Result<&Value, &Failure>) {
        match std::mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Idle => {}
            Activity::Walk(walk) => self.walked(walk, span.ended, answer),
            Activity::Round(round) => self.read(round, span, answer),
        }
    }

    fn walked(&mut self, mut walk: Box<Discovery>, now: MonotonicNanos, answer: Result<&Value, &Failure>) {
        self.walked = true;
        if let Err(fault) = walk.take(answer) {
            self.lose(now, fault.reason, &fault.words);
            self.walks_failed = self.walks_failed.saturating_add(1);
            if !self.plan.is_empty() {
                // What is known is read on.
                let random = self.random();
                self.walk_again.failed_jittered(now, random);
                self.walk_due = self.walk_again.due().unwrap_or(now);
            }
            return;
        }
        if let Some(path) = walk.sessions() {
            self.access.sessions_are_at(path);
        }
        if walk.next().is_some() {
            self.activity = Activity::Walk(walk);
            return;
        }
        let (found, faults) = walk.finish();
        self.found(found, &faults, now);
    }

    /// Takes a new plan.
    fn found(&mut self, found: Vec<Found>, faults: &[Fault], now: MonotonicNanos) {
        for fault in faults {
            self.errors.note(SOURCE, None, fault.reason, &fault.words);
        }
        if found.is_empty() {
            let words = "no chassis shows its power or energy in EnvironmentMetrics, Power, PowerSubsystem or Sensors; some BMCs do so only with a licence or newer firmware";
            self.errors.note(SOURCE, None, ErrorReason::Gone, words);
        }
        self.lost.succeeded();
        self.walks_failed = 0;
        self.plan = found;
        let mut complete = !self.plan.is_empty();
        for Found { id, meter } in &self.plan {
            if let Some(account) = self.accounts.get_mut(id) {
                account.use_meter(meter, &self.policy);
            } else if self.accounts.len() < MOST_CHASSIS {
                let account = Account::new(id, meter.clone(), &self.policy);
                self.accounts.insert(Arc::clone(id), account);
            }
        }
        let accounts = &self.accounts;
        self.plan.retain(|found| accounts.contains_key(&found.id));
        for (id, account) in &self.accounts {
            if !self.plan.iter().any(|found| found.id == *id) {
                complete = false;
                let words = format!("chassis {id} is not there any more, or shows no power");
                self.errors
                    .note(SOURCE, Some(&account.zone), ErrorReason::Gone, &words);
            }
        }
        self.round_due = now;
        if complete {
            self.walk_again.succeeded();
            self.walk_due = now.after(WALK_AGAIN);
        } else {
            let random = self.random();
            self.walk_again.failed_jittered(now, random);
            self.walk_due = self.walk_again.due().unwrap_or(now);
        }
    }

    /// Takes one document of a round.
    fn read(&mut self, mut round: Round, span: Span, answer: Result<&Value, &Failure>) {
        let Some(Found { id, meter }) = self.plan.get(round.chassis()) else {
            return;
        };
        let id = Arc::clone(id);
        let now = span.ended;
        match round.take(meter, self.policy.most, span, answer) {
            Read::More => {}
            Read::Figure(figure, when) => self.figure(&id, figure, when, now),
            Read::Useless(fault) => self.useless(&id, &fault, now),
            Read::Failed(failure) => {
                self.note_of(&id, failure.reason(), &failure.words);
                if failure.kind == Kind::Missing {
                    // It moved, or the supply was pulled: look where the power is shown now.
                    self.walk_due = self.walk_again.due().unwrap_or(now);
                }
            }
        }
        if round.chassis() < self.plan.len() {
            self.activity = Activity::Round(round);
        } else if round.was_in_vain() {
            self.wait_for_it(now);
        } else {
            self.lost.succeeded();
            self.round_due = round.began().after(self.policy.interval);
        }
    }

    fn figure(&mut self, id: &Arc<str>, figure: Figure, when: Moment, now: MonotonicNanos) {
        let Some(account) = self.accounts.get_mut(id) else {
            return;
        };
        let complaint = account.take(figure, when);
        let still = account.stands_still();
        if let Some((reason, words)) = complaint {
            self.note_of(id, reason, &words);
        }
        if still && self.policy.reading == Preference::Auto && self.coarse.insert(Arc::clone(id)) {
            let words = "the energy counter stands still or moves in large steps; power is read instead if there is any";
            self.note_of(id, ErrorReason::Implausible, words);
            self.walk_due = now;
        }
    }

    fn useless(&mut self, id: &Arc<str>, fault: &Fault, now: MonotonicNanos) {
        self.note_of(id, fault.reason, &fault.words);
        let look_elsewhere = self.accounts.get_mut(id).is_some_and(Account::useless_answer);
        if look_elsewhere {
            self.walk_due = now;
        }
    }

    /// The BMC as a whole gives nothing.
    fn lose(&mut self, now: MonotonicNanos, reason: ErrorReason, words: &str) {
        self.errors.note(SOURCE, None, reason, words);
        self.wait_for_it(now);
    }

    fn wait_for_it(&mut self, now: MonotonicNanos) {
        let random = self.random();
        self.lost.failed_jittered(now, random);
        self.hold = self.lost.due();
        self.round_due = now;
        self.activity = Activity::Idle;
    }

    fn refused(&mut self, now: MonotonicNanos, failure: &Failure) {
        let random = self.random();
        self.hold = Some(self.access.refuse(now, random));
        self.look = now;
        self.round_due = now;
        self.activity = Activity::Idle;
        let words = format!("{}: {}", failure.words, self.access.advice());
        self.errors.note(SOURCE, None, ErrorReason::Auth, &words);
    }

    fn note_of(&mut self, id: &Arc<str>, reason: ErrorReason, words: &str) {
        let zone = self.accounts.get(id).map(|account| &account.zone);
        self.errors.note(SOURCE, zone, reason, words);
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): enough for jitter.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The newest reading of each chassis, with the moment of its last answer.
    pub(super) fn readings(&self) -> Vec<(ZoneReading, MonotonicNanos)> {
        self.accounts.values().filter_map(Account::reading).collect()
    }

    pub(super) fn errors(&self) -> Vec<SourceError> {
        self.errors.rows()
    }

    /// What is read of which chassis, for people.
    pub(super) fn chosen(&self) -> String {
        let rows: Vec<_> = self
            .plan
            .iter()
            .map(|found| {
                let path = found.meter.parts.first().map_or("", |part| &part.path);
                format!("{}: {} ({path})", found.id, found.meter.name)
            })
            .collect();
        rows.join("; ")
    }
}
