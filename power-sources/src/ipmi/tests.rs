// SPDX-License-Identifier: Apache-2.0
//! Against scripted controllers. That the kernel's driver and a controller behind it are understood is tried in a guest,
//! see integration-tests/guest.

use super::*;
use crate::lasting::Lasting;
use crate::testing::{ask, at, errors, totals};
use attribution::model::Microjoules;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

/// An answer as it comes: `watts` now, 100 W, 900 W and 300 W as statistics over an hour.
pub(super) fn answer(watts: u16, state: u8) -> Vec<u8> {
    let [low, high] = watts.to_le_bytes();
    let mut bytes = vec![0x00, 0xdc, low, high, 100, 0, 0x84, 0x03, 0x2c, 0x01];
    bytes.extend_from_slice(&1_700_000_000_u32.to_le_bytes());
    bytes.extend_from_slice(&3_600_000_u32.to_le_bytes());
    bytes.push(state);
    bytes
}

/// What a controller does when it is asked.
enum Turn {
    Answers(Vec<u8>),
    /// The kernel refuses with an errno: 11 is "no answer in time".
    Fails(i32),
}

/// What was seen of the source.
#[derive(Default)]
struct Seen {
    opened: usize,
    asked: Vec<(u8, u8, Vec<u8>)>,
}

#[derive(Clone, Default)]
struct Script {
    seen: Arc<Mutex<Seen>>,
    turns: Arc<Mutex<Vec<Turn>>>,
    refuses_to_open: Arc<Mutex<Option<i32>>>,
}

struct Line(Script);

impl Script {
    fn with(turns: impl IntoIterator<Item = Turn>) -> Self {
        let script = Self::default();
        script.then(turns);
        script
    }

    fn then(&self, turns: impl IntoIterator<Item = Turn>) {
        let mut all = self.turns.lock().unwrap();
        all.extend(turns);
    }

    fn opened(&self) -> usize {
        self.seen.lock().unwrap().opened
    }
}

impl Driver for Script {
    fn open(&self) -> io::Result<Box<dyn Bmc>> {
        if let Some(number) = *self.refuses_to_open.lock().unwrap() {
            return Err(io::Error::from_raw_os_error(number));
        }
        self.seen.lock().unwrap().opened += 1;
        Ok(Box::new(Line(self.clone())))
    }
}

