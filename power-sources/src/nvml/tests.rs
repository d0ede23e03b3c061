// SPDX-License-Identifier: Apache-2.0
//! The state machine against a driver of plain values. With the real wrapper and a library: `tests/nvml.rs`.

use super::driver::{Connected, Instance, Load, Meter, Sample, Whole};
use super::gpu::Gpu;
use super::load::{Rates, Tracker, WHOLE};
use super::*;
use crate::testing::{ask, errors, sleep, slept, totals};
use attribution::model::{DeviceUse, Microjoules, Microwatts};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

fn at(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_millis(milliseconds))
}

fn member(uuid: &str) -> Member {
    Member {
        uuid: Arc::from(uuid),
        name: "H100".to_owned(),
        limit: Some(Microwatts::from_watts(700)),
    }
}

fn listing(uuids: &[&str]) -> Listing {
    Listing {
        gpus: uuids.iter().map(|uuid| member(uuid)).collect(),
        faults: Vec::new(),
    }
}

fn fault(reason: ErrorReason) -> Fault {
    Fault {
        reason,
        words: "as the test says".to_owned(),
    }
}

const fn counted(millijoules: u64, load: Load) -> Look {
    Look {
        meter: Meter::Energy(millijoules),
        load,
        faults: Vec::new(),
    }
}

/// A driver of plain values.
struct World {
    listing: Result<Listing, Fault>,
    answers: BTreeMap<&'static str, Result<Look, Fault>>,
    broken: Option<Broken>,
    connects: u32,
    looks: u32,
    asked: Vec<Question>,
    /// Seconds that the machine sleeps while it answers.
    night: u64,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl Driver for Fake {
    fn connect(&mut self) -> Result<Connected, Fault> {
        let mut world = self.world();
        world.connects += 1;
        let listing = world.listing.clone()?;
        let session = Box::new(self.clone());
        Ok(Connected { session, listing })
    }
}

impl Session for Fake {
    fn look(&mut self, questions: &[Question]) -> Result<Vec<Result<Look, Fault>>, Broken> {
        let mut world = self.world();
        world.looks += 1;
        world.asked = questions.to_vec();
        sleep(std::mem::take(&mut world.night));
        if let Some(broken) = world.broken.clone() {
            return Err(broken);
        }
        let answer = |question: &Question| world.answers[&*question.uuid].clone();
        Ok(questions.iter().map(answer).collect())
    }
}

impl Fake {
    /// GPUs that answer with a counter at zero and no load.
    fn new(uuids: &[&'static str]) -> Self {
        let answers = uuids.iter().map(|uuid| (*uuid, Ok(counted(0, Load::Unknown))));
        Self(Arc::new(Mutex::new(World {
            listing: Ok(listing(uuids)),
            answers: answers.collect(),
            broken: None,
            connects: 0,
            looks: 0,
            asked: Vec::new(),
            night: 0,
        })))
    }

    fn open(&self) -> Nvml {
        Nvml::open(Box::new(self.clone()), 0, Duration::ZERO, slept).unwrap()
    }

    fn answer(&self, uuid: &'static str, answer: Result<Look, Fault>) {
        self.world().answers.insert(uuid, answer);
    }
}

fn table<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected.map(|(zone, total)| (zone.to_owned(), total)).to_vec()
}

// --- the section ---

#[test]
fn a_section_out_of_range_is_refused_with_the_key_and_what_is_right() {
    for (section, key, right) in [
        (json!({ "root": "" }), "root", "/proc/driver/nvidia/gpus"),
        (json!({ "max_watts": 100_001 }), "max_watts", "100000"),
        (json!({ "interval": "99ms" }), "interval", "100ms to 1m"),
    ] {
        let error = check(&section).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(right), "{error}");
        assert!(open(&ask(&section, COMPONENTS)).is_err());
    }
    check(&default_section()).unwrap();
}

