// SPDX-License-Identifier: Apache-2.0
//! From the configuration in force and a new one to what is to be taken over: everything is opened before anything is changed, by
//! the same ways as at the start. Blocks; has a thread of its own.

use super::files::Files;
use super::plan::{Part, Plan};
use crate::accountants::{self, UsageChoice};
use crate::choice::{self, Chosen};
use crate::node::{self, CgroupResolver};
use crate::pipeline::Changes;
use crate::run;
use crate::settings::{Idle, Log, Probes, Root, Sources};
use crate::state::Keeper;
use anyhow::Context as _;
use attribution::engine::FloorPolicy;
use attribution::model::{Component, Energy, MonotonicNanos, NodeFacts, SourceId};
use config::{Loaded, Problems};
use exporter::passthrough::{PassthroughConfig, Writer};
use exporter::{ExporterConfig, RenderSettings};
use power_sources::{Ask, Opened, PowerSource};
use probe_workloads::{Machine, Roots};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// A meter that is read.
#[derive(Clone, Debug)]
pub struct Held {
    name: &'static str,
    id: SourceId,
    wanted: BTreeSet<Component>,
    components: Vec<Component>,
}

impl Held {
    /// Those that were chosen.
    #[must_use]
    pub fn all(chosen: &Chosen) -> Vec<Self> {
        let meters = chosen.meters.iter();
        meters
            .map(|meter| Self {
                name: meter.name,
                id: meter.source.id(),
                wanted: meter.wanted.iter().copied().collect(),
                components: meter.source.components(),
            })
            .collect()
    }
}

/// What is in force.
#[derive(Clone)]
pub struct InForce {
    /// The configuration.
    pub loaded: Loaded,
    /// The files that it names.
    pub files: Files,
    /// This machine.
    pub machine: Arc<Machine>,
    /// What was decided.
    pub facts: Arc<NodeFacts>,
    /// Meters that are read.
    pub meters: Vec<Held>,
    /// Settings of the pages since the start: what they count is counted on.
    pub render: Arc<RenderSettings>,
}

/// Ready to be taken over.
pub struct Prepared {
    /// What the pipeline takes over.
    pub changes: Changes,
    /// How lines are logged, where that changes.
    pub log: Option<Log>,
    /// What is in force then.
    pub next: InForce,
    /// Keys that have another value, or whose file has another content.
    pub changed: Vec<String>,
}

/// What is wrong with the new configuration, in the words of the start.
///
/// # Errors
/// All problems of the configuration at once, or the first part that cannot be had.
pub fn prepare(now: &InForce, load: &dyn Fn() -> Result<Loaded, Problems>) -> anyhow::Result<Prepared> {
    let loaded = load()?;
    if let (Some(file), None) = (now.loaded.file(), loaded.file()) {
        anyhow::bail!(
            "{}: does not exist any more; a restart would run with the defaults",
            file.display()
        );
    }
    let files = Files::of(&loaded);
    let mut changed = now.loaded.keys_unlike(&loaded);
    changed.extend(files.unlike(&now.files).cloned());
    let exporter: ExporterConfig = loaded.section("exporter")?;
    let plan = match Plan::of(&changed, exporter.push.is_on()) {
        Ok(plan) => plan,
        Err(refused) => {
            loaded.refuse(refused)?;
            anyhow::bail!("needs a restart");
        }
    };
    Preparation {
        now,
        loaded: &loaded,
        changed: &changed,
        plan: &plan,
    }
    .parts()
    .map(|(changes, log, meters)| Prepared {
        next: InForce {
            files,
            machine: Arc::clone(&now.machine),
            facts: Arc::clone(&changes.facts),
            meters,
            render: Arc::clone(&now.render),
            loaded: loaded.clone(),
        },
        changes,
        log,
        changed,
    })
}

fn roots() -> anyhow::Result<Roots> {
    Roots::detect(Path::new("/proc")).context("cannot find the cgroup mounts")
}

struct Preparation<'a> {
    now: &'a InForce,
    loaded: &'a Loaded,
    changed: &'a [String],
    plan: &'a Plan,
}

/// Meters of a new choice, as the pipeline and as the next reload see them.
type Meters = Vec<(Held, Option<Box<dyn PowerSource>>)>;

