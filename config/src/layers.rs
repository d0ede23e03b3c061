// SPDX-License-Identifier: Apache-2.0
//! The layers laid over each other by figment, which also remembers for every value who gave it.
//!
//! Tables merge key by key; anything else replaces. A leaf's default goes as a whole as soon as any layer sets the
//! leaf, so that a map or a choice of tables does not keep entries that nobody asked for.

use crate::problem::Origin;
use crate::shape::{self, Leaf, Shape};
use figment::value::{Dict, Map, Value as FigmentValue};
use figment::{Figment, Metadata, Profile, Provider, Source};
use serde_json::Value;

/// One value that a layer gives to a known leaf, or below one.
#[derive(Clone, Debug)]
pub(crate) struct Setting<'a> {
    /// The leaf.
    pub(crate) leaf: &'a Leaf,
    /// Keys below the leaf, where a variable or flag sets one entry of a table.
    pub(crate) below: Vec<String>,
    /// The value.
    pub(crate) value: Value,
    /// The value as it was written, where that was a text without type.
    pub(crate) text: Option<String>,
    /// Who gives it; in a file without its line, which is looked up when it is needed.
    pub(crate) origin: Origin,
}

impl Setting<'_> {
    /// Its whole path.
    pub(crate) fn path(&self) -> Vec<String> {
        self.leaf.path.iter().chain(&self.below).cloned().collect()
    }

    /// Whether `later` leaves nothing of this value.
    pub(crate) fn is_replaced_by(&self, later: &Self) -> bool {
        self.path().starts_with(&later.path()) && !later.value.is_object()
    }
}

/// All layers as one.
pub(crate) struct Merged {
    /// Every known leaf with its value.
    pub(crate) tree: Value,
    /// Every value's path and origin: tables down to their entries, lists as one.
    pub(crate) origins: Vec<(Vec<String>, Origin)>,
}

impl Merged {
    /// Lays `settings` over the defaults, the later over the earlier.
    pub(crate) fn of(shape: &Shape, settings: &[Setting<'_>]) -> Result<Self, Box<figment::Error>> {
        let mut defaults = Value::Object(serde_json::Map::new());
        for leaf in &shape.leaves {
            if !settings.iter().any(|setting| setting.leaf.path == leaf.path) {
                shape::put(&mut defaults, &leaf.path, leaf.default.clone());
            }
        }
        let mut givers = vec![Origin::Default];
        let mut figment = Figment::from(Layer {
            giver: 0,
            tree: defaults,
        });
        for setting in settings {
            let mut tree = Value::Object(serde_json::Map::new());
            shape::put(&mut tree, &setting.path(), setting.value.clone());
            figment = figment.merge(Layer {
                giver: givers.len(),
                tree,
            });
            givers.push(setting.origin.clone());
        }
        let mut origins = Vec::new();
        for (key, value) in figment.data()?.into_values().flatten() {
            collect(&figment, &givers, &value, &mut vec![key], &mut origins);
        }
        Ok(Self {
            tree: figment.extract()?,
            origins,
        })
    }
}

fn collect(
    figment: &Figment,
    givers: &[Origin],
    value: &FigmentValue,
    path: &mut Vec<String>,
    origins: &mut Vec<(Vec<String>, Origin)>,
) {
    match value {
        FigmentValue::Dict(_, entries) if !entries.is_empty() => {
            for (key, value) in entries {
                path.push(key.clone());
                collect(figment, givers, value, path, origins);
                path.pop();
            }
        }
        _ => {
            let origin = figment
                .get_metadata(value.tag())
                .and_then(|metadata| metadata.source.as_ref()?.custom()?.parse::<usize>().ok())
                .and_then(|giver| givers.get(giver))
                .unwrap_or(&Origin::Default);
            origins.push((path.clone(), origin.clone()));
        }
    }
}

/// One layer as figment takes it.
struct Layer {
    /// Index of who gives it, carried through figment as the name of the source.
    giver: usize,
    tree: Value,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::default().source(Source::Custom(self.giver.to_string()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = match FigmentValue::serialize(&self.tree)? {
            FigmentValue::Dict(_, dict) => dict,
            _ => Dict::new(),
        };
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figment_gives_back_what_it_was_given() {
        let tree = json!({
            "integer": -7, "big": u64::MAX, "number": 2.5, "text": "a.b", "flag": false, "nothing": null,
            "list": [1, "x", [], {}], "table": { "a.b": { "c": 1e300 } }, "empty": {}
        });
        let mut shape = Shape::new();
        shape.add(0, &[], &tree, &shape::Marks::default()).unwrap();
        assert_eq!(Merged::of(&shape, &[]).unwrap().tree, tree);
    }
}
