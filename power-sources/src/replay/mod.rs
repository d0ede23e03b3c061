// SPDX-License-Identifier: Apache-2.0
//! A recording in place of a meter (`replay`): the zones and totals that `kepler record` wrote, at the pace of today.
//!
//! Owns the way from recorded moments to present ones. Who ran then is passed by: today's tasks pay. Provenance is as
//! recorded, the source is `replay`. At the end of the file the zones are down; with `loop` it begins again, and totals go on.

mod config;
mod tape;
#[cfg(test)]
mod tests;
mod tracks;

pub use config::ReplayConfig;

use crate::errors::ErrorLedger;
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, Report, SourceId};
use std::time::Duration;
use tape::{Over, Tape};
use tracks::Tracks;

/// The name in the configuration.
pub const NAME: &str = "replay";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("replay");
/// What a recording can hold.
pub const COMPONENTS: &[Component] = &[
    Component::Package,
    Component::Core,
    Component::Uncore,
    Component::Dram,
    Component::Gpu,
    Component::Platform,
];

/// Shortest recording that goes round: the shortest tick. One of a single moment would never stop.
const SHORTEST_ROUND: Duration = Duration::from_millis(100);
/// Reports that are looked through for the components that were promised. A meter speaks once a tick, so one that has said
/// nothing in so many has said nothing for minutes; the start-up does not wait for a recording of days.
const LOOKED_THROUGH: usize = 1_000;
/// Rounds through the file in one reading: an hour of a recording that lasts four seconds. More are not made up for.
const MOST_ROUNDS: u32 = 1_000;

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(ReplayConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<ReplayConfig>(NAME, section)?.check()
}

/// Opens the recording, if it holds energy of wanted components.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: ReplayConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    Ok(match Replay::open(config, ask.wanted) {
        Ok(replay) => Opened::Source(Box::new(replay)),
        Err(reason) => Opened::Absent { reason },
    })
}

/// What a moment of the recording is today.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    recorded: MonotonicNanos,
    live: MonotonicNanos,
    speed: f64,
}

impl Epoch {
    /// How far the recording has come at `now`.
    fn recorded_at(&self, now: MonotonicNanos) -> MonotonicNanos {
        self.recorded.after(now.since(self.live).mul_f64(self.speed))
    }

    /// When `moment` of the recording is.
    fn live_at(&self, moment: MonotonicNanos) -> MonotonicNanos {
        let after = moment.since(self.recorded).div_f64(self.speed);
        let before = self.recorded.since(moment).div_f64(self.speed);
        // A slow meter's first reading may be about a moment before the first window.
        let before = MonotonicNanos::ZERO.after(before).as_nanos();
        let live = self.live.after(after).as_nanos();
        MonotonicNanos::from_nanos(live.saturating_sub(before))
    }
}

/// A report and whose it is.
type Next = (SourceId, Report<Energy>);

/// The recording while it runs.
struct Running {
    tape: Tape,
    /// The report whose time has not come; why there is none at the end.
    next: Result<Next, Over>,
    /// When the newest one that has come was read.
    newest: MonotonicNanos,
    epoch: Option<Epoch>,
}

struct Replay {
    config: ReplayConfig,
    wanted: Vec<Component>,
    /// Those of the wanted that the recording has.
    components: Vec<Component>,
    about: String,
    /// `None` when it has ended.
    running: Option<Running>,
    tracks: Tracks,
    errors: ErrorLedger,
}

impl Replay {
    /// The reason why not is for people.
    fn open(config: ReplayConfig, wanted: &[Component]) -> Result<Self, String> {
        if config.file.as_os_str().is_empty() {
            return Err("sources.replay.file names no recording; `kepler record FILE` makes one".to_owned());
        }
        let path = config.file.display();
        let components = components(&config, wanted)?;
        let (tape, next) = begin(&config)?;
        let begin = &tape.beginning;
        let sources: Vec<_> = begin.facts.sources.iter().map(|facts| facts.source.0).collect();
        let about = format!(
            "{path}: {} of {}; {}",
            sources.join(", "),
            begin.program,
            if config.r#loop { "round and round" } else { "once" }
        );
        // Names out of a file: a terminal must not take them for commands.
        let about = about.replace(char::is_control, "\u{fffd}");
        Ok(Self {
            running: Some(Running {
                tape,
                newest: next.1.section.ended,
                next: Ok(next),
                epoch: None,
            }),
            config,
            wanted: wanted.to_vec(),
            components,
            about,
            tracks: Tracks::default(),
            errors: ErrorLedger::default(),
        })
    }

