// SPDX-License-Identifier: Apache-2.0
//! Compares every struct with the BTF in the object: name, size, and each field's name and offset.

use super::*;
use crate::layout::{Layout, layout, structs_of};
use std::mem::{offset_of, size_of};

/// Holds structs of ours against those that the object was compiled with.
fn compare<const N: usize>(mirrored: [(&str, Layout); N]) {
    let compiled = structs_of(OBJECT);
    for (name, layout) in mirrored {
        assert_eq!(compiled.get(name), Some(&layout), "struct {name}");
    }
}

#[test]
fn keys_and_values_of_rows_have_the_layout_that_the_object_was_compiled_with() {
    compare([
        (
            "task_key",
            layout!(TaskMapKey {
                started_ns,
                cgroup_id,
                tgid,
                package
            }),
        ),
        (
            "events",
            layout!(Events {
                switches,
                smt_ns,
                page_cache,
                net_tx,
                net_rx,
                block
            }),
        ),
        (
            "task_value",
            layout!(TaskMapValue {
                cpu_ns,
                flags,
                events,
                comm_stamp_ns,
                comm
            }),
        ),
        ("seat", layout!(Seat { key, value, pad })),
        (
            "overflow_key",
            layout!(OverflowKey {
                cgroup_id,
                package,
                pad
            }),
        ),
        ("overflow_value", layout!(OverflowValue { cpu_ns, events })),
        (
            "hardware",
            layout!(HardwareValue {
                enabled_ns,
                count,
                missed_ns
            }),
        ),
    ]);
}

#[test]
fn what_each_cpu_has_lies_as_in_the_object() {
    compare([
        (
            "readings",
            layout!(Readings {
                enabled_ns,
                count,
                missed_ns,
                known,
                failed
            }),
        ),
        (
            "softirqs",
            layout!(Softirqs {
                count,
                ns,
                unmeasured
            }),
        ),
        (
            "slot",
            layout!(Slot {
                unplaced_ns,
                map_full,
                overflow_full,
                implausible,
                unseen,
                counters_full,
                clock_since,
                clock_busy_ns,
                sibling_busy_ns,
                happened,
                seen,
                events,
                events_seen,
                idled,
                package,
                sibling,
                softirq_total_ns,
                softirq_since,
                softirq_seen_ns,
                softirq_ns,
                task,
                charged_ns,
                ahead_ns,
                queue_ns,
                clock_gap,
                gap_at,
                busy_ns,
                idle_ns,
                idle_since
            }),
        ),
    ]);
}

#[test]
fn a_slot_ends_with_the_start_of_idle_because_the_kernel_copies_from_the_front() {
    assert_eq!(offset_of!(Slot, idle_since) + size_of::<u64>(), size_of::<Slot>());
}

#[test]
fn a_switch_needs_one_cache_line_of_a_seat() {
    assert_eq!(size_of::<Seat>(), 2 * 64);
    assert!(offset_of!(Seat, value.events.page_cache) <= 64);
}