#[test]
fn nothing_is_loaded_when_gpus_are_not_wanted() {
    match open(&ask(&json!(null), &[Component::Package])).unwrap() {
        Opened::Absent { reason } => assert!(reason.contains("not wanted"), "{reason}"),
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

// --- how often it is read ---

#[test]
fn a_tick_that_is_shorter_than_the_interval_repeats_the_last_reading_with_its_moment_and_asks_nobody() {
    let fake = Fake::new(&["GPU-a"]);
    let mut source = Nvml::open(Box::new(fake.clone()), 0, Duration::from_secs(1), slept).unwrap();
    let looks_at_start = fake.world().looks;
    let mut moments = Vec::new();
    for tenth in 0..=20 {
        // The ninth comes early, as ticks do.
        let now = if tenth == 10 { 960 } else { tenth * 100 };
        let energy = source.read(at(now));
        assert_eq!(energy.zones.len(), 1);
        moments.push(energy.zones[0].at);
    }
    assert_eq!(fake.world().looks - looks_at_start, 3);
    moments.dedup();
    assert_eq!(moments, [at(0), at(960), at(2_000)]);
}

#[test]
fn what_a_gpu_counted_while_the_machine_slept_is_paid_whenever_it_was_asked() {
    // The machine sleeps before the GPU is asked, and while it answers.
    for while_it_answers in [false, true] {
        let fake = Fake::new(&["GPU-a"]);
        let mut source = fake.open();
        source.read(at(0));
        // 11 kJ: no board uses them in a second.
        fake.answer("GPU-a", Ok(counted(11_000_000, Load::Unknown)));
        match while_it_answers {
            true => fake.world().night = 60,
            false => sleep(60),
        }
        let energy = source.read(at(1_000));
        assert_eq!(totals(&energy), table([("gpu/GPU-a", 11_000_000_000)]));
        assert_eq!(errors(&energy), []);
    }
}

// --- when another reader of it takes over ---

fn use_of(pid: u32, seconds: u64) -> Load {
    whole(100, &[sample(pid, seconds * 1_000_000, 100)], &[pid])
}

#[test]
fn what_is_used_between_two_readers_is_paid_and_has_its_user() {
    let fake = Fake::new(&["GPU-a", "GPU-b"]);
    let mut old = Nvml::open(Box::new(fake.clone()), 0, Duration::from_secs(1), slept).unwrap();
    fake.answer("GPU-a", Ok(counted(5_000, use_of(7, 1))));
    old.read(at(0));
    fake.answer("GPU-a", Ok(counted(105_000, use_of(7, 2))));
    let told = old.read(at(1_000)).zones.swap_remove(0);
    assert_eq!(told.total, Microjoules::from_milli(100_000));
    let mut new = Nvml::open(Box::new(fake.clone()), 0, Duration::from_secs(2), slept).unwrap();
    let followed = new.follow(old.leave());
    assert_eq!(followed.len(), 2);
    fake.answer("GPU-a", Ok(counted(205_000, use_of(7, 3))));
    let energy = new.read(at(1_900));
    assert_eq!(errors(&energy), []);
    let next = &energy.zones[0];
    assert_eq!(next.total, Microjoules::from_milli(200_000));
    let (before, after) = (told.device.unwrap(), next.device.clone().unwrap());
    assert_eq!(users(&after)[&7] - users(&before)[&7], 900_000_000);
}

#[test]
fn a_reader_with_less_to_believe_follows_and_refuses_what_is_beyond() {
    let fake = Fake::new(&["GPU-a"]);
    let mut old = fake.open();
    old.read(at(0));
    let mut new = Nvml::open(Box::new(fake.clone()), 100, Duration::ZERO, slept).unwrap();
    assert_eq!(new.follow(old.leave()).len(), 1);
    fake.answer("GPU-a", Ok(counted(500_000, Load::Unknown)));
    let energy = new.read(at(1_000));
    assert_eq!(energy.zones[0].total, Microjoules::ZERO);
    assert_eq!(errors(&energy).len(), 1);
}

#[test]
fn nothing_is_followed_where_nothing_was_read_or_the_gpu_is_another() {
    let mut old = Fake::new(&["GPU-a"]).open();
    let mut new = Fake::new(&["GPU-a"]).open();
    assert_eq!(new.follow(old.leave()), []);
    old.read(at(0));
    let mut new = Fake::new(&["GPU-b"]).open();
    assert_eq!(new.follow(old.leave()), []);
}

// --- when the library and its GPUs are tried again ---

#[test]
fn a_library_that_cannot_be_reached_is_tried_with_back_off() {
    let fake = Fake::new(&["GPU-a"]);
    let mut source = fake.open();
    source.read(at(0));
    fake.world().broken = Some(Broken::Dead(fault(ErrorReason::Io)));
    let listing = std::mem::replace(&mut fake.world().listing, Err(fault(ErrorReason::Gone)));
    let before = fake.world().connects;
    let mut energy = Energy::default();
    for tenth in 1..=100 {
        energy = source.read(at(tenth * 100));
        assert_eq!(totals(&energy), []);
    }
    // At once, and after 1, 2 and 4 s.
    assert_eq!(fake.world().connects - before, 4);
    assert_eq!(
        errors(&energy),
        [
            (String::new(), ErrorReason::Io, 1),
            (String::new(), ErrorReason::Gone, 4)
        ]
    );
    fake.world().broken = None;
    fake.world().listing = listing;
    fake.answer("GPU-a", Ok(counted(5, Load::Unknown)));
    assert_eq!(totals(&source.read(at(16_000))), table([("gpu/GPU-a", 5_000)]));
}

#[test]
fn a_library_that_connects_and_then_fails_is_not_connected_at_every_tick() {
    let fake = Fake::new(&["GPU-a"]);
    let mut source = fake.open();
    source.read(at(0));
    fake.world().broken = Some(Broken::Dead(fault(ErrorReason::Io)));
    let before = fake.world().connects;
    for tenth in 1..=100 {
        source.read(at(tenth * 100));
    }
    assert_eq!(fake.world().connects - before, 4);
}

#[test]
fn a_gpu_that_is_listed_and_lost_is_looked_for_with_back_off_and_the_others_are_read() {
    let fake = Fake::new(&["GPU-a", "GPU-b"]);
    let mut source = fake.open();
    source.read(at(0));
    fake.answer("GPU-a", Err(fault(ErrorReason::Gone)));
    let before = fake.world().connects;
    for tenth in 1..=100 {
        fake.answer("GPU-b", Ok(counted(tenth, Load::Unknown)));
        let energy = source.read(at(tenth * 100));
        assert_eq!(totals(&energy), table([("gpu/GPU-b", tenth * 1_000)]));
    }
    // After 1, 2 and 4 s.
    assert_eq!(fake.world().connects - before, 3);
}

#[test]
fn a_gpu_that_is_not_listed_any_more_is_looked_for_with_back_off() {
    let fake = Fake::new(&["GPU-a", "GPU-b"]);
    let mut source = fake.open();
    source.read(at(0));
    let before = fake.world().connects;
    fake.world().listing = Ok(listing(&["GPU-b"]));
    source.session = None;
    for tenth in 1..=100 {
        assert_eq!(totals(&source.read(at(tenth * 100))), table([("gpu/GPU-b", 0)]));
    }
    // At once, and after 1, 2 and 4 s.
    assert_eq!(fake.world().connects - before, 4);
}

#[test]
fn a_driver_that_is_met_again_is_asked_for_all_its_samples() {
    let fake = Fake::new(&["GPU-a"]);
    fake.answer("GPU-a", Ok(counted(0, whole(50, &[sample(1, 7, 50)], &[1]))));
    let mut source = fake.open();
    source.read(at(0));
    source.read(at(100));
    assert_eq!(fake.world().asked[0].since.processes, 7);
    source.adopt(listing(&["GPU-a"]));
    source.read(at(200));
    assert_eq!(fake.world().asked[0].since.processes, 0);
}

#[test]
fn a_gpu_whose_reading_is_refused_waits_alone() {
    let fake = Fake::new(&["GPU-a", "GPU-b"]);
    let mut source = fake.open();
    source.read(at(0));
    fake.answer("GPU-a", Err(fault(ErrorReason::Io)));
    let mut energy = Energy::default();
    for tenth in 1..=100 {
        energy = source.read(at(tenth * 100));
        assert_eq!(totals(&energy).len(), 1);
    }
    assert_eq!(errors(&energy), [("gpu/GPU-a".to_owned(), ErrorReason::Io, 4)]);
    assert_eq!(fake.world().connects, 1);
}

#[test]
fn a_session_that_is_late_is_neither_asked_nor_replaced_before_its_time() {
    let fake = Fake::new(&["GPU-a"]);
    let mut source = fake.open();
    source.read(at(0));
    fake.world().broken = Some(Broken::Late(fault(ErrorReason::Timeout)));
    let before = fake.world().looks;
    for tenth in 1..=100 {
        assert_eq!(totals(&source.read(at(tenth * 100))), []);
    }
    assert_eq!(fake.world().looks - before, 4);
    assert_eq!(fake.world().connects, 1);
    fake.world().broken = None;
    assert_eq!(totals(&source.read(at(16_000))), table([("gpu/GPU-a", 0)]));
}

#[test]
fn gpus_beyond_the_bound_are_told_and_not_counted() {
    let fake = Fake::new(&["GPU-a"]);
    let uuids: Vec<String> = (0..MOST_GPUS + 3).map(|number| format!("GPU-{number}")).collect();
    let uuids: Vec<&str> = uuids.iter().map(String::as_str).collect();
    let mut source = fake.open();
    source.adopt(listing(&uuids));
    assert_eq!(source.gpus.len(), MOST_GPUS);
    assert!(
        errors(&Energy {
            zones: Vec::new(),
            errors: source.errors.rows()
        })
        .contains(&(String::new(), ErrorReason::Implausible, 4))
    );
}

#[test]
fn a_gpu_that_changes_its_way_of_counting_keeps_its_total_and_pays_nothing_twice() {
    let mut gpu = Gpu::new(&member("GPU-a"), 0);
    let mut total = |meter, milliseconds| {
        let look = Look {
            meter,
            load: Load::Unknown,
            faults: Vec::new(),
        };
        gpu.take(look, at(milliseconds).into())
            .0
            .unwrap()
            .total
            .as_micro()
    };
    assert_eq!(total(Meter::Energy(1_000), 0), 0);
    assert_eq!(total(Meter::Energy(3_000), 1_000), 2_000_000);
    // The step between both is nobody's: neither knows it.
    assert_eq!(total(Meter::Power(10_000), 2_000), 2_000_000);
    assert_eq!(total(Meter::Power(10_000), 3_000), 12_000_000);
    assert_eq!(total(Meter::Energy(40_000), 4_000), 12_000_000);
    assert_eq!(total(Meter::Energy(41_000), 5_000), 13_000_000);
}

// --- rates ---

fn sample(pid: u32, at: u64, shaders: u32) -> Sample {
    Sample {
        pid,
        at,
        engines: [shaders, 0, 0, 0],
    }
}

fn whole(busy: u32, samples: &[Sample], running: &[u32]) -> Load {
    Load::Whole(Whole {
        busy: Some(busy),
        periods: Vec::new(),
        samples: Some(samples.to_vec()),
        running: running.to_vec(),
    })
}

/// The device and its users, in percent.
type Percent = (u32, Vec<(u32, u32)>);

fn percent(rates: &Rates) -> Percent {
    let users = rates.users.iter().map(|(pid, rate)| (*pid, rate / 10_000));
    (rates.busy / 10_000, users.collect())
}

/// A tracker that has seen a sample of moment 1,000,000 at 0 s.
fn tracker() -> Tracker {
    let mut tracker = Tracker::default();
    tracker.rates(&whole(50, &[sample(1, 1_000_000, 50)], &[1]), at(0));
    tracker
}

#[test]
fn samples_become_rates() {
    let engines = |engines| Sample {
        pid: 1,
        at: 2_600_000,
        engines,
    };
    let cases: [(&str, u32, Vec<Sample>, Percent, usize); 12] = [
        ("one", 40, vec![sample(1, 2_600_000, 30)], (40, vec![(1, 30)]), 0),
        (
            "the busiest engine",
            40,
            vec![engines([1, 2, 33, 4])],
            (40, vec![(1, 33)]),
            0,
        ),
        (
            "memory is one",
            40,
            vec![engines([1, 35, 3, 4])],
            (40, vec![(1, 35)]),
            0,
        ),
        (
            "several of one process are averaged",
            40,
            vec![sample(1, 2_600_000, 30), sample(1, 2_650_000, 10)],
            (40, vec![(1, 20)]),
            0,
        ),
        (
            "a device is at least as busy as its users",
            10,
            vec![sample(1, 2_600_000, 30), sample(2, 2_600_000, 30)],
            (60, vec![(1, 30), (2, 30)]),
            0,
        ),
        (
            "users are no more than a device",
            100,
            vec![sample(1, 2_600_000, 90), sample(2, 2_600_000, 90)],
            (100, vec![(1, 50), (2, 50)]),
            0,
        ),
        (
            "old ones are passed over",
            40,
            vec![sample(1, 1_000_000, 30)],
            (40, vec![(1, 0)]),
            0,
        ),
        (
            "without a moment",
            40,
            vec![sample(1, 0, 30)],
            (40, vec![(1, 0)]),
            1,
        ),
        (
            "more than everything",
            40,
            vec![sample(1, 2_600_000, 101)],
            (40, vec![(1, 0)]),
            1,
        ),
        (
            "garbage beside a sample",
            40,
            vec![engines([30, 0, 0, u32::MAX]), sample(1, 2_600_001, 20)],
            (40, vec![(1, 20)]),
            1,
        ),
        (
            "nobody",
            10,
            vec![sample(0, 2_600_000, 30)],
            (30, vec![(1, 0)]),
            0,
        ),
        (
            "a device that tells nonsense",
            4_000,
            vec![sample(1, 2_600_000, 30)],
            (30, vec![(1, 30)]),
            0,
        ),
    ];
    for (name, busy, samples, expected, expected_refused) in cases {
        let mut tracker = tracker();
        // Two seconds on, so that nothing holds any more.
        tracker.rates(&whole(0, &[], &[]), at(2_500));
        let (rates, refused) = tracker.rates(&whole(busy, &samples, &[1]), at(2_600));
        let got = (percent(&rates), refused);
        assert_eq!(got, (expected, expected_refused), "{name}");
    }
}

#[test]
fn a_device_is_as_busy_as_the_mean_of_its_periods_since_the_last_read() {
    let mut tracker = Tracker::default();
    let mut busy = |latest, periods: &[(u64, u32)], now| {
        let load = Load::Whole(Whole {
            busy: Some(latest),
            periods: periods.to_vec(),
            samples: Some(Vec::new()),
            running: Vec::new(),
        });
        let rates = tracker.rates(&load, at(now)).0;
        (percent(&rates).0, tracker.since().device)
    };
    // The first ones are of any age: only the latest period counts.
    assert_eq!(busy(20, &[(1, 100), (5, 100)], 0), (20, 5));
    // A load that comes and goes; the latest period saw nothing of it. One more is no percentage, one is old.
    assert_eq!(
        busy(0, &[(4, 90), (10, 100), (15, 60), (20, 200), (25, 20)], 1_000),
        (60, 25)
    );
    // Nothing new: it holds, and not for long.
    assert_eq!(busy(0, &[], 3_000), (60, 25));
    assert_eq!(busy(7, &[], 3_001), (7, 0));
}

#[test]
fn rates_hold_between_samples_for_the_living_on_a_busy_device_and_not_for_long() {
    let mut tracker = tracker();
    let samples = [sample(1, 2_000_000, 30), sample(2, 2_000_000, 20)];
    tracker.rates(&whole(50, &samples, &[1, 2]), at(1_000));
    let mut rates =
        |busy, running: &[u32], now| percent(&tracker.rates(&whole(busy, &[], running), at(now)).0);
    assert_eq!(rates(50, &[1, 2], 1_100), (50, vec![(1, 30), (2, 20)]));
    assert_eq!(rates(50, &[2], 1_200), (50, vec![(2, 20)]));
    assert_eq!(rates(0, &[1, 2], 1_300), (0, vec![(1, 0), (2, 0)]));
    assert_eq!(rates(50, &[1, 2], 3_000), (50, vec![(1, 30), (2, 20)]));
    assert_eq!(rates(50, &[1, 2], 3_001), (50, vec![(1, 0), (2, 0)]));
}

#[test]
fn a_driver_that_had_no_samples_at_first_is_believed_at_once() {
    let mut tracker = Tracker::default();
    assert_eq!(tracker.since().processes, 0);
    tracker.rates(&whole(0, &[], &[]), at(0));
    assert_eq!(tracker.since().processes, 0);
    let (rates, _) = tracker.rates(&whole(30, &[sample(1, 5, 30)], &[1]), at(1_000));
    assert_eq!(percent(&rates), (30, vec![(1, 30)]));
    assert_eq!(tracker.since().processes, 5);
}

#[test]
fn an_hour_of_rest_is_not_part_of_the_next_average() {
    let mut tracker = tracker();
    assert_eq!(tracker.since().processes, 1_000_000);
    // A sample may be a period in the making.
    for (now, since) in [
        (500, 1_000_000),
        (1_000, 1_000_000),
        (1_500, 1_500_000),
        (3_600_000, 3_600_000_000),
    ] {
        tracker.rates(&whole(0, &[], &[]), at(now));
        assert_eq!(tracker.since().processes, since, "{now}");
    }
    // A driver that answers is asked from its newest sample on, however long ago the last read was.
    tracker.rates(&whole(30, &[sample(1, 3_600_900_000, 30)], &[1]), at(3_601_000));
    tracker.rates(&whole(30, &[sample(1, 3_660_900_000, 30)], &[1]), at(3_661_000));
    assert_eq!(tracker.since().processes, 3_660_900_000);
}

#[test]
fn a_driver_whose_clock_was_set_back_is_asked_from_the_beginning() {
    let mut tracker = tracker();
    let back = whole(50, &[sample(1, 500_000, 50)], &[1]);
    for (now, since) in [
        (1_000, 1_000_000),
        (2_500, 2_500_000),
        (4_500, 4_500_000),
        (4_501, 0),
    ] {
        tracker.rates(&back, at(now));
        assert_eq!(tracker.since().processes, since, "{now}");
    }
    // All it has only says where to begin.
    assert_eq!(percent(&tracker.rates(&back, at(5_000)).0), (50, vec![(1, 0)]));
    let next = whole(50, &[sample(1, 1_500_000, 50)], &[1]);
    assert_eq!(percent(&tracker.rates(&next, at(6_000)).0), (50, vec![(1, 50)]));
}

#[test]
fn processes_that_cannot_be_told_apart_share_what_is_known_of_the_device() {
    let load = |busy, running: &[u32]| {
        Load::Whole(Whole {
            busy,
            periods: Vec::new(),
            samples: None,
            running: running.to_vec(),
        })
    };
    let rates = |load: &Load| percent(&Tracker::default().rates(load, at(0)).0);
    assert_eq!(rates(&load(Some(60), &[1, 2, 2])), (60, vec![(1, 30), (2, 30)]));
    assert_eq!(rates(&load(Some(60), &[])), (60, vec![]));
    // Nothing is known: it is in use while somebody is there.
    assert_eq!(rates(&load(None, &[1, 2])), (100, vec![(1, 50), (2, 50)]));
    assert_eq!(rates(&load(None, &[])), (0, vec![]));
}

#[test]
fn instances_that_claim_more_than_the_gpu_are_cut_to_it() {
    let instance = |slices, of, active, running: &[u32]| Instance {
        slices,
        of,
        active,
        running: running.to_vec(),
    };
    let rates = |instances: &[Instance]| {
        let (rates, _) = Tracker::default().rates(&Load::Sliced(instances.to_vec()), at(0));
        percent(&rates)
    };
    assert_eq!(
        rates(&[instance(9, 4, Some(u32::MAX), &[1])]),
        (100, vec![(1, 100)])
    );
    assert_eq!(rates(&[instance(4, 0, None, &[1])]), (0, vec![]));
    let twice = [instance(4, 4, None, &[1]), instance(4, 4, None, &[2])];
    assert_eq!(rates(&twice), (100, vec![(1, 50), (2, 50)]));
    let boast = [instance(8, 4, None, &[1]), instance(4, 4, None, &[2])];
    assert_eq!(rates(&boast), (100, vec![(1, 50), (2, 50)]));
    // Measured use without a known process, and one process in two instances.
    let odd = [
        instance(2, 4, Some(WHOLE / 2), &[]),
        instance(1, 4, None, &[1]),
        instance(1, 4, None, &[1]),
    ];
    assert_eq!(rates(&odd), (75, vec![(1, 50)]));
}

#[test]
fn processes_beyond_the_bound_are_users_without_a_name() {
    let mut gpu = Gpu::new(&member("GPU-a"), 0);
    let running: Vec<u32> = (1..=1_100).collect();
    let load = Load::Whole(Whole {
        busy: Some(100),
        periods: Vec::new(),
        samples: None,
        running,
    });
    gpu.take(counted(0, load.clone()), at(0).into());
    let (reading, complaints) = gpu.take(counted(0, load), at(1_000).into());
    let device = reading.unwrap().device.unwrap();
    assert_eq!(device.users.len(), 1_024);
    assert_eq!(device.busy.unwrap().as_nanos(), 1_000_000_000);
    assert_eq!(complaints.len(), 1);
}

#[test]
fn use_that_is_not_known_is_not_told_as_rest_and_goes_on_where_it_stopped() {
    let mut gpu = Gpu::new(&member("GPU-a"), 0);
    let shared = || {
        Load::Whole(Whole {
            busy: Some(100),
            periods: Vec::new(),
            samples: None,
            running: vec![1],
        })
    };
    let mut told = |load, seconds: u64| {
        let (reading, _) = gpu.take(counted(0, load), at(seconds * 1_000).into());
        let device = reading.unwrap().device?;
        Some((
            device.busy?.as_nanos() / 1_000_000_000,
            users(&device)[&1] / 1_000_000_000,
        ))
    };
    assert_eq!(told(shared(), 0), Some((0, 0)));
    assert_eq!(told(shared(), 5), Some((5, 5)));
    assert_eq!(told(Load::Unknown, 6), None);
    assert_eq!(told(Load::Unknown, 7), None);
    assert_eq!(told(shared(), 8), Some((6, 6)));
}

#[test]
fn a_board_that_tells_no_limit_or_none_at_all_is_believed_up_to_4000_watts() {
    for limit in [None, Some(Microwatts::from_micro(0))] {
        let mut gpu = Gpu::new(
            &Member {
                limit,
                ..member("GPU-a")
            },
            0,
        );
        let mut total = |millijoules, seconds: u64| {
            let (reading, _) = gpu.take(counted(millijoules, Load::Unknown), at(seconds * 1_000).into());
            reading.unwrap().total.as_micro()
        };
        assert_eq!(total(0, 0), 0);
        assert_eq!(total(10 * 3_900_000, 10), 10 * 3_900_000_000);
        assert_eq!(total(10 * 3_900_000 + 10 * 4_300_000, 20), 10 * 3_900_000_000);
    }
}

#[test]
fn a_process_that_left_and_came_again_begins_at_zero() {
    let mut gpu = Gpu::new(&member("GPU-a"), 0);
    let load = |running: &[u32]| {
        Load::Whole(Whole {
            busy: Some(100),
            periods: Vec::new(),
            samples: None,
            running: running.to_vec(),
        })
    };
    let mut told = |running: &[u32], seconds: u64| {
        let (reading, _) = gpu.take(counted(0, load(running)), at(seconds * 1_000).into());
        let device = reading.unwrap().device.unwrap();
        users(&device)
            .into_iter()
            .map(|(pid, used)| (pid, used / 1_000_000_000))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&[1], 0), [(1, 0)]);
    assert_eq!(told(&[1], 5), [(1, 5)]);
    assert_eq!(told(&[2], 6), [(2, 1)]);
    assert_eq!(told(&[1], 8), [(1, 2)]);
}

#[test]
fn use_in_a_gap_that_is_too_long_is_not_known() {
    let mut gpu = Gpu::new(&member("GPU-a"), 0);
    let load = || {
        Load::Whole(Whole {
            busy: Some(100),
            periods: Vec::new(),
            samples: None,
            running: vec![1],
        })
    };
    let mut used = |seconds: u64| {
        let (reading, _) = gpu.take(counted(0, load()), at(seconds * 1_000).into());
        reading.unwrap().device.unwrap().busy.unwrap().as_nanos() / 1_000_000_000
    };
    assert_eq!([used(0), used(180), used(361), used(362)], [0, 180, 180, 181]);
}

// --- whatever comes ---

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let percent = prop_oneof![4 => 0_u32..=100, 1 => any::<u32>()];
    let moment = prop_oneof![8 => 0_u64..200_000_000, 1 => any::<u64>()];
    let sample = (0_u32..6, moment, prop::array::uniform4(percent));
    prop::collection::vec(
        sample.prop_map(|(pid, at, engines)| Sample { pid, at, engines }),
        0..8,
    )
}

