// SPDX-License-Identifier: Apache-2.0
//! What a model may ask of this machine: owns the features' names, their unit (**per second**) and which of them can be
//! supplied here.
//!
//! The unit follows from how these models are made and used. The model server's trainer divides the difference of each
//! counter by the seconds between the samples (kepler-model-server, `train/extractor/extractor.py`,
//! `get_workload_feature_data`), and Kepler 0.7 and 0.8 divided what they counted in their sample period of 3 s by its
//! seconds before they asked a model (kepler, `pkg/collector/stats`, `normalize` and `ToEstimatorValues`). So
//! `bpf_cpu_time_ms` of a machine with 4 threads runs from 0 to 4,000, which is also the scale that its files hold.

use attribution::model::{Event, EventSet};

/// A number that can be supplied, for the whole machine and per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    /// Busy time of all CPUs, in milliseconds per second.
    CpuTimeMs,
    /// Cycles while anybody ran.
    CpuCycles,
    /// Instructions retired.
    CpuInstructions,
    /// Misses of the last-level cache.
    CacheMisses,
}

impl Feature {
    const ALL: [Self; 4] = [
        Self::CpuTimeMs,
        Self::CpuCycles,
        Self::CpuInstructions,
        Self::CacheMisses,
    ];

    /// As files name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CpuTimeMs => "bpf_cpu_time_ms",
            Self::CpuCycles => "cpu_cycles",
            Self::CpuInstructions => "cpu_instructions",
            Self::CacheMisses => "cache_miss",
        }
    }

    const fn event(self) -> Option<Event> {
        match self {
            Self::CpuTimeMs => None,
            Self::CpuCycles => Some(Event::CpuCycles),
            Self::CpuInstructions => Some(Event::Instructions),
            Self::CacheMisses => Some(Event::CacheMisses),
        }
    }
}

/// What this machine can supply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// Events that are counted here; busy time always is.
    pub counted: EventSet,
}

impl Supply {
    /// The feature of this name; `Err` says why there is none and which there are.
    pub(super) fn feature(self, name: &str) -> Result<Feature, String> {
        let Some(feature) = Feature::ALL.into_iter().find(|feature| feature.name() == name) else {
            return Err(format!(
                "needs the feature {name:?}, which is not counted; this machine can supply {}",
                self.names()
            ));
        };
        match feature.event() {
            Some(event) if !self.counted.has(event) => Err(format!(
                "needs the feature {name:?}, which the probes in use do not count here (hardware counters are not available to \
                 the estimator); this machine can supply {}",
                self.names()
            )),
            _ => Ok(feature),
        }
    }

    /// What can be supplied, for people.
    fn names(self) -> String {
        let here = Feature::ALL
            .into_iter()
            .filter(|feature| feature.event().is_none_or(|event| self.counted.has(event)));
        here.map(Feature::name).collect::<Vec<_>>().join(", ")
    }
}

/// Each feature's value, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Busy milliseconds of all CPUs together.
    pub(super) cpu_time_ms: f64,
    /// Cycles.
    pub(super) cpu_cycles: f64,
    /// Instructions.
    pub(super) cpu_instructions: f64,
    /// Cache misses.
    pub(super) cache_misses: f64,
}

impl Rates {
    pub(super) const fn get(&self, feature: Feature) -> f64 {
        match feature {
            Feature::CpuTimeMs => self.cpu_time_ms,
            Feature::CpuCycles => self.cpu_cycles,
            Feature::CpuInstructions => self.cpu_instructions,
            Feature::CacheMisses => self.cache_misses,
        }
    }

    /// A machine of so many threads that are busy for `share` of the time. Events are those of ordinary code (3 GHz, an
    /// instruction per cycle, a miss in a hundred cycles): models are tried with them before they are used.
    pub(super) fn at(threads: u32, share: f64) -> Self {
        let busy = f64::from(threads) * share;
        Self {
            cpu_time_ms: 1e3 * busy,
            cpu_cycles: 3e9 * busy,
            cpu_instructions: 3e9 * busy,
            cache_misses: 3e7 * busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_always_there_and_events_only_where_they_are_counted() {
        let nothing = Supply::default();
        assert_eq!(nothing.feature("bpf_cpu_time_ms"), Ok(Feature::CpuTimeMs));
        let refused = nothing.feature("cache_miss").unwrap_err();
        assert!(
            refused.contains("\"cache_miss\"") && refused.ends_with("can supply bpf_cpu_time_ms"),
            "{refused}"
        );
        let counters = Supply {
            counted: EventSet::NONE.with(Event::CacheMisses).with(Event::Instructions),
        };
        assert_eq!(counters.feature("cache_miss"), Ok(Feature::CacheMisses));
        assert_eq!(counters.feature("cpu_instructions"), Ok(Feature::CpuInstructions));
        assert!(counters.feature("cpu_cycles").is_err());
    }

    #[test]
    fn a_name_that_nobody_counts_is_refused_with_those_that_there_are() {
        let all = EventSet::NONE
            .with(Event::CacheMisses)
            .with(Event::Instructions)
            .with(Event::CpuCycles);
        let refused = Supply { counted: all }.feature("bpf_page_cache_hit").unwrap_err();
        assert!(
            refused.ends_with("bpf_cpu_time_ms, cpu_cycles, cpu_instructions, cache_miss"),
            "{refused}"
        );
    }
}
