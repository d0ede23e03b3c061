// SPDX-License-Identifier: Apache-2.0
//! Idle energy of real containers by what they reserved: quotas of their cgroups, on a powercap tree whose counters the
//! test moves. Needs root and runc.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::Daemon;
use integration_tests::figures::{charged, conserves, container, integer, rows};
use integration_tests::promtext::parse;
use integration_tests::runc::{self, Container};
use integration_tests::say;
use integration_tests::tree::Powercap;
use serde_json::{Value, json};
use std::fs;

const MIB: u64 = 1 << 20;

/// A container that sleeps and wakes, so that the accountant sees it, with a quota in thousandths of a CPU and a limit of memory in bytes; 0 for none.
fn sleeper(number: u8, millicpus: u64, memory: u64) -> (String, Container) {
    let id = format!("{:08x}{number:02x}{:054x}", std::process::id(), 0x1d_1e);
    let runc = Container::new(&id, &format!("/docker/{id}"), "while :; do sleep 0.3; done");
    runc.configure(|config| {
        let resources = &mut config["linux"]["resources"];
        if millicpus > 0 {
            resources["cpu"] = json!({"quota": millicpus * 100, "period": 100_000});
        }
        if memory > 0 {
            resources["memory"] = json!({"limit": memory});
        }
    });
    runc.start();
    runc.wait_for_name("sh");
    (id, runc)
}

/// All that the meter counts is idle: the floor is higher than anything that the test spends.
fn daemon(tree: &Powercap, share: &str) -> Daemon {
    let file = tree.root().join("kepler.toml");
    let text = format!(
        "tick = \"100ms\"\n[attribution.idle]\nfloor = {{ package = 100000.0, dram = 100000.0 }}\nshare = \"{share}\"\n\
         [sources]\ncpu = [\"rapl\"]\ndram = [\"rapl\"]\nplatform = []\ngpu = []\n[sources.rapl]\nroot = \"{}\"\n",
        tree.root().display()
    );
    fs::write(&file, text).expect("a file");
    let daemon = Daemon::start(&["--config", &file.display().to_string()]);
    daemon.wait_for_tick(3);
    daemon
}

fn zone(snapshot: &Value, component: &str) -> usize {
    let mut zones = rows(snapshot, "zones").iter();
    zones
        .position(|zone| zone["component"] == component)
        .expect("a zone")
}

/// Idle microjoules of a container in a component so far.
fn idle(snapshot: &Value, id: &str, component: &str) -> u64 {
    container(snapshot, id).map_or(0, |row| charged(row, zone(snapshot, component), "idle"))
}

/// Waits until the meter's last count has been paid: `micro` more in package and memory than at the start.
fn wait_for(daemon: &Daemon, before: &Value, micro: u64) -> Value {
    let paid = |snapshot: &Value, component: &str| {
        integer(&snapshot["zones"][zone(snapshot, component)], "idle_uj")
            - integer(&before["zones"][zone(before, component)], "idle_uj")
    };
    let snapshot = daemon.wait_until("the meter's count", |snapshot| {
        let all = ["package", "dram"].iter().all(|of| paid(snapshot, of) == micro);
        all.then(|| snapshot.clone())
    });
    conserves(&snapshot);
    snapshot
}

fn memory_of_the_node() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text
        .lines()
        .find(|line| line.starts_with("MemTotal:"))
        .expect("MemTotal");
    let kib: u64 = line
        .split_ascii_whitespace()
        .nth(1)
        .expect("a size")
        .parse()
        .expect("a number");
    kib * 1_024
}

#[test]
fn containers_pay_idle_energy_by_their_quotas_exactly_and_the_rest_stays_on_the_node() {
    if !runc::is_here() {
        return;
    }
    let cpus = std::thread::available_parallelism().expect("CPUs").get() as u64;
    //            CPUs of the node     memory
    // half       a quarter            64 MiB
    // full       a half               128 MiB
    // free       no quota             no limit
    let (half, _half) = sleeper(1, cpus * 250, 64 * MIB);
    let (full, _full) = sleeper(2, cpus * 500, 128 * MIB);
    let (free, _free) = sleeper(3, 0, 0);
    let tree = Powercap::new(0);
    let daemon = daemon(&tree, "reserved");
    let before = daemon.wait_until("their reservations", |snapshot| {
        let known = |id| container(snapshot, id).is_some_and(|row| row["reserved"]["memory"].is_u64());
        let all = known(&half) && known(&full) && container(snapshot, &free).is_some();
        all.then(|| snapshot.clone())
    });
    let reserved = |id: &str| container(&before, id).expect("a row")["reserved"].clone();
    assert_eq!(
        reserved(&half),
        json!({"millicpus": cpus * 250, "memory": 64 * MIB})
    );
    assert_eq!(
        reserved(&full),
        json!({"millicpus": cpus * 500, "memory": 128 * MIB})
    );
    assert_eq!(reserved(&free), Value::Null);
    // In steps that divide by four: whatever lies in one window, a quarter and a half of it are whole microjoules.
    let mut total = 0;
    for step in [4_000_000, 400, 1_234_568] {
        total += step;
        tree.set("intel-rapl:0", total);
        tree.set("intel-rapl:0:0", total);
        let after = wait_for(&daemon, &before, total);
        let paid = |id: &str, component: &str| idle(&after, id, component) - idle(&before, id, component);
        say(&format!(
            "of {total} µJ: package {} and {}, memory {} and {}",
            paid(&half, "package"),
            paid(&full, "package"),
            paid(&half, "dram"),
            paid(&full, "dram")
        ));
        assert_eq!(
            (paid(&half, "package"), paid(&full, "package")),
            (total / 4, total / 2)
        );
        assert_eq!((paid(&free, "package"), paid(&free, "dram")), (0, 0));
    }
    let after = daemon.snapshot();
    let memory = u128::from(memory_of_the_node());
    for (id, limit) in [(&half, 64 * MIB), (&full, 128 * MIB)] {
        // Three payments, each off by less than one.
        let exact = u128::from(total) * u128::from(limit) / memory;
        let paid = u128::from(idle(&after, id, "dram") - idle(&before, id, "dram"));
        assert!(paid.abs_diff(exact) <= 3, "{paid} of {exact}");
    }
    let page = parse(&daemon.get("/metrics").text());
    let series = |id: &str| {
        let of = |sample: &&integration_tests::promtext::Sample| {
            sample.name == "kepler_container_joules_total"
                && sample.label("container_id") == id
                && sample.label("mode") == "idle"
        };
        page.iter().filter(of).count()
    };
    assert!(series(&half) >= 1 && series(&full) >= 1);
    assert_eq!(series(&free), 0, "who never paid has no series");
}

#[test]
fn on_the_node_nobody_pays_and_alike_everybody_who_lives() {
    if !runc::is_here() {
        return;
    }
    let (id, _container) = sleeper(4, 500, 0);
    for (share, pays) in [("node", false), ("equal", true)] {
        let tree = Powercap::new(0);
        let daemon = daemon(&tree, share);
        let before = daemon.wait_until("its row", |snapshot| {
            container(snapshot, &id).map(|_| snapshot.clone())
        });
        tree.set("intel-rapl:0", 4_000_000);
        tree.set("intel-rapl:0:0", 4_000_000);
        let after = wait_for(&daemon, &before, 4_000_000);
        assert_eq!(idle(&after, &id, "package") > 0, pays, "{share}");
        let unreserved = integer(&after["zones"][zone(&after, "package")], "unreserved_idle_uj");
        assert_eq!(unreserved > 0, !pays, "{share}");
    }
}
