// SPDX-License-Identifier: Apache-2.0
//! The whole snapshot as JSON, for `/api/v1/snapshot`.
//!
//! Written straight from the snapshot, without a tree in between. Energy is whole microjoules (`*_uj`), power whole
//! microwatts (`*_uw`), time whole nanoseconds (`*_ns`) on `CLOCK_MONOTONIC`, ratios thousandths (`*_permille`). These
//! are 64-bit integers: a reader that keeps numbers as doubles is exact up to 2^53 (9 GJ). Nothing is left out by
//! `exporter.levels`. What is not known is `null`. Fields may be added under the same `schema`; none changes its meaning.
//!
//! ```json
//! {"schema": 1, "tick": 7, "window": {"began_ns": 1, "ended_ns": 2},
//!  "zones": [{"component": "package", "place": "socket0", "source": "rapl-sysfs", "provenance": "counted",
//!             "relative_error_p90_permille": null, "dynamic_uj": 1, "idle_uj": 1, "unattributed_uj": 0,
//!             "unreserved_idle_uj": 1, "power_uw": 1, "floor_uw": null, "floor_origin": "busy_ratio",
//!             "floor_error_permille": null, "feature": "cpu_time", "fit": null, "age_ns": 1, "up": true}],
//!  "packages": [{"package": 0, "cpus": 8, "busy_ns": 1, "idle_ns": 1}],
//!  "cpus": [{"cpu": 0, "package": 0, "online": true, "busy_ns": 1, "idle_ns": 1, "steal_ns": null}],
//!  "softirqs": [{"package": 0, "vector": "net_rx", "count": 1, "time_ns": 1}],
//!  "counted": ["cpu_cycles"], "smt_weight_permille": null,
//!  "processes": [{"pid": 1, "start_ticks": 1, "command": "init", "kind": "user", "cgroup": 1,
//!                 "owner": {"path": "/", "container": null, "runtime": "", "pod": null, "unit": null, "slice": null},
//!                 "ended": false, "began_ns": 1, "cpu_ns": 1, "events": {"cpu_cycles": 1},
//!                 "charges": [{"zone": 0, "dynamic_uj": 1, "idle_uj": 0}]}],
//!  "other_processes": {"cpu_ns": 1, "events": {"cpu_cycles": 1}, "charges": []},
//!  "containers": [{"kind": "container", "id": "0a1b", "reserved": {"millicpus": 250, "memory": 67108864}, "owner": null,
//!                  "ended": false, "began_ns": 1, "cpu_ns": 1, "events": {}, "charges": []}],
//!  "pods": [{"uid": "...", "owner": null, "ended": false, "began_ns": 1, "cpu_ns": 1, "events": {}, "charges": []}],
//!  "units": [{"unit": "ssh.service", "slice": "system.slice", "owner": null, "ended": false, "began_ns": 1, "cpu_ns": 1, "events": {},
//!             "charges": []}],
//!  "retired": {"processes": {"cpu_ns": 0, "events": {}, "charges": []}, "containers": {}, "pods": {}, "units": {}},
//!  "coverage_permille": 998,
//!  "sources": [{"source": "rapl-sysfs", "age_ns": 1,
//!               "errors": [{"zone": "package/socket0", "reason": "io", "count": 1, "latest": "..."}]}],
//!  "facts": {"selections": [{"key": "cpu", "chosen": ["rapl"], "passed_over": [{"name": "...", "reason": "..."}]}],
//!            "probes": [{"probe": "sched_switch", "up": true, "reason": ""}],
//!            "accounting": {"chosen": "switch", "reason": "..."},
//!            "sources": [{"source": "rapl-sysfs", "components": ["package"], "detail": "..."}]},
//!  "windows": {"closed": 7, "late": [{"reporter": "usage", "count": 1}], "late_now": [], "stale": [],
//!              "lateness_bounds_ms": [0, 1], "lateness_counts": [7, 0, 0], "lateness_sum_ns": 0},
//!  "lost": [{"probe": "...", "reason": "...", "count": 1}],
//!  "tallies": [{"probe": "resolver", "what": "walks", "kind": "done", "count": 1}],
//!  "dropped": [{"queue": "...", "count": 1}],
//!  "config": {"last_reload_successful": true, "last_reload_success_unix_ms": 1700000000000}}
//! ```
//!
//! `config` says whether the configuration that was asked for last is in force, and since when there is a new one; `null` where none is
//! reloaded.
//!
//! `began_ns` of a row is the moment since which it counts: the close before the window that it was first seen in, and for a process
//! before the one that gave it its row.
//!
//! `zone` in a charge is the position in `zones`; zones that a row was not charged for are left out. A charge for a GPU
//! also has `used_ns`, the time that the row used it, unless it is 0. Containers have the
//! `kind` `container`, `system` or `kernel`; the last two have no `id`. At every level the rows, `retired` and (for
//! processes) `other_processes` add up to the zones' totals less `unattributed_uj` and `unreserved_idle_uj`. `reserved` of
//! a container, a pod or a virtual machine is what it has reserved of the node now (thousandths of a CPU, bytes), by which it
//! pays idle energy where `attribution.idle.share` is `reserved`; `null` where nothing is known.
//!
//! `floor_origin` says how `floor_uw` came about: `measured` in windows in which nearly nobody ran, `extrapolated` from
//! windows of different load, `typical` of one load and what published servers draw at rest of theirs, `restored` from an
//! earlier run, `fixed` watts of the configuration, or a `model`'s own. Where there is no floor it says what takes its place: the idle share of time (`busy_ratio`), or nothing (`none`).
//! `floor_error_permille` is the expected relative error of a learned floor.
//!
//! `counted` names the events that this machine counts beside CPU time, and `events` of every ledger has exactly these
//! (cut short above): `cpu_cycles`, `ref_cycles`, `cpu_instructions`, `cache_miss`, `page_cache_hit`, `net_tx_irq`,
//! `net_rx_irq`, `block_irq`, `context_switches`; and `smt_overlap_ns`, the time during which the other hardware thread of
//! the core was busy, too. They add up over the rows of a level as CPU time does. `packages`, `cpus` and `softirqs` are
//! totals since the probe began; busy time holds softirqs, and `steal_ns` (the time a hypervisor took, `null` where it does
//! not tell) is in neither busy nor idle time. `cpus` add up to `packages`, but for the accountant `scheduler`, which counts
//! by package: there `cpus` are the kernel's ticks of 10 ms. `softirqs` are also the process with `pid` 0. `accounting.chosen` is
//! `switch`, `scheduler` or `proc`. `feature` is what a zone's dynamic energy was split by last: `cpu_time`, `cpu_cycles`,
//! `cache_misses`, `device_time`, `energy` (what was charged in other zones), `learned` (several, weighed by this node's own
//! meters) or `nothing` (by configuration it stays on the node). The zone `other` is derived from the platform's and has its
//! place; where an estimate was taken out of it, it is one. With `attribution.weights = "learned"`, `fit` has the plain feature
//! and how far the zone's power was off what it foretold and what the learned weights foretold, window by window. `smt_weight_permille`
//! is what time beside a busy sibling weighed, `null` where it is not counted or not weighed. The `reason` of a probe that is up is a remark. `tallies` are what those who know
//! names count of themselves: `done` and `lost` since start, `held` now.

