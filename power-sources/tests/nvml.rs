// SPDX-License-Identifier: Apache-2.0
//! The NVML source with the real nvml-wrapper on a stand-in for NVIDIA's library: a shared library with the same C
//! symbols, compiled here, whose answers each test writes into a script (integration-tests/nvml-stand-in/nvml.c).

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use attribution::model::{Component, DeviceUse, Energy, ErrorReason, MonotonicNanos, Provenance};
use power_sources::nvml;
use power_sources::{Ask, Opened, PowerSource};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const GPU: &[Component] = &[Component::Gpu];

/// The stand-in, compiled once. Each test loads a copy, so that each has a library of its own.
fn compiled() -> &'static Path {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let library = dir.path().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/nvml-stand-in/nvml.c");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .status()
            .expect("cc, which `make setup-build` installs");
        assert!(done.success(), "the stand-in does not compile");
        (dir, library)
    });
    library
}

/// A machine with the stand-in, and the driver's folder of GPUs.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new(script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::copy(compiled(), dir.path().join("libnvidia-ml.so.1")).unwrap();
        fs::create_dir(dir.path().join("gpus")).unwrap();
        let machine = Self { dir };
        machine.script(script);
        machine
    }

    /// Replaced in one step: the library reads it at every call.
    fn script(&self, text: &str) {
        let (new, place) = (self.dir.path().join("new"), self.dir.path().join("script"));
        fs::write(&new, text).unwrap();
        fs::rename(new, place).unwrap();
    }

    fn section(&self) -> serde_json::Value {
        json!({ "interval": "100ms", "library": self.dir.path().join("libnvidia-ml.so.1"), "root": self.dir.path().join("gpus") })
    }

    fn open(&self) -> Box<dyn PowerSource> {
        match opened(&self.section()) {
            Opened::Source(source) => source,
            Opened::Absent { reason } => panic!("absent: {reason}"),
        }
    }

    fn why_not(&self) -> String {
        why_not(&self.section())
    }
}

fn opened(section: &serde_json::Value) -> Opened {
    let ask = Ask {
        section,
        wanted: GPU,
        clock: || MonotonicNanos::ZERO,
        slept: || Duration::ZERO,
    };
    nvml::open(&ask).unwrap()
}

fn why_not(section: &serde_json::Value) -> String {
    match opened(section) {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

fn at(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_millis(milliseconds))
}

/// Readings as `(zone, microjoules)`.
fn totals(energy: &Energy) -> Vec<(String, u64)> {
    let row =
        |reading: &attribution::model::ZoneReading| (reading.zone.to_string(), reading.total.as_micro());
    energy.zones.iter().map(row).collect()
}

fn table<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected.map(|(zone, total)| (zone.to_owned(), total)).to_vec()
}

fn device(energy: &Energy, zone: usize) -> &DeviceUse {
    energy.zones[zone].device.as_ref().expect("a GPU has users")
}

/// Busy time and users of the first GPU in milliseconds.
fn used(energy: &Energy) -> (u64, Vec<(u32, u64)>) {
    let device = device(energy, 0);
    let milliseconds = |nanos: attribution::model::DeviceNanos| nanos.as_nanos() / 1_000_000;
    let users = device
        .users
        .iter()
        .map(|user| (user.pid, milliseconds(user.used)));
    (device.busy.map_or(0, milliseconds), users.collect())
}

fn errors(energy: &Energy, reason: ErrorReason) -> u64 {
    energy
        .errors
        .iter()
        .filter(|error| error.reason == reason)
        .map(|error| error.count)
        .sum()
}

// --- not here ---

#[test]
fn without_the_library_the_reason_says_where_it_was_looked_for_and_what_to_do() {
    let reason = why_not(&json!({ "library": "/nowhere/libnvidia-ml.so.1" }));
    assert!(reason.contains("/nowhere/libnvidia-ml.so.1"), "{reason}");
    if Path::new("/proc/driver/nvidia").exists() {
        println!("skipped: this machine has NVIDIA's driver, so the default places may have its library");
        return;
    }
    let reason = why_not(&json!({}));
    assert!(
        reason.contains("libnvidia-ml.so.1") && reason.contains("runtimeClassName"),
        "{reason}"
    );
}

