// SPDX-License-Identifier: Apache-2.0
//! What one reading of each source costs the thread that asks, as a table: `cargo bench -p power-sources`.
//!
//! Trees are plain files in memory (or the machine's own `/proc`), so what a driver does to answer is not in the figures: they
//! are this program's part, system calls included. A source that reads on a thread of its own has to answer at once, also
//! while its meter hangs. Nothing here fails for being slow.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that prints a table"
)]

use attribution::model::{Component, MonotonicNanos};
use power_sources::{ALL, Ask, Opened, PowerSource};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Readings of each source.
const READS: u64 = 2_001;

/// One row of the table.
struct Case {
    source: &'static str,
    what: &'static str,
    wanted: &'static [Component],
    /// Lays out what the source reads and gives its section.
    prepare: fn(&Path) -> Value,
}

const CPU: &[Component] = &[
    Component::Package,
    Component::Core,
    Component::Uncore,
    Component::Dram,
];

const PLATFORM: &[Component] = &[Component::Platform];
const GPU: &[Component] = &[Component::Gpu];

const CASES: &[Case] = &[
    Case {
        source: "rapl",
        what: "2 sockets x 4 zones",
        wanted: CPU,
        prepare: powercap,
    },
    Case {
        source: "rapl-perf",
        what: "2 sockets x 4 zones, real events",
        wanted: CPU,
        prepare: perf_events,
    },
    Case {
        source: "msr",
        what: "2 sockets x 4 zones",
        wanted: CPU,
        prepare: registers,
    },
    Case {
        source: "ipmi",
        what: "this machine's controller",
        wanted: &[Component::Platform],
        prepare: |_| Value::Null,
    },
    Case {
        source: "hwmon",
        what: "Altra, 2 sockets",
        wanted: CPU,
        prepare: altra,
    },
    Case {
        source: "hwmon",
        what: "AGX Orin, voltage x current",
        wanted: &[Component::Package, Component::Dram, Component::Gpu],
        prepare: orin,
    },
    Case {
        source: "acpi",
        what: "a meter that averages over a second",
        wanted: PLATFORM,
        prepare: acpi_meter,
    },
    Case {
        source: "battery",
        what: "a laptop: battery, mains, USB, mouse",
        wanted: PLATFORM,
        prepare: laptop,
    },
    Case {
        source: "redfish",
        what: "a BMC that never answers",
        wanted: PLATFORM,
        prepare: silent_bmc,
    },
    Case {
        source: "nvml",
        what: "8 GPUs of 2 processes, a stand-in library",
        wanted: GPU,
        prepare: gpus,
    },
    Case {
        source: "amd",
        what: "2 cards, this machine's processes",
        wanted: GPU,
        prepare: cards,
    },
];

fn main() {
    println!("| source | what | zones | us a reading, median | 99th percentile |");
    println!("|---|---|---|---|---|");
    for case in CASES {
        // A folder in memory, as sysfs is.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let section = (case.prepare)(folder.path());
        let entry = ALL.iter().find(|entry| entry.name == case.source).unwrap();
        let ask = Ask {
            section: &section,
            wanted: case.wanted,
            clock,
            slept,
        };
        match (entry.open)(&ask).unwrap() {
            Opened::Source(source) => measure(case, source),
            Opened::Absent { reason } => {
                println!("| {} | {} | not here: {reason} | | |", case.source, case.what)
            }
        }
    }
}

/// Reads again and again, one second of the meter's time apart.
fn measure(case: &Case, mut source: Box<dyn PowerSource>) {
    let mut zones = 0;
    let start = clock();
    let mut costs: Vec<u64> = (0..READS)
        .map(|tick| {
            let now = start.after(Duration::from_secs(tick));
            let before = time(ClockId::ThreadCPUTime);
            let energy = source.read(now);
            let cost = time(ClockId::ThreadCPUTime) - before;
            zones = energy.zones.len();
            cost
        })
        .collect();
    costs.sort_unstable();
    let micros = |nanos: u64| format!("{}.{}", nanos / 1_000, nanos % 1_000 / 100);
    let (median, most) = (costs[costs.len() / 2], costs[costs.len() * 99 / 100]);
    let (source, what) = (case.source, case.what);
    println!(
        "| {source} | {what} | {zones} | {} | {} |",
        micros(median),
        micros(most)
    );
}

fn time(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

fn clock() -> MonotonicNanos {
    MonotonicNanos::from_nanos(time(ClockId::Monotonic))
}

/// As the daemon's.
fn slept() -> Duration {
    Duration::from_nanos(time(ClockId::Boottime).saturating_sub(time(ClockId::Monotonic)))
}

/// Writes a file with its folders.
fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
}

fn powercap(root: &Path) -> Value {
    for socket in 0..2 {
        let zone = |folder: String, name: &str| {
            put(&root.join(&folder).join("name"), name);
            put(&root.join(&folder).join("max_energy_range_uj"), "262143328850");
            put(&root.join(&folder).join("energy_uj"), "123456789012");
        };
        zone(format!("intel-rapl:{socket}"), &format!("package-{socket}"));
        for (number, name) in ["core", "uncore", "dram"].iter().enumerate() {
            zone(format!("intel-rapl:{socket}:{number}"), name);
        }
    }
    json!({ "root": root })
}

/// Two packages of one CPU each.
fn two_cpus(root: &Path) {
    put(&root.join("cpus/online"), "0-1");
    for cpu in 0..2 {
        let topology = root.join(format!("cpus/cpu{cpu}/topology"));
        put(&topology.join("physical_package_id"), &cpu.to_string());
    }
    put(
        &root.join("cpuinfo"),
        "vendor_id : GenuineIntel\ncpu family : 6\nmodel : 94",
    );
}

