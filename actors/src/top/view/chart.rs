// SPDX-License-Identifier: Apache-2.0
//! Power over time in letters: idle below (░), dynamic above (█ with its top in eighths), nothing where nothing is known.

use super::Theme;
use crate::top::past::Mean;
use crate::words;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

const EIGHTHS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// Columns of the scale at the left, `123.4 W` with a space.
const SCALE: u16 = 9;

/// See the module's head.
pub(super) struct Chart {
    /// A column each; the last one is the newest.
    pub(super) columns: Vec<Option<Mean>>,
    pub(super) theme: Theme,
}

impl Chart {
    /// Columns for means in so much room.
    pub(super) fn room(area: Rect) -> usize {
        usize::from(area.width.saturating_sub(SCALE))
    }
}

impl Widget for Chart {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let power = |mean: &Mean| mean.dynamic.saturating_add(mean.idle);
        let most = self.columns.iter().flatten().map(power).max().unwrap_or(0);
        if most == 0 || area.height == 0 || area.width <= SCALE {
            return;
        }
        let scale = format!("{} W", words::watts(Some(most)));
        buffer.set_string(area.x, area.y, format!("{scale:>8}"), Theme::quiet());
        if area.height > 1 {
            buffer.set_string(area.x, area.bottom() - 1, "     0 W", Theme::quiet());
        }
        let room = Self::room(area);
        let skipped = self.columns.len().saturating_sub(room);
        let shown = self.columns.len().min(room);
        let first = area.right().saturating_sub(u16::try_from(shown).unwrap_or(0));
        for (x, mean) in (first..).zip(self.columns.iter().skip(skipped)) {
            let Some(mean) = mean else {
                continue;
            };
            let (idle, all) = (
                eighths(mean.idle, most, area.height),
                eighths(power(mean), most, area.height),
            );
            for (y, row) in (area.top()..area.bottom()).rev().zip(0_u64..) {
                let here = |eighths: u64| eighths.saturating_sub(row * 8).min(8);
                let (idle, all) = (here(idle), here(all));
                let Some(top) = all.checked_sub(1) else {
                    break;
                };
                // A letter is one or the other: what it is for the most part.
                let (letter, style) = if idle * 2 >= all {
                    ("░", self.theme.idle())
                } else {
                    let top = usize::try_from(top).unwrap_or(usize::MAX);
                    (EIGHTHS.get(top).copied().unwrap_or("█"), self.theme.dynamic())
                };
                buffer.set_string(x, y, letter, style);
            }
        }
    }
}

/// How many eighths of a row so much is.
fn eighths(value: u64, most: u64, rows: u16) -> u64 {
    let whole = u128::from(value) * u128::from(rows) * 8;
    // What is there is seen.
    let part = whole.div_ceil(u128::from(most.max(1)));
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_below_dynamic_above_and_a_gap_is_empty() {
        let mean = |dynamic: u64, idle: u64| {
            Some(Mean {
                dynamic: dynamic * 1_000_000,
                idle: idle * 1_000_000,
                is_estimate: false,
            })
        };
        let area = Rect::new(0, 0, SCALE + 5, 4);
        let mut buffer = Buffer::empty(area);
        let columns = vec![mean(20, 20), None, mean(0, 20), mean(5, 10), mean(1, 0)];
        Chart {
            columns,
            theme: Theme { colour: false },
        }
        .render(area, &mut buffer);
        let rows: Vec<String> = (0..4)
            .map(|y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect())
            .collect();
        assert_eq!(
            rows,
            [
                " 40.00 W █    ",
                "         █    ",
                "         ░ ░▄ ",
                "     0 W ░ ░░▁",
            ]
        );
    }

    #[test]
    fn no_room_and_no_figures_draw_nothing() {
        for (width, height) in [(0, 0), (3, 4), (20, 0), (20, 2)] {
            let area = Rect::new(0, 0, width, height);
            let mut buffer = Buffer::empty(area);
            Chart {
                columns: vec![None; 3],
                theme: Theme { colour: true },
            }
            .render(area, &mut buffer);
            assert_eq!(buffer, Buffer::empty(area));
        }
    }
}
