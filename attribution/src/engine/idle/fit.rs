// SPDX-License-Identifier: Apache-2.0
//! From points of power against busy share to the power at no busy share: pure arithmetic over plain values.
//!
//! Each point is a median, so wild samples are out before anything is fitted here. Three cases:
//!
//! - **There are quiet windows** ([`NEAR`]). The floor is what they drew less what their remaining work costs. Windows of
//!   one bin waver, and where their power wavers with their work ([`slope_within`]) that says what it costs: the first
//!   thread that is awake wakes its socket, so a third of a percent of CPU time may draw a tenth of the power, and work that
//!   is always there is told from rest by nothing else. Where they are all alike, as far as noise lets see, a line through
//!   the points, in which those near rest count for nearly everything. Power curves are steep at the bottom and bend upward
//!   at the top (turbo), and a line over everything would be wrong at both ends.
//! - **There are none, but different loads.** A line through the lowest points ([`LOW`]) is followed down to no work:
//!   weighted Theil-Sen, which needs many of the points to be wrong before it is. Only the lowest, because published curves
//!   of servers bend upward at the top: from 40 % of load up, over 498 of them, this line misses their power at idle by 19 %
//!   in the median, one over all points by 28 %, and the lowest power seen, taken for the floor, by 101 %. A square or a
//!   root of the load does worse than a line (67 %, 167 %), also where it fits better: what a curve does below the lowest
//!   point is not seen, and the error says so.
//! - **Neither**: not enough spread, too much scatter, or a line that would be below nothing. Then the same published
//!   servers say how much less they draw at rest than at the load of the lowest point ([`TYPICAL`]). That is a guess about
//!   this machine, and nearer than energy times idle share of time.

use crate::model::FloorOrigin;
use std::time::Duration;

/// A point at no more than this busy share counts as quiet.
const NEAR: f64 = 0.05;
/// Points, from the lowest to the highest, must span this much before they are followed down...
const SPREAD: f64 = 0.15;
/// ...and at least one part of so many that they are followed down.
const REACH: f64 = 2.0;
/// Points that a line needs.
const ENOUGH: usize = 4;
/// Points up to so much above the lowest make the line, where they are enough.
const LOW: f64 = 0.35;
/// Scatter may move the answer by this part of the lowest point's power.
const SCATTER: f64 = 0.125;
/// This part of what was followed through the unseen is added to the error: three of four published curves miss by less,
/// seen from 40 % up.
const UNSEEN: f64 = 0.4;
/// A point that is so many seconds older than the newest quiet one counts half, and soon nothing.
const COUNTS_HALF: f64 = 3_600.0;
/// Beyond this busy share points say little about rest.
const AROUND_REST: f64 = 0.02;
/// Where no slope is seen it may be so many times what is drawn now: of 498 published servers the median one draws 44 % more
/// at a tenth of load than at rest, which is a slope of three times that power.
const UNSEEN_SLOPE: f64 = 3.0;
/// Points that are not as far apart as this, or as they are from rest, tell no slope, but noise.
const LEAST_SPREAD: f64 = 0.005;
/// Power at each tenth of load over that at rest: medians of 498 published servers (SPECpower_ssj2008). Half of them are
/// within 16 to 27 % of it, and energy times idle share misses by 19 to 100 %.
pub(super) const TYPICAL: [f64; 11] = [1.0, 1.44, 1.63, 1.82, 2.01, 2.23, 2.47, 2.76, 3.05, 3.36, 3.67];
/// Three of four published servers are within so much of it.
const TYPICAL_ERROR: f64 = 0.4;
/// Samples that tell a slope among themselves.
const SLOPE_ENOUGH: usize = 16;
/// Standard errors from which a slope is no coincidence.
const SURE: f64 = 3.0;
/// ...and what a coincidence of that kind may be wrong by, as a part of the power: of a noisy meter many slopes are told in
/// a week, and one of them is none.
const DOUBTFUL: f64 = 0.02;
/// Work that is nearly none is not most of what is drawn.
const MOST_WORK: f64 = 0.5;

