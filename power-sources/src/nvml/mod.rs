// SPDX-License-Identifier: Apache-2.0
//! NVIDIA's GPUs through the driver's management library (`nvml`).
//!
//! Owns which GPUs are known, and when a GPU or the library is tried again. A zone per physical GPU, named by its
//! UUID. Energy comes from the GPU's own counter, or from its power where it has none; who used it comes from
//! the driver's samples (see `load.rs`). A GPU that fails costs itself only; a driver that is restarted, and a GPU that comes or
//! goes, cost a new session with the library, and the totals go on.

mod calls;
mod config;
mod driver;
mod gpu;
mod load;
#[cfg(test)]
mod tests;
mod thread;

pub use config::NvmlConfig;

use crate::backoff::Backoff;
use crate::errors::ErrorLedger;
use crate::files::Fault;
use crate::moment::{Asked, Moment, Slept};
use crate::{Ask, Opened, PowerSource, SourceOpenError, Stand, Standing};
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, SourceId, Zone, ZoneReading};
use driver::{Broken, Driver, Listing, Look, Member, Question, Session};
pub(crate) use gpu::Gpu;
use std::sync::Arc;
use std::time::Duration;
use thread::Nvidia;

/// The name in the configuration.
pub const NAME: &str = "nvml";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("nvml");
/// What it has on some machine or other.
pub const COMPONENTS: &[Component] = &[Component::Gpu];

/// Most GPUs that are known, those that went included: a machine has 16, and each may be replaced a few times while it runs.
const MOST_GPUS: usize = 64;

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(NvmlConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<NvmlConfig>(NAME, section)?.check()
}

/// Loads the library and lists the GPUs.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: NvmlConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    if !ask.wanted.contains(&Component::Gpu) {
        let reason = "NVIDIA's library knows GPUs only, and these are not wanted".to_owned();
        return Ok(Opened::Absent { reason });
    }
    let driver = Box::new(Nvidia::new(config.library, config.root));
    Ok(
        match Nvml::open(driver, config.max_watts, config.interval.0, ask.slept) {
            Ok(source) => Opened::Source(Box::new(source)),
            Err(reason) => Opened::Absent { reason },
        },
    )
}

/// How a look at the GPUs ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Done,
    /// The session is over; another one may serve.
    Again,
}

struct Nvml {
    driver: Box<dyn Driver>,
    session: Option<Box<dyn Session>>,
    /// Whether the session still owes an answer. It is not ended then: a second one would hang beside it.
    is_late: bool,
    /// When to connect, or to ask a session that was late.
    retry: Backoff,
    /// In the order of their discovery; at most [`MOST_GPUS`].
    gpus: Vec<Gpu>,
    /// GPUs that the library has and that could not tell who they are.
    nameless: usize,
    max_watts: u32,
    interval: Duration,
    slept: Slept,
    /// The newest reading and its moment, for ticks that come before the next one.
    newest: Option<(MonotonicNanos, Vec<ZoneReading>)>,
    errors: ErrorLedger,
}

impl Nvml {
    /// The reason why not is for people.
    fn open(
        driver: Box<dyn Driver>,
        max_watts: u32,
        interval: Duration,
        slept: Slept,
    ) -> Result<Self, String> {
        let mut source = Self {
            driver,
            session: None,
            is_late: false,
            retry: Backoff::default(),
            gpus: Vec::new(),
            nameless: 0,
            max_watts,
            interval,
            slept,
            newest: None,
            errors: ErrorLedger::default(),
        };
        let connected = source.driver.connect().map_err(|fault| fault.words)?;
        let first_fault = connected.listing.faults.first().cloned();
        source.adopt(connected.listing);
        if source.gpus.is_empty() {
            let none = || "NVIDIA's driver is loaded and has no GPU here; in a container, set NVIDIA_VISIBLE_DEVICES=all";
            return Err(first_fault.map_or_else(|| none().to_owned(), |fault| fault.words));
        }
        // Only tried: there is no time to count from.
        let mut session = connected.session;
        match session.look(&source.questions(MonotonicNanos::ZERO)) {
            Ok(answers) if answers.iter().all(Result::is_err) => {
                let first = answers.into_iter().find_map(Result::err);
                Err(first.map_or_else(String::new, |fault| fault.words))
            }
            Err(Broken::Late(fault) | Broken::Dead(fault)) => Err(fault.words),
            Ok(_) | Err(Broken::Changed) => {
                source.session = Some(session);
                Ok(source)
            }
        }
    }

    /// What to ask the GPUs whose turn it is.
    fn questions(&self, now: MonotonicNanos) -> Vec<Question> {
        let due = self
            .gpus
            .iter()
            .filter(|gpu| gpu.present && gpu.backoff.is_due(now));
        let question = |gpu: &Gpu| Question {
            uuid: Arc::clone(&gpu.uuid),
            since: gpu.tracker.since(),
        };
        due.map(question).collect()
    }

    fn is_complete(&self) -> bool {
        self.nameless == 0 && self.gpus.iter().all(|gpu| gpu.present)
    }

    /// Opens a session. Whether there is one.
    fn connect(&mut self, now: MonotonicNanos) -> bool {
        if !self.retry.is_due(now) {
            return false;
        }
        match self.driver.connect() {
            Ok(connected) => {
                self.session = Some(connected.session);
                self.adopt(connected.listing);
                if !self.is_complete() {
                    self.retry.failed(now);
                }
                true
            }
            Err(fault) => {
                self.retry.failed(now);
                self.note(None, &fault);
                for gpu in &mut self.gpus {
                    gpu.present = false;
                }
                false
            }
        }
    }

