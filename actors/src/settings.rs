// SPDX-License-Identifier: Apache-2.0
//! The configuration sections that belong to the daemon as a whole. Sources and exporter keep theirs beside themselves.

mod split;

pub use split::{Smt, Split};

use attribution::engine::{FloorPolicy, IdleShare};
use attribution::model::{Component, Microwatts};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The root: the tick and the state directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Root {
    /// Period of the ticker.
    pub tick: TickPeriod,
    /// What is kept from run to run.
    pub state: State,
}

/// `state`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// The folder for it; it is made where it is missing.
    pub dir: StateDir,
    /// A name of this machine that no other has, for one whose firmware tells no number of its own; empty: what firmware
    /// tells.
    pub machine: String,
}

/// An absolute path, or nothing: then nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StateDir(pub PathBuf);

impl Default for StateDir {
    fn default() -> Self {
        Self(PathBuf::from("/var/lib/kepler"))
    }
}

impl<'de> Deserialize<'de> for StateDir {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str = "no state directory, expected an absolute path such as \"/var/lib/kepler\", or \"\" to keep nothing";
        let path = PathBuf::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))?;
        match path.is_absolute() || path.as_os_str().is_empty() {
            true => Ok(Self(path)),
            false => Err(D::Error::custom(ALLOWED)),
        }
    }
}

/// A period from 100 ms to 60 s. Below, a meter's own update jitter (1 ms for RAPL) is more than a percent of the window
/// and waking up costs more energy than it explains; above, 32-bit energy counters of large sockets can wrap unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickPeriod(pub Duration);

const SHORTEST_TICK: Duration = Duration::from_millis(100);
const LONGEST_TICK: Duration = Duration::from_secs(60);

impl Default for TickPeriod {
    fn default() -> Self {
        Self(Duration::from_secs(1))
    }
}

impl Serialize for TickPeriod {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for TickPeriod {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str = "not a tick, expected a duration from 100ms to 60s, such as \"1s\"";
        let text = String::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))?;
        match humantime::parse_duration(&text) {
            Ok(period) if (SHORTEST_TICK..=LONGEST_TICK).contains(&period) => Ok(Self(period)),
            _ => Err(D::Error::custom(ALLOWED)),
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormat,
}

/// Levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Line formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// `[probes]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probes {
    /// Who accounts CPU time.
    pub cpu_time: CpuTime,
    /// Cycles, instructions and cache misses of the CPU's own counters.
    pub hw_counters: Optional,
    /// Softirqs by vector, with their time taken out of whom they interrupted.
    pub softirq: Optional,
    /// Pages found in the page cache. Each costs a function hook, so it is asked for and not the default.
    pub page_cache: Optional,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            cpu_time: CpuTime::Auto,
            hw_counters: Optional::Auto,
            softirq: Optional::Auto,
            page_cache: Optional::Off,
        }
    }
}

/// A part of the probes that can be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optional {
    /// With the `switch` accountant, which it does not ask for.
    #[default]
    Auto,
    /// Wanted: `auto` takes the `switch` accountant for it.
    On,
    /// Never.
    Off,
}

/// Accountants of CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuTime {
    /// The cheaper one of `switch` and `scheduler` that gives what this machine can count; where eBPF cannot be loaded,
    /// `proc`.
    #[default]
    Auto,
    /// eBPF on `sched_switch`; not starting is an error.
    Switch,
    /// eBPF that reads the scheduler's own figures once a tick; not starting is an error.
    Scheduler,
    /// `/proc` and cgroup accounting.
    Proc,
}

/// `[sources]`: for each kind of component the sources to try, best first. The first that works is used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// For package, core and uncore.
    pub cpu: Names,
    /// For memory.
    pub dram: Names,
    /// For the whole machine.
    pub platform: Names,
    /// For accelerators; here all that work are used.
    pub gpu: Names,
}

impl Default for Sources {
    fn default() -> Self {
        let names = |names: &[&str]| Names(names.iter().map(|name| (*name).to_owned()).collect());
        Self {
            cpu: names(&["rapl", "hwmon", ESTIMATOR]),
            dram: names(&["rapl", "hwmon", ESTIMATOR]),
            platform: names(&["redfish", "acpi", "ipmi", ESTIMATOR]),
            gpu: names(&["nvml", "intel", "amd"]),
        }
    }
}

/// The estimator's name in a list of sources. It is no meter and not in the table of meters.
pub const ESTIMATOR: &str = "estimator";

/// Names of sources. Text with commas is a list too, because the environment has no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            List(Vec<String>),
            Text(String),
        }
        let known = known_sources();
        let allowed = format!("no list of sources, expected a list out of {}", known.join(", "));
        let names = match Given::deserialize(from).map_err(|_other_type| D::Error::custom(&allowed))? {
            Given::List(names) => names,
            Given::Text(text) if text.trim().is_empty() => Vec::new(),
            Given::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(D::Error::custom(format!(
                "{allowed}; there is no source {unknown:?}"
            ))),
            None => Ok(Self(names)),
        }
    }
}

/// All names that a list of sources may hold.
#[must_use]
pub fn known_sources() -> Vec<&'static str> {
    power_sources::ALL
        .iter()
        .map(|entry| entry.name)
        .chain([ESTIMATOR])
        .collect()
}

/// `[attribution.idle]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idle {
    /// How the idle part of a metered zone is found.
    pub floor: FloorSetting,
    /// Who pays it.
    pub share: ShareSetting,
}

/// `measured`, `busy-ratio`, `none`, or watts by component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloorSetting(pub FloorPolicy);

