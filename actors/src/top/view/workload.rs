// SPDX-License-Identifier: Apache-2.0
//! One workload: its power over the last minutes, now and so far.

use super::Theme;
use super::chart::Chart;
use crate::client::{Row, WorkloadSlots};
use crate::top::model::Model;
use crate::top::past::{Mean, columns, power};
use crate::words::{self, mark, watts};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let opened = &model.opened;
    let row = model
        .update
        .as_ref()
        .filter(|update| update.level == opened.level.query())
        .and_then(|update| update.rows.iter().find(|row| row.id == opened.id));
    let text = lines(model, row);
    let height = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let [head, chart] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(text), head);
    let Some(history) = &opened.history else {
        let words = if opened.is_unknown {
            "The daemon keeps a history of the largest of each level only."
        } else {
            "asking for its history ..."
        };
        frame.render_widget(Paragraph::new(words), chart);
        return;
    };
    let shown = columns(&means(&history.slots), Chart::room(chart));
    frame.render_widget(
        Chart {
            columns: shown,
            theme,
        },
        chart,
    );
}

fn lines(model: &Model, row: Option<&Row>) -> Vec<Line<'static>> {
    let opened = &model.opened;
    let mut lines = vec![Line::styled(
        format!("{} {}", opened.level.one(), words::tame(&opened.title)),
        Theme::head(),
    )];
    let Some(row) = row else {
        lines.push(Line::from("It has no row any more."));
        return lines;
    };
    let belongs = [&row.group, &row.detail, &row.id].map(|text| words::tame(text));
    let belongs: Vec<_> = belongs.into_iter().filter(|text| !text.is_empty()).collect();
    lines.push(Line::from(belongs.join("  ")));
    let mark = mark(row.is_estimate());
    let origin = if row.is_estimate() {
        let part = words::percent(row.estimated_permille);
        format!(
            "{part} of it an estimate, ±{}",
            words::percent(row.error_permille)
        )
    } else {
        "measured".to_owned()
    };
    let ended = if row.ended { " (ended)" } else { "" };
    lines.push(Line::from(format!(
        "Now {mark}{} W: {mark}{} W dynamic, {mark}{} W idle{ended}",
        watts(row.power()),
        watts(row.dynamic_uw),
        watts(row.idle_uw)
    )));
    lines.push(Line::from(format!(
        "So far {mark}{}: {mark}{} dynamic, {mark}{} idle; {origin}",
        words::energy(row.energy()),
        words::energy(row.dynamic_uj),
        words::energy(row.idle_uj)
    )));
    lines.push(Line::default());
    lines
}

fn means(slots: &WorkloadSlots) -> Vec<Option<Mean>> {
    let energy = slots.dynamic_uj.iter().zip(&slots.idle_uj);
    energy
        .zip(&slots.span_us)
        .map(|((dynamic, idle), span)| {
            Some(Mean {
                dynamic: power(*dynamic, *span),
                idle: power(*idle, *span),
                is_estimate: false,
            })
        })
        .collect()
}
