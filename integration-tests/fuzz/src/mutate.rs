// SPDX-License-Identifier: Apache-2.0
//! Mutations of the ordinary tests: fewer and blinder than an engine's, and the same in every run.

use crate::Target;
use fastrand::Rng;

/// Longest input.
const LONGEST: usize = 16 << 10;

/// Inputs of a target, made out of its samples and its words.
pub struct Mutations<'a> {
    samples: &'a [Vec<u8>],
    words: &'static [&'static str],
    rng: Rng,
}

impl<'a> Mutations<'a> {
    /// Those that follow from this seed.
    #[must_use]
    pub fn new(target: &Target, samples: &'a [Vec<u8>], seed: u64) -> Self {
        let name = target.name.bytes().fold(seed, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Self {
            samples,
            words: target.words,
            rng: Rng::with_seed(name),
        }
    }

    fn sample(&mut self) -> Vec<u8> {
        let at = self.rng.usize(..self.samples.len().max(1));
        self.samples.get(at).cloned().unwrap_or_default()
    }

    /// A part of it, by its place.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let first = self.rng.usize(..=length);
        let most = (length - first).min(64);
        (first, first + self.rng.usize(..=most))
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (first, end) = self.range(input.len());
        let part: Vec<u8> = input.get(first..end).unwrap_or_default().to_vec();
        match self.rng.u8(..7) {
            0 => {
                if let Some(byte) = input.get_mut(first) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(first) {
                    *byte = *self
                        .rng
                        .choice(b"\0\n\r\t \"'\\/-.:,;=<>&(){}[]09aZ\x1b\x7f\x80\xff")
                        .unwrap_or(&0);
                }
            }
            2 => drop(input.splice(first..end, [])),
            3 => drop(input.splice(first..first, part.repeat(1 + self.rng.usize(..16)))),
            4 => {
                let word = self.rng.choice(self.words).copied().unwrap_or_default();
                drop(input.splice(first..end, word.bytes()));
            }
            5 => {
                let other = self.sample();
                let (from, to) = self.range(other.len());
                drop(input.splice(
                    first..end,
                    other.get(from..to).unwrap_or_default().iter().copied(),
                ));
            }
            _ => {
                let number = self
                    .rng
                    .choice([0, 1, u64::MAX, u64::from(u32::MAX), 1 << 63])
                    .unwrap_or(0);
                drop(input.splice(first..end, number.to_string().into_bytes()));
            }
        }
        input.truncate(LONGEST);
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.sample();
        for _ in 0..=self.rng.u8(..6) {
            self.change(&mut input);
        }
        Some(input)
    }
}
