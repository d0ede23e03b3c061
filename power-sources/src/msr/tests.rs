// SPDX-License-Identifier: Apache-2.0
//! Against a table of registers as the machine: AMD's registers overlap as bytes of a file, so no file can be one. That
//! bytes at offsets are registers is tested in registers.rs, and once here for the whole source.

use super::*;
use crate::testing::{Machine, ask, at, errors, sleep, slept, totals};
use attribution::model::Provenance;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

const UNIT: u32 = 0x606;
const PACKAGE: u32 = 0x611;
const DRAM: u32 = 0x619;
const CORE: u32 = 0x639;
const UNCORE: u32 = 0x641;
const PSYS: u32 = 0x64d;
const AMD_UNIT: u32 = 0xc001_0299;
const AMD_CORE: u32 = 0xc001_029a;
const AMD_PACKAGE: u32 = 0xc001_029b;
/// 2^-14 J, and with other units in the other bits.
const INTEL_UNITS: u64 = 0xa_0e03;
/// 2^-16 J.
const AMD_UNITS: u64 = 0xa_1003;

/// A table of registers that a test may change while the source is open.
#[derive(Clone, Default)]
struct Table {
    rows: Arc<Mutex<BTreeMap<(u32, u32), u64>>>,
    reads: Arc<Mutex<Vec<(u32, u32)>>>,
}

impl Table {
    fn set(&self, cpu: u32, register: u32, value: u64) {
        self.rows.lock().unwrap().insert((cpu, register), value);
    }

    /// Without any register a CPU is offline.
    fn offline(&self, cpu: u32) {
        self.rows.lock().unwrap().retain(|(other, _), _| *other != cpu);
    }

    fn remove(&self, cpu: u32, register: u32) {
        self.rows.lock().unwrap().remove(&(cpu, register));
    }

    fn reads(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl Registers for Table {
    fn read(&mut self, cpu: u32, number: u32) -> Result<u64, Fault> {
        self.reads.lock().unwrap().push((cpu, number));
        let rows = self.rows.lock().unwrap();
        let is_online = rows.keys().any(|(other, _)| *other == cpu);
        rows.get(&(cpu, number)).copied().ok_or_else(|| Fault {
            reason: if is_online {
                ErrorReason::Io
            } else {
                ErrorReason::Gone
            },
            words: format!("cpu {cpu} at {number:#x}: no"),
        })
    }
}

/// A machine and its registers.
struct Host {
    machine: Machine,
    table: Table,
}

impl Host {
    fn new(vendor: &str, family: u32, model: u32) -> Self {
        let machine = Machine::new();
        machine.identity(vendor, family, model);
        Self {
            machine,
            table: Table::default(),
        }
    }

    /// Two sockets of two CPUs each: 0 and 2, 1 and 3. Only what the caller sets counts.
    fn two_sockets(vendor: &str, family: u32, model: u32) -> Self {
        let host = Self::new(vendor, family, model);
        for (cpu, package) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
            host.machine.cpu(cpu, package, Some(0));
        }
        host.machine.online("0-3\n");
        host
    }

    fn intel() -> Self {
        let host = Self::two_sockets("GenuineIntel", 6, 0x55);
        for cpu in 0..4 {
            host.table.set(cpu, UNIT, INTEL_UNITS);
        }
        host.package_counts(0, 1_000_000);
        host.package_counts(1, 2_000_000);
        host
    }

    /// The package counter of both CPUs of a socket.
    fn package_counts(&self, socket: u32, value: u64) {
        self.table.set(socket, PACKAGE, value);
        self.table.set(socket + 2, PACKAGE, value);
    }

    fn config(&self) -> MsrConfig {
        MsrConfig {
            root: self.machine.path("dev-cpu"),
            cpuinfo: self.machine.cpuinfo(),
            cpus: self.machine.sys(),
            ..MsrConfig::default()
        }
    }

    fn try_open(&self, wanted: &[Component]) -> Result<Msr, String> {
        Msr::open(self.config(), Box::new(self.table.clone()), wanted, slept)
    }

    fn open(&self, wanted: &[Component]) -> Msr {
        self.try_open(wanted).unwrap()
    }
}

fn table<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected.map(|(zone, total)| (zone.to_owned(), total)).to_vec()
}

fn latest(energy: &Energy) -> &str {
    energy.errors.last().map_or("", |error| &error.latest)
}

// --- which counters there are, and what they are worth ---

