// SPDX-License-Identifier: Apache-2.0
//! Machines, with the chips that each has and the watts that they show.

use crate::testing::sysfs::{Files, Sysfs};

/// `apm_xgene` of a socket at 95 W and its I/O at 30 W.
pub(super) const XGENE_BUSY: Files<'_> = &[
    ("power1_label", "CPU power"),
    ("power1_input", "95000000"),
    ("power2_label", "IO power"),
    ("power2_input", "30000000"),
    ("temp1_label", "SoC Temperature"),
    ("temp1_input", "42000"),
    ("temp1_critical_alarm", "0"),
];

/// The same at 60 W.
pub(super) const XGENE_CALM: Files<'_> = &[
    ("power1_label", "CPU power"),
    ("power1_input", "60000000"),
    ("power2_label", "IO power"),
    ("power2_input", "30000000"),
];

/// Two sockets: drivers/hwmon/xgene-hwmon.c.
pub(super) fn altra() -> Sysfs {
    let tree = Sysfs::new();
    nvme(&tree, 0);
    nic(&tree, 1);
    tree.chip(2, "platform/APMC0D29:01", "apm_xgene", XGENE_CALM);
    tree.chip(5, "platform/APMC0D29:00", "apm_xgene", XGENE_BUSY);
    tree
}

/// An ACPI power meter in the old layout.
pub(super) fn acpi_meter(tree: &Sysfs, number: u32, device: &str, oem: &str, microwatts: &str) {
    tree.old_chip(
        number,
        &format!("LNXSYSTM:00/LNXSYBUS:00/{device}"),
        "power_meter",
        "power_meter",
        &[
            ("power1_average", microwatts),
            ("power1_average_interval", "1000"),
            ("power1_average_interval_max", "1000"),
            ("power1_average_interval_min", "50"),
            ("power1_accuracy", "100.0%"),
            ("power1_is_battery", "0"),
            ("power1_model_number", ""),
            ("power1_serial_number", ""),
            ("power1_oem_info", oem),
        ],
    );
}

/// Two sockets, four meters each, in no order.
pub(super) fn grace_superchip() -> Sysfs {
    let tree = Sysfs::new();
    nvme(&tree, 0);
    let meters = [
        ("SysIO", "40000000"),
        ("Module", "300000000"),
        ("CPU", "150000000"),
        ("Grace", "250000000"),
    ];
    for (number, (rail, microwatts)) in (1..).zip(meters) {
        for socket in 0..2 {
            let device = format!("ACPI000D:{:02X}", 4 * socket + number);
            let oem = format!("{rail} Power Socket {socket}");
            acpi_meter(&tree, 4 * socket + number, &device, &oem, microwatts);
        }
    }
    tree
}

/// One socket: Module with its GPU 650 W, Grace 120 W, CPU 70 W, SysIO 25 W.
pub(super) fn grace_hopper() -> Sysfs {
    let tree = Sysfs::new();
    acpi_meter(&tree, 0, "ACPI000D:00", "Module Power Socket 0", "650000000");
    acpi_meter(&tree, 1, "ACPI000D:01", "Grace Power Socket 0", "120000000");
    acpi_meter(&tree, 2, "ACPI000D:02", "CPU Power Socket 0", "70000000");
    acpi_meter(&tree, 3, "ACPI000D:03", "SysIO Power Socket 0", "25000000");
    nic(&tree, 4);
    tree
}

