// SPDX-License-Identifier: Apache-2.0
//! The beginning of a recording as bytes: program, settings, decisions of the start-up.

use super::entry::Beginning;
use super::fault::Garbled;
use super::wire::{Code, In, Out};
use crate::model::facts::SourceFacts;
use crate::model::{Accounting, NodeFacts, PassedOver, ProbeState, Selection, Tally};

/// Writes the fields of a struct in the order in which they stand here, and reads them so. Fields that are missing here do
/// not compile.
macro_rules! fields {
    ($($name:ident { $($field:ident),* })*) => { $(
        impl Code for $name {
            fn put(&self, to: &mut Out) {
                let Self { $($field),* } = self;
                $( $field.put(to); )*
            }

            fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
                $( let $field = Code::take(from)?; )*
                Ok(Self { $($field),* })
            }
        }
    )* };
}
pub(super) use fields;

fields! {
    Beginning { program, tick, anonymous, settings, state, facts }
    NodeFacts { selections, memory, probes, accounting, sources }
    Selection { key, chosen, passed_over }
    PassedOver { name, reason }
    ProbeState { probe, up, reason }
    Accounting { chosen, reason }
    Tally { probe, what, kind, count }
    SourceFacts { source, components, detail }
}

/// A single byte of an opaque state.
impl Code for u8 {
    fn put(&self, to: &mut Out) {
        to.byte(*self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.byte()
    }
}