    /// Takes a new list of GPUs: those that are known keep their totals, those that are not in it are gone.
    fn adopt(&mut self, listing: Listing) {
        for member in &listing.gpus {
            match self.gpus.iter_mut().find(|gpu| gpu.uuid == member.uuid) {
                Some(gpu) => gpu.found_again(member, self.max_watts),
                None => self.discover(member),
            }
        }
        let is_listed = |gpu: &Gpu| listing.gpus.iter().any(|member| member.uuid == gpu.uuid);
        let mut gone = Vec::new();
        for gpu in self.gpus.iter_mut().filter(|gpu| !is_listed(gpu)) {
            gpu.present = false;
            gone.push(gpu.zone.clone());
        }
        for zone in gone {
            let words = format!("{zone}: not in the driver's list any more");
            self.errors.note(SOURCE, Some(&zone), ErrorReason::Gone, &words);
        }
        self.nameless = listing.faults.len();
        for fault in &listing.faults {
            self.note(None, fault);
        }
    }

    fn discover(&mut self, member: &Member) {
        if self.gpus.len() < MOST_GPUS {
            self.gpus.push(Gpu::new(member, self.max_watts));
            return;
        }
        let words = format!("{}: more than {MOST_GPUS} GPUs; it is not counted", member.uuid);
        self.errors.note(SOURCE, None, ErrorReason::Implausible, &words);
    }

    fn look(&mut self, now: MonotonicNanos, readings: &mut Vec<ZoneReading>) -> Round {
        let questions = self.questions(now);
        let Some(session) = self.session.as_mut() else {
            return Round::Again;
        };
        let asked = Asked::begin(now, self.slept);
        match session.look(&questions) {
            Ok(answers) => {
                self.is_late = false;
                let when = asked.answered();
                for (question, answer) in questions.iter().zip(answers) {
                    readings.extend(self.take(&question.uuid, answer, when));
                }
                let went = |question: &Question| {
                    let is_it = |gpu: &&Gpu| gpu.uuid == question.uuid;
                    self.gpus.iter().find(is_it).is_some_and(|gpu| !gpu.present)
                };
                if self.is_complete() {
                    self.retry.succeeded();
                } else if questions.iter().any(went) {
                    self.retry.failed(now);
                }
                Round::Done
            }
            Err(Broken::Late(fault)) => {
                self.is_late = true;
                self.retry.failed(now);
                self.note(None, &fault);
                Round::Done
            }
            Err(Broken::Dead(fault)) => {
                self.is_late = false;
                self.session = None;
                self.note(None, &fault);
                Round::Again
            }
            Err(Broken::Changed) => {
                self.is_late = false;
                self.session = None;
                tracing::info!(source = SOURCE.0, "GPUs came or went");
                Round::Again
            }
        }
    }

    /// What one GPU answered.
    fn take(&mut self, uuid: &str, answer: Result<Look, Fault>, now: Moment) -> Option<ZoneReading> {
        let gpu = self.gpus.iter_mut().find(|gpu| &*gpu.uuid == uuid)?;
        let (reading, complaints) = match answer {
            Ok(look) => gpu.take(look, now),
            Err(fault) => {
                gpu.backoff.failed(now.at);
                // Only a new session finds it again.
                gpu.present = fault.reason != ErrorReason::Gone;
                (None, vec![(fault.reason, fault.words)])
            }
        };
        for (reason, words) in complaints {
            self.errors.note(SOURCE, Some(&gpu.zone), reason, &words);
        }
        reading
    }

    fn note(&mut self, zone: Option<&Zone>, fault: &Fault) {
        self.errors.note(SOURCE, zone, fault.reason, &fault.words);
    }
}

impl PowerSource for Nvml {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        COMPONENTS.to_vec()
    }

    fn detail(&self) -> String {
        let gpus: Vec<_> = self
            .gpus
            .iter()
            .map(|gpu| format!("{} ({})", gpu.zone, gpu.name))
            .collect();
        gpus.join(", ")
    }

    fn leave(&mut self) -> Vec<Standing> {
        let stands = |gpu: &Gpu| Standing(Stand::Gpu(Box::new(gpu.clone())));
        self.gpus.iter().map(stands).collect()
    }

    fn follow(&mut self, before: Vec<Standing>) -> Vec<Zone> {
        let mut followed = Vec::new();
        for stand in before {
            let Standing(Stand::Gpu(old)) = stand else {
                continue;
            };
            if let Some(gpu) = self.gpus.iter_mut().find(|gpu| gpu.uuid == old.uuid)
                && gpu.follow(*old)
            {
                followed.push(gpu.zone.clone());
            }
        }
        followed
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        // A twentieth less, for ticks that come early.
        let pause = self.interval.saturating_sub(self.interval / 20);
        if let Some((at, zones)) = &self.newest
            && now.since(*at) < pause
        {
            return Energy {
                zones: zones.clone(),
                errors: self.errors.rows(),
            };
        }
        let mut zones = Vec::with_capacity(self.gpus.len());
        if !self.is_late && !self.is_complete() && self.retry.is_due(now) {
            self.session = None;
        }
        if !self.is_late || self.retry.is_due(now) {
            // A session that ends is replaced at once: a driver that was restarted, or a GPU that was plugged in, is no failure.
            let rounds = if self.session.is_some() { 2 } else { 1 };
            let again = (0..rounds).all(|_| {
                (self.session.is_some() || self.connect(now)) && self.look(now, &mut zones) == Round::Again
            });
            if again {
                self.retry.failed(now);
            }
        }
        self.newest = Some((now, zones.clone()));
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }
}
