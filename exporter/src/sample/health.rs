// SPDX-License-Identifier: Apache-2.0
//! The sample's sources, start-up decisions and windows.

use super::RAPL;
use attribution::model::facts::SourceFacts;
use attribution::model::snapshot::{SourceAccount, WindowCounters};
use attribution::model::{
    Accounting, Component, ErrorReason, NodeFacts, PackageId, PassedOver, Place, ProbeState, ReporterId,
    Selection, SourceError, SourceId, Tally, TallyKind, Zone,
};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn tallies() -> Vec<Tally> {
    let tally = |probe, what, kind, count| Tally {
        probe,
        what,
        kind,
        count,
    };
    vec![
        tally("resolver", "walks", TallyKind::Done, 3),
        tally("pods", "failed questions", TallyKind::Lost, 2),
        tally("pods", "pods known", TallyKind::Held, 9),
    ]
}

pub(super) fn sources() -> Vec<SourceAccount> {
    let error = |reason, count| SourceError {
        zone: Some(Zone {
            component: Component::Package,
            place: Place::socket(PackageId(1)),
        }),
        reason,
        count,
        latest: Arc::from("read failed"),
    };
    vec![
        SourceAccount {
            source: RAPL,
            age: Some(Duration::from_millis(250)),
            errors: vec![
                error(ErrorReason::Io, 3),
                error(ErrorReason::Reset, 1),
                error(ErrorReason::Io, 2),
            ],
        },
        SourceAccount {
            source: SourceId("acpi"),
            age: None,
            errors: Vec::new(),
        },
    ]
}

pub(super) fn facts() -> NodeFacts {
    let source = |source, components: &[Component], detail: &str| SourceFacts {
        source,
        components: components.to_vec(),
        detail: detail.into(),
    };
    let probe = |probe, up, reason: &str| ProbeState {
        probe,
        up,
        reason: reason.into(),
    };
    NodeFacts {
        memory: Some(64 << 30),
        selections: vec![Selection {
            key: "cpu",
            chosen: vec!["rapl".into()],
            passed_over: vec![PassedOver {
                name: "hwmon".into(),
                reason: "no energy input".into(),
            }],
        }],
        probes: vec![
            probe("proc_fallback", true, ""),
            probe("sched_switch", false, "kernel has no \"BTF\""),
        ],
        accounting: Accounting {
            chosen: "proc",
            reason: "kernel has no \"BTF\"".into(),
        },
        sources: vec![
            source(
                RAPL,
                &[Component::Package, Component::Dram],
                "/sys/class/powercap: package-0, dram",
            ),
            source(SourceId("acpi"), &[Component::Other], "power_meter"),
        ],
    }
}

pub(super) fn windows() -> WindowCounters {
    WindowCounters {
        closed: 41,
        late: vec![(ReporterId::new("resolver"), 4)],
        late_now: vec![ReporterId::new("resolver")],
        stale: vec![ReporterId::new("resolver")],
        lateness: [30, 5, 3, 1, 1, 0, 0, 0, 1],
        lateness_sum: Duration::from_millis(1_234),
    }
}
