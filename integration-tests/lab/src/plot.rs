// SPDX-License-Identifier: Apache-2.0
//! Draws scenario by rule: a mark for each rule's error on a logarithmic scale.

use crate::rules::{kepler_current, kepler_ebpf, ours};
use crate::table::Judged;
use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    Circle, Color, DrawingArea, DrawingBackend, IntoDrawingArea, IntoFont, PathElement, Polygon, RGBColor,
    Rectangle, SVGBackend, ShapeStyle, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// A point in pixels.
type Point = (i32, i32);

/// Pixels. The height follows from the number of rows.
const WIDTH: i32 = 1_000;
const LEFT: i32 = 190;
const RIGHT: i32 = WIDTH - 40;
const TOP: i32 = 128;
const ROW: i32 = 30;
const BOTTOM: i32 = 56;
/// Percent at the ends of the scale. What is beyond is drawn at the end.
const SCALE: (f64, f64) = (0.1, 1_000.0);

const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(120, 120, 120);
const LINE: RGBColor = RGBColor(222, 222, 222);
const STRIPE: RGBColor = RGBColor(247, 247, 247);
// Okabe and Ito's colours, which most people can tell apart; shapes do it for everybody.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const PURPLE: RGBColor = RGBColor(171, 84, 140);

#[derive(Clone, Copy)]
enum Shape {
    Round,
    Triangle,
    Square,
}

/// How a rule is drawn.
struct Mark {
    rule: &'static str,
    shape: Shape,
    color: RGBColor,
    filled: bool,
    /// Pixels below the middle of the row, so that one rule does not hide another.
    below: i32,
}

/// How rules are drawn that were run, in the order of the legend; the first one is in front.
#[rustfmt::skip] // A table is read by its columns.
const MARKS: [Mark; 7] = [
    Mark { rule: ours::OURS, shape: Shape::Round, color: BLUE, filled: true, below: -8 },
    Mark { rule: ours::UNCOUNTED, shape: Shape::Round, color: BLUE, filled: false, below: -8 },
    Mark { rule: ours::LEARNED, shape: Shape::Square, color: BLUE, filled: true, below: -8 },
    Mark { rule: kepler_ebpf::SAMPLED, shape: Shape::Triangle, color: ORANGE, filled: true, below: 0 },
    Mark { rule: kepler_ebpf::FORMULA, shape: Shape::Triangle, color: ORANGE, filled: false, below: 0 },
    Mark { rule: kepler_current::SAMPLED, shape: Shape::Square, color: PURPLE, filled: true, below: 8 },
    Mark { rule: kepler_current::FORMULA, shape: Shape::Square, color: PURPLE, filled: false, below: 8 },
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// Draws what was judged into an SVG file.
///
/// # Errors
/// The file system's.
pub fn draw(judged: &[Judged], path: &Path) -> Drawn {
    let rows = i32::try_from(judged.len()).unwrap_or(0);
    let height = TOP + rows * ROW + BOTTOM;
    let area = SVGBackend::new(path, (WIDTH.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
    area.fill(&WHITE)?;
    heading(&area)?;
    grid(&area, rows)?;
    for (row, one) in (0..).zip(judged) {
        let y = TOP + row * ROW + ROW / 2;
        text(&area, one.run.name, (LEFT - 14, y), 14, INK, HPos::Right)?;
        for mark in MARKS.iter().rev() {
            if let Some(score) = one.scores.iter().find(|score| score.rule == mark.rule) {
                mark.draw(&area, (place(score.error), y + mark.below))?;
            }
        }
    }
    area.present()
}

fn heading(area: &Area<'_>) -> Drawn {
    text(
        area,
        "How far each rule is from the truth",
        (24, 30),
        22,
        INK,
        HPos::Left,
    )?;
    let about = "Energy on the wrong bill, in percent of all dynamic energy, by scenario. Further left is better; the scale is logarithmic.";
    text(area, about, (24, 56), 13, FAINT, HPos::Left)?;
    let mut x = 32;
    for mark in &MARKS {
        mark.draw(area, (x, 84))?;
        text(area, mark.rule, (x + 12, 84), 13, INK, HPos::Left)?;
        x += 46 + i32::try_from(mark.rule.len()).unwrap_or(0) * 7;
    }
    Ok(())
}

fn grid(area: &Area<'_>, rows: i32) -> Drawn {
    let (top, bottom) = (TOP, TOP + rows * ROW);
    for row in (0..rows).step_by(2) {
        let y = TOP + row * ROW;
        area.draw(&Rectangle::new([(24, y), (RIGHT + 16, y + ROW)], STRIPE.filled()))?;
    }
    for (percent, label) in [
        (0.1, "0.1 %"),
        (1.0, "1 %"),
        (10.0, "10 %"),
        (100.0, "100 %"),
        (1_000.0, "1000 %"),
    ] {
        let x = place(percent);
        area.draw(&PathElement::new([(x, top), (x, bottom)], LINE.stroke_width(1)))?;
        text(area, label, (x, bottom + 16), 13, FAINT, HPos::Center)?;
        text(area, label, (x, top - 12), 13, FAINT, HPos::Center)?;
    }
    let note = "A mark at an end of the scale is beyond it. Hollow: for this project no hardware counters, for the others their formula over perfect input.";
    text(area, note, (24, bottom + 40), 12, FAINT, HPos::Left)
}

/// Where a percentage is.
fn place(percent: f64) -> i32 {
    let share = (percent.clamp(SCALE.0, SCALE.1) / SCALE.0).ln() / (SCALE.1 / SCALE.0).ln();
    LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32
}

fn text(area: &Area<'_>, words: &str, at: Point, size: i32, color: RGBColor, side: HPos) -> Drawn {
    let style = ("sans-serif", size)
        .into_font()
        .color(&color)
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), at, style))
}

impl Mark {
    fn draw(&self, area: &Area<'_>, (x, y): Point) -> Drawn {
        match self.shape {
            Shape::Round => {
                area.draw(&Circle::new((x, y), 5, self.inside()))?;
                area.draw(&Circle::new((x, y), 5, self.color.stroke_width(2)))
            }
            Shape::Triangle => {
                let corners = [(x, y - 5), (x + 6, y + 5), (x - 6, y + 5)];
                area.draw(&Polygon::new(corners, self.inside()))?;
                let edge = [corners[0], corners[1], corners[2], corners[0]];
                area.draw(&PathElement::new(edge, self.color.stroke_width(2)))
            }
            Shape::Square => {
                let corners = [(x - 4, y - 4), (x + 4, y + 4)];
                area.draw(&Rectangle::new(corners, self.inside()))?;
                area.draw(&Rectangle::new(corners, self.color.stroke_width(2)))
            }
        }
    }

    fn inside(&self) -> ShapeStyle {
        if self.filled {
            self.color.filled()
        } else {
            WHITE.filled()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_logarithmic_and_ends_where_it_ends() {
        assert_eq!(place(0.0), LEFT);
        assert_eq!(place(1e6), RIGHT);
        assert_eq!(place(10.0), i32::midpoint(LEFT, RIGHT));
    }
}
