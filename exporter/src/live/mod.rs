// SPDX-License-Identifier: Apache-2.0
//! What people who look are told: the page at `/`, its files, the last fifteen minutes as JSON, and live updates.
//!
//! Owns the history (fed by the same watch that the routes read, so that no viewer touches a mailbox), the number of
//! viewers, and what they are sent. Each update is written once per level and shared by all who look at that level, where the forms
//! of a page are written: nothing here that grows with the node is done on the thread that answers.
//! Refuses to slow anybody down: a viewer that cannot keep up gets the newest update next, and a viewer too many is told so.
//!
//! The routes, their fields and their bounds are documented in docs/page.md.

mod assets;
mod events;
mod routes;
#[cfg(test)]
mod tests;
mod update;
mod view;

pub(crate) use routes::{EVENTS, respond};

use crate::config::Level;
use crate::history::{History, WORKLOADS};
use crate::http::scribe::Scribe;
use crate::page::Page;
use attribution::model::MonotonicNanos;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Viewers at once: a sixteenth of the connections, so that scrapers and probes always have theirs. Each holds at most one
/// update that is being sent.
const MOST_VIEWERS: usize = 16;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Live {
    pages: watch::Receiver<Arc<Page>>,
    now: fn() -> MonotonicNanos,
    tick: Duration,
    history: Mutex<History>,
    newest: watch::Sender<Option<Arc<Update>>>,
    stopped: watch::Receiver<bool>,
    viewers: Arc<Semaphore>,
    scribe: Scribe,
    counters: Counters,
}

/// What happened to viewers since start.
#[derive(Debug, Default)]
struct Counters {
    /// Turned away, because there were too many.
    refused: AtomicU64,
    /// Updates that a viewer was too slow for.
    skipped: AtomicU64,
}

/// The snapshot that ended a slot, and its update for each level.
#[derive(Debug)]
struct Update {
    slot: u64,
    page: Arc<Page>,
    written: [OnceLock<Bytes>; WORKLOADS.len()],
}

impl Update {
    /// Where it is kept as viewers of this level get it.
    fn of(&self, level: Level) -> Option<&OnceLock<Bytes>> {
        let position = WORKLOADS.iter().position(|one| *one == level);
        position.and_then(|position| self.written.get(position))
    }
}

impl Live {
    /// Nobody looks yet. Without [`Self::record`] there is no history and no update.
    pub(crate) fn new(
        pages: watch::Receiver<Arc<Page>>,
        now: fn() -> MonotonicNanos,
        tick: Duration,
        stopped: watch::Receiver<bool>,
        scribe: Scribe,
    ) -> Self {
        Self {
            pages,
            now,
            tick,
            history: Mutex::new(History::new(tick)),
            newest: watch::channel(None).0,
            stopped,
            viewers: Arc::new(Semaphore::new(MOST_VIEWERS)),
            scribe,
            counters: Counters::default(),
        }
    }

    /// Takes in every page from now on, until nobody publishes any more. A page that it is too late for is skipped, and
    /// the next one says all that it said.
    pub(crate) async fn record(self: Arc<Self>) {
        let mut pages = self.pages.clone();
        pages.mark_changed();
        while pages.changed().await.is_ok() {
            let page = Arc::clone(&pages.borrow_and_update());
            let live = Arc::clone(&self);
            if self.scribe.run(move || live.take(page)).await.is_none() {
                return;
            }
        }
        // Whoever waits for this means the server's end; a page that nobody replaces any more is no reason for it.
        std::future::pending::<()>().await;
    }

    fn take(&self, page: Arc<Page>) {
        let slot = {
            let mut history = self.history();
            if let Some(tick) = page.settings().tick {
                history.retime(tick);
            }
            if !history.record(page.snapshot()) {
                return;
            }
            history.newest()
        };
        let update = Update {
            slot,
            page,
            written: Default::default(),
        };
        self.newest.send_replace(Some(Arc::new(update)));
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // It has no state between two lines that another would not understand.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An update as viewers of this level get it; `None` where writing failed.
    async fn written(self: &Arc<Self>, update: &Arc<Update>, level: Level) -> Option<Bytes> {
        if let Some(written) = update.of(level).and_then(OnceLock::get) {
            return Some(written.clone());
        }
        let (live, update) = (Arc::clone(self), Arc::clone(update));
        self.scribe.run(move || live.write(&update, level)).await
    }

    fn write(&self, update: &Update, level: Level) -> Bytes {
        let write = || {
            let history = self.history();
            let json = update::json(
                update.page.snapshot(),
                &history,
                level,
                (self.now)(),
                self.traffic(),
            );
            events::update(update.slot, &json)
        };
        match update.of(level) {
            Some(written) => written.get_or_init(write).clone(),
            None => write(),
        }
    }

    fn traffic(&self) -> update::Traffic {
        update::Traffic {
            viewers: MOST_VIEWERS.saturating_sub(self.viewers.available_permits()),
            most_viewers: MOST_VIEWERS,
            refused: self.counters.refused.load(Ordering::Relaxed),
            skipped: self.counters.skipped.load(Ordering::Relaxed),
        }
    }
}
