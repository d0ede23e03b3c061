// SPDX-License-Identifier: Apache-2.0
//! What was seen lately: a bounded set, from which whatever was not seen for longest goes first.

use std::collections::VecDeque;

/// See the module's head. Looked through from one end to the other: it is for some hundred at most.
#[derive(Debug)]
pub(super) struct Recent<T> {
    most: usize,
    /// The newest last.
    seen: VecDeque<T>,
}

impl<T: PartialEq> Recent<T> {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            seen: VecDeque::new(),
        }
    }

    pub(super) fn has(&self, one: &T) -> bool {
        self.seen.contains(one)
    }

    /// It is here from now on, and the newest.
    pub(super) fn see(&mut self, one: T) {
        self.forget(&one);
        if self.seen.len() >= self.most {
            self.seen.pop_front();
        }
        self.seen.push_back(one);
    }

    pub(super) fn forget(&mut self, one: &T) {
        self.seen.retain(|other| other != one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_for_longest_goes_first() {
        let mut recent = Recent::new(2);
        recent.see(1);
        recent.see(2);
        recent.see(1);
        recent.see(3);
        assert_eq!([1, 2, 3].map(|one| recent.has(&one)), [true, false, true]);
        recent.forget(&1);
        recent.see(4);
        assert_eq!([1, 3, 4].map(|one| recent.has(&one)), [false, true, true]);
    }
}
