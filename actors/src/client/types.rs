// SPDX-License-Identifier: Apache-2.0
//! What the daemon says, as docs/page.md and `/api/v1/snapshot` define it. Every field has a default and none that is not
//! known is an error, so that versions of daemon and client need not be the same.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whose energy is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Kubernetes pods.
    #[value(alias = "pod")]
    Pods,
    /// Containers, and a row each for the host's processes and the kernel.
    #[default]
    #[value(alias = "container")]
    Containers,
    /// Processes.
    #[value(alias = "process")]
    Processes,
    /// Virtual machines.
    #[value(alias = "vm")]
    Vms,
    /// systemd units.
    #[value(alias = "unit")]
    Units,
}

impl Level {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 5] = [
        Self::Pods,
        Self::Containers,
        Self::Processes,
        Self::Vms,
        Self::Units,
    ];

    /// As the daemon is asked for it.
    #[must_use]
    pub const fn query(self) -> &'static str {
        match self {
            Self::Pods => "pod",
            Self::Containers => "container",
            Self::Processes => "process",
            Self::Vms => "vm",
            Self::Units => "unit",
        }
    }

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pods => "Pods",
            Self::Containers => "Containers",
            Self::Processes => "Processes",
            Self::Vms => "VMs",
            Self::Units => "Units",
        }
    }

    /// One of them, for people.
    #[must_use]
    pub const fn one(self) -> &'static str {
        match self {
            Self::Pods => "Pod",
            Self::Containers => "Container",
            Self::Processes => "Process",
            Self::Vms => "VM",
            Self::Units => "Unit",
        }
    }

    /// What its rows belong to.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pods | Self::Containers => "Namespace",
            Self::Processes => "Kind",
            Self::Vms => "Hypervisor",
            Self::Units => "Slice",
        }
    }
}

macro_rules! said {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        #[expect(missing_docs, reason = "docs/page.md and exporter/src/json/mod.rs say what each field is")]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* })*
    };
}

said! {
    /// `/api/v1/about`.
    About {
        version: String,
        revision: String,
        tick_ms: u64,
        slot_ms: u64,
        span_ms: u64,
        price_per_kwh: Option<f64>,
        currency: String,
        grams_co2e_per_kwh: Option<f64>,
    }
    /// An `update` of `/api/v1/stream`.
    Update {
        slot: u64,
        now_ms: u64,
        began_ms: Option<u64>,
        node: Node,
        components: Vec<ComponentNow>,
        slots: Slots,
        level: String,
        rows_by_level: BTreeMap<String, u64>,
        rows: Vec<Row>,
        others: Others,
        zones: Vec<Zone>,
        sources: Vec<Source>,
        facts: Facts,
        windows: Windows,
    }
    /// The machine.
    Node {
        dynamic_uw: Option<u64>,
        idle_uw: Option<u64>,
        error_permille: Option<u64>,
        estimated_permille: u64,
        dynamic_uj: u64,
        idle_uj: u64,
        unattributed_uj: u64,
        unreserved_idle_uj: u64,
    }
    /// A component now and so far.
    ComponentNow {
        component: String,
        in_total: bool,
        power: Option<Power>,
        dynamic_uj: u64,
        idle_uj: u64,
    }
    /// Power of a component.
    Power {
        dynamic_uw: u64,
        idle_uw: u64,
        error_permille: Option<u64>,
        ended_ms: u64,
    }
    /// Slots of the history, one entry each.
    Slots {
        number: Vec<u64>,
        ended_ms: Vec<u64>,
        span_us: Vec<u64>,
        components: BTreeMap<String, Columns>,
    }
    /// A component's part of the slots.
    Columns {
        dynamic_uj: Vec<Option<u64>>,
        idle_uj: Vec<Option<u64>>,
        error_permille: Vec<Option<u64>>,
    }
    /// A workload.
    Row {
        id: String,
        name: String,
        group: String,
        detail: String,
        ended: bool,
        dynamic_uw: Option<u64>,
        idle_uw: Option<u64>,
        dynamic_uj: u64,
        idle_uj: u64,
        estimated_permille: u64,
        error_permille: u64,
        history: bool,
    }
    /// All workloads without a line of their own.
    Others {
        rows: u64,
        dynamic_uw: u64,
        idle_uw: u64,
        dynamic_uj: u64,
        idle_uj: u64,
    }
    /// What a meter counted.
    Zone {
        component: String,
        place: String,
        source: String,
        provenance: String,
        relative_error_p90_permille: Option<u64>,
        dynamic_uj: u64,
        idle_uj: u64,
        unattributed_uj: u64,
        unreserved_idle_uj: u64,
        power_uw: Option<u64>,
        floor_uw: Option<u64>,
        floor_origin: String,
        age_ns: u64,
        up: bool,
    }
    /// A source's health.
    Source {
        source: String,
        age_ns: Option<u64>,
        errors: Vec<SourceFailure>,
    }
    /// What a source could not read.
    SourceFailure {
        zone: Option<String>,
        reason: String,
        count: u64,
        latest: String,
    }
    /// Decisions of the start-up.
    Facts {
        probes: Vec<Probe>,
        accounting: Accounting,
        sources: Vec<SourceFacts>,
    }
    /// A probe.
    Probe {
        probe: String,
        up: bool,
        reason: String,
    }
    /// Who accounts CPU time.
    Accounting {
        chosen: String,
        reason: String,
    }
    /// A source as it was chosen.
    SourceFacts {
        source: String,
        components: Vec<String>,
        detail: String,
    }
    /// Windows so far.
    Windows {
        closed: u64,
        late_now: Vec<String>,
        stale: Vec<String>,
    }
    /// `/api/v1/history`.
    NodeHistory {
        now_ms: u64,
        began_ms: Option<u64>,
        slots: Slots,
    }
    /// One workload's history.
    WorkloadHistory {
        now_ms: u64,
        id: String,
        name: String,
        group: String,
        detail: String,
        ended: bool,
        dynamic_uj: u64,
        idle_uj: u64,
        slots: WorkloadSlots,
    }
    /// Its slots.
    WorkloadSlots {
        number: Vec<u64>,
        ended_ms: Vec<u64>,
        span_us: Vec<u64>,
        dynamic_uj: Vec<u64>,
        idle_uj: Vec<u64>,
    }
    /// Of `/api/v1/snapshot`, what `kepler run` needs.
    SnapshotFacts {
        tick: u64,
        window: Window,
        zones: Vec<Zone>,
        packages: Vec<Package>,
        processes: Vec<Process>,
        windows: Windows,
    }
    /// CPU time of a socket.
    Package {
        busy_ns: u64,
    }
    /// When the window was.
    Window {
        began_ns: u64,
        ended_ns: u64,
    }
    /// A process.
    Process {
        pid: u32,
        start_ticks: u64,
        cpu_ns: u64,
        charges: Vec<ProcessCharge>,
    }
    /// What it was charged for a zone.
    ProcessCharge {
        zone: usize,
        dynamic_uj: u64,
        idle_uj: u64,
    }
}

