// SPDX-License-Identifier: Apache-2.0
//! Guests fed by their host: the daemon that writes a folder for a machine, and the daemon that reads it.
//!
//! The first test is both on one machine and a stand-in for the machine. The other boots a guest of Debian's kernel with the
//! folder shared into it by 9p and by virtiofs, and another daemon inside; `make test-vms` prepares and runs it.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::child::Killed;
use integration_tests::daemon::{Daemon, PATIENCE, pause};
use integration_tests::figures::{charged, conserves, integer, rows};
use integration_tests::tree::Powercap;
use integration_tests::{has_command, is_root, promtext, say, skip};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A UUID of this test's own.
fn uuid(test: u8) -> String {
    format!("{:08x}-8e0b-4b1a-9c53-1d2f3a4b5d{test:02x}", std::process::id())
}

/// Meters of 40 W and 4 W that go on until they are dropped, whatever the test waits for.
struct Running {
    tree: Arc<Powercap>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn new() -> Self {
        let (tree, stop) = (
            Arc::new(Powercap::new(1_000_000_000)),
            Arc::new(AtomicBool::new(false)),
        );
        let (meters, stopped) = (Arc::clone(&tree), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let micro = |watts: u128| u64::try_from(begun.elapsed().as_micros() * watts).expect("small");
                meters.set("intel-rapl:0", 1_000_000_000 + micro(40));
                meters.set("intel-rapl:0:0", 1_000_000_000 + micro(4));
                pause();
            }
        });
        Self {
            tree,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

/// A host's daemon with these meters that feeds guests.
fn host(meters: &Path, dir: &Path, more: &[&str]) -> Daemon {
    let root = format!("sources.rapl.root={}", meters.display());
    let dir = format!("vm_passthrough.dir={}", dir.display());
    let mut arguments = vec![
        "--set",
        &root,
        "--set",
        &dir,
        "--set",
        "sources.platform=",
        "--set",
    ];
    arguments.push("sources.cpu=rapl,estimator");
    arguments.extend(more);
    Daemon::start(&arguments)
}

/// What the machine was charged of package and memory.
fn of_machine(snapshot: &Value, id: &str) -> Option<[u64; 2]> {
    let row = rows(snapshot, "vms").iter().find(|row| row["id"] == id)?;
    Some(["package", "dram"].map(|component| {
        let zones = rows(snapshot, "zones").iter().enumerate();
        zones
            .filter(|(_, zone)| zone["component"] == component)
            .map(|(index, _)| charged(row, index, "dynamic") + charged(row, index, "idle"))
            .sum()
    }))
}

/// All that the guest's daemon has paid of package and memory.
fn paid(snapshot: &Value) -> [u64; 2] {
    ["package", "dram"].map(|component| {
        let zone = rows(snapshot, "zones")
            .iter()
            .find(|zone| zone["component"] == component);
        zone.map_or(0, |zone| integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
    })
}

fn counters(folder: &Path) -> Option<[u64; 2]> {
    let read = |zone: &str| {
        let text = fs::read_to_string(folder.join(zone).join("energy_uj")).ok()?;
        text.trim_end().parse().ok()
    };
    Some([read("intel-rapl:0")?, read("intel-rapl:0:0")?])
}

#[test]
fn what_a_machine_is_charged_here_is_a_meter_to_a_daemon_that_reads_its_folder() {
    let (folder, meters, id) = (TempDir::new().expect("a folder"), Running::new(), uuid(1));
    let dir = folder.path().join("vms");
    let more = ["--tick", "200ms"];
    let daemon = host(meters.tree.root(), &dir, &more);
    let _machine = Killed::machine(&id);
    let of_guest = dir.join(&id);
    daemon.wait_until("the machine's folder", |_| {
        counters(&of_guest).filter(|[package, _]| *package > 0)
    });
    let root = format!("sources.rapl.root={}", of_guest.display());
    let guest = Daemon::start(&["--tick", "200ms", "--set", &root, "--set", "sources.platform="]);
    let seen = guest.wait_until("some joules", |snapshot| {
        (paid(snapshot)[0] > 2_000_000 && paid(snapshot)[1] > 0).then(|| snapshot.clone())
    });
    conserves(&seen);
    let zone = |component: &str| {
        let zones = rows(&seen, "zones").iter();
        zones
            .filter(|zone| zone["component"] == component)
            .map(|zone| {
                (
                    zone["source"].clone(),
                    zone["place"].clone(),
                    zone["provenance"].clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    let share = || {
        (
            Value::from("host-share"),
            Value::from("host-share"),
            Value::from("counted"),
        )
    };
    assert_eq!(zone("package"), [share()]);
    assert_eq!(zone("dram"), [share()]);
    drop(guest);
    // The stop closes one window more, which is written, too.
    let last = daemon.snapshot();
    let text = daemon.get("/metrics").text();
    assert_eq!(daemon.stop(), Some(0));
    let (charged, stands) = (
        of_machine(&last, &id).expect("a row"),
        counters(&of_guest).expect("both"),
    );
    assert!(
        stands[0] >= charged[0] && stands[1] >= charged[1],
        "{stands:?} {charged:?}"
    );
    let samples = promtext::parse(&text);
    let fed = promtext::of(&samples, "kepler_vm_passthrough_trees");
    assert_eq!(fed.len(), 1);
    // A new daemon goes on from there.
    let again = host(meters.tree.root(), &dir, &more);
    let on = again.wait_until("the counter going on", |_| {
        counters(&of_guest).filter(|now| now[0] > stands[0])
    });
    let since = of_machine(&again.snapshot(), &id).expect("a row");
    assert!(on[0] - stands[0] <= since[0], "{on:?} {stands:?} {since:?}");
}

#[test]
fn an_estimate_feeds_nobody_unless_it_is_asked_for_and_is_one_in_the_guest_too() {
    let (folder, id) = (TempDir::new().expect("a folder"), uuid(2));
    let (refused, asked) = (folder.path().join("refused"), folder.path().join("asked"));
    let nothing = folder.path().join("no-meters");
    let _machine = Killed::machine(&id);
    let daemon = host(&nothing, &refused, &["--tick", "200ms"]);
    daemon.wait_until("the machine's row", |snapshot| {
        of_machine(snapshot, &id).filter(|sum| sum[0] > 0)
    });
    let samples = daemon.get("/metrics").text();
    let samples = promtext::parse(&samples);
    let left_out = promtext::of(&samples, "kepler_vm_passthrough_refused");
    let left_out = left_out
        .iter()
        .find(|sample| sample.label("component") == "package");
    assert_eq!(left_out.map(|sample| sample.millionths()), Some(1_000_000));
    assert!(!refused.join(&id).exists());
    drop(daemon);
    let more = ["--tick", "200ms", "--set", "vm_passthrough.estimates=true"];
    let daemon = host(&nothing, &asked, &more);
    daemon.wait_until("the machine's folder", |_| counters(&asked.join(&id)));
    let root = format!("sources.rapl.root={}", asked.join(&id).display());
    let guest = Daemon::start(&["--tick", "200ms", "--set", &root, "--set", "sources.platform="]);
    let zone = guest.wait_until("the zone", |snapshot| {
        let mut zones = rows(snapshot, "zones").iter();
        zones.find(|zone| zone["component"] == "package").cloned()
    });
    assert_eq!(
        (&zone["source"], &zone["provenance"]),
        (&"host-share".into(), &"estimated".into())
    );
    let told = fs::read_to_string(asked.join(&id).join("intel-rapl:0/provenance")).expect("a word");
    let error = told
        .trim_end()
        .strip_prefix("estimated ")
        .expect("an estimate")
        .replace('.', "");
    assert_eq!(
        zone["relative_error_p90_permille"].to_string(),
        error.trim_start_matches('0')
    );
}

/// A guest of `integration-tests/guest/share`, until it has said everything.
struct Guest {
    log: PathBuf,
    _children: Vec<Killed>,
}

impl Guest {
    fn boot(files: &Path, scratch: &Path, shared: &Path, id: &str) -> Self {
        let path = |name: &str| scratch.join(name).display().to_string();
        let mut children = Vec::new();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "qemu64",
            "-smp",
            "2",
            "-m",
            "1024",
        ])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-name", "guest=fed", "-uuid", id])
        .args(["-append", "console=ttyS0 panic=-1 quiet tsc=reliable"])
        .arg("-kernel")
        .arg(files.join("vmlinuz"))
        .arg("-initrd")
        .arg(files.join("initramfs.gz"))
        .args(["-serial", &format!("file:{}", path("console"))])
        .args(["-serial", &format!("file:{}", path("log"))])
        .arg("-fsdev")
        .arg(format!(
            "local,id=share,path={},security_model=none,readonly=on",
            shared.display()
        ))
        .args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=kepler-9p"]);
        if let Some(virtiofsd) = virtiofsd() {
            let socket = path("fs.sock");
            let mut server = Command::new(virtiofsd);
            server
                .arg(format!("--socket-path={socket}"))
                .arg("-o")
                .arg(format!("source={},cache=auto", shared.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            children.push(Killed::start(&mut server));
            until("virtiofsd listens", || Path::new(&socket).exists().then_some(()));
            qemu.args(["-object", "memory-backend-memfd,id=ram,size=1024M,share=on"])
                .args(["-numa", "node,memdev=ram"])
                .args(["-chardev", &format!("socket,id=fs,path={socket}")])
                .args(["-device", "vhost-user-fs-pci,chardev=fs,tag=kepler-fs"]);
        }
        children.push(Killed::start(&mut qemu));
        Self {
            log: scratch.join("log"),
            _children: children,
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).replace('\r', "")
    }
}

fn virtiofsd() -> Option<&'static str> {
    let places = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];
    places.into_iter().find(|place| Path::new(place).exists())
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        pause();
    }
}

/// Longest boot and stay of the guest: emulated, on a machine that may have much else to do.
const STAY: Duration = Duration::from_secs(900);

#[test]
fn joules_in_a_real_guest_are_those_that_its_host_charged_it() {
    let Some(files) = std::env::var_os("SHARE_GUEST").map(PathBuf::from) else {
        return skip("needs a guest: make test-vms prepares it");
    };
    if !is_root() || !has_command("qemu-system-x86_64") {
        return skip("needs root and qemu-system-x86");
    }
    if virtiofsd().is_none() {
        skip("virtiofs: there is no virtiofsd");
    }
    let (folder, meters, id) = (TempDir::new().expect("a folder"), Running::new(), uuid(3));
    // What is shared has to be there before the machine.
    let shared = folder.path().join("vms").join(&id);
    fs::create_dir_all(&shared).expect("a folder");
    let more = [
        "--tick",
        "1s",
        "--set",
        "attribution.idle.floor={package = 10.0, dram = 1.0}",
    ];
    let daemon = host(meters.tree.root(), &folder.path().join("vms"), &more);
    let guest = Guest::boot(&files, folder.path(), &shared, &id);
    let mut host = History::default();
    let end = Instant::now() + STAY;
    loop {
        let said = guest.said();
        assert!(Instant::now() < end, "the guest is silent:\n{said}");
        if let Some(charged) = of_machine(&daemon.snapshot(), &id) {
            host.note(charged, &said);
        }
        if said.contains("@done") {
            break;
        }
        pause();
    }
    let said = guest.said();
    assert!(!said.contains("@failed"), "{said}");
    judge(&said, "9p", &host);
    if virtiofsd().is_some() {
        judge(&said, "virtiofs", &host);
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// What the host's daemon has charged the machine, window by window.
#[derive(Default)]
struct History {
    totals: Vec<[u64; 2]>,
    /// How many there were when the guest had said so many lines about its files.
    heard: Vec<usize>,
}

impl History {
    fn note(&mut self, charged: [u64; 2], said: &str) {
        if self.totals.last() != Some(&charged) {
            self.totals.push(charged);
        }
        self.heard
            .resize(said.matches("@file ").count(), self.totals.len());
    }

    /// Whether it was charged exactly so much of one component.
    fn has(&self, component: usize, total: u64) -> bool {
        self.totals.iter().any(|totals| totals[component] == total)
    }

    /// Where a component stood when the guest first read it. The two are read one after the other, so the host may have
    /// written in between. Every later total is that and what the guest has paid, and no other one fits to all of them.
    fn base(&self, component: usize, all: &[Paid], way: &str) -> u64 {
        let fits = |base: &u64| {
            all.iter()
                .all(|paid| self.has(component, base + paid.total[component]))
        };
        let stood: BTreeSet<u64> = self.totals.iter().map(|totals| totals[component]).collect();
        let bases: Vec<_> = stood.into_iter().filter(fits).collect();
        assert_eq!(bases.len(), 1, "{way}: {bases:?}, {all:?} in {:?}", self.totals);
        bases[0]
    }
}

/// One look of the guest's at its files.
#[derive(Debug)]
struct Look {
    held: [u64; 2],
    /// The moments before and after it on the guest's clock, to a hundredth of a second and rounded down.
    since: u64,
    until: u64,
}

/// One snapshot of the guest's daemon.
#[derive(Debug)]
struct Paid {
    total: [u64; 2],
    /// When its zones were read, the first and the last of them.
    first: u64,
    last: u64,
}

fn lines<'a>(said: &'a str, kind: &str, way: &str) -> Vec<&'a str> {
    let begin = format!("@{kind} {way} ");
    said.lines()
        .filter_map(|line| line.strip_prefix(&begin))
        .collect()
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn look(line: &str) -> Look {
    let words: Vec<&str> = line.split(' ').collect();
    let nanos = |text: &str| number(&text.replace('.', "")) * 10_000_000;
    Look {
        held: [number(words[0]), number(words[1])],
        since: nanos(words[2]),
        until: nanos(words[3]) + 10_000_000,
    }
}

fn paid_of(line: &str) -> Paid {
    let snapshot: Value = serde_json::from_str(line).expect("JSON");
    conserves(&snapshot);
    let zones = rows(&snapshot, "zones").iter();
    let zones: Vec<&Value> = zones.filter(|zone| zone["source"] == "host-share").collect();
    assert_eq!(zones.len(), 2, "{snapshot}");
    let closed = integer(&snapshot["window"], "ended_ns");
    let read = zones.iter().map(|zone| closed - integer(zone, "age_ns"));
    Paid {
        total: paid(&snapshot),
        first: read.clone().min().expect("two"),
        last: read.max().expect("two"),
    }
}

/// The guest's joules through one of the ways: each total is one that the host charged, and in step with the file.
fn judge(said: &str, way: &str, host: &History) {
    let all: Vec<Paid> = lines(said, "snapshot", way).into_iter().map(paid_of).collect();
    let looks: Vec<Look> = lines(said, "file", way).into_iter().map(look).collect();
    assert_eq!((all.len(), looks.len()), (12, 12), "{way}");
    for component in [0, 1] {
        let base = host.base(component, &all, way);
        in_step(component, base, &all, &looks, way);
        for look in &looks {
            assert!(host.has(component, look.held[component]), "{way}: {look:?}");
        }
    }
    let kept: Vec<u64> = lines(said, "kept", way).into_iter().map(number).collect();
    assert_eq!(kept.len(), 12, "{way}");
    assert!(kept.is_sorted() && kept.first() < kept.last(), "{way}: {kept:?}");
    for value in &kept {
        assert!(host.has(0, *value), "{way}: {value} in {:?}", host.totals);
    }
    tell(said, way, host, &all, &looks);
}

/// What the guest had paid when it read before a look is not more than that look saw, and not less when it read after it.
fn in_step(component: usize, base: u64, all: &[Paid], looks: &[Look], way: &str) {
    let (mut before, mut after) = (0, 0);
    for look in looks {
        let held = look.held[component];
        // A reading has the moment at which it began, so only the one before it is surely over.
        let began = all.iter().rev().filter(|paid| paid.last < look.since);
        for paid in began.skip(1) {
            assert!(base + paid.total[component] <= held, "{way}: {look:?} {paid:?}");
            before += 1;
        }
        // Energy that came without the time of those who ran waits for it, and is paid in the snapshot after that.
        for paid in all.iter().filter(|paid| paid.first > look.until).skip(1) {
            assert!(base + paid.total[component] >= held, "{way}: {look:?} {paid:?}");
            after += 1;
        }
    }
    assert!(before > 0 && after > 0, "{way}: {looks:?} {all:?}");
}

fn tell(said: &str, way: &str, host: &History, all: &[Paid], looks: &[Look]) {
    let (first, last) = (all.first().expect("12"), all.last().expect("12"));
    // The first line about this way among all lines about files.
    let skipped = said
        .lines()
        .filter(|line| line.starts_with("@file "))
        .take_while(|line| !line.starts_with(&format!("@file {way} ")))
        .count();
    let old = looks.iter().zip(&host.heard[skipped..]).map(|(look, heard)| {
        let stood = host.totals.iter().position(|total| total[0] == look.held[0]);
        heard.saturating_sub(1 + stood.expect("one of the host's"))
    });
    say(&format!(
        "{way}: {} mJ of package and {} mJ of memory in {} s of the guest, each total one of the host's to the microjoule; what the \
         file held was at most {} of the host's windows old when it was heard of",
        (last.total[0] - first.total[0]) / 1_000,
        (last.total[1] - first.total[1]) / 1_000,
        (last.last - first.last) / 1_000_000_000,
        old.max().expect("12"),
    ));
}
