// SPDX-License-Identifier: Apache-2.0
//! How far it has come, for people: a bar on a terminal, and a line in the log now and then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(30);
/// Steps of the bar.
const STEPS: u32 = 1_000;
/// What a bar looks like; with a colour, and without (<https://no-color.org>).
const COLOURED: &str = "{bar:30.cyan} {percent:>3} % {msg}";
const PLAIN: &str = "{bar:30} {percent:>3} % {msg}";

/// See the module's head.
pub(super) enum Gauge {
    /// A terminal reads along.
    Bar(ProgressBar),
    /// A file or another program does.
    Lines {
        /// When the newest line was written, since the beginning.
        newest: Option<Duration>,
        /// The level that it told of.
        level: Option<u32>,
    },
}

impl Gauge {
    pub(super) fn new() -> Self {
        if !stderr().is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return Self::lines();
        }
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match ProgressStyle::with_template(if plain { PLAIN } else { COLOURED }) {
            Ok(style) => {
                let bar = ProgressBar::with_draw_target(Some(STEPS.into()), ProgressDrawTarget::stderr());
                Self::Bar(bar.with_style(style.progress_chars("=> ")))
            }
            Err(error) => {
                tracing::debug!(%error, "no progress bar");
                Self::lines()
            }
        }
    }

    const fn lines() -> Self {
        Self::Lines {
            newest: None,
            level: None,
        }
    }

    /// Shows that `done` of all is done after `passed`, at this level of load in percent where we make it.
    pub(super) fn show(&mut self, passed: Duration, done: f64, level: Option<u32>, words: &str) {
        let seconds = humantime::format_duration(Duration::from_secs(passed.as_secs()));
        match self {
            Self::Bar(bar) => {
                bar.set_position(steps(done));
                let level = level.map_or(String::new(), |level| format!("load {level} %, "));
                bar.set_message(format!("{seconds}: {level}{words}"));
            }
            Self::Lines { newest, level: told } => {
                let due = newest.is_none_or(|newest| passed.saturating_sub(newest) >= LINES);
                if due || *told != level {
                    (*newest, *told) = (Some(passed), level);
                    let percent = steps(done) / 10;
                    tracing::info!(%seconds, percent, load = level, seen = words, "watching");
                }
            }
        }
    }
}

/// Leaves the terminal as it was, also when a signal ends the watch.
impl Drop for Gauge {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Steps of the bar that are done.
fn steps(done: f64) -> u64 {
    let done = if done.is_finite() {
        done.clamp(0.0, 1.0)
    } else {
        0.0
    };
    // As many microseconds as steps.
    let micro = Duration::from_secs_f64(done * f64::from(STEPS) / 1e6).as_micros();
    u64::try_from(micro).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_its_steps_and_no_more() {
        assert_eq!(
            [0.0, 0.5, 1.0, 7.0, -1.0, f64::NAN].map(steps),
            [0, 500, 1_000, 1_000, 0, 0]
        );
        for template in [COLOURED, PLAIN] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn without_a_terminal_there_is_a_line_for_each_level_and_now_and_then() {
        let mut gauge = Gauge::lines();
        let mut told = |seconds: u64, level| {
            gauge.show(Duration::from_secs(seconds), 0.1, level, "");
            match &gauge {
                Gauge::Lines { newest, .. } => newest.unwrap().as_secs(),
                Gauge::Bar(_) => panic!("a bar"),
            }
        };
        let newest = [
            (0, None),
            (29, None),
            (30, None),
            (31, Some(50)),
            (32, Some(50)),
            (61, Some(50)),
        ];
        assert_eq!(
            newest.map(|(seconds, level)| told(seconds, level)),
            [0, 0, 30, 31, 31, 61]
        );
    }
}
