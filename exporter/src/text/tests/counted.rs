// SPDX-License-Identifier: Apache-2.0
//! What is counted beside energy and CPU time: events of workloads, and the state of the probes that count them.

use super::{mark, promtool, render, samples, sum};
use crate::sample;
use attribution::model::{Event, EventSet, ProbeState, Snapshot};
use std::sync::Arc;

const LEVELS: [&str; 4] = ["container", "pod", "unit", "process"];

/// A snapshot that counts `events`, each of which happened once more than the one before to the first row of each level.
fn counting(events: &[Event]) -> Snapshot {
    let mut snapshot = sample::snapshot();
    snapshot.counted = events.iter().copied().fold(EventSet::NONE, EventSet::with);
    let ledgers = [
        &mut snapshot.containers[0].ledger,
        &mut snapshot.pods[0].ledger,
        &mut snapshot.units[0].ledger,
        &mut snapshot.processes[0].ledger,
    ];
    for ledger in ledgers {
        for (count, event) in (101..).zip(Event::ALL) {
            ledger.events = ledger.events.with(event, count);
        }
    }
    snapshot
}

#[test]
fn every_event_has_keplers_name_on_every_level() {
    // event of the model -> name of the series, or none
    let names = [
        (Event::CpuCycles, "cpu_cycles"),
        (Event::Instructions, "cpu_instructions"),
        (Event::CacheMisses, "cache_miss"),
        (Event::PageCacheHits, "bpf_page_cache_hit"),
        (Event::NetTxIrqs, "bpf_net_tx_irq"),
        (Event::NetRxIrqs, "bpf_net_rx_irq"),
        (Event::BlockIrqs, "bpf_block_irq"),
    ];
    let text = render(&counting(&Event::ALL));
    let samples = samples(&text);
    for (level, labels) in [
        (
            "container",
            format!(
                "container_id=\"{}\",container_name=\"web\",pod_name=\"web-7d4b9\",container_namespace=\"shop\"",
                sample::CONTAINER
            ),
        ),
        (
            "pod",
            format!(
                "pod_id=\"{}\",pod_name=\"web-7d4b9\",pod_namespace=\"shop\"",
                sample::POD
            ),
        ),
        ("unit", "unit=\"ssh.service\",slice=\"system.slice\"".to_owned()),
        (
            "process",
            format!(
                "pid=\"4711\",command=\"worker\",container_id=\"{}\",vm_id=\"\"",
                sample::CONTAINER
            ),
        ),
    ] {
        for (event, name) in names {
            let series = format!("kepler_{level}_{name}_total{{{labels}}}");
            let place = Event::ALL.iter().position(|other| *other == event).unwrap();
            assert_eq!(samples[series.as_str()], (101 + place).to_string(), "{series}");
        }
    }
    for nameless in ["ref_cycles", "switches", "smt"] {
        assert!(!text.contains(nameless), "{nameless} has no name in the contract");
    }
}

#[test]
fn what_the_machine_does_not_count_is_absent_and_not_zero() {
    // All have counts; only what the set names is a series.
    for counted in [
        &[][..],
        &[Event::CacheMisses],
        &[Event::CpuCycles, Event::BlockIrqs],
    ] {
        let text = render(&counting(counted));
        for level in LEVELS {
            for (event, name) in [
                (Event::CpuCycles, "cpu_cycles"),
                (Event::CacheMisses, "cache_miss"),
                (Event::BlockIrqs, "bpf_block_irq"),
                (Event::NetTxIrqs, "bpf_net_tx_irq"),
            ] {
                let family = format!("kepler_{level}_{name}_total");
                let (series, help) = (format!("{family}{{"), format!("# HELP {family} "));
                let expected = counted.contains(&event);
                assert_eq!(
                    (text.contains(&series), text.contains(&help)),
                    (expected, expected),
                    "{family}"
                );
            }
        }
    }
}

#[test]
fn a_workload_to_which_nothing_happened_is_zero_where_the_machine_counts() {
    let text = render(&sample::snapshot());
    let kernel = "kepler_container_bpf_page_cache_hit_total{container_id=\"kernel_processes\",\
                  container_name=\"kernel_processes\",pod_name=\"kernel_processes\",container_namespace=\"kernel\"}";
    assert_eq!(samples(&text)[kernel], "0");
    // 12 + 5, and the switch of the retired row is in no series.
    assert_eq!(
        sum(&text, "kepler_container_bpf_page_cache_hit_total", &[]),
        17_000_000
    );
    assert_eq!(
        sum(&text, "kepler_process_bpf_page_cache_hit_total", &[]),
        17_000_000
    );
}

#[test]
fn softirqs_are_the_kernels_process_zero() {
    let text = render(&sample::snapshot());
    let labels = "pid=\"0\",command=\"softirq\",container_id=\"kernel_processes\",vm_id=\"\"";
    let series = |name: &str, mode: &str| format!("kepler_process_{name}_total{{{labels}{mode}}}");
    let samples = samples(&text);
    assert_eq!(samples[series("joules", ",mode=\"dynamic\"").as_str()], "1");
    assert_eq!(samples[series("bpf_cpu_time_ms", "").as_str()], "0.5");
    assert_eq!(samples[series("bpf_net_rx_irq", "").as_str()], "4");
}

#[test]
fn every_probe_has_one_line_and_no_reason_can_break_it() {
    let probe = |probe, up, reason: &str| ProbeState {
        probe,
        up,
        reason: reason.to_owned(),
    };
    let mut snapshot = counting(&Event::ALL);
    Arc::make_mut(&mut snapshot.facts).probes = vec![
        probe("sched_switch", true, ""),
        probe("scheduler", false, "not asked for: \"switch\" is set"),
        probe("softirq", false, "attach:\n\tPermission denied\n(os error 13)"),
        probe("page_cache", true, "a remark: \"folio\" events\nonly"),
        probe("hw_counters", false, "no PMU: C:\\x\r"),
        probe("proc_fallback", false, ""),
    ];
    let text = render(&snapshot);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("kepler_probe_up"))
        .collect();
    let hw_counters = format!(
        "kepler_probe_up{{probe=\"hw_counters\",reason=\"no PMU: C:\\\\x\u{fffd}{}\"}} 0",
        mark("no PMU: C:\\x\r")
    );
    let softirq = format!(
        "kepler_probe_up{{probe=\"softirq\",reason=\"attach:\\n\u{fffd}Permission denied\\n(os error 13){}\"}} 0",
        mark("attach:\n\tPermission denied\n(os error 13)")
    );
    assert_eq!(
        lines,
        [
            &*hw_counters,
            "kepler_probe_up{probe=\"page_cache\",reason=\"\"} 1",
            "kepler_probe_up{probe=\"proc_fallback\",reason=\"\"} 0",
            "kepler_probe_up{probe=\"sched_switch\",reason=\"\"} 1",
            "kepler_probe_up{probe=\"scheduler\",reason=\"not asked for: \\\"switch\\\" is set\"} 0",
            &*softirq,
        ]
    );
    assert!(
        !text.contains("a remark"),
        "the remark of a probe that measures is in the JSON only"
    );
}

#[test]
fn promtool_likes_the_names_of_all_events() {
    let mut snapshot = counting(&Event::ALL);
    Arc::make_mut(&mut snapshot.facts)
        .probes
        .iter_mut()
        .for_each(|probe| probe.reason.push_str("\n\"\\"));
    let Some(complaints) = promtool(&render(&snapshot)) else {
        return;
    };
    let unknown: Vec<_> = complaints
        .iter()
        .filter(|line| !super::is_about_kepler_milliseconds(line))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
