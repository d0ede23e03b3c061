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
//!             "unreserved_idle_uj": 1, "power_uw": 1, "floor_uw": null, "age_ns": 1, "up": true}],
//!  "packages": [{"package": 0, "cpus": 8, "busy_ns": 1, "idle_ns": 1}],
//!  "processes": [{"pid": 1, "start_ticks": 1, "command": "init", "kind": "user", "cgroup": 1,
//!                 "owner": {"path": "/", "container": null, "runtime": "", "pod": null, "unit": null, "slice": null},
//!                 "ended": false, "cpu_ns": 1, "charges": [{"zone": 0, "dynamic_uj": 1, "idle_uj": 0}]}],
//!  "other_processes": {"cpu_ns": 1, "charges": []},
//!  "containers": [{"kind": "container", "id": "0a1b", "owner": null, "ended": false, "cpu_ns": 1, "charges": []}],
//!  "pods": [{"uid": "...", "owner": null, "ended": false, "cpu_ns": 1, "charges": []}],
//!  "units": [{"unit": "ssh.service", "slice": "system.slice", "owner": null, "ended": false, "cpu_ns": 1, "charges": []}],
//!  "retired": {"processes": {"cpu_ns": 0, "charges": []}, "containers": {}, "pods": {}, "units": {}},
//!  "coverage_permille": 998,
//!  "sources": [{"source": "rapl-sysfs", "age_ns": 1,
//!               "errors": [{"zone": "package/socket0", "reason": "io", "count": 1, "latest": "..."}]}],
//!  "facts": {"selections": [{"key": "cpu", "chosen": ["rapl"], "passed_over": [{"name": "...", "reason": "..."}]}],
//!            "probes": [{"probe": "sched_switch", "up": true, "reason": ""}],
//!            "sources": [{"source": "rapl-sysfs", "components": ["package"], "detail": "..."}]},
//!  "windows": {"closed": 7, "late": [{"reporter": "usage", "count": 1}], "late_now": [], "stale": [],
//!              "lateness_bounds_ms": [0, 1], "lateness_counts": [7, 0, 0], "lateness_sum_ns": 0},
//!  "lost": [{"probe": "...", "reason": "...", "count": 1}],
//!  "dropped": [{"queue": "...", "count": 1}]}
//! ```
//!
//! `zone` in a charge is the position in `zones`; zones that a row was not charged for are left out. Containers have the
//! `kind` `container`, `system` or `kernel`; the last two have no `id`. At every level the rows, `retired` and (for
//! processes) `other_processes` add up to the zones' totals less `unattributed_uj` and `unreserved_idle_uj`.

mod health;
mod views;

use crate::error::ExporterError;
use attribution::model::Snapshot;

/// The snapshot as JSON text.
pub(crate) fn render(snapshot: &Snapshot) -> Result<Vec<u8>, ExporterError> {
    let mut json = serde_json::to_vec(&views::snapshot(snapshot)).map_err(ExporterError::Json)?;
    json.shrink_to_fit();
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use serde_json::{Value, json};

    fn rendered() -> Value {
        serde_json::from_slice(&render(&sample::snapshot()).unwrap()).unwrap()
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
                "floor_uw": 5_000_000, "age_ns": 250_000_000, "up": true})
        );
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
                {"zone": 3, "dynamic_uj": 4, "idle_uj": 0}])
        );
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
        for zone in 0..5 {
            let account = &snapshot["zones"][usize::try_from(zone).unwrap()];
            let charged =
                account["dynamic_uj"].as_u64().unwrap() - account["unattributed_uj"].as_u64().unwrap();
            for level in ["processes", "containers"] {
                let mut rows: Vec<&Value> = snapshot[level].as_array().unwrap().iter().collect();
                rows.push(&snapshot["retired"][level]);
                if level == "processes" {
                    rows.push(&snapshot["other_processes"]);
                }
                assert_eq!(sum(&rows, zone), charged, "{level} in zone {zone}");
            }
        }
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
        assert_eq!(snapshot["dropped"], json!([{"queue": "publish", "count": 5}]));
        assert_eq!(snapshot["packages"][0]["busy_ns"], 9_000_000_000_u64);
    }

    #[test]
    fn an_empty_snapshot_is_whole_too() {
        let snapshot: Value = serde_json::from_slice(&render(&Snapshot::default()).unwrap()).unwrap();
        assert_eq!(snapshot["tick"], 0);
        assert_eq!(snapshot["zones"], json!([]));
        assert_eq!(snapshot["coverage_permille"], Value::Null);
        assert_eq!(snapshot["retired"]["units"], json!({"cpu_ns": 0, "charges": []}));
    }
}
