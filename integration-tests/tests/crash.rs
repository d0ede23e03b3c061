// SPDX-License-Identifier: Apache-2.0
//! Killed at any moment: what the daemon keeps is whole or not there, nothing of it stays in the kernel, and the next one begins
//! where it can. And two of them at once.
//!
//! `CRASHES=200` is how often it is killed; 16 times where that is not set.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use integration_tests::child::Killed;
use integration_tests::daemon::{Daemon, PATIENCE, command, pause};
use integration_tests::figures::{conserves, nothing_fell, rows};
use integration_tests::tree::Powercap;
use integration_tests::{is_root, say};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START: u64 = 1_000_000;
const MACHINE: &str = "6f1c0000-0000-4000-8000-00000000dead";

/// A daemon's surroundings: meters, a state directory with something learned, a folder for guests, a socket.
struct Scene {
    folder: TempDir,
    meter: Powercap,
    counted: u64,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: TempDir::new().expect("a folder"),
            meter: Powercap::new(START),
            counted: 0,
        };
        fs::create_dir(scene.path("state")).expect("a folder");
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        self.at(&format!("127.0.0.1:0,unix:{}", self.path("socket").display()))
    }

    fn at(&self, listen: &str) -> Command {
        let mut command = command();
        command.args(["--listen", listen, "--tick", "100ms"]);
        for setting in [
            format!("sources.rapl.root={}", self.meter.root().display()),
            format!("state.dir={}", self.path("state").display()),
            format!("vm_passthrough.dir={}", self.path("guests").display()),
            "state.machine=of-this-test".to_owned(),
            "log.format=json".to_owned(),
            "sources.cpu=rapl".to_owned(),
            "sources.dram=".to_owned(),
            "sources.platform=".to_owned(),
            "sources.gpu=".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        command
    }

    /// The meter goes on, whoever listens.
    fn count(&mut self) {
        self.counted += 200_000;
        self.meter.set("intel-rapl:0", START + self.counted);
    }

    fn state(&self) -> std::path::PathBuf {
        self.path("state").join("idle-floor.json")
    }

    /// Waits until its programs are in the kernel and its doors open.
    fn listens(&mut self) {
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(self.path("socket")).is_err() {
            assert!(Instant::now() < end, "it does not begin to listen");
            self.count();
            pause();
        }
    }

    /// What is kept is whole, and is what was learned once.
    fn is_kept(&self) {
        let text = fs::read(self.state()).expect("never away");
        let state: Value = serde_json::from_slice(&text).expect("never half of it");
        assert_eq!(rows(&state, "zones").len(), 1, "{state:#}");
    }

    /// The guest's counter, once there is one.
    fn guest(&self) -> Option<u64> {
        let folder = self.path("guests").join(MACHINE);
        let text = fs::read_to_string(folder.join("intel-rapl:0/energy_uj")).ok()?;
        Some(
            text.trim_end()
                .parse()
                .unwrap_or_else(|_| panic!("half a number: {text:?}")),
        )
    }
}

/// Programs and maps that a process holds, by the kernel's numbers.
#[derive(Default)]
struct Held {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Held {
    fn by(pid: u32) -> Self {
        let mut held = Self::default();
        let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten();
        for text in files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok()) {
            let number = |key: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix(key)?.trim().parse::<u32>().ok())
            };
            held.programs.extend(number("prog_id:"));
            held.maps.extend(number("map_id:"));
        }
        held
    }

    fn add(&mut self, later: Self) {
        self.programs.extend(later.programs);
        self.maps.extend(later.maps);
    }

    /// Waits until the kernel has let go of all of them.
    fn are_gone(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let programs = loaded_programs().filter_map(|program| Some(program.ok()?.id()));
            let programs: Vec<u32> = programs.filter(|id| self.programs.contains(id)).collect();
            let maps = loaded_maps().filter_map(|map| Some(map.ok()?.id()));
            let maps: Vec<u32> = maps.filter(|id| self.maps.contains(id)).collect();
            if programs.is_empty() && maps.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "left behind: programs {programs:?}, maps {maps:?}"
            );
            pause();
        }
    }
}

/// Any moment, the same in each run of the test.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: Duration) -> Duration {
        // Knuth's MMIX multiplier: nothing depends on how good it is.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        below.mul_f64(f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / f64::from(u32::MAX))
    }
}

fn rest(length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        std::hint::spin_loop();
        std::thread::yield_now();
    }
}

/// Learns once, so that each later run has something to lose.
fn learned(scene: &mut Scene) {
    for _ in 0..3 {
        let daemon = Daemon::spawn(scene.command());
        for _ in 0..100 {
            scene.count();
            let tick = daemon.snapshot()["tick"].as_u64().unwrap_or(0);
            daemon.wait_for_tick(tick + 1);
        }
        assert_eq!(daemon.stop(), Some(0));
        if scene.state().exists() {
            return;
        }
    }
    panic!("nothing was learned in 300 windows");
}

