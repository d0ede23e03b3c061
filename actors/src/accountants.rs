// SPDX-License-Identifier: Apache-2.0
//! Who accounts CPU time on this node: looks for what the configuration asks for, takes the cheapest accountant that
//! gives it, and remembers why.

use crate::clock;
use crate::cpu_lines::CpuLines;
use crate::settings::{CpuTime, Optional, Probes};
use crate::shells::UsageReader;
use anyhow::Context as _;
use attribution::model::{Accounting, ProbeState, Section, TaskUsage, TickId, Usage};
use probe_ebpf::{Accountant, Probe, ProbeError, SchedulerProbe, counters};
use probe_workloads::procfs::{Load, ProcFs};
use probe_workloads::{Machine, ProcReader, Roots};
use std::time::Duration;

/// The usage reader, and the state of every probe.
pub struct UsageChoice {
    /// Reads who ran.
    pub reader: Box<dyn UsageReader>,
    /// For `kepler_probe_up`.
    pub probes: Vec<ProbeState>,
    /// Which accountant it is, and why.
    pub accounting: Accounting,
}

impl UsageChoice {
    /// Asks it once, so that one that cannot be read is not taken for one that can.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn tried(mut self) -> anyhow::Result<Self> {
        let asked = self.reader.drain(TickId(0), TickId(0), Vec::new());
        asked.context("the new probe cannot be read")?;
        Ok(self)
    }
}

/// The accountant that `settings` choose at this tick by what it costs; `None` where they name one.
#[must_use]
pub fn by_cost(settings: &Probes, tick: Duration, machine: &Machine, roots: &Roots) -> Option<&'static str> {
    let choose = || probe_ebpf::cheaper(&facts(settings, tick, machine, Load::read(&roots.proc)));
    (settings.cpu_time == CpuTime::Auto).then(|| choose().accountant.name())
}

/// Opens the accountant that `settings` asks for; with `auto` the cheaper one of eBPF's two, or `/proc` when eBPF cannot
/// be had.
///
/// # Errors
/// When the one that was asked for, or the last one, cannot be opened.
pub fn usage(
    settings: &Probes,
    tick: Duration,
    machine: &Machine,
    roots: &Roots,
) -> anyhow::Result<UsageChoice> {
    let asked = |name: &str| format!("asked for by probes.cpu_time = {name:?}");
    match settings.cpu_time {
        CpuTime::Proc => {
            let asked = asked("proc");
            from_proc(
                machine,
                roots,
                &Refused::both(Accountant::Switch, asked.clone(), asked),
            )
        }
        CpuTime::Switch => Ok(open(
            Accountant::Switch,
            settings,
            machine,
            roots,
            asked("switch"),
        )?),
        CpuTime::Scheduler => Ok(open(
            Accountant::Scheduler,
            settings,
            machine,
            roots,
            asked("scheduler"),
        )?),
        CpuTime::Auto => automatic(settings, tick, machine, roots),
    }
}

fn automatic(
    settings: &Probes,
    tick: Duration,
    machine: &Machine,
    roots: &Roots,
) -> anyhow::Result<UsageChoice> {
    let choice = probe_ebpf::cheaper(&facts(settings, tick, machine, Load::read(&roots.proc)));
    let first = match open(choice.accountant, settings, machine, roots, choice.reason) {
        Ok(opened) => return Ok(opened),
        Err(error) => in_words(error),
    };
    // The other one asks less of the kernel: no iterator, or no hook that frees.
    let other = match choice.accountant {
        Accountant::Switch => Accountant::Scheduler,
        Accountant::Scheduler => Accountant::Switch,
    };
    let reason = format!("{} cannot be had: {first}", choice.accountant);
    let second = match open(other, settings, machine, roots, reason) {
        Ok(opened) => return Ok(opened),
        Err(error) => in_words(error),
    };
    let refused = Refused::both(choice.accountant, first, second);
    tracing::warn!(
        reason = refused.in_one(),
        "no eBPF: CPU time comes from /proc, short-lived processes only as their container"
    );
    from_proc(machine, roots, &refused)
}

/// Why each accountant of eBPF cannot be had, or is not wanted.
struct Refused {
    switch: String,
    scheduler: String,
}

impl Refused {
    fn both(tried: Accountant, first: String, second: String) -> Self {
        let (switch, scheduler) = match tried {
            Accountant::Switch => (first, second),
            Accountant::Scheduler => (second, first),
        };
        Self { switch, scheduler }
    }

    fn in_one(&self) -> String {
        if self.switch == self.scheduler {
            return self.switch.clone();
        }
        format!("switch: {}; scheduler: {}", self.switch, self.scheduler)
    }
}