/// What was seen at one busy share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Median busy share, 0 to 1.
    pub(super) busy: f64,
    /// Median power in watts.
    pub(super) watts: f64,
    /// Standard error of that median in watts.
    pub(super) error: f64,
    /// Time since the newest sample.
    pub(super) age: Duration,
    /// Whether it was learned by an earlier run.
    pub(super) restored: bool,
    /// How power rose with work among its samples, where that can be told from noise.
    pub(super) slope: Option<Slope>,
}

/// Watts for all CPUs busy, as a straight line has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    pub(super) watts: f64,
    /// Standard error.
    pub(super) error: f64,
}

/// A floor and how it came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// Never negative, and never above a point that is as new as what it rests on.
    pub(super) watts: f64,
    /// Expected error in watts.
    pub(super) error: f64,
    pub(super) origin: FloorOrigin,
}

/// The floor under `points`, which are sorted by busy share.
pub(super) fn floor(points: &[Point]) -> Option<Estimate> {
    let base = points.first()?;
    let quiet = points.iter().take_while(|point| point.busy <= NEAR);
    let newest_quiet = quiet.min_by_key(|point| point.age);
    let (watts, error, origin) = if let Some(newest) = newest_quiet {
        let local = from_rest_itself(points, base.busy, newest.age);
        let (watts, error) = local.or_else(|| corrected(points, base.busy, newest.age))?;
        (watts, error, FloorOrigin::Measured)
    } else {
        match followed_down(base, points) {
            Some((watts, error)) => (watts, error, FloorOrigin::Extrapolated),
            None => {
                let (watts, error) = typical(base);
                (watts, error, FloorOrigin::Typical)
            }
        }
    };
    // A place that drew less, and not longer ago, proves that rest draws no more. One from longer ago proves
    // nothing: the machine may have been colder.
    let rests_on = newest_quiet.unwrap_or(base);
    let proven = points.iter().filter(|point| point.age <= rests_on.age);
    let lowest = proven.map(|point| point.watts).fold(rests_on.watts, f64::min);
    Some(Estimate {
        watts: watts.min(lowest).max(0.0),
        error,
        origin: if rests_on.restored && origin != FloorOrigin::Typical {
            FloorOrigin::Restored
        } else {
            origin
        },
    })
}

/// Power at no work by what the windows around rest tell among themselves. `None` where they are all alike, as far as noise
/// lets see.
fn from_rest_itself(points: &[Point], lowest: f64, newest: Duration) -> Option<(f64, f64)> {
    let around = points
        .iter()
        .take_while(|point| point.busy <= (2.0 * lowest).min(NEAR));
    let found = around.filter_map(|point| {
        let slope = point.slope?;
        let work = slope.watts * point.busy;
        // What bends in between is not seen: a quarter of what is taken off is doubtful.
        let error = point.error.hypot(slope.error * point.busy) + work / 4.0;
        let later = point.age.saturating_sub(newest).as_secs_f64() / COUNTS_HALF;
        let is_sure = slope.error * point.busy <= point.watts * DOUBTFUL && work <= point.watts * MOST_WORK;
        (is_sure && later <= 1.0).then_some((point.watts - work, error))
    });
    found.min_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// How power rises with work among samples of nearly the same: (busy share, watts). `None` where noise could say the same.
pub(super) fn slope_within(samples: &[(f64, f64)]) -> Option<Slope> {
    if samples.len() < SLOPE_ENOUGH {
        return None;
    }
    let mut slopes = slopes(samples);
    let watts = weighted_median(&mut slopes)?;
    let mut rests: Vec<f64> = samples.iter().map(|(busy, power)| power - watts * busy).collect();
    let rest = median(&mut rests)?;
    let mut off: Vec<f64> = rests.iter().map(|one| (one - rest).abs()).collect();
    let deviation = median(&mut off)? * 1.48 * 1.25;
    let centre = mean(samples.iter().map(|(busy, _)| *busy))?;
    let width: f64 = samples.iter().map(|(busy, _)| (busy - centre).powi(2)).sum();
    let error = deviation / width.sqrt();
    (watts > SURE * error).then_some(Slope { watts, error })
}

/// Slopes of all pairs, each as heavy as it is long.
fn slopes(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, one) in points.iter().enumerate() {
        for other in points.iter().skip(index + 1) {
            let length = other.0 - one.0;
            if length.abs() > 0.0 {
                slopes.push(((other.1 - one.1) / length, length.abs()));
            }
        }
    }
    slopes
}

