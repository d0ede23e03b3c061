// SPDX-License-Identifier: Apache-2.0
//! Looks at a daemon's pages again and again, and holds each against the one before.

use crate::daemon::pause;
use crate::figures::{conserves, counters, nothing_fell};
use crate::http;
use crate::promtext::parse;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// Snapshots that were read, each another one.
    pub snapshots: u64,
    /// Text pages that were read.
    pub pages: u64,
    /// Counters that were held against themselves, in the last look at each page.
    pub counters: usize,
}

/// A thread that looks.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Looks>>,
}

impl Watch {
    /// Begins to look.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let halts = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut page = Page::default();
            while !halts.load(Ordering::Relaxed) {
                page.look(address);
                pause();
            }
            page.looks
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends, with what it found wrong as its own panic.
    ///
    /// # Panics
    /// When a law did not hold, when there was nothing to look at, and when it is stopped twice.
    pub fn stop(&mut self) -> Looks {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        let looks = thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // However long nobody can answer: before and after that somebody does.
        assert!(looks.snapshots > 0, "no snapshot was ever read: {looks:?}");
        assert!(looks.pages > 0, "no text page was ever read: {looks:?}");
        looks
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Page {
    snapshot: Value,
    totals: BTreeMap<String, f64>,
    looks: Looks,
}

impl Page {
    /// No answer is no fault here: the fault may be that nobody can answer. What is answered has to be right.
    fn look(&mut self, address: SocketAddr) {
        if let Ok(answer) = http::get(address, "/api/v1/snapshot", &[])
            && answer.status == 200
        {
            let snapshot: Value = serde_json::from_slice(&answer.body).expect("JSON");
            if snapshot["tick"] != self.snapshot["tick"] {
                conserves(&snapshot);
                nothing_fell(&self.snapshot, &snapshot);
                self.looks.snapshots += 1;
                self.looks.counters = counters(&snapshot).len() + self.totals.len();
                self.snapshot = snapshot;
            }
        }
        if let Ok(answer) = http::get(address, "/metrics", &[])
            && answer.status == 200
        {
            let totals = totals(&answer.text());
            self.looks.pages += 1;
            for (name, now) in &totals {
                let then = self.totals.get(name).unwrap_or(now);
                assert!(now >= then, "{name} fell from {then} to {now}");
            }
            // Another process may have the pid, the command and the container of one that is gone: its series begins anew. Every
            // other name is somebody's own for as long as the daemon runs, also where its series was away for a while.
            self.totals.retain(|name, _| !name.contains("\"pid\": "));
            self.totals.extend(totals);
        }
    }
}

/// Every counter of the text page.
fn totals(text: &str) -> BTreeMap<String, f64> {
    let all = parse(text).into_iter();
    all.filter(|sample| sample.name.ends_with("_total"))
        .map(|sample| (format!("{} {:?}", sample.name, sample.labels), sample.float()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "no snapshot was ever read")]
    fn who_never_had_an_answer_has_not_seen_that_all_is_well() {
        // Nobody listens there.
        Watch::start(SocketAddr::from(([127, 0, 0, 1], 1))).stop();
    }
}