/// What the choice between the two accountants of eBPF hangs on.
fn facts(settings: &Probes, tick: Duration, machine: &Machine, load: Load) -> probe_ebpf::Machine {
    let wanted = settings.softirq == Optional::On || settings.page_cache == Optional::On;
    probe_ebpf::Machine {
        packages: u32::try_from(machine.packages.len()).unwrap_or(u32::MAX),
        has_pmu: settings.hw_counters != Optional::Off && counters::any(&counters::GENERIC, &online(machine)),
        smt: !machine.siblings.is_empty(),
        events_wanted: wanted || settings.hw_counters == Optional::On,
        switches_per_second: load.switches_per_second,
        threads: load.threads,
        tick,
    }
}

fn online(machine: &Machine) -> Vec<u32> {
    machine.packages_of_cpu.iter().map(|(cpu, _)| *cpu).collect()
}

fn open(
    accountant: Accountant,
    settings: &Probes,
    machine: &Machine,
    roots: &Roots,
    reason: String,
) -> Result<UsageChoice, ProbeError> {
    let wanted = for_probe(settings, machine, roots);
    let lines = || CpuLines::new(&roots.proc, machine);
    let (reader, mut probes): (Box<dyn UsageReader>, _) = match accountant {
        Accountant::Switch => {
            let probe = Probe::open(&wanted)?;
            let states = probe.states();
            let steal = (machine.hypervisor == Some(true)).then(lines);
            (Box::new(Switch { probe, steal }), states)
        }
        Accountant::Scheduler => {
            let probe = SchedulerProbe::open(&wanted)?;
            let mut states = probe.states();
            for name in ["sched_switch", "softirq", "page_cache", "hw_counters"] {
                states.push(down(name, "needs probes.cpu_time = \"switch\""));
            }
            let lines = lines();
            (Box::new(Scheduler { probe, lines }), states)
        }
    };
    probes.push(down("proc_fallback", "not needed: eBPF works"));
    Ok(UsageChoice {
        reader,
        probes,
        accounting: Accounting {
            chosen: accountant.name(),
            reason,
        },
    })
}

fn for_probe(settings: &Probes, machine: &Machine, roots: &Roots) -> probe_ebpf::Settings {
    // Where /proc cannot be listed the smallest size is taken; what does not fit is kept by cgroup.
    let mut pids = Vec::new();
    if let Err(error) = ProcFs::new(&roots.proc).pids(&mut pids) {
        tracing::debug!(%error, "processes cannot be counted");
    }
    probe_ebpf::Settings {
        packages_of_cpu: machine.packages_of_cpu.clone(),
        cpus: machine.sys.join("devices/system/cpu"),
        max_tasks: probe_ebpf::Settings::max_tasks_for(u32::try_from(pids.len()).unwrap_or(u32::MAX)),
        siblings: machine.siblings.clone(),
        counters: match settings.hw_counters {
            Optional::Off => Vec::new(),
            Optional::Auto | Optional::On => counters::GENERIC.to_vec(),
        },
        softirqs: settings.softirq != Optional::Off,
        page_cache: settings.page_cache != Optional::Off,
        ..probe_ebpf::Settings::default()
    }
}

fn from_proc(machine: &Machine, roots: &Roots, refused: &Refused) -> anyhow::Result<UsageChoice> {
    let reader = ProcReader::open(roots, machine)?;
    let mut probes = vec![
        down("sched_switch", &refused.switch),
        down("iter_task", &refused.scheduler),
    ];
    for probe in ["softirq", "page_cache", "hw_counters"] {
        probes.push(down(probe, "needs eBPF"));
    }
    probes.push(ProbeState {
        probe: "proc_fallback",
        up: true,
        // A remark.
        reason: reader
            .no_clock()
            .map(|why| format!("it counts in ticks of 10 ms: {why}"))
            .unwrap_or_default(),
    });
    Ok(UsageChoice {
        reader: Box::new(Fallback(reader)),
        probes,
        accounting: Accounting {
            chosen: "proc",
            reason: refused.in_one(),
        },
    })
}

fn down(probe: &'static str, reason: &str) -> ProbeState {
    ProbeState {
        probe,
        up: false,
        reason: reason.to_owned(),
    }
}

