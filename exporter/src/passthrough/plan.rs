// SPDX-License-Identifier: Apache-2.0
//! From a snapshot to what each virtual machine is to read: owns which zones there are, what they hold, the name of a machine's
//! folder, and how a counter goes on. Pure.

use attribution::model::snapshot::Ledger;
use attribution::model::{Component, Microjoules, MonotonicNanos, Permille, Provenance, Snapshot, VmId};

/// The highest value of a counter. 2^63 - 1, so that readers with signed numbers have it, too: a machine of a kilowatt
/// needs 292,000 years.
pub(super) const RANGE: u64 = i64::MAX as u64;

/// Longest name of a folder. Ids are UUIDs (36) and what runtimes make up (64).
const LONGEST_NAME: usize = 128;

/// A zone that a guest is given. Sockets are summed: a guest's own are its configuration's invention, and its threads wander
/// over the host's. Core and uncore are parts of the package. A GPU has no powercap zone; it is in the platform's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Package,
    Dram,
    Platform,
}

impl Kind {
    /// Parents before their parts.
    pub(super) const ALL: [Self; 3] = [Self::Package, Self::Dram, Self::Platform];

    pub(super) const fn component(self) -> Component {
        match self {
            Self::Package => Component::Package,
            Self::Dram => Component::Dram,
            Self::Platform => Component::Platform,
        }
    }

    /// As `/sys/class/powercap` has them side by side.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Package => "intel-rapl:0",
            Self::Dram => "intel-rapl:0:0",
            Self::Platform => "intel-rapl:1",
        }
    }

    /// What the driver calls such a zone.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Package => "package-0",
            Self::Dram => "dram",
            Self::Platform => "psys",
        }
    }
}

/// What one zone of one machine is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) kind: Kind,
    /// All that the machine was charged: dynamic, and its share of the idle floor.
    pub(super) total: Microjoules,
    /// Since when its row counts: another moment where it began anew.
    pub(super) began: MonotonicNanos,
    pub(super) provenance: Provenance,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned<'a> {
    pub(super) id: &'a VmId,
    pub(super) alive: bool,
    pub(super) figures: Vec<Figure>,
}

/// Every machine of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    pub(super) machines: Vec<Planned<'a>>,
    /// Kinds that are here, but estimated.
    pub(super) refused: Vec<Kind>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, estimates: bool) -> Self {
        let mut refused = Vec::new();
        let mut metered: Vec<(Kind, Provenance, Vec<usize>)> = Vec::new();
        for kind in Kind::ALL {
            let zones = || {
                let zones = snapshot.zones.iter().enumerate();
                zones.filter(|(_, account)| account.zone.component == kind.component())
            };
            let least_sure = zones().map(|(_, account)| account.provenance).max_by_key(doubt);
            match least_sure {
                None => {}
                // A part without its whole is no zone to any reader.
                Some(_) if kind == Kind::Dram && metered.is_empty() => {}
                Some(Provenance::Estimated { .. }) if !estimates => refused.push(kind),
                Some(provenance) => {
                    metered.push((kind, provenance, zones().map(|(index, _)| index).collect()));
                }
            }
        }
        let machines = snapshot.vms.iter().map(|row| Planned {
            id: &row.key,
            alive: !row.ended,
            figures: metered
                .iter()
                .map(|(kind, provenance, zones)| Figure {
                    kind: *kind,
                    total: charged(&row.ledger, zones),
                    began: row.began,
                    provenance: *provenance,
                })
                .collect(),
        });
        Self {
            machines: machines.collect(),
            refused,
        }
    }
}

/// For comparing: an estimate is less sure than a meter, and a worse one less than a better one.
const fn doubt(provenance: &Provenance) -> (u8, Permille) {
    match provenance {
        Provenance::Counted => (0, Permille(0)),
        Provenance::Integrated => (1, Permille(0)),
        Provenance::Estimated { relative_error_p90 } => (2, *relative_error_p90),
    }
}

fn charged(ledger: &Ledger, zones: &[usize]) -> Microjoules {
    let charges = zones.iter().filter_map(|index| ledger.charges.get(*index));
    charges.map(|charge| charge.dynamic + charge.idle).sum()
}

/// The name of a machine's folder: its id, where that is a name and not a path. `None` for what is none: an id is what somebody
/// wrote into a command line.
pub(super) fn folder(id: &VmId) -> Option<&str> {
    let name = id.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins_well = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    (begins_well && name.len() <= LONGEST_NAME && name.bytes().all(plain)).then_some(name)
}

/// Where a counter stands after `total`, which was `paid` of when it stood at `shown`. A total that fell is that of a row which
/// began anew, and counts from nothing.
pub(super) fn advanced(shown: u64, paid: Microjoules, total: Microjoules) -> u64 {
    let more = total.checked_sub(paid).unwrap_or(total).as_micro();
    let to = (u128::from(shown) + u128::from(more)) % (u128::from(RANGE) + 1);
    u64::try_from(to).unwrap_or(RANGE)
}

/// What the file `provenance` says.
pub(super) fn words(provenance: Provenance) -> String {
    match provenance {
        Provenance::Counted | Provenance::Integrated => provenance.name().to_owned(),
        Provenance::Estimated {
            relative_error_p90: Permille(error),
        } => format!("estimated {}.{:03}", error / 1_000, error % 1_000),
    }
}
