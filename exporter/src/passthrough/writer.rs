// SPDX-License-Identifier: Apache-2.0
//! Writes after each window what the machines were charged: owns where each counter stands, and when a folder goes. Blocks, so
//! it has a thread of its own.
//!
//! A counter goes on from its file, so a daemon that starts anew goes on where it ended. What could not be written stays unpaid
//! and comes with the next time.

use super::config::PassthroughConfig;
use super::health::{Health, Reason};
use super::plan::{Figure, Kind, Plan, Planned, advanced, folder, words};
use super::share::{Share, Unread, Zone};
use crate::page::RenderSettings;
use attribution::model::{Microjoules, MonotonicNanos, Provenance, Snapshot};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Most machines with a folder. Twice what the largest hosts run, and some 10 ms of a window.
const MOST_TREES: usize = 1_024;
/// Shortest time that a folder outlives its machine. The daemon itself may have been away, and needs some windows to know who
/// is there.
const SHORTEST_KEEP: Duration = Duration::from_secs(60);
/// Time between two warnings of one kind.
const QUIET: Duration = Duration::from_secs(600);

/// One zone of one machine.
#[derive(Clone, Copy, Debug)]
struct Counter {
    kind: Kind,
    /// What its file shows.
    shown: u64,
    /// How much of its row's total is in it.
    paid: Microjoules,
    /// Since when that row counts. One that left the snapshot comes back with its total, or begins anew: only this tells which.
    began: MonotonicNanos,
    /// What its folder says of where it comes from.
    said: Option<Provenance>,
}

/// One machine.
#[derive(Debug)]
struct Fed {
    /// When it was last alive.
    alive: MonotonicNanos,
    counters: Vec<Counter>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    estimates: bool,
    keep: Duration,
    share: Option<Share>,
    /// By the name of the folder. `None` until what an earlier run has left was looked for.
    fed: Option<BTreeMap<String, Fed>>,
    warned: Vec<(Reason, MonotonicNanos)>,
    health: Arc<Health>,
    /// What machines had been charged when this writer began in the middle of a run, or after another daemon's: that is none of
    /// its counters' business.
    before: Before,
}

#[derive(Debug, Default)]
enum Before {
    /// Nothing: it is there from the start.
    #[default]
    Nothing,
    /// What the next snapshot says.
    Unknown,
    Known {
        /// When the window closed that said it. Whose row is older and not in it was away just then.
        since: MonotonicNanos,
        charged: HashMap<(String, Kind), Figure>,
    },
}

impl Before {
    /// How much of a row's total is none of this writer's business, and since when that row counted.
    fn paid(&mut self, name: &str, figure: &Figure) -> (Microjoules, MonotonicNanos) {
        match self {
            Self::Known { since, charged } => match charged.remove(&(name.to_owned(), figure.kind)) {
                Some(before) => (before.total, before.began),
                None if figure.began < *since => (figure.total, figure.began),
                None => (Microjoules::ZERO, figure.began),
            },
            Self::Nothing | Self::Unknown => (Microjoules::ZERO, figure.began),
        }
    }
}

impl Writer {
    /// A writer for the folder that `config` names; `None` where it names none. Folders outlive their machines by `keep`, and a
    /// minute at least. What it counts of itself is on the pages of `render`.
    #[must_use]
    pub fn new(config: &PassthroughConfig, keep: Duration, render: &RenderSettings) -> Option<Self> {
        let dir = config.wanted()?;
        let health = render.observer.passthrough();
        health.switch_on();
        Some(Self {
            dir,
            estimates: config.estimates,
            keep: keep.max(SHORTEST_KEEP),
            share: None,
            fed: None,
            warned: Vec::new(),
            health,
            before: Before::Nothing,
        })
    }

    /// Takes the place of another one, or of none, in the middle of a run. In the same folder counters go on; in another one they
    /// go on from their files there, and pay nothing for before.
    #[must_use]
    pub fn after(self, before: Option<Self>) -> Self {
        match before.filter(|before| before.dir == self.dir) {
            Some(before) => Self {
                estimates: self.estimates,
                keep: self.keep,
                ..before
            },
            None => Self {
                before: Before::Unknown,
                ..self
            },
        }
    }

