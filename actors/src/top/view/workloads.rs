// SPDX-License-Identifier: Apache-2.0
//! The table of workloads of one level, as wide as the terminal lets it be.

use super::{Theme, nothing_yet};
use crate::client::{Level, Row, Update};
use crate::snapshot::Sort;
use crate::top::model::Model;
use crate::words::{self, fit, mark, watts};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Columns of a figure with the space before it.
const FIGURE: usize = 11;
/// Fewest columns of a name beside figures.
const NAME: usize = 16;
/// Columns of a bar that says how a row compares with the largest.
const BAR: usize = 10;

/// What a figure's head is, by what rows are ordered so, and its value.
struct Figure {
    head: &'static str,
    sort: Option<Sort>,
    value: fn(&Row, &Update) -> String,
}

/// The most important first: what finds no room is left out from the end.
const FIGURES: [Figure; 5] = [
    Figure {
        head: "POWER W",
        sort: Some(Sort::Power),
        value: |row, _| watts(row.power()),
    },
    Figure {
        head: "ENERGY",
        sort: Some(Sort::Energy),
        value: |row, _| words::energy(row.energy()),
    },
    Figure {
        head: "DYNAMIC W",
        sort: Some(Sort::Dynamic),
        value: |row, _| watts(row.dynamic_uw),
    },
    Figure {
        head: "IDLE W",
        sort: Some(Sort::Idle),
        value: |row, _| watts(row.idle_uw),
    },
    Figure {
        head: "OF NODE",
        sort: None,
        value: |row, update| words::share(row.energy(), update.node.energy()),
    },
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let [tabs, filters, head, body] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(u16::from(is_filtered(model))),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    frame.render_widget(levels(model, usize::from(tabs.width)), tabs);
    frame.render_widget(filter(model), filters);
    let Some(update) = model.of_level() else {
        frame.render_widget(Paragraph::new(nothing_yet(model)), head);
        return;
    };
    let shape = Shape::of(usize::from(area.width));
    frame.render_widget(Line::styled(shape.head(model), Theme::head()), head);
    let rows = model.rows();
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty(model, update)), body);
        return;
    }
    let (place, height) = (model.place(), usize::from(body.height));
    let most = rows.iter().filter_map(|row| row.power()).max().unwrap_or(0);
    let first = place.saturating_sub(height.saturating_sub(1));
    let shown = rows.iter().enumerate().skip(first).take(height);
    let lines: Vec<Line<'_>> = shown
        .map(|(at, row)| {
            let style = if at == place {
                Theme::chosen()
            } else {
                ratatui::style::Style::new()
            };
            shape.row(row, update, most, theme).style(style)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), body);
}

const fn is_filtered(model: &Model) -> bool {
    model.is_typing || !model.search.is_empty() || model.group.is_some() || model.hides_ended
}

fn levels(model: &Model, width: usize) -> Line<'static> {
    let counts = model.update.as_ref().map(|update| &update.rows_by_level);
    let tab = |(number, level): (usize, Level)| {
        let count = counts.and_then(|counts| counts.get(level.query()));
        let count = count.map_or_else(String::new, |count| format!(" {count}"));
        // In a narrow terminal the numbers of the keys are enough for those that are not chosen.
        let name = if width >= 76 || level == model.level {
            level.name()
        } else {
            ""
        };
        let style = if level == model.level {
            Theme::chosen()
        } else {
            Theme::quiet()
        };
        [
            Span::styled(format!(" {number} {name}{count} "), style),
            Span::raw(" "),
        ]
    };
    Line::from((1..).zip(Level::ALL).flat_map(tab).collect::<Vec<_>>())
}

