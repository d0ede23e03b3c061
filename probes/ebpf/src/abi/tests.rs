// SPDX-License-Identifier: Apache-2.0
//! Compares every struct with the BTF in the object: name, size, and each field's name and offset.

use super::*;
use object::{Object as _, ObjectSection as _};
use std::collections::HashMap;
use std::mem::{offset_of, size_of};

/// A struct as BTF describes it: size, and byte offset by field.
#[derive(Debug, Default, PartialEq, Eq)]
struct Layout {
    size: usize,
    fields: Vec<(String, usize)>,
}

/// All structs in a `.BTF` section. Format: kernel, Documentation/bpf/btf.rst; here in host byte order.
fn structs_of(btf: &[u8]) -> HashMap<String, Layout> {
    let word = |at: usize| u32::from_ne_bytes(btf[at..at + 4].try_into().unwrap());
    let header = word(4) as usize;
    let (types, types_end) = (
        header + word(8) as usize,
        header + word(8) as usize + word(12) as usize,
    );
    let strings = header + word(16) as usize;
    let name = |offset: u32| {
        let bytes = &btf[strings + offset as usize..];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    let mut structs = HashMap::new();
    let mut at = types;
    while at < types_end {
        let (info, size) = (word(at + 4), word(at + 8));
        let (members, kind) = (info & 0xffff, (info >> 24) & 0x1f);
        let body = at + 12;
        // Bytes after the common 12, by kind.
        let extra = match kind {
            1 | 14 | 17 => 4,           // INT, VAR, DECL_TAG
            3 => 12,                    // ARRAY
            4 | 5 | 15 => 12 * members, // STRUCT, UNION, DATASEC
            6 | 13 => 8 * members,      // ENUM, FUNC_PROTO
            19 => 12 * members,         // ENUM64
            _ => 0,
        };
        if kind == 4 {
            let fields = (0..members as usize)
                .map(|member| {
                    (
                        name(word(body + 12 * member)),
                        word(body + 12 * member + 8) as usize / 8,
                    )
                })
                .collect();
            let layout = Layout {
                size: size as usize,
                fields,
            };
            structs.insert(name(word(at)), layout);
        }
        at = body + extra as usize;
    }
    structs
}

macro_rules! layout {
    ($type:ident { $($field:ident),+ $(,)? }) => {{
        // Fails to compile when a field is not listed.
        let $type { $($field: _),+ } = $type::default();
        Layout {
            size: size_of::<$type>(),
            fields: vec![$((stringify!($field).to_owned(), offset_of!($type, $field))),+],
        }
    }};
}

#[test]
fn every_struct_has_the_layout_that_the_object_was_compiled_with() {
    let file = object::File::parse(OBJECT).unwrap();
    let section = file.section_by_name(".BTF").unwrap();
    let compiled = structs_of(section.data().unwrap());
    let mirrored = [
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
                comm_stamp_ns,
                flags,
                events,
                comm
            }),
        ),
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
                ran_ns,
                count,
                missed_ns
            }),
        ),
        (
            "readings",
            layout!(Readings {
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
                counters_full,
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
                busy_ns,
                idle_ns,
                idle,
                since
            }),
        ),
    ];
    for (name, layout) in mirrored {
        assert_eq!(compiled.get(name), Some(&layout), "struct {name}");
    }
}

#[test]
fn a_slot_ends_with_since_because_the_kernel_copies_from_the_front() {
    assert_eq!(offset_of!(Slot, since) + size_of::<u64>(), size_of::<Slot>());
}
