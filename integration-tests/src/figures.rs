// SPDX-License-Identifier: Apache-2.0
//! Sums over the JSON snapshot, and the laws that each one must keep.

use serde_json::Value;
use std::collections::BTreeMap;

/// Rows of an array field.
#[must_use]
pub fn rows<'a>(snapshot: &'a Value, field: &str) -> &'a [Value] {
    snapshot[field].as_array().map_or(&[], Vec::as_slice)
}

/// An integer field.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn integer(row: &Value, field: &str) -> u64 {
    row[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no integer {field} in {row}"))
}

/// Microjoules that a row was charged in `zone`, by mode.
#[must_use]
pub fn charged(row: &Value, zone: usize, mode: &str) -> u64 {
    let ours = rows(row, "charges")
        .iter()
        .filter(|charge| charge["zone"] == zone);
    ours.map(|charge| integer(charge, &format!("{mode}_uj"))).sum()
}

/// Dynamic and idle microjoules of a row in all zones.
#[must_use]
pub fn energy(row: &Value) -> u64 {
    rows(row, "charges")
        .iter()
        .map(|charge| integer(charge, "dynamic_uj") + integer(charge, "idle_uj"))
        .sum()
}

/// Checks invariant 1: every level that covers the node adds up to each zone, to the microjoule.
///
/// # Panics
/// When it does not.
pub fn conserves(snapshot: &Value) {
    assert_eq!(imbalances(snapshot), Vec::<String>::new());
}

/// Where invariant 1 does not hold, in words.
#[must_use]
pub fn imbalances(snapshot: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (index, zone) in rows(snapshot, "zones").iter().enumerate() {
        for (mode, nobody) in [("dynamic", "unattributed_uj"), ("idle", "unreserved_idle_uj")] {
            let total = integer(zone, &format!("{mode}_uj"));
            for level in ["containers", "processes"] {
                let named: u64 = rows(snapshot, level)
                    .iter()
                    .map(|row| charged(row, index, mode))
                    .sum();
                let retired = charged(&snapshot["retired"][level], index, mode);
                let other = if level == "processes" {
                    charged(&snapshot["other_processes"], index, mode)
                } else {
                    0
                };
                let sum = named + retired + other + integer(zone, nobody);
                if sum != total {
                    found.push(format!("{mode} of {level} is {sum} and not {total} in {zone}"));
                }
            }
        }
    }
    found
}

/// Every counter of a snapshot by a name, to be compared with a later one.
#[must_use]
pub fn counters(snapshot: &Value) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let keys = [
        ("containers", "id"),
        ("pods", "uid"),
        ("units", "unit"),
        ("processes", "pid"),
    ];
    for (level, key) in keys {
        for row in rows(snapshot, level) {
            let start = &row["start_ticks"];
            let name = format!("{level} {} {} {} {start}", row["kind"], row[key], row["slice"]);
            all.insert(format!("{name} cpu"), integer(row, "cpu_ns"));
            for charge in rows(row, "charges") {
                all.insert(
                    format!("{name} {} dynamic", charge["zone"]),
                    integer(charge, "dynamic_uj"),
                );
                all.insert(
                    format!("{name} {} idle", charge["zone"]),
                    integer(charge, "idle_uj"),
                );
            }
        }
    }
    for (index, zone) in rows(snapshot, "zones").iter().enumerate() {
        for field in ["dynamic_uj", "idle_uj", "unattributed_uj", "unreserved_idle_uj"] {
            all.insert(format!("zone {index} {field}"), integer(zone, field));
        }
    }
    all
}

/// Checks invariant 2 between two snapshots.
///
/// # Panics
/// When a counter fell.
pub fn nothing_fell(before: &Value, after: &Value) {
    let after = counters(after);
    for (name, then) in counters(before) {
        if let Some(now) = after.get(&name) {
            assert!(*now >= then, "{name} fell from {then} to {now}");
        }
    }
}

/// The row of a container.
#[must_use]
pub fn container<'a>(snapshot: &'a Value, id: &str) -> Option<&'a Value> {
    rows(snapshot, "containers").iter().find(|row| row["id"] == id)
}