    /// Takes every report whose time has come by `now`. What the last one said is still told; the next reading finds the end.
    fn advance(&mut self, running: &mut Running, now: MonotonicNanos) {
        let mut rounds = 0;
        while let Ok((source, report)) = &mut running.next {
            let ended = report.section.ended;
            // The first reading is now.
            let epoch = *running.epoch.get_or_insert(Epoch {
                recorded: ended,
                live: now,
                speed: self.config.speed,
            });
            if ended > epoch.recorded_at(now) {
                return;
            }
            running.newest = running.newest.max(ended);
            // No reading is about the future.
            let live = |moment| epoch.live_at(moment).min(now);
            self.tracks
                .take(*source, std::mem::take(&mut report.body), &self.wanted, live);
            running.next = match running.tape.next() {
                Err(over) => self.go_round(running, epoch, over, now, &mut rounds),
                next => next,
            };
        }
    }

    /// Begins the recording again where the round before has ended.
    fn go_round(
        &mut self,
        running: &mut Running,
        epoch: Epoch,
        over: Over,
        now: MonotonicNanos,
        rounds: &mut u32,
    ) -> Result<Next, Over> {
        let (tape, next) = self.again(over, running.newest.since(epoch.recorded))?;
        let mut live = epoch.live_at(running.newest);
        *rounds += 1;
        if *rounds > MOST_ROUNDS {
            let words = format!(
                "{}: too far behind, goes on from here",
                self.config.file.display()
            );
            self.errors.note(SOURCE, None, ErrorReason::Timeout, &words);
            live = now;
        }
        let recorded = next.1.section.ended;
        running.tape = tape;
        running.newest = recorded;
        running.epoch = Some(Epoch {
            recorded,
            live,
            ..epoch
        });
        Ok(next)
    }

    /// The recording from its beginning, or why there is no more of it.
    fn again(&mut self, over: Over, lasted: Duration) -> Result<(Tape, Next), Over> {
        let ended = |words: String, hint| Over {
            reason: over.reason,
            words: format!("{words}; its zones are down{hint}"),
        };
        if !self.config.r#loop {
            return Err(ended(over.words, " (sources.replay.loop = true begins it again)"));
        }
        if lasted < SHORTEST_ROUND {
            return Err(ended(over.words, ": it is too short to go round"));
        }
        self.tracks.begin_again();
        begin(&self.config).map_err(|words| ended(words, ""))
    }
}

/// The recording and its first energy report.
fn begin(config: &ReplayConfig) -> Result<(Tape, Next), String> {
    let mut tape = Tape::open(&config.file)?;
    let first = tape.next().map_err(|over| over.words)?;
    Ok((tape, first))
}

/// Which of the wanted components have a reading in the first [`LOOKED_THROUGH`] reports of the recording.
fn components(config: &ReplayConfig, wanted: &[Component]) -> Result<Vec<Component>, String> {
    let mut tape = Tape::open(&config.file)?;
    let promised: Vec<_> = tape
        .beginning
        .facts
        .sources
        .iter()
        .flat_map(|facts| facts.components.clone())
        .collect();
    let expected = |component: &&Component| wanted.contains(component) && promised.contains(component);
    let expected = COMPONENTS.iter().filter(expected).count();
    let mut tracks = Tracks::default();
    let has = |tracks: &Tracks| -> Vec<Component> {
        let met = |component: &&Component| tracks.zones().any(|zone| zone.component == **component);
        COMPONENTS.iter().filter(met).copied().collect()
    };
    // So far only where something that was promised never came.
    for _ in 0..LOOKED_THROUGH {
        let Ok((source, report)) = tape.next() else {
            break;
        };
        tracks.take(source, report.body, wanted, |moment| moment);
        if has(&tracks).len() >= expected && expected > 0 {
            break;
        }
    }
    let found = has(&tracks);
    if found.is_empty() {
        let names: Vec<_> = promised.iter().map(|component| component.name()).collect();
        let path = config.file.display();
        return Err(format!(
            "{path}: holds none of the wanted components in its first {LOOKED_THROUGH} reports, only {}",
            if names.is_empty() {
                "CPU time".to_owned()
            } else {
                names.join(", ")
            }
        ));
    }
    Ok(found)
}

impl PowerSource for Replay {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        self.components.clone()
    }

    fn detail(&self) -> String {
        self.about.clone()
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        if let Some(mut running) = self.running.take() {
            match &running.next {
                Ok(_) => {
                    self.advance(&mut running, now);
                    self.running = Some(running);
                }
                Err(over) => self.errors.note(SOURCE, None, over.reason, &over.words),
            }
        }
        let zones = match self.running {
            Some(_) => self.tracks.readings(),
            None => Vec::new(),
        };
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }
}
