// SPDX-License-Identifier: Apache-2.0
//! What holds in every snapshot, and from each to the next.

use attribution::model::snapshot::{Charge, Ledger};
use attribution::model::*;
use std::collections::HashMap;

/// The totals of a level, zone by zone.
fn sum<'a>(rows: impl Iterator<Item = &'a Ledger> + Clone, zone: usize) -> Charge {
    let mut total = Charge::default();
    for charge in rows.filter_map(|ledger| ledger.charges.get(zone)) {
        total.dynamic += charge.dynamic;
        total.idle += charge.idle;
    }
    total
}

fn containers(snapshot: &Snapshot) -> impl Iterator<Item = &Ledger> + Clone {
    let rows = snapshot.containers.iter().map(|row| &row.ledger);
    rows.chain([&snapshot.retired.containers])
}

fn processes(snapshot: &Snapshot) -> impl Iterator<Item = &Ledger> + Clone {
    let rows = snapshot.processes.iter().map(|row| &row.ledger);
    rows.chain([&snapshot.other_processes, &snapshot.retired.processes])
}

/// CPU time of all containers, and of what is outside of them.
pub(super) fn cpu(snapshot: &Snapshot) -> u64 {
    containers(snapshot).map(|ledger| ledger.cpu.as_nanos()).sum()
}

/// Every level adds up to what the zones were paid, to the microjoule.
pub(super) fn conserves(snapshot: &Snapshot, seed: u64) {
    let of_processes: u64 = processes(snapshot).map(|ledger| ledger.cpu.as_nanos()).sum();
    assert_eq!(cpu(snapshot), of_processes, "seed {seed}: CPU time of the levels");
    for (index, zone) in snapshot.zones.iter().enumerate() {
        for level in [sum(containers(snapshot), index), sum(processes(snapshot), index)] {
            let name = format!("seed {seed}, tick {}: {}", snapshot.tick.0, zone.zone);
            assert_eq!(level.dynamic + zone.unattributed, zone.dynamic, "{name}, dynamic");
            assert_eq!(level.idle + zone.unreserved_idle, zone.idle, "{name}, idle");
        }
    }
}

/// No counter that is shown is lower than it ever was.
pub(super) fn nothing_falls(snapshot: &Snapshot, seen: &mut HashMap<String, u64>, seed: u64) {
    let mut enter = |name: String, now: u64| {
        let before = seen.insert(name.clone(), now).unwrap_or(0);
        assert!(now >= before, "seed {seed}: {name} fell from {before} to {now}");
    };
    for zone in &snapshot.zones {
        let figures = [
            ("dynamic", zone.dynamic),
            ("idle", zone.idle),
            ("unattributed", zone.unattributed),
            ("unreserved", zone.unreserved_idle),
        ];
        for (name, figure) in figures {
            enter(format!("{} {name}", zone.zone), figure.as_micro());
        }
    }
    let rows = snapshot
        .containers
        .iter()
        .map(|row| (format!("{:?}", row.key), &row.ledger));
    let pods = snapshot
        .pods
        .iter()
        .map(|row| (format!("pod {}", row.key), &row.ledger));
    let units = snapshot
        .units
        .iter()
        .map(|row| (format!("{:?}", row.key), &row.ledger));
    for (name, ledger) in rows.chain(pods).chain(units) {
        enter(format!("{name} cpu"), ledger.cpu.as_nanos());
        for (zone, charge) in ledger.charges.iter().enumerate() {
            enter(format!("{name} {zone} dynamic"), charge.dynamic.as_micro());
            enter(format!("{name} {zone} idle"), charge.idle.as_micro());
        }
    }
}
