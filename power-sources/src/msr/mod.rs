// SPDX-License-Identifier: Apache-2.0
//! RAPL from the registers themselves (`rapl-msr`): Intel since Sandy Bridge, AMD since Zen, Hygon.
//!
//! Owns counters and their totals; asks one CPU of each package or die, and another one when that goes offline. For
//! machines whose kernel has neither the powercap driver nor the perf PMU for their CPU: whoever may open `/dev/cpu/N/msr`
//! may read every register of the machine, and write them, so it is in no list of sources by default.

mod config;
mod model;
mod registers;
#[cfg(test)]
mod tests;

pub use config::MsrConfig;

use crate::counted::{Counted, Outcome};
use crate::cpus::{self, Domain};
use crate::errors::ErrorLedger;
use crate::files::Fault;
use crate::moment::{Asked, Moment, Slept};
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, SourceId, Zone};
use model::{Plan, Unit};
use registers::{DevCpu, Registers};

/// The name in the configuration.
pub const NAME: &str = "msr";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("rapl-msr");
/// What these registers have on some machine or other.
pub const COMPONENTS: &[Component] = crate::rapl::COMPONENTS;

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(MsrConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<MsrConfig>(NAME, section)?.check()
}

/// Looks for the registers of the wanted components.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: MsrConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    let registers = Box::new(DevCpu::new(config.root.clone()));
    Ok(match Msr::open(config, registers, ask.wanted, ask.slept) {
        Ok(msr) => Opened::Source(Box::new(msr)),
        Err(reason) => Opened::Absent { reason },
    })
}

/// One counter.
struct Meter {
    register: u32,
    unit: Unit,
    counted: Counted,
}

/// The counters of one package or die.
struct Group {
    domain: Domain,
    /// The CPU that is asked.
    cpu: u32,
    meters: Vec<Meter>,
}

impl Group {
    /// Finds the counters that `domain` has, by the kernel's rule (`rapl_check_domain`): a register that can be read and is
    /// not zero.
    fn find(
        domain: &Domain,
        all: &[Domain],
        plan: &Plan,
        config: &MsrConfig,
        registers: &mut dyn Registers,
    ) -> Result<Self, Fault> {
        // Any of its CPUs will do; one may go offline at any time. Of many failures the first is told.
        let mut first_fault = None;
        let answer = domain
            .cpus
            .iter()
            .find_map(|cpu| match registers.read(*cpu, plan.unit) {
                Err(fault) if fault.reason == ErrorReason::Gone => {
                    first_fault.get_or_insert(fault);
                    None
                }
                answer => Some(answer.map(|units| (*cpu, units))),
            });
        let (cpu, units) = answer.unwrap_or_else(|| Err(first_fault.unwrap_or_else(|| nobody(domain))))?;
        let mut meters = Vec::new();
        for (component, register) in plan.counters {
            let is_there = registers.read(cpu, *register).is_ok_and(|raw| low(raw) != 0);
            if let Some(zone) = domain.zone(*component, all).filter(|_| is_there) {
                let unit = plan.unit_of(*component, units);
                let max_power = config.max_watts.highest(*component);
                meters.push(Meter {
                    register: *register,
                    unit,
                    counted: Counted::new(zone, unit.modulus(), max_power),
                });
            }
        }
        Ok(Self {
            domain: domain.clone(),
            cpu,
            meters,
        })
    }

    /// Reads every counter that is due.
    fn ask(&self, registers: &mut dyn Registers, now: MonotonicNanos) -> Vec<Option<Result<u64, Fault>>> {
        self.meters
            .iter()
            .map(|meter| {
                let due = meter.counted.is_due(now);
                due.then(|| registers.read(self.cpu, meter.register))
            })
            .collect()
    }

    /// Chooses a CPU that is online now. Says whether there is any.
    fn find_cpu(&mut self, domains: &Result<Vec<Domain>, Fault>) -> bool {
        let here = domains
            .as_ref()
            .ok()
            .and_then(|domains| domains.iter().find(|here| here.is(&self.domain)));
        let Some(cpu) = here.and_then(|here| here.cpus.first()) else {
            return false;
        };
        self.cpu = *cpu;
        true
    }

