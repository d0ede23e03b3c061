// SPDX-License-Identifier: Apache-2.0
//! Machines as their drivers lay them out, and what is counted on each.

mod machines;

use super::*;
use crate::testing::sysfs::{Sysfs, lay_out};
use crate::testing::{ask, at_ms as at, errors, joules, totals};
use attribution::model::Provenance;
use machines::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn section(tree: &Sysfs) -> Value {
    json!({ "root": tree.hwmon_root() })
}

fn with_rules(tree: &Sysfs, rules: Value) -> Value {
    json!({ "root": tree.hwmon_root(), "rules": rules })
}

fn opened(section: &Value, wanted: &[Component]) -> Box<dyn PowerSource> {
    match open(&ask(section, wanted)).unwrap() {
        Opened::Source(source) => source,
        Opened::Absent { reason } => panic!("absent: {reason}"),
    }
}

fn why_not(section: &Value, wanted: &[Component]) -> String {
    match open(&ask(section, wanted)).unwrap() {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

/// What ten seconds cost by zone, and the label. Counters of microjoules are moved on as `moves` says.
fn ten_seconds(section: &Value, moves: impl Fn()) -> (String, Vec<(String, u64)>) {
    let mut source = opened(section, COMPONENTS);
    source.read(at(0));
    moves();
    let energy = source.read(at(10_000));
    assert_eq!(errors(&energy), []);
    (source.id().0.to_owned(), totals(&energy))
}

fn still(section: &Value) -> (String, Vec<(String, u64)>) {
    ten_seconds(section, || {})
}

fn expected<const N: usize>(label: &str, zones: [(&str, u64); N]) -> (String, Vec<(String, u64)>) {
    (label.to_owned(), joules(zones))
}

// --- machine by machine ---

#[test]
fn an_altra_with_two_sockets_counts_the_cpus_and_not_the_io() {
    // CPU power 95 W and 60 W, IO power 30 W; hwmon numbers the wrong way round, a NIC and drives beside it.
    let tree = altra();
    assert_eq!(
        still(&section(&tree)),
        expected(
            "ampere-xgene-hwmon",
            [("package/socket0", 950), ("package/socket1", 600)]
        )
    );
    // By a rule, the I/O can be added.
    let rules =
        json!([{ "chip": "apm_xgene", "device": "*:00", "label": "IO power", "component": "package" }]);
    assert_eq!(
        still(&with_rules(&tree, rules)).1,
        joules([("package/socket0", 1_250), ("package/socket1", 600)])
    );
}

#[test]
fn a_grace_superchip_counts_each_socket_with_its_parts_and_each_module() {
    // Each socket: Module 300 W, Grace 250 W, CPU 150 W, SysIO 40 W.
    assert_eq!(
        still(&section(&grace_superchip())),
        expected(
            "grace-acpi",
            [
                ("package/socket0", 2_500),
                ("package/socket1", 2_500),
                ("core/socket0", 1_500),
                ("core/socket1", 1_500),
                ("uncore/socket0", 400),
                ("uncore/socket1", 400),
                ("platform/Module Power Socket 0", 3_000),
                ("platform/Module Power Socket 1", 3_000),
            ]
        )
    );
}

#[test]
fn a_grace_hopper_counts_the_module_as_platform_and_the_socket_without_its_gpu() {
    let tree = grace_hopper();
    assert_eq!(
        still(&section(&tree)),
        expected(
            "grace-acpi",
            [
                ("package/socket0", 1_200),
                ("core/socket0", 700),
                ("uncore/socket0", 250),
                ("platform/Module Power Socket 0", 6_500),
            ]
        )
    );
    // Only what is wanted is opened; the label stays.
    let mut platform = opened(&section(&tree), &[Component::Platform]);
    assert_eq!(platform.id(), GRACE);
    assert_eq!(platform.components(), [Component::Platform]);
    assert_eq!(platform.read(at(0)).zones.len(), 1);
}

#[test]
fn a_grace_without_a_total_is_the_sum_of_what_it_has() {
    let tree = Sysfs::new();
    acpi_meter(&tree, 0, "ACPI000D:00", "CPU Power Socket 0", "150000000");
    assert_eq!(
        still(&section(&tree)),
        expected("grace-acpi", [("package/socket0", 1_500)])
    );
    acpi_meter(&tree, 1, "ACPI000D:01", "SysIO Power Socket 0", "40000000");
    assert_eq!(
        still(&section(&tree)),
        expected("grace-acpi", [("package/socket0", 1_900)])
    );
}

#[test]
fn a_jetson_orin_nx_counts_the_shared_rail_once_and_the_input_as_platform() {
    // VDD_IN 5 V x 2 A, VDD_CPU_GPU_CV 5 V x 0.8 A, VDD_SOC 5 V x 0.4 A; shunts and sums are no rails.
    let tree = jetson_orin_nx();
    assert_eq!(
        still(&section(&tree)),
        expected("hwmon", [("package/socket0", 40), ("platform/VDD_IN", 100)])
    );
    let detail = opened(&section(&tree), COMPONENTS).detail();
    assert!(
        detail.contains("package/socket0 = in2_input of ina3221 (1-0040)"),
        "{detail}"
    );
    assert!(
        detail
            .contains("not counted, unless `sources.hwmon.rules` says what it is: ina3221 (1-0040): VDD_SOC"),
        "{detail}"
    );
}

#[test]
fn a_jetson_agx_orin_counts_cpu_gpu_and_memory_and_has_no_platform() {
    // 19 V x 0.4 A (GPU, SoC), 19 V x 0.3 A (CPU, CV), 5 V x 1 A (system), and on the second chip 5 V x 0.2 A (memory).
    assert_eq!(
        still(&section(&jetson_agx_orin())),
        expected(
            "hwmon",
            [
                ("package/socket0", 57),
                ("dram/socket0", 10),
                ("gpu/VDD_GPU_SOC", 76)
            ]
        )
    );
}

#[test]
fn a_jetson_agx_xavier_counts_its_short_rail_names() {
    assert_eq!(
        still(&section(&jetson_agx_xavier())),
        expected(
            "hwmon",
            [("package/socket0", 40), ("dram/socket0", 10), ("gpu/GPU", 30)]
        )
    );
}

#[test]
fn a_raspberry_with_an_ina226_counts_what_a_rule_says() {
    // 5.1 W by power1_input; in0 is the shunt.
    let tree = raspberry();
    let why = why_not(&section(&tree), COMPONENTS);
    assert!(
        why.contains("unless `sources.hwmon.rules` says what it is: ina226 (1-0040): power1"),
        "{why}"
    );
    let rules =
        json!([{ "chip": "ina226", "device": "*1-0040*", "component": "platform", "place": "board" }]);
    assert_eq!(
        still(&with_rules(&tree, rules)),
        expected("hwmon", [("platform/board", 51)])
    );
}

#[test]
fn an_epyc_with_amd_energy_counts_sockets_and_not_cores() {
    let tree = epyc_amd_energy();
    let moves = || {
        for (file, microjoules) in [
            ("energy5_input", 2_000_000_000_u64 + 1_800_000_000),
            ("energy6_input", 9_000_000_000 + 900_000_000),
            ("energy1_input", 4_000_000_000),
        ] {
            tree.chip_set(4, file, &microjoules.to_string());
        }
    };
    assert_eq!(
        ten_seconds(&section(&tree), moves),
        expected("hwmon", [("package/socket0", 1_800), ("package/socket1", 900)])
    );
    let energy = opened(&section(&tree), COMPONENTS).read(at(0));
    assert!(
        energy
            .zones
            .iter()
            .all(|zone| zone.provenance == Provenance::Counted)
    );
}

#[test]
fn an_epyc_with_hsmp_counts_each_socket_once_also_beside_amd_energy() {
    let tree = epyc_hsmp();
    assert_eq!(
        still(&section(&tree)),
        expected("hwmon", [("package/socket0", 1_800), ("package/socket1", 900)])
    );
    let both = epyc_amd_energy();
    both.chip(
        7,
        "platform/amd_hsmp",
        "amd_hsmp_hwmon",
        &[("power1_input", "180000000")],
    );
    let source = opened(&section(&both), &[Component::Package]);
    assert!(
        source
            .detail()
            .ends_with("not counted twice: amd_hsmp_hwmon (amd_hsmp) shows package/socket0 again"),
        "{}",
        source.detail()
    );
    assert!(!source.detail().contains("power1_input"), "{}", source.detail());
}

#[test]
fn an_opteron_counts_its_processors_in_the_order_of_nodes() {
    let tree = Sysfs::new();
    tree.chip(
        1,
        "pci0000:00/0000:00:19.4",
        "fam15h_power",
        &[("power1_input", "50000000"), ("power1_crit", "115000000")],
    );
    tree.chip(
        2,
        "pci0000:00/0000:00:18.4",
        "fam15h_power",
        &[("power1_input", "70000000"), ("power1_crit", "115000000")],
    );
    assert_eq!(
        still(&section(&tree)),
        expected("hwmon", [("package/socket0", 700), ("package/socket1", 500)])
    );
}

#[test]
fn a_machine_with_nics_drives_and_supplies_counts_nothing_and_says_what_it_saw() {
    let tree = only_others();
    let why = why_not(&section(&tree), COMPONENTS);
    assert!(
        why.contains("no chip of a CPU, memory, GPU or platform is known here"),
        "{why}"
    );
    for chip in [
        "mlx5 (0000:41:00.0): power1",
        "nvme (nvme0): power1",
        "corsairpsu (0003:1B1C:1C05.0001): power total, power +12v",
        "pmbus (3-0058): pin, pout1",
        "ucsi_source_psy_USBC000:001 (ucsi-source-psy-USBC000:001): in1",
    ] {
        assert!(why.contains(chip), "{chip} in {why}");
    }
    // Those of other sources are not offered.
    for other in ["BAT0", "amdgpu", "i915", "power_meter"] {
        assert!(!why.contains(other), "{other} in {why}");
    }
}

#[test]
fn the_machines_own_meter_is_not_offered_whatever_its_chip_is_called() {
    let tree = Sysfs::new();
    let files = [("power1_average", "400000000"), ("power1_oem_info", "test rig")];
    tree.chip(0, "platform/ACPI000D:00", "whatever", &files);
    tree.driver("platform/ACPI000D:00", "acpi-power-meter");
    let why = why_not(&section(&tree), COMPONENTS);
    assert!(why.ends_with("is known here"), "{why}");
}

#[test]
fn no_chip_of_a_machine_with_everything_is_package_but_a_cpus() {
    let tree = only_others();
    tree.chip(40, "platform/APMC0D29:00", "apm_xgene", XGENE_BUSY);
    let mut source = opened(&section(&tree), COMPONENTS);
    assert_eq!(totals(&source.read(at(0))), joules([("package/socket0", 0)]));
    assert!(
        source
            .detail()
            .contains("package/socket0 = power1_input of apm_xgene (APMC0D29:00); not counted"),
        "{}",
        source.detail()
    );
}

#[test]
fn the_records_of_real_drivers_have_a_meter_of_the_machine_and_gpus_and_so_nothing_for_hwmon() {
    for record in [
        include_str!("../../tests/fixtures/intel-2-sockets-acpi-meter.txt"),
        include_str!("../../tests/fixtures/amd-1-socket-amdgpu.txt"),
    ] {
        let dir = TempDir::new().unwrap();
        lay_out(record, dir.path());
        let why = why_not(&json!({ "root": dir.path().join("sys/class/hwmon") }), COMPONENTS);
        assert!(
            why.ends_with("no chip of a CPU, memory, GPU or platform is known here"),
            "{why}"
        );
    }
}

// --- rules of the configuration ---

#[test]
fn the_first_rule_that_matches_decides_and_the_built_in_ones_come_last() {
    let tree = jetson_agx_orin();
    let rules = json!([
        // Off.
        { "chip": "ina3221", "label": "VDDQ*", "component": "none" },
        // Another component and place than the built-in rule has.
        { "chip": "ina3221", "label": "VDD_GPU_SOC", "component": "gpu", "place": "orin" },
        // Never reached for what the rules above match.
        { "chip": "ina*", "label": "VDD*", "component": "uncore", "place": "socket0-die1" },
        { "chip": "ina3221", "device": "*-0040", "label": "VIN_SYS_5V0", "component": "dram" },
    ]);
    assert_eq!(
        still(&with_rules(&tree, rules)).1,
        joules([
            ("uncore/socket0-die1", 57),
            ("dram/socket0", 50),
            ("gpu/orin", 76)
        ])
    );
}

#[test]
fn what_a_rule_gives_to_a_zone_is_added_to_what_is_there() {
    let rules = json!([{ "chip": "ina3221", "label": "VDD_SOC", "component": "package" }]);
    assert_eq!(
        still(&with_rules(&jetson_orin_nx(), rules)).1,
        joules([("package/socket0", 60), ("platform/VDD_IN", 100)])
    );
}

#[test]
fn a_rule_can_take_what_is_another_sources() {
    let tree = only_others();
    let rules = json!([{ "chip": "amdgpu", "component": "gpu", "place": "card" }]);
    assert_eq!(still(&with_rules(&tree, rules)).1, joules([("gpu/card", 350)]));
}

#[test]
fn no_channel_feeds_two_zones() {
    for tree in [
        altra(),
        grace_superchip(),
        grace_hopper(),
        jetson_orin_nx(),
        jetson_agx_orin(),
        jetson_agx_xavier(),
        epyc_amd_energy(),
        epyc_hsmp(),
        only_others(),
    ] {
        let plan = plan::plan(&chips(&tree.hwmon_root()).unwrap().found, &[]);
        let mut channels: Vec<_> = plan
            .zones
            .values()
            .flatten()
            .map(|part| (&part.chip, part.files.main()))
            .collect();
        let all = channels.len();
        channels.sort_unstable();
        channels.dedup();
        assert_eq!(channels.len(), all);
    }
}

#[test]
fn the_section_is_checked() {
    let message = |section| match open(&ask(&section, COMPONENTS)) {
        Err(error) => format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        ),
        Ok(_) => panic!("accepted {section}"),
    };
    let rule = |rule: Value| message(json!({ "rules": [rule] }));
    assert!(message(json!({ "root": "" })).contains("`sources.hwmon.root` is empty"));
    assert!(
        message(json!({ "max_watts": { "gpu": 0 } })).contains("`sources.hwmon.max_watts` has 0 W for gpu")
    );
    assert!(message(json!({ "max_watts": { "other": 1 } })).contains("other"));
    assert!(rule(json!({ "component": "gpu" })).contains("missing field `chip`"));
    assert!(rule(json!({ "chip": "ina226" })).contains("missing field `component`"));
    assert!(rule(json!({ "chip": "a", "component": "cpu" })).contains("unknown variant `cpu`"));
    assert!(rule(json!({ "chip": "a", "component": "gpu", "lable": "x" })).contains("lable"));
    assert!(rule(json!({ "chip": "*", "component": "package" })).contains("number 1 names no chip"));
    for place in ["0", "socket", "socket+1", "socket65536", "socket0-die", "cpu"] {
        let said = rule(json!({ "chip": "a", "component": "dram", "place": place }));
        assert!(
            said.contains(&format!("number 1 has the place {place:?} for dram")),
            "{said}"
        );
    }
    assert_eq!(
        default_section(),
        json!({
            "root": "/sys/class/hwmon",
            "max_watts": { "package": 1_000, "core": 1_000, "uncore": 1_000, "dram": 500, "gpu": 3_000, "platform": 20_000 },
            "rules": [],
        })
    );
}

// --- what goes wrong ---

#[test]
fn a_tree_that_is_not_there_and_components_that_are_not_have_their_reasons() {
    let missing = why_not(&json!({ "root": "/nowhere" }), COMPONENTS);
    assert!(missing.contains("/nowhere does not exist"), "{missing}");
    let other = why_not(&section(&altra()), &[Component::Dram]);
    assert!(
        other.contains("none of the wanted components, only package/socket0, package/socket1"),
        "{other}"
    );
    let tree = Sysfs::new();
    tree.chip(0, "platform/APMC0D29:00", "apm_xgene", XGENE_BUSY);
    tree.chip_break(0, "power1_input");
    let unreadable = why_not(&section(&tree), COMPONENTS);
    assert!(unreadable.contains("no wanted zone can be read"), "{unreadable}");
}

#[test]
fn a_rail_that_is_off_costs_only_itself() {
    let tree = jetson_agx_orin();
    let mut source = opened(&section(&tree), COMPONENTS);
    source.read(at(0));
    // The kernel answers ENODATA; a folder answers with an error, too.
    tree.chip_break(1, "curr2_input");
    let energy = source.read(at(10_000));
    assert_eq!(
        totals(&energy),
        joules([("dram/socket0", 10), ("gpu/VDD_GPU_SOC", 76)])
    );
    assert_eq!(errors(&energy).len(), 1);
    // Switched off from the start it is not listed.
    let tree = jetson_agx_orin();
    tree.set("class/hwmon/hwmon1/in2_enable", b"0\n");
    assert_eq!(
        still(&section(&tree)).1,
        joules([("dram/socket0", 10), ("gpu/VDD_GPU_SOC", 76)])
    );
}

#[test]
fn a_zone_of_several_rails_goes_on_by_those_that_answer() {
    let tree = jetson_agx_orin();
    let both = json!([{ "chip": "ina3221", "label": "V*", "component": "package" }]);
    let mut source = opened(&with_rules(&tree, both), COMPONENTS);
    source.read(at(0));
    tree.chip_break(1, "curr2_input");
    // 7.6 W, 5 W and 1 W are left; 5.7 W are missing, and the moment is that of the others.
    let energy = source.read(at(10_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 136)]));
    assert_eq!(energy.zones[0].at, at(10_000));
}

