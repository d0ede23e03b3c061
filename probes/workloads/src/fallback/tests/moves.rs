// SPDX-License-Identifier: Apache-2.0
//! Processes that are seen in one cgroup and then moved, as a runtime's are; and what else explains more than there is.

use super::*;

/// What a surplus may be more than the counter, which is cut to microseconds.
const CUT: u64 = 1_000;

/// `starts` processes are each seen in `/runtime` with 1 tick and run 100 more in a cgroup of their own, which they end in.
/// The last drain has read the counters after the last move.
fn starts(node: &mut Node, reader: &mut ProcReader, starts: u32, under: &str) -> (u64, Usage) {
    let runtime = format!("{under}/runtime");
    let mut usage = Usage::default();
    let mut ran = 0;
    let mut count = |node: &mut Node, own: &str, in_runtime: u64, in_own: u64| {
        ran += in_runtime + in_own;
        let counted = |path: &str| {
            let text = fs::read_to_string(node.path(&format!("cgroup{path}/cpu.stat"))).unwrap();
            text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_000 / TICK
        };
        for (path, rise) in [
            (runtime.as_str(), in_runtime),
            (own, in_own),
            (under, in_runtime + in_own),
        ] {
            if !path.is_empty() {
                node.cgroup(path, counted(path) + rise);
            }
        }
        usage = node.drain_acked(reader, TickId(0));
        assert!(sum(&usage, |_| true) <= ran, "{} of {ran}", sum(&usage, |_| true));
    };
    for at in 0..starts {
        let (pid, own) = (100 + at, format!("{under}/container{at}"));
        node.cgroup(&own, 0);
        node.runs(pid, 1, &runtime);
        count(node, &own, 1, 0);
        node.runs(pid, 101, &own);
        count(node, &own, 0, 100);
        count(node, &own, 0, 0);
    }
    (ran, usage)
}

#[test]
fn a_cgroup_that_others_start_from_hides_no_short_life_of_its_own_for_it() {
    let mut node = Node::new();
    let runtime = node.cgroup("/runtime", 0);
    node.process(6, 100, 0, "/runtime");
    node.clocks.set(6, 0);
    let mut reader = node.open_with_clocks();
    starts(&mut node, &mut reader, 5, "");
    node.counter("/runtime", (5 + 30) * TICK + CUT);
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!(residue(&usage, runtime), 30);
}

#[test]
fn what_a_move_explains_twice_hides_nothing_above_either() {
    let mut node = Node::new();
    let above = node.cgroup("/a", 0);
    node.cgroup("/a/runtime", 0);
    for (pid, path) in [(5, "/a"), (6, "/a/runtime")] {
        node.process(pid, 100, 0, path);
        node.clocks.set(pid, 0);
    }
    let mut reader = node.open_with_clocks();
    let (ran, usage) = starts(&mut node, &mut reader, 5, "/a");
    assert_eq!(sum(&usage, |_| true), ran);
    // The next ones are gone with the drain in which they were moved: their surplus comes to the one above.
    for at in 5..10 {
        let (pid, own) = (100 + at, format!("/a/short{at}"));
        node.cgroup(&own, 0);
        node.runs(pid, 0, &own);
        node.drain_acked(&mut reader, TickId(0));
        node.runs(pid, 100, "/a/runtime");
        node.remove(&own);
        node.cgroup("/a/runtime", 5 + u64::from(at - 4) * 100);
        node.cgroup("/a", ran + u64::from(at - 4) * 100);
        node.drain_acked(&mut reader, TickId(0));
    }
    node.drain_acked(&mut reader, TickId(0));
    // So many cgroups may each have a surplus.
    node.counter("/a", (ran + 500 + 30) * TICK + 16 * CUT);
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!((residue(&usage, above), sum(&usage, |_| true)), (30, ran + 530));
}

#[test]
fn time_that_a_counter_cut_to_microseconds_does_not_show_yet_is_not_paid_again_with_the_next() {
    let mut node = Node::new();
    let id = node.cgroup("/a", 0);
    node.process(6, 100, 0, "/a");
    node.clocks.set(6, 0);
    let mut reader = node.open_with_clocks();
    for drain in 1..20 {
        node.clocks.set(6, drain * 1_999);
        node.counter("/a", drain * 1_999);
        let usage = node.drain(&mut reader);
        assert!(
            usage
                .tasks
                .iter()
                .all(|row| row.task.is_some() || row.cgroup != id)
        );
    }
}

#[test]
fn what_was_paid_too_much_below_takes_no_explanation_from_the_cgroup_above() {
    let mut node = Node::new();
    let (above, below) = (node.cgroup("/a", 0), node.cgroup("/a/b", 0));
    for (pid, path) in [(5, "/a"), (6, "/a/b")] {
        node.process(pid, 100, 0, path);
        node.clocks.set(pid, 0);
    }
    let mut reader = node.open_with_clocks();
    let mut count = |node: &mut Node, in_a: u64, in_b: u64| {
        node.cgroup("/a", in_a);
        node.cgroup("/a/b", in_b);
        node.drain(&mut reader)
    };
    node.clocks.set(5, 100 * TICK);
    node.clocks.say(6, ClockReading::Refused);
    let usage = count(&mut node, 120, 20);
    assert_eq!((residue(&usage, below), residue(&usage, above)), (20, 0));
    // Now its process shows the time that was the residue: 40 of 20. The next 20 are held back.
    node.clocks.set(6, 20 * TICK);
    count(&mut node, 120, 20);
    count(&mut node, 120, 20);
    let usage = count(&mut node, 140, 40);
    assert_eq!((residue(&usage, below), residue(&usage, above)), (20, 0));
    assert_eq!(sum(&usage, |_| true), 140);
}