fn loads() -> impl Strategy<Value = Load> {
    let running = || prop::collection::vec(0_u32..6, 0..5);
    let busy = prop::option::of(prop_oneof![4 => 0_u32..=100, 1 => any::<u32>()]);
    let periods = prop::collection::vec(
        (
            0_u64..200_000_000,
            prop_oneof![4 => 0_u32..=100, 1 => any::<u32>()],
        ),
        0..6,
    );
    let whole = (busy, periods, prop::option::of(samples()), running());
    let small = || prop_oneof![4 => 0_u32..8, 1 => any::<u32>()];
    let instance = (small(), small(), prop::option::of(any::<u32>()), running());
    let instance = instance.prop_map(|(slices, of, active, running)| Instance {
        slices,
        of,
        active,
        running,
    });
    prop_oneof![
        6 => whole.prop_map(|(busy, periods, samples, running)| Load::Whole(Whole { busy, periods, samples, running })),
        2 => prop::collection::vec(instance, 0..8).prop_map(Load::Sliced),
        1 => Just(Load::Unknown),
    ]
}

/// A counter that mostly moves by what a GPU can use, and sometimes by anything, to any value or from the start.
#[derive(Clone, Copy, Debug)]
enum Move {
    By(u64),
    To(u64),
    Power(u32),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0_u64..3_000_000).prop_map(Move::By),
        1 => any::<u64>().prop_map(Move::To),
        1 => (0_u64..1_000).prop_map(Move::To),
        1 => any::<u32>().prop_map(Move::Power),
    ]
}