    /// Leaves everything as it is: guests read counters that stand still, and nothing is told of them any more.
    pub fn end(self) {
        self.health.switch_off();
    }

    /// Writes what `snapshot` says of each machine. Whatever fails is counted, and tried again the next time.
    pub fn write(&mut self, snapshot: &Snapshot, now: MonotonicNanos) {
        let plan = Plan::of(snapshot, self.estimates);
        for kind in Kind::ALL {
            if self.health.refuses(kind, plan.refused.contains(&kind)) {
                tracing::warn!(
                    component = kind.component().name(),
                    "guests are not fed with this component: it is estimated here, and an estimate is no meter; vm_passthrough.estimates = true feeds it as an estimate"
                );
            }
        }
        if matches!(self.before, Before::Unknown) {
            self.before = Before::Known {
                since: snapshot.window.ended,
                charged: charged(&plan),
            };
        }
        let share = match self.opened() {
            Ok(share) => share,
            Err(error) => {
                let reason = match error.kind() {
                    ErrorKind::WouldBlock => {
                        // What is charged meanwhile the other one writes, and where its counters stand then is in the files.
                        (self.before, self.fed) = (Before::Unknown, None);
                        Reason::Busy
                    }
                    _ => Reason::Io,
                };
                let path = self.dir.display().to_string();
                self.complain(reason, now, &path, &error.to_string());
                self.health.feeds(0);
                return;
            }
        };
        let mut fed = match self.fed.take() {
            Some(fed) => fed,
            None => self.left(&share, now),
        };
        let mut written = 0_usize;
        for machine in &plan.machines {
            written += usize::from(self.feed(&share, &mut fed, machine, now));
        }
        self.health.feeds(written);
        self.forget(&share, &mut fed, now);
        self.fed = Some(fed);
        self.share = Some(share);
    }

    fn opened(&mut self) -> io::Result<Share> {
        match self.share.take().filter(|share| share.is_at(&self.dir)) {
            Some(share) => Ok(share),
            None => Share::open(&self.dir),
        }
    }

    /// What an earlier run has left: it has its time from now on, and its counters are read when its machine is seen.
    fn left(&mut self, share: &Share, now: MonotonicNanos) -> BTreeMap<String, Fed> {
        let names = share.fed(&self.dir, MOST_TREES).unwrap_or_else(|error| {
            let path = self.dir.display().to_string();
            self.complain(Reason::Io, now, &path, &error.to_string());
            Vec::new()
        });
        let begun = |name| {
            let fed = Fed {
                alive: now,
                counters: Vec::new(),
            };
            (name, fed)
        };
        names.into_iter().map(begun).collect()
    }

    /// Writes one machine's counters; `true` when all of them were.
    fn feed(
        &mut self,
        share: &Share,
        all: &mut BTreeMap<String, Fed>,
        machine: &Planned<'_>,
        now: MonotonicNanos,
    ) -> bool {
        let Some(name) = folder(machine.id) else {
            let id = machine.id.as_str().escape_debug().to_string();
            let words = "not fed: such an id is no name of a folder; give the machine a UUID";
            self.complain(Reason::Unnameable, now, &id, words);
            return false;
        };
        if machine.figures.is_empty() {
            return false;
        }
        if !all.contains_key(name) {
            if !machine.alive {
                return false;
            }
            if all.len() >= MOST_TREES {
                let words = format!("not fed: there are {MOST_TREES} machines already");
                self.complain(Reason::Crowded, now, name, &words);
                return false;
            }
        }
        let fed = all.entry(name.to_owned()).or_insert_with(|| Fed {
            alive: now,
            counters: Vec::new(),
        });
        if machine.alive {
            fed.alive = now;
        }
        let folder = match share.machine(name) {
            Ok(folder) => folder,
            Err(error) => {
                self.complain(Reason::Io, now, name, &error.to_string());
                return false;
            }
        };
        let mut all_written = true;
        for figure in &machine.figures {
            let written = folder
                .zone(figure.kind)
                .and_then(|(zone, made)| self.count(&zone, made, &mut fed.counters, figure, now, name));
            match written {
                Ok(()) => self.health.wrote(),
                Err(error) => {
                    let place = format!("{name}/{}", figure.kind.folder());
                    self.complain(Reason::Io, now, &place, &error.to_string());
                    all_written = false;
                }
            }
        }
        all_written
    }

