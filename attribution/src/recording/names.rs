// SPDX-License-Identifier: Apache-2.0
//! Words out of small fixed lists (probes, sources, vectors, reporters): each is written in full once and is a number
//! afterwards. Owns the table of one recording, and the place where such words live for good once they were read.

use super::fault::Garbled;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock};

/// Words in one recording. There are some fifty in the whole house.
const MOST: usize = 512;
/// Longest such word.
const LONGEST: usize = 128;
/// Words from all recordings that one process reads. They are never given back, so that they can be `&'static str` as
/// the words of the house are: half a megabyte at most.
const MOST_EVER: usize = 4096;

/// The words of one recording, by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<&'static str>,
    numbers: HashMap<&'static str, usize>,
}

impl Names {
    /// Writes a word: its number from 1, or 0 and itself.
    pub(super) fn put(&mut self, name: &'static str, bytes: &mut Vec<u8>) {
        let name = name.get(..name.floor_char_boundary(LONGEST)).unwrap_or_default();
        let mut out = super::wire::Out::default();
        if let Some(number) = self.numbers.get(name) {
            out.count(number + 1);
        } else {
            out.count(0);
            out.text(name);
            self.add(name);
        }
        bytes.append(&mut out.bytes);
    }

    /// The word that `number` stands for; `None` when it follows.
    pub(super) fn get(&self, number: usize) -> Result<Option<&'static str>, Garbled> {
        match number.checked_sub(1) {
            None => Ok(None),
            Some(index) => match self.known.get(index) {
                Some(name) => Ok(Some(name)),
                None => Err(Garbled("a word that was never said")),
            },
        }
    }

    /// Takes in a word that was read.
    pub(super) fn enter(&mut self, name: &str) -> Result<&'static str, Garbled> {
        if name.len() > LONGEST {
            return Err(Garbled("a name longer than any that is written"));
        }
        match for_good(name) {
            "" if !name.is_empty() => Err(Garbled("more names than there are in the whole house")),
            name => {
                self.add(name);
                Ok(name)
            }
        }
    }

    /// A table that is full stays as it is, on both sides alike: what comes later is written in full each time.
    fn add(&mut self, name: &'static str) {
        if self.known.len() < MOST && !self.numbers.contains_key(name) {
            self.numbers.insert(name, self.known.len());
            self.known.push(name);
        }
    }
}

/// The same word as long as the process lives; nothing when there were too many.
pub(super) fn for_good(name: &str) -> &'static str {
    static ALL: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let all = ALL.get_or_init(Mutex::default);
    // Nothing that could panic is done while it is held; and a set of words is whole at any time.
    let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = all.get(name) {
        return known;
    }
    if all.len() >= MOST_EVER {
        return "";
    }
    let kept: &'static str = Box::leak(Box::from(name));
    all.insert(kept);
    kept
}