#[test]
fn every_counter_has_the_unit_of_its_model() {
    // Each counter rises by 16384: by 1 J where the unit register holds (2^-14 J), by 0.25 J at 2^-16 J, by 16384 J at 1 J.
    let rises = |model| {
        let host = Host::new("GenuineIntel", 6, model);
        host.machine.cpu(0, 0, Some(0));
        host.machine.online("0\n");
        host.table.set(0, UNIT, INTEL_UNITS);
        for register in [PACKAGE, CORE, UNCORE, DRAM, PSYS] {
            host.table.set(0, register, 1);
        }
        let mut msr = host.open(COMPONENTS);
        msr.read(at(0));
        for register in [PACKAGE, CORE, UNCORE, DRAM, PSYS] {
            host.table.set(0, register, 16_385);
        }
        let energy = msr.read(at(10));
        assert_eq!(energy.errors, []);
        totals(&energy)
    };
    let expected = |dram, psys| {
        table([
            ("package/socket0", 1_000_000),
            ("core/socket0", 1_000_000),
            ("uncore/socket0", 1_000_000),
            ("dram/socket0", dram),
            ("platform/psys", psys),
        ])
    };
    assert_eq!(rises(0x5e), expected(1_000_000, 1_000_000));
    assert_eq!(rises(0x55), expected(250_000, 1_000_000));
    assert_eq!(rises(0x8f), expected(1_000_000, 16_384_000_000));
}

#[test]
fn an_amd_package_counts_once_whatever_its_dies_and_cores_show() {
    let host = Host::new("AuthenticAMD", 0x19, 1);
    for (cpu, die) in [(0, 0), (1, 1), (2, 2)] {
        host.machine.cpu(cpu, 0, Some(die));
        host.table.set(cpu, AMD_UNIT, AMD_UNITS);
        host.table.set(cpu, AMD_CORE, 5);
        host.table.set(cpu, AMD_PACKAGE, 65_536);
    }
    host.machine.online("0-2\n");
    let mut msr = host.open(COMPONENTS);
    msr.read(at(0));
    assert_eq!(msr.components(), [Component::Package]);
    host.table.set(0, AMD_PACKAGE, 3 * 65_536);
    host.table.set(0, AMD_CORE, 500);
    assert_eq!(totals(&msr.read(at(1))), table([("package/socket0", 2_000_000)]));
    assert!(
        host.table
            .reads()
            .iter()
            .all(|(cpu, register)| *cpu == 0 && *register != AMD_CORE)
    );
}

#[test]
fn what_was_counted_while_the_machine_slept_is_paid() {
    let host = Host::new("GenuineIntel", 6, 0x5e);
    host.machine.cpu(0, 0, Some(0));
    host.machine.online("0\n");
    host.table.set(0, UNIT, INTEL_UNITS);
    host.table.set(0, PACKAGE, 1);
    let mut msr = host.open(&[Component::Package]);
    msr.read(at(0));
    sleep(60);
    // 11 kJ of 2^-14 J: no package uses them in a second.
    host.table.set(0, PACKAGE, 11_000 * 16_384 + 1);
    let energy = msr.read(at(1));
    assert_eq!(totals(&energy), table([("package/socket0", 11_000_000_000)]));
    assert_eq!(energy.errors, []);
}

#[test]
fn silvermont_counts_in_microjoules() {
    let host = Host::new("GenuineIntel", 6, 0x37);
    host.machine.cpu(0, 0, None);
    host.machine.online("0\n");
    // 2^5 µJ.
    host.table.set(0, UNIT, 0x505);
    host.table.set(0, PACKAGE, 10);
    let mut msr = host.open(COMPONENTS);
    msr.read(at(0));
    host.table.set(0, PACKAGE, 31_260);
    assert_eq!(totals(&msr.read(at(1))), table([("package/socket0", 1_000_000)]));
}

#[test]
fn a_counter_that_is_missing_or_zero_is_none_and_only_wanted_ones_are_read() {
    let host = Host::intel();
    host.table.set(0, CORE, 0);
    host.table.set(0, DRAM, 9);
    host.table.set(1, DRAM, 9);
    // The upper half of a register is reserved.
    host.table.set(0, UNCORE, 1 << 32);
    let all = host.open(COMPONENTS);
    assert_eq!(all.components(), [Component::Package, Component::Dram]);
    host.table.reads();
    let mut msr = host.open(&[Component::Dram]);
    assert_eq!(msr.components(), [Component::Dram]);
    host.table.reads();
    let energy = msr.read(at(1));
    assert_eq!(totals(&energy), table([("dram/socket0", 0), ("dram/socket1", 0)]));
    assert_eq!(host.table.reads(), [(0, DRAM), (1, DRAM)]);
    assert!(
        energy
            .zones
            .iter()
            .all(|zone| zone.provenance == Provenance::Counted && zone.idle.is_none())
    );
    assert!(
        msr.detail()
            .ends_with("dev-cpu, cpu 0: dram/socket0; cpu 1: dram/socket1"),
        "{}",
        msr.detail()
    );
    assert_eq!(msr.id(), SourceId("rapl-msr"));
}