    /// Has one counter go on.
    fn count(
        &mut self,
        zone: &Zone,
        made: bool,
        counters: &mut Vec<Counter>,
        figure: &Figure,
        now: MonotonicNanos,
        name: &str,
    ) -> io::Result<()> {
        let known = counters.iter().position(|counter| counter.kind == figure.kind);
        let index = match known {
            Some(index) => index,
            None => {
                let shown = self.begun(zone, figure.kind, now, name)?;
                let (paid, began) = self.before.paid(name, figure);
                counters.push(Counter {
                    kind: figure.kind,
                    shown,
                    paid,
                    began,
                    said: None,
                });
                counters.len() - 1
            }
        };
        let Some(counter) = counters.get_mut(index) else {
            return Ok(());
        };
        // Before the value: energy that is already an estimate must not be there under a meter's word.
        if made || counter.said != Some(figure.provenance) {
            counter.said = None;
            zone.describe(figure.kind, &words(figure.provenance))?;
            counter.said = Some(figure.provenance);
        }
        if counter.began != figure.began {
            (counter.paid, counter.began) = (Microjoules::ZERO, figure.began);
        }
        let value = advanced(counter.shown, counter.paid, figure.total);
        zone.show(value)?;
        (counter.shown, counter.paid) = (value, figure.total);
        Ok(())
    }

    /// Where a counter begins: where its file stands.
    fn begun(&mut self, zone: &Zone, kind: Kind, now: MonotonicNanos, name: &str) -> io::Result<u64> {
        match zone.counter() {
            Ok(stands) => Ok(stands.unwrap_or(0)),
            Err(Unread::Io(error)) => Err(error),
            Err(Unread::Damaged(what)) => {
                zone.set_aside()?;
                let place = format!("{name}/{}", kind.folder());
                let words = format!("energy_uj is none of ours, it is set aside and counted from 0: {what}");
                self.complain(Reason::Damaged, now, &place, &words);
                Ok(0)
            }
        }
    }

    /// Takes folders away whose machine is gone for long enough. Of one that is still there nothing is forgotten: its row may come
    /// back, and goes on then.
    fn forget(&mut self, share: &Share, all: &mut BTreeMap<String, Fed>, now: MonotonicNanos) {
        let mut removed = Vec::new();
        for (name, fed) in all.iter() {
            if now.since(fed.alive) < self.keep {
                continue;
            }
            match share.remove(name) {
                Ok(()) => removed.push(name.clone()),
                Err(error) => self.complain(Reason::Io, now, name, &error.to_string()),
            }
        }
        for name in removed {
            all.remove(&name);
        }
    }

    /// Counts, and says so now and then.
    fn complain(&mut self, reason: Reason, now: MonotonicNanos, place: &str, words: &str) {
        self.health.failed(reason);
        let since = self.warned.iter_mut().find(|(of, _)| *of == reason);
        let is_news = match since {
            Some((_, at)) if now.since(*at) < QUIET => false,
            Some((_, at)) => {
                *at = now;
                true
            }
            None => {
                self.warned.push((reason, now));
                true
            }
        };
        let (reason, place) = (reason.name(), place.escape_debug().to_string());
        if is_news {
            tracing::warn!(reason, place, detail = words, "a guest cannot be fed");
        } else {
            tracing::debug!(reason, place, detail = words, "a guest cannot be fed");
        }
    }
}

/// What every machine was charged so far.
fn charged(plan: &Plan<'_>) -> HashMap<(String, Kind), Figure> {
    let figures = plan.machines.iter().flat_map(|machine| {
        let name = folder(machine.id).unwrap_or_default();
        let figures = machine.figures.iter();
        figures.map(move |figure| ((name.to_owned(), figure.kind), *figure))
    });
    figures.collect()
}
