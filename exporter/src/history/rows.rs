// SPDX-License-Identifier: Apache-2.0
//! One look at the rows of every level: who it is, and what it used, with what of that is an estimate.

use crate::config::Level;
use attribution::model::snapshot::{ContainerKey, GroupRow, Ledger, ProcessRow, UnitKey, ZoneAccount};
use attribution::model::{Microjoules, MonotonicNanos, PodUid, Provenance, Snapshot, TaskKind, VmId};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Levels that have workloads, those first that people ask for first.
pub(crate) const WORKLOADS: [Level; 5] = [
    Level::Pod,
    Level::Container,
    Level::Vm,
    Level::Unit,
    Level::Process,
];

/// Longest name that is told, in characters: Kubernetes' longest has 253. Names come from outside, and one of a
/// megabyte would be in each update of each viewer.
const LONGEST_NAME: usize = 253;

/// A row of any level.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row<'a> {
    Pod(&'a GroupRow<PodUid>),
    Container(&'a GroupRow<ContainerKey>),
    Vm(&'a GroupRow<VmId>),
    Unit(&'a GroupRow<UnitKey>),
    Process(&'a ProcessRow),
}

/// All rows of a level; none of the node's.
pub(crate) fn rows(snapshot: &Snapshot, level: Level) -> Vec<Row<'_>> {
    match level {
        Level::Pod => snapshot.pods.iter().map(Row::Pod).collect(),
        Level::Container => snapshot.containers.iter().map(Row::Container).collect(),
        Level::Vm => snapshot.vms.iter().map(Row::Vm).collect(),
        Level::Unit => snapshot.units.iter().map(Row::Unit).collect(),
        Level::Process => snapshot.processes.iter().map(Row::Process).collect(),
        Level::Node => Vec::new(),
    }
}

/// Energy of a row in the zones that count into the node's total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Energy {
    /// Above the idle floor.
    pub(crate) dynamic: Microjoules,
    /// Of the idle floor.
    pub(crate) idle: Microjoules,
    /// Of both: what is an estimate.
    pub(crate) estimated: Microjoules,
    /// Of both: how far off the estimates are expected to be, were they all wrong in the same way.
    pub(crate) doubt: Microjoules,
}

impl<'a> Row<'a> {
    /// A number that is the same for the same workload in every snapshot, and for no other.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        std::mem::discriminant(self).hash(&mut hasher);
        match self {
            Self::Pod(row) => row.key.hash(&mut hasher),
            Self::Container(row) => row.key.hash(&mut hasher),
            Self::Vm(row) => row.key.hash(&mut hasher),
            Self::Unit(row) => row.key.hash(&mut hasher),
            Self::Process(row) => row.task.hash(&mut hasher),
        }
        hasher.finish()
    }

    pub(crate) const fn ledger(&self) -> &'a Ledger {
        match self {
            Self::Pod(row) => &row.ledger,
            Self::Container(row) => &row.ledger,
            Self::Vm(row) => &row.ledger,
            Self::Unit(row) => &row.ledger,
            Self::Process(row) => &row.ledger,
        }
    }

    /// Since when its totals count.
    pub(crate) const fn began(&self) -> MonotonicNanos {
        match self {
            Self::Pod(row) => row.began,
            Self::Container(row) => row.began,
            Self::Vm(row) => row.began,
            Self::Unit(row) => row.began,
            Self::Process(row) => row.began,
        }
    }

    pub(crate) const fn ended(&self) -> bool {
        match self {
            Self::Pod(row) => row.ended,
            Self::Container(row) => row.ended,
            Self::Vm(row) => row.ended,
            Self::Unit(row) => row.ended,
            Self::Process(row) => row.ended,
        }
    }

    /// What it is asked for by: unlike a name it is never shared.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Pod(row) => row.key.as_str().to_owned(),
            Self::Container(row) => match &row.key {
                ContainerKey::Container(id) => id.as_str().to_owned(),
                ContainerKey::System => "system".to_owned(),
                ContainerKey::Kernel => "kernel".to_owned(),
            },
            Self::Vm(row) => row.key.as_str().to_owned(),
            // A slice has no slash in its name.
            Self::Unit(row) => format!("{}/{}", row.key.slice, row.key.unit),
            Self::Process(row) => format!("{}-{}", row.task.tgid, row.task.start_ticks),
        }
    }

    /// What people call it; empty where nobody named it.
    pub(crate) fn name(&self) -> String {
        let name = match self {
            Self::Pod(row) => row.names.pod.as_ref().map(|pod| pod.name.clone()),
            Self::Container(row) => match row.key {
                ContainerKey::Container(_) => row.names.container.as_ref().map(|facts| facts.name.clone()),
                ContainerKey::System => Some("host processes".to_owned()),
                ContainerKey::Kernel => Some("kernel".to_owned()),
            },
            Self::Vm(row) => row.names.vm.as_ref().map(|vm| vm.name.clone()),
            Self::Unit(row) => Some(row.key.unit.clone()),
            Self::Process(row) => Some(row.comm.to_text()),
        };
        short(name.as_deref().unwrap_or_default())
    }

    /// What it belongs to, by which people filter: a namespace, a slice, a hypervisor, or whose code a process runs.
    pub(crate) fn group(&self) -> String {
        let pod =
            |names: &attribution::model::snapshot::Names| names.pod.as_ref().map(|pod| pod.namespace.clone());
        let group = match self {
            Self::Pod(row) => pod(&row.names),
            Self::Container(row) => pod(&row.names),
            Self::Vm(row) => row.names.vm.as_ref().map(|vm| vm.hypervisor.to_owned()),
            Self::Unit(row) => Some(row.key.slice.clone()),
            Self::Process(row) => Some(match row.kind {
                TaskKind::User => "user".to_owned(),
                TaskKind::Kernel => "kernel".to_owned(),
            }),
        };
        short(group.as_deref().unwrap_or_default())
    }

    /// One thing more that tells it from its neighbours: an image, a pod, what made a pod, a pid.
    pub(crate) fn detail(&self) -> String {
        let detail = match self {
            Self::Pod(row) => {
                let pod = row.names.pod.as_ref();
                pod.and_then(|pod| pod.made_by.as_ref())
                    .map(|(kind, name)| format!("{kind} {name}"))
            }
            Self::Container(row) => match row.key {
                ContainerKey::Container(_) => {
                    let image = row.names.container.as_ref().and_then(|facts| facts.image.clone());
                    image.or_else(|| row.owner.as_ref().map(|owner| owner.runtime.to_owned()))
                }
                ContainerKey::System => Some("outside of every container".to_owned()),
                ContainerKey::Kernel => Some("kernel threads and softirqs".to_owned()),
            },
            Self::Vm(_) | Self::Unit(_) => None,
            Self::Process(row) => Some(format!("pid {}", row.task.tgid)),
        };
        short(detail.as_deref().unwrap_or_default())
    }

    /// What it used since it has its row.
    pub(crate) fn energy(&self, zones: &[ZoneAccount]) -> Energy {
        let mut sum = Energy::default();
        for (charge, zone) in self.ledger().charges.iter().zip(zones) {
            if !zone.zone.component.counts_into_total() {
                continue;
            }
            sum.dynamic += charge.dynamic;
            sum.idle += charge.idle;
            if let Provenance::Estimated { relative_error_p90 } = zone.provenance {
                let both = charge.dynamic + charge.idle;
                sum.estimated += both;
                let doubt = u128::from(both.as_micro()) * u128::from(relative_error_p90.0) / 1_000;
                sum.doubt += Microjoules::from_micro(u64::try_from(doubt).unwrap_or(u64::MAX));
            }
        }
        sum
    }
}