#[test]
fn a_file_that_is_no_library_and_a_library_that_is_not_nvidias_are_absent() {
    let dir = TempDir::new().unwrap();
    let garbage = dir.path().join("garbage.so");
    fs::write(&garbage, b"\x7fELF and nothing else").unwrap();
    assert!(why_not(&json!({ "library": garbage })).contains("garbage.so"));
    let source = dir.path().join("other.c");
    // It has a beginning and no end: shutting it down would call what is not there.
    fs::write(&source, "int nvmlInit_v2(void) { return 0; }").unwrap();
    let library = dir.path().join("other.so");
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(done.unwrap().success());
    let reason = why_not(&json!({ "library": library }));
    assert!(reason.contains("nvmlShutdown"), "{reason}");
}

#[test]
fn a_driver_that_is_not_loaded_and_a_driver_without_gpus_are_absent_with_a_remedy() {
    let machine = Machine::new("driver code=9\ngpu 0 uuid=GPU-a\n");
    let reason = machine.why_not();
    assert!(
        reason.contains("not loaded") && reason.contains("modprobe nvidia"),
        "{reason}"
    );
    machine.script("driver code=18\ngpu 0 uuid=GPU-a\n");
    assert!(machine.why_not().contains("mismatch"), "{}", machine.why_not());
    machine.script("");
    assert!(
        machine.why_not().contains("NVIDIA_VISIBLE_DEVICES"),
        "{}",
        machine.why_not()
    );
    machine.script("gpu 0 uuid=GPU-a lost=1\n");
    assert!(
        machine.why_not().contains("fell off the bus"),
        "{}",
        machine.why_not()
    );
    machine.script("gpu 0 uuid=GPU-a fail=4\n");
    assert!(
        machine.why_not().contains("/dev/nvidiactl"),
        "{}",
        machine.why_not()
    );
}

// --- energy ---

#[test]
fn each_gpu_is_a_zone_of_its_own_and_counts_from_its_first_reading() {
    let script = |a: u64, b: u64| {
        format!(
            "gpu 0 uuid=GPU-a name=H100 limit_mw=700000 energy_mj={a}\n\
             gpu 1 uuid=GPU-b name=L4 limit_mw=72000 energy_mj={b}\n"
        )
    };
    let machine = Machine::new(&script(5_000, 7));
    let mut source = machine.open();
    assert_eq!(source.id().0, "nvml");
    assert_eq!(source.components(), GPU);
    assert_eq!(source.detail(), "gpu/GPU-a (H100), gpu/GPU-b (L4)");
    let first = source.read(at(0));
    assert_eq!(totals(&first), table([("gpu/GPU-a", 0), ("gpu/GPU-b", 0)]));
    assert_eq!(first.zones[0].provenance, Provenance::Counted);
    assert_eq!(first.zones[0].at, at(0));
    machine.script(&script(305_000, 57));
    let second = source.read(at(1_000));
    assert_eq!(
        totals(&second),
        table([("gpu/GPU-a", 300_000_000), ("gpu/GPU-b", 50_000)])
    );
    assert_eq!(second.errors, []);
}

#[test]
fn a_gpu_without_a_counter_has_its_power_integrated() {
    let script = |watts: u64| format!("gpu 0 uuid=GPU-a energy=0 power_mw={watts}000\n");
    let machine = Machine::new(&script(10));
    let mut source = machine.open();
    let first = source.read(at(0));
    assert_eq!(first.zones[0].provenance, Provenance::Integrated);
    machine.script(&script(30));
    // A ramp from 10 to 30 W in two seconds.
    assert_eq!(
        totals(&source.read(at(2_000))),
        table([("gpu/GPU-a", 40_000_000)])
    );
    machine.script(&script(900_000));
    let refused = source.read(at(3_000));
    assert_eq!(
        (refused.zones.len(), errors(&refused, ErrorReason::Implausible)),
        (0, 1)
    );
    machine.script(&script(30));
    assert_eq!(
        totals(&source.read(at(4_000))),
        table([("gpu/GPU-a", 100_000_000)])
    );
}

#[test]
fn a_counter_that_jumps_or_goes_back_is_told_and_never_paid() {
    let script = |mj: u64| format!("gpu 0 uuid=GPU-a limit_mw=700000 energy_mj={mj}\n");
    let machine = Machine::new(&script(1_000_000));
    let mut source = machine.open();
    source.read(at(0));
    // 4 x 700 W x 1.02 s + 2 J = 2858 J are believed.
    machine.script(&script(1_000_000 + 2_859_000));
    let jump = source.read(at(1_000));
    assert_eq!(totals(&jump), table([("gpu/GPU-a", 0)]));
    assert_eq!(errors(&jump, ErrorReason::Implausible), 1);
    machine.script(&script(40));
    let reset = source.read(at(2_000));
    assert_eq!(totals(&reset), table([("gpu/GPU-a", 0)]));
    assert_eq!(errors(&reset, ErrorReason::Reset), 1);
    machine.script(&script(u64::MAX));
    let sentinel = source.read(at(3_000));
    assert_eq!(
        (sentinel.zones.len(), errors(&sentinel, ErrorReason::Implausible)),
        (0, 2)
    );
    machine.script(&script(540));
    assert_eq!(totals(&source.read(at(4_000))), table([("gpu/GPU-a", 500_000)]));
}