#[test]
fn sockets_keep_their_numbers_when_their_driver_is_loaded_again() {
    let tree = altra();
    let mut source = opened(&section(&tree), COMPONENTS);
    source.read(at(0));
    tree.remove_chip(5, "platform/APMC0D29:00");
    tree.remove_chip(2, "platform/APMC0D29:01");
    let energy = source.read(at(1_000));
    assert_eq!(energy.zones, []);
    assert_eq!(errors(&energy).len(), 2);
    // Only the second comes back at first, under the first one's number.
    tree.chip(5, "platform/APMC0D29:01", "apm_xgene", XGENE_CALM);
    assert_eq!(
        totals(&source.read(at(2_000))),
        joules([("package/socket1", 120)])
    );
    tree.chip(8, "platform/APMC0D29:00", "apm_xgene", XGENE_BUSY);
    assert_eq!(
        totals(&source.read(at(4_000))),
        joules([("package/socket0", 380), ("package/socket1", 240)])
    );
}

#[test]
fn what_firmware_says_when_it_does_not_know_is_no_reading_of_a_grace() {
    for bad in ["0", "4294967295", "4294967295000"] {
        let tree = grace_hopper();
        let mut source = opened(&section(&tree), &[Component::Package]);
        source.read(at(0));
        tree.chip_set(1, "power1_average", bad);
        let energy = source.read(at(1_000));
        assert_eq!(energy.zones, [], "{bad}");
        assert_eq!(
            errors(&energy),
            [("package/socket0".to_owned(), ErrorReason::Implausible, 1)]
        );
    }
}