#[test]
fn a_platform_counter_is_told_for_each_package() {
    let host = Host::intel();
    host.table.set(0, PSYS, 9);
    host.table.set(1, PSYS, 9);
    let mut msr = host.open(&[Component::Platform]);
    assert_eq!(
        totals(&msr.read(at(1))),
        table([("platform/psys", 0), ("platform/psys-1", 0)])
    );
}

// --- what is counted ---

#[test]
fn a_wrap_of_32_bits_is_paid_to_the_unit_and_a_reset_is_dropped_and_told() {
    let host = Host::intel();
    host.package_counts(0, 0xffff_fff0);
    host.package_counts(1, 0x8000_0000);
    let mut msr = host.open(&[Component::Package]);
    msr.read(at(1));
    // 16 units to zero and 16384 - 16 beyond it: 2^14 units are 1 J.
    host.package_counts(0, 16_384 - 16);
    host.package_counts(1, 1);
    let energy = msr.read(at(2));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 1_000_000), ("package/socket1", 0)])
    );
    assert_eq!(
        errors(&energy),
        [("package/socket1".to_owned(), ErrorReason::Reset, 1)]
    );
    assert!(
        latest(&energy).contains("register 0x611 of cpu 1: went from 131072000000 to 61 uJ"),
        "{}",
        latest(&energy)
    );
}

#[test]
fn a_jump_beyond_the_highest_plausible_power_is_refused() {
    let host = Host::intel();
    let mut config = host.config();
    config.max_watts.package = 50;
    let mut msr = Msr::open(config, Box::new(host.table.clone()), &[Component::Package], slept).unwrap();
    msr.read(at(0));
    // 60 J in a second, where 50 W for 1.02 s and 2 J are believed.
    host.package_counts(0, 1_000_000 + 60 * 16_384);
    host.package_counts(1, 2_000_000 + 50 * 16_384);
    let energy = msr.read(at(1));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 0), ("package/socket1", 50_000_000)])
    );
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Implausible, 1)]
    );
}

proptest! {
    #[test]
    fn no_unit_is_lost_or_paid_twice_over_any_number_of_wraps(
        first in prop_oneof![1..=u32::MAX, u32::MAX - 20_000_000..=u32::MAX],
        units in 12_u64..20,
        steps in prop::collection::vec(0_u32..2_000_000, 1..100),
        amd in any::<bool>(),
    ) {
        let (vendor, family, model) = if amd { ("AuthenticAMD", 0x17, 1) } else { ("GenuineIntel", 6, 0x5e) };
        let (unit, register) = if amd { (AMD_UNIT, AMD_PACKAGE) } else { (UNIT, PACKAGE) };
        let host = Host::new(vendor, family, model);
        host.machine.cpu(0, 0, None);
        host.machine.online("0\n");
        host.table.set(0, unit, units << 8);
        let mut truth = u128::from(first);
        host.table.set(0, register, u64::from(first));
        let mut msr = host.open(&[Component::Package]);
        msr.read(at(0));
        for (second, step) in (0_u64..).step_by(4).skip(1).zip(&steps) {
            // At most 2^21 units of 2^-12 J in 4 s: 128 W. Half of the counters begin near their end.
            truth += u128::from(*step);
            host.table.set(0, register, u64::try_from(truth % (1 << 32)).unwrap());
            let energy = msr.read(at(second));
            prop_assert_eq!(&energy.errors, &[]);
            let microjoules = |counted: u128| (counted * 1_000_000) >> units;
            prop_assert_eq!(
                u128::from(energy.zones[0].total.as_micro()),
                microjoules(truth) - microjoules(u128::from(first))
            );
        }
    }

    #[test]
    fn whatever_the_registers_say_nothing_panics_and_no_total_falls(
        units in any::<u64>(),
        first in any::<u64>(),
        values in prop::collection::vec(prop::option::of(any::<u64>()), 1..30),
        model in prop::sample::select(vec![0x5e_u32, 0x55, 0x8f, 0x37]),
    ) {
        let host = Host::new("GenuineIntel", 6, model);
        host.machine.cpu(0, 0, None);
        host.machine.online("0\n");
        host.table.set(0, UNIT, units);
        for register in [PACKAGE, CORE, UNCORE, DRAM, PSYS] {
            host.table.set(0, register, first);
        }
        if let Ok(mut msr) = host.try_open(COMPONENTS) {
            let mut before = vec![0; 5];
            for (second, value) in (0_u64..).step_by(70).zip(values) {
                for register in [PACKAGE, CORE, UNCORE, DRAM, PSYS] {
                    match value {
                        Some(value) => host.table.set(0, register, value),
                        None => host.table.remove(0, register),
                    }
                }
                let energy = msr.read(at(second));
                prop_assert!(value.is_some() || energy.zones.is_empty());
                for (zone, before) in energy.zones.iter().zip(&mut before) {
                    prop_assert!(zone.total.as_micro() >= *before);
                    *before = zone.total.as_micro();
                }
            }
        }
    }
}

