// SPDX-License-Identifier: Apache-2.0
//! What holds for every state file, for `integration-tests/fuzz`. In no build of the daemon.

use super::format::{Saved, Unreadable, VERSION, WORDS};
use std::time::Duration;

/// A file of what was learned: it is bounded, ages never go back, and what is written is read back the same.
pub fn saved(bytes: &[u8]) {
    let saved = match Saved::parse(bytes) {
        Ok(saved) => saved,
        Err(Unreadable::Newer(version)) => {
            assert!(version > VERSION);
            return;
        }
        Err(Unreadable::Broken(words)) => {
            assert!(
                !words.is_empty() && words.chars().count() <= WORDS && !words.chars().any(char::is_control)
            );
            return;
        }
    };
    let written = serde_json::to_vec(&saved).expect("what was read can be written");
    assert_eq!(Saved::parse(&written), Ok(saved.clone()));
    let (now, later) = (saved.learned(0), saved.learned(u64::MAX));
    assert!(now.len() <= 1_024 && now.len() == later.len());
    for (now, later) in now.iter().zip(&later) {
        assert!(now.points.len() <= 64);
        let mut pairs = now.points.iter().zip(&later.points);
        assert!(pairs.all(|(now, later)| now.age <= later.age && now.busy_ppm <= 1_000_000));
    }
    assert_eq!(saved.age(0), Duration::ZERO);
}
