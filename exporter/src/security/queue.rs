// SPDX-License-Identifier: Apache-2.0
//! Who may wait for the check of a password. Pure: it knows neither passwords nor time.
//!
//! Owns who waits and how addresses have fared. Whoever floods the queue shall not keep honest scrapers out of it, so that an address
//! has a share only; of several that want more than there is room for, those that have shown a right password before come first, then
//! those of which nothing is known, then those that have shown wrong ones only; and among equals whoever has fewer waiting.

use super::recent::Recent;
use crate::http::origin::Origin;

/// Checks that wait at once: with 50 ms each (a cost of 10), who comes last waits less than a second. Each step of the cost doubles it.
pub(super) const MOST_WAITING: usize = 16;

/// Of these, only for addresses that have shown a right password.
pub(super) const RESERVED: usize = 4;

/// And of one address at most.
const MOST_OF_ONE: usize = 4;

/// And of one that has shown wrong ones only.
const MOST_OF_SUSPECT: usize = 1;

/// Addresses that have shown a right password. Scrapers and people are a few.
pub(super) const MOST_PROVEN: usize = 64;

/// Addresses that have shown wrong ones only. Whoever comes from more than that is a stranger again with each, and still has no
/// more than its share.
pub(super) const MOST_SUSPECT: usize = 256;

/// How an address has fared, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// A right password came from there.
    Proven,
    /// Nothing is known.
    Stranger,
    /// Only wrong ones came from there.
    Suspect,
}

/// One who waits, by a number that no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    origin: Origin,
    /// Its check runs: what it costs is spent already.
    is_served: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Queue {
    issued: u64,
    waiting: Vec<Waiter>,
    proven: Recent<Origin>,
    suspect: Recent<Origin>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            issued: 0,
            waiting: Vec::new(),
            proven: Recent::new(MOST_PROVEN),
            suspect: Recent::new(MOST_SUSPECT),
        }
    }
}

impl Queue {
    fn standing(&self, origin: Origin) -> Standing {
        if self.proven.has(&origin) {
            Standing::Proven
        } else if self.suspect.has(&origin) {
            Standing::Suspect
        } else {
            Standing::Stranger
        }
    }

    fn of(&self, origin: Origin) -> usize {
        self.waiting
            .iter()
            .filter(|waiter| waiter.origin == origin)
            .count()
    }

    /// Whether there is room without anybody else leaving.
    fn has_room(&self, standing: Standing) -> bool {
        let is_proven = |origin| self.standing(origin) == Standing::Proven;
        let others = self.waiting.iter().filter(|waiter| !is_proven(waiter.origin));
        let all = self.waiting.len() < MOST_WAITING;
        all && (standing == Standing::Proven || others.count() < MOST_WAITING - RESERVED)
    }

    /// A place, perhaps instead of another who does not wait any more from here on; `None` where there is none.
    pub(super) fn enter(&mut self, origin: Origin) -> Option<Ticket> {
        let (standing, here) = (self.standing(origin), self.of(origin));
        let share = match standing {
            Standing::Proven | Standing::Stranger => MOST_OF_ONE,
            Standing::Suspect => MOST_OF_SUSPECT,
        };
        if here >= share {
            return None;
        }
        if !self.has_room(standing) {
            let rank = |waiter: &Waiter| (self.standing(waiter.origin), self.of(waiter.origin));
            let last = self.waiting.iter().filter(|waiter| !waiter.is_served);
            let last = last.max_by_key(|waiter| (rank(waiter), waiter.ticket.0))?;
            if rank(last) <= (standing, here + 1) {
                return None;
            }
            self.leave(last.ticket);
        }
        self.issued = self.issued.saturating_add(1);
        let ticket = Ticket(self.issued);
        self.waiting.push(Waiter {
            ticket,
            origin,
            is_served: false,
        });
        Some(ticket)
    }

    /// Its check begins; `false` where it had to make room before.
    pub(super) fn serve(&mut self, ticket: Ticket) -> bool {
        let waiter = self.waiting.iter_mut().find(|waiter| waiter.ticket == ticket);
        waiter.map(|waiter| waiter.is_served = true).is_some()
    }