impl Bmc for Line {
    fn exchange(&mut self, netfn: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>> {
        self.0
            .seen
            .lock()
            .unwrap()
            .asked
            .push((netfn, command, data.to_vec()));
        match self.0.turns.lock().unwrap().remove(0) {
            Turn::Answers(bytes) => Ok(bytes),
            Turn::Fails(number) => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

fn watts(watts: u16) -> Turn {
    Turn::Answers(answer(watts, 0x40))
}

fn meter(script: &Script) -> Meter {
    Meter::new(IpmiConfig::default(), Box::new(script.clone()))
}

fn why_not(script: &Script, wanted: &[Component]) -> String {
    start(
        IpmiConfig::default(),
        Box::new(script.clone()),
        &ask(&json!(null), wanted),
    )
    .err()
    .unwrap()
}

fn latest(energy: &Energy) -> &str {
    energy.errors.last().map_or("", |error| &error.latest)
}

fn joules(energy: &Energy) -> u64 {
    energy.zones[0].total.as_micro() / 1_000_000
}

// --- what is asked and what is counted ---

#[test]
fn the_question_is_the_power_reading_of_dcmi_on_one_line() {
    let script = Script::with([watts(100), watts(100)]);
    let mut meter = meter(&script);
    meter.read(at(0));
    meter.read(at(5));
    let question = (0x2c, 0x02, vec![0xdc, 0x01, 0x00, 0x00]);
    assert_eq!(script.seen.lock().unwrap().asked, [question.clone(), question]);
    assert_eq!(script.opened(), 1);
}

#[test]
fn watts_become_joules_over_the_measured_time() {
    // read at   0 s    5 s    10 s    20 s
    // watts     100    100    300     200
    // joules           500    1000    2500     (trapezoid)
    let script = Script::with([watts(100), watts(100), watts(300), watts(200)]);
    let mut meter = meter(&script);
    for (second, expected) in [(0, 0), (5, 500), (10, 1_500), (20, 4_000)] {
        let energy = meter.read(at(second));
        assert_eq!(
            totals(&energy),
            [("platform/ipmi0".to_owned(), expected * 1_000_000)]
        );
        assert_eq!(energy.zones[0].at, at(second));
        assert_eq!(energy.zones[0].provenance, Provenance::Integrated);
        assert_eq!(energy.errors, []);
    }
}

#[test]
fn a_gap_is_a_straight_line_for_five_minutes_and_beyond_that_not_counted_and_told() {
    let script = Script::with([watts(100), watts(100), watts(100), watts(100)]);
    let mut meter = meter(&script);
    meter.read(at(0));
    assert_eq!(joules(&meter.read(at(300))), 30_000);
    let energy = meter.read(at(601));
    assert_eq!(joules(&energy), 30_000);
    assert_eq!(
        errors(&energy),
        [("platform/ipmi0".to_owned(), ErrorReason::Timeout, 1)]
    );
    assert!(
        latest(&energy).contains("/dev/ipmi0: no reading for 5m 1s; the gap is not counted"),
        "{}",
        latest(&energy)
    );
    assert_eq!(joules(&meter.read(at(606))), 30_500);
}

// --- what fails costs itself ---

#[test]
fn after_any_failure_of_the_line_it_is_opened_again() {
    // A late answer lies in the queue of the line that asked for it.
    let script = Script::with([
        watts(100),
        Turn::Fails(11),
        watts(100),
        Turn::Fails(5),
        watts(100),
    ]);
    let mut meter = meter(&script);
    meter.read(at(0));
    let energy = meter.read(at(5));
    assert_eq!(totals(&energy), []);
    assert_eq!(
        errors(&energy),
        [("platform/ipmi0".to_owned(), ErrorReason::Timeout, 1)]
    );
    assert!(
        latest(&energy).contains("/dev/ipmi0: no answer within 2s"),
        "{}",
        latest(&energy)
    );
    assert_eq!(script.opened(), 1);
    // The gap is paid when it answers again.
    assert_eq!(joules(&meter.read(at(10))), 1_000);
    assert_eq!(script.opened(), 2);
    let energy = meter.read(at(15));
    assert_eq!(
        errors(&energy).last(),
        Some(&("platform/ipmi0".to_owned(), ErrorReason::Io, 1))
    );
    assert_eq!(joules(&meter.read(at(20))), 2_000);
    assert_eq!(script.opened(), 3);
}

#[test]
fn an_answer_that_is_no_reading_keeps_the_line_and_is_never_counted() {
    let bad = || {
        [
            answer(0, 0x40),
            answer(0xffff, 0x40),
            answer(30_000, 0x40),
            answer(300, 0),
            vec![0xc0],
        ]
        .map(Turn::Answers)
    };
    let script = Script::with([watts(100)]);
    script.then(bad());
    script.then([watts(100)]);
    let mut meter = meter(&script);
    meter.read(at(0));
    // Tries at 10, 20 (1 s later), 30, 40 and 50 s, each beyond the wait after the last.
    for second in [10, 20, 30, 40, 50] {
        assert_eq!(meter.read(at(second)).zones, []);
    }
    let energy = meter.read(at(70));
    assert_eq!(joules(&energy), 7_000);
    assert_eq!(script.opened(), 1);
    assert_eq!(
        errors(&energy)
            .iter()
            .map(|(_, reason, count)| (*reason, *count))
            .collect::<Vec<_>>(),
        [
            (ErrorReason::Implausible, 3),
            (ErrorReason::Gone, 1),
            (ErrorReason::Io, 1)
        ]
    );
}

#[test]
fn a_controller_that_stays_away_is_asked_less_and_less_often() {
    let script = Script::with([watts(100)]);
    let mut meter = meter(&script);
    meter.read(at(0));
    script.then((0..6).map(|_| Turn::Fails(11)));
    script.then([watts(100)]);
    // Tries at 5, 10, 15, 20, 30 and 50 s of a reading every 5 s: waits of 1, 2, 4, 8, 16 and 32 s.
    for second in (5..85).step_by(5) {
        assert_eq!(meter.read(at(second)).zones, [], "{second}");
    }
    assert_eq!(script.seen.lock().unwrap().asked.len(), 7);
    assert_eq!(joules(&meter.read(at(85))), 8_500);
}

// --- opening ---

#[test]
fn a_source_that_opened_has_a_reading_and_answers_at_once() {
    let script = Script::with([watts(100)]);
    let section = json!({ "interval": "5m" });
    let config: IpmiConfig = serde_json::from_value(section.clone()).unwrap();
    let mut source = start(config, Box::new(script.clone()), &ask(&section, COMPONENTS)).unwrap();
    assert_eq!(source.id(), SourceId("ipmi"));
    assert_eq!(source.components(), COMPONENTS);
    assert_eq!(source.detail(), "/dev/ipmi0: DCMI power reading every 5m");
    for second in 0..10 {
        let energy = source.read(at(second));
        assert_eq!(totals(&energy), [("platform/ipmi0".to_owned(), 0)]);
        assert_eq!(energy.zones[0].at, at(0));
    }
    // None of these was a question.
    assert_eq!(script.seen.lock().unwrap().asked.len(), 1);
}

#[test]
fn absence_has_a_reason_and_says_what_to_do() {
    let why = |turn| why_not(&Script::with([turn]), COMPONENTS);
    let none = why(Turn::Answers(vec![0xc1]));
    assert!(
        none.starts_with("/dev/ipmi0: completion code 0xc1: this controller has no DCMI"),
        "{none}"
    );
    assert!(none.ends_with("use `redfish`"), "{none}");
    assert!(why(Turn::Answers(answer(300, 0))).contains("power is not being measured; switch"));
    assert!(why(Turn::Fails(11)).contains("no answer within 2s"));
    let script = Script::default();
    *script.refuses_to_open.lock().unwrap() = Some(2);
    assert!(why_not(&script, COMPONENTS).ends_with("; try `modprobe -a ipmi_si ipmi_devintf`"));
    *script.refuses_to_open.lock().unwrap() = Some(13);
    assert!(why_not(&script, COMPONENTS).contains("needs CAP_DAC_READ_SEARCH or root"));
    // Nobody is asked for what nobody wants.
    let script = Script::default();
    assert!(
        why_not(&script, &[Component::Package]).ends_with("none of the wanted components, only platform")
    );
    assert_eq!(script.opened(), 0);
}

#[test]
fn a_file_that_is_no_controller_is_told_by_the_real_driver() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let section = json!({ "device": file.path() });
    let Opened::Absent { reason } = open(&ask(&section, COMPONENTS)).unwrap() else {
        panic!("opened a plain file")
    };
    assert!(reason.starts_with(&file.path().display().to_string()), "{reason}");
    assert!(reason.contains("ioctl") || reason.contains("ENOTTY"), "{reason}");
    let missing = json!({ "device": "/nonexistent/ipmi0" });
    let Opened::Absent { reason } = open(&ask(&missing, COMPONENTS)).unwrap() else {
        panic!("opened nothing")
    };
    assert!(
        reason.contains("/nonexistent/ipmi0: ") && reason.contains("modprobe"),
        "{reason}"
    );
}

#[test]
fn the_section_is_checked() {
    let message = |section| match open(&ask(&section, COMPONENTS)) {
        Err(error) => format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        ),
        Ok(_) => panic!("accepted"),
    };
    assert!(message(json!({ "device": "" })).contains("`sources.ipmi.device` is empty"));
    for interval in ["999ms", "5m 1s"] {
        let words = message(json!({ "interval": interval }));
        assert!(
            words.contains("`sources.ipmi.interval` is ") && words.contains("allowed are 1s to 5m"),
            "{words}"
        );
    }
    assert!(message(json!({ "interval": "often" })).contains("expected one such as"));
    for most in [0, 65_535] {
        assert!(message(json!({ "max_watts": most })).contains("allowed is 1 to 65534"));
    }
    let default = json!({ "device": "/dev/ipmi0", "interval": "5s", "max_watts": 20_000 });
    assert_eq!(default_section(), default);
}

// --- the thread ---

/// A controller that says when it is asked, and answers when it is told to.
struct Slow {
    asked: Sender<()>,
    answers: Arc<Mutex<Receiver<Vec<u8>>>>,
}

impl Driver for Slow {
    fn open(&self) -> io::Result<Box<dyn Bmc>> {
        let (asked, answers) = (self.asked.clone(), Arc::clone(&self.answers));
        Ok(Box::new(Self { asked, answers }))
    }
}

impl Bmc for Slow {
    fn exchange(&mut self, _: u8, _: u8, _: &[u8]) -> io::Result<Vec<u8>> {
        self.asked.send(()).unwrap();
        let answer = self.answers.lock().unwrap().recv();
        answer.map_err(io::Error::other)
    }
}

#[test]
fn the_tick_never_waits_for_a_controller_that_does_not_answer() {
    let (tell, answers) = mpsc::channel();
    let (asked, questions) = mpsc::channel();
    let slow = Slow {
        asked,
        answers: Arc::new(Mutex::new(answers)),
    };
    tell.send(answer(100, 0x40)).unwrap();
    let config = IpmiConfig {
        interval: Lasting(Duration::from_millis(1)),
        ..IpmiConfig::default()
    };
    let section = json!(null);
    let mut source = start(config, Box::new(slow), &ask(&section, COMPONENTS)).unwrap();
    let patience = Duration::from_secs(20);
    questions.recv_timeout(patience).unwrap();
    // The second question hangs; every tick gets the first answer, until that is too old to be an answer.
    questions.recv_timeout(patience).unwrap();
    for second in 0..=6 {
        assert_eq!(source.read(at(second)).zones[0].total, Microjoules::ZERO);
    }
    for second in 7..100 {
        let energy = source.read(at(second));
        assert_eq!(energy.zones, []);
        assert_eq!(errors(&energy), [(String::new(), ErrorReason::Timeout, 1)]);
    }
    drop(tell);
}

proptest! {
    #[test]
    fn whatever_a_controller_says_the_total_never_falls_nor_exceeds_the_highest_believed(
        turns in prop::collection::vec(
            prop_oneof![
                any::<u16>().prop_map(watts_of),
                prop::collection::vec(any::<u8>(), 0..30).prop_map(Some),
                Just(None),
            ],
            1..40,
        ),
    ) {
        let script = Script::default();
        let mut meter = meter(&script);
        let mut before = Microjoules::ZERO;
        for (second, turn) in (0_u64..).step_by(70).zip(turns) {
            script.then([turn.map_or(Turn::Fails(11), Turn::Answers)]);
            if let Some(reading) = meter.read(at(second)).zones.first() {
                prop_assert!(reading.total >= before);
                prop_assert!(reading.total <= Microwatts::from_watts(20_000).energy_over(Duration::from_secs(second)));
                before = reading.total;
            }
        }
    }
}

fn watts_of(watts: u16) -> Option<Vec<u8>> {
    Some(answer(watts, 0x40))
}
