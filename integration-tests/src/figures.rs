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

/// Checks invariant 1: every level that covers the node adds up to each zone, to the microjoule, and what is inside of another
/// level is no more and no less than what it is a part of.
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
            let sums = Sums {
                snapshot,
                of: &|row| charged(row, index, mode),
            };
            let total = integer(zone, &format!("{mode}_uj"));
            let unpaid = integer(zone, nobody);
            for level in ["containers", "processes"] {
                let sum = sums.all(level) + unpaid;
                if sum != total {
                    found.push(format!("{mode} of {level} is {sum} and not {total} in {zone}"));
                }
            }
            sums.inside(&format!("{mode} in {zone}"), &mut found);
        }
    }
    let cpu = Sums {
        snapshot,
        of: &|row| row["cpu_ns"].as_u64().unwrap_or_default(),
    };
    let (containers, processes) = (cpu.all("containers"), cpu.all("processes"));
    if containers != processes {
        found.push(format!(
            "CPU time of containers is {containers} and of processes {processes}"
        ));
    }
    cpu.inside("CPU time", &mut found);
    found
}

/// One figure, summed over the rows of a snapshot. Every row on its own is not its container's: a process takes what it has along
/// when it moves to another one.
struct Sums<'a> {
    snapshot: &'a Value,
    of: &'a dyn Fn(&Value) -> u64,
}

impl Sums<'_> {
    /// Of the rows of a level that are shown.
    fn shown(&self, level: &str, which: impl Fn(&Value) -> bool) -> u64 {
        let ours = rows(self.snapshot, level).iter().filter(|row| which(row));
        ours.map(self.of).sum()
    }

    /// Of those that left.
    fn retired(&self, level: &str) -> u64 {
        (self.of)(&self.snapshot["retired"][level])
    }

    /// Of a whole level.
    fn all(&self, level: &str) -> u64 {
        let others = match level {
            "processes" => (self.of)(&self.snapshot["other_processes"]),
            _ => 0,
        };
        self.shown(level, |_| true) + self.retired(level) + others
    }

    /// Pods are their containers; units and virtual machines are what the host paid outside of containers. Which containers
    /// have left is not told: as long as none has, both bounds are one.
    fn inside(&self, what: &str, found: &mut Vec<String>) {
        let mut within = |name: &str, least: u64, is: u64, most: u64| {
            if is < least || is > most {
                found.push(format!("{what}: {name} is {is} and not {least} to {most}"));
            }
        };
        let left = self.retired("containers");
        let in_pods = self.shown("containers", |row| row["owner"]["pod"].is_string());
        within("all pods", in_pods, self.all("pods"), in_pods + left);
        for pod in rows(self.snapshot, "pods") {
            let its = self.shown("containers", |row| {
                row["owner"]["pod"].is_string() && row["owner"]["pod"] == pod["uid"]
            });
            within(&format!("pod {}", pod["uid"]), its, (self.of)(pod), its + left);
        }
        let host = self.shown("containers", |row| row["kind"] == "system");
        let (units, vms) = (self.all("units"), self.all("vms"));
        // A machine may be a container's, and kernel threads work for machines: those are not the host's.
        within("all units", host.saturating_sub(vms), units, host + left);
        within("all machines", 0, vms, self.all("processes"));
    }
}

/// Every counter of a snapshot by a name, to be compared with a later one.
///
/// What retired is one for processes alone: a group that comes back takes its total along, so `retired` of its level falls by that
/// and only the whole level does not.
#[must_use]
pub fn counters(snapshot: &Value) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let keys = [
        ("containers", "id"),
        ("pods", "uid"),
        ("vms", "id"),
        ("units", "unit"),
        ("processes", "pid"),
    ];
    for (level, key) in keys {
        for row in rows(snapshot, level) {
            let start = &row["start_ticks"];
            let name = format!("{level} {} {} {} {start}", row["kind"], row[key], row["slice"]);
            count(&mut all, &name, row);
        }
    }
    count(&mut all, "other processes", &snapshot["other_processes"]);
    count(&mut all, "retired processes", &snapshot["retired"]["processes"]);
    for (index, zone) in rows(snapshot, "zones").iter().enumerate() {
        for field in ["dynamic_uj", "idle_uj", "unattributed_uj", "unreserved_idle_uj"] {
            all.insert(format!("zone {index} {field}"), integer(zone, field));
        }
        for mode in ["dynamic", "idle"] {
            let sums = Sums {
                snapshot,
                of: &|row| charged(row, index, mode),
            };
            for level in ["containers", "pods", "vms", "units", "processes"] {
                all.insert(format!("all {level} {index} {mode}"), sums.all(level));
            }
        }
    }
    all
}

