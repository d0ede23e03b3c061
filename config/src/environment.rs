// SPDX-License-Identifier: Apache-2.0
//! Which known key a variable means. A variable with our prefix that means none is a problem, unless it was injected
//! for a service of our name.

use crate::links;
use crate::nearest::nearest;
use crate::path::{self, PREFIX};
use crate::shape::{Node, Shape};
use std::ffi::OsStr;

/// What a variable is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Somebody else's: no word of ours, or not our prefix.
    Foreign,
    /// It has our prefix by accident, or somebody else in the program reads it.
    Ignored,
    /// It sets this path: a known key, or below a known leaf.
    Sets(Vec<String>),
    /// It sets nothing; this was probably meant.
    Unknown(Option<String>),
}

/// The names of all variables, made once per load.
pub(crate) struct Variables {
    /// `(variable, path, whether it is a leaf)`, tables included.
    known: Vec<(String, Vec<String>, bool)>,
    reserved: Vec<String>,
}

impl Variables {
    /// One variable for each known key.
    pub(crate) fn of(shape: &Shape, reserved: &[String]) -> Self {
        let known = shape
            .all_paths()
            .into_iter()
            .map(|path| {
                let is_leaf = matches!(shape.get(&path), Some(Node::Leaf(_)));
                (path::variable(&path), path, is_leaf)
            })
            .collect();
        Self {
            known,
            reserved: reserved.to_vec(),
        }
    }

    /// What a variable means. `value` is only looked at to tell a service link.
    pub(crate) fn meaning(&self, name: &OsStr, value: &OsStr) -> Meaning {
        let text = name.to_string_lossy();
        if !text.starts_with(PREFIX) {
            return Meaning::Foreign;
        }
        if self.reserved.iter().any(|reserved| *reserved == text)
            || links::is_service_link(&text, value.to_str())
        {
            return Meaning::Ignored;
        }
        if let Some((_, path, _)) = self.known.iter().find(|(known, ..)| *known == text) {
            return Meaning::Sets(path.clone());
        }
        for (known, path, is_leaf) in &self.known {
            let below = text
                .strip_prefix(known.as_str())
                .and_then(|rest| rest.strip_prefix("__"));
            if let (true, Some(below)) = (*is_leaf, below) {
                let below = below.split("__").map(str::to_ascii_lowercase);
                return Meaning::Sets(path.iter().cloned().chain(below).collect());
            }
        }
        Meaning::Unknown(self.nearest(&text))
    }

    /// The known variable that was probably meant.
    fn nearest(&self, unknown: &str) -> Option<String> {
        let names = || self.known.iter().map(|(name, ..)| name.as_str());
        // The commonest mistake: KEPLER_EXPORTER_LISTEN, or small letters.
        let folded = |name: &str| name.to_ascii_uppercase().replace("__", "_");
        if let Some(name) = names().find(|name| folded(name) == folded(unknown)) {
            return Some(name.to_owned());
        }
        let wanted = unknown.strip_prefix(PREFIX)?;
        nearest(wanted, names().filter_map(|name| name.strip_prefix(PREFIX)))
            .map(|name| format!("{PREFIX}{name}"))
    }

    /// A variable that sets something in the section at `path`, as an example.
    pub(crate) fn example_in(&self, path: &[String]) -> Option<&str> {
        self.known
            .iter()
            .find(|(_, known, is_leaf)| *is_leaf && known.starts_with(path))
            .map(|(name, ..)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Marks;
    use serde_json::json;

    #[test]
    fn a_variable_means_a_key_a_link_or_a_mistake() {
        let mut shape = Shape::new();
        let default = json!({
            "tick": "1s", "idle": { "floor": "measured" }, "exporter": { "listen": [], "processes": { "max": 1 } },
            "sources": { "intel-gpu": { "root": "/" } }
        });
        shape.add(0, &[], &default, &Marks::default()).unwrap();
        let variables = Variables::of(&shape, &["KEPLER_CONFIG".to_owned()]);
        let sets = |path: &str| Meaning::Sets(path::split(path));
        let unknown = |name: &str| Meaning::Unknown(Some(name.to_owned()));
        let table = [
            ("KEPLER_TICK", sets("tick")),
            ("KEPLER_EXPORTER__PROCESSES__MAX", sets("exporter.processes.max")),
            ("KEPLER_SOURCES__INTEL_GPU__ROOT", sets("sources.intel-gpu.root")),
            ("KEPLER_IDLE__FLOOR__DRAM", sets("idle.floor.dram")),
            ("KEPLER_EXPORTER", sets("exporter")),
            ("KEPLER_CONFIG", Meaning::Ignored),
            ("KEPLER_SERVICE_HOST", Meaning::Ignored),
            ("PATH", Meaning::Foreign),
            ("kepler_tick", Meaning::Foreign),
            ("KEPLER_tick", unknown("KEPLER_TICK")),
            ("KEPLER_TIKC", unknown("KEPLER_TICK")),
            ("KEPLER_EXPORTER_LISTEN", unknown("KEPLER_EXPORTER__LISTEN")),
            (
                "KEPLER_EXPORTER__PROCESES__MAX",
                unknown("KEPLER_EXPORTER__PROCESSES__MAX"),
            ),
            ("KEPLER_BANANAS", Meaning::Unknown(None)),
            ("KEPLER_", Meaning::Unknown(None)),
        ];
        for (name, expected) in table {
            assert_eq!(
                variables.meaning(OsStr::new(name), OsStr::new("x")),
                expected,
                "{name}"
            );
        }
    }
}