/// Most watts that one zone's floor may be set to. No socket and no node draws more.
const MOST_WATTS: f64 = 100_000.0;

impl FloorSetting {
    fn from_watts(watts: &BTreeMap<String, f64>) -> Option<Self> {
        let mut fixed = Vec::new();
        for (name, watts) in watts {
            let component = Component::ALL
                .into_iter()
                .find(|component| component.name() == name)?;
            if !(0.0..=MOST_WATTS).contains(watts) {
                return None;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1e11 fits into u64"
            )]
            let microwatts = (watts * 1e6).round() as u64;
            fixed.push((component, Microwatts::from_micro(microwatts)));
        }
        Some(Self(FloorPolicy::Fixed(fixed)))
    }
}

impl Serialize for FloorSetting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            FloorPolicy::Measured => to.serialize_str("measured"),
            FloorPolicy::BusyRatio => to.serialize_str("busy-ratio"),
            FloorPolicy::None => to.serialize_str("none"),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a setting of at most 1e11 µW is exact in f64"
            )]
            FloorPolicy::Fixed(fixed) => to.collect_map(
                fixed
                    .iter()
                    .map(|(of, power)| (of.name(), power.as_micro() as f64 / 1e6)),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for FloorSetting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Word(String),
            Watts(BTreeMap<String, f64>),
        }
        const ALLOWED: &str = "measured, busy-ratio, none, or watts by component such as { package = 20.0, dram = 3.0 } (0 to 100000)";
        let given = Given::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))?;
        let setting = match given {
            Given::Word(word) => match word.as_str() {
                "measured" => Some(Self(FloorPolicy::Measured)),
                "busy-ratio" => Some(Self(FloorPolicy::BusyRatio)),
                "none" => Some(Self(FloorPolicy::None)),
                _ => None,
            },
            Given::Watts(watts) => Self::from_watts(&watts),
        };
        setting.ok_or_else(|| D::Error::custom(ALLOWED))
    }
}

/// `attribution.idle.share`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareSetting {
    /// See [`IdleShare::Reserved`].
    #[default]
    Reserved,
    /// See [`IdleShare::Equal`].
    Equal,
    /// See [`IdleShare::Usage`].
    Usage,
    /// See [`IdleShare::Node`].
    Node,
}

impl From<ShareSetting> for IdleShare {
    fn from(setting: ShareSetting) -> Self {
        match setting {
            ShareSetting::Reserved => Self::Reserved,
            ShareSetting::Equal => Self::Equal,
            ShareSetting::Usage => Self::Usage,
            ShareSetting::Node => Self::Node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tick_outside_its_range_is_refused_with_the_range() {
        for (text, period) in [("100ms", 100), ("60s", 60_000), ("1m", 60_000)] {
            let tick: TickPeriod = serde_json::from_value(json!(text)).expect("in range");
            assert_eq!(tick.0, Duration::from_millis(period));
        }
        for wrong in [json!("99ms"), json!("61s"), json!(1), json!("fast"), json!("")] {
            let error = serde_json::from_value::<TickPeriod>(wrong).expect_err("out of range");
            assert!(error.to_string().contains("100ms to 60s"), "{error}");
        }
    }

    #[test]
    fn a_state_directory_is_absolute_or_none() {
        assert_eq!(Root::default().state.dir.0, PathBuf::from("/var/lib/kepler"));
        for right in ["/x", ""] {
            let dir: StateDir = serde_json::from_value(json!(right)).expect("allowed");
            assert_eq!(dir.0, PathBuf::from(right));
        }
        for wrong in [json!("x"), json!("./x"), json!(1), json!(null)] {
            let error = serde_json::from_value::<StateDir>(wrong).expect_err("refused");
            assert!(error.to_string().contains("absolute path"), "{error}");
        }
    }

    #[test]
    fn source_names_are_known_ones_as_a_list_or_as_text() {
        let list: Names = serde_json::from_value(json!(["rapl", "estimator"])).expect("a list");
        let text: Names = serde_json::from_value(json!("rapl, estimator")).expect("text");
        assert_eq!(list, text);
        assert_eq!(
            serde_json::from_value::<Names>(json!("")).expect("none"),
            Names(Vec::new())
        );
        let error = serde_json::from_value::<Names>(json!(["rappl"]))
            .expect_err("unknown")
            .to_string();
        assert!(
            known_sources().iter().all(|name| error.contains(name)) && error.contains("rappl"),
            "{error}"
        );
    }

    #[test]
    fn an_idle_floor_is_a_word_or_watts_and_survives_being_written_down() {
        let fixed = vec![
            (Component::Dram, Microwatts::from_micro(3_500_000)),
            (Component::Package, Microwatts::from_watts(20)),
        ];
        let cases = [
            (json!("measured"), FloorPolicy::Measured),
            (json!("busy-ratio"), FloorPolicy::BusyRatio),
            (json!("none"), FloorPolicy::None),
            (json!({"package": 20.0, "dram": 3.5}), FloorPolicy::Fixed(fixed)),
        ];
        for (written, policy) in cases {
            let setting: FloorSetting = serde_json::from_value(written.clone()).expect("allowed");
            assert_eq!(setting.0, policy);
            assert_eq!(serde_json::to_value(&setting).expect("writes"), written);
        }
        for wrong in [
            json!("low"),
            json!({"cpu": 1.0}),
            json!({"package": -1.0}),
            json!(5),
        ] {
            let error = serde_json::from_value::<FloorSetting>(wrong)
                .expect_err("refused")
                .to_string();
            assert!(error.contains("busy-ratio"), "{error}");
        }
    }
}
