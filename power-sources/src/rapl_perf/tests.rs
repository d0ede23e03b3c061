// SPDX-License-Identifier: Apache-2.0
//! Against trees in the shape of the PMU `power` with a scripted kernel behind them; and against the real kernel, where an
//! event that every machine has (the CPU's clock, in nanoseconds) stands for one in joules.

use super::*;
use crate::testing::{Machine, ask, at, errors, sleep, slept, totals};
use attribution::model::Provenance;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SCALE: &str = "2.3283064365386962890625e-10\n";
/// A joule in counts.
const JOULE: u64 = 1 << 32;
/// Event numbers of the driver.
const CORES: u64 = 1;
const PKG: u64 = 2;
const RAM: u64 = 3;
const PSYS: u64 = 5;

/// Counters of the hardware, by event and CPU, and what the kernel refuses.
#[derive(Default)]
struct State {
    hardware: BTreeMap<(u64, u32), u64>,
    offline: Vec<u32>,
    /// An errno for opening.
    refuses: Option<i32>,
    opened: Vec<(u32, u64, u32)>,
    clock: Duration,
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<State>>);

/// Counts from when it was opened.
struct ScriptedEvent {
    script: Script,
    key: (u64, u32),
    base: u64,
    last: Count,
}

impl Kernel for Script {
    fn open(&self, kind: u32, config: u64, cpu: u32) -> io::Result<Box<dyn Event>> {
        let mut state = self.0.lock().unwrap();
        state.opened.push((kind, config, cpu));
        if let Some(number) = state.refuses {
            return Err(io::Error::from_raw_os_error(number));
        }
        if state.offline.contains(&cpu) {
            return Err(io::Error::from_raw_os_error(19));
        }
        let base = state.hardware.get(&(config, cpu)).copied().unwrap_or(0);
        Ok(Box::new(ScriptedEvent {
            script: self.clone(),
            key: (config, cpu),
            base,
            last: Count::default(),
        }))
    }
}

impl Event for ScriptedEvent {
    fn read(&mut self) -> io::Result<Count> {
        let mut state = self.script.0.lock().unwrap();
        state.clock += Duration::from_nanos(1);
        // An event of a CPU that is offline answers its last count for ever.
        if !state.offline.contains(&self.key.1) {
            self.last = Count {
                value: state.hardware.get(&self.key).copied().unwrap_or(0) - self.base,
                running: state.clock,
            };
        }
        Ok(self.last)
    }
}

struct Host {
    machine: Machine,
    script: Script,
}

impl Host {
    /// Two sockets: CPUs 0 and 2, 1 and 3.
    fn new(vendor: &str) -> Self {
        let machine = Machine::new();
        machine.identity(vendor, 6, 0x55);
        for (cpu, package) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
            machine.cpu(cpu, package, Some(0));
        }
        machine.online("0-3\n");
        let host = Self {
            machine,
            script: Script::default(),
        };
        host.file("type", "21\n");
        host.file("cpumask", "0-1\n");
        host.file("format/event", "config:0-7\n");
        host
    }

    /// With package and DRAM events.
    fn server() -> Self {
        let host = Self::new("GenuineIntel");
        host.event("energy-pkg", "event=0x02\n");
        host.event("energy-ram", "event=0x03\n");
        host
    }

    fn root(&self) -> std::path::PathBuf {
        self.machine.path("power")
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn event(&self, name: &str, event: &str) {
        self.file(&format!("events/{name}"), event);
        self.file(&format!("events/{name}.scale"), SCALE);
        self.file(&format!("events/{name}.unit"), "Joules\n");
    }

    fn uses(&self, event: u64, cpu: u32, counts: u64) {
        *self
            .script
            .0
            .lock()
            .unwrap()
            .hardware
            .entry((event, cpu))
            .or_default() += counts;
    }

    /// A socket's counter moves on, whichever CPU shows it.
    fn package_uses(&self, socket: u32, counts: u64) {
        self.uses(PKG, socket, counts);
        self.uses(PKG, socket + 2, counts);
    }

    fn offline(&self, cpu: u32, online: &str, cpumask: &str) {
        self.script.0.lock().unwrap().offline.push(cpu);
        self.machine.online(online);
        self.file("cpumask", cpumask);
    }

    fn opened(&self) -> Vec<(u32, u64, u32)> {
        std::mem::take(&mut self.script.0.lock().unwrap().opened)
    }

    fn config(&self) -> RaplPerfConfig {
        RaplPerfConfig {
            root: self.root(),
            cpuinfo: self.machine.cpuinfo(),
            cpus: self.machine.sys(),
            ..RaplPerfConfig::default()
        }
    }

    fn try_open(&self, wanted: &[Component]) -> Result<RaplPerf, String> {
        RaplPerf::open(self.config(), Box::new(self.script.clone()), wanted, slept)
    }

    fn open(&self, wanted: &[Component]) -> RaplPerf {
        self.try_open(wanted).unwrap()
    }
}

