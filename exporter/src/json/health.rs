// SPDX-License-Identifier: Apache-2.0
//! Views of what the daemon says about itself: decisions, sources, windows, losses.

use super::views::{Each, Text, nanos};
use crate::reloads::Reloads;
use attribution::model::facts::SourceFacts;
use attribution::model::snapshot::{LATENESS_BUCKETS_MS, SourceAccount, WindowCounters};
use attribution::model::{
    Accounting, Component, LostEvents, NodeFacts, PassedOver, ProbeState, ReporterId, Selection, SourceError,
    Tally, Zone,
};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct SourceView<'a> {
    source: &'static str,
    age_ns: Option<u64>,
    errors: Each<'a, SourceError, ErrorView<'a>>,
}

pub(crate) fn source(account: &SourceAccount) -> SourceView<'_> {
    SourceView {
        source: account.source.0,
        age_ns: account.age.map(nanos),
        errors: Each(&account.errors, error),
    }
}

#[derive(Serialize)]
struct ErrorView<'a> {
    zone: Option<Text<'a, Zone>>,
    reason: &'static str,
    count: u64,
    latest: &'a str,
}

fn error(error: &SourceError) -> ErrorView<'_> {
    ErrorView {
        zone: error.zone.as_ref().map(Text),
        reason: error.reason.name(),
        count: error.count,
        latest: &error.latest,
    }
}

#[derive(Serialize)]
pub(crate) struct Facts<'a> {
    selections: Each<'a, Selection, SelectionView<'a>>,
    probes: Each<'a, ProbeState, ProbeView<'a>>,
    accounting: AccountingView<'a>,
    sources: Each<'a, SourceFacts, SourceFactsView<'a>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(facts: &'a NodeFacts) -> Self {
        Self {
            selections: Each(&facts.selections, selection),
            probes: Each(&facts.probes, probe),
            accounting: accounting(&facts.accounting),
            sources: Each(&facts.sources, source_facts),
        }
    }
}

#[derive(Serialize)]
struct SelectionView<'a> {
    key: &'static str,
    chosen: &'a [String],
    passed_over: Each<'a, PassedOver, PassedOverView<'a>>,
}

fn selection(selection: &Selection) -> SelectionView<'_> {
    SelectionView {
        key: selection.key,
        chosen: &selection.chosen,
        passed_over: Each(&selection.passed_over, passed_over),
    }
}

#[derive(Serialize)]
struct PassedOverView<'a> {
    name: &'a str,
    reason: &'a str,
}

fn passed_over(source: &PassedOver) -> PassedOverView<'_> {
    PassedOverView {
        name: &source.name,
        reason: &source.reason,
    }
}

#[derive(Serialize)]
struct ProbeView<'a> {
    probe: &'static str,
    up: bool,
    reason: &'a str,
}

fn probe(probe: &ProbeState) -> ProbeView<'_> {
    ProbeView {
        probe: probe.probe,
        up: probe.up,
        reason: &probe.reason,
    }
}

#[derive(Serialize)]
struct AccountingView<'a> {
    chosen: &'static str,
    reason: &'a str,
}

fn accounting(accounting: &Accounting) -> AccountingView<'_> {
    AccountingView {
        chosen: accounting.chosen,
        reason: &accounting.reason,
    }
}

#[derive(Serialize)]
struct SourceFactsView<'a> {
    source: &'static str,
    components: Each<'a, Component, &'static str>,
    detail: &'a str,
}

fn source_facts(facts: &SourceFacts) -> SourceFactsView<'_> {
    SourceFactsView {
        source: facts.source.0,
        components: Each(&facts.components, |component| component.name()),
        detail: &facts.detail,
    }
}

#[derive(Serialize)]
pub(crate) struct Windows<'a> {
    closed: u64,
    late: Each<'a, (ReporterId, u64), LateView<'a>>,
    late_now: Each<'a, ReporterId, &'a str>,
    stale: Each<'a, ReporterId, &'a str>,
    lateness_bounds_ms: &'static [u64],
    lateness_counts: &'a [u64],
    lateness_sum_ns: u64,
}

impl<'a> Windows<'a> {
    pub(crate) fn of(windows: &'a WindowCounters) -> Self {
        Self {
            closed: windows.closed,
            late: Each(&windows.late, late),
            late_now: Each(&windows.late_now, ReporterId::as_str),
            stale: Each(&windows.stale, ReporterId::as_str),
            lateness_bounds_ms: &LATENESS_BUCKETS_MS,
            lateness_counts: &windows.lateness,
            lateness_sum_ns: nanos(windows.lateness_sum),
        }
    }
}

#[derive(Serialize)]
struct LateView<'a> {
    reporter: &'a str,
    count: u64,
}

fn late((reporter, count): &(ReporterId, u64)) -> LateView<'_> {
    LateView {
        reporter: reporter.as_str(),
        count: *count,
    }
}

#[derive(Serialize)]
pub(super) struct LostView {
    probe: &'static str,
    reason: &'static str,
    count: u64,
}

pub(super) const fn lost(events: &LostEvents) -> LostView {
    LostView {
        probe: events.probe,
        reason: events.reason,
        count: events.count,
    }
}

#[derive(Serialize)]
pub(super) struct TallyView {
    probe: &'static str,
    what: &'static str,
    kind: &'static str,
    count: u64,
}

pub(super) const fn tally(tally: &Tally) -> TallyView {
    TallyView {
        probe: tally.probe,
        what: tally.what,
        kind: tally.kind.name(),
        count: tally.count,
    }
}

#[derive(Serialize)]
pub(super) struct DroppedView {
    queue: &'static str,
    count: u64,
}

pub(super) const fn dropped((queue, count): &(&'static str, u64)) -> DroppedView {
    DroppedView { queue, count: *count }
}

#[derive(Serialize)]
pub(super) struct ConfigView {
    last_reload_successful: bool,
    last_reload_success_unix_ms: u64,
}

pub(super) fn config(reloads: &Reloads) -> Option<ConfigView> {
    let (last_reload_successful, last_reload_success_unix_ms) = reloads.state()?;
    Some(ConfigView {
        last_reload_successful,
        last_reload_success_unix_ms,
    })
}
