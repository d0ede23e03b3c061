// SPDX-License-Identifier: Apache-2.0
//! Redfish from the section to the total: the pure parts against answers in a table, the whole against a BMC of our own over
//! HTTPS.

mod certificates;
mod discovery;
mod machine;
mod misbehaviour;
mod mockup;
mod secrets;
mod section;

use super::access::Mode;
use super::config::{Preference, RedfishConfig};
use super::failure::{Failure, Kind};
use super::machine::Machine;
use super::policy::{Outcome, Policy, Span, Step};
use super::{Redfish, SOURCE};
use crate::PowerSource as _;
use attribution::model::{Energy, ErrorReason, Microwatts, MonotonicNanos};
use integration_tests::bmc::{Bmc, Certificate, Reply};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the default section says.
pub(super) fn policy() -> Policy {
    Policy {
        chassis: Vec::new(),
        reading: Preference::Auto,
        most: Microwatts::from_watts(20_000),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        mode: Mode::Open,
        first_wait: Duration::from_secs(1),
        first_refusal: Duration::from_secs(300),
    }
}

// --- without a wire: a machine, a tree, and a clock that moves when something is done ---

/// A reference.
fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

/// A collection.
fn members(paths: &[&str]) -> Value {
    json!({ "Members": paths.iter().map(|path| link(path)).collect::<Vec<_>>() })
}

/// A BMC without a wire: documents by path, and failures by path.
#[derive(Default)]
struct Tree {
    documents: BTreeMap<String, Value>,
    failures: BTreeMap<String, Kind>,
}

impl Tree {
    /// A service whose chassis have these ids, and nothing else yet.
    fn with_chassis(ids: &[&str]) -> Self {
        let mut tree = Self::default();
        tree.set("/redfish/v1/", json!({ "Chassis": link("/redfish/v1/Chassis") }));
        let paths: Vec<_> = ids.iter().map(|id| format!("/redfish/v1/Chassis/{id}")).collect();
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        tree.set("/redfish/v1/Chassis", members(&paths));
        for id in ids {
            tree.chassis(id, json!({}));
        }
        tree
    }

    /// A chassis that has every kind of resource (of which none may be there) and these properties.
    fn chassis(&mut self, id: &str, more: Value) {
        let path = format!("/redfish/v1/Chassis/{id}");
        let mut chassis = json!({ "Id": id, "ChassisType": "RackMount" });
        for resource in ["EnvironmentMetrics", "Power", "PowerSubsystem", "Sensors"] {
            chassis[resource] = link(&format!("{path}/{resource}"));
        }
        for (key, value) in more.as_object().expect("properties") {
            chassis[key] = value.clone();
        }
        self.set(&path, chassis);
    }

    /// A resource of a chassis.
    fn resource(&mut self, chassis: &str, name: &str, document: Value) {
        self.set(&format!("/redfish/v1/Chassis/{chassis}/{name}"), document);
    }

    fn watts(&mut self, chassis: &str, watts: Value) {
        self.resource(
            chassis,
            "EnvironmentMetrics",
            json!({ "PowerWatts": { "Reading": watts } }),
        );
    }

    fn set(&mut self, path: &str, document: Value) {
        self.documents.insert(path.to_owned(), document);
    }

    fn answer(&self, path: &str) -> Outcome {
        if let Some(kind) = self.failures.get(path).or_else(|| self.failures.get("*")) {
            return Outcome::Failed(Failure::new(*kind, format!("{path}: {kind:?}")));
        }
        match self.documents.get(path) {
            Some(document) => Outcome::Body(document.to_string().into_bytes()),
            None => Outcome::Failed(Failure::new(Kind::Missing, format!("{path}: 404"))),
        }
    }
}

/// A machine that is driven through a tree.
struct Drive {
    machine: Machine,
    tree: Tree,
    now: MonotonicNanos,
    /// What every request takes: 100 ms.
    each: Duration,
    /// How long the computer that asks has slept when a request begins and when it is answered.
    slept: (Duration, Duration),
    /// What was done when, without the waits.
    steps: Vec<(u64, Step)>,
}

impl Drive {
    fn new(tree: Tree, policy: Policy) -> Self {
        Self {
            machine: Machine::new(policy, 1),
            tree,
            now: MonotonicNanos::ZERO,
            each: Duration::from_millis(100),
            slept: (Duration::ZERO, Duration::ZERO),
            steps: Vec::new(),
        }
    }

    /// Goes on until that second.
    fn until(&mut self, second: u64) -> &mut Self {
        let end = seconds(second);
        while self.now < end {
            let step = self.machine.next(self.now);
            if let Step::Wait(until) = step {
                assert!(until > self.now, "a wait that ends before it begins");
                self.now = until.min(end);
                continue;
            }
            let began = self.now;
            self.now = began.after(self.each);
            let outcome = match &step {
                Step::Get(path) => self.tree.answer(path),
                Step::Credentials => Outcome::Credentials { changed: false },
                Step::LogIn(_) => Outcome::LoggedIn,
                Step::Wait(_) => unreachable!("handled above"),
            };
            let mut span = Span::from((began, self.now));
            span.began.slept = self.slept;
            self.machine.take(&step, span, outcome);
            self.steps.push((began.as_nanos() / 1_000_000_000, step));
            assert!(self.steps.len() < 100_000, "it asks without end");
        }
        self
    }

