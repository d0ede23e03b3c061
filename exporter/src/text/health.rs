// SPDX-License-Identifier: Apache-2.0
//! What the daemon says about itself, as far as the snapshot knows it: sources, probes, windows, queues.

use super::writer::{Decimal, Family, Kind, Labels, Tally};
use attribution::model::snapshot::{LATENESS_BUCKETS_MS, WindowCounters};
use attribution::model::{Component, Feature, Provenance, Snapshot, SourceId, TallyKind};
use std::collections::BTreeMap;

pub(super) fn write(out: &mut String, snapshot: &Snapshot) {
    sources(out, snapshot);
    readings(out, snapshot);
    residuals(out, snapshot);
    probes(out, snapshot);
    if let Some(coverage) = snapshot.coverage {
        Family::new(
            out,
            "kepler_cpu_time_coverage_ratio",
            Kind::Gauge,
            "CPU time charged to workloads over the busy time of the node in the last window.",
        )
        .sample(&Labels::none(), Decimal::milli(u64::from(coverage.0)));
    }
    windows(out, &snapshot.windows);
    let mut dropped = Tally::default();
    for (queue, count) in &snapshot.dropped {
        dropped.add(Labels::none().with("queue", queue), Decimal::whole(*count));
    }
    dropped.write(
        out,
        "kepler_dropped_messages_total",
        Kind::Counter,
        "Messages that found a full queue.",
    );
}

/// What is known of one component of one source; zones of several packages become one.
struct SourceState<'a> {
    /// The least sure one of its zones; `None` before the first reading.
    provenance: Option<Provenance>,
    detail: &'a str,
    up: bool,
}

/// Every component of every source, those chosen at start-up and those that have zones.
fn source_states(snapshot: &Snapshot) -> BTreeMap<(SourceId, Component), SourceState<'_>> {
    let mut states = BTreeMap::new();
    for facts in &snapshot.facts.sources {
        for component in &facts.components {
            states.insert(
                (facts.source, *component),
                SourceState {
                    provenance: None,
                    detail: facts.detail.as_str(),
                    up: false,
                },
            );
        }
    }
    for account in &snapshot.zones {
        let state = states
            .entry((account.source, account.zone.component))
            .or_insert(SourceState {
                provenance: None,
                detail: "",
                up: false,
            });
        match state.provenance {
            None => {
                state.provenance = Some(account.provenance);
                state.up = account.up;
            }
            Some(known) => {
                state.up &= account.up;
                if doubt(account.provenance) > doubt(known) {
                    state.provenance = Some(account.provenance);
                }
            }
        }
    }
    states
}

/// How unsure a figure is, for comparing.
const fn doubt(provenance: Provenance) -> u8 {
    match provenance {
        Provenance::Counted => 0,
        Provenance::Integrated => 1,
        Provenance::Estimated { .. } => 2,
    }
}

fn sources(out: &mut String, snapshot: &Snapshot) {
    let (mut up, mut info) = (Tally::default(), Tally::default());
    for ((source, component), state) in source_states(snapshot) {
        let labels = Labels::none()
            .with("source", source.0)
            .with("component", component.name());
        up.min(labels.clone(), Decimal::whole(u64::from(state.up)));
        let labels = labels
            .with("provenance", state.provenance.map_or("unknown", Provenance::name))
            .with("detail", state.detail);
        info.max(labels, Decimal::whole(1));
    }
    up.write(
        out,
        "kepler_source_up",
        Kind::Gauge,
        "Whether the last reading of every zone of this component succeeded.",
    );
    info.write(
        out,
        "kepler_source_info",
        Kind::Gauge,
        "How the figures of a source come about; provenance is unknown before the first reading.",
    );
}

/// How far zones were off what was foretold of them, by the plain feature and by learned weights.
fn residuals(out: &mut String, snapshot: &Snapshot) {
    let mut tally = Tally::default();
    for account in &snapshot.zones {
        let Some(fit) = account.fit else { continue };
        let labels = Labels::none()
            .with("component", account.zone.component.name())
            .with("package", &account.zone.place.to_string());
        for (feature, error) in [
            (fit.plain, fit.plain_error),
            (Feature::Learned, fit.learned_error),
        ] {
            let labels = labels.clone().with("feature", feature.name());
            tally.max(labels, Decimal::milli(u64::from(error.0)));
        }
    }
    tally.write(
        out,
        "kepler_attribution_residual_ratio",
        Kind::Gauge,
        "How far dynamic power was off what a feature foretold of each window, over the newest windows (root of mean squares, relative).",
    );
}

