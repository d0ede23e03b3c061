// SPDX-License-Identifier: Apache-2.0
//! Which parts a changed key concerns. Pure: two configurations come in, a plan or a refusal comes out.
//!
//! A key that is not in the table needs a restart: whoever adds one says here what has to be done anew.

use std::collections::BTreeSet;

/// What may have to be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The beat.
    Ticker,
    /// Level and form of log lines.
    Log,
    /// Who accounts CPU time.
    Usage,
    /// Which meters are read, and how.
    Meters,
    /// Who answers where there is no meter.
    Estimator,
    /// Who knows names.
    Resolver,
    /// The rules of the split.
    Rules,
    /// What is on a page.
    Pages,
    /// Where what was learned is kept.
    State,
    /// Who feeds guests.
    Guests,
}

/// Keys, or the tables that hold them, and what has to be made anew.
const TABLE: &[(&str, &[Part])] = &[
    ("tick", &[Part::Ticker, Part::Pages]),
    ("state", &[Part::State]),
    ("log", &[Part::Log]),
    ("probes", &[Part::Usage]),
    ("sources", &[Part::Meters, Part::Estimator]),
    ("estimator", &[Part::Meters, Part::Estimator]),
    ("workloads.runtimes", &[Part::Resolver]),
    ("kubernetes", &[Part::Resolver, Part::Pages]),
    ("attribution", &[Part::Rules]),
    ("attribution.idle.floor", &[Part::Rules, Part::State]),
    ("exporter.schemas", &[Part::Pages]),
    ("exporter.levels", &[Part::Pages]),
    ("exporter.processes", &[Part::Rules]),
    ("exporter.ended", &[Part::Rules, Part::Guests]),
    ("exporter.drop", &[Part::Pages]),
    ("exporter.pod_labels", &[Part::Resolver, Part::Pages]),
    ("exporter.namespaces", &[Part::Pages]),
    ("exporter.created", &[Part::Pages]),
    ("exporter.page", &[Part::Pages]),
    ("exporter.reload", &[Part::Pages]),
    ("vm_passthrough", &[Part::Guests]),
];

/// Keys that need a restart, and why.
const RESTART: &[(&str, &str)] = &[
    ("exporter.listen", DOORS),
    ("exporter.socket_mode", DOORS),
    (
        "exporter.web_config",
        "which files the doors follow is decided before privileges are given up; what is in them is taken over without a reload",
    ),
    (
        "exporter.bearer_token_file",
        "which files the doors follow is decided before privileges are given up; what is in them is taken over without a reload",
    ),
    ("exporter.open_probes", "the doors are built before anything else"),
    ("exporter.push", "what waits to be sent would be lost"),
    (
        "security",
        "what was given up cannot be had again, and whoever reloads shall not make the figures finer",
    ),
];

const DOORS: &str = "sockets are opened before anything else, and privileges may be gone by now";

/// It needs a restart while snapshots are pushed.
const PUSHED: (&str, &str) = (
    "kubernetes.node_name",
    "series that are pushed (exporter.push) have the node's name, and what waits to be sent would be lost",
);

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(BTreeSet<Part>);

impl Plan {
    /// For these changed keys; `pushes` where snapshots are sent to somebody.
    ///
    /// # Errors
    /// Keys that cannot be changed without a restart, each with the reason.
    pub fn of(changed: &[String], pushes: bool) -> Result<Self, Vec<(String, String)>> {
        let mut parts = BTreeSet::new();
        let mut refused = Vec::new();
        for key in changed {
            let is_pushed = pushes && key == PUSHED.0;
            match parts_of(key).filter(|_| !is_pushed) {
                Some(found) => parts.extend(found),
                None => {
                    let mut known = RESTART.iter().chain(is_pushed.then_some(&PUSHED));
                    let why = known.find(|(table, _)| holds(table, key));
                    let why = why.map_or_else(String::new, |(_, why)| format!(": {why}"));
                    refused.push((key.clone(), format!("needs a restart{why}")));
                }
            }
        }
        match refused.is_empty() {
            true => Ok(Self(parts)),
            false => Err(refused),
        }
    }

    /// Whether this part has to be made anew.
    #[must_use]
    pub fn renews(&self, part: Part) -> bool {
        self.0.contains(&part)
    }
}

/// The parts of the longest entry that holds the key.
fn parts_of(key: &str) -> Option<&'static [Part]> {
    let found = TABLE.iter().filter(|(table, _)| holds(table, key));
    found
        .max_by_key(|(table, _)| table.len())
        .map(|(_, parts)| *parts)
}

fn holds(table: &str, key: &str) -> bool {
    let rest = key.strip_prefix(table);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use config::Layers;

    fn plan(keys: &[&str]) -> Result<Vec<Part>, Vec<(String, String)>> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        Plan::of(&keys, false).map(|plan| plan.0.into_iter().collect())
    }

    #[test]
    fn a_changed_key_renews_what_hangs_on_it_and_nothing_else() {
        use Part::{Estimator, Guests, Log, Meters, Pages, Resolver, Rules, State, Ticker, Usage};
        for (key, parts) in [
            ("tick", vec![Ticker, Pages]),
            ("log.level", vec![Log]),
            ("probes.softirq", vec![Usage]),
            ("sources.cpu", vec![Meters, Estimator]),
            ("sources.redfish.password", vec![Meters, Estimator]),
            ("estimator.models.package", vec![Meters, Estimator]),
            ("attribution.idle.share", vec![Rules]),
            ("attribution.idle.floor", vec![Rules, State]),
            ("attribution.idle.floor.package", vec![Rules, State]),
            ("exporter.ended.keep", vec![Rules, Guests]),
            ("exporter.pod_labels", vec![Resolver, Pages]),
            ("kubernetes.node_name", vec![Resolver, Pages]),
            ("exporter.drop.pod", vec![Pages]),
            ("vm_passthrough.dir", vec![Guests]),
            ("state.dir", vec![State]),
        ] {
            assert_eq!(plan(&[key]), Ok(parts), "{key}");
        }
        assert_eq!(plan(&["tick", "log.format"]), Ok(vec![Ticker, Log, Pages]));
        assert_eq!(plan(&[]), Ok(Vec::new()));
    }

    #[test]
    fn one_key_that_needs_a_restart_refuses_the_whole_by_its_name() {
        let interval = plan(&["security.min_export_interval"]).unwrap_err();
        assert!(
            interval[0].1.contains("shall not make the figures finer"),
            "{interval:?}"
        );
        let refused = plan(&["tick", "exporter.listen", "ticks", "exporter.listening"]).unwrap_err();
        let keys: Vec<&str> = refused.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["exporter.listen", "ticks", "exporter.listening"]);
        assert!(
            refused[0].1.starts_with("needs a restart: sockets"),
            "{refused:?}"
        );
    }

    #[test]
    fn the_nodes_name_needs_a_restart_while_it_is_in_series_that_are_pushed() {
        let keys = ["kubernetes.node_name".to_owned(), "kubernetes.mode".to_owned()];
        let refused = Plan::of(&keys, true).unwrap_err();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].1.contains("exporter.push"), "{refused:?}");
        assert!(Plan::of(&keys[1..], true).is_ok() && Plan::of(&keys, false).is_ok());
    }

    #[test]
    fn every_key_has_its_parts_or_is_known_to_need_a_restart() {
        let loaded = cli::schema().load(Layers::default()).expect("defaults");
        for known in loaded.effective() {
            let restarts = RESTART.iter().any(|(table, _)| holds(table, &known.key));
            assert_ne!(parts_of(&known.key).is_some(), restarts, "{}", known.key);
        }
    }
}