/// An INA3221 with three rails as `(label, millivolts, milliamperes)`: Documentation/hwmon/ina3221.rst.
fn ina3221(tree: &Sysfs, number: u32, device: &str, rails: [(&str, u32, u32); 3]) {
    let mut files = vec![("in7_label".to_owned(), "sum of shunt voltages".to_owned())];
    for (channel, (label, millivolts, milliamps)) in (1..).zip(rails) {
        files.push((format!("in{channel}_label"), label.to_owned()));
        files.push((format!("in{channel}_input"), millivolts.to_string()));
        files.push((format!("in{channel}_enable"), "1".to_owned()));
        files.push((format!("curr{channel}_input"), milliamps.to_string()));
        files.push((format!("curr{channel}_crit"), "32760".to_owned()));
        files.push((format!("curr{channel}_max"), "32760".to_owned()));
        files.push((format!("shunt{channel}_resistor"), "5000".to_owned()));
        // What drops at the shunt.
        files.push((
            format!("in{}_input", channel + 3),
            (milliamps * 5 / 1_000).to_string(),
        ));
    }
    let sum: u32 = rails.iter().map(|(_, _, milliamps)| milliamps).sum();
    files.push(("curr4_input".to_owned(), sum.to_string()));
    files.push(("in7_input".to_owned(), (sum * 5 / 1_000).to_string()));
    let files: Vec<_> = files
        .iter()
        .map(|(file, content)| (file.as_str(), content.as_str()))
        .collect();
    tree.chip(
        number,
        &format!("platform/bus@0/c240000.i2c/i2c-1/{device}"),
        "ina3221",
        &files,
    );
}

/// Also Orin Nano: arch/arm64/boot/dts/nvidia/tegra234-p3767.dtsi.
pub(super) fn jetson_orin_nx() -> Sysfs {
    let tree = Sysfs::new();
    tree.chip(0, "platform/pwm-fan", "pwmfan", &[("pwm1", "54")]);
    let rails = [
        ("VDD_IN", 5_000, 2_000),
        ("VDD_CPU_GPU_CV", 5_000, 800),
        ("VDD_SOC", 5_000, 400),
    ];
    ina3221(&tree, 1, "1-0040", rails);
    tree
}

/// arch/arm64/boot/dts/nvidia/tegra234-p3701.dtsi.
pub(super) fn jetson_agx_orin() -> Sysfs {
    let tree = Sysfs::new();
    let rails = [
        ("VDD_GPU_SOC", 19_000, 400),
        ("VDD_CPU_CV", 19_000, 300),
        ("VIN_SYS_5V0", 5_000, 1_000),
    ];
    ina3221(&tree, 1, "1-0040", rails);
    ina3221(
        &tree,
        2,
        "1-0041",
        [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5_000, 200), ("NC", 0, 0)],
    );
    tree
}

/// arch/arm64/boot/dts/nvidia/tegra194-p2888.dtsi.
pub(super) fn jetson_agx_xavier() -> Sysfs {
    let tree = Sysfs::new();
    ina3221(
        &tree,
        3,
        "1-0040",
        [("GPU", 10_000, 300), ("CPU", 10_000, 400), ("SOC", 10_000, 200)],
    );
    ina3221(
        &tree,
        1,
        "1-0041",
        [("CV", 10_000, 50), ("VDDRQ", 10_000, 100), ("SYS5V", 5_000, 600)],
    );
    tree
}

/// A board with an INA226 on its supply: Documentation/hwmon/ina2xx.rst.
pub(super) fn raspberry() -> Sysfs {
    let tree = Sysfs::new();
    tree.chip(
        0,
        "platform/soc/cpu_thermal",
        "cpu_thermal",
        &[("temp1_input", "48000")],
    );
    tree.chip(
        1,
        "platform/soc/rpi_volt",
        "rpi_volt",
        &[("in0_lcrit_alarm", "0")],
    );
    let files = [
        ("in0_input", "10"),
        ("in1_input", "5100"),
        ("curr1_input", "1000"),
        ("power1_input", "5100000"),
        ("shunt_resistor", "10000"),
        ("update_interval", "18"),
    ];
    tree.chip(2, "platform/soc/i2c-1/1-0040", "ina226", &files);
    tree
}

