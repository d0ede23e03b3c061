// SPDX-License-Identifier: Apache-2.0
//! Who is here, and who has to go when somebody new comes and all places are taken.
//!
//! Places are bounded, so that descriptors and memory are. A bound alone would let anybody who opens that many connections lock
//! out the others, so that nobody keeps a place for doing nothing: when there is none left, whoever is idle, silent, or does
//! not take the answer goes. First strangers before those who have shown a password, a token or a certificate; then of
//! the origin that has most; then the one that does nothing for longest. Whoever holds more than half of all places loses one to
//! anybody else in any case, and gets another only instead of one that is not being answered.

use super::Limits;
use super::origin::Origin;
use crate::security::health::{Closed, Health};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing yet; a handshake counts as nothing.
    Arrived,
    /// It waits for its next request.
    Idle,
    /// It gets an answer that ends.
    Answered,
    /// It gets one that does not.
    Streaming,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
struct State {
    origin: Origin,
    phase: Phase,
    /// Since when it is in that phase.
    since: Instant,
    /// Since when it does not take what it was sent. Also while it is idle: the end of an answer lies in the connection's buffer when
    /// its body is gone already.
    blocked: Option<Instant>,
    /// Whether it has shown who it is.
    is_known: bool,
}

impl State {
    const fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Answered | Phase::Streaming) || self.blocked.is_some()
    }

    /// From when on it may be asked to make room.
    fn spare(&self, limits: &Limits) -> Option<Instant> {
        let stuck = self.blocked.map(|since| since + limits.stuck);
        match self.phase {
            Phase::Arrived | Phase::Idle if stuck.is_none() => Some(self.since + limits.rest),
            Phase::Arrived | Phase::Idle | Phase::Answered => {
                let slow = self.since + limits.slow;
                Some(stuck.map_or(slow, |stuck| stuck.min(slow)))
            }
            Phase::Streaming => stuck,
        }
    }
}

/// One connection, as it and the crowd see it.
#[derive(Debug)]
pub(super) struct Guest {
    state: Mutex<State>,
    leave: Notify,
}

impl Guest {
    fn state(&self) -> MutexGuard<'_, State> {
        // A state is whole between any two lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, phase: Phase) {
        let mut state = self.state();
        (state.phase, state.since, state.blocked) = (phase, Instant::now(), None);
    }

    /// Ready when it has to go.
    pub(super) async fn has_to_leave(&self) {
        self.leave.notified().await;
    }

    pub(super) fn origin(&self) -> Origin {
        self.state().origin
    }

    /// Whether it has sent a request.
    pub(super) fn has_asked(&self) -> bool {
        self.state().phase != Phase::Arrived
    }

    pub(super) fn asks(&self) {
        self.turn(Phase::Answered);
    }

    pub(super) fn streams(&self) {
        self.turn(Phase::Streaming);
    }

    pub(super) fn rests(&self) {
        self.turn(Phase::Idle);
    }

    /// It has shown who it is.
    pub(super) fn is_known(&self) {
        self.state().is_known = true;
    }

    /// It took something.
    pub(super) fn takes(&self) {
        self.state().blocked = None;
    }

    /// It does not take what it is sent; says until when that is borne.
    pub(super) fn blocks(&self, limits: &Limits) -> Instant {
        let now = Instant::now();
        let mut state = self.state();
        let still = *state.blocked.get_or_insert(now) + limits.stall;
        match state.phase {
            Phase::Arrived | Phase::Idle | Phase::Answered => still.min(state.since + limits.answer),
            Phase::Streaming => still,
        }
    }
}

/// What there is for somebody new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// A free place.
    Free,
    /// The place of this one, by its position.
    Instead(usize),
    /// Perhaps a place, not before this moment.
    NotBefore(Option<Instant>),
    /// None.
    No,
}

/// Pure: who is here, who comes, and when.
fn room(here: &[State], newcomer: Origin, now: Instant, places: usize, limits: &Limits) -> Room {
    if here.len() < places {
        return Room::Free;
    }
    let mut crowds: BTreeMap<Origin, usize> = BTreeMap::new();
    for guest in here {
        *crowds.entry(guest.origin).or_default() += 1;
    }
    let crowd = |origin: &Origin| crowds.get(origin).copied().unwrap_or(0);
    let order = |guest: &State| (Reverse(crowd(&guest.origin)), guest.since);
    let spare = |is_known: bool| {
        let spare = here
            .iter()
            .enumerate()
            .filter(move |(_, guest)| guest.is_known == is_known);
        let spare = spare.filter(|(_, guest)| guest.spare(limits).is_some_and(|from| from <= now));
        spare
            .min_by_key(|(_, guest)| order(guest))
            .map(|(position, _)| position)
    };
    if let Some(position) = spare(false) {
        return Room::Instead(position);
    }
    if let Some((&largest, _)) = crowds.iter().find(|(_, count)| **count > places / 2) {
        return instead_of_largest(here, largest, newcomer);
    }
    let soonest = |strangers_only: bool| {
        let asked = here.iter().filter(|guest| !(strangers_only && guest.is_known));
        asked.filter_map(|guest| guest.spare(limits)).min()
    };
    // Who has just come would otherwise drive out, one after the other, those who have shown who they are.
    if let Some(soon) = soonest(true).filter(|soon| *soon <= now + limits.rest) {
        return Room::NotBefore(Some(soon));
    }
    spare(true).map_or_else(|| Room::NotBefore(soonest(false)), Room::Instead)
}

