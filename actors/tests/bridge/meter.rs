// SPDX-License-Identifier: Apache-2.0
//! A machine that draws energy, and meters that read it: each counts from its own first reading, or goes on with the one before.

use crate::sync::{AtomicU64, Ordering};
use attribution::model::{
    Component, Energy, Microjoules, MonotonicNanos, PackageId, Place, Provenance, SourceId, Zone, ZoneReading,
};
use power_sources::{PowerSource, Standing};
use std::sync::{Arc, Mutex};

/// The counter of the hardware, and where the last meter stood.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    raw: Arc<AtomicU64>,
    stood: Arc<Mutex<(u64, u64)>>,
}

struct Meter {
    machine: Machine,
    follows: bool,
    last: Option<u64>,
    total: u64,
}

fn zone() -> Zone {
    Zone {
        component: Component::Package,
        place: Place::socket(PackageId(0)),
    }
}

/// What a report says.
pub(crate) fn total(energy: &Energy) -> u64 {
    energy.zones.iter().map(|zone| zone.total.as_micro()).sum()
}

impl Machine {
    pub(crate) fn draw(&self, micro: u64) {
        self.raw.fetch_add(micro, Ordering::SeqCst);
    }

    pub(crate) fn raw(&self) -> u64 {
        self.raw.load(Ordering::SeqCst)
    }

    /// One more meter. The first one begins where the machine stands now.
    pub(crate) fn meter(&self, follows: bool) -> Box<dyn PowerSource> {
        Box::new(Meter {
            machine: self.clone(),
            follows,
            last: None,
            total: 0,
        })
    }
}

impl PowerSource for Meter {
    fn id(&self) -> SourceId {
        SourceId("rapl-sysfs")
    }

    fn components(&self) -> Vec<Component> {
        vec![Component::Package]
    }

    fn detail(&self) -> String {
        String::new()
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let raw = self.machine.raw();
        self.total += raw
            - self
                .last
                .replace(raw)
                .unwrap_or(if self.follows { 0 } else { raw });
        Energy {
            zones: vec![ZoneReading {
                zone: zone(),
                total: Microjoules::from_micro(self.total),
                idle: None,
                provenance: Provenance::Counted,
                at: now,
                device: None,
            }],
            errors: Vec::new(),
        }
    }

    fn leave(&mut self) -> Vec<Standing> {
        *self.machine.stood.lock().unwrap() = (self.last.unwrap_or_default(), self.total);
        Vec::new()
    }

    fn follow(&mut self, _: Vec<Standing>) -> Vec<Zone> {
        if !self.follows {
            return Vec::new();
        }
        let (last, total) = *self.machine.stood.lock().unwrap();
        (self.last, self.total) = (Some(last), total);
        vec![zone()]
    }
}