fn in_words(error: ProbeError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

struct Switch {
    probe: Probe,
    /// Only a guest can be stolen from.
    steal: Option<CpuLines>,
}

impl UsageReader for Switch {
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> anyhow::Result<(Section, Usage)> {
        let (section, mut usage) = self.probe.drain(tick, acked, recycled)?;
        if let Some(lines) = &mut self.steal {
            lines.add_steal(&mut usage, section.ended);
        }
        Ok((section, usage))
    }
}

struct Scheduler {
    probe: SchedulerProbe,
    lines: CpuLines,
}

impl UsageReader for Scheduler {
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> anyhow::Result<(Section, Usage)> {
        let (section, mut usage) = self.probe.drain(tick, acked, recycled)?;
        self.lines.add_cpus(&mut usage, section.ended);
        Ok((section, usage))
    }
}

struct Fallback(ProcReader);

impl UsageReader for Fallback {
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> anyhow::Result<(Section, Usage)> {
        Ok(self.0.drain(tick, acked, &mut clock::monotonic, recycled)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::PackageId;
    use probe_workloads::cgroup::CgroupMounts;
    use probe_workloads::machine::Package;
    use std::path::Path;

    fn machine() -> Machine {
        Machine::default()
    }

    #[test]
    fn what_is_asked_for_by_name_asks_for_the_switch_accountant() {
        let facts = |settings: &Probes| {
            facts(settings, Duration::from_secs(1), &machine(), Load::default()).events_wanted
        };
        assert!(!facts(&Probes::default()));
        for settings in [
            Probes {
                softirq: Optional::On,
                ..Probes::default()
            },
            Probes {
                page_cache: Optional::On,
                ..Probes::default()
            },
            Probes {
                hw_counters: Optional::On,
                ..Probes::default()
            },
        ] {
            assert!(facts(&settings), "{settings:?}");
        }
    }

    struct Broken;

    impl UsageReader for Broken {
        fn drain(&mut self, _: TickId, _: TickId, _: Vec<TaskUsage>) -> anyhow::Result<(Section, Usage)> {
            anyhow::bail!("the map is gone")
        }
    }

    #[test]
    fn an_accountant_that_cannot_be_read_is_none_that_is_taken_over() {
        let choice = UsageChoice {
            reader: Box::new(Broken),
            probes: Vec::new(),
            accounting: Accounting::default(),
        };
        let error = choice.tried().err().expect("it cannot be read");
        assert_eq!(
            format!("{error:#}"),
            "the new probe cannot be read: the map is gone"
        );
    }

    #[test]
    fn a_tick_can_change_which_accountant_is_the_cheaper_one() {
        let roots = Roots {
            proc: Path::new("/proc").to_owned(),
            cgroup_mounts: CgroupMounts::default(),
        };
        let by_cost = |cpu_time, tick| {
            let settings = Probes {
                cpu_time,
                hw_counters: Optional::Off,
                ..Probes::default()
            };
            by_cost(&settings, Duration::from_millis(tick), &machine(), &roots)
        };
        assert_eq!(by_cost(CpuTime::Auto, 100), Some("switch"), "too coarse for that");
        assert_eq!(by_cost(CpuTime::Proc, 100), None);
    }

    #[test]
    fn siblings_and_packages_reach_the_choice() {
        let package = Package {
            package: PackageId(0),
            threads: 1,
            cores: 1,
        };
        let machine = Machine {
            siblings: vec![(0, 1)],
            packages: vec![package; 2],
            ..machine()
        };
        let load = Load {
            switches_per_second: 7,
            threads: 9,
        };
        let facts = facts(&Probes::default(), Duration::from_secs(2), &machine, load);
        assert!(facts.smt && facts.packages == 2);
        assert_eq!(
            (facts.switches_per_second, facts.threads, facts.tick),
            (7, 9, Duration::from_secs(2))
        );
    }

    #[test]
    fn each_probe_has_the_reason_of_its_own_and_a_reason_of_both_is_said_once() {
        let [none, map] = ["no iterator", "no room for a map"].map(str::to_owned);
        let refused = Refused::both(Accountant::Scheduler, none.clone(), map);
        assert_eq!(
            refused.in_one(),
            "switch: no room for a map; scheduler: no iterator"
        );
        let both = Refused::both(Accountant::Switch, none.clone(), none);
        assert_eq!(both.in_one(), "no iterator");

        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("stat"),
            "cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\n",
        )
        .expect("written");
        let roots = Roots {
            proc: folder.path().to_owned(),
            cgroup_mounts: CgroupMounts::default(),
        };
        let choice = from_proc(&machine(), &roots, &refused).expect("a reader");
        let reason = |name: &str| {
            let state = choice
                .probes
                .iter()
                .find(|state| state.probe == name)
                .expect(name);
            (state.up, state.reason.as_str())
        };
        assert_eq!(reason("sched_switch"), (false, "no room for a map"));
        assert_eq!(reason("iter_task"), (false, "no iterator"));
        let (up, remark) = reason("proc_fallback");
        assert!(up && remark.starts_with("it counts in ticks"), "{remark}");
    }
}
