// SPDX-License-Identifier: Apache-2.0
//! `kepler check`: what this machine has, what the daemon would use, and what to do about the rest.
//!
//! It opens what the daemon would open and closes it again, so its yes is not a guess. It measures nothing and changes
//! nothing.

mod http;

use crate::accountants;
use crate::choice;
use crate::clock;
use crate::node;
use crate::run::section;
use crate::settings::{CpuTime, Idle, Probes, Root, Sources};
use attribution::engine::FloorPolicy;
use attribution::model::{Accounting, Component, ProbeState, Selection};
use config::Loaded;
use exporter::passthrough::PassthroughConfig;
use power_sources::estimator::{EstimatorConfig, ModelsConfig, RefusedModels};
use probe_ebpf::preflight::{self, Preflight};
use probe_workloads::cgroup::Mode;
use probe_workloads::{Machine, PodNames, Roots};
use rustix::fs::{Access, access};
use std::fmt;
use std::path::Path;

/// What one row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is there.
    Yes,
    /// It is not, and the daemon runs all the same.
    No,
    /// It is not, and the daemon cannot run.
    Fatal,
    /// A fact without judgement.
    Fact,
}

#[derive(Clone, Debug)]
struct Row {
    area: &'static str,
    name: String,
    verdict: Verdict,
    detail: String,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// Whether the daemon can run here.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.0.iter().all(|row| row.verdict != Verdict::Fatal)
    }

    fn say(&mut self, area: &'static str, name: &str, verdict: Verdict, detail: impl Into<String>) {
        self.0.push(Row {
            area,
            name: name.to_owned(),
            verdict,
            detail: detail.into(),
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0);
        let mut area = "";
        for row in &self.0 {
            if row.area != area {
                area = row.area;
                writeln!(f, "{area}")?;
            }
            let verdict = match row.verdict {
                Verdict::Yes => "yes",
                Verdict::No => "no",
                Verdict::Fatal => "NO",
                Verdict::Fact => "",
            };
            writeln!(f, "  {:width$}  {verdict:3}  {}", row.name, row.detail)?;
        }
        let summary = if self.can_run() {
            "kepler can run here"
        } else {
            "kepler cannot run here; see the rows with NO"
        };
        writeln!(f, "{summary}")
    }
}

/// Looks at everything.
#[must_use]
pub fn inspect(loaded: &Loaded) -> Report {
    let mut report = Report::default();
    let machine = node::machine();
    let roots = Roots::detect(Path::new("/proc"));
    of_machine(&mut report, &machine);
    of_kernel(&mut report, &preflight::inspect(Path::new("/")));
    match &roots {
        Ok(roots) => of_cgroups(&mut report, roots),
        Err(error) => report.say(
            "cgroups",
            "mounts",
            Verdict::Fatal,
            format!("{error}; is /proc mounted?"),
        ),
    }
    if let Ok(roots) = &roots {
        of_probes(&mut report, loaded, &machine, roots);
    }
    of_pods(&mut report, loaded);
    of_sources(&mut report, loaded, &machine);
    of_state(&mut report, loaded, &machine);
    of_guests(&mut report, loaded);
    http::rows(&mut report, loaded);
    report
}

fn of_machine(report: &mut Report, machine: &Machine) {
    let name = machine
        .model_name
        .clone()
        .unwrap_or_else(|| "unknown processor".to_owned());
    let shape = format!(
        "{} package(s), {} core(s), {} thread(s)",
        machine.packages.len(),
        machine.cores(),
        machine.threads()
    );
    report.say("machine", "processor", Verdict::Fact, format!("{name}: {shape}"));
    let memory = machine
        .memory_bytes
        .map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    report.say("machine", "memory", Verdict::Fact, memory);
    let guest = match machine.hypervisor {
        Some(true) => "yes: meters are usually missing; the model gives this guest its share of a host",
        Some(false) => "no",
        None => "unknown",
    };
    report.say("machine", "virtual machine", Verdict::Fact, guest);
}

