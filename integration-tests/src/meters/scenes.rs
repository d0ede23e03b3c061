// SPDX-License-Identifier: Apache-2.0
//! What has to come out in which guest: the other side of guest/meters/guests/*.sh, sample by sample.

use super::guest::{Guest, Sample, Zone};
use super::judge::{Errors, Judge, Row, Span};
use crate::figures::{charged, integer, rows};

/// One kind of guest.
pub struct Scene {
    /// Its name, as guest/meters/run.sh has it.
    pub name: &'static str,
    /// What it is, for the page.
    pub about: &'static str,
    /// What has to come out.
    pub judge: fn(&Guest) -> Vec<Row>,
}

/// All of them, in the order of the page.
pub const ALL: &[Scene] = &[
    Scene {
        name: "intel",
        about: "`intel_rapl_common` with two sockets, `acpi_power_meter`",
        judge: intel,
    },
    Scene {
        name: "amd",
        about: "`intel_rapl_common` on an AMD socket, `pmbus`, a chip that calls itself `amdgpu`",
        judge: amd,
    },
    Scene {
        name: "ipmi",
        about: "`ipmi_si` with a controller that has DCMI and one that has not",
        judge: ipmi,
    },
];

/// Milliwatts that guests/intel.sh gives a busy CPU.
const BUSY_MILLIWATTS: u64 = 15_000;

const RAPL: &str = "rapl-sysfs";

