// SPDX-License-Identifier: Apache-2.0
//! Where somebody waits to take another one's place: put there by whoever reloads, taken by the thread whose work it is, when that
//! is between two readings. Nobody waits for anybody.

use super::sync::{Arc, Mutex, PoisonError};

/// A place for one.
#[derive(Debug)]
pub struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Slot<T> {
    /// Puts one there; whoever still waited was never needed.
    pub fn put(&self, next: T) {
        let waited = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(next);
        // Beyond the lock: it may have files and threads to let go of.
        drop(waited);
    }

    /// Takes the one that waits.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        // A lock of a thread that panicked: nothing is half done between its two lines.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// State of a thread that outlives it.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// Shares it.
    #[must_use]
    pub fn new(state: T) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Does something with it; others wait, so it must not block.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
