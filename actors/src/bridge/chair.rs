// SPDX-License-Identifier: Apache-2.0
//! Who reads a meter, and whoever takes that one's place between two readings, so that their totals go on as one.

use super::slot::{Shared, Slot};
use crate::clock::Clock;
use crate::splice::Splice;
use attribution::model::{Energy, MonotonicNanos};
use power_sources::PowerSource;

/// A reader in a thread of its own.
pub struct Chair {
    meter: Box<dyn PowerSource>,
    next: Slot<Box<dyn PowerSource>>,
    splice: Shared<Splice>,
}

impl Chair {
    /// Whoever is put into `next` takes the meter's place right after its last reading; `splice` has the totals of both.
    #[must_use]
    pub fn new(
        meter: Box<dyn PowerSource>,
        next: Slot<Box<dyn PowerSource>>,
        splice: Shared<Splice>,
    ) -> Self {
        Self { meter, next, splice }
    }

    /// One reading, which began at `began`. `splice` is not held meanwhile: a file may hang.
    pub fn read(&mut self, began: MonotonicNanos, clock: &Clock) -> Energy {
        let read = self.meter.read(began);
        let mut told = self.splice.with(|splice| splice.tell(read));
        if let Some(mut other) = self.next.take() {
            let followed = other.follow(self.meter.leave());
            let first = other.read(clock());
            self.splice
                .with(|splice| splice.turn_to(&followed, first, &mut told));
            self.meter = other;
        }
        told
    }

    /// What is read by now, for people.
    #[must_use]
    pub fn detail(&self) -> String {
        self.meter.detail()
    }
}
