// SPDX-License-Identifier: Apache-2.0
//! RAPL through the perf PMU `power` (`rapl-perf`): Intel since Sandy Bridge, AMD since Zen.
//!
//! Owns open events and their totals. An event that stopped counting, because its CPU went offline, is opened again on
//! another CPU of its package; what was used in between is not known and not counted, and that is told. Opt-in: it needs
//! `CAP_PERFMON`, which also lets its holder watch every process, where the powercap tree needs a readable file only.

mod config;
mod event;
mod scan;
#[cfg(test)]
mod tests;

pub use config::RaplPerfConfig;

use crate::counted::{Counted, Outcome};
use crate::cpus::{self, Domain, Scope};
use crate::errors::ErrorLedger;
use crate::files::Fault;
use crate::moment::{Asked, Moment, Slept};
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, SourceId, Zone};
use event::{Count, Event, Kernel, Perf};
#[cfg(feature = "fuzzing")]
pub(crate) use scan::fuzz_event;
use scan::{Found, Pmu};
use std::io;

/// The name in the configuration.
pub const NAME: &str = "rapl-perf";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("rapl-perf");
/// What this PMU has on some machine or other.
pub const COMPONENTS: &[Component] = crate::rapl::COMPONENTS;

/// What to do when there is no such PMU.
const NO_PMU: &str =
    "the kernel has no RAPL events for this CPU; try `modprobe rapl`; a virtual machine usually has none";

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(RaplPerfConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<RaplPerfConfig>(NAME, section)?.check()
}

/// Looks for the PMU and opens the events of the wanted components.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: RaplPerfConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    Ok(
        match RaplPerf::open(config, Box::new(Perf), ask.wanted, ask.slept) {
            Ok(source) => Opened::Source(Box::new(source)),
            Err(reason) => Opened::Absent { reason },
        },
    )
}

/// An event that counts.
struct Running {
    event: Box<dyn Event>,
    cpu: u32,
    last: Count,
}

/// One event of one package or die.
struct Meter {
    found: Found,
    domain: Domain,
    /// `None` while it cannot be opened.
    running: Option<Running>,
    /// Counts of the events before this one.
    carried: u64,
    counted: Counted,
}

impl Meter {
    fn new(found: Found, domain: &Domain, zone: Zone, config: &RaplPerfConfig) -> Self {
        let max_power = config.max_watts.highest(found.component);
        Self {
            found,
            domain: domain.clone(),
            running: None,
            carried: 0,
            counted: Counted::new(zone, found.scale.modulus(), max_power),
        }
    }

    /// Opens the event on a CPU that the PMU allows, and reads it once.
    fn attach(&mut self, pmu: &Pmu, domains: &[Domain], kernel: &dyn Kernel) -> Result<u64, Fault> {
        let here = domains.iter().find(|here| here.is(&self.domain));
        let mut cpus = here.into_iter().flat_map(|here| &here.cpus);
        let Some(cpu) = cpus.find(|cpu| pmu.cpumask.contains(cpu)).copied() else {
            return Err(Fault {
                reason: ErrorReason::Gone,
                words: format!(
                    "{}: no CPU of {} is in the cpumask",
                    self.found.name, self.domain.place
                ),
            });
        };
        let words = |error: &io::Error| fault(&self.found, cpu, error);
        let mut event = kernel
            .open(pmu.kind, self.found.config, cpu)
            .map_err(|error| words(&error))?;
        let last = event.read().map_err(|error| words(&error))?;
        self.running = Some(Running { event, cpu, last });
        Ok(self.value())
    }

    /// Counts of this event and of those before it.
    fn value(&self) -> u64 {
        let count = self.running.as_ref().map_or(0, |running| running.last.value);
        self.carried.saturating_add(count)
    }

    /// Reads the open event. `None` when there is none; one that has stopped is closed, and the reason is told.
    fn read(&mut self) -> Option<Result<u64, Fault>> {
        let running = self.running.as_mut()?;
        let cpu = running.cpu;
        let stopped = match running.event.read() {
            Ok(count) if count.running > running.last.running => {
                running.last = count;
                return Some(Ok(self.value()));
            }
            Ok(_) => Fault {
                reason: ErrorReason::Gone,
                words: format!(
                    "{}: cpu {cpu} stopped counting for {}; until it is opened again nothing is counted",
                    self.found.name, self.domain.place
                ),
            },
            Err(error) => fault(&self.found, cpu, &error),
        };
        self.carried = self.value();
        self.running = None;
        Some(Err(stopped))
    }

    /// What the answer to a read means.
    fn take(&mut self, answer: Result<u64, Fault>, now: Moment) -> Outcome {
        let microjoules = answer.map(|count| self.found.scale.microjoules(count));
        self.counted.take(microjoules, now, &self.found.name)
    }
}

