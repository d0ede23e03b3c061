// SPDX-License-Identifier: Apache-2.0
//! One viewer's stream of server-sent events (WHATWG HTML, 9.2): `update` when a slot has ended, `alive` while none has.

use super::{Live, Update};
use crate::config::Level;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

/// Longest silence: with ticks of a minute a page must still learn within seconds that its daemon is gone, and what
/// stands between them must not take the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What a browser waits before it comes again, in milliseconds.
const GREETING: &[u8] = b"retry: 2000\n\n";

const ALIVE: &[u8] = b"event: alive\ndata: {}\n\n";

/// The event for one update. JSON has no line breaks, so that one line of data holds it.
pub(super) fn update(slot: u64, json: &str) -> Bytes {
    Bytes::from(format!("event: update\nid: {slot}\ndata: {json}\n\n"))
}

struct Viewer {
    live: Arc<Live>,
    level: Level,
    updates: watch::Receiver<Option<Arc<Update>>>,
    stopped: watch::Receiver<bool>,
    /// The slot that was sent last.
    seen: Option<u64>,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

/// Events for whoever has `place`, beginning with the newest update. Ends when the server stops.
pub(super) fn stream(
    live: Arc<Live>,
    level: Level,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Sync + 'static {
    let mut updates = live.newest.subscribe();
    updates.mark_changed();
    let viewer = Viewer {
        level,
        updates,
        stopped: live.stopped.clone(),
        seen: None,
        greeted: false,
        _place: place,
        live,
    };
    stream::unfold(viewer, |mut viewer| async {
        let event = viewer.next().await?;
        Some((Ok(event), viewer))
    })
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(GREETING));
        }
        loop {
            let newest = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                changed = self.updates.changed() => {
                    changed.ok()?;
                    self.updates.borrow_and_update().clone()
                }
                () = sleep(HEARTBEAT) => return Some(Bytes::from_static(ALIVE)),
            };
            // Before the first window has closed there is nothing to tell.
            if let Some(update) = newest {
                return self.send(&update).await;
            }
        }
    }

    async fn send(&mut self, update: &Arc<Update>) -> Option<Bytes> {
        let expected = self.seen.map_or(update.slot, |seen| seen.saturating_add(1));
        let skipped = update.slot.saturating_sub(expected);
        self.live.counters.skipped.fetch_add(skipped, Ordering::Relaxed);
        self.seen = Some(update.slot);
        self.live.written(update, self.level).await
    }
}