fn table<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected.map(|(zone, total)| (zone.to_owned(), total)).to_vec()
}

fn latest(energy: &Energy) -> &str {
    energy.errors.last().map_or("", |error| &error.latest)
}

// --- which events there are ---

#[test]
fn every_event_is_opened_once_for_each_package_and_becomes_its_zone() {
    let host = Host::server();
    host.event("energy-cores", "event=0x01\n");
    host.event("energy-gpu", "event=0x04\n");
    host.event("energy-psys", "event=0x05\n");
    let mut source = host.open(COMPONENTS);
    assert_eq!(source.components(), COMPONENTS);
    assert_eq!(source.id(), SourceId("rapl-perf"));
    let opened = host.opened();
    assert_eq!(opened.len(), 10);
    assert!(opened.iter().all(|(kind, _, cpu)| *kind == 21 && *cpu < 2));
    for (event, joules) in [(PKG, 100), (CORES, 50), (RAM, 20), (PSYS, 300)] {
        host.uses(event, 0, joules * JOULE);
    }
    host.uses(PKG, 1, JOULE / 4);
    let energy = source.read(at(1));
    assert_eq!(energy.errors, []);
    assert!(
        energy
            .zones
            .iter()
            .all(|zone| zone.provenance == Provenance::Counted && zone.total.is_zero())
    );
    // The first reading is the base: what is used from here on counts.
    for (event, joules) in [(PKG, 100), (CORES, 50), (RAM, 20), (PSYS, 300)] {
        host.uses(event, 0, joules * JOULE);
    }
    host.uses(PKG, 1, JOULE / 4);
    assert_eq!(
        totals(&source.read(at(2))),
        table([
            ("package/socket0", 100_000_000),
            ("package/socket1", 250_000),
            ("core/socket0", 50_000_000),
            ("core/socket1", 0),
            ("uncore/socket0", 0),
            ("uncore/socket1", 0),
            ("dram/socket0", 20_000_000),
            ("dram/socket1", 0),
            ("platform/psys", 300_000_000),
            ("platform/psys-1", 0),
        ])
    );
}

#[test]
fn what_was_counted_while_the_machine_slept_is_paid() {
    let host = Host::server();
    let mut source = host.open(&[Component::Package]);
    source.read(at(1));
    sleep(60);
    // No package uses 11 kJ in a second.
    host.uses(PKG, 0, 11_000 * JOULE);
    let energy = source.read(at(2));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 11_000_000_000), ("package/socket1", 0)])
    );
    assert_eq!(energy.errors, []);
}

#[test]
fn only_wanted_events_are_opened() {
    let host = Host::server();
    let source = host.open(&[Component::Dram, Component::Gpu]);
    assert_eq!(source.components(), [Component::Dram]);
    assert_eq!(host.opened(), [(21, RAM, 0), (21, RAM, 1)]);
    assert!(
        source.detail().ends_with("power: dram/socket0, dram/socket1"),
        "{}",
        source.detail()
    );
}

