// SPDX-License-Identifier: Apache-2.0
//! The optional parts of the probe: whether each is there, not wanted, or missing for a reason, and what that means for
//! what is counted. Decides nothing about a drain.

use crate::counters::Open;
use crate::error::ProbeError;
use crate::object::{Object, Plan};
use crate::settings::Settings;
use attribution::model::{Event, EventSet, ProbeState};
use aya::Btf;

/// An optional part: there, not wanted, or missing for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Up,
    Off,
    Missing(String),
}

impl Part {
    pub(crate) fn of(wanted: bool, open: impl FnOnce() -> Result<(), ProbeError>) -> Self {
        if !wanted {
            return Self::Off;
        }
        match open() {
            Ok(()) => Self::Up,
            Err(error) => Self::Missing(in_words(&error)),
        }
    }

    pub(crate) fn state(&self, probe: &'static str) -> ProbeState {
        ProbeState {
            probe,
            up: *self == Self::Up,
            reason: match self {
                Self::Up => String::new(),
                Self::Off => "switched off by the configuration".to_owned(),
                Self::Missing(reason) => reason.clone(),
            },
        }
    }
}

/// Loads the object; without hardware counters where the kernel does not let its programs read them (before 5.12).
pub(crate) fn load(settings: &Settings, counters: &mut Open, btf: &Btf) -> Result<Object, ProbeError> {
    // Loading is work enough for a counter to move.
    let plan = |counters| Plan {
        max_tasks: settings.max_tasks.max(1),
        max_unnamed: settings.max_unnamed.max(1),
        counters,
        smt: !settings.siblings.is_empty(),
    };
    let first = Object::load(plan(counters.mask()), btf);
    let before = counters.mask();
    counters.drop_dead();
    match first {
        Ok(object) if counters.mask() == before => Ok(object),
        Ok(_) => Object::load(plan(counters.mask()), btf),
        Err(error) if before == 0 => Err(error),
        Err(error) => {
            let object = Object::load(plan(0), btf)?;
            counters.give_up(&format!("eBPF cannot read them here: {}", in_words(&error)));
            Ok(object)
        }
    }
}

pub(crate) fn counted(softirqs: &Part, page_cache: &Part, counters: &Open, smt: bool) -> EventSet {
    let mut set = counters.events().with(Event::Switches);
    if *softirqs == Part::Up {
        set = set
            .with(Event::NetTxIrqs)
            .with(Event::NetRxIrqs)
            .with(Event::BlockIrqs);
    }
    if *page_cache == Part::Up {
        set = set.with(Event::PageCacheHits);
    }
    if smt {
        set = set.with(Event::SmtOverlap);
    }
    set
}

/// An error and its cause, in one line: a verifier's log has thousands.
pub(crate) fn in_words(error: &ProbeError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let cause = cause.unwrap_or_default();
    format!("{error}: {}", cause.lines().next().unwrap_or_default())
}

/// Hardware counters are up when any of them counts; what the others lack is a remark then.
pub(crate) fn of_counters(counters: &Open) -> ProbeState {
    let missing = counters.missing.join("; ");
    if counters.mask() == 0 && missing.is_empty() {
        return Part::Off.state("hw_counters");
    }
    ProbeState {
        probe: "hw_counters",
        up: counters.mask() != 0,
        reason: missing,
    }
}
