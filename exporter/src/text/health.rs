// SPDX-License-Identifier: Apache-2.0
//! What the daemon says about itself, as far as the snapshot knows it: sources, probes, windows, queues.

use super::names;
use super::writer::{Decimal, Family, Labels, Sheet, Tally};
use attribution::model::snapshot::{LATENESS_BUCKETS_MS, WindowCounters};
use attribution::model::{Component, Feature, Provenance, Snapshot, SourceId, TallyKind};
use std::collections::BTreeMap;

pub(super) fn write(sheet: &mut Sheet, snapshot: &Snapshot) {
    sources(sheet, snapshot);
    readings(sheet, snapshot);
    residuals(sheet, snapshot);
    probes(sheet, snapshot);
    if let Some(coverage) = snapshot.coverage {
        Family::new(sheet, &names::coverage()).sample(&Labels::none(), Decimal::milli(u64::from(coverage.0)));
    }
    if !snapshot.packages.is_empty() {
        let online = snapshot
            .packages
            .iter()
            .map(|package| u64::from(package.cpus))
            .sum();
        Family::new(sheet, &names::cpus_online()).sample(&Labels::none(), Decimal::whole(online));
    }
    windows(sheet, &snapshot.windows);
    let mut dropped = Tally::default();
    for (queue, count) in &snapshot.dropped {
        dropped.add(Labels::none().with("queue", queue), Decimal::whole(*count));
    }
    dropped.write(sheet, &names::dropped());
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

fn sources(sheet: &mut Sheet, snapshot: &Snapshot) {
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
    up.write(sheet, &names::source_up());
    info.write(sheet, &names::source_info());
}

/// How far zones were off what was foretold of them, by the plain feature and by learned weights.
fn residuals(sheet: &mut Sheet, snapshot: &Snapshot) {
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
    tally.write(sheet, &names::residual());
}

fn readings(sheet: &mut Sheet, snapshot: &Snapshot) {
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
    ages.write(sheet, &names::reading_age());
    errors.write(sheet, &names::source_errors());
    doubts.write(sheet, &names::estimate_error());
}

fn probes(sheet: &mut Sheet, snapshot: &Snapshot) {
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
    up.write(sheet, &names::probe_up());
    lost.write(sheet, &names::lost_events());
}

fn windows(sheet: &mut Sheet, windows: &WindowCounters) {
    Family::new(sheet, &names::windows()).sample(&Labels::none(), Decimal::whole(windows.closed));
    let mut late = Tally::default();
    for (reporter, count) in &windows.late {
        let labels = Labels::none().with("reporter", reporter.as_str());
        late.add(labels, Decimal::whole(*count));
    }
    late.write(sheet, &names::windows_late());
    let mut below = 0_u64;
    let buckets = windows.lateness.iter().zip(LATENESS_BUCKETS_MS);
    let buckets: Vec<_> = buckets
        .map(|(bucket, bound)| {
            below = below.saturating_add(*bucket);
            // Like a float also where it is whole: OpenMetrics wants it so, and one series has one name in both formats.
            let mut le = String::new();
            Decimal::milli(bound).write(&mut le);
            if !le.contains('.') {
                le.push_str(".0");
            }
            (le, below)
        })
        .collect();
    let above = windows.lateness.get(LATENESS_BUCKETS_MS.len());
    let count = below.saturating_add(above.copied().unwrap_or(0));
    let sum = Decimal::nano(nanos(windows.lateness_sum));
    Family::new(sheet, &names::lateness()).histogram(buckets, sum, count);
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
