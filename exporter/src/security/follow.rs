// SPDX-License-Identifier: Apache-2.0
//! Takes new certificates, users and tokens when their files change. A change is taken once the files have not changed any more
//! from one look to the next, so that a certificate and its key, or a file, that are being written are not taken
//! by halves. What cannot be used is said and counted once, and what was there stays; it is tried again at each look, because what
//! was missing may not have been in the files (a descriptor, memory, a folder of a network), and then no file changes when it is there.

use super::Security;
use super::health::Health;
use super::rules::{Part, Rules};
use super::shelf::Shelf;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// A part of the rules: what was read last, and a change of it that was seen once.
#[derive(Debug)]
pub(super) struct Follower {
    part: Part,
    read: Shelf,
    changed: Option<Shelf>,
    /// What was read last could not be used.
    has_failed: bool,
}

/// What a look is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All is as it was read.
    Same,
    /// Something changes.
    Changing,
    /// Something has changed.
    Changed,
}

impl Follower {
    pub(super) const fn new(part: Part, read: Shelf) -> Self {
        Self {
            part,
            read,
            changed: None,
            has_failed: false,
        }
    }

    fn look(&mut self) -> Look {
        let now = self.read.now();
        if now == self.read {
            self.changed = None;
            return Look::Same;
        }
        if self.changed.as_ref() == Some(&now) {
            self.changed = None;
            return Look::Changed;
        }
        self.changed = Some(now);
        Look::Changing
    }
}

impl Security {
    /// Files that are read again when they change.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let followers = self.followers();
        let paths = followers.iter().flat_map(|follower| follower.read.paths());
        paths.map(Path::to_owned).collect()
    }

    /// Looks at the files every `period`, for ever.
    pub(crate) async fn follow(self: Arc<Self>, period: Duration, health: Arc<Health>) {
        if self.files().is_empty() {
            return std::future::pending().await;
        }
        health.begins(self.rules().certificate_ends());
        loop {
            sleep(period).await;
            let (security, health) = (Arc::clone(&self), Arc::clone(&health));
            // Reading may block: a folder of a network, a disk that sleeps.
            if let Err(error) = tokio::task::spawn_blocking(move || security.look(&health)).await {
                tracing::error!(%error, "cannot look at the web configuration");
            }
        }
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Follower>> {
        // One that was left in the middle of a look looks again.
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look.
    pub(super) fn look(&self, health: &Health) {
        let mut followers = self.followers();
        for follower in followers.iter_mut() {
            self.look_at(follower, health);
        }
        health.is_good(followers.iter().all(|follower| !follower.has_failed));
    }

    fn look_at(&self, follower: &mut Follower, health: &Health) {
        let is_news = match follower.look() {
            Look::Changed => true,
            Look::Same if follower.has_failed => false,
            Look::Same | Look::Changing => return,
        };
        let (rules, mut shelf) = (self.rules(), Shelf::default());
        let next = self.next(&rules, follower.part, &mut shelf);
        follower.read = shelf;
        follower.has_failed = next.is_err();
        match next {
            Ok(next) => {
                tracing::info!(security = next.describe(), "web configuration changed");
                health.taken(next.certificate_ends());
                *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            }
            Err(reason) if is_news => {
                health.kept();
                tracing::error!(
                    reason,
                    "web configuration changed and is not taken; the old one stays"
                );
            }
            Err(reason) => tracing::debug!(reason, "web configuration is still not taken"),
        }
    }

    /// The rules with a part read anew, or why they cannot be taken.
    fn next(&self, rules: &Rules, part: Part, shelf: &mut Shelf) -> Result<Rules, String> {
        let next = rules.read(part, &self.files, shelf);
        let next = next.map_err(|error| error.to_string())?;
        match rules.refuse(&next) {
            None => Ok(next),
            Some(reason) => Err(reason.to_owned()),
        }
    }
}
