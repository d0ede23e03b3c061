// SPDX-License-Identifier: Apache-2.0
//! The node level of schema `kepler-0.11`.

use super::names::{self, Part};
use super::zone_name;
use crate::page::RenderSettings;
use crate::text::node::joules;
use crate::text::writer::{Decimal, Family, Labels, Sheet, Tally};
use crate::view::View;
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Component, Microjoules, Microwatts, PackageTime};

/// The node as today's Kepler shows it.
pub(in crate::text) struct Node<'a> {
    pub(in crate::text) view: &'a View,
    pub(in crate::text) settings: &'a RenderSettings,
}

impl Node<'_> {
    fn node_name(&self) -> Labels {
        Labels::none().with("node_name", self.settings.node_name())
    }

    fn zones(&self) -> impl Iterator<Item = (usize, &ZoneAccount)> {
        self.view.moment.snapshot.zones.iter().enumerate()
    }

    /// All families; those that schema `kepler` calls the same are left out where it writes them.
    pub(in crate::text) fn write(&self, sheet: &mut Sheet, with_shared: bool) {
        for part in Part::ALL {
            self.cpu_joules(part).write(sheet, &names::cpu_joules(part));
        }
        for part in Part::ALL {
            self.cpu_watts(part).write(sheet, &names::cpu_watts(part));
        }
        self.usage_ratio(sheet);
        self.cpu_info(sheet);
        for part in Part::ALL {
            if part != Part::All || with_shared {
                self.gpu(part, true).write(sheet, &names::gpu_joules(part));
                self.gpu(part, false).write(sheet, &names::gpu_watts(part));
            }
        }
        let mut info = Tally::default();
        for (number, (_, account)) in self.gpus().enumerate() {
            info.max(self.gpu_labels(number, account), Decimal::whole(1));
        }
        info.write(sheet, &names::gpu_info());
        self.platform(sheet);
    }

    /// For the family that schema `kepler` has, too.
    pub(in crate::text) fn gpu_joules(&self) -> Tally {
        self.gpu(Part::All, true)
    }

    /// For the family that schema `kepler` has, too.
    pub(in crate::text) fn gpu_watts(&self) -> Tally {
        self.gpu(Part::All, false)
    }

    fn cpu_zones(&self) -> impl Iterator<Item = (usize, &ZoneAccount, Labels)> {
        self.zones().filter_map(|(position, account)| {
            let path = format!("{}:{}", account.source.0, account.zone.place);
            let labels = self
                .node_name()
                .with("zone", zone_name(account)?)
                .with("path", &path);
            Some((position, account, labels))
        })
    }

    fn cpu_joules(&self, part: Part) -> Tally {
        let mut tally = Tally::default();
        for (_, account, labels) in self.cpu_zones() {
            tally.add(labels, joules(energy(account, part)));
        }
        tally
    }

    fn cpu_watts(&self, part: Part) -> Tally {
        let mut tally = Tally::default();
        for (position, account, labels) in self.cpu_zones() {
            if let Some(power) = self.power(position, account, part) {
                tally.add(labels, Decimal::micro(power.as_micro()));
            }
        }
        tally
    }

    /// Nothing while the zone does not answer: its last power is not its power now.
    fn power(&self, position: usize, account: &ZoneAccount, part: Part) -> Option<Microwatts> {
        let all = account.power.filter(|_| account.up)?;
        if part == Part::All {
            return Some(all);
        }
        // Dynamic energy that waited for CPU time may be paid in one window: it was used in several.
        let active = self.view.active_power(position)?.min(all);
        match part {
            Part::All | Part::Active => Some(active),
            Part::Idle => Some(all.saturating_sub(active)),
        }
    }

    fn usage_ratio(&self, sheet: &mut Sheet) {
        let sum = |packages: &[PackageTime]| {
            let busy: u64 = packages.iter().map(|package| package.busy.as_nanos()).sum();
            let idle: u64 = packages.iter().map(|package| package.idle.as_nanos()).sum();
            (busy, idle)
        };
        let Some(before) = self.view.before() else { return };
        let ((busy, idle), (busy_then, idle_then)) =
            (sum(&self.view.moment.snapshot.packages), sum(&before.packages));
        let busy = u128::from(busy.saturating_sub(busy_then));
        let all = busy + u128::from(idle.saturating_sub(idle_then));
        let ratio = (busy * 1_000_000)
            .checked_div(all)
            .and_then(|ratio| u64::try_from(ratio).ok());
        if let Some(ratio) = ratio {
            Family::new(sheet, &names::usage_ratio()).sample(&self.node_name(), Decimal::micro(ratio));
        }
    }

    fn cpu_info(&self, sheet: &mut Sheet) {
        let mut tally = Tally::default();
        for cpu in self.settings.observer.cpus() {
            let labels = Labels::none()
                .with("processor", &cpu.processor)
                .with("vendor_id", &cpu.vendor_id)
                .with("model_name", &cpu.model_name)
                .with("physical_id", &cpu.physical_id)
                .with("core_id", &cpu.core_id);
            tally.max(labels, Decimal::whole(1));
        }
        tally.write(sheet, &names::cpu_info());
    }

    fn gpus(&self) -> impl Iterator<Item = (usize, &ZoneAccount)> {
        self.zones()
            .filter(|(_, account)| account.zone.component == Component::Gpu)
    }

    fn gpu_labels(&self, number: usize, account: &ZoneAccount) -> Labels {
        let vendor = match account.source.0 {
            "nvml" => "nvidia",
            "intel-gpu" => "intel",
            "amd-gpu" => "amd",
            other => other,
        };
        self.node_name()
            .with("gpu", &number.to_string())
            .with("gpu_uuid", &account.zone.place.to_string())
            .with("gpu_name", "")
            .with("vendor", vendor)
    }

    /// Joules, or watts.
    fn gpu(&self, part: Part, in_joules: bool) -> Tally {
        let mut tally = Tally::default();
        for (number, (position, account)) in self.gpus().enumerate() {
            let labels = self.gpu_labels(number, account);
            if in_joules {
                tally.add(labels, joules(energy(account, part)));
            } else if let Some(power) = self.power(position, account, part) {
                tally.add(labels, Decimal::micro(power.as_micro()));
            }
        }
        tally
    }

    fn platform(&self, sheet: &mut Sheet) {
        let mut tally = Tally::default();
        let platforms = self.zones().filter(|(_, account)| {
            account.zone.component == Component::Platform && zone_name(account).is_none()
        });
        for (_, account) in platforms {
            let Some(power) = account.power.filter(|_| account.up) else {
                continue;
            };
            let place = account.zone.place.to_string();
            let labels = self
                .node_name()
                .with("source", account.source.0)
                .with("bmc_id", "")
                .with("chassis_id", "")
                .with("source_id", &place)
                .with("source_name", &place)
                .with("source_type", "");
            tally.add(labels, Decimal::micro(power.as_micro()));
        }
        tally.write(sheet, &names::platform_watts());
    }
}

fn energy(account: &ZoneAccount, part: Part) -> Microjoules {
    match part {
        Part::All => account.dynamic + account.idle,
        Part::Active => account.dynamic,
        Part::Idle => account.idle,
    }
}

/// What is written whatever the levels are.
pub(in crate::text) fn write_info(sheet: &mut Sheet, settings: &RenderSettings) {
    let build = &settings.build;
    let labels = Labels::none()
        .with("arch", settings.arch)
        .with("branch", build.branch)
        .with("revision", build.revision)
        .with("version", build.version)
        // Not written in Go.
        .with("goversion", "");
    Family::new(sheet, &names::build_info()).sample(&labels, Decimal::whole(1));
}
