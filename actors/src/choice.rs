// SPDX-License-Identifier: Apache-2.0
//! Which meters are used: owns the order of preference by component, and remembers why each other source was passed over.
//!
//! A source is tried by opening it, and what was opened is what is used: between the yes and the use nothing can change. One
//! that serves several keys is one meter for all of them.

use crate::clock;
use crate::settings::{ESTIMATOR, Sources};
use attribution::model::{Component, PassedOver, Selection};
use power_sources::{Ask, Entry, Opened, PowerSource, SourceOpenError};

/// Sources that were taken, and how that came.
#[derive(Default)]
pub struct Chosen {
    /// Open meters.
    pub meters: Vec<Meter>,
    /// Components that are left to the estimator.
    pub estimated: Vec<Component>,
    /// One row per config key.
    pub selections: Vec<Selection>,
}

/// A meter that was taken.
pub struct Meter {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Itself.
    pub source: Box<dyn PowerSource>,
    /// The components that it was opened for.
    pub wanted: Vec<Component>,
}

/// How a source is opened.
pub type Open<'a> = &'a dyn Fn(&Entry, &Ask<'_>) -> Result<Opened, SourceOpenError>;

/// Components behind each key of `[sources]`.
const KEYS: [(&str, &[Component]); 4] = [
    ("cpu", &[Component::Package, Component::Core, Component::Uncore]),
    ("dram", &[Component::Dram]),
    ("platform", &[Component::Platform]),
    ("gpu", &[Component::Gpu]),
];

/// Tries the sources of every key in their order. `section` gives the section of a source by its name.
pub fn choose(sources: &Sources, table: &[Entry], section: impl Fn(&str) -> serde_json::Value) -> Chosen {
    choose_opening(sources, table, section, &|entry, ask| (entry.open)(ask))
}

/// As [`choose`], and opens sources by `open`.
pub fn choose_opening(
    sources: &Sources,
    table: &[Entry],
    section: impl Fn(&str) -> serde_json::Value,
    open: Open<'_>,
) -> Chosen {
    let lists = [&sources.cpu, &sources.dram, &sources.platform, &sources.gpu];
    let mut chosen = Chosen::default();
    for ((key, components), names) in KEYS.into_iter().zip(lists) {
        let mut selection = Selection {
            key,
            chosen: Vec::new(),
            passed_over: Vec::new(),
        };
        for name in &names.0 {
            let answer = match selection.chosen.first() {
                Some(first) if key != "gpu" => Err(format!("not needed: {first} comes first")),
                _ if selection.chosen.contains(name) => Err("named twice".to_owned()),
                _ => chosen.take(name, components, table, &section, open),
            };
            match answer {
                Ok(()) => selection.chosen.push(name.clone()),
                Err(reason) => selection.passed_over.push(PassedOver {
                    name: name.clone(),
                    reason,
                }),
            }
        }
        chosen.selections.push(selection);
    }
    chosen
}

impl Chosen {
    /// Takes the source `name` for `components`, or says why not.
    fn take(
        &mut self,
        name: &str,
        components: &[Component],
        table: &[Entry],
        section: &impl Fn(&str) -> serde_json::Value,
        open: Open<'_>,
    ) -> Result<(), String> {
        let one_of = |has: &[Component]| components.iter().any(|component| has.contains(component));
        if name == ESTIMATOR {
            let has = power_sources::estimator::COMPONENTS;
            if !one_of(has) {
                return Err("the built-in model has nothing for this component".to_owned());
            }
            self.estimated
                .extend(components.iter().filter(|component| has.contains(component)));
            return Ok(());
        }
        let entry = table
            .iter()
            .find(|entry| entry.name == name)
            .ok_or("no source of this name is built in")?;
        if !one_of(entry.components) {
            return Err("this source never has such a component".to_owned());
        }
        let before = self.meters.iter().position(|meter| meter.name == entry.name);
        let mut wanted = components.to_vec();
        let taken = before.and_then(|at| self.meters.get(at));
        // Also those that it turned out not to have: the next choice asks by the same keys, and compares.
        wanted.extend(taken.iter().flat_map(|meter| &meter.wanted));
        let ask = Ask {
            section: &section(name),
            wanted: &wanted,
            clock: clock::monotonic,
            slept: clock::slept,
        };
        let source = match open(entry, &ask) {
            Ok(Opened::Source(source)) => source,
            Ok(Opened::Absent { reason }) => return Err(reason),
            Err(error) => return Err(format!("{:#}", anyhow::Error::from(error))),
        };
        if !one_of(&source.components()) {
            let names: Vec<_> = components.iter().map(|component| component.name()).collect();
            return Err(format!(
                "has no {} here, only {}",
                names.join(" or "),
                source.detail()
            ));
        }
        let meter = Meter {
            name: entry.name,
            source,
            wanted,
        };
        match before.and_then(|at| self.meters.get_mut(at)) {
            Some(taken) => *taken = meter,
            None => self.meters.push(meter),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Names;
    use attribution::model::{Energy, MonotonicNanos, SourceId};
    use serde_json::{Value, json};

    /// A meter that has of the wanted components those that its section names.
    struct Meter(Vec<Component>);

    impl PowerSource for Meter {
        fn id(&self) -> SourceId {
            SourceId("test")
        }

        fn components(&self) -> Vec<Component> {
            self.0.clone()
        }

        fn detail(&self) -> String {
            let names: Vec<_> = self.0.iter().map(|component| component.name()).collect();
            names.join(", ")
        }

        fn read(&mut self, _: MonotonicNanos) -> Energy {
            Energy::default()
        }
    }

    fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
        let names: Vec<_> = ask.section["has"].as_array().into_iter().flatten().collect();
        let has = ask
            .wanted
            .iter()
            .copied()
            .filter(|component| names.iter().any(|name| *name == component.name()));
        let has: Vec<_> = Component::ALL
            .into_iter()
            .filter(|of| has.clone().any(|has| has == *of))
            .collect();
        Ok(match has.is_empty() {
            true => Opened::Absent {
                reason: "nothing here".to_owned(),
            },
            false => Opened::Source(Box::new(Meter(has))),
        })
    }

    const fn entry(name: &'static str, components: &'static [Component]) -> Entry {
        Entry {
            name,
            open,
            check: |_| Ok(()),
            default_section: || Value::Null,
            components,
        }
    }

    const TABLE: [Entry; 4] = [
        entry("one", &Component::ALL),
        entry("two", &Component::ALL),
        entry("gpu-a", &[Component::Gpu]),
        entry("gpu-b", &[Component::Gpu]),
    ];

    fn names(list: &[&str]) -> Names {
        Names(list.iter().map(|name| (*name).to_owned()).collect())
    }

    /// What is chosen by key, why others were not, and the meters with their components.
    fn outcome(sources: &Sources, sections: &Value) -> (Vec<String>, Vec<String>, Vec<String>) {
        let chosen = choose(sources, &TABLE, |name| sections[name].clone());
        let rows = chosen.selections.iter();
        let taken = rows
            .clone()
            .map(|row| format!("{}: {}", row.key, row.chosen.join("+")));
        let passed = rows.flat_map(|row| {
            row.passed_over
                .iter()
                .map(|passed| format!("{} {}: {}", row.key, passed.name, passed.reason))
        });
        let meters = chosen
            .meters
            .iter()
            .map(|meter| format!("{}: {}", meter.name, meter.source.detail()));
        (taken.collect(), passed.collect(), meters.collect())
    }

    #[test]
    fn the_first_source_that_works_is_taken_by_component_and_opened_once_for_all_its_keys() {
        let sources = Sources {
            cpu: names(&["one", "two", ESTIMATOR]),
            dram: names(&["one", "two"]),
            platform: names(&["gpu-a", "one", ESTIMATOR]),
            gpu: names(&[]),
        };
        let sections = json!({"one": {"has": ["dram"]}, "two": {"has": ["package", "core", "dram"]}});
        let (taken, passed, meters) = outcome(&sources, &sections);
        assert_eq!(taken, ["cpu: two", "dram: one", "platform: estimator", "gpu: "]);
        assert_eq!(
            passed,
            [
                "cpu one: nothing here",
                "cpu estimator: not needed: two comes first",
                "dram two: not needed: one comes first",
                "platform gpu-a: this source never has such a component",
                "platform one: has no platform here, only dram",
            ]
        );
        assert_eq!(meters, ["two: package, core", "one: dram"]);
        let both = Sources {
            cpu: names(&["two"]),
            dram: names(&["two"]),
            ..sources
        };
        assert_eq!(outcome(&both, &sections).2, ["two: package, core, dram"]);
    }

    #[test]
    fn a_source_that_has_nothing_more_keeps_what_it_was_taken_for() {
        let sources = Sources {
            cpu: names(&["one"]),
            dram: names(&["one", ESTIMATOR]),
            platform: names(&[]),
            gpu: names(&[]),
        };
        let (taken, passed, meters) = outcome(&sources, &json!({"one": {"has": ["package"]}}));
        assert_eq!(taken, ["cpu: one", "dram: estimator", "platform: ", "gpu: "]);
        assert_eq!(passed, ["dram one: has no dram here, only package"]);
        assert_eq!(meters, ["one: package"]);
    }

    #[test]
    fn of_gpu_sources_all_that_work_are_taken() {
        let sources = Sources {
            cpu: names(&[]),
            dram: names(&[]),
            platform: names(&[]),
            gpu: names(&["gpu-a", "gpu-b", "gpu-a", ESTIMATOR]),
        };
        let sections = json!({"gpu-a": {"has": ["gpu"]}, "gpu-b": {"has": ["gpu"]}});
        let (taken, passed, _) = outcome(&sources, &sections);
        assert_eq!(taken.last().map(String::as_str), Some("gpu: gpu-a+gpu-b"));
        assert_eq!(
            passed,
            [
                "gpu gpu-a: named twice",
                "gpu estimator: the built-in model has nothing for this component"
            ]
        );
    }
}