/// The CPU's clock stands for each energy event, so that this machine's kernel opens and reads them.
fn perf_events(root: &Path) -> Value {
    two_cpus(root);
    put(&root.join("type"), "1");
    put(&root.join("cpumask"), "0-1");
    put(&root.join("format/event"), "config:0-7");
    for name in ["energy-pkg", "energy-cores", "energy-gpu", "energy-ram"] {
        let event = root.join("events").join(name);
        put(&event, "event=0x00");
        put(&event.with_extension("unit"), "Joules");
        put(&event.with_extension("scale"), "1e-9");
    }
    json!({ "root": root, "cpus": root.join("cpus"), "cpuinfo": root.join("cpuinfo") })
}

/// Plain files with registers at their offsets.
fn registers(root: &Path) -> Value {
    two_cpus(root);
    for cpu in 0..2 {
        let mut bytes = vec![0_u8; 0x800];
        for (register, value) in [
            (0x606, 0xa_0e03_u64),
            (0x611, 9),
            (0x619, 9),
            (0x639, 9),
            (0x641, 9),
        ] {
            bytes[register..register + 8].copy_from_slice(&value.to_le_bytes());
        }
        let file = root.join(format!("{cpu}/msr"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    json!({ "root": root, "cpus": root.join("cpus"), "cpuinfo": root.join("cpuinfo") })
}

fn altra(root: &Path) -> Value {
    for socket in 0..2 {
        chip(root, socket, &format!("APMC0D29:0{socket}"), "apm_xgene");
        let home = root.join(format!("hwmon{socket}"));
        put(&home.join("power1_label"), "CPU power");
        put(&home.join("power1_input"), "95000000");
    }
    json!({ "root": root })
}

fn orin(root: &Path) -> Value {
    let chips = [
        ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],
        ["NC", "VDDQ_VDD2_1V8AO", "NC"],
    ];
    for (number, rails) in chips.into_iter().enumerate() {
        chip(root, number, &format!("1-004{number}"), "ina3221");
        for (channel, label) in (1..).zip(rails) {
            let home = root.join(format!("hwmon{number}"));
            put(&home.join(format!("in{channel}_label")), label);
            put(&home.join(format!("in{channel}_input")), "5000");
            put(&home.join(format!("curr{channel}_input")), "400");
        }
    }
    json!({ "root": root })
}

fn acpi_meter(root: &Path) -> Value {
    chip(root, 0, "ACPI000D:00", "power_meter");
    put(&root.join("hwmon0/power1_average"), "400000000");
    put(&root.join("hwmon0/power1_average_interval"), "1000");
    json!({ "root": root })
}

/// A chip and the link to its device.
fn chip(root: &Path, number: usize, device: &str, name: &str) {
    let device = root.join("devices").join(device);
    fs::create_dir_all(&device).unwrap();
    let home = root.join(format!("hwmon{number}"));
    put(&home.join("name"), name);
    symlink(device, home.join("device")).unwrap();
}

fn laptop(root: &Path) -> Value {
    let supplies: [(&str, &[(&str, &str)]); 4] = [
        ("AC", &[("type", "Mains"), ("online", "0")]),
        (
            "BAT0",
            &[
                ("type", "Battery"),
                ("status", "Discharging"),
                ("power_now", "12000000"),
            ],
        ),
        ("ucsi", &[("type", "USB"), ("online", "0")]),
        ("mouse", &[("type", "Battery"), ("scope", "Device")]),
    ];
    for (name, files) in supplies {
        for (file, content) in files {
            put(&root.join(name).join(file), content);
        }
    }
    json!({ "root": root })
}

/// Takes connections and says nothing, as long as this program runs.
fn silent_bmc(_: &Path) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    Box::leak(Box::new(listener));
    json!({ "url": format!("http://{address}"), "insecure": true, "timeout": "60s" })
}

fn cards(root: &Path) -> Value {
    for number in 0..2 {
        let device = root.join(format!("devices/0000:0{number}:00.0"));
        put(&device.join("vendor"), "0x1002");
        put(&device.join("gpu_busy_percent"), "40");
        fs::write(device.join("gpu_metrics"), [0x78, 0, 1, 3, 0, 0, 0, 0]).unwrap();
        let chip = device.join(format!("hwmon/hwmon{number}"));
        put(&chip.join("name"), "amdgpu");
        put(&chip.join("power1_average"), "30000000");
        let driver = root.join("drivers/amdgpu");
        fs::create_dir_all(&driver).unwrap();
        let card = root.join(format!("drm/card{number}"));
        fs::create_dir_all(&card).unwrap();
        symlink(driver, device.join("driver")).unwrap();
        symlink(&device, card.join("device")).unwrap();
    }
    json!({ "root": root.join("drm") })
}

/// The stand-in for NVIDIA's library. Its answers come from a file, so the time on the library's own thread is its cost and
/// not the driver's; that thread is not in the figure.
fn gpus(root: &Path) -> Value {
    let library = root.join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/nvml-stand-in/nvml.c");
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source]);
    assert!(
        compile.status().unwrap().success(),
        "the stand-in does not compile"
    );
    let gpu = |number: u32| {
        format!(
            "gpu {number} uuid=GPU-{number} energy_mj=5 util=80\nproc {number} pid={0} sm=60\nproc {number} pid={1} sm=20",
            100 + number,
            200 + number
        )
    };
    put(
        &root.join("script"),
        &(0..8).map(gpu).collect::<Vec<_>>().join("\n"),
    );
    json!({ "library": library, "root": root.join("gpus") })
}
