// SPDX-License-Identifier: Apache-2.0
//! What a command used, out of what was known before it and after it. Pure arithmetic over totals of the attribution:
//! nothing is scaled and nothing guessed, and what cannot be known is a remark.

use attribution::model::snapshot::{Ledger, ZoneAccount};
use attribution::model::{MonotonicNanos, Provenance, Snapshot};
use serde::Serialize;

/// A zone's totals, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ZoneTotal {
    pub(super) component: String,
    pub(super) in_total: bool,
    pub(super) source: String,
    pub(super) provenance: String,
    pub(super) error_permille: Option<u64>,
    pub(super) dynamic_uj: u64,
    pub(super) idle_uj: u64,
    /// The moment that its newest reading is about.
    pub(super) read: MonotonicNanos,
}

/// The zones of a snapshot.
pub(super) fn zones(snapshot: &Snapshot) -> Vec<ZoneTotal> {
    let closed = snapshot.window.ended;
    snapshot.zones.iter().map(|zone| total(zone, closed)).collect()
}

fn total(account: &ZoneAccount, closed: MonotonicNanos) -> ZoneTotal {
    let age = u64::try_from(account.age.as_nanos()).unwrap_or(u64::MAX);
    ZoneTotal {
        component: account.zone.component.name().to_owned(),
        in_total: account.zone.component.counts_into_total(),
        source: account.source.0.to_owned(),
        provenance: account.provenance.name().to_owned(),
        error_permille: match account.provenance {
            Provenance::Estimated { relative_error_p90 } => Some(u64::from(relative_error_p90.0)),
            Provenance::Counted | Provenance::Integrated => None,
        },
        dynamic_uj: account.dynamic.as_micro(),
        idle_uj: account.idle.as_micro(),
        read: MonotonicNanos::from_nanos(closed.as_nanos().saturating_sub(age)),
    }
}

/// What somebody was charged for a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charged {
    pub(super) zone: usize,
    pub(super) dynamic_uj: u64,
    pub(super) idle_uj: u64,
}

/// The charges of a ledger.
pub(super) fn charged(ledger: &Ledger) -> impl Iterator<Item = Charged> + '_ {
    ledger.charges.iter().enumerate().map(|(zone, charge)| Charged {
        zone,
        dynamic_uj: charge.dynamic.as_micro(),
        idle_uj: charge.idle.as_micro(),
    })
}

/// How the command's processes were told from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub(super) enum By {
    /// By a cgroup of its own: all of them.
    Cgroup { name: String },
    /// By descent: those that were seen, so many.
    Descent { processes: usize },
}

/// A component's part of the bill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    pub(super) component: String,
    pub(super) in_total: bool,
    pub(super) sources: Vec<String>,
    /// `counted`, `integrated` or `estimated`; several, where zones differ.
    pub(super) provenance: Vec<String>,
    pub(super) error_permille: Option<u64>,
    pub(super) dynamic_uj: u64,
    pub(super) idle_uj: u64,
    /// The whole machine's, meanwhile.
    pub(super) node_dynamic_uj: u64,
    pub(super) node_idle_uj: u64,
    /// Its meter has not spoken since the command ended, so that the command's last energy is not in it.
    pub(super) is_late: bool,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bill {
    pub(super) by: By,
    /// Who measured: this process, or which daemon.
    pub(super) measured_by: String,
    pub(super) parts: Vec<Part>,
    /// CPU time of the processes in the bill, as the attribution counts it.
    pub(super) cpu_ns: u64,
    /// The whole machine's, meanwhile; `None` where nobody counts it.
    pub(super) node_cpu_ns: Option<u64>,
    /// Processes that still run, and are in the bill up to the command's end.
    pub(super) left: usize,
    pub(super) remarks: Vec<String>,
}