fn users(device: &DeviceUse) -> BTreeMap<u32, u64> {
    device
        .users
        .iter()
        .map(|user| (user.pid, user.used.as_nanos()))
        .collect()
}

proptest! {
    #[test]
    fn rates_never_exceed_the_device(steps in prop::collection::vec((loads(), 0_u64..90_000), 1..40)) {
        let mut tracker = Tracker::default();
        let mut now = 0;
        for (load, step) in steps {
            now += step;
            let (rates, _) = tracker.rates(&load, at(now));
            let sum: u64 = rates.users.values().copied().map(u64::from).sum();
            prop_assert!(sum <= u64::from(rates.busy) && rates.busy <= WHOLE, "{sum} {rates:?}");
            prop_assert!(!rates.users.contains_key(&0));
        }
    }

    #[test]
    fn no_total_ever_falls_and_nobody_uses_more_than_the_time_that_passed(
        steps in prop::collection::vec((moves(), loads(), 0_u64..300_000, prop::bool::weighted(0.1)), 1..40),
    ) {
        let mut gpu = Gpu::new(&member("GPU-a"), 0);
        let (mut now, mut millijoules) = (0, 0_u64);
        let mut told: Option<(u64, DeviceUse)> = None;
        let mut last_read: Option<u64> = None;
        for (moved, load, step, restarted) in steps {
            now += step;
            if restarted {
                gpu.found_again(&member("GPU-a"), 0);
            }
            let meter = match moved {
                Move::By(by) => { millijoules = millijoules.saturating_add(by); Meter::Energy(millijoules) }
                Move::To(to) => { millijoules = to; Meter::Energy(to) }
                Move::Power(milliwatts) => Meter::Power(milliwatts),
            };
            let elapsed = last_read.map_or(0, |last| (now - last) * 1_000_000);
            last_read = Some(now);
            let (reading, _) = gpu.take(Look { meter, load, faults: Vec::new() }, at(now).into());
            let Some(reading) = reading else {
                // What was used without a reading comes with the next one; not compared with its time here.
                told = None;
                continue;
            };
            let Some(device) = reading.device else {
                // Neither rest nor use: the next reading goes on from here.
                told = None;
                continue;
            };
            if let Some((total, before)) = told {
                prop_assert!(reading.total.as_micro() >= total);
                let (then, after) = (users(&before), users(&device));
                let stepped: u64 = after.iter().map(|(pid, used)| {
                    used.checked_sub(then.get(pid).copied().unwrap_or(0)).expect("a user's total fell")
                }).sum();
                let busy = device.busy.unwrap().as_nanos() - before.busy.unwrap().as_nanos();
                prop_assert!(stepped <= busy && busy <= elapsed, "{stepped} {busy} {elapsed}");
            }
            told = Some((reading.total.as_micro(), device));
        }
    }

    #[test]
    fn a_counter_that_restarts_pays_all_but_the_interval_of_each_restart(
        steps in prop::collection::vec((0_u64..500_000, prop::bool::weighted(0.2)), 1..60),
    ) {
        // At most 500 W, a second apart, so that every step is plausible.
        let mut gpu = Gpu::new(&member("GPU-a"), 0);
        let (mut counter, mut expected) = (10_000_000_u64, 0_u64);
        gpu.take(counted(counter, Load::Unknown), at(0).into());
        for (second, (by, restarts)) in (1_u64..).zip(steps) {
            let from = counter;
            counter = if restarts { by } else { counter + by };
            if counter >= from {
                expected += counter - from;
            }
            let (reading, complaints) = gpu.take(counted(counter, Load::Unknown), at(second * 1_000).into());
            prop_assert_eq!(reading.unwrap().total.as_micro(), expected * 1_000);
            prop_assert_eq!(complaints.len(), usize::from(counter < from));
        }
    }
}