/// The counters of one ledger; nothing where there is none.
fn count(all: &mut BTreeMap<String, u64>, name: &str, ledger: &Value) {
    if ledger.is_null() {
        return;
    }
    all.insert(format!("{name} cpu"), integer(ledger, "cpu_ns"));
    for charge in rows(ledger, "charges") {
        for mode in ["dynamic", "idle"] {
            let energy = integer(charge, &format!("{mode}_uj"));
            all.insert(format!("{name} {} {mode}", charge["zone"]), energy);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(uj: u64, more: &Value) -> Value {
        let mut row = json!({"cpu_ns": uj, "charges": [{"zone": 0, "dynamic_uj": uj, "idle_uj": 0}]});
        let fields = row.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        row
    }

    /// A container of 5 in a pod, a host of 7: a unit of 4 and a machine of 3.
    fn snapshot() -> Value {
        let none = || row(0, &json!({}));
        json!({
            "zones": [{"dynamic_uj": 12, "idle_uj": 0, "unattributed_uj": 0, "unreserved_idle_uj": 0}],
            "containers": [
                row(5, &json!({"kind": "container", "id": "c", "owner": {"container": "c", "pod": "p"}})),
                row(7, &json!({"kind": "system", "id": null, "owner": null})),
            ],
            "pods": [row(5, &json!({"uid": "p"}))],
            "units": [row(4, &json!({"unit": "u", "slice": "s"}))],
            "vms": [row(3, &json!({"id": "v"}))],
            "processes": [row(9, &json!({"kind": "user", "pid": 1, "start_ticks": 1}))],
            "other_processes": row(3, &json!({})),
            "retired": {"processes": none(), "containers": none(), "pods": none(), "vms": none(), "units": none()},
        })
    }

    /// Where the snapshot is off when this row has this many microjoules and nanoseconds.
    fn off(place: &str, uj: u64) -> usize {
        let mut snapshot = snapshot();
        let is = snapshot.pointer_mut(place).expect("a row");
        is["cpu_ns"] = uj.into();
        is["charges"][0]["dynamic_uj"] = uj.into();
        imbalances(&snapshot).len()
    }

    #[test]
    fn each_level_that_is_off_is_told() {
        assert_eq!(imbalances(&snapshot()), Vec::<String>::new());
        for place in [
            "/containers/0",
            "/containers/1",
            "/processes/0",
            "/other_processes",
        ] {
            assert!(off(place, 8) > 0, "{place}");
        }
        // Energy and CPU time; of a pod, itself and all of them.
        for (place, uj, found) in [
            ("/pods/0", 4, 4),
            ("/pods/0", 6, 4),
            ("/units/0", 3, 2),
            ("/units/0", 8, 2),
            ("/vms/0", 2, 2),
            ("/vms/0", 13, 2),
            ("/retired/pods", 1, 2),
            ("/retired/units", 4, 2),
        ] {
            assert_eq!(off(place, uj), found, "{place} {uj}");
        }
    }

    #[test]
    fn a_container_that_left_is_still_its_pods() {
        let mut snapshot = snapshot();
        let left = snapshot["containers"].as_array_mut().expect("rows").remove(0);
        snapshot["retired"]["containers"] = left;
        assert_eq!(imbalances(&snapshot), Vec::<String>::new());
    }

    #[test]
    fn every_ledger_that_never_falls_is_a_counter() {
        let before = snapshot();
        for place in ["/vms/0", "/other_processes", "/retired/processes", "/pods/0"] {
            let mut after = before.clone();
            after.pointer_mut(place).expect("a row")["charges"][0]["dynamic_uj"] = 1.into();
            let mut more = before.clone();
            more.pointer_mut(place).expect("a row")["charges"][0]["dynamic_uj"] = 2.into();
            let (after, more) = (counters(&after), counters(&more));
            assert!(more.iter().any(|(name, now)| now > &after[name]), "{place}");
        }
        // A group that comes back takes its total along.
        let mut left = before.clone();
        let row = left["vms"].as_array_mut().expect("rows").remove(0);
        left["retired"]["vms"] = row;
        nothing_fell(&before, &left);
        nothing_fell(&left, &before);
    }
}
