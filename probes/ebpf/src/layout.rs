// SPDX-License-Identifier: Apache-2.0
//! For tests: how structs lie in memory, by the BTF of a compiled object and by Rust.

use object::{File, Object as _, ObjectSection as _};
use std::collections::HashMap;

/// A struct as BTF describes it: size, and byte offset by field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: usize,
    pub(crate) fields: Vec<(String, usize)>,
}

/// All structs in an object's `.BTF` section. Format: kernel, Documentation/bpf/btf.rst; here in host byte order.
pub(crate) fn structs_of(object: &[u8]) -> HashMap<String, Layout> {
    let file = File::parse(object).unwrap();
    let section = file.section_by_name(".BTF").unwrap();
    let btf = section.data().unwrap();
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

/// The layout of a Rust struct, as [`structs_of`] would give it.
macro_rules! layout {
    ($type:ident { $($field:ident),+ $(,)? }) => {{
        // Fails to compile when a field is not listed.
        let $type { $($field: _),+ } = $type::default();
        $crate::layout::Layout {
            size: std::mem::size_of::<$type>(),
            fields: vec![$((stringify!($field).to_owned(), std::mem::offset_of!($type, $field))),+],
        }
    }};
}
pub(crate) use layout;
