// SPDX-License-Identifier: Apache-2.0
//! The walk through processes.

use super::at;
use crate::drm::cards::Cards;
use crate::drm::fdinfo::Client;
use crate::drm::processes::Processes;
use crate::drm::testing::{Machine, nanos};
use crate::drm::usage::Sighting;
use attribution::model::ErrorReason;
use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const CARD: &str = "0000:03:00.0";

/// One card, which sleeps or not; and how often a file on it was asked.
#[derive(Default)]
struct One {
    sleeps: bool,
    asked: Cell<u64>,
}

impl Cards for One {
    fn card(&self, client: &Client) -> Option<usize> {
        self.asked.set(self.asked.get() + 1);
        (*client.address == *CARD && *client.driver == *"amdgpu").then_some(0)
    }

    fn sleeps(&self, _card: usize) -> bool {
        self.sleeps
    }
}

fn text(client: u64) -> String {
    nanos("amdgpu", CARD, client, &[("gfx", 5_000, 1)])
}

fn walk(machine: &Machine) -> Processes {
    Processes::new(machine.proc_root(), Duration::from_secs(10))
}

/// Sightings at `milliseconds` as `(pid, client, since when it may have been held)`.
fn seen(processes: &mut Processes, milliseconds: u64) -> Vec<(u32, u64, Option<u64>)> {
    let (sightings, faults) = processes.sightings(at(milliseconds), &One::default());
    assert_eq!(faults, []);
    let since =
        |moment: attribution::model::MonotonicNanos| u64::try_from(moment.since(at(0)).as_millis()).unwrap();
    let row = |seen: &Sighting| (seen.pid, seen.file.id, seen.since.map(since));
    let mut rows: Vec<_> = sightings.iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn gpu_files_are_told_from_others_by_the_name_of_the_node_and_by_what_they_show() {
    let machine = Machine::new();
    machine.process(1);
    for (fd, target) in (0_u32..).zip([
        "/dev/dri/renderD128",
        "/dev/dri/card0",
        "/run/host/dev/dri/renderD130",
        "/dev/null",
        "/home/dri/notes",
        "/dev/renderD128",
        "socket:[4711]",
        "anon_inode:sync_file",
    ]) {
        machine.open(2, fd, target, &text(u64::from(fd)));
    }
    // Another card, another driver, no text at all.
    machine.gpu_file(3, 1, &nanos("amdgpu", "0000:04:00.0", 9, &[]));
    machine.gpu_file(3, 2, &nanos("i915", CARD, 9, &[]));
    machine.gpu_file(3, 3, "");
    assert_eq!(
        seen(&mut walk(&machine), 0),
        [(2, 0, None), (2, 1, None), (2, 2, None)]
    );
}

#[test]
fn a_process_that_comes_is_found_in_the_reading_that_lists_it_and_a_file_that_is_opened_later_within_a_scan()
{
    let machine = Machine::new();
    machine.process(1);
    let mut processes = walk(&machine);
    assert_eq!(seen(&mut processes, 0), []);
    assert_eq!(seen(&mut processes, 1_000), []);
    machine.gpu_file(50, 4, &text(7));
    // Not there at 1 s, when the processes were listed last.
    assert_eq!(seen(&mut processes, 2_000), [(50, 7, Some(1_000))]);
    // Process 1 was looked at at 0 s, and is again at 10 s.
    machine.gpu_file(1, 4, &text(8));
    assert_eq!(seen(&mut processes, 9_000), [(50, 7, Some(1_000))]);
    assert_eq!(
        seen(&mut processes, 10_000),
        [(1, 8, Some(0)), (50, 7, Some(1_000))]
    );
    // A young one is looked at again after as long as it is known: at 11, 11.5 and 12 s.
    machine.process(60);
    assert_eq!(seen(&mut processes, 11_000).len(), 2);
    machine.gpu_file(60, 3, &text(9));
    assert_eq!(
        seen(&mut processes, 12_000),
        [(1, 8, Some(0)), (50, 7, Some(1_000)), (60, 9, Some(11_000))]
    );
}

#[test]
fn duplicates_are_asked_once_and_one_takes_over_when_the_other_is_closed() {
    let machine = Machine::new();
    for fd in [3, 4, 5] {
        machine.gpu_file(2, fd, &text(7));
    }
    let mut processes = walk(&machine);
    assert_eq!(seen(&mut processes, 0), [(2, 7, None)]);
    let cards = One::default();
    processes.sightings(at(1_000), &cards);
    assert_eq!(cards.asked.get(), 1);
    for (fd, milliseconds) in [(3, 2_000), (4, 3_000), (5, 4_000)] {
        machine.close(2, fd);
        let held = usize::from(fd != 5);
        assert_eq!(
            seen(&mut processes, milliseconds).len(),
            held,
            "after closing {fd}"
        );
    }
}

#[test]
fn a_number_that_is_used_again_is_another_file() {
    let machine = Machine::new();
    machine.gpu_file(2, 3, &text(7));
    let mut processes = walk(&machine);
    assert_eq!(seen(&mut processes, 0), [(2, 7, None)]);
    machine.gpu_file(2, 3, &text(8));
    // Held by nobody at the latest look at the process.
    assert_eq!(seen(&mut processes, 1_000), [(2, 8, Some(0))]);
    machine.open(2, 3, "/dev/null", "pos:\t0\n");
    assert_eq!(seen(&mut processes, 2_000), []);
}

#[test]
fn a_process_that_ends_is_forgotten_and_its_pid_begins_anew() {
    let machine = Machine::new();
    machine.gpu_file(2, 3, &text(7));
    let mut processes = walk(&machine);
    assert_eq!(seen(&mut processes, 0), [(2, 7, None)]);
    machine.end(2);
    assert_eq!(seen(&mut processes, 1_000), []);
    machine.gpu_file(2, 3, &text(9));
    assert_eq!(seen(&mut processes, 2_000), [(2, 9, Some(1_000))]);
}

#[test]
fn files_on_a_card_that_sleeps_are_held_and_not_asked() {
    let machine = Machine::new();
    machine.gpu_file(2, 3, &text(7));
    machine.gpu_file(2, 4, &text(7));
    let mut processes = walk(&machine);
    seen(&mut processes, 0);
    let asleep = One {
        sleeps: true,
        ..One::default()
    };
    // At 10 s a look at the process is due.
    for milliseconds in [1_000, 10_000] {
        let (sightings, _) = processes.sightings(at(milliseconds), &asleep);
        assert_eq!(sightings.len(), 1);
        assert_eq!(sightings[0].engines, None);
    }
    assert_eq!(asleep.asked.get(), 0);
}

#[test]
fn what_cannot_be_listed_is_one_error_and_returns() {
    let machine = Machine::new();
    let mut processes = Processes::new(PathBuf::from("/nonexistent/proc"), Duration::from_secs(10));
    let (sightings, faults) = processes.sightings(at(0), &One::default());
    assert_eq!(sightings.len(), 0);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].reason, ErrorReason::Gone);
    assert!(faults[0].words.starts_with("/nonexistent/proc: "));

    // It was there, is away for a while, and comes back.
    machine.gpu_file(2, 3, &text(7));
    let mut processes = walk(&machine);
    assert_eq!(seen(&mut processes, 0), [(2, 7, None)]);
    let away = machine.proc_root().with_extension("away");
    fs::rename(machine.proc_root(), &away).unwrap();
    let (sightings, faults) = processes.sightings(at(1_000), &One::default());
    assert_eq!((sightings.len(), faults.len()), (0, 1));
    fs::rename(&away, machine.proc_root()).unwrap();
    seen(&mut processes, 2_000);
    assert_eq!(seen(&mut processes, 10_000), [(2, 7, Some(0))]);
}
