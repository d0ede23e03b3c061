// SPDX-License-Identifier: Apache-2.0
//! What holds for every BMC, for `integration-tests/fuzz`. In no build of the daemon.

use super::access::Mode;
use super::config::Preference;
use super::failure::{Failure, Kind};
use super::figure::{self, EnergyUnit, cut, is_fine};
use super::machine::Machine;
use super::policy::{Outcome, Policy, Step};
use attribution::model::{Microwatts, MonotonicNanos};
use serde_json::Value;
use std::time::Duration;

const MOST: Microwatts = Microwatts::from_watts(20_000);
/// Longer than a walk of the largest tree that is looked at.
const STEPS: usize = 4_096;

/// Documents, one a line, that are answered in their order and then again: whatever they are, an hour of asking has an end,
/// no wait ends before it begins, and no total falls or outgrows what may be believed.
pub fn tree(bytes: &[u8]) {
    let documents: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let policy = Policy {
        chassis: Vec::new(),
        reading: Preference::Auto,
        most: MOST,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        mode: Mode::Open,
        first_wait: Duration::from_secs(1),
        first_refusal: Duration::from_secs(300),
    };
    let mut machine = Machine::new(policy, 1);
    let mut answers = documents.iter().cycle();
    let (mut now, mut before) = (MonotonicNanos::ZERO, 0);
    for _ in 0..STEPS {
        if now.since(MonotonicNanos::ZERO) > Duration::from_secs(3_600) {
            break;
        }
        let step = machine.next(now);
        if let Step::Wait(until) = step {
            assert!(until > now, "a wait that ends before it begins");
            now = until;
            continue;
        }
        let began = now;
        now = began.after(Duration::from_millis(100));
        let outcome = match (&step, answers.next()) {
            (Step::Get(path), Some(document)) => {
                assert!(path.len() <= 256, "a path of {} bytes", path.len());
                match document.is_empty() {
                    true => Outcome::Failed(Failure::new(Kind::Missing, "404")),
                    false => Outcome::Body(document.to_vec()),
                }
            }
            (Step::Credentials, _) => Outcome::Credentials { changed: false },
            _ => Outcome::LoggedIn,
        };
        machine.take(&step, (began, now).into(), outcome);
        let readings = machine.readings();
        assert!(readings.len() <= 64, "{} chassis", readings.len());
        let total = readings.iter().map(|(reading, _)| reading.total.as_micro()).max();
        let total = total.unwrap_or(before);
        // Counters have no limit of their own but the one on power; a chassis may go, and its total with it.
        let most = MOST.energy_over(now.since(MonotonicNanos::ZERO)).as_micro();
        assert!(total <= most, "{total} of {most} uJ");
        before = total;
    }
    machine.errors().iter().for_each(|error| {
        assert!(
            error.latest.len() <= 2_048,
            "words of {} bytes",
            error.latest.len()
        );
        assert!(!error.latest.chars().any(char::is_control), "{:?}", error.latest);
    });
}

/// One figure: what is believed is no more than may be, and the same as text.
pub fn value(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    if let Ok(power) = figure::power(Some(&value), MOST) {
        assert!(power <= MOST);
    }
    for unit in [EnergyUnit::Joules, EnergyUnit::KilowattHours] {
        let fine = is_fine(&value, unit);
        if let Ok(energy) = figure::energy(Some(&value), unit) {
            assert!(energy.as_micro() < 1 << 63);
        } else {
            assert!(!fine || value.is_number() || value.is_string());
        }
    }
    let shown = cut(&value.to_string());
    assert!(shown.len() <= 40 * 10 && !shown.chars().any(char::is_control));
}