/// One origin has more than half of all places. No waiting here: who waits holds up those behind, and who has most would send
/// one after the other.
fn instead_of_largest(here: &[State], largest: Origin, newcomer: Origin) -> Room {
    let of_largest = here
        .iter()
        .enumerate()
        .filter(|(_, guest)| guest.origin == largest);
    let least = of_largest.min_by_key(|(_, guest)| (guest.is_busy(), guest.is_known, guest.since));
    match least {
        Some((position, guest)) if newcomer != largest || !guest.is_busy() => Room::Instead(position),
        _ => Room::No,
    }
}

/// All connections of one kind of listener.
#[derive(Debug)]
pub(super) struct Crowd {
    places: usize,
    limits: Limits,
    guests: Mutex<Vec<Arc<Guest>>>,
    left: Notify,
    health: Arc<Health>,
}

impl Crowd {
    pub(super) fn new(places: usize, limits: Limits, health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self {
            places,
            limits,
            guests: Mutex::default(),
            left: Notify::new(),
            health,
        })
    }

    fn guests(&self) -> MutexGuard<'_, Vec<Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from there, made free if need be; `None` where it has to be turned away.
    pub(super) async fn enter(self: &Arc<Self>, origin: Origin) -> Option<Place> {
        loop {
            let left = self.left.notified();
            let soonest = match self.try_enter(origin) {
                Ok(place) => return Some(place),
                Err(Room::NotBefore(soonest)) => soonest,
                Err(_) => {
                    self.health.closed(Closed::TurnedAway);
                    return None;
                }
            };
            let until = async {
                match soonest {
                    Some(soonest) => sleep_until(soonest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = left => {}
                () = until => {}
            }
        }
    }

    fn try_enter(self: &Arc<Self>, origin: Origin) -> Result<Place, Room> {
        let now = Instant::now();
        let mut guests = self.guests();
        let here: Vec<State> = guests.iter().map(|guest| *guest.state()).collect();
        match room(&here, origin, now, self.places, &self.limits) {
            Room::Free => {}
            Room::Instead(position) => {
                // Its place is free from here on; the connection is dropped as soon as it runs.
                guests.swap_remove(position).leave.notify_one();
                self.health.closed(Closed::MadeRoom);
            }
            room => return Err(room),
        }
        let guest = Arc::new(Guest {
            state: Mutex::new(State {
                origin,
                phase: Phase::Arrived,
                since: now,
                blocked: None,
                is_known: false,
            }),
            leave: Notify::new(),
        });
        guests.push(Arc::clone(&guest));
        self.health.entered();
        Ok(Place {
            crowd: Arc::clone(self),
            guest,
        })
    }
}

/// A place in the crowd; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    pub(super) guest: Arc<Guest>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd
            .guests()
            .retain(|guest| !Arc::ptr_eq(guest, &self.guest));
        self.crowd.health.left();
        self.crowd.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::rig::is_pending;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const PLACES: usize = 4;

    fn from(number: u8) -> Origin {
        Origin::V4(Ipv4Addr::new(10, 0, 0, number))
    }

    /// What `room` says, with moments as seconds from now.
    #[derive(Debug, PartialEq, Eq)]
    enum Said {
        Instead(usize),
        Wait(Option<u64>),
        No,
    }

    /// Who is here: from where, doing what, for how many seconds, blocked for how many, known or not.
    fn room_for(newcomer: u8, here: [(u8, Phase, u64, Option<u64>, bool); PLACES]) -> Said {
        let now = Instant::now() + Duration::from_secs(1_000);
        let ago = |seconds: u64| now - Duration::from_secs(seconds);
        let here = here.map(|(number, phase, since, blocked, is_known)| State {
            origin: from(number),
            phase,
            since: ago(since),
            blocked: blocked.map(ago),
            is_known,
        });
        match room(&here, from(newcomer), now, PLACES, &Limits::default()) {
            Room::Free => panic!("it is full"),
            Room::Instead(position) => Said::Instead(position),
            Room::NotBefore(at) => Said::Wait(at.map(|at| (at - now).as_secs())),
            Room::No => Said::No,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_nothing_makes_room() {
        use Phase::{Answered, Arrived, Idle, Streaming};
        let busy = (9, Answered, 0, None, false);
        for (here, newcomer, expected, why) in [
            (
                [(1, Idle, 5, None, false), (2, Idle, 9, None, false), busy, busy],
                3,
                Said::Instead(1),
                "idle for longest",
            ),
            (
                [
                    (1, Arrived, 2, None, false),
                    (1, Idle, 3, None, false),
                    (2, Idle, 80, None, false),
                    busy,
                ],
                3,
                Said::Instead(1),
                "of the largest crowd",
            ),
            (
                [
                    (1, Idle, 80, None, true),
                    (1, Idle, 80, None, true),
                    (2, Idle, 2, None, false),
                    busy,
                ],
                3,
                Said::Instead(2),
                "strangers first",
            ),
            (
                [(1, Idle, 80, None, true), (1, Idle, 90, None, true), busy, busy],
                3,
                Said::Instead(1),
                "known ones if need be",
            ),
            (
                [
                    (1, Idle, 80, None, true),
                    (2, Arrived, 0, None, false),
                    (4, Idle, 90, None, true),
                    busy,
                ],
                3,
                Said::Wait(Some(1)),
                "but a stranger that has just come goes before them",
            ),
            (
                [
                    (1, Streaming, 500, None, false),
                    (2, Streaming, 9, Some(6), false),
                    busy,
                    busy,
                ],
                3,
                Said::Instead(1),
                "viewers that take nothing",
            ),
            (
                [
                    (1, Answered, 12, None, false),
                    (2, Answered, 4, None, false),
                    busy,
                    busy,
                ],
                3,
                Said::Instead(0),
                "slow readers",
            ),
            (
                [
                    (1, Answered, 6, Some(5), false),
                    (2, Answered, 9, None, false),
                    busy,
                    busy,
                ],
                3,
                Said::Instead(0),
                "stuck readers",
            ),
            (
                [
                    (1, Idle, 4, Some(2), false),
                    (2, Idle, 2, None, false),
                    busy,
                    busy,
                ],
                3,
                Said::Instead(1),
                "not who still takes the end of its answer",
            ),
            (
                [(1, Idle, 6, Some(5), false), busy, busy, busy],
                3,
                Said::Instead(0),
                "unless it has stopped to",
            ),
            (
                [
                    (1, Arrived, 0, None, false),
                    (2, Idle, 0, None, false),
                    busy,
                    busy,
                ],
                3,
                Said::Wait(Some(1)),
                "a moment for those who have just come",
            ),
            (
                [
                    (1, Streaming, 0, None, false),
                    (2, Streaming, 0, None, false),
                    (3, Streaming, 0, None, false),
                    (4, Streaming, 0, None, false),
                ],
                5,
                Said::Wait(None),
                "until somebody leaves",
            ),
            (
                [
                    (1, Answered, 2, None, false),
                    (1, Answered, 1, None, false),
                    (1, Answered, 3, None, false),
                    busy,
                ],
                2,
                Said::Instead(2),
                "who has more than half loses one",
            ),
            (
                [
                    (1, Answered, 2, None, false),
                    (1, Idle, 0, None, false),
                    (1, Streaming, 3, None, false),
                    busy,
                ],
                2,
                Said::Instead(1),
                "at once, one that rests first",
            ),
            (
                [
                    (1, Answered, 2, None, false),
                    (1, Answered, 1, None, false),
                    (1, Answered, 3, None, false),
                    busy,
                ],
                1,
                Said::No,
                "and gets no other",
            ),
            (
                [
                    (1, Answered, 2, None, false),
                    (1, Arrived, 0, None, false),
                    (1, Idle, 0, None, true),
                    busy,
                ],
                1,
                Said::Instead(1),
                "but instead of one that rests",
            ),
        ] {
            assert_eq!(room_for(newcomer, here), expected, "{why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_it_is_left() {
        let health = Arc::new(Health::default());
        let crowd = Crowd::new(2, Limits::default(), health);
        let first = crowd.enter(from(1)).await.unwrap();
        let second = crowd.enter(from(2)).await.unwrap();
        first.guest.streams();
        second.guest.streams();
        let mut third = std::pin::pin!(crowd.enter(from(3)));
        assert!(is_pending(third.as_mut()).await);
        drop(first);
        let third = third.await.unwrap();
        assert_eq!(crowd.guests().len(), 2);
        // And the one that has to go is told.
        second.guest.rests();
        tokio::time::advance(Duration::from_secs(2)).await;
        third.guest.asks();
        let fourth = crowd.enter(from(4)).await.unwrap();
        second.guest.has_to_leave().await;
        assert_eq!(crowd.guests().len(), 2);
        drop((second, third, fourth));
        assert!(crowd.guests().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_borne_for_a_while_and_an_answer_only_so_long() {
        let limits = Limits::default();
        let crowd = Crowd::new(1, limits, Arc::default());
        let place = crowd.enter(from(1)).await.unwrap();
        let guest = &place.guest;
        let start = Instant::now();
        guest.asks();
        assert_eq!(guest.blocks(&limits), start + limits.stall);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(guest.blocks(&limits), start + limits.stall, "since it began");
        guest.takes();
        assert_eq!(
            guest.blocks(&limits),
            start + Duration::from_secs(10) + limits.stall
        );
        tokio::time::advance(Duration::from_secs(10)).await;
        guest.takes();
        assert_eq!(
            guest.blocks(&limits),
            start + limits.answer,
            "however little it takes"
        );
        guest.streams();
        assert_eq!(
            guest.blocks(&limits),
            start + Duration::from_secs(20) + limits.stall,
            "a stream does not end"
        );
    }
}