fn of_kernel(report: &mut Report, found: &Preflight) {
    let release = found
        .kernel_release
        .clone()
        .unwrap_or_else(|| "unknown".to_owned());
    report.say("kernel", "release", Verdict::Fact, release);
    match &found.btf {
        Ok(()) => report.say("kernel", "BTF", Verdict::Yes, "/sys/kernel/btf/vmlinux"),
        Err(why) => report.say(
            "kernel",
            "BTF",
            Verdict::No,
            format!("{why}; needs CONFIG_DEBUG_INFO_BTF=y"),
        ),
    }
    for (name, held) in [("CAP_BPF", found.cap_bpf), ("CAP_PERFMON", found.cap_perfmon)] {
        let advice = "missing: run as root, or add it (systemd AmbientCapabilities=, Kubernetes securityContext.capabilities.add)";
        let (verdict, detail) = if held {
            (Verdict::Yes, "")
        } else {
            (Verdict::No, advice)
        };
        report.say("kernel", name, verdict, detail);
    }
    if !found.host_pids {
        report.say(
            "kernel",
            "host pids",
            Verdict::No,
            "a pid namespace of its own hides processes: use hostPID: true, docker --pid=host",
        );
    }
    if found.lockdown.as_deref() == Some("confidentiality") {
        report.say(
            "kernel",
            "lockdown",
            Verdict::No,
            "confidentiality: no eBPF program may read kernel memory",
        );
    }
    let tracefs = Path::new("/sys/kernel/tracing/events").exists();
    let (verdict, detail) = match tracefs {
        true => (Verdict::Yes, "/sys/kernel/tracing"),
        false => (
            Verdict::No,
            "not mounted or not readable; not needed by the probes of this version",
        ),
    };
    report.say("kernel", "tracefs", verdict, detail);
}

fn of_cgroups(report: &mut Report, roots: &Roots) {
    let mounts = &roots.cgroup_mounts;
    let unified = mounts
        .unified
        .as_ref()
        .map(|mount| format!(", unified at {}", mount.point.display()));
    report.say(
        "cgroups",
        "mode",
        Verdict::Fact,
        format!("{}{}", mounts.mode().name(), unified.unwrap_or_default()),
    );
    if mounts.mode() == Mode::Version1 {
        let detail =
            "no unified hierarchy: containers that live shorter than a tick cannot be told from the host";
        report.say("cgroups", "unified", Verdict::No, detail);
    }
    for note in &mounts.notes {
        report.say("cgroups", "note", Verdict::No, note.clone());
    }
}

fn of_probes(report: &mut Report, loaded: &Loaded, machine: &Machine, roots: &Roots) {
    let settings = loaded.section::<Probes>("probes").unwrap_or_default();
    let tick = loaded.section::<Root>("").unwrap_or_default().tick.0;
    match accountants::usage(&settings, tick, machine, roots) {
        Ok(choice) => {
            let Accounting { chosen, reason } = choice.accounting;
            report.say("probes", "CPU time", Verdict::Fact, format!("{chosen}: {reason}"));
            for ProbeState { probe, up, reason } in choice.probes {
                report.say(
                    "probes",
                    probe,
                    if up { Verdict::Yes } else { Verdict::No },
                    reason,
                );
            }
        }
        Err(error) => {
            let advice = match settings.cpu_time {
                CpuTime::Switch | CpuTime::Scheduler => {
                    "; probes.cpu_time = \"auto\" would fall back to /proc"
                }
                CpuTime::Auto | CpuTime::Proc => "",
            };
            report.say("probes", "cpu_time", Verdict::Fatal, format!("{error:#}{advice}"));
        }
    }
}

fn of_pods(report: &mut Report, loaded: &Loaded) {
    let section = loaded.section("kubernetes").unwrap_or_default();
    let (verdict, detail) = match PodNames::describe(&section, &node::host_name()) {
        Ok(Some(plan)) => (Verdict::Fact, plan),
        Ok(None) => (
            Verdict::Fact,
            "nobody is asked: this is no pod, or kubernetes.mode is \"off\"".to_owned(),
        ),
        Err(error) => (Verdict::Fatal, error.to_string()),
    };
    report.say("names", "pods", verdict, detail);
}