// --- what fails costs itself ---

#[test]
fn a_cpu_that_goes_offline_is_replaced_by_another_of_its_package_and_nothing_is_lost() {
    let host = Host::intel();
    let mut msr = host.open(&[Component::Package]);
    msr.read(at(1));
    host.machine.online("1-3\n");
    host.table.offline(0);
    host.table.set(2, PACKAGE, 1_000_000 + 10 * 16_384);
    let energy = msr.read(at(2));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 10_000_000), ("package/socket1", 0)])
    );
    assert_eq!(energy.errors, []);
    assert!(
        msr.detail().contains("cpu 2: package/socket0"),
        "{}",
        msr.detail()
    );
    // It stays where it is when the first one returns.
    host.machine.online("0-3\n");
    host.table.reads();
    msr.read(at(3));
    assert_eq!(host.table.reads(), [(2, PACKAGE), (1, PACKAGE)]);
}

#[test]
fn a_package_without_any_cpu_is_missing_until_it_returns_and_then_pays_the_gap() {
    let host = Host::intel();
    let mut msr = host.open(&[Component::Package]);
    msr.read(at(1));
    host.machine.online("0,2\n");
    host.table.offline(1);
    host.table.offline(3);
    let energy = msr.read(at(2));
    assert_eq!(totals(&energy), table([("package/socket0", 0)]));
    assert_eq!(
        errors(&energy),
        [("package/socket1".to_owned(), ErrorReason::Gone, 1)]
    );
    host.machine.online("0,2,3\n");
    host.table.set(3, PACKAGE, 2_000_000 + 30 * 16_384);
    // The next try is due a second after the first.
    let energy = msr.read(at(3));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 0), ("package/socket1", 30_000_000)])
    );
    assert_eq!(energy.errors.len(), 1);
}

#[test]
fn dies_keep_their_counters_when_the_other_die_goes_offline() {
    let host = Host::new("GenuineIntel", 6, 0x55);
    for (cpu, die) in [(0, 0), (1, 1), (2, 1)] {
        host.machine.cpu(cpu, 0, Some(die));
        host.table.set(cpu, UNIT, INTEL_UNITS);
        host.table.set(cpu, PACKAGE, 16_384);
    }
    host.machine.online("0-2\n");
    let mut msr = host.open(&[Component::Package]);
    assert_eq!(
        totals(&msr.read(at(0))),
        table([("package/socket0-die0", 0), ("package/socket0-die1", 0)])
    );
    host.machine.online("2\n");
    host.table.offline(0);
    host.table.offline(1);
    host.table.set(2, PACKAGE, 3 * 16_384);
    assert_eq!(
        totals(&msr.read(at(1))),
        table([("package/socket0-die1", 2_000_000)])
    );
}

#[test]
fn a_register_that_fails_costs_only_itself() {
    let host = Host::intel();
    host.table.set(0, DRAM, 1);
    let mut msr = host.open(&[Component::Package, Component::Dram]);
    msr.read(at(1));
    host.table.remove(0, DRAM);
    let energy = msr.read(at(2));
    assert_eq!(
        totals(&energy),
        table([("package/socket0", 0), ("package/socket1", 0)])
    );
    assert_eq!(errors(&energy), [("dram/socket0".to_owned(), ErrorReason::Io, 1)]);
    // 2^-16 J on this model.
    host.table.set(0, DRAM, 65_537);
    assert_eq!(msr.read(at(2)).zones.len(), 2);
    assert_eq!(
        totals(&msr.read(at(3)))[1],
        ("dram/socket0".to_owned(), 1_000_000)
    );
}

