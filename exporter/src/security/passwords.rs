// SPDX-License-Identifier: Apache-2.0
//! Checks passwords away from the thread that answers: one at a time, because each takes a core for some 50 ms, with a
//! bounded number of those who wait (`queue` says who may), and remembers the right ones.

use super::queue::{Queue, Ticket};
use super::recent::Recent;
use super::users::Users;
use crate::http::origin::Origin;
use ring::hmac;
use ring::rand::SystemRandom;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, Semaphore};

/// Right pairs that are remembered. Each of a few scrapers and people has one.
const MOST_REMEMBERED: usize = 64;

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
    /// Too many wait already.
    Busy,
}

/// A name, the hash that it had, and the password that was right, as a digest under a key of this run: memory holds no password and no
/// plain hash of one.
struct Pair([u8; 32]);

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// See the module's head. Wrong pairs are not remembered: whoever tries many would make the right ones be forgotten.
pub(super) struct Passwords {
    key: Option<hmac::Key>,
    right: Mutex<Recent<Pair>>,
    queue: Mutex<Queue>,
    /// Somebody had to make room.
    left: Notify,
    /// Held by the check that runs.
    pub(super) one: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        // Without randomness nothing is remembered, and every check costs its time.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self {
            key,
            right: Mutex::new(Recent::new(MOST_REMEMBERED)),
            queue: Mutex::default(),
            left: Notify::new(),
            one: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether this was right before, which takes no place in the queue and no time.
    pub(super) fn knows(&self, users: &Users, origin: Origin, name: &[u8], password: &[u8]) -> bool {
        let claim = users.claim(name);
        let Some(pair) = self.pair(name, &claim.hash, password).filter(|_| claim.exists) else {
            return false;
        };
        let mut right = self.right();
        let knows = right.has(&pair);
        if knows {
            right.see(pair);
            self.queue().learn(origin, true);
        }
        knows
    }

    pub(super) async fn check(
        self: &Arc<Self>,
        users: &Users,
        origin: Origin,
        name: &[u8],
        password: &[u8],
    ) -> Answer {
        if self.knows(users, origin, name, password) {
            return Answer::Right;
        }
        let Some(waiting) = self.wait(origin) else {
            return Answer::Busy;
        };
        let alone = tokio::select! {
            alone = Arc::clone(&self.one).acquire_owned() => alone,
            () = waiting.has_left() => return Answer::Busy,
        };
        let Ok(alone) = alone else {
            return Answer::Busy;
        };
        // Whoever was before us may have shown the same.
        if self.knows(users, origin, name, password) {
            return Answer::Right;
        }
        if !self.queue().serve(waiting.ticket) {
            return Answer::Busy;
        }
        let claim = users.claim(name);
        let pair = self.pair(name, &claim.hash, password);
        let password = password.to_vec();
        let checked = tokio::task::spawn_blocking(move || {
            // It goes on after whoever asked has hung up: still nobody else begins, its share is still taken, and what came out is
            // known of its address.
            let (_alone, waiting) = (alone, waiting);
            let is_right = claim.holds(&password);
            waiting.passwords.queue().learn(origin, is_right);
            if let Some(pair) = pair.filter(|_| is_right) {
                waiting.passwords.right().see(pair);
            }
            is_right
        });
        match checked.await {
            Ok(true) => Answer::Right,
            Ok(false) => Answer::Wrong,
            Err(_) => Answer::Busy,
        }
    }

    /// The hash is part of it: a password that was changed is not remembered.
    fn pair(&self, name: &[u8], hash: &str, password: &[u8]) -> Option<Pair> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in [name, hash.as_bytes(), password] {
            // With their lengths, so that no two pairs are the same bytes.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok().map(Pair)
    }

    fn right(&self) -> MutexGuard<'_, Recent<Pair>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(self: &Arc<Self>, origin: Origin) -> Option<Waiting> {
        let ticket = self.queue().enter(origin)?;
        self.left.notify_waiters();
        Some(Waiting {
            passwords: Arc::clone(self),
            ticket,
        })
    }
}

/// One who waits; gone when dropped.
struct Waiting {
    passwords: Arc<Passwords>,
    ticket: Ticket,
}

impl Waiting {
    /// Ready when it had to make room.
    async fn has_left(&self) {
        loop {
            let left = self.passwords.left.notified();
            if !self.passwords.queue().has(self.ticket) {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.passwords.queue().leave(self.ticket);
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}
