// SPDX-License-Identifier: Apache-2.0
//! What is known of the daemon, and what of it is looked at. Knows no terminal, no clock and no network.

use super::past::Past;
use crate::client::{About, Level, Row, Update, WorkloadHistory};
use crate::snapshot::Sort;

/// Whether the daemon speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// It was asked for the first time.
    #[default]
    Waiting,
    /// It does.
    Up,
    /// It does not, since this moment of ours, and why.
    Lost { since_ms: u64, why: String },
}

/// What fills the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Screen {
    /// Node and workloads.
    #[default]
    Overview,
    /// One workload.
    Workload,
    /// Sources and probes.
    Sources,
    /// The keys.
    Help,
}

/// One workload that is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    pub(super) level: Level,
    pub(super) id: String,
    pub(super) title: String,
    pub(super) history: Option<WorkloadHistory>,
    /// The daemon keeps none of it.
    pub(super) is_unknown: bool,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) from: String,
    pub(super) now_ms: u64,
    pub(super) link: Link,
    pub(super) about: About,
    pub(super) update: Option<Update>,
    pub(super) past: Past,
    pub(super) level: Level,
    pub(super) sort: Sort,
    pub(super) search: String,
    pub(super) is_typing: bool,
    pub(super) group: Option<String>,
    pub(super) hides_ended: bool,
    /// The id of the row that is pointed at, so that it stays it when the order changes.
    pub(super) chosen: Option<String>,
    pub(super) screen: Screen,
    pub(super) opened: Opened,
    /// Lines that a long screen is scrolled by.
    pub(super) scroll: u16,
}

impl Model {
    /// Nothing is known yet.
    pub(super) fn new(from: String, level: Level, sort: Sort) -> Self {
        Self {
            from,
            level,
            sort,
            ..Self::default()
        }
    }

    /// The update, if it is about the level that is looked at: one of another level was on its way.
    pub(super) fn of_level(&self) -> Option<&Update> {
        self.update
            .as_ref()
            .filter(|update| update.level == self.level.query())
    }

    /// The rows that are shown, in their order.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let Some(update) = self.of_level() else {
            return Vec::new();
        };
        let wanted = self.search.to_lowercase();
        let fits = |row: &&Row| {
            let text = [&row.name, &row.group, &row.detail, &row.id];
            let found = || text.iter().any(|text| text.to_lowercase().contains(&wanted));
            !(self.hides_ended && row.ended)
                && self.group.as_ref().is_none_or(|group| *group == row.group)
                && (wanted.is_empty() || found())
        };
        update.rows.iter().filter(fits).collect()
    }

    /// What rows belong to, each once.
    pub(super) fn groups(&self) -> Vec<String> {
        let rows = self.of_level().map(|update| update.rows.as_slice());
        let mut groups: Vec<String> = rows
            .unwrap_or_default()
            .iter()
            .map(|row| row.group.clone())
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// Where the chosen row stands among those that are shown; the first where it is none of them.
    pub(super) fn place(&self) -> usize {
        let chosen = self.chosen.as_deref();
        let rows = self.rows();
        rows.iter()
            .position(|row| Some(row.id.as_str()) == chosen)
            .unwrap_or(0)
    }

    /// How long ago the last update came, where there was one and none comes any more.
    pub(super) const fn silent_ms(&self) -> Option<u64> {
        match self.link {
            Link::Lost { since_ms, .. } => Some(self.now_ms.saturating_sub(since_ms)),
            Link::Waiting | Link::Up => None,
        }
    }
}
