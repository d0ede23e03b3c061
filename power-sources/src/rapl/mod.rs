// SPDX-License-Identifier: Apache-2.0
//! RAPL through the kernel's powercap tree (`rapl-sysfs`): Intel, and AMD since Zen.
//!
//! Owns open counters and their totals. Reads only zones that were wanted, and refuses what would count a
//! domain twice (see `scan.rs`). A zone that fails or vanishes costs only itself: it is looked for again, by
//! name, with back-off.
//!
//! Zones that the host of a virtual machine writes (`shared.rs`) are read the same way and have another name: `host-share`.

mod config;
mod scan;
mod shared;
#[cfg(test)]
mod tests;

pub use config::{MaxWatts, RaplConfig};

use crate::counted::{Counted, Outcome};
use crate::errors::ErrorLedger;
use crate::files::{Fault, OpenNumber};
use crate::moment::{Asked, Slept};
use crate::{Ask, Opened, PowerSource, SourceOpenError, Stand, Standing};
use attribution::model::{
    Component, Energy, ErrorReason, Microwatts, MonotonicNanos, Provenance, SourceId, Zone, ZoneReading,
};
#[cfg(feature = "fuzzing")]
pub(crate) use scan::fuzz_name;
use scan::{Found, Limits, Scan};
use shared::{Shared, Shown};

/// The name in the configuration.
pub const NAME: &str = "rapl";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("rapl-sysfs");
/// The `source` label of a virtual machine's share of its host's meters or model.
pub const HOST_SHARE: SourceId = SourceId("host-share");
/// What RAPL has on some machine or other.
pub const COMPONENTS: &[Component] = &[
    Component::Package,
    Component::Core,
    Component::Uncore,
    Component::Dram,
    Component::Platform,
];

/// What to do when there are no zones at all.
const NO_ZONES: &str =
    "no RAPL zones; try `modprobe intel_rapl_msr` (also for AMD); a virtual machine usually has none";

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(RaplConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<RaplConfig>(NAME, section)?.check()
}

/// The thermal design power of a package as the tree below the section's `root` states it; `None` where nothing does. Reads no counter.
#[must_use]
pub fn thermal_design_power(section: &serde_json::Value) -> Option<Microwatts> {
    let config: RaplConfig = crate::section(NAME, section).ok()?;
    scan::thermal_design_power(&config.root)
}

/// Looks for RAPL and opens the zones of the wanted components.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: RaplConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    Ok(match Rapl::open(config, ask.wanted, ask.slept) {
        Ok(rapl) => Opened::Source(Box::new(rapl)),
        Err(reason) => Opened::Absent { reason },
    })
}

/// How a zone is read.
#[derive(Debug)]
enum Meter {
    /// The kernel's file, which is kept open.
    Kernel(OpenNumber),
    /// The host's.
    Host(Shared),
}

impl Meter {
    fn open(found: &Found) -> Result<Self, Fault> {
        match found.is_hosts {
            true => Ok(Self::Host(Shared::new(found.dir.clone()))),
            false => OpenNumber::open(found.dir.join("energy_uj")).map(Self::Kernel),
        }
    }

    fn read(&mut self, asked: Asked) -> Result<Shown, Fault> {
        match self {
            Self::Kernel(file) => file.read().map(|raw| Shown {
                raw,
                provenance: Provenance::Counted,
                when: asked.answered(),
            }),
            Self::Host(shared) => shared.read(asked),
        }
    }
}

/// One zone.
struct Metered {
    found: Found,
    /// `None` while the zone is gone.
    meter: Option<Meter>,
    counted: Counted,
}

impl Metered {
    fn new(found: Found) -> Self {
        // A range of nothing until the first `attach`, which comes before the first reading.
        let counted = Counted::new(found.zone.clone(), 0, Microwatts::ZERO);
        Self {
            found,
            meter: None,
            counted,
        }
    }

