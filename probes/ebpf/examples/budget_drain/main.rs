// SPDX-License-Identifier: Apache-2.0
//! What a drain of 1,000 processes does outside of the kernel, for `make budgets`, which counts its instructions: what the
//! kernel's maps hold is made up, so that it is the same in every run and on every machine.
//!
//! The modules are the crate's own files: they are private there, and nobody else has a use for them. They are formatted there, too:
//! rustfmt would look for their tests here.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the crate's own files, of which this program uses what it measures"
)]
#![allow(
    clippy::print_stdout,
    clippy::tests_outside_test_module,
    reason = "a program that names its cases"
)]

#[path = "../../src/abi.rs"]
#[rustfmt::skip]
mod abi;
#[path = "../../src/accounts.rs"]
#[rustfmt::skip]
mod accounts;
#[path = "../../../../integration-tests/budgets/collect.rs"]
mod collect;
#[path = "../../src/counters.rs"]
#[rustfmt::skip]
mod counters;
#[path = "../../src/listing.rs"]
#[rustfmt::skip]
mod listing;
#[path = "../../src/perf.rs"]
#[rustfmt::skip]
mod perf;
#[path = "../../src/places.rs"]
#[rustfmt::skip]
mod places;
#[path = "../../src/rows.rs"]
#[rustfmt::skip]
mod rows;
mod scheduler;
#[path = "../../src/seats.rs"]
#[rustfmt::skip]
mod seats;
#[path = "../../src/totals.rs"]
#[rustfmt::skip]
mod totals;
#[path = "../../src/unnamed.rs"]
#[rustfmt::skip]
mod unnamed;

use abi::{Events, Seat, TaskMapKey, TaskMapValue};
use accounts::Accounts;
use attribution::model::{MonotonicNanos, TaskUsage, TickId};
use collect::{Case, collected_by_callgrind, run};
use listing::{Moment, Patience};
use scheduler::abi::{DeadRowKey, ThreadRecord};
use scheduler::processes::Processes;
use scheduler::threads::Threads;
use seats::{SEAT_WORDS, Seats};
use std::hint::black_box;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use unnamed::Unnamed;

const TASKS: u32 = 1_000;
/// Of 16,384 entries of the hash.
const SEATS: u32 = 8_192;
const SECOND_NS: u64 = 1_000_000_000;
const PID: u32 = 5_000;
const PATIENCE: Patience = Patience {
    keep: Duration::from_secs(60),
    most: 12_288,
};

const CASES: [Case; 4] = [
    ("drain: 1,000 processes in seats, all ran", || seated(1)),
    ("drain: 1,000 processes in seats, a tenth ran", || seated(10)),
    ("drain: 1,000 processes in the hash", hashed),
    ("drain: 1,000 threads by the scheduler's own figures", scheduled),
];

fn key(index: u32) -> TaskMapKey {
    TaskMapKey {
        started_ns: SECOND_NS * 10,
        cgroup_id: 1_000 + u64::from(index / 20),
        tgid: PID + index,
        package: index % 2,
    }
}

fn value(index: u32, drain: u64) -> TaskMapValue {
    let (index, mut comm) = (u64::from(index), [0; 16]);
    comm.copy_from_slice(b"worker\0\0\0\0\0\0\0\0\0\0");
    TaskMapValue {
        cpu_ns: drain * (100_000 + index * 7_919 % 1_000_000),
        flags: 0,
        events: Events {
            switches: drain * 3,
            smt_ns: drain * 1_000,
            ..Events::default()
        },
        comm_stamp_ns: SECOND_NS,
        comm,
    }
}

/// What the programs add in the seats of one process out of `idleness`.
fn run_in_seats(words: &[AtomicU64], drain: u64, idleness: u32) {
    for index in (0..TASKS).filter(|index| index.is_multiple_of(idleness)) {
        let key = key(index);
        let seat = key.tgid.wrapping_add(key.package * 0x2aab) & (SEATS - 1);
        let value = value(index, drain);
        let put = |at: usize, what: u64| {
            let place = usize::try_from(seat).unwrap_or(0) * SEAT_WORDS + at / size_of::<u64>();
            if let Some(word) = words.get(place) {
                word.store(what, Ordering::Relaxed);
            }
        };
        put(offset_of!(Seat, value.cpu_ns), value.cpu_ns);
        put(
            offset_of!(Seat, value.events) + offset_of!(Events, switches),
            value.events.switches,
        );
        put(
            offset_of!(Seat, value.events) + offset_of!(Events, smt_ns),
            value.events.smt_ns,
        );
        put(offset_of!(Seat, value.comm_stamp_ns), value.comm_stamp_ns);
    }
}

