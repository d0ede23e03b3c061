// SPDX-License-Identifier: Apache-2.0
//! The page: docs/guest.md, a table for each guest.

use super::guest::Guest;
use super::judge::Row;
use super::scenes;
use std::fmt::Write as _;

/// A guest with what came out.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The guest.
    pub guest: Guest,
    /// What it is.
    pub about: &'static str,
    /// Its comparisons.
    pub rows: Vec<Row>,
}

impl Judged {
    /// Judges a guest by its name. `None` for a name that no scene has.
    #[must_use]
    pub fn new(guest: Guest) -> Option<Self> {
        let scene = scenes::ALL.iter().find(|scene| scene.name == guest.name)?;
        Some(Self {
            rows: (scene.judge)(&guest),
            about: scene.about,
            guest,
        })
    }

    /// What must not be: a comparison that failed, a guest that stopped.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let name = &self.guest.name;
        let failed = self.rows.iter().filter(|row| !row.good);
        let words = |row: &Row| match row.truth.as_str() {
            "" => format!("{name}: {}: {}", row.what, row.shown),
            truth => format!("{name}: {}: {}, where it is {truth}", row.what, row.shown),
        };
        let mut complaints: Vec<_> = failed.map(words).collect();
        if !self.guest.log.done {
            complaints.push(format!("{name}: the guest did not come to its end"));
        }
        complaints
    }
}

/// Why some meters are in no guest, for the page and for whoever watches.
pub const LEFT_OUT: &[&str] = &[
    "RAPL by perf events: QEMU's registers count nothing, so its PMU `power` has no event to read; that this is said is tested above.",
    "RAPL by `/dev/cpu/N/msr`: the same registers, which read as zero; that this is said is tested above.",
    "Drivers that want a bus or a firmware that QEMU has not: `ina3221`, `apm_xgene`, NVIDIA Grace's tables.",
    "`amdgpu`, `i915`, `xe` and NVIDIA's driver: they want a GPU.",
    "Redfish: it needs no driver; its tests speak HTTPS to servers of their own.",
];

const HEAD: &str = "# Meters in a guest

Written by `make test-guest`, which boots Debian's kernel in QEMU with two emulated CPUs (TCG, no KVM) and runs the daemon beside
the kernel's own drivers; change nothing here by hand.

Only what is below the drivers is simulated: registers, a firmware table, chips on a bus, a BMC. What these were told to use is
compared with `/metrics` over the same time, and has to agree to 1 %. `by the meter` is what the simulation itself counted between
the moments of the two readings; where a power was the same all the time, it is that power by the guest's clock.
";

/// The whole page.
#[must_use]
pub fn render(all: &[Judged]) -> String {
    let mut page = HEAD.to_owned();
    for judged in all {
        let Judged { guest, about, rows } = judged;
        let good = rows.iter().filter(|row| row.good).count();
        let _infallible = write!(
            page,
            "\n## {}: {about}\n\n{}, {}; {good} of {} as they should be.\n\n{}",
            guest.name,
            guest.log.release,
            guest.package,
            rows.len(),
            table(rows)
        );
    }
    page.push_str("\n## In no guest\n\n");
    for line in LEFT_OUT {
        let _infallible = writeln!(page, "- {line}");
    }
    page
}

/// A table of comparisons.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = "| | it is | kepler says | off by | |\n|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let off = row.off_ppm.map_or_else(String::new, percent);
        let verdict = if row.good { "ok" } else { "**failed**" };
        let cells = [row.what.as_str(), &row.truth, &row.shown, &off, verdict];
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _infallible = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// Millionths as per cent with two places.
fn percent(ppm: u64) -> String {
    let hundredths = (ppm + 50) / 100;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}