/// Power at no work by a weighted line through the points around rest. The surest, newest and quietest count most: of a
/// load that never quite rests the quietest bin has few samples, a warmer machine shows first where it is most of the
/// time, and what is far from rest is on another part of the curve. How long ago all of them were seen does not matter.
fn corrected(points: &[Point], lowest: f64, newest: Duration) -> Option<(f64, f64)> {
    let weigh = |point: &Point| {
        // At least a thousandth: nothing is so sure that it counts alone.
        let error = point.error.max(point.watts / 1e3).max(1e-6);
        let later = point.age.saturating_sub(newest).as_secs_f64();
        let distance = point.busy / (AROUND_REST + lowest);
        1.0 / (error.powi(2) * (1.0 + (later / COUNTS_HALF).powi(2)) * (1.0 + distance.powi(4)))
    };
    let weighted: Vec<(&Point, f64)> = points.iter().map(|point| (point, weigh(point))).collect();
    let sum = |of: fn(&Point) -> f64| {
        weighted
            .iter()
            .map(|(point, weight)| weight * of(point))
            .sum::<f64>()
    };
    let (weights, busy, squares) = (
        sum(|_| 1.0),
        sum(|point| point.busy),
        sum(|point| point.busy.powi(2)),
    );
    let (watts, products) = (sum(|point| point.watts), sum(|point| point.watts * point.busy));
    let width = weights * squares - busy * busy;
    let (centre, level) = (busy / weights, watts / weights);
    let spread = points.last().map_or(0.0, |highest| highest.busy) - lowest;
    let is_wide = spread > lowest.max(LEAST_SPREAD) && width > 0.0;
    let slope = is_wide.then(|| (weights * products - busy * watts) / width);
    // Where no slope can be seen the whole machine at work is taken to draw twice what it draws now: servers draw two
    // to five times, and a correction that is too small errs less than the whole. Work costs no less than nothing.
    let (slope, doubt) = slope.map_or((level, UNSEEN_SLOPE * level), |slope| {
        (slope.max(0.0), slope.abs() / 2.0)
    });
    // How an error of each point moves the answer.
    let moved = weighted.iter().map(|(point, weight)| {
        let part = match is_wide && slope > 0.0 {
            true => weight * (squares - point.busy * busy) / width,
            false => weight / weights,
        };
        (part * point.error).powi(2)
    });
    let scatter = moved.sum::<f64>().sqrt();
    (weights > 0.0).then_some((level - slope * centre, scatter + doubt * lowest))
}

/// Power at no work by following the points down; `None` where they do not carry that far.
fn followed_down(base: &Point, points: &[Point]) -> Option<(f64, f64)> {
    let low = points.partition_point(|point| point.busy <= base.busy + LOW);
    let low = points.get(..low)?;
    let (watts, scatter) = line(low).or_else(|| line(points))?;
    let unseen = (base.watts - watts).max(0.0) * UNSEEN;
    let believed = scatter <= base.watts * SCATTER && watts >= -scatter;
    believed.then_some((watts, scatter + unseen))
}

/// Power at no work as far below `base` as published servers have it.
fn typical(base: &Point) -> (f64, f64) {
    let tenths = TYPICAL.iter().zip(TYPICAL.iter().skip(1)).zip(0_u32..);
    let ratio = tenths.fold(1.0, |ratio, ((low, high), tenth)| {
        let part = (base.busy * 10.0 - f64::from(tenth)).clamp(0.0, 1.0);
        if part > 0.0 {
            low + (high - low) * part
        } else {
            ratio
        }
    });
    let watts = base.watts / ratio;
    (watts, watts * TYPICAL_ERROR)
}