fn filter(model: &Model) -> Line<'static> {
    let mut parts = Vec::new();
    if model.is_typing {
        parts.push(format!("search: {}_", words::tame(&model.search)));
    } else if !model.search.is_empty() {
        parts.push(format!("search: {}", words::tame(&model.search)));
    }
    if let Some(group) = &model.group {
        let group = if group.is_empty() {
            "(none)".to_owned()
        } else {
            words::tame(group)
        };
        parts.push(format!("{}: {group}", model.level.group().to_lowercase()));
    }
    if model.hides_ended {
        parts.push("without the ended".to_owned());
    }
    Line::from(parts.join("  "))
}

fn empty(model: &Model, update: &Update) -> &'static str {
    if !update.rows.is_empty() {
        return "nothing fits; Esc clears the search and the group, e shows the ended";
    }
    match model.level {
        Level::Pods => "there are no pods on this machine",
        Level::Containers => "there are no containers on this machine",
        Level::Processes => "no process has a row of its own: exporter.processes.max is 0",
        Level::Vms => "there are no virtual machines on this machine",
        Level::Units => "there are no systemd units on this machine",
    }
}

/// What there is room for.
struct Shape {
    name: usize,
    group: usize,
    bar: bool,
    figures: &'static [Figure],
}

impl Shape {
    fn of(width: usize) -> Self {
        let number = FIGURES.len().min(width.saturating_sub(NAME) / FIGURE);
        let figures = FIGURES.get(..number).unwrap_or(&FIGURES);
        let left = width.saturating_sub(number * FIGURE);
        let bar = left >= 2 * NAME + BAR + 2;
        let left = if bar { left - BAR - 1 } else { left };
        let group = if left >= 2 * NAME { left / 3 } else { 0 };
        Self {
            name: left - group - usize::from(group > 0),
            group,
            bar,
            figures,
        }
    }

    fn head(&self, model: &Model) -> String {
        let sign = |sort: Option<Sort>| if sort == Some(model.sort) { "*" } else { "" };
        let mut text = fit(&format!("NAME{}", sign(Some(Sort::Name))), self.name);
        if self.group > 0 {
            text.push(' ');
            text.push_str(&fit(&model.level.group().to_uppercase(), self.group));
        }
        for figure in self.figures {
            let head = format!("{}{}", figure.head, sign(figure.sort));
            text.push_str(&format!("{head:>FIGURE$}"));
        }
        text
    }

    fn row(&self, row: &Row, update: &Update, most: u64, theme: Theme) -> Line<'static> {
        let title = if row.ended {
            format!("{} (ended)", row.title())
        } else {
            row.title()
        };
        let mut spans = vec![Span::raw(fit(&title, self.name))];
        if self.group > 0 {
            let belongs = if row.group.is_empty() {
                &row.detail
            } else {
                &row.group
            };
            spans.push(Span::styled(
                format!(" {}", fit(belongs, self.group)),
                Theme::quiet(),
            ));
        }
        let estimate = if row.is_estimate() {
            theme.estimate()
        } else {
            ratatui::style::Style::new()
        };
        for figure in self.figures {
            let mark = if figure.sort.is_some() {
                mark(row.is_estimate())
            } else {
                ""
            };
            let value = format!("{mark}{}", (figure.value)(row, update));
            let pad = FIGURE.saturating_sub(words::columns(&value));
            spans.push(Span::styled(format!("{}{value}", " ".repeat(pad)), estimate));
        }
        if self.bar {
            spans.extend(bar(row, most, theme));
        }
        Line::from(spans)
    }
}

/// How the row compares with the largest.
fn bar(row: &Row, most: u64, theme: Theme) -> [Span<'static>; 3] {
    let cells = |value: u64| {
        let part = u128::from(value) * u128::try_from(BAR).unwrap_or(0);
        let part = part.div_ceil(u128::from(most.max(1)));
        usize::try_from(part).unwrap_or(BAR).min(BAR)
    };
    let all = cells(row.power().unwrap_or(0));
    let idle = cells(row.idle_uw.unwrap_or(0)).min(all);
    [
        Span::raw(" "),
        Span::styled("░".repeat(idle), theme.idle()),
        Span::styled("█".repeat(all - idle), theme.dynamic()),
    ]
}
