// SPDX-License-Identifier: Apache-2.0
//! Hears what the attribution is asked, as a recorder does, and keeps of it what a calibration needs.

use crate::health::Drops;
use crate::recorder::{Tap, WAITING};
use attribution::model::{SourceId, Zone};
use attribution::recording::Entry;
use crossbeam_channel::{Receiver, Sender, bounded};
use power_sources::estimator::calibration::{Watch, Watched};
use power_sources::replay::SOURCE as REPLAYED;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// How long the end may wait for what is before it: some windows, each a matter of microseconds.
const LAST_WORD: Duration = Duration::from_secs(10);

/// Takes entries, live or recorded.
#[derive(Debug, Default)]
pub(super) struct Ear {
    watch: Watch,
    missing: u64,
}

impl Ear {
    /// Takes what matters.
    pub(super) fn hear(&mut self, entry: &Entry) {
        match entry {
            Entry::Usage(report) => self.watch.usage(report.section, &report.body.packages),
            // The watts of one time beside the load of another.
            Entry::Energy { source, .. } if *source == REPLAYED => {}
            Entry::Energy { source, report } => self.watch.energy(*source, &report.body),
            Entry::Gap { missing } => self.missing = self.missing.saturating_add(*missing),
            _ => {}
        }
    }

    /// Entries that are missing.
    pub(super) const fn missing(&self) -> u64 {
        self.missing
    }

    /// What was seen.
    pub(super) fn finish(self) -> Watched {
        self.watch.finish()
    }

    fn look(&self) -> Look {
        let zones = self.watch.progress();
        let newest = self
            .watch
            .newest()
            .map(|(zone, sample)| (zone.clone(), (sample.busy(), sample.watts)));
        Look {
            zones: zones
                .map(|(zone, source, samples)| (zone.clone(), (source, samples)))
                .collect(),
            newest: newest.collect(),
        }
    }
}

/// How far it has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Each zone with its meter and its samples.
    pub(super) zones: BTreeMap<Zone, (SourceId, usize)>,
    /// Busy share and watts of its newest one.
    pub(super) newest: BTreeMap<Zone, (f64, f64)>,
}

/// How far the listener has come, for whoever waits for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<Look>>);

impl Seen {
    /// As it stands.
    pub(super) fn look(&self) -> Look {
        // A look is replaced as a whole, so one whose writer panicked is whole, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, look: Look) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = look;
    }
}

/// The thread that listens.
pub(super) struct Listener {
    entries: Sender<Entry>,
    done: Receiver<Ear>,
    missing: Arc<AtomicU64>,
    seen: Seen,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub(super) fn start() -> anyhow::Result<(Self, Tap)> {
        let (entries, inbox) = bounded(WAITING);
        let (tell, done) = bounded(1);
        let seen = Seen::default();
        let shown = seen.clone();
        let work = move || {
            let ear = listen(&inbox, &shown);
            // Whoever does not wait any more has given up on it.
            let _ = tell.send(ear);
        };
        Builder::new().name("calibration".to_owned()).spawn(work)?;
        let missing = Arc::<AtomicU64>::default();
        let tap = Tap::new(entries.clone(), Drops::default(), Arc::clone(&missing));
        Ok((
            Self {
                entries,
                done,
                missing,
                seen,
            },
            tap,
        ))
    }

    /// How far it has come.
    pub(super) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// Ends it, and gives what was seen and how many reports were missed.
    ///
    /// # Errors
    /// When the thread does not answer.
    pub(super) fn finish(self) -> anyhow::Result<(Watched, u64)> {
        let end = self.entries.send_timeout(Entry::End, LAST_WORD);
        match self.done.recv_timeout(LAST_WORD) {
            Ok(ear) => {
                let missing = ear.missing() + self.missing.load(Ordering::Relaxed);
                Ok((ear.finish(), missing))
            }
            Err(_) => anyhow::bail!("the thread that listens does not end (told: {})", end.is_ok()),
        }
    }
}

fn listen(inbox: &Receiver<Entry>, seen: &Seen) -> Ear {
    let mut ear = Ear::default();
    for entry in inbox {
        ear.hear(&entry);
        match entry {
            Entry::End => break,
            Entry::Usage(_) => seen.show(ear.look()),
            _ => {}
        }
    }
    ear
}