fn of_sources(report: &mut Report, loaded: &Loaded, machine: &Machine) {
    let sources = loaded.section::<Sources>("sources").unwrap_or_default();
    let chosen = choice::choose(&sources, power_sources::ALL, |name| section(loaded, name));
    for Selection {
        key,
        chosen: taken,
        passed_over,
    } in &chosen.selections
    {
        for passed in passed_over {
            report.say(
                "sources",
                &format!("{key}: {}", passed.name),
                Verdict::No,
                passed.reason.clone(),
            );
        }
        for name in taken {
            let details = chosen
                .meters
                .iter()
                .filter(|meter| meter.name == name)
                .map(|meter| meter.source.detail());
            report.say(
                "sources",
                &format!("{key}: {name}"),
                Verdict::Yes,
                details.collect::<Vec<_>>().join("; "),
            );
        }
        if taken.is_empty() && passed_over.is_empty() {
            report.say(
                "sources",
                key,
                Verdict::Fact,
                "none configured; its metrics are absent",
            );
        }
    }
    if chosen.meters.is_empty() && chosen.estimated.is_empty() {
        let advice = "no energy at all: add \"estimator\" to sources.cpu for figures from the built-in model";
        report.say("sources", "any", Verdict::No, advice);
    }
    of_estimator(report, loaded, machine, &chosen.estimated);
}

/// Which model answers, out of which file, and every file that is refused.
fn of_estimator(report: &mut Report, loaded: &Loaded, machine: &Machine, estimated: &[Component]) {
    let config = loaded.section::<EstimatorConfig>("estimator").unwrap_or_default();
    let tdp = power_sources::rapl::thermal_design_power(&section(loaded, "rapl"));
    match node::estimator(machine, tdp, &config, estimated) {
        Ok(Some(estimator)) => report.say("estimator", "model", Verdict::Fact, estimator.detail()),
        Ok(None) if config.models != ModelsConfig::default() => {
            let detail = "estimator.models is not used: no figure is left to the estimator";
            report.say("estimator", "model", Verdict::Fact, detail);
        }
        Ok(None) => {}
        Err(RefusedModels(refused)) => {
            for file in refused {
                report.say("estimator", file.part.name(), Verdict::Fatal, file.to_string());
            }
        }
    }
}

fn of_state(report: &mut Report, loaded: &Loaded, machine: &Machine) {
    let idle = loaded.section::<Idle>("attribution.idle").unwrap_or_default();
    let state = loaded.section::<Root>("").unwrap_or_default().state;
    let nothing = (
        Verdict::Fact,
        "nothing is kept: state.dir is empty, or attribution.idle.floor is not \"measured\"".to_owned(),
    );
    let (verdict, detail) = match node::state(&state, machine) {
        _ if idle.floor.0 != FloorPolicy::Measured => nothing,
        Ok(None) => nothing,
        Ok(Some(plan)) => match plan.describe(clock::unix_seconds()) {
            Ok(detail) => (Verdict::Yes, detail),
            Err(wrong) => (Verdict::No, wrong),
        },
        Err(error) => (Verdict::No, error.to_string()),
    };
    report.say("state", "idle floor", verdict, detail);
}

fn of_guests(report: &mut Report, loaded: &Loaded) {
    let config = loaded
        .section::<PassthroughConfig>("vm_passthrough")
        .unwrap_or_default();
    let Some(dir) = config.wanted() else {
        return;
    };
    let made = dir.ancestors().find(|folder| folder.exists());
    let (verdict, detail) = match access(made.unwrap_or(&dir), Access::WRITE_OK) {
        Ok(()) => (Verdict::Yes, dir.display().to_string()),
        Err(error) => (Verdict::No, format!("{}: {error}", dir.display())),
    };
    report.say("guests", "fed by us", verdict, detail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_that_stops_the_daemon_makes_the_answer_no() {
        let mut report = Report::default();
        report.say("kernel", "BTF", Verdict::No, "missing");
        assert!(report.can_run());
        report.say("probes", "cpu_time", Verdict::Fatal, "nothing to read");
        assert!(!report.can_run());
        let text = report.to_string();
        assert!(text.contains("  BTF       no   missing\n"), "{text}");
        assert!(
            text.ends_with("kepler cannot run here; see the rows with NO\n"),
            "{text}"
        );
    }
}
