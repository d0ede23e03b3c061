// SPDX-License-Identifier: Apache-2.0
//! The machine: its power now and over the last minutes, by component, and what it has used so far.

use super::chart::Chart;
use super::{Theme, nothing_yet};
use crate::client::{ComponentNow, Update};
use crate::top::model::Model;
use crate::top::past::columns;
use crate::words::{self, UJ_PER_KWH, fit, mark, watts};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Rows of the chart.
const CHART: u16 = 4;
/// Columns of a component's name and figures; the rest is its bar.
const FIGURES: usize = 42;
/// Columns of the longest bar.
const BAR: usize = 60;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let Some(update) = &model.update else {
        frame.render_widget(Paragraph::new(nothing_yet(model)), area);
        return;
    };
    if area.height <= 2 {
        frame.render_widget(power(update, theme), area);
        return;
    }
    let [head, chart, parts, so_far] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(CHART),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(power(update, theme), head);
    let shown = columns(&model.past.node(), Chart::room(chart));
    frame.render_widget(
        Chart {
            columns: shown,
            theme,
        },
        chart,
    );
    let most = update.components.iter().filter_map(both).max().unwrap_or(0);
    let lines: Vec<Line<'_>> = update
        .components
        .iter()
        .filter(|part| part.power.is_some())
        .map(|part| component(part, most, usize::from(parts.width), theme))
        .collect();
    frame.render_widget(Paragraph::new(lines), parts);
    frame.render_widget(Paragraph::new(used(model, update, theme)), so_far);
}

fn power(update: &Update, theme: Theme) -> Line<'static> {
    let node = &update.node;
    let Some(power) = node.power() else {
        return Line::styled("Node: no source has given power yet", Theme::head());
    };
    let is_estimate = node.error_permille.is_some();
    let style = if is_estimate {
        theme.estimate()
    } else {
        theme.good()
    };
    Line::from(vec![
        Span::styled(
            format!("Node {}{} W", mark(is_estimate), watts(Some(power))),
            Theme::head(),
        ),
        Span::raw("  "),
        Span::styled(format!("█ {} W dynamic", watts(node.dynamic_uw)), theme.dynamic()),
        Span::raw("  "),
        Span::styled(format!("░ {} W idle", watts(node.idle_uw)), theme.idle()),
        Span::raw("  "),
        Span::styled(words::origin(node.error_permille), style),
    ])
}

fn both(part: &ComponentNow) -> Option<u64> {
    let power = part.power.as_ref()?;
    Some(power.dynamic_uw.saturating_add(power.idle_uw))
}

/// `package  ≈ 12.34 W  3.00 + 9.34  ░░░░███  estimated ±15 %`
fn component(part: &ComponentNow, most: u64, width: usize, theme: Theme) -> Line<'static> {
    let (Some(power), Some(both)) = (&part.power, both(part)) else {
        return Line::default();
    };
    let is_estimate = power.error_permille.is_some();
    let name = if part.in_total {
        part.component.clone()
    } else {
        format!("({})", part.component)
    };
    let figure = format!("{}{} W", mark(is_estimate), watts(Some(both)));
    let origin = words::origin(power.error_permille);
    let bar = width.saturating_sub(FIGURES).min(BAR);
    let (idle, all) = (cells(power.idle_uw, most, bar), cells(both, most, bar));
    let dynamic = all.saturating_sub(idle);
    let style = if is_estimate {
        theme.estimate()
    } else {
        Theme::quiet()
    };
    Line::from(vec![
        Span::raw(fit(&name, 11)),
        Span::raw(format!("{figure:>11} ")),
        Span::styled(fit(&origin, 18), style),
        Span::raw(" "),
        Span::styled("░".repeat(idle), theme.idle()),
        Span::styled("█".repeat(dynamic), theme.dynamic()),
    ])
}

/// Letters of a bar, rounded.
fn cells(value: u64, most: u64, columns: usize) -> usize {
    let whole = u128::from(value) * u128::try_from(columns).unwrap_or(0) * 2;
    let most = u128::from(most);
    let rounded = (whole + most).checked_div(most * 2).unwrap_or(0);
    usize::try_from(rounded).unwrap_or(columns).min(columns)
}

/// kWh, cost and carbon so far.
fn used(model: &Model, update: &Update, theme: Theme) -> Line<'static> {
    let (node, about) = (&update.node, &model.about);
    let is_estimate = node.error_permille.is_some();
    let mark = mark(is_estimate);
    let kwh = words::real(node.energy()) / UJ_PER_KWH;
    let price = about.price_per_kwh.map_or_else(
        || "price not set".to_owned(),
        |price| {
            format!(
                "{mark}{} {}",
                words::amount(kwh * price),
                words::cut(&about.currency, 8)
            )
        },
    );
    let carbon = about.grams_co2e_per_kwh.map_or_else(
        || "grid intensity not set".to_owned(),
        |grams| format!("{mark}{} CO2e", words::mass(kwh * grams)),
    );
    let since = update.began_ms.map_or_else(String::new, |began| {
        format!(" in {}", words::span(update.now_ms.saturating_sub(began)))
    });
    let style = if is_estimate {
        theme.estimate()
    } else {
        ratatui::style::Style::new()
    };
    Line::from(vec![
        Span::raw(format!("So far{since}: ")),
        Span::styled(format!("{mark}{}", words::energy(node.energy())), style),
        Span::raw(format!(", {price}, {carbon}")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_rounded_and_never_longer_than_their_room() {
        assert_eq!(
            [0, 1, 5, 10, 20].map(|value| cells(value, 10, 5)),
            [0, 1, 3, 5, 5]
        );
        assert_eq!((cells(1, 0, 5), cells(u64::MAX, u64::MAX, 5)), (0, 5));
    }
}