mod health;
mod ledger;
mod owner;
mod views;
mod zone;

pub(crate) use health::{Facts, SourceView, Windows, source};
pub(crate) use zone::{ZoneView, zone};

use crate::error::ExporterError;
use crate::reloads::Reloads;
use attribution::model::Snapshot;

/// The snapshot as JSON text.
pub(crate) fn render(snapshot: &Snapshot, reloads: &Reloads) -> Result<Vec<u8>, ExporterError> {
    let mut json = serde_json::to_vec(&views::snapshot(snapshot, reloads)).map_err(ExporterError::Json)?;
    json.shrink_to_fit();
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use attribution::model::Event;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn rendered() -> Value {
        serde_json::from_slice(&render(&sample::snapshot(), &Reloads::default()).unwrap()).unwrap()
    }

    #[test]
    fn zones_carry_their_provenance_and_whole_microjoules() {
        let snapshot = rendered();
        assert_eq!(snapshot["schema"], 1);
        assert_eq!(snapshot["tick"], 42);
        assert_eq!(
            snapshot["zones"][0],
            json!({"component": "package", "place": "socket0", "source": "rapl-sysfs", "provenance": "counted",
                "relative_error_p90_permille": null, "dynamic_uj": 60_000_005, "idle_uj": 40_000_000,
                "unattributed_uj": 2, "unreserved_idle_uj": 39_000_000, "power_uw": 12_500_000,
                "floor_uw": 5_000_000, "floor_origin": "measured", "floor_error_permille": 20, "feature": "cpu_time", "fit": null,
                "age_ns": 250_000_000, "up": true})
        );
        let fit = json!({"plain": "cpu_cycles", "plain_error_permille": 87, "learned_error_permille": 31});
        assert_eq!(snapshot["zones"][1]["fit"], fit);
        assert_eq!(snapshot["smt_weight_permille"], Value::Null);
        assert_eq!(snapshot["zones"][3]["provenance"], "estimated");
        assert_eq!(snapshot["zones"][3]["relative_error_p90_permille"], 150);
    }

    #[test]
    fn rows_name_only_the_zones_that_they_were_charged_for() {
        let snapshot = rendered();
        let pod = &snapshot["pods"][0];
        assert_eq!(pod["uid"], sample::POD);
        assert_eq!(
            pod["charges"],
            json!([{"zone": 0, "dynamic_uj": 30_000_001, "idle_uj": 1_000_000},
                {"zone": 1, "dynamic_uj": 7, "idle_uj": 0},
                {"zone": 3, "dynamic_uj": 4, "idle_uj": 0},
                {"zone": 4, "dynamic_uj": 2, "idle_uj": 0, "used_ns": 1_500_000_000}])
        );
        let reserved = &snapshot["containers"][0]["reserved"];
        assert_eq!(*reserved, json!({"millicpus": 250, "memory": 67_108_864}));
        assert_eq!(snapshot["containers"][1]["reserved"], Value::Null);
        assert_eq!(snapshot["containers"][1]["kind"], "system");
        assert_eq!(snapshot["containers"][1]["id"], Value::Null);
        assert_eq!(snapshot["processes"][0]["owner"]["container"], sample::CONTAINER);
    }

    #[test]
    fn every_level_adds_up_to_the_zones_with_what_retired() {
        let snapshot = rendered();
        let sum = |rows: &[&Value], zone: u64| -> u64 {
            let charges = rows.iter().flat_map(|row| row["charges"].as_array().unwrap());
            charges
                .filter(|charge| charge["zone"] == zone)
                .map(|charge| charge["dynamic_uj"].as_u64().unwrap())
                .sum()
        };
        let levels = ["processes", "containers"].map(|level| {
            let mut rows: Vec<&Value> = snapshot[level].as_array().unwrap().iter().collect();
            rows.push(&snapshot["retired"][level]);
            if level == "processes" {
                rows.push(&snapshot["other_processes"]);
            }
            (level, rows)
        });
        let events = |event: &str| {
            let count = |row: &&Value| row["events"][event].as_u64().unwrap();
            levels
                .each_ref()
                .map(|(_, rows)| rows.iter().map(count).sum::<u64>())
        };
        assert_eq!(events("cpu_instructions"), [9_002_000_008; 2]);
        assert_eq!(events("page_cache_hit"), [17; 2]);
        assert_eq!(events("net_rx_irq"), [8; 2]);
        assert_eq!(events("context_switches"), [63; 2]);
        for zone in 0..5 {
            let account = &snapshot["zones"][usize::try_from(zone).unwrap()];
            let charged =
                account["dynamic_uj"].as_u64().unwrap() - account["unattributed_uj"].as_u64().unwrap();
            for (level, rows) in &levels {
                assert_eq!(sum(rows, zone), charged, "{level} in zone {zone}");
            }
        }
    }

    #[test]
    fn every_ledger_names_the_events_that_are_counted_and_no_other() {
        let mut sample = sample::snapshot();
        // A count that nobody vouches for.
        sample.containers[0].ledger.events.add(Event::CpuCycles, 5);
        let snapshot: Value = serde_json::from_slice(&render(&sample, &Reloads::default()).unwrap()).unwrap();
        let counted = [
            "cpu_instructions",
            "page_cache_hit",
            "net_rx_irq",
            "context_switches",
        ];
        assert_eq!(snapshot["counted"], json!(counted));
        assert_eq!(
            snapshot["containers"][0]["events"],
            json!({"cpu_instructions": 9_000_000_001_u64, "page_cache_hit": 12, "net_rx_irq": 3, "context_switches": 40})
        );
        let worker = &snapshot["containers"][0]["events"];
        assert_eq!(
            [
                &snapshot["pods"][0]["events"],
                &snapshot["processes"][0]["events"]
            ],
            [worker; 2]
        );
        assert_eq!(snapshot["units"][0]["events"]["context_switches"], 20);
        assert_eq!(snapshot["other_processes"]["events"]["context_switches"], 6);
        for (level, switches) in [("processes", 1), ("containers", 1), ("pods", 0), ("units", 0)] {
            let events = &snapshot["retired"][level]["events"];
            assert_eq!(
                (
                    events["context_switches"].as_u64(),
                    events.as_object().unwrap().len()
                ),
                (Some(switches), 4)
            );
        }
    }

    #[test]
    fn single_cpus_softirqs_and_the_accountant_are_told() {
        let snapshot = rendered();
        assert_eq!(
            snapshot["cpus"],
            json!([
                {"cpu": 0, "package": 0, "online": true, "busy_ns": 4_500_000_000_u64, "idle_ns": 35_000_000_000_u64,
                    "steal_ns": 20_000_000},
                {"cpu": 1, "package": 0, "online": false, "busy_ns": 4_500_000_000_u64, "idle_ns": 35_000_000_000_u64,
                    "steal_ns": null}
            ])
        );
        assert_eq!(
            snapshot["softirqs"],
            json!([{"package": 0, "vector": "net_rx", "count": 8, "time_ns": 500_000}])
        );
        assert_eq!(
            snapshot["facts"]["accounting"],
            json!({"chosen": "proc", "reason": "kernel has no \"BTF\""})
        );
    }

    #[test]
    fn a_remark_of_a_probe_that_measures_is_told() {
        let mut sample = sample::snapshot();
        Arc::make_mut(&mut sample.facts).probes[0].reason = "one \"package\"\nonly".to_owned();
        let snapshot: Value = serde_json::from_slice(&render(&sample, &Reloads::default()).unwrap()).unwrap();
        assert_eq!(
            snapshot["facts"]["probes"][0],
            json!({"probe": "proc_fallback", "up": true, "reason": "one \"package\"\nonly"})
        );
    }

    #[test]
    fn decisions_failures_and_lateness_are_told_with_their_reasons() {
        let snapshot = rendered();
        assert_eq!(
            snapshot["facts"]["selections"][0],
            json!({"key": "cpu", "chosen": ["rapl"], "passed_over": [{"name": "hwmon", "reason": "no energy input"}]})
        );
        assert_eq!(snapshot["facts"]["probes"][1]["reason"], "kernel has no \"BTF\"");
        assert_eq!(
            snapshot["sources"][0]["errors"][0],
            json!({"zone": "package/socket1", "reason": "io", "count": 3, "latest": "read failed"})
        );
        assert_eq!(snapshot["sources"][1]["age_ns"], Value::Null);
        assert_eq!(snapshot["windows"]["stale"], json!(["resolver"]));
        assert_eq!(
            snapshot["windows"]["late"],
            json!([{"reporter": "resolver", "count": 4}])
        );
        assert_eq!(
            snapshot["windows"]["lateness_counts"].as_array().unwrap().len(),
            9
        );
        assert_eq!(snapshot["coverage_permille"], 998);
        assert_eq!(snapshot["lost"][0]["count"], 11);
        assert_eq!(
            snapshot["tallies"],
            json!([{"probe": "resolver", "what": "walks", "kind": "done", "count": 3},
                {"probe": "pods", "what": "failed questions", "kind": "lost", "count": 2},
                {"probe": "pods", "what": "pods known", "kind": "held", "count": 9}])
        );
        assert_eq!(snapshot["dropped"], json!([{"queue": "publish", "count": 5}]));
        assert_eq!(snapshot["packages"][0]["busy_ns"], 9_000_000_000_u64);
    }

    #[test]
    fn an_empty_snapshot_is_whole_too() {
        let snapshot: Value =
            serde_json::from_slice(&render(&Snapshot::default(), &Reloads::default()).unwrap()).unwrap();
        assert_eq!(snapshot["tick"], 0);
        assert_eq!(snapshot["zones"], json!([]));
        assert_eq!(snapshot["coverage_permille"], Value::Null);
        assert_eq!(
            snapshot["retired"]["units"],
            json!({"cpu_ns": 0, "events": {}, "charges": []})
        );
    }
}
