// SPDX-License-Identifier: Apache-2.0
//! Which channels make which zones: owns the order of rules and that nothing is counted twice; opens no meter.
//!
//! A channel feeds one zone at most. Channels of one zone are added up, which is right for the rails of one chip. Two
//! kinds of chips that are both about one zone by built-in rules (an EPYC with `amd_energy` and HSMP) show it twice: the first of
//! the table is taken. What a rule of the configuration gives to a zone is always added, because somebody said so.

use super::config::Rule;
use super::rules::{Verdict, builtin, grace};
use crate::sensors::acpi::{self, Rail, is_meter};
use crate::sensors::channel::Files;
use crate::sensors::chip::{Chip, ChipId, Wired};
use attribution::model::{Component, PackageId, Place, SourceId, Zone};
use std::collections::{BTreeMap, BTreeSet};

/// Who says what a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A rule of the configuration.
    Configured,
    /// A meter of a Grace.
    Grace,
    /// A built-in rule with its rank.
    Builtin(usize),
}

/// A channel that is counted.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Its chip.
    pub(super) chip: ChipId,
    /// Its files.
    pub(super) files: Files,
    origin: Origin,
}

impl Planned {
    /// Whether it is an ACPI meter's, for which zero is no reading: what it is about runs.
    pub(super) fn is_acpi(&self) -> bool {
        self.origin == Origin::Grace
    }
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Zones and what each is the sum of.
    pub(super) zones: BTreeMap<Zone, Vec<Planned>>,
    /// Chips with channels that no rule names, for people.
    pub(super) unnamed: Vec<String>,
    /// Chips that show a zone a second time, for people.
    pub(super) again: Vec<String>,
}

/// What the channels of `chips` are.
pub(super) fn plan(chips: &[Chip], rules: &[Rule]) -> Plan {
    let totals: BTreeSet<u16> = chips.iter().filter_map(total_of_socket).collect();
    let mut plan = Plan::default();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for chip in chips {
        let channels = chip.channels();
        if channels.is_empty() {
            continue;
        }
        let nth = seen.entry(&chip.id.name).or_default();
        let mut unnamed = Vec::new();
        for wired in channels {
            match judge(chip, *nth, &wired, rules, &totals) {
                Judged::Zone(zone, origin) => plan.zones.entry(zone).or_default().push(Planned {
                    chip: chip.id.clone(),
                    files: wired.files,
                    origin,
                }),
                Judged::Nothing => {}
                Judged::Unnamed => unnamed.push(wired.label),
            }
        }
        *nth = nth.saturating_add(1);
        if !unnamed.is_empty() {
            plan.unnamed.push(format!(
                "{} ({}): {}",
                chip.id.name,
                chip.id.device,
                unnamed.join(", ")
            ));
        }
    }
    plan.drop_what_is_shown_again();
    plan
}

enum Judged {
    Zone(Zone, Origin),
    Nothing,
    Unnamed,
}

fn judge(chip: &Chip, nth: usize, wired: &Wired, rules: &[Rule], totals: &BTreeSet<u16>) -> Judged {
    let id = &chip.id;
    let rule = rules.iter().find(|rule| {
        rule.chip.matches(&id.name) && rule.device.matches(&id.device) && rule.label.matches(&wired.label)
    });
    if let Some(rule) = rule {
        let component = rule.component.component();
        // A place that cannot be was refused with the section.
        let zone = component.and_then(|component| {
            let place = rule.place(component, &wired.label)?;
            Some(Zone { component, place })
        });
        return zone.map_or(Judged::Nothing, |zone| Judged::Zone(zone, Origin::Configured));
    }
    if let Some((rail, socket)) = acpi::grace(&wired.label).filter(|_| is_meter(chip)) {
        let Some(component) = grace(rail, totals.contains(&socket)) else {
            return Judged::Unnamed;
        };
        let place = match component {
            Component::Platform => Place::Named(wired.label.as_str().into()),
            _ => Place::socket(PackageId(socket)),
        };
        return Judged::Zone(Zone { component, place }, Origin::Grace);
    }
    // A meter whose driver has another name for its chip is still the machine's, and source `acpi`'s.
    if is_meter(chip) {
        return Judged::Nothing;
    }
    match builtin(&id.name, nth, &wired.label) {
        Verdict::Zone {
            component,
            place,
            rank,
        } => Judged::Zone(Zone { component, place }, Origin::Builtin(rank)),
        Verdict::Nothing => Judged::Nothing,
        Verdict::Unnamed => Judged::Unnamed,
    }
}

/// The socket that a chip is the Grace total of.
fn total_of_socket(chip: &Chip) -> Option<u16> {
    let meter = acpi::AcpiMeter::of(chip)?;
    match acpi::grace(&meter.wired.label)? {
        (Rail::Grace, socket) => Some(socket),
        _ => None,
    }
}

impl Plan {
    fn drop_what_is_shown_again(&mut self) {
        for (zone, parts) in &mut self.zones {
            let ranks = parts.iter().filter_map(|part| match part.origin {
                Origin::Builtin(rank) => Some(rank),
                _ => None,
            });
            let Some(first) = ranks.min() else {
                continue;
            };
            parts.retain(|part| {
                let kept = !matches!(part.origin, Origin::Builtin(rank) if rank > first);
                if !kept {
                    self.again.push(format!(
                        "{} ({}) shows {zone} again",
                        part.chip.name, part.chip.device
                    ));
                }
                kept
            });
        }
    }

    /// The `source` label: whose meters give the first zone, which is a CPU's wherever there is one.
    pub(super) fn source(&self) -> SourceId {
        let first = self.zones.values().next().and_then(|parts| parts.first());
        match first.map(|part| (part.origin, part.chip.name.as_str())) {
            Some((Origin::Grace, _)) => super::GRACE,
            Some((Origin::Builtin(_), "apm_xgene")) => super::XGENE,
            _ => super::SOURCE,
        }
    }
}
