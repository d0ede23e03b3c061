// SPDX-License-Identifier: Apache-2.0
//! Views of ledgers: CPU time, events and charges, each without what says nothing.

use attribution::model::snapshot::{Charge, Ledger, Retired};
use attribution::model::{Event, EventCounts, EventSet};
use serde::{Serialize, Serializer};

/// The names of what is counted.
pub(super) struct Counted(pub(super) EventSet);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Event::name))
    }
}

/// The events of a ledger by name, without those that nobody counts.
pub(super) struct Events<'a>(pub(super) &'a EventCounts, pub(super) EventSet);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(counts, counted) = self;
        serializer.collect_map(counted.iter().map(|event| (event.name(), counts.get(event))))
    }
}

/// The charges of a ledger, without the empty ones.
pub(super) struct Charges<'a>(pub(super) &'a [Charge]);

impl Serialize for Charges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct ChargeView {
            zone: usize,
            dynamic_uj: u64,
            idle_uj: u64,
            /// Of a device: time that it was used.
            #[serde(skip_serializing_if = "Option::is_none")]
            used_ns: Option<u64>,
        }
        let positions = self.0.iter().enumerate();
        let paid = positions.filter(|(_, charge)| **charge != Charge::default());
        serializer.collect_seq(paid.map(|(zone, charge)| ChargeView {
            zone,
            dynamic_uj: charge.dynamic.as_micro(),
            idle_uj: charge.idle.as_micro(),
            used_ns: (!charge.used.is_zero()).then(|| charge.used.as_nanos()),
        }))
    }
}

#[derive(Serialize)]
pub(super) struct LedgerView<'a> {
    cpu_ns: u64,
    events: Events<'a>,
    charges: Charges<'a>,
}

pub(super) fn ledger(ledger: &Ledger, counted: EventSet) -> LedgerView<'_> {
    LedgerView {
        cpu_ns: ledger.cpu.as_nanos(),
        events: Events(&ledger.events, counted),
        charges: Charges(&ledger.charges),
    }
}

#[derive(Serialize)]
pub(super) struct RetiredView<'a> {
    processes: LedgerView<'a>,
    containers: LedgerView<'a>,
    pods: LedgerView<'a>,
    vms: LedgerView<'a>,
    units: LedgerView<'a>,
}

pub(super) fn retired(retired: &Retired, counted: EventSet) -> RetiredView<'_> {
    RetiredView {
        processes: ledger(&retired.processes, counted),
        containers: ledger(&retired.containers, counted),
        pods: ledger(&retired.pods, counted),
        vms: ledger(&retired.vms, counted),
        units: ledger(&retired.units, counted),
    }
}