    /// Opens the counter in the zone's folder and reads it.
    fn attach(&mut self, config: &RaplConfig, asked: Asked) -> Result<Shown, Fault> {
        let limits = Limits::read(&self.found, config.max_watts.of(self.found.zone.component))?;
        let mut meter = Meter::open(&self.found)?;
        let shown = meter.read(asked)?;
        self.counted.found_again(limits.modulus, limits.max_power);
        self.meter = Some(meter);
        Ok(shown)
    }

    /// Reads the open counter. `None` when there is none, or when it is not time to try.
    fn read(&mut self, asked: Asked) -> Option<Result<Shown, Fault>> {
        let meter = self.meter.as_mut().filter(|_| self.counted.is_due(asked.at))?;
        match meter.read(asked) {
            // Looked for at once: a file that was only replaced, or a driver that was reloaded, is no failure.
            Err(fault) if fault.reason == ErrorReason::Gone => {
                self.meter = None;
                None
            }
            answer => Some(answer),
        }
    }

    fn is_lost(&self, now: MonotonicNanos) -> bool {
        self.meter.is_none() && self.counted.is_due(now)
    }

    /// Opens the zone where a new scan has it. `None` when it is not lost, or when it is not time to try.
    fn find_again(
        &mut self,
        asked: Asked,
        scanned: Option<&Result<Scan, Fault>>,
        config: &RaplConfig,
    ) -> Option<Result<Shown, Fault>> {
        if !self.is_lost(asked.at) {
            return None;
        }
        let scan = match scanned? {
            Ok(scan) => scan,
            Err(fault) => return Some(Err(fault.clone())),
        };
        // Never the old folder as such: after a driver was reloaded it may be another zone's.
        let Some(here) = scan.found.iter().find(|here| here.zone == self.found.zone) else {
            let words = format!(
                "{}: vanished, and no other zone is {}",
                self.found.dir.display(),
                self.found.zone
            );
            return Some(Err(Fault {
                reason: ErrorReason::Gone,
                words,
            }));
        };
        self.found.clone_from(here);
        Some(self.attach(config, asked))
    }

    /// What the answer to a read means: a reading, a complaint, or both.
    fn take(&mut self, answer: Result<Shown, Fault>, asked: Asked) -> Outcome {
        let place = self.found.dir.join("energy_uj");
        let (when, provenance) = match &answer {
            Ok(shown) => (shown.when, shown.provenance),
            Err(_) => (asked.answered(), Provenance::Counted),
        };
        let raw = answer.map(|shown| shown.raw);
        let (reading, complaint) = self.counted.take(raw, when, &place.display());
        (
            reading.map(|reading| ZoneReading {
                provenance,
                ..reading
            }),
            complaint,
        )
    }
}

struct Rapl {
    config: RaplConfig,
    source: SourceId,
    /// Bounded by what a scan returns.
    zones: Vec<Metered>,
    slept: Slept,
    errors: ErrorLedger,
}

