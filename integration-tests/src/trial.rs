// SPDX-License-Identifier: Apache-2.0
//! One row of the fault matrix: the real daemon on a meter that goes on counting, a fault beside it, and what must hold in every
//! row whatever the fault is.
//!
//! From its beginning to its end a trial looks at every page that it can get: each snapshot conserves, no counter of the JSON
//! or of the text page falls. At its end the part of the meter that no fault touched has been paid to the microjoule, the
//! fault has a name in a self-metric (or the row promises that nothing is wrong for the daemon, and has none), the process is the
//! same one, said no panic, and ends with 0. What was seen is written for the table (`rows`), where `FAULTS` names a folder.

pub mod rows;
pub mod watch;

use crate::daemon::{Daemon, command, pause};
use crate::figures::{integer, rows as rows_of};
use crate::in_guest;
use crate::promtext::{Sample, parse};
use crate::tree::Powercap;
use rows::Row;
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use watch::Watch;

/// Where the counters of every trial begin, in microjoules.
pub const START: u64 = 1_000_000;
/// The zone that goes on counting through every fault.
const REST: &str = "intel-rapl:1";

/// What is to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name in the table's file.
    pub name: &'static str,
    /// What breaks.
    pub thing: &'static str,
    /// How it is broken.
    pub injected: &'static str,
    /// What is promised.
    pub must: &'static str,
}

