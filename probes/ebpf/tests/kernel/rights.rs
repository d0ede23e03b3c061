// SPDX-License-Identifier: Apache-2.0
//! What the probe may do with which capability. Capabilities belong to a thread, so each case runs in its own.

use crate::support::{machine, pin, settings};
use attribution::model::TickId;
use probe_ebpf::{Probe, ProbeError, SchedulerProbe, enable_stats};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::io::{Read as _, Write as _};

/// Opens a probe and drains it.
type Open = fn() -> Result<(), ProbeError>;

fn open_switch() -> Result<(), ProbeError> {
    let mut probe = Probe::open(&settings(1_024))?;
    let (_, usage) = probe.drain(TickId(1), TickId(0), Vec::new())?;
    assert!(!usage.tasks.is_empty());
    Ok(())
}

fn open_scheduler() -> Result<(), ProbeError> {
    let mut probe = SchedulerProbe::open(&settings(1_024))?;
    // The scheduler may not have written down anything in this instant; but it lists the threads.
    probe.drain(TickId(1), TickId(0), Vec::new())?;
    assert!(probe.threads() > 1);
    Ok(())
}

/// Opens a probe in a thread that has `allowed` and nothing else.
fn open_with(open: Open, allowed: CapabilitySet) -> Result<(), ProbeError> {
    let thread = std::thread::spawn(move || {
        let sets = CapabilitySets {
            effective: allowed,
            ..capabilities(None).unwrap()
        };
        set_capabilities(None, sets).unwrap();
        open()
    });
    thread.join().unwrap()
}

#[test]
fn two_capabilities_are_enough_and_each_is_named_when_it_is_missing() {
    let Some(_machine) = machine() else { return };
    two_capabilities_are_enough(open_switch);
    two_capabilities_are_enough(open_scheduler);
}

fn two_capabilities_are_enough(open: Open) {
    let (bpf, perfmon) = (CapabilitySet::BPF, CapabilitySet::PERFMON);
    open_with(open, bpf | perfmon).unwrap();

    let refused = |allowed| {
        let error = open_with(open, allowed).unwrap_err();
        assert!(matches!(error, ProbeError::NotPermitted { .. }), "{error:?}");
        error.to_string()
    };
    let text = refused(bpf);
    assert!(text.contains("missing CAP_PERFMON;"), "{text}");
    let text = refused(perfmon);
    assert!(text.contains("missing CAP_BPF;"), "{text}");
    let text = refused(CapabilitySet::empty());
    assert!(text.contains("missing CAP_BPF and CAP_PERFMON"), "{text}");
}

#[test]
fn the_kernel_says_what_the_programs_cost() {
    let Some(_machine) = machine() else { return };
    let probe = Probe::open(&settings(1_024)).unwrap();
    let before = probe.cost();
    let names: Vec<_> = before.iter().map(|cost| cost.program).collect();
    assert_eq!(names, ["sched_switch", "task_rename", "flush"]);
    let guard = enable_stats().unwrap();
    play_ping_pong(50_000);
    drop(guard);
    let (before, after) = (before[0], probe.cost()[0]);
    let runs = after.run_count - before.run_count;
    let time = after.run_time - before.run_time;
    // Two switches a round.
    assert!(runs >= 100_000, "{runs} runs");
    eprintln!("sched_switch: {runs} runs in {time:?}");
    assert!(!time.is_zero());
}

/// Two threads on one CPU wake each other through pipes, which is little else than context switches.
fn play_ping_pong(rounds: u32) {
    let (mut hear_ping, mut ping) = std::io::pipe().unwrap();
    let (mut hear_pong, mut pong) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            pin(0);
            let mut byte = [0];
            for _ in 0..rounds {
                hear_ping.read_exact(&mut byte).unwrap();
                pong.write_all(&byte).unwrap();
            }
        });
        scope.spawn(move || {
            pin(0);
            let mut byte = [0];
            for _ in 0..rounds {
                ping.write_all(&byte).unwrap();
                hear_pong.read_exact(&mut byte).unwrap();
            }
        });
    });
}
