// SPDX-License-Identifier: Apache-2.0
//! A short run of every target on every machine: its corpus, and a fixed number of mutations that are the same in every run.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use fuzz::mutate::Mutations;
use fuzz::{TARGETS, Target, corpus};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Mutations of each target: some seconds for all of them in an unoptimised build.
const MUTATIONS: usize = 1_500;

/// Of one byte again and again. The parser of YAML takes time by the square of flow brackets that are open: ten times as many are
/// a quarter of a minute.
const HUGE: usize = 10_000;

/// The most that the corpus may take in git.
const MOST_BYTES: usize = 300 << 10;

/// What does not hold of an input.
fn fault(target: &Target, input: &[u8]) -> Option<String> {
    let run = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let shown = input.get(..input.len().min(2_000)).unwrap_or_default();
    run.is_err()
        .then(|| format!("{}: b\"{}\"", target.name, shown.escape_ascii()))
}

/// The first of each target's, so that one run tells of all of them.
fn hold(inputs: impl Fn(&'static Target) -> Vec<Vec<u8>>) {
    let faults: Vec<String> = TARGETS
        .iter()
        .filter_map(|target| inputs(target).iter().find_map(|input| fault(target, input)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn samples(target: &Target) -> Vec<Vec<u8>> {
    corpus::samples(target.name).unwrap_or_else(|error| panic!("corpus of {}: {error}", target.name))
}

#[test]
fn every_target_holds_on_its_corpus_and_on_mutations_of_it() {
    hold(|target| {
        let mut inputs = samples(target);
        assert!(inputs.len() > 1, "{} has no corpus", target.name);
        let mutations: Vec<_> = Mutations::new(target, &inputs, 1).take(MUTATIONS).collect();
        inputs.extend(mutations);
        inputs
    });
}

#[test]
fn empty_and_huge_inputs_are_inputs_like_any_other() {
    hold(|_| {
        let huge = b"\0 (/{[<&\"-1\n\xff".iter().map(|byte| vec![*byte; HUGE]);
        huge.chain([Vec::new()]).collect()
    });
}

#[test]
fn the_corpus_is_small_and_belongs_to_targets() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name twice");
    let folders = std::fs::read_dir(corpus::folder("")).expect("a corpus");
    let folders: BTreeSet<String> = folders
        .map(|folder| {
            folder
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(folders, names);
    let bytes: usize = TARGETS.iter().flat_map(samples).map(|sample| sample.len()).sum();
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
}

#[test]
fn mutations_are_the_same_in_every_run_and_differ_from_each_other() {
    let target = TARGETS.first().expect("targets");
    let samples = samples(target);
    let first: Vec<_> = Mutations::new(target, &samples, 1).take(100).collect();
    let again: Vec<_> = Mutations::new(target, &samples, 1).take(100).collect();
    assert_eq!(first, again);
    let distinct: BTreeSet<_> = first.iter().collect();
    assert!(distinct.len() > 80, "{} of 100", distinct.len());
}