/// The meter's other part: counts on until it is told to stop.
struct Mover {
    stop: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Mover {
    fn start(tree: Arc<Powercap>) -> Self {
        let (stop, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (halts, counts) = (Arc::clone(&stop), Arc::clone(&moved));
        let thread = std::thread::spawn(move || {
            while !halts.load(Ordering::Relaxed) {
                let now = counts.fetch_add(10_003, Ordering::Relaxed) + 10_003;
                tree.set(REST, START + now);
                pause();
            }
        });
        Self {
            stop,
            moved,
            thread: Some(thread),
        }
    }

    /// Stops, and says how many microjoules it has counted in all.
    fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the tree can be written");
        }
        self.moved.load(Ordering::Relaxed)
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// See the module's head.
pub struct Trial {
    plan: Plan,
    /// The daemon.
    pub daemon: Daemon,
    /// Its meter: `intel-rapl:0` (package-0) with `dram` is the test's, package-1 counts on by itself.
    pub meter: Arc<Powercap>,
    mover: Mover,
    watch: Watch,
    begin: Vec<Sample>,
    named: Vec<String>,
    seen: Vec<String>,
}

impl Trial {
    /// Starts a daemon with these settings, and waits for its first bills.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn begin(plan: Plan, settings: &[&str]) -> Self {
        Self::begin_with(plan, settings, |_| ())
    }

    /// The same, and `prepare` may change the command: another program before it, another environment.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn begin_with(plan: Plan, settings: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let meter = Arc::new(Powercap::new(START));
        meter.zone(REST, "package-1", START);
        let mut command = command();
        // Emulated CPUs would be busy with nothing but windows.
        let tick = if in_guest() { "500ms" } else { "100ms" };
        command.args(["--listen", "127.0.0.1:0", "--tick", tick]);
        let root = format!("sources.rapl.root={}", meter.root().display());
        let usual = [
            "log.format=json",
            &root,
            "sources.cpu=rapl",
            "sources.dram=rapl",
            "sources.platform=",
            "sources.gpu=",
            "attribution.idle.floor=none",
        ];
        for setting in usual.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        prepare(&mut command);
        let daemon = Daemon::spawn(command);
        // Before the first reading nothing is paid: the counter moves after it.
        daemon.wait_for_tick(3);
        let mover = Mover::start(Arc::clone(&meter));
        let begin = parse(&daemon.get("/metrics").text());
        let watch = Watch::start(daemon.address);
        Self {
            plan,
            daemon,
            meter,
            mover,
            watch,
            begin,
            named: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Path of a file of the test's own zone.
    #[must_use]
    pub fn file(&self, zone: &str, name: &str) -> PathBuf {
        self.meter.root().join(zone).join(name)
    }

    /// Waits until a counter with these labels tells the fault: it has risen since the trial began.
    ///
    /// # Panics
    /// When it does not rise.
    pub fn wait_for_rise(&mut self, metric: &str, labels: &[(&str, &str)]) {
        self.wait_for_rise_by(metric, labels, f64::MIN_POSITIVE);
    }

    /// The same, and by no less than this.
    ///
    /// # Panics
    /// When it does not rise so far.
    pub fn wait_for_rise_by(&mut self, metric: &str, labels: &[(&str, &str)], least: f64) {
        let before = value(&self.begin, metric, labels).unwrap_or(0.0);
        let now = self.wait_for_value(metric, labels, |now| now - before >= least);
        self.name(metric, labels, &format!("+{}", now - before));
    }

    /// Waits until a metric with these labels tells the fault by its value.
    ///
    /// # Panics
    /// When it never has that value.
    pub fn wait_for_state(&mut self, metric: &str, labels: &[(&str, &str)], wanted: f64) {
        self.wait_for_value(metric, labels, |now| now == wanted);
        self.name(metric, labels, &format!("{wanted}"));
    }

    /// Waits until a metric with these labels tells the fault by a value no further than `off` from this one.
    ///
    /// # Panics
    /// When it never has such a value.
    pub fn wait_for_about(&mut self, metric: &str, labels: &[(&str, &str)], wanted: f64, off: f64) {
        self.wait_for_value(metric, labels, |now| (now - wanted).abs() <= off);
        self.name(metric, labels, &format!("≈ {wanted}"));
    }

    fn name(&mut self, metric: &str, labels: &[(&str, &str)], told: &str) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = match labels.join(",") {
            none if none.is_empty() => none,
            some => format!("{{{some}}}"),
        };
        let name = format!("`{metric}{labels}` {told}");
        if !self.named.contains(&name) {
            self.named.push(name);
        }
    }

    /// Waits until a metric is what `wanted` says; the sum of all samples with these labels.
    ///
    /// # Panics
    /// When it never is.
    pub fn wait_for_value(&self, metric: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) -> f64 {
        self.daemon.wait_until(metric, |_| {
            let samples = parse(&self.daemon.get("/metrics").text());
            value(&samples, metric, labels).filter(|now| wanted(*now))
        })
    }

    /// Waits until a component of a source is down on the page: `kepler_source_up` says so, and it has no watts.
    ///
    /// # Panics
    /// When it stays up.
    pub fn wait_until_down(&mut self, source: &str, component: &str) {
        self.wait_for_state(
            "kepler_source_up",
            &[("source", source), ("component", component)],
            0.0,
        );
        let watts = format!("kepler_node_{component}_watts");
        self.daemon.wait_until(&format!("no {watts}"), |_| {
            let samples = parse(&self.daemon.get("/metrics").text());
            value(&samples, &watts, &[("source", source)])
                .is_none()
                .then_some(())
        });
    }

    /// Waits for these windows more.
    pub fn windows(&self, more: u64) -> Value {
        let tick = self
            .daemon
            .wait_until("a snapshot", |snapshot| snapshot["tick"].as_u64());
        self.daemon.wait_for_tick(tick + more)
    }

    /// Waits until the zones of a component at `package` have been paid so many microjoules in all, never more.
    ///
    /// # Panics
    /// When they are not.
    pub fn wait_for_paid(&self, component: &str, package: u64, expected: u64) {
        self.daemon
            .wait_until(&format!("{expected} µJ in {component}"), |snapshot| {
                let paid = paid(snapshot, component, package)?;
                assert!(paid <= expected, "{component}: {paid} µJ of {expected}");
                (paid == expected).then_some(())
            });
    }

    /// Writes down what was seen.
    pub fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    /// Whether the daemon goes on without having been restarted: it answers, and its windows go on.
    pub fn goes_on(&mut self) {
        self.windows(3);
    }

    /// Judges the whole row and writes it down.
    ///
    /// # Panics
    /// When one of the laws did not hold.
    pub fn end(self) {
        self.end_after(|_| None);
    }

    /// The same with a look, once the daemon is gone, at what it has left and said.
    ///
    /// # Panics
    /// When one of the laws did not hold.
    pub fn end_after(self, look: impl FnOnce(&[String]) -> Option<String>) {
        let name = self.plan.name;
        assert!(!self.named.is_empty(), "{name}: nothing names the fault");
        self.write(look);
    }

    /// The same for a row in which nothing is wrong for the daemon, which its promise says: nothing has named anything.
    ///
    /// # Panics
    /// When one of the laws did not hold.
    pub fn end_unnamed(self) {
        assert!(self.named.is_empty(), "{}: it has a name", self.plan.name);
        self.write(|_| None);
    }

    fn write(mut self, look: impl FnOnce(&[String]) -> Option<String>) {
        let (plan, named) = (self.plan, std::mem::take(&mut self.named));
        let (mut seen, log) = self.judge();
        seen.extend(look(&log));
        Row::new(plan, named, seen).keep();
    }

    /// Judges what holds in every row, also where nothing is broken, and gives what was seen.
    ///
    /// # Panics
    /// When one of the laws did not hold.
    #[must_use]
    pub fn close(self) -> Vec<String> {
        self.judge().0
    }

    /// What was seen, and the log to its end.
    fn judge(mut self) -> (Vec<String>, Vec<String>) {
        self.goes_on();
        let moved = self.mover.stop();
        self.wait_for_paid("package", 1, moved);
        let looks = self.watch.stop();
        let pid = self.daemon.pid();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        let log = self.daemon.log().join("\n");
        assert!(!log.contains("panicked"), "{log}");
        self.seen.push(format!(
            "{} snapshots conserved, {} counters never fell; of the rest of the meter {moved} µJ of {moved} paid",
            looks.snapshots, looks.counters
        ));
        self.daemon.signal(Signal::TERM);
        assert_eq!(self.daemon.wait().code(), Some(0));
        (self.seen, self.daemon.log())
    }
}

/// Sum of the samples with these labels, `None` where there is none.
fn value(samples: &[Sample], metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let ours = samples.iter().filter(|sample| sample.name == metric);
    let ours = ours.filter(|sample| labels.iter().all(|(name, value)| sample.label(name) == *value));
    ours.map(Sample::float).reduce(|sum, next| sum + next)
}

/// Microjoules of the zones of a component at this package so far.
fn paid(snapshot: &Value, component: &str, package: u64) -> Option<u64> {
    let place = format!("socket{package}");
    let zones = rows_of(snapshot, "zones")
        .iter()
        .filter(|zone| zone["component"] == component && zone["place"] == place.as_str());
    zones
        .map(|zone| integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
        .reduce(|sum, next| sum + next)
}
