// SPDX-License-Identifier: Apache-2.0
//! Numbers and text for people at a terminal: owns how watts, energy, time and names look, the same as on the live page.
//! Knows no terminal; what comes from outside leaves here without anything that a terminal would obey.

use std::env::var_os;
use std::ffi::OsStr;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Microjoules in a kilowatt-hour.
pub const UJ_PER_KWH: f64 = 3.6e12;

/// What stands where nothing is known.
pub const UNKNOWN: &str = "-";

/// What an estimate begins with.
pub const ESTIMATE: &str = "≈";

/// A count as a number that is shown with some digits.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "shown with at most six digits; a double has fifteen"
)]
pub const fn real(count: u64) -> f64 {
    count as f64
}

/// Microwatts as watts, without the unit.
#[must_use]
pub fn watts(microwatts: Option<u64>) -> String {
    let Some(microwatts) = microwatts else {
        return UNKNOWN.to_owned();
    };
    let watts = real(microwatts) / 1e6;
    match watts {
        w if w > 0.0 && w < 0.005 => "<0.01".to_owned(),
        w if w >= 1000.0 => format!("{w:.0}"),
        w if w >= 100.0 => format!("{w:.1}"),
        w => format!("{w:.2}"),
    }
}

/// Microjoules as joules, without the unit.
#[must_use]
pub fn joules(microjoules: u64) -> String {
    match real(microjoules) / 1e6 {
        j if j > 0.0 && j < 0.000_5 => "<0.001".to_owned(),
        j if j >= 1000.0 => format!("{j:.1}"),
        j => format!("{j:.3}"),
    }
}

/// Microjoules as watt-hours, with the unit.
#[must_use]
pub fn energy(microjoules: u64) -> String {
    match real(microjoules) / 3.6e9 {
        wh if wh >= 1000.0 => format!("{:.3} kWh", wh / 1000.0),
        wh if wh >= 100.0 => format!("{wh:.1} Wh"),
        wh if wh >= 0.1 || wh == 0.0 => format!("{wh:.2} Wh"),
        wh if wh >= 0.000_01 => format!("{:.2} mWh", wh * 1000.0),
        _ => "<0.01 mWh".to_owned(),
    }
}

