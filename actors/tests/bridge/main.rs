// SPDX-License-Identifier: Apache-2.0
//! The bridge between threads and actors, with the steps of its threads in every order: first all orders one by one as far as there
//! are not too many, then random ones, then those of few changes between threads, which find what needs a particular one.
//!
//! The modules are the daemon's own files over another `sync`. Order only: every look at a shared word is taken as sequentially
//! consistent, which on x86-64 and arm64 the relaxed counters do not need.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(dead_code, reason = "the daemon's own files, of which the tests use a part")]
#![allow(unreachable_pub, reason = "the daemon's own files, where it is reachable")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

#[path = "../../src/bridge/chair.rs"]
mod chair;
#[path = "../../src/bridge/health.rs"]
mod health;
mod meter;
#[path = "../../src/bridge/slot.rs"]
mod slot;
mod sync;
#[path = "../../src/bridge/worker.rs"]
mod worker;

// As the files name them.
use actors::{clock, splice};

use attribution::model::MonotonicNanos;
use chair::Chair;
use health::{Drops, Leave, Queue, Vitals};
use meter::{Machine, total};
use shuttle::thread::spawn;
use slot::{Shared, Slot};
use std::sync::Arc;
use std::sync::Mutex as Plain;
use worker::Worker;

/// Orders that are tried one by one, and by chance. `ORDERS` says another number.
fn orders() -> usize {
    let wanted = std::env::var_os("ORDERS").and_then(|text| text.to_str()?.parse().ok());
    wanted.unwrap_or(1_000)
}

/// In how many steps a thread may be held up so that something shows.
const DEPTH: usize = 3;

fn in_every_order(scene: fn()) {
    let orders = orders();
    shuttle::check_dfs(scene, Some(orders));
    shuttle::check_random(scene, orders);
    shuttle::check_pct(scene, orders, DEPTH);
}

fn dropped(drops: &Drops) -> u64 {
    drops.totals().iter().map(|(_, count)| count).sum()
}

#[test]
fn what_is_asked_is_answered_once_and_in_order_or_counted_as_dropped() {
    in_every_order(|| {
        let (vitals, mut heard) = Vitals::new();
        let drops = Drops::default();
        let (worker, inbox) = Worker::new(Queue::SourceReader, &drops);
        let answered = Arc::new(Plain::new(Vec::new()));
        let answers = Arc::clone(&answered);
        let work = move |request: u32| answers.lock().unwrap().push(request);
        let thread = inbox.spawn(&vitals, "reader", &Leave::default(), work).unwrap();
        let accepted: Vec<u32> = (1..=4).filter(|request| worker.ask(*request)).collect();
        vitals.begin_shutdown();
        drop(worker);
        thread.join().unwrap();
        assert_eq!(
            *answered.lock().unwrap(),
            accepted,
            "what was accepted before the end is done before it"
        );
        assert_eq!(dropped(&drops) + u64::try_from(accepted.len()).unwrap(), 4);
        assert!(accepted.contains(&1), "an empty channel takes one");
        assert!(heard.try_recv().is_err(), "nobody dies in a shutdown");
    });
}

