// SPDX-License-Identifier: Apache-2.0
//! Checks passwords away from the thread that answers: one at a time, because each takes a core for some 50 ms, with a
//! bounded number of those who wait, and remembers the right ones.

use super::users::Users;
use crate::http::origin::Origin;
use ring::hmac;
use ring::rand::SystemRandom;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Checks that wait at once: with 50 ms each, who comes last waits less than a second.
const MOST_WAITING: usize = 16;

/// And of one origin: whoever tries passwords shall not fill the queue alone.
const MOST_OF_ONE: usize = 4;

/// Right pairs that are remembered. Each of a few scrapers and people has one; the oldest goes first.
const MOST_REMEMBERED: usize = 64;

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
    /// Too many wait already.
    Busy,
}

/// See the module's head. Wrong pairs are not remembered: whoever tries many would make the right ones be forgotten.
pub(super) struct Passwords {
    /// Pairs are remembered under a key of this run, so that memory holds no password and no plain hash of one.
    key: Option<hmac::Key>,
    right: Mutex<VecDeque<[u8; 32]>>,
    waiting: Mutex<BTreeMap<Origin, usize>>,
    /// Held by the check that runs.
    pub(super) one: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        // Without randomness nothing is remembered, and every check costs its time.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self {
            key,
            right: Mutex::default(),
            waiting: Mutex::default(),
            one: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) async fn check(
        self: &Arc<Self>,
        users: &Users,
        origin: Origin,
        name: &[u8],
        password: &[u8],
    ) -> Answer {
        let claim = users.claim(name);
        // The hash is part of it: a password that was changed is not remembered.
        let pair = self.digest(&[name, claim.hash.as_bytes(), password]);
        if claim.exists && pair.is_some_and(|pair| self.right().contains(&pair)) {
            return Answer::Right;
        }
        let Some(_waits) = self.wait(origin) else {
            return Answer::Busy;
        };
        let Ok(alone) = Arc::clone(&self.one).acquire_owned().await else {
            return Answer::Busy;
        };
        let password = password.to_vec();
        let checked = tokio::task::spawn_blocking(move || {
            // It goes on after whoever asked has hung up, and still nobody else begins.
            let _alone = alone;
            claim.holds(&password)
        });
        match checked.await {
            Ok(true) => {
                self.remember(pair);
                Answer::Right
            }
            Ok(false) => Answer::Wrong,
            Err(_) => Answer::Busy,
        }
    }

    fn digest(&self, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in parts {
            // With their lengths, so that no two pairs are the same bytes.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok()
    }

    fn right(&self) -> MutexGuard<'_, VecDeque<[u8; 32]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, pair: Option<[u8; 32]>) {
        let mut right = self.right();
        let Some(pair) = pair.filter(|pair| !right.contains(pair)) else {
            return;
        };
        if right.len() >= MOST_REMEMBERED {
            right.pop_front();
        }
        right.push_back(pair);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Origin, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(self: &Arc<Self>, origin: Origin) -> Option<Waiting> {
        let mut waiting = self.waiting();
        let all: usize = waiting.values().sum();
        let of_this = waiting.entry(origin).or_default();
        if all >= MOST_WAITING || *of_this >= MOST_OF_ONE {
            if *of_this == 0 {
                waiting.remove(&origin);
            }
            return None;
        }
        *of_this += 1;
        Some(Waiting(Arc::clone(self), origin))
    }
}

/// One who waits; gone when dropped.
struct Waiting(Arc<Passwords>, Origin);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        if let Some(of_this) = waiting.get_mut(&self.1) {
            *of_this = of_this.saturating_sub(1);
            if *of_this == 0 {
                waiting.remove(&self.1);
            }
        }
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}