    /// Totals in joules by chassis.
    fn joules(&self) -> Vec<(String, u64)> {
        let readings = self.machine.readings();
        let row = |(reading, _): &(attribution::model::ZoneReading, _)| {
            (
                reading.zone.place.to_string(),
                reading.total.as_micro() / 1_000_000,
            )
        };
        readings.iter().map(row).collect()
    }

    fn errors(&self) -> Vec<(String, ErrorReason, u64)> {
        crate::testing::errors(&Energy {
            zones: Vec::new(),
            errors: self.machine.errors(),
        })
    }

    /// How often a path was asked for.
    fn asked(&self, path: &str) -> usize {
        let is_it = |step: &&(u64, Step)| matches!(&step.1, Step::Get(asked) if **asked == *path);
        self.steps.iter().filter(is_it).count()
    }
}

fn seconds(seconds: u64) -> MonotonicNanos {
    MonotonicNanos::from_nanos(seconds * 1_000_000_000)
}

// --- with a wire: a source, and a BMC over HTTPS ---

/// Longest wait for something that should happen within a blink.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock for sources that run for real.
fn clock() -> MonotonicNanos {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let since = BEGIN.get_or_init(Instant::now).elapsed();
    MonotonicNanos::from_nanos(u64::try_from(since.as_nanos()).expect("not for centuries") + 1)
}

/// Seconds that the machine has slept. Of the process: a source asks on a thread of its own.
static NIGHTS: AtomicU64 = AtomicU64::new(0);

fn slept() -> Duration {
    Duration::from_secs(NIGHTS.load(Ordering::Relaxed))
}

/// A section for this BMC that trusts it.
fn section(bmc: &Bmc) -> Value {
    let mut section = json!({ "url": bmc.url(), "timeout": "2s" });
    if bmc.fingerprint().is_empty() {
        section["insecure"] = json!(true);
    } else {
        section["fingerprint"] = json!(bmc.fingerprint());
    }
    section
}

/// A source with this section that asks every few milliseconds, and waits as short when that fails.
fn start(section: &Value) -> Redfish {
    start_with(section, |_| {})
}

fn start_with(section: &Value, change: impl FnOnce(&mut Policy)) -> Redfish {
    let config: RedfishConfig = crate::section("redfish", section).expect("a section");
    let checked = config.check().expect("a usable section").expect("with a URL");
    let mut policy = Policy::new(&checked);
    policy.interval = Duration::from_millis(20);
    policy.first_wait = Duration::from_millis(20);
    change(&mut policy);
    Redfish::start(checked, policy, (clock, slept)).expect("a thread")
}

/// Reads until `found` says yes.
fn wait_until<T>(source: &mut Redfish, what: &str, mut found: impl FnMut(&Energy) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let energy = source.read(clock());
        if let Some(value) = found(&energy) {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}; at last {energy:?}");
        integration_tests::daemon::pause();
    }
}

fn total(energy: &Energy) -> Option<u64> {
    energy.zones.first().map(|reading| reading.total.as_micro())
}

fn count(energy: &Energy, reason: ErrorReason) -> u64 {
    energy
        .errors
        .iter()
        .filter(|row| row.reason == reason)
        .map(|row| row.count)
        .sum()
}

/// The latest words of an error of this kind.
fn words(energy: &Energy, reason: ErrorReason) -> String {
    let rows = energy.errors.iter().filter(|row| row.reason == reason);
    rows.map(|row| row.latest.to_string())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Waits for a reading, then for one with a higher total, and gives that.
fn wait_for_energy(source: &mut Redfish) -> u64 {
    let before = wait_until(source, "a reading", total);
    wait_until(source, "more energy", |energy| {
        total(energy).filter(|total| *total > before)
    })
}

#[test]
fn a_counter_over_the_wire_is_paid_for_the_night() {
    let bmc = Bmc::start(Certificate::Signed);
    bmc.serve_one(300.0);
    let counter = |joules: u64| {
        let document = json!({ "EnergyJoules": { "Reading": joules } });
        bmc.set("/redfish/v1/Chassis/1U/EnvironmentMetrics", Reply::Json(document));
    };
    counter(1_000);
    let mut section = section(&bmc);
    section["reading"] = json!("energy");
    let mut source = start(&section);
    wait_until(&mut source, "a reading", total);
    // Until the counter moves it is not counted from anew: it does not matter when the machine slept.
    NIGHTS.fetch_add(3_600, Ordering::Relaxed);
    counter(3_601_000);
    let paid = wait_until(&mut source, "the night", |energy| {
        assert_eq!(count(energy, ErrorReason::Implausible), 0);
        total(energy).filter(|total| *total > 0)
    });
    assert_eq!(paid, 3_600_000_000_000);
}

#[test]
fn the_source_is_a_platform_meter_called_redfish() {
    assert_eq!(
        (super::NAME, SOURCE.0, super::COMPONENTS),
        (
            "redfish",
            "redfish",
            &[attribution::model::Component::Platform][..]
        )
    );
}
