// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::layout::{Layout, layout, structs_of};

/// Holds structs of ours against those that the object was compiled with.
fn compare<const N: usize>(mirrored: [(&str, Layout); N]) {
    let compiled = structs_of(OBJECT);
    for (name, layout) in mirrored {
        assert_eq!(compiled.get(name), Some(&layout), "struct {name}");
    }
}

#[test]
fn threads_have_the_layout_that_the_object_was_compiled_with() {
    compare([
        (
            "thread_record",
            layout!(ThreadRecord {
                task,
                at_ns,
                start_ns,
                started_ns,
                cgroup_id,
                cpu_ns,
                switches,
                tid,
                tgid,
                package,
                flags,
                comm
            }),
        ),
        ("dead_thread_key", layout!(DeadThreadKey { task, at_ns })),
    ]);
}

#[test]
fn graves_have_the_layout_that_the_object_was_compiled_with() {
    compare([
        (
            "dead_row_key",
            layout!(DeadRowKey {
                started_ns,
                cgroup_id,
                tgid,
                package
            }),
        ),
        (
            "dead_row",
            layout!(DeadRow {
                cpu_ns,
                switches,
                comm_at_ns,
                flags,
                pad,
                comm
            }),
        ),
        (
            "dead_cgroup_key",
            layout!(DeadCgroupKey {
                cgroup_id,
                package,
                pad
            }),
        ),
        ("dead_cgroup", layout!(DeadCgroup { cpu_ns, switches })),
        (
            "burials",
            layout!(Burials {
                cpu_ns,
                switches,
                reported,
                added,
                threads_full,
                rows_full,
                cgroups_full
            }),
        ),
    ]);
}

/// As the kernel lays it down.
fn bytes_of(record: &ThreadRecord) -> Vec<u8> {
    let words = [
        record.task,
        record.at_ns,
        record.start_ns,
        record.started_ns,
        record.cgroup_id,
        record.cpu_ns,
        record.switches,
    ];
    let halves = [record.tid, record.tgid, record.package, record.flags];
    words
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .chain(halves.iter().flat_map(|half| half.to_ne_bytes()))
        .chain(record.comm)
        .collect()
}

#[test]
fn the_records_of_a_pass_are_read_field_by_field() {
    let record = |task| ThreadRecord {
        task,
        at_ns: 2,
        start_ns: 3,
        started_ns: 4,
        cgroup_id: 5,
        cpu_ns: 6,
        switches: 7,
        tid: 8,
        tgid: 9,
        package: 10,
        flags: 11,
        comm: *b"twelve\0\0\0\0\0\0\0\0\0\0",
    };
    let mut bytes = bytes_of(&record(u64::MAX));
    bytes.extend(bytes_of(&record(1)));
    bytes.extend([0; 13]);
    let (records, rest) = ThreadRecord::parse(&bytes);
    assert_eq!(records.collect::<Vec<_>>(), [record(u64::MAX), record(1)]);
    assert_eq!(rest, 13);
}