/// Four cores and two sockets: Documentation/hwmon/amd_energy.rst.
pub(super) fn epyc_amd_energy() -> Sysfs {
    let tree = Sysfs::new();
    tree.chip(
        0,
        "pci0000:00/0000:00:18.3",
        "k10temp",
        &[("temp1_input", "50000")],
    );
    nvme(&tree, 1);
    let files = [
        ("energy1_label", "Ecore000"),
        ("energy1_input", "100000000"),
        ("energy2_label", "Ecore001"),
        ("energy2_input", "100000000"),
        ("energy3_label", "Ecore002"),
        ("energy3_input", "100000000"),
        ("energy4_label", "Ecore003"),
        ("energy4_input", "100000000"),
        ("energy5_label", "Esocket0"),
        ("energy5_input", "2000000000"),
        ("energy6_label", "Esocket1"),
        ("energy6_input", "9000000000"),
    ];
    tree.chip(4, "platform/amd_energy.0", "amd_energy", &files);
    tree
}

/// drivers/platform/x86/amd/hsmp/hwmon.c: one platform device, a chip for each socket.
pub(super) fn epyc_hsmp() -> Sysfs {
    let tree = Sysfs::new();
    for (number, microwatts) in [(9, "180000000"), (10, "90000000")] {
        let files = [
            ("power1_input", microwatts),
            ("power1_cap", "400000000"),
            ("power1_cap_max", "400000000"),
        ];
        tree.chip(number, "platform/amd_hsmp", "amd_hsmp_hwmon", &files);
    }
    tree
}

fn nvme(tree: &Sysfs, number: u32) {
    // No NVMe driver shows power today; one that did would be a drive all the same.
    let files = [
        ("temp1_input", "38850"),
        ("temp1_label", "Composite"),
        ("power1_input", "5000000"),
    ];
    tree.chip(number, "pci0000:00/0000:01:00.0/nvme/nvme0", "nvme", &files);
}

fn nic(tree: &Sysfs, number: u32) {
    let files = [("temp1_input", "60000"), ("power1_input", "18000000")];
    tree.chip(number, "pci0000:40/0000:41:00.0", "mlx5", &files);
}

/// Everything with power that is no CPU.
pub(super) fn only_others() -> Sysfs {
    let tree = Sysfs::new();
    nvme(&tree, 0);
    nic(&tree, 1);
    let battery = [
        ("in0_input", "12000"),
        ("curr1_input", "1000"),
        ("power1_input", "12000000"),
    ];
    tree.chip(2, "platform/PNP0C0A:00/power_supply/BAT0", "BAT0", &battery);
    let supply = [
        ("power1_label", "power total"),
        ("power1_input", "210000000"),
        ("power2_label", "power +12v"),
        ("power2_input", "150000000"),
        ("in0_label", "v_in"),
        ("in0_input", "230000"),
    ];
    tree.chip(3, "pci0000:00/usb1/0003:1B1C:1C05.0001", "corsairpsu", &supply);
    let pmbus = [
        ("power1_label", "pin"),
        ("power1_input", "350000000"),
        ("power2_label", "pout1"),
        ("power2_input", "330000000"),
    ];
    tree.chip(4, "platform/i2c-3/3-0058", "pmbus", &pmbus);
    let usb = [("in1_input", "5000"), ("curr1_input", "900")];
    let device = "platform/USBC000:00/power_supply/ucsi-source-psy-USBC000:001";
    tree.chip(5, device, "ucsi_source_psy_USBC000:001", &usb);
    let gpu = [
        ("power1_average", "35000000"),
        ("power1_label", "PPT"),
        ("in0_label", "vddgfx"),
        ("in0_input", "800"),
    ];
    tree.chip(6, "pci0000:00/0000:03:00.0", "amdgpu", &gpu);
    tree.chip(
        7,
        "pci0000:00/0000:00:02.0",
        "i915",
        &[("energy1_input", "488660880")],
    );
    tree.chip(
        8,
        "pci0000:00/0000:04:00.0",
        "xe",
        &[
            ("energy1_input", "1"),
            ("energy2_input", "1"),
            ("energy2_label", "pkg"),
        ],
    );
    acpi_meter(&tree, 9, "ACPI000D:00", "", "400000000");
    tree
}