#[test]
fn dies_have_counters_of_their_own_on_intel_and_show_one_counter_again_on_amd() {
    let host = Host::server();
    for (cpu, die) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
        host.machine.cpu(cpu, 0, Some(die));
    }
    let zones = |host: &Host| totals(&host.open(&[Component::Package]).read(at(1)));
    assert_eq!(
        zones(&host),
        table([("package/socket0-die0", 0), ("package/socket0-die1", 0)])
    );
    host.machine.identity("AuthenticAMD", 0x19, 1);
    assert_eq!(zones(&host), table([("package/socket0", 0)]));
}

// --- what is counted ---

#[test]
fn fractions_of_a_microjoule_are_carried_and_not_lost() {
    let host = Host::server();
    let mut source = host.open(&[Component::Package]);
    source.read(at(0));
    // A third of a joule, a thousand times: a microjoule would be lost at each if it were rounded at each.
    for second in 1..=1_000 {
        host.package_uses(0, JOULE / 3);
        source.read(at(second));
    }
    // 1000 x floor(2^32 / 3) counts of 2^-32 J.
    assert_eq!(source.read(at(1_001)).zones[0].total.as_micro(), 333_333_333);
}

#[test]
fn a_jump_that_no_zone_can_use_is_dropped_and_told() {
    let host = Host::server();
    let mut source = host.open(&[Component::Package]);
    source.read(at(0));
    host.package_uses(0, 2_000 * JOULE);
    let energy = source.read(at(1));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 0), ("package/socket1", 0)])
    );
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Implausible, 1)]
    );
    assert!(
        latest(&energy).starts_with("energy-pkg: rose by 2000000000 uJ"),
        "{}",
        latest(&energy)
    );
}

// --- what fails costs itself ---

#[test]
fn an_event_whose_cpu_went_offline_goes_on_on_another_cpu_and_the_gap_is_told() {
    let host = Host::server();
    let mut source = host.open(&[Component::Package]);
    source.read(at(0));
    host.package_uses(0, 10 * JOULE);
    source.read(at(1));
    host.offline(0, "1-3\n", "1-2\n");
    // Not seen: the event stands still from here to the next reading.
    host.package_uses(0, 7 * JOULE);
    host.opened();
    let energy = source.read(at(2));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 10_000_000), ("package/socket1", 0)])
    );
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Gone, 1)]
    );
    assert!(
        latest(&energy).contains("energy-pkg: cpu 0 stopped counting for socket0"),
        "{}",
        latest(&energy)
    );
    assert_eq!(host.opened(), [(21, PKG, 2)]);
    host.package_uses(0, 5 * JOULE);
    let energy = source.read(at(3));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 15_000_000), ("package/socket1", 0)])
    );
    assert_eq!(energy.errors.len(), 1);
}

#[test]
fn a_package_without_any_cpu_is_missing_until_it_returns_and_its_total_stays() {
    let host = Host::server();
    let mut source = host.open(&[Component::Package]);
    source.read(at(0));
    host.package_uses(1, 10 * JOULE);
    source.read(at(1));
    host.offline(1, "0,2-3\n", "0\n");
    let energy = source.read(at(2));
    assert_eq!(totals(&energy), table([("package/socket0", 0)]));
    assert!(
        latest(&energy).contains("energy-pkg: no CPU of socket1 is in the cpumask"),
        "{}",
        latest(&energy)
    );
    host.file("cpumask", "0,3\n");
    // The next try is due a second after the first.
    assert_eq!(source.read(at(2)).zones.len(), 1);
    assert_eq!(
        totals(&source.read(at(3)))[1],
        ("package/socket1".to_owned(), 10_000_000)
    );
    host.package_uses(1, JOULE);
    assert_eq!(
        totals(&source.read(at(4)))[1],
        ("package/socket1".to_owned(), 11_000_000)
    );
}