/// A name cut to its bound, with a sign that it was.
fn short(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_row_of_every_level_has_an_id_of_its_own() {
        let snapshot = sample::snapshot();
        for level in WORKLOADS {
            let rows = rows(&snapshot, level);
            assert!(!rows.is_empty(), "{level:?}");
            let mut ids: Vec<_> = rows.iter().map(|row| (row.id(), row.hash())).collect();
            ids.sort();
            ids.dedup_by(|one, other| one.0 == other.0 || one.1 == other.1);
            assert_eq!(ids.len(), rows.len(), "{level:?}");
        }
    }

    #[test]
    fn energy_counts_nothing_twice_and_says_what_is_an_estimate() {
        let mut snapshot = sample::snapshot();
        let worker = rows(&snapshot, Level::Process)[0].energy(&snapshot.zones);
        // Socket 0, socket 1 and the GPU (30,000,001 + 7 + 2); the platform's 4 would count twice.
        assert_eq!(worker.dynamic.as_micro(), 30_000_010);
        assert_eq!(worker.idle.as_micro(), 1_000_000);
        assert_eq!(worker.estimated, Microjoules::ZERO);
        for zone in &mut snapshot.zones {
            zone.provenance = Provenance::Estimated {
                relative_error_p90: attribution::model::Permille(100),
            };
        }
        let worker = rows(&snapshot, Level::Process)[0].energy(&snapshot.zones);
        assert_eq!(worker.estimated.as_micro(), 31_000_010);
        assert_eq!(worker.doubt.as_micro(), 3_100_000, "each zone's is rounded down");
    }

    #[test]
    fn a_name_of_a_megabyte_is_cut_between_characters() {
        let cut = short(&"ä".repeat(1 << 20));
        assert_eq!(cut.chars().count(), LONGEST_NAME + 1);
        assert!(cut.ends_with('…'));
        assert_eq!(short("web"), "web");
    }
}