// --- whatever the bytes are ---

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "-?[0-9]{1,22}\n?".prop_map(String::into_bytes),
        "(VDD|CPU|GPU|IN|DDR|_|Esocket|[0-9]){0,5}\n?".prop_map(String::into_bytes),
        "(CPU|Grace|Module|SysIO) Power Socket [0-9]{0,6}\n?".prop_map(String::into_bytes),
        "(ina3221|amd_energy|apm_xgene|power_meter|nvme)\n?".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_in_any_file_of_any_machine_never_panics_and_no_total_falls(
        contents in prop::collection::vec((any::<prop::sample::Index>(), bytes()), 1..12),
        machine in 0_usize..6,
    ) {
        let tree = [altra, grace_hopper, jetson_agx_orin, epyc_amd_energy, only_others, raspberry][machine]();
        let mut files = Vec::new();
        for chip in fs::read_dir(tree.hwmon_root()).unwrap() {
            let chip = chip.unwrap().path();
            for dir in [chip.clone(), chip.join("device")] {
                files.extend(fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file()));
            }
        }
        files.sort();
        let rules = json!([
            { "chip": "ina226", "component": "package" },
            { "chip": "nvme", "component": "dram" },
            { "chip": "*psu", "component": "platform" },
        ]);
        let section = with_rules(&tree, rules);
        let mut source = match open(&ask(&section, COMPONENTS)).unwrap() {
            Opened::Source(source) => source,
            Opened::Absent { reason } => panic!("absent: {reason}"),
        };
        source.read(at(0));
        let mut before: Vec<(String, u64)> = Vec::new();
        let mut now = 0;
        for (file, bytes) in contents {
            fs::write(file.get(&files), &bytes).unwrap();
            drop(open(&ask(&section, COMPONENTS)).unwrap());
            now += 100_000;
            let after = totals(&source.read(at(now)));
            for (zone, total) in &after {
                let earlier = before.iter().find(|(other, _)| other == zone).map_or(0, |(_, total)| *total);
                prop_assert!(*total >= earlier, "{zone}");
            }
            before.retain(|(zone, _)| !after.iter().any(|(other, _)| other == zone));
            before.extend(after);
        }
    }
}