fn readings(out: &mut String, snapshot: &Snapshot) {
    let (mut ages, mut errors, mut doubts) = (Tally::default(), Tally::default(), Tally::default());
    for account in &snapshot.sources {
        let labels = Labels::none().with("source", account.source.0);
        if let Some(age) = account.age {
            ages.max(labels.clone(), Decimal::nano(nanos(age)));
        }
        for error in &account.errors {
            let labels = labels.clone().with("reason", error.reason.name());
            errors.add(labels, Decimal::whole(error.count));
        }
    }
    for account in &snapshot.zones {
        if let Provenance::Estimated { relative_error_p90 } = account.provenance {
            let labels = Labels::none().with("component", account.zone.component.name());
            doubts.max(labels, Decimal::milli(u64::from(relative_error_p90.0)));
        }
    }
    ages.write(
        out,
        "kepler_source_reading_age_seconds",
        Kind::Gauge,
        "Age of the newest reading of a source when the window closed.",
    );
    errors.write(
        out,
        "kepler_source_errors_total",
        Kind::Counter,
        "Readings that failed, by reason.",
    );
    doubts.write(
        out,
        "kepler_estimate_relative_error",
        Kind::Gauge,
        "Expected relative error of an estimated component (90th percentile, as a ratio).",
    );
}

fn probes(out: &mut String, snapshot: &Snapshot) {
    let (mut up, mut lost) = (Tally::default(), Tally::default());
    for probe in &snapshot.facts.probes {
        // What a measuring probe has to remark is no reason; it is in the JSON.
        let reason = if probe.up { "" } else { probe.reason.as_str() };
        let labels = Labels::none().with("probe", probe.probe).with("reason", reason);
        up.min(labels, Decimal::whole(u64::from(probe.up)));
    }
    for events in &snapshot.lost {
        let labels = Labels::none()
            .with("probe", events.probe)
            .with("reason", events.reason);
        lost.add(labels, Decimal::whole(events.count));
    }
    for tally in &snapshot.tallies {
        if tally.kind == TallyKind::Lost {
            let labels = Labels::none()
                .with("probe", tally.probe)
                .with("reason", tally.what);
            lost.add(labels, Decimal::whole(tally.count));
        }
    }
    up.write(
        out,
        "kepler_probe_up",
        Kind::Gauge,
        "Whether a probe measures, and why not.",
    );
    lost.write(
        out,
        "kepler_probe_lost_events_total",
        Kind::Counter,
        "Events that a probe dropped or folded into an aggregate.",
    );
}

fn windows(out: &mut String, windows: &WindowCounters) {
    Family::new(out, "kepler_windows_total", Kind::Counter, "Closed windows.")
        .sample(&Labels::none(), Decimal::whole(windows.closed));
    let mut late = Tally::default();
    for (reporter, count) in &windows.late {
        let labels = Labels::none().with("reporter", reporter.as_str());
        late.add(labels, Decimal::whole(*count));
    }
    late.write(
        out,
        "kepler_windows_late_total",
        Kind::Counter,
        "Windows that closed without this reporter.",
    );
    let mut family = Family::new(
        out,
        "kepler_window_lateness_seconds",
        Kind::Histogram,
        "How late windows closed after their deadline.",
    );
    let mut count = 0_u64;
    for (bucket, bound) in windows.lateness.iter().zip(LATENESS_BUCKETS_MS) {
        count = count.saturating_add(*bucket);
        let mut le = String::new();
        Decimal::milli(bound).write(&mut le);
        family.part("_bucket", &Labels::none().with("le", &le), Decimal::whole(count));
    }
    let above = windows
        .lateness
        .get(LATENESS_BUCKETS_MS.len())
        .copied()
        .unwrap_or(0);
    let count = Decimal::whole(count.saturating_add(above));
    family.part("_bucket", &Labels::none().with("le", "+Inf"), count);
    family.part(
        "_sum",
        &Labels::none(),
        Decimal::nano(nanos(windows.lateness_sum)),
    );
    family.part("_count", &Labels::none(), count);
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