impl Rapl {
    /// The reason why not is for people.
    fn open(config: RaplConfig, wanted: &[Component], slept: Slept) -> Result<Self, String> {
        let root = config.root.display().to_string();
        let scan = match scan::scan(&config.root) {
            Ok(scan) => scan,
            Err(fault) if fault.reason == ErrorReason::Gone => {
                return Err(format!("{root} does not exist: {NO_ZONES}"));
            }
            Err(fault) => return Err(fault.words),
        };
        if scan.found.is_empty() {
            let detail = scan
                .faults
                .first()
                .map_or_else(|| NO_ZONES.to_owned(), |fault| fault.words.clone());
            return Err(format!("{root}: {detail}"));
        }
        // One of a host's is enough: none of its neighbours is then this machine's own.
        let source = match scan.found.iter().any(|found| found.is_hosts) {
            true => HOST_SHARE,
            false => SOURCE,
        };
        let mut rapl = Self {
            config,
            source,
            zones: Vec::new(),
            slept,
            errors: ErrorLedger::default(),
        };
        for fault in &scan.faults {
            rapl.errors.note(source, None, fault.reason, &fault.words);
        }
        let (wanted, other): (Vec<_>, Vec<_>) = scan
            .found
            .into_iter()
            .partition(|found| wanted.contains(&found.zone.component));
        if wanted.is_empty() {
            let there: Vec<_> = other.iter().map(|found| found.zone.to_string()).collect();
            return Err(format!(
                "{root}: none of the wanted components, only {}",
                there.join(", ")
            ));
        }
        let mut first_fault = None;
        for found in wanted {
            let mut metered = Metered::new(found);
            // Only tried: there is no time to count it from.
            if let Err(fault) = metered.attach(&rapl.config, Asked::begin(MonotonicNanos::ZERO, slept)) {
                rapl.errors
                    .note(source, Some(&metered.found.zone), fault.reason, &fault.words);
                first_fault.get_or_insert(fault);
            }
            if let Some(Meter::Host(shared)) = &mut metered.meter {
                shared.was_only_tried();
            }
            rapl.zones.push(metered);
        }
        match first_fault {
            Some(fault) if rapl.zones.iter().all(|zone| zone.meter.is_none()) => {
                Err(format!("{root}: no wanted zone can be read: {}", fault.words))
            }
            _ => Ok(rapl),
        }
    }

    /// Looks where the zones without a meter are now, if it is time for any of them. One scan serves them all.
    fn look_for_the_lost(&self, now: MonotonicNanos) -> Option<Result<Scan, Fault>> {
        self.zones
            .iter()
            .any(|zone| zone.is_lost(now))
            .then(|| scan::scan(&self.config.root))
    }
}

impl PowerSource for Rapl {
    fn id(&self) -> SourceId {
        self.source
    }

    fn components(&self) -> Vec<Component> {
        let here = |component: &Component| {
            self.zones
                .iter()
                .any(|zone| zone.found.zone.component == *component)
        };
        COMPONENTS.iter().copied().filter(here).collect()
    }

    fn detail(&self) -> String {
        let zones: Vec<_> = self
            .zones
            .iter()
            .map(|zone| zone.found.zone.to_string())
            .collect();
        format!("{}: {}", self.config.root.display(), zones.join(", "))
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let asked = Asked::begin(now, self.slept);
        let answers: Vec<_> = self.zones.iter_mut().map(|zone| zone.read(asked)).collect();
        let scanned = self.look_for_the_lost(now);
        let mut zones = Vec::with_capacity(answers.len());
        let mut complaints = Vec::new();
        for (zone, answer) in self.zones.iter_mut().zip(answers) {
            let Some(answer) = answer.or_else(|| zone.find_again(asked, scanned.as_ref(), &self.config))
            else {
                continue;
            };
            let (reading, complaint) = zone.take(answer, asked);
            zones.extend(reading);
            complaints.extend(complaint.map(|(reason, words)| (zone.found.zone.clone(), reason, words)));
        }
        for (zone, reason, words) in complaints {
            self.errors.note(self.source, Some(&zone), reason, &words);
        }
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }

    fn leave(&mut self) -> Vec<Standing> {
        let stands = |zone: &Metered| {
            // Of a host's share the moment is told with it: it goes on by itself.
            let place = zone.found.dir.canonicalize().ok()?;
            (!zone.found.is_hosts).then(|| {
                Standing(Stand::Counter {
                    place,
                    counted: zone.counted.clone(),
                })
            })
        };
        self.zones.iter().filter_map(stands).collect()
    }

    fn follow(&mut self, before: Vec<Standing>) -> Vec<Zone> {
        let mut followed = Vec::new();
        for stand in before {
            let Standing(Stand::Counter { place, counted }) = stand else {
                continue;
            };
            let is = |zone: &&mut Metered| {
                zone.found.zone == counted.zone && zone.found.dir.canonicalize().is_ok_and(|dir| dir == place)
            };
            if let Some(zone) = self.zones.iter_mut().find(is)
                && zone.counted.follow(counted)
            {
                followed.push(zone.found.zone.clone());
            }
        }
        followed
    }
}
