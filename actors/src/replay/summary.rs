// SPDX-License-Identifier: Apache-2.0
//! What a replay gave, for people: how long, what each zone used, who paid most.

use super::{IN_SPITE_OF_A_GAP, Replayed, shown};
use attribution::model::snapshot::{ContainerKey, GroupRow, Ledger, ZoneAccount};
use attribution::model::{Microjoules, Snapshot};
use std::fmt;
use std::time::Duration;

/// Workloads that are listed of each level.
const LISTED: usize = 10;

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = &self.beginning;
        let names = if begin.anonymous { ", names replaced" } else { "" };
        writeln!(
            f,
            "{}: recorded by {}, a window every {}{names}",
            self.path.display(),
            shown(&begin.program),
            humantime::format_duration(begin.tick),
        )?;
        let millis = u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX);
        let lasted = humantime::format_duration(Duration::from_millis(millis));
        writeln!(f, "{} windows in {lasted}; {}", self.windows, self.ending)?;
        if self.missing > 0 {
            writeln!(f, "{} entries are missing: {IN_SPITE_OF_A_GAP}", self.missing)?;
        }
        zones(f, &self.snapshot, self.lasted)?;
        containers(f, &self.snapshot)?;
        processes(f, &self.snapshot)
    }
}

fn zones(f: &mut fmt::Formatter<'_>, snapshot: &Snapshot, lasted: Duration) -> fmt::Result {
    writeln!(
        f,
        "\n{:<24} {:<20} {:>14} {:>14} {:>14} {:>10}",
        "zone", "source", "dynamic J", "idle J", "unattributed J", "mean W"
    )?;
    for zone in &snapshot.zones {
        let ZoneAccount {
            dynamic,
            idle,
            unattributed,
            ..
        } = zone;
        let power = (*dynamic + *idle).mean_power(lasted);
        writeln!(
            f,
            "{:<24} {:<20} {:>14} {:>14} {:>14} {:>10}",
            shown(&zone.zone.to_string()),
            shown(zone.source.0),
            joules(*dynamic),
            joules(*idle),
            joules(*unattributed),
            millionths(power.as_micro()),
        )?;
    }
    Ok(())
}

fn containers(f: &mut fmt::Formatter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let name = |row: &GroupRow<ContainerKey>| match &row.key {
        ContainerKey::System => "system processes".to_owned(),
        ContainerKey::Kernel => "kernel processes".to_owned(),
        ContainerKey::Container(id) => {
            let short = id.as_str().get(..12).unwrap_or_else(|| id.as_str());
            let names = [
                row.names
                    .pod
                    .as_ref()
                    .map(|pod| format!("{}/{}", pod.namespace, pod.name)),
                row.names
                    .container
                    .as_ref()
                    .map(|container| container.name.clone()),
                Some(short.to_owned()),
            ];
            names.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    };
    let rows = snapshot.containers.iter().map(|row| (name(row), &row.ledger));
    table(f, "container", snapshot, rows.collect())
}

fn processes(f: &mut fmt::Formatter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let rows = snapshot
        .processes
        .iter()
        .map(|row| (format!("{} {}", row.task.tgid, row.comm.to_text()), &row.ledger));
    table(f, "process", snapshot, rows.collect())
}

/// Those that paid most of what counts into the node's total.
fn table(
    f: &mut fmt::Formatter<'_>,
    level: &str,
    snapshot: &Snapshot,
    rows: Vec<(String, &Ledger)>,
) -> fmt::Result {
    let paid = |ledger: &Ledger| {
        let charges = ledger.charges.iter().zip(&snapshot.zones);
        let counted = charges.filter(|(_, zone)| zone.zone.component.counts_into_total());
        counted.fold([Microjoules::ZERO; 2], |[dynamic, idle], (charge, _)| {
            [dynamic + charge.dynamic, idle + charge.idle]
        })
    };
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(name, ledger)| (name, paid(ledger), ledger.cpu.as_nanos()))
        .collect();
    // The dearest first; of equals the one whose name comes first.
    rows.sort_by(|(a, [da, ia], _), (b, [db, ib], _)| (*db + *ib).cmp(&(*da + *ia)).then(a.cmp(b)));
    writeln!(
        f,
        "\n{:<45} {:>14} {:>14} {:>14}",
        level, "dynamic J", "idle J", "CPU s"
    )?;
    let more = rows.len().saturating_sub(LISTED);
    for (name, [dynamic, idle], nanos) in rows.into_iter().take(LISTED) {
        writeln!(
            f,
            "{:<45} {:>14} {:>14} {:>14}",
            shown(&name),
            joules(dynamic),
            joules(idle),
            millionths(nanos / 1_000)
        )?;
    }
    if more > 0 {
        writeln!(f, "... and {more} more")?;
    }
    Ok(())
}

fn joules(energy: Microjoules) -> String {
    millionths(energy.as_micro())
}

/// Millionths as a decimal number with all of its digits.
fn millionths(micro: u64) -> String {
    format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::snapshot::ProcessRow;
    use attribution::model::{
        CgroupId, Comm, Component, Feature, FloorOrigin, MonotonicNanos, Place, Provenance, SourceId,
        TaskKey, TaskKind, Zone,
    };
    use attribution::recording::{Beginning, Ending};
    use std::sync::Arc;

    #[test]
    fn no_name_of_a_recording_reaches_the_terminal_as_a_command() {
        let evil = "\u{1b}]0;x\u{7}";
        let zone = ZoneAccount {
            zone: Zone {
                component: Component::Platform,
                place: Place::Named(Arc::from("a\u{9b}")),
            },
            source: SourceId("\u{1b}[2J"),
            provenance: Provenance::Counted,
            dynamic: Microjoules::ZERO,
            idle: Microjoules::ZERO,
            unattributed: Microjoules::ZERO,
            unreserved_idle: Microjoules::ZERO,
            power: None,
            floor: None,
            floor_origin: FloorOrigin::default(),
            floor_error: None,
            feature: Feature::default(),
            fit: None,
            age: Duration::ZERO,
            up: true,
        };
        let replayed = Replayed {
            path: "a".into(),
            beginning: Arc::new(Beginning {
                program: format!("kepler {evil}"),
                ..Beginning::default()
            }),
            snapshot: Arc::new(Snapshot {
                zones: vec![zone],
                processes: vec![ProcessRow {
                    task: TaskKey {
                        tgid: 1,
                        start_ticks: 1,
                    },
                    comm: Comm::from_bytes(evil.as_bytes()),
                    kind: TaskKind::User,
                    cgroup: CgroupId(1),
                    owner: None,
                    ledger: Ledger::default(),
                    began: MonotonicNanos::ZERO,
                    ended: false,
                }],
                ..Snapshot::default()
            }),
            windows: 1,
            missing: 0,
            lasted: Duration::from_secs(1),
            ending: Ending::Complete,
            after_the_end: 0,
        };
        let text = replayed.to_string();
        let signs = text.chars().filter(|sign| sign.is_control());
        assert!(signs.into_iter().all(|sign| sign == '\n'), "{text:?}");
        assert_eq!(text.matches('\u{fffd}').count(), 6, "{text:?}");
    }
}