// --- who used it ---

#[test]
fn samples_of_processes_become_time_by_their_busiest_engine() {
    let samples = |ts: u64| {
        format!(
            "gpu 0 uuid=GPU-a energy_mj=0 util=80\n\
             proc 0 pid=10 mem=1\nproc 0 pid=11 mem=1\nproc 0 pid=12 mem=1\n\
             sample 0 pid=10 ts={ts} sm=60 mem=20\n\
             sample 0 pid=11 ts={ts} sm=5 enc=10\n"
        )
    };
    let machine = Machine::new(&samples(1_000_000));
    let mut source = machine.open();
    // Samples of unknown age say where to begin; processes stand in the list already.
    assert_eq!(used(&source.read(at(0))), (0, vec![(10, 0), (11, 0), (12, 0)]));
    machine.script(&samples(2_000_000));
    assert_eq!(
        used(&source.read(at(1_000))),
        (800, vec![(10, 600), (11, 100), (12, 0)])
    );
    // No new sample yet: the rates hold.
    assert_eq!(
        used(&source.read(at(1_100))),
        (880, vec![(10, 660), (11, 110), (12, 0)])
    );
}

#[test]
fn a_device_is_as_busy_as_its_periods_since_the_last_read() {
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=0 util=0\nbusy 0 ts=100 value=100\n");
    let mut source = machine.open();
    source.read(at(0));
    machine.script(
        "gpu 0 uuid=GPU-a energy_mj=0 util=0\nbusy 0 ts=100 value=100\n\
         busy 0 ts=200 value=80\nbusy 0 ts=300 value=20\n",
    );
    let energy = source.read(at(1_000));
    assert_eq!((used(&energy), energy.errors), ((500, vec![]), vec![]));
}

#[test]
fn a_process_that_ended_is_paid_once_more_and_leaves() {
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=0 util=50\nproc 0 pid=10\n");
    let mut source = machine.open();
    source.read(at(0));
    machine.script("gpu 0 uuid=GPU-a energy_mj=0 util=50\nsample 0 pid=10 ts=9 sm=50\n");
    assert_eq!(used(&source.read(at(1_000))), (500, vec![(10, 500)]));
    machine.script("gpu 0 uuid=GPU-a energy_mj=0 util=0\n");
    assert_eq!(used(&source.read(at(2_000))), (500, vec![]));
    assert_eq!(source.read(at(3_000)).errors, []);
}

#[test]
fn a_busy_gpu_without_a_known_user_has_busy_time_and_no_users() {
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=0 util=70\n");
    let mut source = machine.open();
    source.read(at(0));
    assert_eq!(used(&source.read(at(1_000))), (700, vec![]));
}

#[test]
fn where_processes_cannot_be_told_apart_they_share_equally() {
    let script = "gpu 0 uuid=GPU-a energy_mj=0 util=60 usage=0\nproc 0 pid=10\nproc 0 pid=11\ngfx 0 pid=11\n";
    let machine = Machine::new(script);
    let mut source = machine.open();
    source.read(at(0));
    assert_eq!(used(&source.read(at(1_000))), (600, vec![(10, 300), (11, 300)]));
}

#[test]
fn mig_instances_share_by_slices_and_their_processes_equally() {
    let script = "gpu 0 uuid=GPU-a energy_mj=0 mig=1\n\
                  mig 0 0 uuid=MIG-a gi=1 ci=0 slices=3\nmig 0 2 uuid=MIG-b gi=2 ci=0 slices=4\n\
                  mig 0 5 uuid=MIG-c gi=3 ci=0 slices=1\n\
                  proc 0 pid=10 gi=1 ci=0\nproc 0 pid=20 gi=2 ci=0\nproc 0 pid=21 gi=2 ci=0\n";
    let machine = Machine::new(script);
    let mut source = machine.open();
    source.read(at(0));
    // 7 s: an instance with a process is used wholly, one without is not.
    assert_eq!(
        used(&source.read(at(7_000))),
        (6_999, vec![(10, 2_999), (20, 1_999), (21, 1_999)])
    );
    assert_eq!(source.read(at(8_000)).errors, []);
}

