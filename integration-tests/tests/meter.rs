// SPDX-License-Identifier: Apache-2.0
//! The daemon on a powercap tree whose counters the test moves: what the meter counted is what comes out, to the
//! microjoule, through wraps, resets, garbage and zones that vanish.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::Daemon;
use integration_tests::figures::{conserves, integer, nothing_fell, rows};
use integration_tests::tree::{Powercap, RANGE};
use serde_json::Value;

const START: u64 = 1_000_000;

fn daemon(tree: &Powercap) -> Daemon {
    let root = format!("sources.rapl.root={}", tree.root().display());
    let arguments = [
        "--tick",
        "100ms",
        "--set",
        &root,
        "--set",
        "sources.cpu=rapl",
        "--set",
        "sources.dram=rapl",
        "--set",
        "sources.platform=",
        "--set",
        "attribution.idle.floor=none",
    ];
    let daemon = Daemon::start(&arguments);
    // Two closed windows: the first reading is the base.
    daemon.wait_for_tick(3);
    daemon
}

/// Everything paid in a zone so far.
fn paid(snapshot: &Value, component: &str) -> u64 {
    let zones = rows(snapshot, "zones")
        .iter()
        .filter(|zone| zone["component"] == component);
    zones
        .map(|zone| integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
        .sum()
}

fn errors(snapshot: &Value, reason: &str) -> u64 {
    let sources = rows(snapshot, "sources")
        .iter()
        .flat_map(|source| rows(source, "errors"));
    sources
        .filter(|error| error["reason"] == reason)
        .map(|error| integer(error, "count"))
        .sum()
}

fn up(snapshot: &Value, component: &str) -> bool {
    rows(snapshot, "zones")
        .iter()
        .any(|zone| zone["component"] == component && zone["up"] == true)
}

/// Waits until `component` has been paid `expected` microjoules in all, never more.
fn wait_for_paid(daemon: &Daemon, component: &str, expected: u64) -> Value {
    let snapshot = daemon.wait_until(&format!("{expected} µJ in {component}"), |snapshot| {
        let paid = paid(snapshot, component);
        assert!(paid <= expected, "{component}: {paid} µJ of {expected}");
        (paid == expected).then(|| snapshot.clone())
    });
    conserves(&snapshot);
    snapshot
}

#[test]
fn what_the_meter_counted_comes_out_to_the_microjoule() {
    let tree = Powercap::new(START);
    let daemon = daemon(&tree);
    for (step, total) in [(1, 1_234_567_u64), (2, 5_000_001), (3, 5_000_002)] {
        tree.set("intel-rapl:0", START + total);
        tree.set("intel-rapl:0:0", START + total / 2);
        let snapshot = wait_for_paid(&daemon, "package", total);
        assert_eq!(
            rows(&snapshot, "zones").first().map(|zone| &zone["source"]),
            Some(&"rapl-sysfs".into()),
            "{step}"
        );
        wait_for_paid(&daemon, "dram", total / 2);
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_wrap_is_paid_in_full_and_a_reset_not_at_all() {
    let tree = Powercap::new(RANGE - 1_000_000);
    let daemon = daemon(&tree);
    // 1 J to the end of the range, one more count (61 µJ) over it, 2 J after it.
    tree.set("intel-rapl:0", 2_000_000);
    let wrapped = daemon.wait_until("the wrap", |snapshot| {
        (paid(snapshot, "package") > 0).then(|| paid(snapshot, "package"))
    });
    assert!((3_000_060..=3_000_062).contains(&wrapped), "{wrapped}");
    // A counter that begins again near zero would be a wrap of 260 kJ in a tenth of a second.
    tree.set("intel-rapl:0", 5);
    daemon.wait_until("the reset", |snapshot| {
        (errors(snapshot, "reset") > 0).then_some(())
    });
    tree.set("intel-rapl:0", 1_000_005);
    wait_for_paid(&daemon, "package", wrapped + 1_000_000);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_zone_that_vanishes_costs_itself_only_and_its_return_pays_the_gap() {
    let tree = Powercap::new(START);
    let daemon = daemon(&tree);
    tree.set("intel-rapl:0", START + 1_000_000);
    let before = wait_for_paid(&daemon, "package", 1_000_000);
    tree.remove("intel-rapl:0:0");
    let gone = daemon.wait_until("dram down", |snapshot| {
        (!up(snapshot, "dram")).then(|| snapshot.clone())
    });
    assert!(
        up(&gone, "package") && errors(&gone, "gone") + errors(&gone, "io") > 0,
        "{gone:#}"
    );
    tree.set("intel-rapl:0", START + 3_000_000);
    let meanwhile = wait_for_paid(&daemon, "package", 3_000_000);
    nothing_fell(&before, &meanwhile);
    tree.zone("intel-rapl:0:0", "dram", START + 500_000);
    let back = wait_for_paid(&daemon, "dram", 500_000);
    assert!(up(&back, "dram"));
    nothing_fell(&meanwhile, &back);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn garbage_in_a_counter_is_an_error_and_never_a_joule() {
    let tree = Powercap::new(START);
    let daemon = daemon(&tree);
    for garbage in [
        "",
        "\n",
        "banana\n",
        "-5\n",
        "1.5\n",
        "99999999999999999999999\n",
        "12 34\n",
    ] {
        tree.write("intel-rapl:0", garbage);
        let before = errors(&daemon.snapshot(), "parse");
        daemon.wait_until(garbage, |snapshot| {
            (errors(snapshot, "parse") > before).then_some(())
        });
        tree.set("intel-rapl:0", START);
        daemon.wait_until("up again", |snapshot| up(snapshot, "package").then_some(()));
    }
    tree.set("intel-rapl:0", START + 7);
    wait_for_paid(&daemon, "package", 7);
    assert!(up(&daemon.snapshot(), "dram"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_impossible_jump_forward_is_refused() {
    let tree = Powercap::new(START);
    let daemon = daemon(&tree);
    tree.set("intel-rapl:0", START + 200_000_000_000);
    daemon.wait_until("refused", |snapshot| {
        (errors(snapshot, "implausible") > 0).then_some(())
    });
    tree.set("intel-rapl:0", START + 200_000_000_000 + 42);
    wait_for_paid(&daemon, "package", 42);
    assert_eq!(daemon.stop(), Some(0));
}
