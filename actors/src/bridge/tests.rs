// SPDX-License-Identifier: Apache-2.0
//! The bridge over the threads of this machine. Under every order of its steps it is in `tests/bridge`.

use super::health::{Drops, Leave, QUEUES, Queue, Vitals};
use super::slot::Slot;
use super::worker::Worker;
use crossbeam_channel::bounded;

#[test]
fn a_lifeline_that_breaks_is_heard_and_one_that_ends_in_the_shutdown_is_not() {
    let (vitals, mut heard) = Vitals::new();
    drop(vitals.lifeline("resolver"));
    assert_eq!(heard.try_recv().ok().as_deref(), Some("resolver"));
    let leave = Leave::default();
    let leaves = [
        vitals.lifeline_until("rapl", &leave),
        vitals.lifeline_until("rapl reader", &leave),
    ];
    leave.give();
    drop(leaves);
    assert!(heard.try_recv().is_err());
    let orderly = vitals.lifeline("usage");
    vitals.begin_shutdown();
    drop(orderly);
    assert!(heard.try_recv().is_err());
}

#[test]
fn every_queue_has_a_counter_of_its_own() {
    let drops = Drops::default();
    for (index, (queue, _)) in QUEUES.iter().enumerate() {
        (0..=index).for_each(|_| drops.count(*queue));
    }
    let counts: Vec<u64> = drops.totals().into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, (1..=13).collect::<Vec<u64>>());
}

#[test]
fn the_last_one_that_was_put_there_is_taken_once() {
    let slot = Slot::default();
    let thread = slot.clone();
    assert_eq!(thread.take(), None);
    slot.put(1);
    slot.put(2);
    assert_eq!((thread.take(), thread.take()), (Some(2), None));
}

#[test]
fn a_busy_reader_costs_a_counted_tick_and_the_thread_ends_with_its_worker() {
    let (vitals, _heard) = Vitals::new();
    let drops = Drops::default();
    let (gate, wait) = bounded::<()>(0);
    let (begin, began) = bounded::<u32>(8);
    let (worker, inbox) = Worker::new(Queue::SourceReader, &drops);
    let work = move |request: u32| {
        begin.send(request).expect("the test listens");
        wait.recv().expect("the test holds the gate");
    };
    let thread = inbox
        .spawn(&vitals, "reader", &Leave::default(), work)
        .expect("a thread");
    assert!(worker.ask(1));
    assert_eq!(
        began.recv(),
        Ok(1),
        "the thread took request 1 out of the channel"
    );
    assert!(worker.ask(2));
    assert!(!worker.ask(3));
    assert!(drops.totals().contains(&("source-reader", 1)));
    gate.send(()).expect("the reader waits");
    gate.send(()).expect("the reader waits");
    assert_eq!(began.recv(), Ok(2), "3 was dropped");
    vitals.begin_shutdown();
    drop(worker);
    thread.join().expect("an orderly end");
}

#[test]
fn a_reader_that_panics_is_heard() {
    let (vitals, mut heard) = Vitals::new();
    let (worker, inbox) = Worker::new(Queue::SourceReader, &Drops::default());
    let thread = inbox
        .spawn(&vitals, "rapl", &Leave::default(), |(): ()| panic!("a bug"))
        .expect("a thread");
    assert!(worker.ask(()));
    assert!(thread.join().is_err());
    assert_eq!(heard.try_recv().ok().as_deref(), Some("rapl reader"));
}