/// Weighted Theil-Sen: the median slope of all pairs, each as heavy as it is long, and the median intercept, with its
/// error by scatter. `None` where the points are too few or too near to each other.
fn line(points: &[Point]) -> Option<(f64, f64)> {
    let lowest = points.first()?.busy;
    let spread = points.last()?.busy - lowest;
    if points.len() < ENOUGH || spread < SPREAD || lowest > spread * REACH {
        return None;
    }
    let places: Vec<(f64, f64)> = points.iter().map(|point| (point.busy, point.watts)).collect();
    let slope = weighted_median(&mut slopes(&places))?;
    let rest = |point: &Point| point.watts - slope * point.busy;
    let watts = median(&mut points.iter().map(rest).collect::<Vec<_>>())?;
    let residual = mean(points.iter().map(|point| (rest(point) - watts).abs()))?;
    let noise = mean(points.iter().map(|point| point.error))?;
    let centre = mean(points.iter().map(|point| point.busy))?;
    let width: f64 = points.iter().map(|point| (point.busy - centre).powi(2)).sum();
    let count = points.iter().fold(0.0, |count, _| count + 1.0);
    // The textbook's error of an intercept; 1.25 makes a standard deviation of a mean absolute one.
    let deviation = (residual * 1.25).max(noise);
    Some((watts, deviation * (1.0 / count + centre * centre / width).sqrt()))
}