#[test]
fn a_package_whose_unit_cannot_be_read_is_left_out_and_told() {
    let host = Host::intel();
    host.table.remove(1, UNIT);
    let mut msr = host.open(&[Component::Package]);
    let energy = msr.read(at(1));
    assert_eq!(totals(&energy), table([("package/socket0", 0)]));
    assert_eq!(errors(&energy), [(String::new(), ErrorReason::Io, 1)]);
    assert!(latest(&energy).contains("cpu 1 at 0x606"), "{}", latest(&energy));
}

// --- where it is not ---

#[test]
fn absence_has_a_reason_and_says_what_to_do() {
    let host = Host::intel();
    let why = |host: &Host, wanted| host.try_open(wanted).err().unwrap();
    assert!(why(&host, &[Component::Dram]).ends_with("only package/socket0, package/socket1"));
    host.package_counts(0, 0);
    host.package_counts(1, 0);
    assert!(why(&host, COMPONENTS).contains("no energy counter counts; a virtual machine usually has none"));
    host.table.offline(0);
    host.table.offline(2);
    host.table.remove(1, UNIT);
    assert!(why(&host, COMPONENTS).contains("at 0x606: no"));
    host.machine.online("\n");
    assert!(why(&host, COMPONENTS).contains("no energy counter counts"));
    host.machine.identity("GenuineIntel", 6, 0x1a);
    assert!(why(&host, COMPONENTS).contains("Intel family 0x6 model 0x1a is not known here"));
    fs::remove_file(host.machine.cpuinfo()).unwrap();
    assert!(why(&host, COMPONENTS).contains("cpuinfo: "));
}

#[test]
fn the_section_is_checked() {
    let message = |section| match open(&ask(&section, COMPONENTS)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    for key in ["root", "cpuinfo", "cpus"] {
        assert!(
            message(json!({ key: "" })).contains(&format!("`sources.msr.{key}` is empty; the default is /"))
        );
    }
    assert!(message(json!({ "root": 7 })).contains("`sources.msr` is not usable"));
    assert!(
        message(json!({ "max_watts": { "core": 100_001 } }))
            .contains("`sources.msr.max_watts` has 100001 W for core")
    );
    assert_eq!(default_section()["root"], "/dev/cpu");
}

// --- the files themselves ---

#[test]
fn registers_are_read_from_the_files_of_the_driver() {
    let host = Host::two_sockets("GenuineIntel", 6, 0x55);
    let root = host.machine.path("dev-cpu");
    let section = json!({ "root": root, "cpuinfo": host.machine.cpuinfo(), "cpus": host.machine.sys() });
    let absent = open(&ask(&section, COMPONENTS)).unwrap();
    let Opened::Absent { reason } = absent else {
        panic!("opened")
    };
    assert!(
        reason.contains("dev-cpu/0/msr at 0x606: ") && reason.ends_with("; try `modprobe msr`"),
        "{reason}"
    );

    let file = |cpu: u32| {
        fs::create_dir_all(root.join(cpu.to_string())).unwrap();
        File::create(root.join(format!("{cpu}/msr"))).unwrap()
    };
    let set = |file: &File, register: u32, value: u64| {
        file.write_all_at(&value.to_le_bytes(), register.into()).unwrap()
    };
    let files = [file(0), file(1)];
    for file in &files {
        for (register, value) in [
            (UNIT, INTEL_UNITS),
            (PACKAGE, 16_384),
            (DRAM, 65_536),
            (CORE, 16_384),
            (UNCORE, 0),
            (PSYS, 0),
        ] {
            set(file, register, value);
        }
    }
    let Opened::Source(mut msr) = open(&ask(&section, COMPONENTS)).unwrap() else {
        panic!("absent")
    };
    msr.read(at(0));
    set(&files[0], PACKAGE, 5 * 16_384);
    set(&files[0], DRAM, 3 * 65_536);
    set(&files[1], CORE, 4 * 16_384);
    assert_eq!(
        totals(&msr.read(at(1))),
        table([
            ("package/socket0", 4_000_000),
            ("core/socket0", 0),
            ("dram/socket0", 2_000_000),
            ("package/socket1", 0),
            ("core/socket1", 3_000_000),
            ("dram/socket1", 0),
        ])
    );
}
