// SPDX-License-Identifier: Apache-2.0
//! How a zone looks in JSON: what its meter counted, where that comes from, and by what it was split.

use super::views::{Text, nanos};
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Place, Provenance};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct ZoneView<'a> {
    component: &'static str,
    place: Text<'a, Place>,
    source: &'static str,
    provenance: &'static str,
    relative_error_p90_permille: Option<u32>,
    dynamic_uj: u64,
    idle_uj: u64,
    unattributed_uj: u64,
    unreserved_idle_uj: u64,
    power_uw: Option<u64>,
    floor_uw: Option<u64>,
    floor_origin: &'static str,
    floor_error_permille: Option<u32>,
    feature: &'static str,
    fit: Option<FitView>,
    age_ns: u64,
    up: bool,
}

#[derive(Serialize)]
struct FitView {
    plain: &'static str,
    plain_error_permille: u32,
    learned_error_permille: u32,
}

pub(crate) fn zone(account: &ZoneAccount) -> ZoneView<'_> {
    ZoneView {
        component: account.zone.component.name(),
        place: Text(&account.zone.place),
        source: account.source.0,
        provenance: account.provenance.name(),
        relative_error_p90_permille: match account.provenance {
            Provenance::Estimated { relative_error_p90 } => Some(relative_error_p90.0),
            Provenance::Counted | Provenance::Integrated => None,
        },
        dynamic_uj: account.dynamic.as_micro(),
        idle_uj: account.idle.as_micro(),
        unattributed_uj: account.unattributed.as_micro(),
        unreserved_idle_uj: account.unreserved_idle.as_micro(),
        power_uw: account.power.map(|power| power.as_micro()),
        floor_uw: account.floor.map(|power| power.as_micro()),
        floor_origin: account.floor_origin.name(),
        floor_error_permille: account.floor_error.map(|error| error.0),
        feature: account.feature.name(),
        fit: account.fit.map(|fit| FitView {
            plain: fit.plain.name(),
            plain_error_permille: fit.plain_error.0,
            learned_error_permille: fit.learned_error.0,
        }),
        age_ns: nanos(account.age),
        up: account.up,
    }
}