fn fault(found: &Found, cpu: u32, error: &io::Error) -> Fault {
    // ENODEV and ENXIO: the CPU is offline; end of file: the kernel gave the event up.
    let gone = matches!(error.raw_os_error(), Some(6 | 19)) || error.kind() == io::ErrorKind::UnexpectedEof;
    let hint = if error.kind() == io::ErrorKind::PermissionDenied {
        "; needs CAP_PERFMON (CAP_SYS_ADMIN before Linux 5.8) or kernel.perf_event_paranoid of 0 or less"
    } else {
        ""
    };
    Fault {
        reason: if gone { ErrorReason::Gone } else { ErrorReason::Io },
        words: format!("event {} on cpu {cpu}: {error}{hint}", found.name),
    }
}

struct RaplPerf {
    config: RaplPerfConfig,
    scope: Scope,
    kernel: Box<dyn Kernel>,
    /// Five for each package or die at most.
    meters: Vec<Meter>,
    slept: Slept,
    errors: ErrorLedger,
}

/// The PMU and the packages or dies, as they are now.
fn look(config: &RaplPerfConfig, scope: Scope) -> Result<(Pmu, Vec<Domain>), Fault> {
    let pmu = scan::scan(&config.root)?;
    Ok((pmu, cpus::domains(&cpus::online(&config.cpus)?, scope)))
}

impl RaplPerf {
    /// The reason why not is for people.
    fn open(
        config: RaplPerfConfig,
        kernel: Box<dyn Kernel>,
        wanted: &[Component],
        slept: Slept,
    ) -> Result<Self, String> {
        let root = config.root.display().to_string();
        if !config.root.exists() {
            return Err(format!("{root} does not exist: {NO_PMU}"));
        }
        let identity = cpus::identity(&config.cpuinfo).map_err(|fault| fault.words)?;
        let scope = identity.scope();
        let (pmu, domains) = look(&config, scope).map_err(|fault| fault.words)?;
        let mut errors = ErrorLedger::default();
        for fault in &pmu.faults {
            errors.note(SOURCE, None, fault.reason, &fault.words);
        }
        let mut meters = Vec::new();
        for found in pmu
            .events
            .iter()
            .filter(|found| wanted.contains(&found.component))
        {
            for domain in &domains {
                let zone = domain.zone(found.component, &domains);
                meters.extend(zone.map(|zone| Meter::new(*found, domain, zone, &config)));
            }
        }
        if meters.is_empty() {
            let there: Vec<_> = pmu.events.iter().map(|found| found.name).collect();
            return Err(match pmu.faults.first() {
                Some(fault) => fault.words.clone(),
                None if there.is_empty() => {
                    format!("{root}: the PMU has no energy event; its counters count nothing here")
                }
                None => format!("{root}: none of the wanted components, only {}", there.join(", ")),
            });
        }
        let mut first_fault = None;
        for meter in &mut meters {
            if let Err(fault) = meter.attach(&pmu, &domains, &*kernel) {
                errors.note(SOURCE, Some(&meter.counted.zone), fault.reason, &fault.words);
                first_fault.get_or_insert(fault.words);
            }
        }
        match first_fault {
            Some(words) if meters.iter().all(|meter| meter.running.is_none()) => {
                Err(format!("{root}: {words}"))
            }
            _ => Ok(Self {
                config,
                scope,
                kernel,
                meters,
                slept,
                errors,
            }),
        }
    }
}

impl PowerSource for RaplPerf {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        let here = |component: &Component| {
            self.meters
                .iter()
                .any(|meter| meter.found.component == *component)
        };
        COMPONENTS.iter().copied().filter(here).collect()
    }

    fn detail(&self) -> String {
        let zones: Vec<_> = self
            .meters
            .iter()
            .map(|meter| meter.counted.zone.to_string())
            .collect();
        format!("{}: {}", self.config.root.display(), zones.join(", "))
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut zones = Vec::with_capacity(self.meters.len());
        let mut seen = None;
        let asked = Asked::begin(now, self.slept);
        for meter in &mut self.meters {
            if !meter.counted.is_due(now) {
                continue;
            }
            let answer = match meter.read() {
                Some(Ok(count)) => Ok(count),
                lost => {
                    if let Some(Err(fault)) = lost {
                        self.errors
                            .note(SOURCE, Some(&meter.counted.zone), fault.reason, &fault.words);
                    }
                    // Looked at once for all meters.
                    match seen.get_or_insert_with(|| look(&self.config, self.scope)) {
                        Ok((pmu, domains)) => meter.attach(pmu, domains, &*self.kernel),
                        Err(fault) => Err(fault.clone()),
                    }
                }
            };
            let (reading, complaint) = meter.take(answer, asked.answered());
            zones.extend(reading);
            if let Some((reason, words)) = complaint {
                self.errors
                    .note(SOURCE, Some(&meter.counted.zone), reason, &words);
            }
        }
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }
}
