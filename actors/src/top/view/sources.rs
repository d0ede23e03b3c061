// SPDX-License-Identifier: Apache-2.0
//! Every source and probe: whether it answers, how old its figures are, how they come about, and how wrong they may be.

use super::{Theme, nothing_yet};
use crate::client::{Update, Zone};
use crate::top::model::Model;
use crate::words::{self, fit, watts};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

/// Age at which a figure is old, as on the live page.
const OLD_NS: u64 = 60_000_000_000;

/// Columns of a zone's figures but the last: the names that there are find room, with a space behind them.
const WIDTHS: [usize; 6] = [19, 20, 16, 8, 11, 7];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let Some(update) = &model.update else {
        frame.render_widget(Paragraph::new(nothing_yet(model)), area);
        return;
    };
    let heads = ["ZONE", "SOURCE", "STATE", "AGE", "PROVENANCE", "ERROR"];
    let heads: String = heads
        .iter()
        .zip(WIDTHS)
        .map(|(head, width)| fit(head, width))
        .collect();
    let mut lines = vec![Line::styled(format!("{heads}POWER W"), Theme::head())];
    for zone in &update.zones {
        lines.push(of_zone(zone, theme));
    }
    for silent in silent(update) {
        lines.push(Line::from(silent));
    }
    for source in &update.sources {
        for error in &source.errors {
            let zone = error.zone.as_deref().unwrap_or("all of it");
            let text = format!(
                "{}: {} {} of {zone}: {}",
                source.source, error.count, error.reason, error.latest
            );
            lines.push(Line::styled(words::tame(&text), theme.bad()));
        }
    }
    lines.push(Line::default());
    let windows = &update.windows;
    let missing = match (windows.stale.as_slice(), windows.late_now.as_slice()) {
        ([], []) => String::new(),
        ([], late) => format!(", late: {}", late.join(", ")),
        (stale, _) => format!(", missing: {}", stale.join(", ")),
    };
    lines.push(Line::from(words::tame(&format!(
        "{} windows{missing}",
        windows.closed
    ))));
    let accounting = &update.facts.accounting;
    lines.push(Line::from(words::tame(&format!(
        "CPU time is counted by {}: {}",
        accounting.chosen, accounting.reason
    ))));
    lines.push(Line::default());
    lines.push(Line::styled("PROBE            STATE  WHY", Theme::head()));
    for probe in &update.facts.probes {
        let (state, style) = if probe.up {
            ("up", theme.good())
        } else {
            ("down", Theme::quiet())
        };
        lines.push(Line::from(vec![
            Span::raw(fit(&probe.probe, 17)),
            Span::styled(fit(state, 7), style),
            Span::raw(words::tame(&probe.reason)),
        ]));
    }
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((model.scroll, 0));
    frame.render_widget(text, area);
}

fn of_zone(zone: &Zone, theme: Theme) -> Line<'static> {
    let (state, style) = match zone {
        Zone { up: false, .. } => ("does not answer", theme.bad()),
        Zone { age_ns, .. } if *age_ns > OLD_NS => ("old", theme.bad()),
        Zone { power_uw: None, .. } => ("first reading", Theme::quiet()),
        _ => ("works", theme.good()),
    };
    let provenance = if zone.provenance == "estimated" {
        theme.estimate()
    } else {
        Style::new()
    };
    let error = zone.relative_error_p90_permille.map_or_else(
        || words::UNKNOWN.to_owned(),
        |error| format!("±{}", words::percent(error)),
    );
    let power = watts(zone.power_uw);
    let cells = [
        (format!("{}/{}", zone.component, zone.place), Style::new()),
        (zone.source.clone(), Style::new()),
        (state.to_owned(), style),
        (words::span(zone.age_ns / 1_000_000), Style::new()),
        (zone.provenance.clone(), provenance),
        (error, Style::new()),
    ];
    let cells = cells.iter().zip(WIDTHS);
    let mut spans: Vec<_> = cells
        .map(|((text, style), width)| Span::styled(fit(text, width), *style))
        .collect();
    spans.push(Span::raw(format!("{power:>7}")));
    Line::from(spans)
}

/// Sources that were chosen and have no zone yet.
fn silent(update: &Update) -> Vec<String> {
    let has_zone = |source: &str| update.zones.iter().any(|zone| zone.source == source);
    let silent = update.facts.sources.iter().filter(|one| !has_zone(&one.source));
    silent
        .map(|one| {
            let text = format!(
                "{}: no reading yet ({}); {}",
                one.source,
                one.components.join(", "),
                one.detail
            );
            words::tame(&text)
        })
        .collect()
}