    /// What the answers mean, zone by zone.
    fn take(
        &mut self,
        answers: Vec<Option<Result<u64, Fault>>>,
        now: Moment,
    ) -> impl Iterator<Item = (Zone, Outcome)> {
        let cpu = self.cpu;
        self.meters
            .iter_mut()
            .zip(answers)
            .filter_map(move |(meter, answer)| {
                let microjoules = answer?.map(|raw| meter.unit.microjoules(low(raw)));
                let place = format_args!("register {:#x} of cpu {cpu}", meter.register);
                let outcome = meter.counted.take(microjoules, now, &place);
                Some((meter.counted.zone.clone(), outcome))
            })
    }
}

/// The counter itself: the upper half of the register is reserved.
fn low(raw: u64) -> u32 {
    let [a, b, c, d, ..] = raw.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn is_gone<T>(answer: &Result<T, Fault>) -> bool {
    answer
        .as_ref()
        .is_err_and(|fault| fault.reason == ErrorReason::Gone)
}

fn nobody(domain: &Domain) -> Fault {
    Fault {
        reason: ErrorReason::Gone,
        words: format!("no CPU of {} is online", domain.place),
    }
}

struct Msr {
    config: MsrConfig,
    plan: Plan,
    registers: Box<dyn Registers>,
    /// One for each package or die.
    groups: Vec<Group>,
    slept: Slept,
    errors: ErrorLedger,
}

impl Msr {
    /// The reason why not is for people.
    fn open(
        config: MsrConfig,
        mut registers: Box<dyn Registers>,
        wanted: &[Component],
        slept: Slept,
    ) -> Result<Self, String> {
        let identity = cpus::identity(&config.cpuinfo).map_err(|fault| fault.words)?;
        let plan = Plan::of(identity)?;
        let domains = look(&config, &plan).map_err(|fault| fault.words)?;
        let mut errors = ErrorLedger::default();
        let (mut groups, mut there, mut first_fault) = (Vec::new(), Vec::new(), None);
        for domain in &domains {
            match Group::find(domain, &domains, &plan, &config, &mut *registers) {
                Ok(mut group) => {
                    there.extend(group.meters.iter().map(|meter| meter.counted.zone.to_string()));
                    group
                        .meters
                        .retain(|meter| wanted.contains(&meter.counted.zone.component));
                    groups.push(group);
                }
                Err(fault) => {
                    errors.note(SOURCE, None, fault.reason, &fault.words);
                    first_fault.get_or_insert(fault.words);
                }
            }
        }
        groups.retain(|group| !group.meters.is_empty());
        if groups.is_empty() {
            let root = config.root.display();
            return Err(match first_fault {
                Some(words) if there.is_empty() => words,
                _ if there.is_empty() => {
                    format!("{root}: no energy counter counts; a virtual machine usually has none that do")
                }
                _ => format!("{root}: none of the wanted components, only {}", there.join(", ")),
            });
        }
        Ok(Self {
            config,
            plan,
            registers,
            groups,
            slept,
            errors,
        })
    }
}

/// The packages or dies that are there now.
fn look(config: &MsrConfig, plan: &Plan) -> Result<Vec<Domain>, Fault> {
    Ok(cpus::domains(&cpus::online(&config.cpus)?, plan.scope))
}

impl PowerSource for Msr {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        let here = |component: &Component| {
            let mut meters = self.groups.iter().flat_map(|group| &group.meters);
            meters.any(|meter| meter.counted.zone.component == *component)
        };
        COMPONENTS.iter().copied().filter(here).collect()
    }

    fn detail(&self) -> String {
        let group = |group: &Group| {
            let zones: Vec<_> = group
                .meters
                .iter()
                .map(|meter| meter.counted.zone.to_string())
                .collect();
            format!("cpu {}: {}", group.cpu, zones.join(", "))
        };
        let groups: Vec<_> = self.groups.iter().map(group).collect();
        format!("{}, {}", self.config.root.display(), groups.join("; "))
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut zones = Vec::new();
        let mut online = None;
        let asked = Asked::begin(now, self.slept);
        for group in &mut self.groups {
            let mut answers = group.ask(&mut *self.registers, now);
            if answers.iter().flatten().any(is_gone) {
                // Looked for once for all groups, and the counters are the same on every CPU: nothing is lost.
                let online = online.get_or_insert_with(|| look(&self.config, &self.plan));
                if group.find_cpu(online) {
                    answers = group.ask(&mut *self.registers, now);
                }
            }
            for (zone, (reading, complaint)) in group.take(answers, asked.answered()) {
                zones.extend(reading);
                if let Some((reason, words)) = complaint {
                    self.errors.note(SOURCE, Some(&zone), reason, &words);
                }
            }
        }
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }
}