/// Feeds the guest once, so that each later run has something to go on from.
fn fed(scene: &mut Scene) -> Option<u64> {
    let daemon = Daemon::spawn(scene.command());
    let end = Instant::now() + PATIENCE;
    while scene.guest().is_none_or(|counted| counted == 0) {
        assert!(Instant::now() < end, "the guest is not fed");
        scene.count();
        pause();
    }
    assert_eq!(daemon.stop(), Some(0));
    scene.guest()
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_broken_behind() {
    let kills = std::env::var_os("CRASHES").map_or(16, |times| {
        let times = times.to_str().and_then(|times| times.parse().ok());
        times.expect("CRASHES is a number")
    });
    let mut scene = Scene::new();
    learned(&mut scene);
    let _machine = Killed::machine(MACHINE);
    let mut moments = Moments(4711);
    let (mut guest, mut in_kernel) = (fed(&mut scene), 0);
    for kill in 0..kills {
        let mut daemon = Killed(
            scene
                .command()
                .stderr(Stdio::null())
                .spawn()
                .expect("kepler starts"),
        );
        let pid = daemon.0.id();
        // From the first instruction on, or while it saves what it has learned in its first windows.
        let saves = kill % 2 == 1;
        if saves {
            scene.listens();
        }
        let moment = Instant::now() + moments.next(Duration::from_millis(if saves { 300 } else { 1_500 }));
        while Instant::now() < moment {
            scene.count();
            pause();
        }
        let mut held = Held::by(pid);
        if saves {
            let to = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
            rustix::process::kill_process(to, Signal::TERM).expect("ours");
            rest(moments.next(Duration::from_millis(20)));
        }
        held.add(Held::by(pid));
        drop(daemon.0.kill());
        drop(daemon.0.wait());
        in_kernel += usize::from(!held.programs.is_empty());
        held.are_gone();
        scene.is_kept();
        let now = scene.guest();
        assert!(now >= guest, "the guest's counter fell from {guest:?} to {now:?}");
        guest = now;
    }
    let last = Daemon::spawn(scene.command());
    let restored = last
        .log()
        .into_iter()
        .find(|line| line.contains("idle floors restored"));
    assert!(restored.is_some_and(|line| line.contains("\"zones\":1")));
    let snapshot = last.wait_for_tick(5);
    conserves(&snapshot);
    assert_eq!(last.stop(), Some(0));
    let left: Vec<_> = fs::read_dir(scene.path("state"))
        .expect("a folder")
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .collect();
    assert_eq!(
        left,
        ["idle-floor.json"],
        "a save that was cut off is cleaned up by the next"
    );
    assert!(
        !is_root() || in_kernel > 0,
        "never killed with programs in the kernel"
    );
    say(&format!(
        "killed {kills} times, {in_kernel} of them with programs in the kernel; none stayed, the state was always whole"
    ));
}

#[test]
fn a_second_daemon_does_not_disturb_the_first() {
    let mut scene = Scene::new();
    let mut first = Daemon::spawn(scene.command());
    first.wait_for_tick(3);
    // The socket's place is taken: it is refused, and says by what.
    let refused = scene.command().stderr(Stdio::piped()).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("socket"), "{said}");
    // At another address it runs beside, and leaves the guests' folders to the first.
    let second = Daemon::spawn(scene.at("127.0.0.1:0"));
    second.wait_for_tick(3);
    let mut before = first.snapshot();
    for _ in 0..20 {
        scene.count();
        let tick = before["tick"].as_u64().expect("a tick");
        let after = first.wait_for_tick(tick + 1);
        conserves(&after);
        nothing_fell(&before, &after);
        conserves(&second.snapshot());
        before = after;
    }
    let paid = |daemon: &Daemon| {
        let expected = scene.counted;
        daemon.wait_until("all that was counted since both run", |snapshot| {
            let zone = rows(snapshot, "zones").first()?;
            let paid = zone["dynamic_uj"].as_u64()? + zone["idle_uj"].as_u64()?;
            (paid == expected).then_some(())
        });
    };
    paid(&first);
    paid(&second);
    let busy = second.get("/metrics").text();
    assert!(
        busy.contains("kepler_vm_passthrough_errors_total{reason=\"busy\"}"),
        "{busy}"
    );
    let probe = |daemon: &Daemon| daemon.snapshot()["facts"]["probes"].clone();
    assert_eq!(probe(&first), probe(&second), "one takes nothing from the other");
    assert_eq!(second.stop(), Some(0));
    let later = first.wait_for_tick(before["tick"].as_u64().expect("a tick") + 3);
    nothing_fell(&before, &later);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
}
