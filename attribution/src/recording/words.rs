// SPDX-License-Identifier: Apache-2.0
//! The small types of the model as bytes: ids, units, zones, reasons. Numbers of variants are the format's own and never
//! those of the compiler, so that a variant that is added in between changes no recording.

use super::fault::Garbled;
use super::names;
use super::wire::{Code, In, Out};
use crate::model::{
    CgroupId, Comm, Component, ContainerId, CpuNanos, DeviceNanos, ErrorReason, Microjoules, MonotonicNanos,
    PackageId, Permille, Place, PodUid, Provenance, ReporterId, SourceId, TallyKind, TaskKey, TaskKind,
    Tenant, TickId, VmId, Zone,
};

macro_rules! number {
    ($($name:ident: $from:expr, $to:expr;)*) => { $(
        impl Code for $name {
            fn put(&self, to: &mut Out) {
                let number: fn(&Self) -> u64 = $to;
                to.number(number(self));
            }

            fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
                from.number().map($from)
            }
        }
    )* };
}

number! {
    CgroupId: CgroupId, |id| id.0;
    TickId: TickId, |id| id.0;
    Microjoules: Self::from_micro, |energy| energy.as_micro();
    CpuNanos: Self::from_nanos, |time| time.as_nanos();
    DeviceNanos: Self::from_nanos, |time| time.as_nanos();
    MonotonicNanos: Self::from_nanos, |moment| moment.as_nanos();
}

macro_rules! text {
    ($($name:ident),*) => { $(
        impl Code for $name {
            fn put(&self, to: &mut Out) {
                to.text(self.as_str());
            }

            fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
                from.text().map(Self::new)
            }
        }
    )* };
}

text!(ContainerId, PodUid, VmId);

/// A word out of a small fixed list, as sources and probes are.
impl Code for ReporterId {
    fn put(&self, to: &mut Out) {
        names::for_good(self.as_str()).put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        <&'static str>::take(from).map(Self::new)
    }
}

/// Variants by their number in the format. One that is added to the model and not here does not compile.
macro_rules! variants {
    ($($name:ident as $what:literal: $($number:literal => $variant:ident),*;)*) => { $(
        impl Code for $name {
            fn put(&self, to: &mut Out) {
                to.byte(match self { $( Self::$variant => $number, )* });
            }

            fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
                match from.byte()? {
                    $( $number => Ok(Self::$variant), )*
                    _ => Err(Garbled(concat!("an unknown ", $what))),
                }
            }
        }
    )* };
}

variants! {
    Component as "component": 0 => Package, 1 => Core, 2 => Uncore, 3 => Dram, 4 => Gpu, 5 => Other, 6 => Platform;
    TallyKind as "kind of tally": 0 => Done, 1 => Lost, 2 => Held;
    TaskKind as "kind of task": 0 => User, 1 => Kernel;
    ErrorReason as "reason": 0 => Io, 1 => Parse, 2 => Implausible, 3 => Timeout, 4 => Auth, 5 => Reset, 6 => Gone;
}

impl Code for PackageId {
    fn put(&self, to: &mut Out) {
        self.0.put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.small().map(Self)
    }
}

impl Code for Permille {
    fn put(&self, to: &mut Out) {
        self.0.put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        from.small().map(Self)
    }
}

impl Code for SourceId {
    fn put(&self, to: &mut Out) {
        self.0.put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Code::take(from).map(Self)
    }
}

impl Code for TaskKey {
    fn put(&self, to: &mut Out) {
        self.tgid.put(to);
        to.number(self.start_ticks);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(Self {
            tgid: from.small()?,
            start_ticks: from.number()?,
        })
    }
}

impl Code for Comm {
    fn put(&self, to: &mut Out) {
        let length = self
            .0
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        to.count(length);
        to.bytes.extend(self.0.iter().take(length));
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        let length = from.small()?;
        let mut comm = Self::default();
        let place = comm
            .0
            .get_mut(..length)
            .ok_or(Garbled("a command name of more than 16 bytes"))?;
        place.copy_from_slice(from.bytes(length)?);
        Ok(comm)
    }
}

impl Code for Place {
    fn put(&self, to: &mut Out) {
        match self {
            Self::Socket { package, die: None } => {
                to.byte(0);
                package.put(to);
            }
            Self::Socket {
                package,
                die: Some(die),
            } => {
                to.byte(1);
                package.put(to);
                die.put(to);
            }
            Self::Named(name) => {
                to.byte(2);
                name.put(to);
            }
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(match from.byte()? {
            0 => Self::socket(Code::take(from)?),
            1 => Self::Socket {
                package: Code::take(from)?,
                die: Some(from.small()?),
            },
            2 => Self::Named(Code::take(from)?),
            _ => return Err(Garbled("an unknown kind of place")),
        })
    }
}

impl Code for Zone {
    fn put(&self, to: &mut Out) {
        self.component.put(to);
        self.place.put(to);
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(Self {
            component: Code::take(from)?,
            place: Code::take(from)?,
        })
    }
}

impl Code for Provenance {
    fn put(&self, to: &mut Out) {
        match self {
            Self::Counted => to.byte(0),
            Self::Integrated => to.byte(1),
            Self::Estimated { relative_error_p90 } => {
                to.byte(2);
                relative_error_p90.put(to);
            }
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(match from.byte()? {
            0 => Self::Counted,
            1 => Self::Integrated,
            2 => Self::Estimated {
                relative_error_p90: Code::take(from)?,
            },
            _ => return Err(Garbled("an unknown provenance")),
        })
    }
}

impl Code for Tenant {
    fn put(&self, to: &mut Out) {
        match self {
            Self::Container(id) => {
                to.byte(0);
                id.put(to);
            }
            Self::Vm(id) => {
                to.byte(1);
                id.put(to);
            }
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(match from.byte()? {
            0 => Self::Container(Code::take(from)?),
            1 => Self::Vm(Code::take(from)?),
            _ => return Err(Garbled("an unknown kind of tenant")),
        })
    }
}