#[test]
fn mig_instances_whose_shaders_are_measured_are_used_as_much_as_these_worked() {
    let script = "gpu 0 uuid=GPU-a energy_mj=0 mig=1 gpm=1\n\
                  mig 0 0 uuid=MIG-a gi=1 ci=0 slices=3 sm_util=50\nmig 0 1 uuid=MIG-b gi=2 ci=0 slices=4 sm_util=100\n\
                  proc 0 pid=10 gi=1 ci=0\nproc 0 pid=20 gi=2 ci=0\n";
    let machine = Machine::new(script);
    let mut source = machine.open();
    source.read(at(0));
    assert_eq!(
        used(&source.read(at(7_000))),
        (5_499, vec![(10, 1_499), (20, 3_999)])
    );
    assert_eq!(source.read(at(8_000)).errors, []);
}

#[test]
fn when_one_mig_instance_is_not_known_the_use_of_the_gpu_is_not_and_the_others_do_not_pay_for_it() {
    let script = |fail: &str| {
        format!(
            "gpu 0 uuid=GPU-a energy_mj=0 mig=1\nmig 0 0 uuid=MIG-a gi=1 ci=0 slices=3\n\
             mig 0 1 uuid=MIG-b gi=2 ci=0 slices=4{fail}\nproc 0 pid=10 gi=1 ci=0\nproc 0 pid=20 gi=2 ci=0\n"
        )
    };
    let machine = Machine::new(&script(""));
    let mut source = machine.open();
    source.read(at(0));
    machine.script(&script(" fail=999"));
    let energy = source.read(at(7_000));
    assert_eq!(totals(&energy), table([("gpu/GPU-a", 0)]));
    assert_eq!(energy.zones[0].device, None);
    assert_eq!(errors(&energy, ErrorReason::Io), 1);
    machine.script(&script(""));
    assert_eq!(
        used(&source.read(at(14_000))),
        (6_999, vec![(10, 2_999), (20, 3_999)])
    );
}

// --- failures ---

#[test]
fn a_lost_gpu_costs_itself_and_its_return_pays_the_gap() {
    let script = |a: &str, b: u64| format!("gpu 0 uuid=GPU-a {a}\ngpu 1 uuid=GPU-b energy_mj={b}\n");
    let machine = Machine::new(&script("energy_mj=1000", 0));
    let mut source = machine.open();
    source.read(at(0));
    machine.script(&script("lost=1", 1_000));
    let lost = source.read(at(1_000));
    assert_eq!(totals(&lost), table([("gpu/GPU-b", 1_000_000)]));
    assert_eq!(errors(&lost, ErrorReason::Gone), 1);
    machine.script(&script("lost=1", 2_000));
    assert_eq!(totals(&source.read(at(2_000))), table([("gpu/GPU-b", 2_000_000)]));
    machine.script(&script("energy_mj=5000", 3_000));
    // It is looked for with back-off.
    let back = (3..10).map(|second| source.read(at(second * 1_000)));
    let back = back.last().unwrap();
    assert_eq!(
        totals(&back),
        table([("gpu/GPU-a", 4_000_000), ("gpu/GPU-b", 3_000_000)])
    );
}

#[test]
fn a_restarted_driver_is_met_again_within_the_same_read_and_its_counter_begins_anew() {
    let machine = Machine::new("driver epoch=1\ngpu 0 uuid=GPU-a energy_mj=1000000\n");
    let mut source = machine.open();
    source.read(at(0));
    machine.script("driver epoch=1\ngpu 0 uuid=GPU-a energy_mj=1001000\n");
    assert_eq!(totals(&source.read(at(1_000))), table([("gpu/GPU-a", 1_000_000)]));
    machine.script("driver epoch=2\ngpu 0 uuid=GPU-a energy_mj=10\n");
    let restarted = source.read(at(2_000));
    assert_eq!(totals(&restarted), table([("gpu/GPU-a", 1_000_000)]));
    assert_eq!(
        (
            errors(&restarted, ErrorReason::Io),
            errors(&restarted, ErrorReason::Reset)
        ),
        (1, 1)
    );
    machine.script("driver epoch=2\ngpu 0 uuid=GPU-a energy_mj=20\n");
    assert_eq!(totals(&source.read(at(3_000))), table([("gpu/GPU-a", 1_010_000)]));
}