impl Preparation<'_> {
    fn parts(&self) -> anyhow::Result<(Changes, Option<Log>, Vec<Held>)> {
        let (loaded, plan, now) = (self.loaded, self.plan, self.now);
        let root: Root = loaded.section("")?;
        let exporter: ExporterConfig = loaded.section("exporter")?;
        let mut facts = now.facts.as_ref().clone();
        let mut changes = Changes {
            tick: plan.renews(Part::Ticker).then_some(root.tick.0),
            usage: None,
            resolver: None,
            meters: None,
            estimator: None,
            rules: run::rules(loaded)?,
            facts: Arc::default(),
            render: None,
            keeper: None,
            passthrough: None,
        };
        let mut held = now.meters.clone();
        if plan.renews(Part::Meters) {
            let chosen = self.choose()?;
            held = self.take_meters(chosen, &mut facts, &mut changes)?;
        }
        let probes: Probes = loaded.section("probes")?;
        let open = || accountants::usage(&probes, root.tick.0, &now.machine, &roots()?);
        if let Some(usage) = self.accountant(&probes, &root, open)? {
            changes.usage = Some(usage.reader);
            (facts.probes, facts.accounting) = (usage.probes, usage.accounting);
        }
        if plan.renews(Part::Resolver) {
            let resolver = node::resolver(
                roots()?,
                &loaded.section("workloads.runtimes")?,
                &run::kubernetes(loaded, &exporter)?,
            )?;
            changes.resolver = Some(Box::new(CgroupResolver(resolver)));
        }
        if plan.renews(Part::Pages) {
            changes.render = Some(Box::new(run::render(loaded, &now.machine)?));
        }
        // What is learned is kept where there are meters.
        let (has_meters, had_meters) = (!held.is_empty(), !now.meters.is_empty());
        if plan.renews(Part::State) || has_meters != had_meters {
            let idle: Idle = loaded.section("attribution.idle")?;
            let keeps = idle.floor.0 == FloorPolicy::Measured && has_meters;
            let kept = now.render.kept();
            let keeper = keeps.then(|| Keeper::open(node::state(&root.state, &now.machine), &kept));
            changes.keeper = Some(keeper.flatten());
        }
        if plan.renews(Part::Guests) {
            let config: PassthroughConfig = loaded.section("vm_passthrough")?;
            changes.passthrough = Some(Writer::new(&config, run::ended_keep(loaded)?, &now.render));
        }
        let log = plan
            .renews(Part::Log)
            .then(|| loaded.section("log"))
            .transpose()?;
        changes.facts = Arc::new(facts);
        Ok((changes, log, held))
    }

    /// Who accounts CPU time from now on, where that is another one. With another tick alone it is one that is the cheaper: where that one
    /// cannot be had, one of the same kind, or the last resort, would only cost what runs between the two.
    fn accountant(
        &self,
        probes: &Probes,
        root: &Root,
        open: impl FnOnce() -> anyhow::Result<UsageChoice>,
    ) -> anyhow::Result<Option<UsageChoice>> {
        let is_asked_for = self.plan.renews(Part::Usage);
        let may_be_cheaper = !is_asked_for && self.plan.renews(Part::Ticker);
        if !(is_asked_for || may_be_cheaper && self.is_another_cheaper(probes, root)?) {
            return Ok(None);
        }
        let usage = open()?;
        let in_force = self.now.facts.accounting.chosen;
        if !is_asked_for && [in_force, "proc"].contains(&usage.accounting.chosen) {
            return Ok(None);
        }
        usage.tried().map(Some)
    }

    /// Whether the accountant that was chosen is not the one that would be with this tick.
    fn is_another_cheaper(&self, probes: &Probes, root: &Root) -> anyhow::Result<bool> {
        let cheaper = accountants::by_cost(probes, root.tick.0, &self.now.machine, &roots()?);
        Ok(cheaper.is_some_and(|cheaper| cheaper != self.now.facts.accounting.chosen))
    }

    /// Whether everything that a source is opened by is as it was.
    fn is_as_before(&self, name: &str) -> bool {
        let section = format!("sources.{name}.");
        !self.changed.iter().any(|key| key.starts_with(&section))
    }

    /// Chooses as at the start, but for meters that are read already as they are wanted: those are not asked again, so one that is
    /// silent just now is kept.
    fn choose(&self) -> anyhow::Result<(Chosen, Meters)> {
        let sources: Sources = self.loaded.section("sources")?;
        let section = |name: &str| run::section(self.loaded, name);
        let stands: RefCell<BTreeSet<&'static str>> = RefCell::default();
        let open = |entry: &power_sources::Entry, ask: &Ask<'_>| {
            let known = self.now.meters.iter().find(|meter| meter.name == entry.name);
            let known = known.filter(|meter| {
                self.is_as_before(meter.name) && ask.wanted.iter().all(|of| meter.wanted.contains(of))
            });
            let Some(known) = known else {
                stands.borrow_mut().remove(entry.name);
                return (entry.open)(ask);
            };
            stands.borrow_mut().insert(entry.name);
            Ok(Opened::Source(Box::new(Stand::of(known, ask.wanted))))
        };
        let mut chosen = choice::choose_opening(&sources, power_sources::ALL, section, &open);
        let mut meters = Vec::new();
        for (held, meter) in Held::all(&chosen)
            .into_iter()
            .zip(std::mem::take(&mut chosen.meters))
        {
            let before = self.now.meters.iter().find(|before| before.name == held.name);
            let stands = stands.borrow().contains(held.name);
            let source = match before {
                Some(before) if stands && before.wanted == held.wanted => None,
                _ if stands => Some(self.reopen(&held, &meter.wanted)?),
                _ => Some(meter.source),
            };
            meters.push((held, source));
        }
        Ok((chosen, meters))
    }

    /// Opens one that stays, and is to read less.
    fn reopen(&self, held: &Held, wanted: &[Component]) -> anyhow::Result<Box<dyn PowerSource>> {
        let entry = power_sources::ALL.iter().find(|entry| entry.name == held.name);
        let entry = entry.context("no source of this name is built in")?;
        let ask = Ask {
            section: &run::section(self.loaded, held.name),
            wanted,
            clock: crate::clock::monotonic,
            slept: crate::clock::slept,
        };
        match (entry.open)(&ask)? {
            Opened::Source(source) => Ok(source),
            Opened::Absent { reason } => anyhow::bail!("sources.{}: {reason}", held.name),
        }
    }

    fn take_meters(
        &self,
        (chosen, meters): (Chosen, Meters),
        facts: &mut NodeFacts,
        changes: &mut Changes,
    ) -> anyhow::Result<Vec<Held>> {
        let estimator = node::estimator(
            &self.now.machine,
            power_sources::rapl::thermal_design_power(&run::section(self.loaded, "rapl")),
            &self.loaded.section("estimator")?,
            &chosen.estimated,
        )?;
        let detail = |held: &Held, source: &Option<Box<dyn PowerSource>>| match source {
            Some(source) => source.detail(),
            None => {
                let before = self
                    .now
                    .facts
                    .sources
                    .iter()
                    .find(|facts| facts.source == held.id);
                before.map_or_else(String::new, |facts| facts.detail.clone())
            }
        };
        let told = meters
            .iter()
            .map(|(held, source)| (held.id, held.components.clone(), detail(held, source)));
        facts.sources = node::source_facts(told, estimator.as_ref());
        facts.selections = chosen.selections;
        changes.estimator = Some(estimator);
        let (mut held, mut read) = (Vec::new(), Vec::new());
        for (one, source) in meters {
            read.push((one.id, source));
            held.push(one);
        }
        changes.meters = Some(read);
        Ok(held)
    }
}

