// SPDX-License-Identifier: Apache-2.0
//! A snapshot as a table for people, no wider than their terminal. Estimates begin with ≈, as on the live page.

use super::Picture;
use crate::client::Row;
use crate::words::{self, cut, fit, mark, watts};
use std::fmt::Write as _;

/// Columns of one figure with the space before it.
const FIGURE: usize = 11;
/// Fewest columns of a name; below it figures are left out, the least important first.
const NAME: usize = 16;

/// A head, and what is below it.
type Figure = (&'static str, fn(&Row) -> String);

/// The heads and values of the figures, the most important first.
const FIGURES: [Figure; 4] = [
    ("POWER W", |row| watts(row.power())),
    ("ENERGY", |row| words::energy(row.energy())),
    ("DYNAMIC W", |row| watts(row.dynamic_uw)),
    ("IDLE W", |row| watts(row.idle_uw)),
];

/// The table, with what is said of the node above it.
pub(super) fn text(picture: &Picture, width: usize) -> String {
    let mut out = head(picture, width);
    let figures = FIGURES.len().min(width.saturating_sub(NAME) / FIGURE);
    let figures = FIGURES.get(..figures).unwrap_or_default();
    let left = width.saturating_sub(figures.len() * FIGURE);
    // A third of what is left says what a row belongs to, where there is room.
    let group = if left >= 2 * NAME { left / 3 } else { 0 };
    let name = left.saturating_sub(group).saturating_sub(usize::from(group > 0));
    let mut line = |title: &str, belongs: &str, cells: &[String]| {
        let mut text = fit(title, name);
        if group > 0 {
            text.push(' ');
            text.push_str(&fit(belongs, group));
        }
        for cell in cells {
            let pad = FIGURE.saturating_sub(words::columns(cell));
            text.extend(std::iter::repeat_n(' ', pad));
            text.push_str(cell);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let level = picture.level;
    let heads: Vec<String> = figures.iter().map(|(head, _)| (*head).to_owned()).collect();
    line(
        &level.name().to_uppercase(),
        &level.group().to_uppercase(),
        &heads,
    );
    for row in &picture.update.rows {
        let title = if row.ended {
            format!("{} (ended)", row.title())
        } else {
            row.title()
        };
        let belongs = if row.group.is_empty() {
            &row.detail
        } else {
            &row.group
        };
        let cells: Vec<String> = figures
            .iter()
            .map(|(_, value)| format!("{}{}", mark(row.is_estimate()), value(row)))
            .collect();
        line(&title, belongs, &cells);
    }
    let others = &picture.update.others;
    if others.rows > 0 {
        let sum = Row {
            dynamic_uw: Some(others.dynamic_uw),
            idle_uw: Some(others.idle_uw),
            dynamic_uj: others.dynamic_uj,
            idle_uj: others.idle_uj,
            ..Row::default()
        };
        let cells: Vec<String> = figures.iter().map(|(_, value)| value(&sum)).collect();
        let some = if others.rows == 1 { "other" } else { "others" };
        line(&format!("{} {some}", others.rows), "", &cells);
    }
    if picture.update.rows.is_empty() && others.rows == 0 {
        line(&format!("(no {} here)", level.name().to_lowercase()), "", &[]);
    }
    out
}

fn head(picture: &Picture, width: usize) -> String {
    let (update, about) = (&picture.update, &picture.about);
    let node = &update.node;
    let estimate = mark(node.error_permille.is_some());
    let mut lines = vec![match node.power() {
        Some(power) => format!(
            "Node {estimate}{} W ({} W dynamic, {} W idle), {}",
            watts(Some(power)),
            watts(node.dynamic_uw),
            watts(node.idle_uw),
            words::origin(node.error_permille)
        ),
        None => "Node: no source has given power yet".to_owned(),
    }];
    let parts = update.components.iter().filter_map(|part| {
        let power = part.power.as_ref()?;
        let both = power.dynamic_uw.saturating_add(power.idle_uw);
        let mark = mark(power.error_permille.is_some());
        Some(format!("{} {mark}{} W", part.component, watts(Some(both))))
    });
    let parts: Vec<_> = parts.collect();
    if !parts.is_empty() {
        lines.push(format!("  {}", parts.join(", ")));
    }
    let mut so_far = format!("So far {estimate}{}", words::energy(node.energy()));
    let kwh = words::real(node.energy()) / words::UJ_PER_KWH;
    if let Some(price) = about.price_per_kwh {
        let amount = words::amount(kwh * price);
        write!(so_far, ", {estimate}{amount} {}", about.currency)
            .expect("writing into a string does not fail");
    }
    if let Some(grams) = about.grams_co2e_per_kwh {
        let mass = words::mass(kwh * grams);
        write!(so_far, ", {estimate}{mass} CO2e").expect("writing into a string does not fail");
    }
    if let Some(began) = update.began_ms {
        let span = words::span(update.now_ms.saturating_sub(began));
        write!(so_far, " in {span}").expect("writing into a string does not fail");
    }
    lines.push(so_far);
    lines.push(String::new());
    lines
        .iter()
        .map(|line| format!("{}\n", cut(line, width)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Sort;
    use super::super::tests::picture;
    use super::*;

    #[test]
    fn a_wide_terminal_shows_everything_and_marks_estimates() {
        let shown = text(&picture(Sort::Power, Some(2)), 100);
        let expected = "\
Node ≈30.00 W (9.00 W dynamic, 21.00 W idle), estimated ±15 %
  package 30.00 W
So far ≈3.00 Wh, ≈0.0009 EUR, ≈1.14 g CO2e in 60 s

CONTAINERS                            NAMESPACE             POWER W     ENERGY  DYNAMIC W     IDLE W
evil\u{fffd}[2J,\"\u{fffd}=1+1                       shop                    ≈7.50 ≈17.36 mWh      ≈5.00      ≈2.50
東京                                  shop                     3.00    0.14 Wh       2.00       1.00
1 other                                                        1.50    0.31 Wh       1.00       0.50
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_a_narrow_one_keeps_the_power() {
        for width in [1, 10, 20, 27, 40, 79, 80, 200] {
            for line in text(&picture(Sort::Power, None), width).lines() {
                assert!(words::columns(line) <= width, "{width}: {line}");
                assert!(!line.contains('\x1b'));
            }
        }
        let narrow = text(&picture(Sort::Power, None), 30);
        assert!(narrow.contains("CONTAINERS             POWER W"), "{narrow}");
    }
}
