// SPDX-License-Identifier: Apache-2.0
//! RAPL through perf: the CPU that its counter is on goes. These machines have no PMU `power`; the kernel's own clock of a CPU
//! is one that counts in the same way, opened and read by the same calls, and stops when its CPU does.

use super::cpus::Cpu1;
use super::may_change_the_machine;
use crate::gear::{CPUINFO, fill};
use integration_tests::trial::{Plan, Trial};
use tempfile::TempDir;

/// A PMU as the kernel shows it: `PERF_COUNT_SW_CPU_CLOCK` in nanoseconds, each worth 10^-8 J, which is 10 W.
const PMU: &[(&str, &str)] = &[
    ("type", "1"),
    ("cpumask", "1"),
    ("format/event", "config:0-7"),
    ("events/energy-ram", "event=0x00"),
    ("events/energy-ram.scale", "1e-8"),
    ("events/energy-ram.unit", "Joules"),
    ("cpuinfo", CPUINFO),
];

#[test]
fn the_cpu_of_a_counter_is_unplugged() {
    let plan = Plan {
        name: "perf-cpu-unplugged",
        thing: "RAPL through perf",
        injected: "the CPU that its counter is on is unplugged, and the kernel names another one",
        must: "its watts are absent and its joules stay while there is none; then it goes on from there on the other CPU, and what was used in between is said to be missing",
    };
    if !may_change_the_machine() {
        return;
    }
    let pmu = TempDir::new().expect("a folder");
    for folder in ["format", "events"] {
        fill(&pmu.path().join(folder), &[]);
    }
    fill(pmu.path(), PMU);
    let setting = |key: &str, path| format!("sources.rapl-perf.{key}={path}");
    let (root, cpuinfo) = (pmu.path(), pmu.path().join("cpuinfo"));
    let settings = [
        "sources.dram=rapl-perf".to_owned(),
        setting("root", root.display()),
        setting("cpuinfo", cpuinfo.display()),
    ];
    let mut trial = Trial::begin(plan, &settings.each_ref().map(String::as_str));
    let joules = |trial: &Trial, more: f64| {
        trial.wait_for_value("kepler_node_dram_joules_total", &[], |now| now > more)
    };
    joules(&trial, 20.0);
    let cpu1 = Cpu1;
    cpu1.plug(false);
    let labels = [("source", "rapl-perf"), ("reason", "gone")];
    trial.wait_for_rise("kepler_source_errors_total", &labels);
    trial.wait_until_down("rapl-perf", "dram");
    let stands = joules(&trial, 20.0);
    trial.windows(3);
    assert_eq!(joules(&trial, 0.0), stands, "nothing is made up");
    fill(root, &[("cpumask", "0")]);
    trial.wait_for_value("kepler_source_up", &[("source", "rapl-perf")], |up| up == 1.0);
    let ended = joules(&trial, stands + 20.0);
    cpu1.plug(true);
    joules(&trial, ended + 20.0);
    trial.saw("up again on the other CPU without a restart, its joules go on");
    trial.end();
}