#[test]
fn an_event_that_cannot_be_opened_at_the_start_is_named_and_opened_later() {
    let host = Host::server();
    host.script.0.lock().unwrap().offline.push(1);
    let mut source = host.open(&[Component::Package]);
    let energy = source.read(at(1));
    assert_eq!(totals(&energy), table([("package/socket0", 0)]));
    assert_eq!(
        errors(&energy),
        [("package/socket1".to_owned(), ErrorReason::Gone, 2)]
    );
    host.script.0.lock().unwrap().offline.clear();
    assert_eq!(source.read(at(2)).zones.len(), 2);
}

#[test]
fn files_that_are_not_understood_cost_their_event_only() {
    for (file, text, words) in [
        (
            "events/energy-ram.unit",
            "Watts\n",
            "energy-ram.unit: found \"Watts\\n\", expected Joules",
        ),
        (
            "events/energy-ram.scale",
            "much\n",
            "energy-ram.scale: found \"much\\n\"",
        ),
        (
            "events/energy-ram",
            "event=0x03,umask=0x1\n",
            "energy-ram: found \"event=0x03,umask=0x1\\n\"",
        ),
    ] {
        let host = Host::server();
        host.file(file, text);
        let mut source = host.open(COMPONENTS);
        let energy = source.read(at(1));
        assert_eq!(
            totals(&energy),
            table([("package/socket0", 0), ("package/socket1", 0)])
        );
        assert_eq!(errors(&energy), [(String::new(), ErrorReason::Parse, 1)]);
        assert!(latest(&energy).contains(words), "{}", latest(&energy));
    }
}

// --- where it is not ---

#[test]
fn absence_has_a_reason_and_says_what_to_do() {
    let why = |host: &Host, wanted| host.try_open(wanted).err().unwrap();
    let host = Host::server();
    assert!(
        why(&host, &[Component::Platform])
            .ends_with("none of the wanted components, only energy-pkg, energy-ram")
    );
    // As `modprobe rapl` in a virtual machine leaves it.
    let silent = Host::new("GenuineIntel");
    fs::create_dir_all(silent.root().join("events")).unwrap();
    let words = why(&silent, COMPONENTS);
    assert!(
        words.ends_with("the PMU has no energy event; its counters count nothing here"),
        "{words}"
    );
    host.script.0.lock().unwrap().refuses = Some(13);
    let denied = why(&host, COMPONENTS);
    assert!(
        denied.contains("event energy-pkg on cpu 0: Permission denied"),
        "{denied}"
    );
    assert!(
        denied.contains("needs CAP_PERFMON") && denied.contains("kernel.perf_event_paranoid"),
        "{denied}"
    );
    host.file("cpumask", "\n");
    assert!(why(&host, COMPONENTS).contains("energy-pkg: no CPU of socket0 is in the cpumask"));
    for (file, text) in [
        ("cpumask", "0-"),
        ("type", "4294967296"),
        ("type", "x"),
        ("format/event", "config1:0-7\n"),
    ] {
        let host = Host::server();
        host.file(file, text);
        assert!(
            why(&host, COMPONENTS).contains(&format!("power/{file}: found \"")),
            "{}",
            why(&host, COMPONENTS)
        );
    }
    fs::remove_file(host.machine.cpuinfo()).unwrap();
    assert!(why(&host, COMPONENTS).contains("cpuinfo: "));
    fs::remove_dir_all(host.root()).unwrap();
    let missing = why(&host, COMPONENTS);
    assert!(
        missing.contains("power does not exist: ") && missing.contains("try `modprobe rapl`"),
        "{missing}"
    );
}