impl Row {
    /// Power now, dynamic and idle.
    #[must_use]
    pub fn power(&self) -> Option<u64> {
        match (self.dynamic_uw, self.idle_uw) {
            (None, None) => None,
            (dynamic, idle) => Some(dynamic.unwrap_or(0).saturating_add(idle.unwrap_or(0))),
        }
    }

    /// Energy so far, dynamic and idle.
    #[must_use]
    pub const fn energy(&self) -> u64 {
        self.dynamic_uj.saturating_add(self.idle_uj)
    }

    /// Whether part of its figures is an estimate.
    #[must_use]
    pub const fn is_estimate(&self) -> bool {
        self.estimated_permille > 0
    }

    /// What it is called, also where nobody named it.
    #[must_use]
    pub fn title(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        match self.id.char_indices().nth(12) {
            // The unit level has a row for what is in no unit.
            _ if self.id.ends_with('/') => "(in no unit)".to_owned(),
            Some((end, _)) if self.id.len() > 16 => format!("{}…", self.id.get(..end).unwrap_or_default()),
            _ => self.id.clone(),
        }
    }
}

impl Node {
    /// Power now.
    #[must_use]
    pub fn power(&self) -> Option<u64> {
        Some(self.dynamic_uw?.saturating_add(self.idle_uw.unwrap_or(0)))
    }

    /// Energy so far.
    #[must_use]
    pub const fn energy(&self) -> u64 {
        self.dynamic_uj.saturating_add(self.idle_uj)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_of_a_newer_daemon_is_read_as_far_as_it_is_known() {
        let text = r#"{"schema": 9, "slot": 4, "novelty": {"x": []}, "node": {"dynamic_uw": 5, "idle_uw": 2, "error_permille": null},
            "rows": [{"id": "a", "dynamic_uw": null, "idle_uw": null, "colour": 1}], "traffic": {}}"#;
        let update: Update = serde_json::from_str(text).unwrap();
        assert_eq!((update.slot, update.node.power()), (4, Some(7)));
        assert_eq!(update.rows[0].power(), None);
    }

    #[test]
    fn a_row_is_called_what_tells_it_apart() {
        let title = |id: &str, name: &str| {
            Row {
                id: id.to_owned(),
                name: name.to_owned(),
                ..Row::default()
            }
            .title()
        };
        assert_eq!(title("0123456789abcdef0123", ""), "0123456789ab…");
        assert_eq!(title("0123456789abcdef", ""), "0123456789abcdef");
        assert_eq!(title("x", "web"), "web");
        assert_eq!(title("/", ""), "(in no unit)");
    }
}
