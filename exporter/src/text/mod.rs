// SPDX-License-Identifier: Apache-2.0
//! A snapshot as Prometheus text or OpenMetrics, in the names of the schemas that are on.
//!
//! Owns the names, labels and order of the families. It promises that a page never holds the same series twice, that
//! every number is exact, and that a family without samples is not there at all. What belongs to one scrape and not to
//! the snapshot (our own process, the scrape itself) is written by [`crate::observer`].

mod health;
pub(crate) mod metric;
mod names;
mod node;
mod reference;
#[cfg(test)]
mod tests;
mod today;
mod workloads;
pub(crate) mod writer;

pub use reference::reference;

use crate::config::{Level, Schema};
use crate::page::RenderSettings;
use crate::view::View;
use bytes::Bytes;
use std::collections::BTreeSet;
use writer::{Format, Sheet};

/// What the families of a schema are called; those that say something of the daemon itself are in neither.
pub(crate) fn families(schema: Schema) -> BTreeSet<String> {
    let mut sections = match schema {
        Schema::Kepler => names::all(),
        Schema::Kepler011 => today::all(),
    };
    sections.retain(|(heading, _)| *heading != names::OWN);
    let metrics = sections.into_iter().flat_map(|(_, metrics)| metrics);
    metrics.map(|metric| metric.name.into_owned()).collect()
}

/// The whole text, in pieces.
pub(crate) fn render(view: &View, settings: &RenderSettings, format: Format) -> Vec<Bytes> {
    let epoch = settings.epoch;
    let mut sheet = Sheet::new(format, epoch.map(|epoch| epoch.start()));
    let snapshot = &*view.moment.snapshot;
    let kepler = settings.schemas.contains(&Schema::Kepler);
    let today = settings.schemas.contains(&Schema::Kepler011);
    let wanted = |level| settings.levels.contains(&level);
    if wanted(Level::Node) {
        let of_today = today.then_some(today::Node { view, settings });
        if kepler {
            node::write(&mut sheet, snapshot, of_today.as_ref());
        }
        if let Some(of_today) = of_today {
            of_today.write(&mut sheet, !kepler);
        }
    }
    let columns = workloads::Columns::of(snapshot);
    for level in names::WORKLOADS.into_iter().filter(|level| wanted(*level)) {
        let rows = settings.rows(level, view);
        let of_today =
            (today && level != Level::Unit).then(|| today::Workloads::new(level, &rows, view, epoch));
        if kepler {
            workloads::write(&mut sheet, level, &rows, &columns, epoch, of_today.as_ref());
        }
        if let Some(of_today) = of_today {
            of_today.write(&mut sheet, !kepler);
        }
    }
    if kepler {
        node::write_info(&mut sheet, snapshot, settings);
    }
    if today {
        today::write_info(&mut sheet, settings);
    }
    health::write(&mut sheet, snapshot);
    sheet.into_pieces()
}
