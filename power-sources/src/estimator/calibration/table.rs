// SPDX-License-Identifier: Apache-2.0
//! A calibration as people read it: a table of errors by level of load for each zone.

use super::model::name;
use super::score::Level;
use super::validate::{BLOCKS, Calibration, ZoneCalibration, to_seconds};
use std::fmt;

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in &self.zones {
            zone.fmt(f)?;
        }
        for (zone, why) in &self.refused {
            writeln!(f, "{}: no model: {why}", name(&zone.to_string()))?;
        }
        Ok(())
    }
}

impl fmt::Display for ZoneCalibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.curve.seen();
        let seconds = |time| humantime::format_duration(to_seconds(time));
        writeln!(
            f,
            "{} ({}): {} samples of {} in {}, load {:.0} to {:.0} %",
            name(&self.zone.to_string()),
            name(&self.source),
            self.samples,
            seconds(self.every),
            seconds(self.span),
            low * 100.0,
            high * 100.0
        )?;
        writeln!(
            f,
            "  {:>6} {:>8} {:>10} {:>8} {:>8} {:>8}",
            "load", "samples", "W", "MAPE", "p10", "p90"
        )?;
        for (level, error) in &self.error.levels {
            let busy = f64::from(*level) / 10.0;
            let load = format!("{} %", u16::from(*level) * 10);
            row(f, &load, Some(self.curve.at(busy).watts), error)?;
        }
        row(f, "all", None, &self.error.all)?;
        writeln!(
            f,
            "  blocks of time: {BLOCKS}, with {} on each side that no curve saw",
            seconds(self.gap)
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, load: &str, watts: Option<f64>, error: &Level) -> fmt::Result {
    let watts = watts.map_or(String::new(), |watts| format!("{watts:.2}"));
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    writeln!(
        f,
        "  {load:>6} {:>8} {watts:>10} {:>8} {:>8} {:>8}",
        error.samples,
        percent(error.mean),
        percent(error.p10),
        percent(error.p90)
    )
}