/// The parts, by component, from the zones before and after and what the command's processes were charged in between.
pub(super) fn parts(
    before: &[ZoneTotal],
    after: &[ZoneTotal],
    charged: impl Iterator<Item = Charged>,
    ended: MonotonicNanos,
) -> Vec<Part> {
    let mut paid = vec![(0_u64, 0_u64); after.len()];
    for charge in charged {
        if let Some((dynamic, idle)) = paid.get_mut(charge.zone) {
            *dynamic = dynamic.saturating_add(charge.dynamic_uj);
            *idle = idle.saturating_add(charge.idle_uj);
        }
    }
    let mut parts: Vec<Part> = Vec::new();
    for (index, (zone, (dynamic, idle))) in after.iter().zip(paid).enumerate() {
        let at = parts.iter().position(|part| part.component == zone.component);
        let at = at.unwrap_or_else(|| {
            parts.push(Part {
                component: zone.component.clone(),
                in_total: zone.in_total,
                ..Part::default()
            });
            parts.len() - 1
        });
        if let Some(part) = parts.get_mut(at) {
            let earlier = before.get(index);
            let rose = |now: u64, then: fn(&ZoneTotal) -> u64| now.saturating_sub(earlier.map_or(0, then));
            part.dynamic_uj = part.dynamic_uj.saturating_add(dynamic);
            part.idle_uj = part.idle_uj.saturating_add(idle);
            part.node_dynamic_uj = part
                .node_dynamic_uj
                .saturating_add(rose(zone.dynamic_uj, |zone| zone.dynamic_uj));
            part.node_idle_uj = part
                .node_idle_uj
                .saturating_add(rose(zone.idle_uj, |zone| zone.idle_uj));
            part.error_permille = part.error_permille.max(zone.error_permille);
            part.is_late |= zone.read < ended;
            put_once(&mut part.sources, &zone.source);
            put_once(&mut part.provenance, &zone.provenance);
        }
    }
    parts
}

fn put_once(all: &mut Vec<String>, one: &str) {
    if !all.iter().any(|known| known == one) {
        all.push(one.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(component: &str, dynamic_uj: u64, idle_uj: u64, read: u64) -> ZoneTotal {
        ZoneTotal {
            component: component.to_owned(),
            in_total: component != "platform",
            source: "rapl-sysfs".to_owned(),
            provenance: "counted".to_owned(),
            dynamic_uj,
            idle_uj,
            read: MonotonicNanos::from_nanos(read),
            ..ZoneTotal::default()
        }
    }

    #[test]
    fn zones_of_a_component_are_one_part_and_the_node_is_what_rose() {
        let before = [zone("package", 100, 10, 0)];
        let after = [
            zone("package", 150, 30, 9),
            zone("package", 5, 1, 9),
            zone("platform", 70, 7, 3),
        ];
        let charge = |zone, dynamic_uj| Charged {
            zone,
            dynamic_uj,
            idle_uj: 1,
        };
        let charges = [
            charge(0, 40),
            charge(1, 2),
            charge(2, 60),
            charge(0, 1),
            charge(9, 1),
        ];
        let parts = parts(
            &before,
            &after,
            charges.into_iter(),
            MonotonicNanos::from_nanos(5),
        );
        let figures: Vec<_> = parts
            .iter()
            .map(|part| {
                (
                    part.component.as_str(),
                    part.dynamic_uj,
                    part.idle_uj,
                    part.node_dynamic_uj,
                    part.node_idle_uj,
                    part.is_late,
                )
            })
            .collect();
        assert_eq!(
            figures,
            [
                ("package", 43, 3, 55, 21, false),
                ("platform", 60, 1, 70, 7, true)
            ]
        );
        assert!(!parts[1].in_total);
    }

    #[test]
    fn a_part_that_is_measured_and_estimated_says_both() {
        let estimated = ZoneTotal {
            provenance: "estimated".to_owned(),
            source: "estimator".to_owned(),
            error_permille: Some(150),
            ..zone("package", 1, 1, 0)
        };
        let parts = parts(
            &[],
            &[zone("package", 1, 1, 0), estimated],
            std::iter::empty(),
            MonotonicNanos::ZERO,
        );
        assert_eq!(parts[0].provenance, ["counted", "estimated"]);
        assert_eq!(parts[0].sources, ["rapl-sysfs", "estimator"]);
        assert_eq!(parts[0].error_permille, Some(150));
    }
}