/// The lower median.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn weighted_median(values: &mut [(f64, f64)]) -> Option<f64> {
    values.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    values
        .iter()
        .find(|(_, weight)| {
            sum += weight;
            sum >= half
        })
        .map(|(value, _)| *value)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(busy: &[f64], power: impl Fn(f64) -> f64) -> Vec<Point> {
        let point = |busy: &f64| Point {
            busy: *busy,
            watts: power(*busy),
            error: 0.05,
            age: Duration::ZERO,
            restored: false,
            slope: None,
        };
        busy.iter().map(point).collect()
    }

    fn near(busy: &[f64], power: impl Fn(f64) -> f64) -> f64 {
        let found = floor(&points(busy, power)).expect("a floor");
        assert_eq!(found.origin, FloorOrigin::Measured);
        found.watts
    }

    /// Exactly what is at rest where the curve is a line near it, and within a few percent where it bends there.
    #[test]
    fn what_the_quietest_windows_still_do_is_corrected_for_by_the_local_slope() {
        let line = |busy: f64| 20.0 + 80.0 * busy;
        assert!((near(&[0.03, 0.08, 0.5, 1.0], line) - 20.0).abs() < 1e-9);
        assert!((near(&[0.03, 1.0], line) - 20.0).abs() < 1e-9);
        // The first cores cost more: 15 W for waking the socket.
        let concave = |busy: f64| 20.0 + 15.0 * (1.0 - (-busy / 0.05).exp()) + 60.0 * busy;
        let floor = near(&[0.007, 0.015, 0.03, 0.2, 1.0], concave);
        assert!((floor - 20.0).abs() < 1.0, "{floor}");
        // Turbo: the last percent cost most.
        let convex = |busy: f64| 20.0 + 80.0 * busy.powi(3);
        let floor = near(&[0.03, 0.08, 0.2, 1.0], convex);
        assert!((floor - 20.0).abs() < 0.2, "{floor}");
    }

    #[test]
    fn a_single_quiet_point_is_not_all_idle() {
        assert!((near(&[0.04], |_| 50.0) - 48.0).abs() < 1e-9);
        assert!((near(&[0.0], |_| 50.0) - 50.0).abs() < 1e-9);
        // One thread of a large node that never rests may have woken a whole socket.
        let error = |busy| floor(&points(&[busy], |_| 50.0)).expect("a floor").error;
        assert!((error(0.04) - (3.0 * 0.04 * 50.0 + 0.05)).abs() < 1e-9);
        assert!(
            (error(0.0) - 0.05).abs() < 1e-9,
            "at rest there is nothing to correct"
        );
    }

    /// Samples around a busy share of 0.3 %, `watts` per busy machine on top of 20 W, with noise of `noise` W at most.
    fn wavering(count: u32, watts: f64, noise: f64) -> Vec<(f64, f64)> {
        let sample = |index: u32| {
            let busy = 0.003 + 0.000_02 * (f64::from(index * 7 % 11) - 5.0);
            let off = (f64::from(index * 5 % 13) - 6.0) / 6.0;
            (busy, watts.mul_add(busy, 20.0) + noise * off)
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn samples_of_one_load_tell_a_slope_where_noise_does_not_hide_it() {
        let slope = slope_within(&wavering(32, 600.0, 0.01)).expect("a slope");
        assert!(
            (slope.watts - 600.0).abs() < 4.0 * slope.error && slope.error < 60.0,
            "{slope:?}"
        );
        assert_eq!(
            slope_within(&wavering(32, 600.0, 0.2)),
            None,
            "noise says the same"
        );
        assert_eq!(slope_within(&wavering(32, 0.0, 0.01)), None);
        assert_eq!(
            slope_within(&wavering(32, -600.0, 0.01)),
            None,
            "work costs no less than nothing"
        );
        assert_eq!(slope_within(&wavering(15, 600.0, 0.01)), None, "too few");
        assert_eq!(
            slope_within(&[(0.003, 20.0); 32]),
            None,
            "of one place there is no slope"
        );
        let mut torn = wavering(32, 600.0, 0.01);
        for (sample, watts) in torn.iter_mut().zip([0.0, 400.0, 35.0]) {
            sample.1 = watts;
        }
        let found = slope_within(&torn).expect("a slope");
        assert!((found.watts - slope.watts).abs() < 4.0 * slope.error, "{found:?}");
    }

    #[test]
    fn around_rest_the_slope_among_windows_of_one_load_says_what_their_work_costs() {
        let at = |busy, watts: f64, slope| Point {
            slope: Some(Slope {
                watts: slope,
                error: 10.0,
            }),
            ..points(&[busy], |_| watts).remove(0)
        };
        let floor_of = |points: &[Point]| floor(points).expect("a floor").watts;
        assert!((floor_of(&[at(0.003, 22.0, 600.0)]) - 20.2).abs() < 1e-9);
        // On top of a line that is flatter further up.
        let mut all = vec![at(0.003, 22.0, 600.0)];
        all.extend(points(&[0.3, 0.6, 0.9], |busy| 30.0 + 60.0 * busy));
        assert!((floor_of(&all) - 20.2).abs() < 1e-9);
        // A slope that may be wrong by more than a few percent of the power is left alone.
        let doubtful = Slope {
            watts: 600.0,
            error: 190.0,
        };
        let doubtful = Point {
            slope: Some(doubtful),
            ..at(0.003, 22.0, 0.0)
        };
        assert!(floor_of(&[doubtful]) > 21.0);
        // Most of what is drawn at a load of 3 % is not its work; and a slope at 3 % is not that at a tenth of it.
        assert!(floor_of(&[at(0.03, 22.0, 600.0)]) > 21.0);
        let far = [points(&[0.003], |_| 22.0), vec![at(0.03, 30.0, 300.0)]].concat();
        assert!(floor_of(&far) > 21.0, "{}", floor_of(&far));
    }

    #[test]
    fn without_quiet_windows_the_lowest_points_are_followed_down() {
        let busy: Vec<f64> = (8..20).map(|step| f64::from(step) * 0.05).collect();
        let of = |power: fn(f64) -> f64| {
            let found = floor(&points(&busy, power)).expect("a floor");
            assert_eq!(found.origin, FloorOrigin::Extrapolated);
            assert!(found.error > 1.0, "the unseen has an error: {found:?}");
            found.watts
        };
        assert!((of(|busy| 20.0 + 80.0 * busy) - 20.0).abs() < 0.01);
        // Turbo from 75 % on is none of their business.
        let turbo = of(|busy| 20.0 + 80.0 * busy + 400.0 * (busy - 0.75).max(0.0));
        assert!((turbo - 20.0).abs() < 0.01, "{turbo}");
        // Few points, far apart: all of them.
        let far = floor(&points(&[0.4, 0.6, 0.8, 1.0], |busy| 20.0 + 80.0 * busy)).expect("a floor");
        assert!((far.watts - 20.0).abs() < 0.01, "{far:?}");
    }

    #[test]
    fn a_point_may_lie() {
        let busy: Vec<f64> = (8..20).map(|step| f64::from(step) * 0.05).collect();
        let mut seen = points(&busy, |busy| 20.0 + 80.0 * busy);
        seen[3].watts += 15.0;
        let found = floor(&seen).expect("a floor");
        assert!((found.watts - 20.0).abs() < 2.0, "{found:?}");
    }

    #[test]
    fn what_does_not_carry_down_is_what_servers_usually_have() {
        let line = |busy: f64| 20.0 + 80.0 * busy;
        assert_eq!(floor(&[]), None);
        let refused = |busy: &[f64], power: &dyn Fn(f64) -> f64| {
            floor(&points(busy, power)).expect("a floor").origin == FloorOrigin::Typical
        };
        assert!(refused(&[1.0], &line), "one point");
        assert!(refused(&[0.6, 0.8, 1.0], &line), "three points");
        assert!(refused(&[0.1, 0.13, 0.16, 0.19], &line), "no spread");
        assert!(refused(&[0.8, 0.86, 0.9, 0.96], &line), "too far away");
        // Below nothing at rest: no power curve is that.
        assert!(refused(&[0.4, 0.6, 0.8, 1.0], &|busy| 100.0 * busy - 30.0));
        // Scatter as wide as the answer.
        assert!(refused(&[0.4, 0.5, 0.6, 0.7, 0.8], &|busy| {
            50.0 + 25.0 * (busy * 31.0).sin()
        }));
    }

    #[test]
    fn of_one_load_the_floor_is_as_far_below_as_published_servers_have_it() {
        let of = |busy| floor(&points(&[busy], |_| 100.0)).expect("a floor");
        for (busy, ratio) in [(0.1, 1.44), (0.45, 2.12), (0.5, 2.23), (1.0, 3.67)] {
            assert!(
                (of(busy).watts - 100.0 / ratio).abs() < 1e-9,
                "{busy}: {:?}",
                of(busy)
            );
            assert!((of(busy).error - 40.0 / ratio).abs() < 1e-9);
        }
    }

    #[test]
    fn less_power_at_more_work_lowers_the_floor_unless_it_is_older() {
        let mut seen = points(&[0.01, 0.2], |busy| 30.0 - 50.0 * busy);
        assert!((floor(&seen).expect("a floor").watts - 20.5).abs() < 1.0);
        seen[1].age = Duration::from_secs(1);
        assert!((floor(&seen).expect("a floor").watts - 29.5).abs() < 0.1);
    }

    #[test]
    fn what_was_seen_hours_before_the_newest_rest_counts_little_beside_it() {
        let mut seen = points(&[0.01, 0.02, 0.03, 0.04, 0.08], |busy| 26.0 + 80.0 * busy);
        // The machine was colder then.
        for old in seen.iter_mut().take(2) {
            old.watts -= 6.0;
            old.age = Duration::from_secs(10 * 3_600);
        }
        let newer = floor(&seen).expect("a floor").watts;
        assert!((newer - 26.0).abs() < 2.0, "{newer}");
        // All of the same age, it is a steeper line.
        seen.iter_mut().for_each(|point| point.age = Duration::ZERO);
        let mixed = floor(&seen).expect("a floor").watts;
        assert!(mixed < 20.0, "{mixed}");
    }

    #[test]
    fn a_floor_on_a_restored_point_says_so() {
        let mut seen = points(&[0.01, 0.2], |busy| 30.0 + 50.0 * busy);
        seen[0].restored = true;
        assert_eq!(floor(&seen).expect("a floor").origin, FloorOrigin::Restored);
    }
}
