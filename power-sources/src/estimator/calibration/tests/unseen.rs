// SPDX-License-Identifier: Apache-2.0
//! Errors are those of what was not seen, and nothing of it leaks.

use super::super::fit::{Fitted, Row, grid};
use super::super::score::{Case, ErrorTable};
use super::super::validate::{BLOCKS, blocks, calibrate, errors, memory, predicted};
use super::super::{Watched, ZoneSamples};
use super::simulated::{Machine, Meter, Noise, on_socket, package};
use attribution::model::Component;

/// Jobs of a minute each, none like the one before, on a machine whose power wanders by 8 % within a minute or so.
fn wandering(seed: u64) -> Watched {
    let mut machine = Machine::new(seed);
    machine.white = 0.004;
    machine.slow = (0.08, 60.0);
    let mut noise = Noise::new(seed + 1_000);
    let jobs: Vec<f64> = (0..=30).map(|_| 0.02 + 0.96 * noise.unit()).collect();
    let load = |at: f64| {
        let job = (at / 60.0).floor();
        *jobs
            .iter()
            .zip(0..)
            .find(|(_, index)| f64::from(*index) == job)
            .unwrap()
            .0
    };
    let meters = [(
        on_socket(Component::Package),
        package as fn(f64) -> f64,
        Meter::Counter,
    )];
    machine.watch(1_800, load, &meters)
}

fn rows(zone: &ZoneSamples, grid: &[f64]) -> Vec<Row> {
    zone.samples
        .iter()
        .map(|sample| Row::new(sample, grid, false))
        .collect()
}

/// Errors where each case is drawn at random into one of the folds.
fn at_random(rows: &[Row], grid: &[f64], seed: u64) -> f64 {
    let mut noise = Noise::new(seed);
    let fold: Vec<_> = rows.iter().map(|_| noise.next() % 5).collect();
    let mut cases: Vec<Case> = Vec::new();
    for held in 0..5 {
        let of = |wanted: bool| {
            rows.iter()
                .zip(&fold)
                .filter(move |(_, fold)| (**fold == held) == wanted)
        };
        let known: Vec<_> = of(false).map(|(row, _)| row).collect();
        cases.extend(predicted(&known, of(true).map(|(row, _)| row), grid));
    }
    ErrorTable::new(&cases).all.mean
}

#[test]
fn random_folds_would_flatter_and_blocks_of_time_do_not() {
    let (mut random, mut block, mut truth) = (0.0, 0.0, 0.0);
    for seed in 1..=4 {
        let zone = &wandering(seed).zones[0];
        let grid = grid(zone.samples.iter()).unwrap();
        let known = rows(zone, &grid);
        random += at_random(&known, &grid, seed);
        let calibrated = calibrate(&wandering(seed)).unwrap();
        block += calibrated.zones[0].error.all.mean;
        // The truth: another half hour of the same machine, with other jobs.
        let other = wandering(seed + 100);
        let known: Vec<_> = known.iter().collect();
        let cases = predicted(&known, rows(&other.zones[0], &grid).iter(), &grid);
        truth += ErrorTable::new(&cases).all.mean;
    }
    assert!(random < 0.8 * truth, "{random} {truth}");
    assert!(block > 0.85 * truth && block < 1.3 * truth, "{block} {truth}");
}

#[test]
fn the_gap_is_as_long_as_errors_remember_themselves() {
    let zone = &wandering(1).zones[0];
    let grid = grid(zone.samples.iter()).unwrap();
    let rows = rows(zone, &grid);
    let all: Vec<_> = rows.iter().collect();
    let gap = memory(&errors(&Fitted::new(&all, &grid).unwrap(), &rows));
    assert!((15..=180).contains(&gap), "{gap}");
    let mut noise = Noise::new(3);
    let forgetful: Vec<_> = (0..1_000).map(|_| noise.normal()).collect();
    assert_eq!(memory(&forgetful), 2);
    assert_eq!(
        memory(&[1.0; 1_000]),
        100,
        "what never changes is never forgotten: half a block"
    );
    assert_eq!(memory(&[]), 0);
}

#[test]
fn every_sample_is_predicted_once_and_none_by_its_neighbours() {
    for (samples, gap) in [(10, 0), (10, 1), (103, 7), (1_000, 100)] {
        let folds = blocks(samples, gap);
        assert_eq!(folds.len(), BLOCKS);
        let tested: Vec<usize> = folds.iter().flat_map(|fold| fold.tested.clone()).collect();
        assert_eq!(tested, (0..samples).collect::<Vec<_>>());
        for fold in folds {
            let before = fold.tested.start - fold.hidden.start;
            let after = fold.hidden.end - fold.tested.end;
            assert!(before == gap || fold.hidden.start == 0, "{fold:?}");
            assert!(after == gap || fold.hidden.end == samples, "{fold:?}");
        }
    }
}