/// Stands for a meter that is open already.
struct Stand {
    id: SourceId,
    components: Vec<Component>,
}

impl Stand {
    fn of(held: &Held, wanted: &[Component]) -> Self {
        let components = held.components.iter().copied();
        Self {
            id: held.id,
            components: components.filter(|of| wanted.contains(of)).collect(),
        }
    }
}

impl PowerSource for Stand {
    fn id(&self) -> SourceId {
        self.id
    }

    fn components(&self) -> Vec<Component> {
        self.components.clone()
    }

    fn detail(&self) -> String {
        let names: Vec<_> = self.components.iter().map(|component| component.name()).collect();
        names.join(", ")
    }

    fn read(&mut self, _: MonotonicNanos) -> Energy {
        Energy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::shells::UsageReader;
    use attribution::model::{Accounting, Section, TaskUsage, TickId, Usage};
    use config::{Flag, Layers};
    use serde_json::{Value, json};
    use std::fs;

    fn load(flags: &[(&str, Value)]) -> Result<Loaded, Problems> {
        let flag = |(key, value): &(&str, Value)| Flag {
            key: (*key).to_owned(),
            value: value.clone(),
            name: "--set".to_owned(),
        };
        cli::schema().load(Layers {
            flags: flags.iter().map(flag).collect(),
            ..Layers::default()
        })
    }

    fn in_force(flags: &[(&str, Value)], facts: NodeFacts) -> InForce {
        let loaded = load(flags).expect("valid");
        let machine = Machine::default();
        InForce {
            files: Files::of(&loaded),
            render: Arc::new(run::render(&loaded, &machine).expect("settings")),
            machine: Arc::new(machine),
            facts: Arc::new(facts),
            meters: Vec::new(),
            loaded,
        }
    }

    struct Idler;

    impl UsageReader for Idler {
        fn drain(&mut self, _: TickId, _: TickId, _: Vec<TaskUsage>) -> anyhow::Result<(Section, Usage)> {
            let (began, ended) = (MonotonicNanos::ZERO, MonotonicNanos::ZERO);
            Ok((Section { began, ended }, Usage::default()))
        }
    }

    fn accounting(chosen: &'static str) -> Accounting {
        let reason = String::new();
        Accounting { chosen, reason }
    }

    #[test]
    fn another_tick_alone_brings_no_accountant_of_the_kind_that_counts_already() {
        // With a tick of 100 ms `switch` is the one that is wanted.
        let cases = [
            ("proc", "proc", false, true),
            ("proc", "scheduler", true, true),
            ("scheduler", "scheduler", false, true),
            ("scheduler", "proc", false, true),
            ("scheduler", "switch", true, true),
        ];
        for (before, opened, by_tick, by_probes) in cases {
            let facts = NodeFacts {
                accounting: accounting(before),
                ..NodeFacts::default()
            };
            let now = in_force(&[("tick", json!("100ms"))], facts);
            let taken = |changed: &str| {
                let changed = [changed.to_owned()];
                let preparation = Preparation {
                    now: &now,
                    loaded: &now.loaded,
                    changed: &changed,
                    plan: &Plan::of(&changed, false).expect("no restart"),
                };
                let (probes, root) = (now.loaded.section("probes"), now.loaded.section(""));
                let open = || {
                    Ok(UsageChoice {
                        reader: Box::new(Idler),
                        probes: Vec::new(),
                        accounting: accounting(opened),
                    })
                };
                let taken = preparation.accountant(&probes.expect("valid"), &root.expect("valid"), open);
                taken.expect("it can be read").is_some()
            };
            let [tick, probes, neither] = ["tick", "probes.hw_counters", "log.level"].map(taken);
            assert_eq!((tick, probes), (by_tick, by_probes), "{before} to {opened}");
            assert!(!neither);
        }
    }

    #[test]
    fn where_meters_come_what_is_learned_is_kept_from_then_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let zone = folder.path().join("intel-rapl:0");
        fs::create_dir(&zone).expect("a folder");
        for (name, text) in [
            ("name", "package-0"),
            ("max_energy_range_uj", "1000000"),
            ("energy_uj", "7"),
        ] {
            fs::write(zone.join(name), text).expect("a file");
        }
        let memory = folder.path().join("intel-rapl:0:0");
        fs::create_dir(&memory).expect("a folder");
        for (name, text) in [
            ("name", "dram"),
            ("max_energy_range_uj", "1000000"),
            ("energy_uj", "7"),
        ] {
            fs::write(memory.join(name), text).expect("a file");
        }
        let flags = |cpu: &[&str]| {
            let none: [&str; 0] = [];
            [
                ("sources.cpu", json!(cpu)),
                ("sources.dram", json!(cpu)),
                ("sources.platform", json!(none)),
                ("sources.gpu", json!(none)),
                ("sources.rapl.root", json!(folder.path())),
                ("state.dir", json!(folder.path().join("state"))),
                ("state.machine", json!("test")),
            ]
        };
        let now = in_force(&flags(&[]), NodeFacts::default());
        let prepared = prepare(&now, &|| load(&flags(&["rapl"]))).expect("it can be taken over");
        assert!(matches!(prepared.changes.keeper, Some(Some(_))));
        assert_eq!(prepared.next.meters.len(), 1);
        // A meter that has less than its keys ask for is not asked again for what does not concern it, and may be silent just then.
        let away = folder.path().join("away");
        fs::rename(&zone, &away).expect("a folder");
        let elsewhere = [("sources.redfish.timeout", json!("3s"))];
        let again = prepare(&prepared.next, &|| {
            load(&[&flags(&["rapl"])[..], &elsewhere].concat())
        });
        let meters = again.expect("it can be taken over").changes.meters;
        assert!(matches!(meters.as_deref(), Some([(_, None)])));
        fs::rename(&away, &zone).expect("a folder");
        // And no longer where they go.
        let prepared = prepare(&prepared.next, &|| load(&flags(&[]))).expect("it can be taken over");
        assert!(matches!(prepared.changes.keeper, Some(None)));
        let same = prepare(&prepared.next, &|| load(&flags(&[]))).expect("nothing has changed");
        assert!(same.changes.keeper.is_none());
    }
}