#[test]
fn an_unloaded_driver_is_down_until_it_is_loaded_again() {
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=1000\n");
    let mut source = machine.open();
    source.read(at(0));
    machine.script("driver code=9\ngpu 0 uuid=GPU-a energy_mj=1000\n");
    for second in 1..5 {
        assert_eq!(totals(&source.read(at(second * 1_000))), []);
    }
    machine.script("gpu 0 uuid=GPU-a energy_mj=3000\n");
    let back = (5..20)
        .map(|second| source.read(at(second * 1_000)))
        .last()
        .unwrap();
    assert_eq!(totals(&back), table([("gpu/GPU-a", 2_000_000)]));
}

#[test]
fn gpus_that_come_and_go_are_noticed_and_keep_their_totals() {
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=1000\n");
    let mut source = machine.open();
    source.read(at(0));
    machine.script("gpu 0 uuid=GPU-a energy_mj=2000\ngpu 1 uuid=GPU-b energy_mj=50\n");
    let plugged = source.read(at(1_000));
    assert_eq!(
        totals(&plugged),
        table([("gpu/GPU-a", 1_000_000), ("gpu/GPU-b", 0)])
    );
    assert_eq!(plugged.errors, []);
    // The first one goes, and the other takes its index.
    machine.script("gpu 1 uuid=GPU-b energy_mj=60\n");
    let unplugged = source.read(at(2_000));
    assert_eq!(totals(&unplugged), table([("gpu/GPU-b", 10_000)]));
    assert_eq!(errors(&unplugged, ErrorReason::Gone), 1);
    machine.script("gpu 0 uuid=GPU-a energy_mj=2500\ngpu 1 uuid=GPU-b energy_mj=70\n");
    let back = (3..8)
        .map(|second| source.read(at(second * 1_000)))
        .last()
        .unwrap();
    assert_eq!(
        totals(&back),
        table([("gpu/GPU-a", 1_500_000), ("gpu/GPU-b", 20_000)])
    );
}

#[test]
fn a_gpu_that_only_the_drivers_folder_tells_of_is_looked_for() {
    // The same number of GPUs, but another one.
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=1000\n");
    fs::create_dir(machine.dir.path().join("gpus/0000:17:00.0")).unwrap();
    let mut source = machine.open();
    source.read(at(0));
    machine.script("gpu 0 uuid=GPU-b energy_mj=0\n");
    fs::rename(
        machine.dir.path().join("gpus/0000:17:00.0"),
        machine.dir.path().join("gpus/0000:65:00.0"),
    )
    .unwrap();
    assert_eq!(totals(&source.read(at(1_000))), table([("gpu/GPU-b", 0)]));
}

#[test]
fn a_folder_of_the_driver_that_cannot_be_read_is_no_news_and_the_session_goes_on() {
    // The counter is the power since the library was initialised: it would begin anew with another session.
    let machine = Machine::new("gpu 0 uuid=GPU-aaaa power_mw=400000\n");
    let folder = machine.dir.path().join("gpus");
    let mut source = machine.open();
    let totals = (0..).map(|second| source.read(at(second * 1_000)).zones[0].total);
    let (reads, before) = totals.enumerate().find(|(_, total)| !total.is_zero()).unwrap();
    fs::remove_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&folder, &folder).unwrap();
    let energy = source.read(at(u64::try_from(reads).unwrap() * 1_000 + 1_000));
    assert_eq!(energy.errors, []);
    assert!(energy.zones[0].total >= before);
}

#[test]
fn a_library_that_hangs_costs_a_bounded_wait_and_no_energy() {
    let machine = Machine::new("gpu 0 uuid=GPU-a energy_mj=1000\n");
    let mut source = machine.open();
    source.read(at(0));
    machine.script("gpu 0 uuid=GPU-a energy_mj=2000 slow_ms=8000\n");
    let began = Instant::now();
    let late = source.read(at(1_000));
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!((late.zones.len(), errors(&late, ErrorReason::Timeout)), (0, 1));
    // Not its turn: nobody waits.
    let began = Instant::now();
    assert_eq!(totals(&source.read(at(1_500))), []);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    machine.script("gpu 0 uuid=GPU-a energy_mj=3000\n");
    let back = (2..200).map(|second| source.read(at(second * 1_000)));
    let back = back.into_iter().find(|energy| !energy.zones.is_empty());
    let back = back.expect("it answers again");
    assert_eq!(totals(&back), table([("gpu/GPU-a", 2_000_000)]));
    // It was waited for, and no second one was started beside it.
    assert_eq!(errors(&back, ErrorReason::Io), 0);
}
