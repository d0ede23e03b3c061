// SPDX-License-Identifier: Apache-2.0
//! What it costs to know who is who, as tables: `cargo bench -p probe-workloads --bench resolve`.
//!
//! The resolver has those who know names with it, as in the daemon: a container's name is read where containerd has
//! it, and each process is asked whether it is a virtual machine. Costs are CPU time of the resolving thread, memory is what the program has asked its allocator for and not given back.
//! Where this is root and the kernel tells which cgroups come and go, the cgroups are real ones in a folder of this
//! bench's own; else, and for the walk, they are folders in memory. Nothing here fails for being slow; that memory grows is a
//! failure.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a program that prints tables"
)]

mod support;

use attribution::engine::Settings;
use attribution::model::CpuNanos;
use std::time::Duration;
use support::{Cgroups, Crowd, Node, median, memory, process_files, resolver, rss_kib, thread_time};

/// The figures of the issue that asked for this table.
const PROCESSES: u32 = 10_000;
const CONTAINERS: u32 = 500;

/// Ticks of the steady state.
const TICKS: u32 = 301;

/// The flood: so many ticks, each with so many that come and go.
const FLOOD_TICKS: u32 = 1_000;
const FLOOD_PROCESSES: u32 = 1_000;
const FLOOD_CONTAINERS: u32 = 100;

fn main() {
    cold();
    steady();
    flood();
}

/// Everything is new.
fn cold() {
    println!("\n{PROCESSES} processes in {CONTAINERS} containers, from cold:\n");
    println!(
        "| paths from | the first 15 reports, ms | the longest of them | a report with nothing new, ms | all maps, KiB | asked of the kernel |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, cgroups, unified) in places() {
        let held = memory();
        let mut crowd = Crowd::new(CONTAINERS, PROCESSES, &cgroups);
        process_files(&cgroups, &crowd);
        let usage = crowd.usage(unified);
        let base = memory() - held;
        let began = thread_time();
        let mut resolver = resolver(&cgroups, unified);
        let mut longest = 0;
        // Looks are bounded in a call; these are as many calls as they take, with some to spare.
        for _ in 0..15 {
            let before = thread_time();
            drop(resolver.resolve(&usage, crowd.now()));
            longest = longest.max(thread_time() - before);
        }
        let first = thread_time() - began;
        crowd.tick();
        let again = thread_time();
        resolver.resolve(&usage, crowd.now());
        let next = thread_time() - again;
        let bytes = memory() - held - base;
        let counters = resolver.counters();
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {} | {} folders, {} processes |",
            ms(first),
            ms(longest),
            ms(next),
            bytes / 1_024,
            counters.walked_directories,
            counters.tasks_read,
        );
        let owners = resolver.held().owners;
        assert!(owners >= CONTAINERS as usize, "{owners} owners");
    }
}

/// A hundred processes a second come and a hundred go.
fn steady() {
    println!("\nThe same, then 100 births and 100 deaths a second at a tick of 1 s, {TICKS} ticks:\n");
    println!(
        "| paths from | containers a tick | resolver, ms a tick: median | 95 % | worst | with the engine: median | more memory with the engine's, KiB | walks |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for new_containers in [0, 10] {
        for (name, cgroups, unified) in places() {
            if !unified && new_containers > 0 {
                continue;
            }
            let mut crowd = Crowd::new(CONTAINERS, PROCESSES, &cgroups);
            process_files(&cgroups, &crowd);
            let mut node = Node::new(resolver(&cgroups, unified), settings());
            // Not all processes are asked in the first reports.
            for _ in 0..15 {
                node.window(crowd.usage(unified), crowd.now());
            }
            let held = memory();
            let (mut alone, mut both) = (Vec::new(), Vec::new());
            let walks = node.resolver.counters().walks;
            for _ in 0..TICKS {
                crowd.tick();
                crowd.births_and_deaths(100, new_containers, &cgroups);
                let usage = crowd.usage(unified);
                let began = thread_time();
                alone.push(node.window(usage, crowd.now()));
                both.push(thread_time() - began);
            }
            let grown = memory().saturating_sub(held);
            alone.sort_unstable();
            println!(
                "| {name} | {new_containers} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
                ms(median(&alone)),
                ms(alone[alone.len() * 95 / 100]),
                ms(alone[alone.len() - 1]),
                ms(median(&both)),
                grown / 1_024,
                node.resolver.counters().walks - walks,
            );
        }
    }
}

/// A million processes and a hundred thousand containers come and go.
fn flood() {
    let (processes, containers) = (FLOOD_TICKS * FLOOD_PROCESSES, FLOOD_TICKS * FLOOD_CONTAINERS);
    println!(
        "\n{processes} processes and {containers} containers come and go, {FLOOD_TICKS} ticks of 5 s, ended workloads kept for 3 min:\n"
    );
    println!(
        "| ticks | processes so far | paths known | of them gone | resolver's owners | accounts | process rows | group rows | shelved | allocated, KiB | RSS, KiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let cgroups = Cgroups::real().unwrap_or_else(Cgroups::in_memory);
    let mut crowd = Crowd::new(CONTAINERS, 1_000, &cgroups);
    let mut node = Node::new(resolver(&cgroups, true), settings());
    let mut after_warm_up = None;
    for tick in 1..=FLOOD_TICKS {
        crowd.tick_of(Duration::from_secs(5));
        crowd.storm(FLOOD_PROCESSES, FLOOD_CONTAINERS, &cgroups);
        node.window(crowd.usage(true), crowd.now());
        if tick % (FLOOD_TICKS / 5) == 0 {
            let (resolver, engine, bytes) = (node.resolver.held(), node.engine.held(), memory());
            println!(
                "| {tick} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                tick * FLOOD_PROCESSES,
                resolver.paths,
                resolver.gone,
                resolver.owners,
                engine.accounts,
                engine.processes,
                engine.groups,
                engine.shelved,
                bytes / 1_024,
                rss_kib(),
            );
            // By then every map has the room that it will ever need.
            if tick > FLOOD_TICKS / 5 {
                let (then, was) = *after_warm_up.get_or_insert((bytes, engine));
                assert!(
                    bytes < then + then / 20,
                    "memory grew from {then} to {bytes} bytes"
                );
                assert_eq!(engine, was, "a map grew");
            }
        }
    }
    let counters = node.resolver.counters();
    println!("\n{counters:?}");
    assert_eq!(
        node.system(),
        CpuNanos::ZERO,
        "time of containers that nobody knew"
    );
}

/// Where the paths come from, and whether there is a unified hierarchy.
fn places() -> Vec<(&'static str, Cgroups, bool)> {
    let mut places = vec![
        ("a walk", Cgroups::in_memory(), true),
        ("each process (version 1)", Cgroups::in_memory(), false),
    ];
    match Cgroups::real() {
        Some(real) => places.insert(0, ("the kernel's events", real, true)),
        None => println!("skipped: the kernel's events, which take root and Linux 6.7"),
    }
    places
}

fn settings() -> Settings {
    Settings {
        floor: attribution::engine::FloorPolicy::None,
        idle_share: attribution::engine::IdleShare::Usage,
        split: attribution::engine::SplitRules::default(),
        processes_max: 500,
        ended_keep: Duration::from_secs(180),
    }
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