/// Everybody sat down in the first drain, and stays.
fn seated(idleness: u32) {
    let words = usize::try_from(SEATS).unwrap_or(0) * SEAT_WORDS;
    let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let (mut seats, mut accounts) = (Seats::new(SEATS), Accounts::new(PATIENCE));
    for index in 0..TASKS {
        accounts.record(&key(index), &value(index, 0));
        seats.seat(&words, &key(index), 1);
    }
    let (mut rows, mut forgotten) = (Vec::new(), Vec::new());
    let mut drain = |number: u64| {
        seats.read(&words, |sitting| accounts.record_sitting(sitting));
        report(&mut accounts, number, &mut rows, &mut forgotten);
    };
    run_in_seats(&words, 1, 1);
    drain(2);
    run_in_seats(&words, 2, idleness);
    collected_by_callgrind(&mut || drain(3));
    said(&rows);
}

/// Nobody found a seat.
fn hashed() {
    let mut accounts = Accounts::new(PATIENCE);
    let (mut rows, mut forgotten) = (Vec::new(), Vec::new());
    let mut drain = |number: u64| {
        for index in 0..TASKS {
            accounts.record(&key(index), &value(index, number));
        }
        report(&mut accounts, number, &mut rows, &mut forgotten);
    };
    drain(1);
    collected_by_callgrind(&mut || drain(2));
    said(&rows);
}

fn report(accounts: &mut Accounts, tick: u64, rows: &mut Vec<TaskUsage>, forgotten: &mut Vec<TaskMapKey>) {
    rows.clear();
    accounts.report(&moment(tick), rows, forgotten, &mut Vec::new());
}

/// Every process has one thread, which runs.
fn scheduled() {
    let (mut threads, mut processes) = (Threads::new(0), nobody());
    let (mut rows, mut forgotten): (Vec<TaskUsage>, Vec<DeadRowKey>) = (Vec::new(), Vec::new());
    let mut drain = |number: u64| {
        let began_ns = number * SECOND_NS;
        let sightings = (0..TASKS).map(|index| thread(index, number));
        threads.record(began_ns, sightings, &mut Vec::new(), &mut processes);
        rows.clear();
        let now = moment(number);
        processes.report(&now, &mut rows, &mut forgotten, &mut Vec::new());
        processes.unnamed.report(&now, &mut rows, &mut Vec::new());
    };
    drain(1);
    collected_by_callgrind(&mut || drain(2));
    said(&rows);
}

fn moment(tick: u64) -> Moment {
    Moment {
        tick: TickId(tick),
        acked: TickId(tick - 1),
        at: MonotonicNanos::from_nanos(tick * SECOND_NS),
    }
}

fn nobody() -> Processes {
    Processes::new(Unnamed::new(4_096, PATIENCE.keep), PATIENCE)
}

fn thread(index: u32, drain: u64) -> ThreadRecord {
    let (key, value) = (key(index), value(index, drain));
    ThreadRecord {
        task: 0xffff_8880_0000_0000 + u64::from(index) * 0x2000,
        at_ns: drain * SECOND_NS + u64::from(index),
        start_ns: SECOND_NS / 2,
        started_ns: key.started_ns,
        cgroup_id: key.cgroup_id,
        cpu_ns: value.cpu_ns,
        switches: value.events.switches,
        tid: key.tgid,
        tgid: key.tgid,
        package: key.package,
        flags: 0,
        comm: value.comm,
    }
}

/// What is counted must have happened.
fn said(rows: &[TaskUsage]) {
    let ran = rows.iter().filter(|row| row.cpu.as_nanos() > 0).count();
    assert_eq!(
        u32::try_from(ran).ok(),
        Some(TASKS),
        "every process has a row with time"
    );
    black_box(rows);
}

fn main() -> Result<(), String> {
    run(&CASES)
}