/// The zones of one socket, and the name of what they really used.
fn rapl_zones(socket: u8) -> [(Zone<'static>, String); 4] {
    let (place, psys) = match socket {
        0 => ("socket0", "psys"),
        _ => ("socket1", "psys-1"),
    };
    let zone = |component, place| Zone {
        component,
        place,
        source: RAPL,
    };
    [
        (zone("package", place), format!("package {socket}")),
        (zone("core", place), format!("core {socket}")),
        (zone("dram", place), format!("dram {socket}")),
        (zone("platform", psys), format!("psys {socket}")),
    ]
}

fn span<'a>(from: &'a str, to: &'a str) -> Span<'a> {
    Span { from, to }
}

fn intel(guest: &Guest) -> Vec<Row> {
    let mut judge = Judge::new(guest);
    for source in [
        "cpu: rapl-perf",
        "cpu: msr",
        "dram: rapl-perf",
        "dram: msr",
        "platform: acpi",
    ] {
        let what = format!("{source}: not here, and passed over");
        judge.says(&what, "check passed-over", &[source, " no "]);
    }
    judge.says(
        "the next in line is taken",
        "check passed-over",
        &["cpu: rapl ", "yes"],
    );
    judge.says(
        "kepler check",
        "check rapl",
        &["cpu: rapl", "yes", "dram/socket1"],
    );
    for socket in [0, 1] {
        let zones = rapl_zones(socket);
        // 20 W, of it 70 % for cores; psys is the package and 10 W.
        for ((zone, truth), milliwatts) in zones.iter().zip([20_000, 14_000, 3_000, 30_000]) {
            let name = format!("{} {}", zone.component, zone.place);
            let steady = span("steady-1", "steady-2");
            judge.power(&format!("{name}, steady"), *zone, milliwatts, steady);
            judge.energy(&format!("{name}, steady, by the meter"), *zone, truth, steady);
        }
        let [(package, truth), ..] = &zones;
        let name = format!("package {}", package.place);
        judge.watts(
            &format!("{name}, steady, shown as watts"),
            *package,
            20_000,
            "steady-2",
        );
        judge.energy(
            &format!("{name}, from 20 to 50 W"),
            *package,
            truth,
            span("steady-1", "change-2"),
        );
        judge.watts(
            &format!("{name}, after the change, shown as watts"),
            *package,
            50_000,
            "change-2",
        );
        judge.energy(
            &format!("{name}, over readings that failed"),
            *package,
            truth,
            span("change-2", "failed"),
        );
    }
    wrapped(&mut judge, guest, "change-2");
    let source = (RAPL, "package");
    judge.up("reads fail", source, "failing", 0.0);
    judge.errors("reads fail", (RAPL, "io"), "failing", Errors::Some);
    judge.up("reads work again", source, "failed", 1.0);
    judge.up("the driver is unloaded", source, "gone", 0.0);
    judge.errors("the driver is unloaded", (RAPL, "gone"), "gone", Errors::Some);
    judge.up("the driver is loaded again", source, "burner-1", 1.0);
    judge.errors(
        "the driver is loaded again",
        (RAPL, "reset"),
        "burner-1",
        Errors::Some,
    );
    for socket in [0, 1] {
        for (zone, truth) in rapl_zones(socket) {
            let name = format!("{} {}", zone.component, zone.place);
            let what = format!("{name}, one CPU of socket1 busy");
            judge.energy(&what, zone, &truth, span("burner-1", "burner-2"));
        }
    }
    burner(&mut judge, guest);
    judge.ended("the daemon ends when told to", "stop rapl");
    acpi(&mut judge);
    judge.conserves();
    judge.rows()
}

/// A firmware's meter, whose level changes, is unknown for a while, and is known again.
fn acpi(judge: &mut Judge<'_>) {
    let zone = Zone {
        component: "platform",
        place: "ACPI000D:00",
        source: "acpi",
    };
    judge.says(
        "kepler check",
        "check acpi",
        &["platform: acpi", "yes", "ACPI000D:00"],
    );
    let cases = [
        ("steady", 123_456, span("acpi-1", "acpi-2")),
        ("after a change", 200_000, span("acpi-3", "acpi-4")),
        ("after it was unknown", 150_000, span("acpi-5", "acpi-6")),
    ];
    for (when, milliwatts, span) in cases {
        judge.power(&format!("ACPI meter, {when}"), zone, milliwatts, span);
        let what = format!("ACPI meter, {when}, shown as watts");
        judge.watts(&what, zone, milliwatts, span.to);
    }
    let what = "ACPI meter, unknown to the firmware";
    judge.up(what, (zone.source, zone.component), "acpi-unknown", 0.0);
    judge.errors(what, (zone.source, "io"), "acpi-2", Errors::None);
    judge.errors(what, (zone.source, "io"), "acpi-unknown", Errors::Some);
    judge.up(
        "ACPI meter, known again",
        (zone.source, zone.component),
        "acpi-5",
        1.0,
    );
    judge.ended("the daemon ends when told to", "stop acpi");
}

fn amd(guest: &Guest) -> Vec<Row> {
    let mut judge = Judge::new(guest);
    judge.says(
        "without rules, no chip is a CPU",
        "check no-rules",
        &["cpu: hwmon", "no"],
    );
    judge.says(
        "without rules, no chip is memory",
        "check no-rules",
        &["dram: hwmon", "no"],
    );
    judge.says(
        "without rules, no chip is the platform",
        "check no-rules",
        &["platform: hwmon", "no"],
    );
    judge.says(
        "a GPU's chip without its GPU is none",
        "check no-rules",
        &["gpu: amd", "no"],
    );
    judge.says(
        "kepler check",
        "check amd",
        &["cpu: rapl", "yes", "powercap: package/socket0"],
    );
    judge.says("AMD's RAPL has no memory", "check amd", &["dram: rapl", "no"]);
    judge.says(
        "a rule makes the supply the platform",
        "check amd",
        &["platform: hwmon", "yes"],
    );
    // The zone "core" of an AMD socket is the counter of one core, and left out.
    for (zone, truth) in rapl_zones(0).iter().take(1) {
        let name = format!("{} {}", zone.component, zone.place);
        judge.energy(&name, *zone, truth, span("amd-1", "amd-4"));
    }
    wrapped(&mut judge, guest, "amd-4");
    let board = Zone {
        component: "dram",
        place: "socket0",
        source: "hwmon",
    };
    judge.says(
        "a rule makes a chip the memory",
        "check amd",
        &["dram: hwmon", "yes"],
    );
    judge.power("a chip's energy counter", board, 12_000, span("amd-1", "amd-4"));
    let supply = Zone {
        component: "platform",
        place: "supply",
        source: "hwmon",
    };
    for (when, milliwatts, span) in [
        ("steady", 350_000, span("amd-1", "amd-2")),
        ("after a change", 400_000, span("amd-3", "amd-4")),
    ] {
        judge.power(&format!("supply, {when}"), supply, milliwatts, span);
        judge.watts(
            &format!("supply, {when}, shown as watts"),
            supply,
            milliwatts,
            span.to,
        );
    }
    judge.conserves();
    judge.ended("the daemon ends when told to", "stop amd");
    judge.rows()
}

fn ipmi(guest: &Guest) -> Vec<Row> {
    let mut judge = Judge::new(guest);
    let number = guest.truth.fact("controller number").unwrap_or_default();
    let place = format!("ipmi{number}");
    let zone = Zone {
        component: "platform",
        place: &place,
        source: "ipmi",
    };
    let platform = (zone.source, zone.component);
    judge.says(
        "a controller without DCMI is passed over",
        "check no-dcmi",
        &["platform: ipmi", "no", "has no DCMI"],
    );
    judge.says("kepler check", "check ipmi", &["platform: ipmi", "yes", &place]);
    let cases = [
        ("steady", 344_000, span("ipmi-1", "ipmi-2")),
        ("after a change", 512_000, span("ipmi-3", "ipmi-4")),
        ("after it was silent", 300_000, span("ipmi-5", "ipmi-6")),
    ];
    for (when, milliwatts, span) in cases {
        judge.power(&format!("controller, {when}"), zone, milliwatts, span);
        let what = format!("controller, {when}, shown as watts");
        judge.watts(&what, zone, milliwatts, span.to);
    }
    judge.up("the controller is silent", platform, "ipmi-silent", 0.0);
    judge.errors(
        "the controller is silent",
        ("ipmi", "timeout"),
        "ipmi-4",
        Errors::None,
    );
    judge.errors(
        "the controller is silent",
        ("ipmi", "timeout"),
        "ipmi-silent",
        Errors::Some,
    );
    judge.up("the controller does not measure", platform, "ipmi-inactive", 0.0);
    judge.errors(
        "the controller does not measure",
        ("ipmi", "gone"),
        "ipmi-inactive",
        Errors::Some,
    );
    judge.up("the controller measures again", platform, "ipmi-5", 1.0);
    judge.conserves();
    judge.ended("the daemon ends when told to", "stop ipmi");
    judge.rows()
}

/// The counter started below its end, and was beyond it before anything else happened.
fn wrapped(judge: &mut Judge<'_>, guest: &Guest, at: &str) {
    let raw = guest.truth.fact("raw before").and_then(|before| {
        let after = guest.truth.fact("raw after")?;
        Ok((before, after))
    });
    let good = raw.as_ref().is_ok_and(|(before, after)| after < before);
    let shown = raw.map(|(before, after)| format!("from {before} to {after} uJ"));
    judge.fact(
        "package socket0, the counter turned over",
        "energy_uj went back",
        shown,
        good,
    );
    let source = (RAPL, "reset");
    judge.errors(
        "the counter turned over: that is no reset",
        source,
        at,
        Errors::None,
    );
}

/// Microjoules that the burner was charged in a zone between the two samples.
fn charged_to_burner(guest: &Guest, zone: Zone<'_>) -> Result<u64, String> {
    let pid = guest.truth.fact("burner pid")?;
    let of = |name| -> Result<u64, String> {
        let sample: Sample = guest.sample(name)?;
        let (number, _) = sample.row(zone)?;
        let row = rows(&sample.snapshot, "processes")
            .iter()
            .find(|row| integer(row, "pid") == pid);
        let row = row.ok_or_else(|| format!("{name}: no process {pid}"))?;
        Ok(charged(row, number, "dynamic"))
    };
    Ok(of("burner-2")?.saturating_sub(of("burner-1")?))
}

/// A loop that may run on socket1 only pays what it used there, and nothing elsewhere.
fn burner(judge: &mut Judge<'_>, guest: &Guest) {
    let [(other, _), ..] = rapl_zones(0);
    let [(own, _), ..] = rapl_zones(1);
    let used = || {
        let (from, to) = (guest.sample("burner-1")?, guest.sample("burner-2")?);
        let since = guest.truth.total("task", from.moment(own)?)?;
        let nanos = guest.truth.total("task", to.moment(own)?)?.saturating_sub(since);
        // mW x ns are pJ.
        Ok(nanos.saturating_mul(BUSY_MILLIWATTS) / 1_000_000)
    };
    let own = charged_to_burner(guest, own);
    judge.joules(
        "a busy loop on socket1 pays its CPU time there",
        used(),
        own.clone(),
    );
    let elsewhere = charged_to_burner(guest, other);
    let good = matches!((&own, &elsewhere), (Ok(own), Ok(elsewhere)) if elsewhere * 100 <= *own);
    let shown = elsewhere.map(|elsewhere| format!("{elsewhere} uJ"));
    judge.fact(
        "a busy loop on socket1 pays nothing on socket0",
        "0 uJ",
        shown,
        good,
    );
}
