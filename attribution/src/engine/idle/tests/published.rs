// SPDX-License-Identifier: Apache-2.0
//! The curves of real servers: SPECpower_ssj2008 results give watts at each tenth of load and at active idle. What is
//! followed down from the upper tenths is compared with idle.
//!
//! The table of results is not in this repository; `SHARED` names the folder with `data/specpower_ssj2008.csv`.

use super::fit::{self, Point};
use super::*;

/// Watts at idle, then at 10 % to 100 % of load.
type Curve = [f64; 11];

fn curves() -> Option<Vec<Curve>> {
    let shared = std::env::var_os("SHARED")?;
    let path = std::path::Path::new(&shared).join("data/specpower_ssj2008.csv");
    let text = std::fs::read_to_string(path).ok()?;
    // The last eleven columns are watts, from full load to idle. Commas before them may be in quotes.
    let curve = |line: &str| {
        let mut curve = Curve::default();
        let mut fields = line.rsplit(',');
        for slot in &mut curve {
            *slot = fields.next()?.trim().parse().ok()?;
        }
        Some(curve)
    };
    Some(text.lines().skip(1).filter_map(curve).collect())
}

/// What is said of a curve that is seen from `lowest` tenths of load up.
fn floor_of(curve: &Curve, lowest: usize) -> Option<f64> {
    let points: Vec<Point> = (lowest..=10)
        .map(|tenth| Point {
            busy: tenth as f64 / 10.0,
            watts: curve[tenth],
            error: curve[tenth] / 100.0,
            age: Duration::ZERO,
            restored: false,
            slope: None,
        })
        .collect();
    // What servers typically have was made of these very curves.
    let found = fit::floor(&points).filter(|found| found.origin != FloorOrigin::Typical);
    found.map(|found| found.watts)
}

#[test]
fn of_published_servers_the_floor_is_found_to_a_quarter_in_the_median_without_seeing_them_idle() {
    let Some(curves) = curves() else {
        eprintln!("skipped: the environment variable SHARED names no folder with data/specpower_ssj2008.csv");
        return;
    };
    assert!(curves.len() > 400, "{}", curves.len());
    for (lowest, allowed) in [(1, 0.25), (2, 0.25), (3, 0.22), (4, 0.22), (5, 0.27)] {
        let error = |floor: f64, curve: &Curve| (floor - curve[0]).abs() / curve[0];
        let mut errors: Vec<f64> = curves
            .iter()
            .filter_map(|curve| Some(error(floor_of(curve, lowest)?, curve)))
            .collect();
        let mut taken: Vec<f64> = curves.iter().map(|curve| error(curve[lowest], curve)).collect();
        let answered = errors.len();
        let ours = fit::median(&mut errors).expect("errors");
        let lowest_power = fit::median(&mut taken).expect("errors");
        println!(
            "seen from {lowest}0 %: {answered} of {} have a floor, median error {:.0} %; the lowest power, taken for it: {:.0} %",
            curves.len(),
            ours * 100.0,
            lowest_power * 100.0
        );
        assert!(answered * 3 > curves.len() * 2, "from {lowest}: {answered}");
        assert!(ours <= allowed, "from {lowest}: {ours}");
        assert!(ours * 1.5 < lowest_power, "from {lowest}: {ours} {lowest_power}");
    }
}

#[test]
fn what_servers_typically_have_is_the_median_of_the_published_ones_and_nearer_than_the_busy_share() {
    let Some(curves) = curves() else {
        eprintln!("skipped: the environment variable SHARED names no folder with data/specpower_ssj2008.csv");
        return;
    };
    for (tenth, typical) in fit::TYPICAL.iter().enumerate() {
        let of = |curve: &Curve| curve[tenth] / curve[0];
        let mut ratios: Vec<f64> = curves.iter().map(of).collect();
        let median = fit::median(&mut ratios).expect("ratios");
        assert!((median - typical).abs() < 0.02, "{tenth}0 %: {median}");
        let miss = |share: f64| -> f64 {
            let mut misses: Vec<f64> = curves
                .iter()
                .map(|curve| (of(curve) * share - 1.0).abs())
                .collect();
            fit::median(&mut misses).expect("misses")
        };
        let by_busy_share = miss(1.0 - tenth as f64 / 10.0);
        assert!(
            miss(1.0 / typical) <= by_busy_share + 0.02,
            "{tenth}0 %: {by_busy_share}"
        );
    }
}
