// SPDX-License-Identifier: Apache-2.0
//! What was decided once at start-up and is repeated in every snapshot: which sources and probes, and why. Only what a
//! source reads may become known later.

use super::ids::SourceId;
use super::zone::Component;

/// Decisions of the start-up.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Which source was taken for which kind of component.
    pub selections: Vec<Selection>,
    /// Memory of the node in bytes; `None` where that is not known, and then nobody has reserved a share of it.
    pub memory: Option<u64>,
    /// Every probe with its state.
    pub probes: Vec<ProbeState>,
    /// Who accounts CPU time, and why this one.
    pub accounting: Accounting,
    /// Sources in use, for `kepler_source_info` and `kepler_source_up`, also before their first reading.
    pub sources: Vec<SourceFacts>,
}

/// The accountant of CPU time that was chosen at start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// As in `probes.cpu_time`: `switch`, `scheduler` or `proc`.
    pub chosen: &'static str,
    /// Why, in words.
    pub reason: String,
}

/// One source in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFacts {
    /// Its label value.
    pub source: SourceId,
    /// Components it answers for.
    pub components: Vec<Component>,
    /// What it reads, for people; a meter that finds out later says so later (`/sys/class/powercap: package-0, dram`, or the model's name).
    pub detail: String,
}

/// The outcome of choosing a source for one config key (`sources.cpu` and so on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The config key without its section: `cpu`, `dram`, `platform`, `gpu`.
    pub key: &'static str,
    /// Names as configured that were taken.
    pub chosen: Vec<String>,
    /// Names that were tried or skipped before, each with the reason.
    pub passed_over: Vec<PassedOver>,
}

/// A source that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name as configured.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    /// Its label value: `sched_switch`, `proc_fallback`.
    pub probe: &'static str,
    /// Whether it measures.
    pub up: bool,
    /// Why not. Of a probe that measures: a remark (what it cannot tell here), or nothing.
    pub reason: String,
}