/// An amount of money or mass: three digits that mean something.
#[must_use]
pub fn amount(value: f64) -> String {
    match value.abs() {
        size if value != 0.0 && size < 0.000_1 => "<0.0001".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// Grams as a mass, with its unit.
#[must_use]
pub fn mass(grams: f64) -> String {
    if grams >= 1000.0 {
        format!("{} kg", amount(grams / 1000.0))
    } else {
        format!("{} g", amount(grams))
    }
}

/// Thousandths as a percentage, with its sign.
#[must_use]
pub fn percent(permille: u64) -> String {
    if permille < 100 {
        format!("{:.1} %", real(permille) / 10.0)
    } else {
        format!("{:.0} %", real(permille) / 10.0)
    }
}

/// Milliseconds as a length of time.
#[must_use]
pub fn span(ms: u64) -> String {
    let seconds = real(ms) / 1000.0;
    let (minutes, hours) = (ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{seconds:.1} s"),
        10_000..120_000 => format!("{seconds:.0} s"),
        _ if minutes < 120 => format!("{minutes} min"),
        _ if hours < 48 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A part of a whole as a percentage.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    let permille = u128::from(part)
        .saturating_mul(1000)
        .checked_div(u128::from(whole));
    permille.map_or_else(
        || UNKNOWN.to_owned(),
        |permille| percent(u64::try_from(permille).unwrap_or(u64::MAX)),
    )
}

/// How a figure came about: `measured`, or `estimated ±15 %`.
#[must_use]
pub fn origin(error_permille: Option<u64>) -> String {
    error_permille.map_or_else(
        || "measured".to_owned(),
        |error| format!("estimated ±{}", percent(error)),
    )
}

/// `≈` before what is an estimate.
#[must_use]
pub const fn mark(is_estimate: bool) -> &'static str {
    if is_estimate { ESTIMATE } else { "" }
}

/// A name from outside, harmless: control characters and overrides of the direction of writing are shown as what they
/// are, nothing to be seen; and so is what takes no column, which would move what stands behind it.
#[must_use]
pub fn tame(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            letter if letter.is_control() => '\u{fffd}',
            letter if letter.width().is_none_or(|width| width == 0) => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

/// A tame text in exactly so many columns, cut with a sign that it was, or filled up.
#[must_use]
pub fn fit(text: &str, columns: usize) -> String {
    let mut shown = cut(text, columns);
    let missing = columns.saturating_sub(shown.width());
    shown.extend(std::iter::repeat_n(' ', missing));
    shown
}

/// A tame text in at most so many columns.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    let text = tame(text);
    if text.width() <= columns {
        return text;
    }
    let mut shown = String::new();
    let mut used = 0;
    for letter in text.chars() {
        let width = letter.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        shown.push(letter);
    }
    if columns > 0 {
        shown.push('…');
    }
    shown
}

/// Columns that a text takes.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Whether colour is wanted where there could be some: <https://no-color.org> says that any non-empty value means no.
#[must_use]
pub fn colour_wanted() -> bool {
    wants_colour(var_os("NO_COLOR").as_deref())
}

fn wants_colour(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_look_as_they_do_on_the_page() {
        assert_eq!(watts(None), "-");
        assert_eq!(watts(Some(0)), "0.00");
        assert_eq!(watts(Some(4_999)), "<0.01");
        assert_eq!(watts(Some(12_345_678)), "12.35");
        assert_eq!(watts(Some(123_456_789)), "123.5");
        assert_eq!(watts(Some(1_234_567_890)), "1235");
        assert_eq!(energy(0), "0.00 Wh");
        assert_eq!(energy(36_000), "0.01 mWh");
        assert_eq!(energy(360_000_000), "0.10 Wh");
        assert_eq!(energy(360_000_000_000), "100.0 Wh");
        assert_eq!(energy(3_600_000_000_000), "1.000 kWh");
        assert_eq!(joules(1_234_567), "1.235");
        assert_eq!(joules(1), "<0.001");
        assert_eq!(
            (amount(0.0), amount(0.31), amount(123.4)),
            ("0.0000".into(), "0.310".into(), "123".into())
        );
        assert_eq!((mass(12.0), mass(1500.0)), ("12.0 g".into(), "1.50 kg".into()));
        assert_eq!((percent(57), percent(157)), ("5.7 %".into(), "16 %".into()));
        assert_eq!((share(1, 4), share(1, 0)), ("25 %".into(), "-".into()));
    }

    #[test]
    fn a_length_of_time_has_the_unit_that_fits_it() {
        let spans = [999, 1_500, 61_000, 3_600_000, 7_260_000, 180_000_000].map(span);
        assert_eq!(
            spans,
            ["999 ms", "1.5 s", "61 s", "60 min", "2 h 1 min", "2 d 2 h"]
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_nothing_to_be_seen() {
        assert_eq!(
            tame("a\x1b[2Jb\n\r\u{9b}c\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d"
        );
        assert_eq!(tame("e\u{301}\u{200b}x"), "e\u{fffd}\u{fffd}x");
    }

    #[test]
    fn a_text_takes_exactly_its_columns_also_where_letters_are_wide() {
        assert_eq!(fit("pod", 5), "pod  ");
        assert_eq!(fit("container", 5), "cont…");
        assert_eq!(fit("東京タワー", 6), "東京… ");
        assert_eq!(columns(&fit("東京タワー", 6)), 6);
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn any_value_of_no_color_turns_colour_off() {
        assert!(wants_colour(None) && wants_colour(Some(OsStr::new(""))));
        assert!(!wants_colour(Some(OsStr::new("0"))));
    }
}
