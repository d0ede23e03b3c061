// SPDX-License-Identifier: Apache-2.0
//! Takes new certificates, users and tokens when their files change. A change is taken once the files have not changed any more
//! from one look to the next, so that a certificate and its key, or a file, that are being written are not taken
//! by halves. What cannot be used is said once and counted, and what was there stays.

use super::Security;
use super::health::Health;
use super::rules::Rules;
use super::shelf::Shelf;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// What was read last, and a change of it that was seen once.
#[derive(Debug)]
pub(super) struct Follower {
    read: Shelf,
    changed: Option<Shelf>,
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
    pub(super) const fn new(read: Shelf) -> Self {
        Self { read, changed: None }
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
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        follower.read.paths().map(Path::to_owned).collect()
    }

    /// Looks at the files every `period`, for ever.
    pub(crate) async fn follow(self: Arc<Self>, period: Duration, health: Arc<Health>) {
        if self
            .follower
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read
            .is_empty()
        {
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

    /// One look.
    pub(super) fn look(&self, health: &Health) {
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        if follower.look() != Look::Changed {
            return;
        }
        let mut shelf = Shelf::default();
        let loaded = Rules::load(&self.files, &mut shelf);
        follower.read = shelf;
        match loaded {
            Ok(next) => match self.rules().refuse(&next) {
                None => {
                    tracing::info!(security = next.describe(), "web configuration changed");
                    health.taken(next.certificate_ends());
                    *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
                }
                Some(reason) => {
                    health.kept();
                    tracing::error!(
                        reason,
                        "web configuration changed and is not taken; the old one stays"
                    );
                }
            },
            Err(error) => {
                health.kept();
                tracing::error!(%error, "web configuration changed and is not taken; the old one stays");
            }
        }
    }
}