    /// Whether it still waits.
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.waiting.iter().any(|waiter| waiter.ticket == ticket)
    }

    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiter| waiter.ticket != ticket);
    }

    /// What a check of a password from there came to. A wrong one does not undo a right one: people mistype.
    pub(super) fn learn(&mut self, origin: Origin, is_right: bool) {
        if is_right {
            self.suspect.forget(&origin);
            self.proven.see(origin);
        } else if !self.proven.has(&origin) {
            self.suspect.see(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn from(number: u8) -> Origin {
        Origin::V4(Ipv4Addr::new(10, 0, 0, number))
    }

    /// So many of that address got in.
    fn crowd(queue: &mut Queue, number: u8, tries: usize) -> usize {
        (0..tries).filter(|_| queue.enter(from(number)).is_some()).count()
    }

    #[test]
    fn four_addresses_that_flood_the_queue_lock_out_nobody() {
        let mut queue = Queue::default();
        for number in 1..=4 {
            crowd(&mut queue, number, 100);
        }
        assert_eq!(queue.waiting.len(), MOST_WAITING - RESERVED);
        // Who is new gets in instead of one of those who have more, and they do not get it back.
        let honest = queue.enter(from(9)).unwrap();
        for number in 1..=4 {
            assert_eq!(crowd(&mut queue, number, 100), 0);
        }
        assert!(queue.has(honest));
        assert_eq!(queue.waiting.len(), MOST_WAITING - RESERVED);
    }

    #[test]
    fn whoever_has_shown_wrong_passwords_only_comes_last_and_alone() {
        let mut queue = Queue::default();
        for number in 1..=20 {
            queue.learn(from(number), false);
            crowd(&mut queue, number, 3);
        }
        assert_eq!(queue.waiting.len(), MOST_WAITING - RESERVED);
        let strangers = (100..130).filter(|number| queue.enter(from(*number)).is_some());
        assert_eq!(strangers.count(), MOST_WAITING - RESERVED);
        assert_eq!(queue.enter(from(1)), None);
        // A right one heals it.
        queue.learn(from(1), true);
        assert!(queue.enter(from(1)).is_some() && queue.enter(from(1)).is_some());
    }

    #[test]
    fn places_are_kept_for_those_who_have_shown_a_right_password() {
        let mut queue = Queue::default();
        queue.learn(from(200), true);
        queue.learn(from(200), false);
        for number in 1..=100 {
            queue.enter(from(number));
        }
        assert_eq!(queue.waiting.len(), MOST_WAITING - RESERVED);
        assert_eq!(crowd(&mut queue, 200, 100), RESERVED);
        assert_eq!(queue.waiting.len(), MOST_WAITING);
        // And when these are taken, they go before the others.
        queue.learn(from(201), true);
        assert_eq!(crowd(&mut queue, 201, 100), MOST_OF_ONE);
        assert_eq!(queue.waiting.len(), MOST_WAITING);
    }

    #[test]
    fn a_check_that_runs_is_not_given_up() {
        let mut queue = Queue::default();
        let tickets: Vec<_> = (1..=3)
            .flat_map(|number| [from(number); 4])
            .map(|origin| queue.enter(origin).unwrap())
            .collect();
        for ticket in &tickets {
            assert!(queue.serve(*ticket));
        }
        assert_eq!(queue.enter(from(9)), None);
        queue.leave(tickets[0]);
        assert!(!queue.has(tickets[0]) && !queue.serve(tickets[0]));
        assert!(queue.enter(from(9)).is_some());
    }

    #[test]
    fn however_many_addresses_come_memory_is_bounded() {
        let mut queue = Queue::default();
        for number in 0..10_000_u32 {
            let origin = Origin::V4(Ipv4Addr::from(number));
            queue.learn(origin, number % 2 == 0);
            queue.enter(origin);
        }
        let known = (0..10_000_u32).map(|number| queue.standing(Origin::V4(Ipv4Addr::from(number))));
        let count = |wanted| known.clone().filter(|standing| *standing == wanted).count();
        assert_eq!(
            (count(Standing::Proven), count(Standing::Suspect)),
            (MOST_PROVEN, MOST_SUSPECT)
        );
        assert!(queue.waiting.len() <= MOST_WAITING);
    }
}