/// Counts how often it is let go of.
struct Guest(u32, Arc<Plain<Vec<u32>>>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn whoever_is_put_into_a_slot_is_taken_once_or_let_go_of_and_the_last_one_is_taken() {
    in_every_order(|| {
        let gone = Arc::new(Plain::new(Vec::new()));
        let slot = Slot::default();
        let (puts, guests) = (slot.clone(), Arc::clone(&gone));
        let reload = spawn(move || (1..=3).for_each(|number| puts.put(Guest(number, Arc::clone(&guests)))));
        let takes = slot.clone();
        let reader = spawn(move || (0..3).filter_map(|_| takes.take()).collect::<Vec<_>>());
        reload.join().unwrap();
        let mut taken = reader.join().unwrap();
        taken.extend(slot.take());
        let order: Vec<u32> = taken.iter().map(|guest| guest.0).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(order.last(), Some(&3));
        drop(taken);
        let mut gone = gone.lock().unwrap().clone();
        gone.sort_unstable();
        assert_eq!(gone, [1, 2, 3], "each once");
    });
}

#[test]
fn who_has_leave_ends_in_silence_and_who_has_none_is_heard() {
    in_every_order(|| {
        let (vitals, mut heard) = Vitals::new();
        let drops = Drops::default();
        let mut threads = Vec::new();
        let leave = Leave::default();
        for (name, leave) in [("leaves", &leave), ("dies", &Leave::default())] {
            let (worker, inbox) = Worker::new(Queue::SourceReader, &drops);
            let thread = inbox.spawn(&vitals, name, leave, |(): ()| {});
            threads.push((worker, thread.unwrap()));
        }
        let stops = spawn(move || {
            leave.give();
            for (worker, thread) in threads {
                worker.ask(());
                drop(worker);
                thread.join().unwrap();
            }
        });
        stops.join().unwrap();
        assert_eq!(heard.try_recv().ok().as_deref(), Some("dies reader"));
        assert!(heard.try_recv().is_err(), "and nobody else");
    });
}

/// Two meters follow the first one, at any moment, while the machine goes on and somebody looks at what was told.
fn take_over(follows: bool) {
    let machine = Machine::default();
    let slot = Slot::default();
    let splice = Shared::new(splice::Splice::default());
    let chair = Chair::new(machine.meter(follows), slot.clone(), splice.clone());
    let chair = Arc::new(Plain::new(chair));
    let clock: clock::Clock = Arc::new(|| MonotonicNanos::ZERO);
    let told = Arc::new(Plain::new(Vec::new()));
    let (tells, reads, time) = (Arc::clone(&told), Arc::clone(&chair), Arc::clone(&clock));
    let read = move || {
        let energy = reads.lock().unwrap().read(time(), &time);
        tells.lock().unwrap().push(total(&energy));
    };
    let (worker, inbox) = Worker::new(Queue::SourceReader, &Drops::default());
    let (vitals, _heard) = Vitals::new();
    let first = machine.raw();
    let each = read.clone();
    let work = move |()| each();
    let thread = inbox.spawn(&vitals, "reader", &Leave::default(), work).unwrap();
    let others = machine.clone();
    let reload = spawn(move || (0..2).for_each(|_| slot.put(others.meter(follows))));
    let looks = spawn(move || {
        // As when a source leaves: what it told last counts when it is read again.
        let mut left = splice.with(|splice| splice.clone());
        left.turn(&[]);
    });
    let works = machine.clone();
    let load = spawn(move || (0..3).for_each(|_| works.draw(10)));
    for _ in 0..3 {
        worker.ask(());
    }
    for thread in [reload, looks, load] {
        thread.join().unwrap();
    }
    vitals.begin_shutdown();
    drop(worker);
    thread.join().unwrap();
    // Whoever still waits takes over after the first one, and the second one is that one's.
    read();
    read();
    let drawn = machine.raw() - first;
    let last = *told.lock().unwrap().last().unwrap();
    // From here on one meter reads, and all is told that is drawn.
    machine.draw(7);
    read();
    let told = told.lock().unwrap();
    assert!(told.is_sorted(), "a total fell: {told:?}");
    assert_eq!(
        told.last(),
        Some(&(last + 7)),
        "what is drawn now is told: {told:?}"
    );
    if follows {
        assert_eq!(last, drawn, "nothing is lost and nothing is paid twice: {told:?}");
    } else {
        assert!(last <= drawn, "{told:?} of {drawn}");
    }
}

#[test]
fn totals_go_on_as_one_whenever_another_meter_takes_over() {
    in_every_order(|| take_over(true));
    in_every_order(|| take_over(false));
}