#[test]
fn the_section_is_checked() {
    let message = |section| match open(&ask(&section, COMPONENTS)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    for key in ["root", "cpuinfo", "cpus"] {
        assert!(
            message(json!({ key: "" }))
                .contains(&format!("`sources.rapl-perf.{key}` is empty; the default is /"))
        );
    }
    assert!(
        message(json!({ "max_watts": { "dram": 100_001 } }))
            .contains("`sources.rapl-perf.max_watts` has 100001 W")
    );
    assert_eq!(default_section()["root"], "/sys/bus/event_source/devices/power");
}

// --- the real kernel ---

#[test]
fn the_real_kernel_opens_scales_and_reads_an_event() {
    let host = Host::new("GenuineIntel");
    host.machine.online("0\n");
    // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK: nanoseconds, so that a second counts as a joule.
    host.file("type", "1\n");
    host.file("cpumask", "0\n");
    host.event("energy-pkg", "event=0x00\n");
    host.file("events/energy-pkg.scale", "1e-9\n");
    let before = Instant::now();
    let mut source = match RaplPerf::open(host.config(), Box::new(Perf), COMPONENTS, slept) {
        Ok(source) => source,
        Err(reason) => {
            assert!(reason.contains("event energy-pkg on cpu 0: "), "{reason}");
            eprintln!("skipped: this kernel opens no event for this user: {reason}");
            return;
        }
    };
    assert_eq!(totals(&source.read(at(0))), table([("package/socket0", 0)]));
    let base = Instant::now();
    while base.elapsed() < Duration::from_millis(50) {
        std::hint::spin_loop();
    }
    let at_least = base.elapsed();
    let energy = source.read(at(60));
    let at_most = before.elapsed();
    assert_eq!(energy.errors, []);
    let counted = Duration::from_micros(energy.zones[0].total.as_micro());
    // A microjoule is lost where the base is rounded, and clocks may differ by a thousandth.
    assert!(
        counted + Duration::from_micros(1) + at_least / 1_000 >= at_least,
        "{counted:?} of {at_least:?}"
    );
    assert!(counted <= at_most + at_most / 1_000, "{counted:?} of {at_most:?}");
}

// --- whatever the bytes are ---

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "event=(0x)?[0-9a-f]{1,3}\n?".prop_map(String::into_bytes),
        "[0-9]{1,3}(-[0-9]{1,3})?(,[0-9]{1,4})?\n?".prop_map(String::into_bytes),
        "[0-9](\\.[0-9]{1,24})?(e-?[0-9]{1,2})?\n?".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn garbage_in_any_file_never_panics_and_costs_no_other_event(
        event in bytes(),
        scale in bytes(),
        counts in prop::collection::vec(any::<u32>(), 1..5),
    ) {
        let host = Host::server();
        host.file("events/energy-ram", &event);
        host.file("events/energy-ram.scale", &scale);
        let mut source = host.open(COMPONENTS);
        let mut before = vec![0; 4];
        for (second, counts) in (0_u64..).zip(counts) {
            host.package_uses(0, u64::from(counts));
            let energy = source.read(at(second));
            prop_assert!(energy.zones.len() >= 2);
            for (zone, before) in energy.zones.iter().zip(&mut before) {
                prop_assert!(zone.total.as_micro() >= *before);
                *before = zone.total.as_micro();
            }
        }
    }

    #[test]
    fn no_count_is_lost_or_paid_twice_however_often_cpus_come_and_go(
        steps in prop::collection::vec((0_u64..100 * JOULE, any::<bool>()), 1..40),
    ) {
        let host = Host::server();
        let mut source = host.open(&[Component::Package]);
        source.read(at(0));
        let (mut counted, mut cpu) = (0_u128, 0);
        for (second, (counts, moves)) in (1_u64..).zip(steps) {
            host.package_uses(0, counts);
            if moves {
                // What is used between a CPU's end and the next reading is not seen.
                host.script.0.lock().unwrap().offline = vec![cpu];
                cpu = 2 - cpu;
                host.file("cpumask", if cpu == 0 { "0-1\n" } else { "1-2\n" });
            } else {
                counted += u128::from(counts);
            }
            let total = source.read(at(second)).zones[0].total.as_micro();
            prop_assert_eq!(u128::from(total), (counted * 1_000_000) >> 32);
        }
    }
}
