// SPDX-License-Identifier: Apache-2.0
//! The tree of all known keys, made from the sections' defaults, and who owns which.
//!
//! A key whose default is a table with entries is a table; everything else is a leaf, whose owner's type decides what
//! it takes (also a table). An empty table as a default is a leaf too: a map whose keys are data.

use crate::nearest::nearest;
use crate::path;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A known key.
#[derive(Debug)]
pub(crate) enum Node {
    /// Keys below keys.
    Table(BTreeMap<String, Node>),
    /// A value.
    Leaf(Leaf),
}

/// A known value.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Index of the section that owns it.
    pub(crate) section: usize,
    /// Its whole path.
    pub(crate) path: Vec<String>,
    /// Segments of `path` that are the section's.
    pub(crate) depth: usize,
    /// What it is when nobody sets it.
    pub(crate) default: Value,
    /// Whether it must not be shown.
    pub(crate) secret: bool,
}

impl Leaf {
    /// Its path inside its section.
    pub(crate) fn relative(&self) -> &[String] {
        self.path.get(self.depth..).unwrap_or_default()
    }
}

/// What a layer's tree says about known keys.
#[derive(Debug)]
pub(crate) enum Met<'a, 'v> {
    /// A known leaf with its value.
    Leaf(&'a Leaf, &'v Value),
    /// A key that nobody owns.
    Unknown(Vec<String>),
    /// Something else where a table of keys belongs.
    NoTable(Vec<String>, &'v Value),
}

/// All known keys.
#[derive(Debug)]
pub(crate) struct Shape {
    root: Node,
    /// Every leaf, by path.
    pub(crate) leaves: Vec<Leaf>,
}

impl Shape {
    /// An empty tree.
    pub(crate) fn new() -> Self {
        Self {
            root: Node::Table(BTreeMap::new()),
            leaves: Vec::new(),
        }
    }

    /// Adds a section's keys. `open` names keys, relative to the section, that are leaves although their default has
    /// entries; `secret` those that must not be shown. Says which key is claimed twice.
    pub(crate) fn add(
        &mut self,
        section: usize,
        at: &[String],
        default: &Value,
        marks: &Marks,
    ) -> Result<(), String> {
        let Value::Object(entries) = default else {
            return Err(format!(
                "its default is {}, not a table",
                crate::secrets::found(default, true)
            ));
        };
        let mut path = at.to_vec();
        self.table(&path)?;
        self.add_entries(section, &mut path, at.len(), entries, marks)
    }

    fn add_entries(
        &mut self,
        section: usize,
        path: &mut Vec<String>,
        depth: usize,
        entries: &Map<String, Value>,
        marks: &Marks,
    ) -> Result<(), String> {
        for (key, default) in entries {
            path.push(key.clone());
            let relative = path.get(depth..).unwrap_or_default();
            match default {
                Value::Object(below)
                    if !below.is_empty() && !marks.open.iter().any(|open| open == relative) =>
                {
                    self.table(path)?;
                    self.add_entries(section, path, depth, below, marks)?;
                }
                _ => {
                    let leaf = Leaf {
                        section,
                        path: path.clone(),
                        depth,
                        default: default.clone(),
                        secret: crate::secrets::is_secret_name(key)
                            || marks.secret.iter().any(|name| name == relative),
                    };
                    self.insert(leaf)?;
                }
            }
            path.pop();
        }
        Ok(())
    }

    /// The table at `path`, made if it is not there.
    fn table(&mut self, path: &[String]) -> Result<&mut BTreeMap<String, Node>, String> {
        let claimed = || format!("key {} belongs to two sections", path::join(path));
        let mut node = &mut self.root;
        for segment in path {
            let Node::Table(keys) = node else {
                return Err(claimed());
            };
            node = keys
                .entry(segment.clone())
                .or_insert_with(|| Node::Table(BTreeMap::new()));
        }
        match node {
            Node::Table(keys) => Ok(keys),
            Node::Leaf(_) => Err(claimed()),
        }
    }

    fn insert(&mut self, leaf: Leaf) -> Result<(), String> {
        let Some((key, above)) = leaf.path.split_last() else {
            return Ok(());
        };
        let keys = self.table(above)?;
        if keys.contains_key(key) {
            return Err(format!("key {} belongs to two sections", path::join(&leaf.path)));
        }
        keys.insert(key.clone(), Node::Leaf(leaf.clone()));
        self.leaves.push(leaf);
        Ok(())
    }

    /// Holds a layer's tree against the known keys.
    pub(crate) fn walk<'a, 'v>(&'a self, tree: &'v Value) -> Vec<Met<'a, 'v>> {
        let mut met = Vec::new();
        meet(&self.root, tree, &mut Vec::new(), &mut met);
        met
    }

    /// The known key at a path.
    pub(crate) fn get(&self, path: &[String]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, segment| match node {
            Node::Table(keys) => keys.get(segment),
            Node::Leaf(_) => None,
        })
    }

    /// Names of the keys in a table, for "allowed".
    pub(crate) fn keys_of(&self, path: &[String]) -> Vec<&str> {
        match self.get(path) {
            Some(Node::Table(keys)) => keys.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What an unknown key was probably meant to be.
    pub(crate) fn nearest_key(&self, unknown: &[String]) -> Option<String> {
        let (last, above) = unknown.split_last()?;
        // `"state.dir"` in quotes, or in YAML, is one key with a dot in it.
        let split: Vec<String> = unknown.iter().flat_map(|segment| path::split(segment)).collect();
        if split.len() != unknown.len() && self.get(&split).is_some() {
            return Some(format!("{} without quotes, or nested", path::join(&split)));
        }
        if let Some(sibling) = nearest(last, self.keys_of(above)) {
            let mut path = above.to_vec();
            path.push(sibling.to_owned());
            return Some(path::join(&path));
        }
        let known = self.all_paths();
        // The right key in the wrong section.
        let mut same_name = known.iter().filter(|path| path.last() == Some(last));
        if let (Some(path), None) = (same_name.next(), same_name.next()) {
            return Some(path::join(path));
        }
        let texts: Vec<String> = known.iter().map(|path| path::join(path)).collect();
        nearest(&path::join(unknown), texts.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Every known path, tables included.
    pub(crate) fn all_paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        collect(&self.root, &mut Vec::new(), &mut paths);
        paths
    }
}

/// What a section says about its keys beyond their defaults; paths relative to the section.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// Leaves although their default is a table with entries.
    pub(crate) open: Vec<Vec<String>>,
    /// Secret although their name does not say so.
    pub(crate) secret: Vec<Vec<String>>,
}

fn meet<'a, 'v>(node: &'a Node, value: &'v Value, path: &mut Vec<String>, met: &mut Vec<Met<'a, 'v>>) {
    match (node, value) {
        (Node::Leaf(leaf), value) => met.push(Met::Leaf(leaf, value)),
        (Node::Table(keys), Value::Object(entries)) => {
            for (key, value) in entries {
                path.push(key.clone());
                match keys.get(key) {
                    Some(node) => meet(node, value, path, met),
                    None => met.push(Met::Unknown(path.clone())),
                }
                path.pop();
            }
        }
        // `exporter:` with nothing below but comments, as YAML files often have it.
        (Node::Table(_), Value::Null) => {}
        (Node::Table(_), other) => met.push(Met::NoTable(path.clone(), other)),
    }
}

fn collect(node: &Node, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    if !path.is_empty() {
        paths.push(path.clone());
    }
    if let Node::Table(keys) = node {
        for (key, node) in keys {
            path.push(key.clone());
            collect(node, path, paths);
            path.pop();
        }
    }
}

/// The value at a path inside objects.
pub(crate) fn at<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |value, segment| value.get(segment))
}

/// Puts a value at a path, making objects of whatever stands in the way.
pub(crate) fn put(tree: &mut Value, path: &[String], value: Value) {
    let Some((segment, below)) = path.split_first() else {
        *tree = value;
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(entries) = tree {
        put(
            entries.entry(segment.clone()).or_insert(Value::Null),
            below,
            value,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape() -> Shape {
        let mut shape = Shape::new();
        let marks = Marks {
            open: vec![path::split("floor")],
            secret: Vec::new(),
        };
        shape
            .add(0, &[], &json!({ "tick": "1s", "state": { "dir": "/x" } }), &marks)
            .unwrap();
        shape
            .add(
                1,
                &path::split("sources"),
                &json!({ "cpu": [], "gpu": [] }),
                &marks,
            )
            .unwrap();
        shape
            .add(
                2,
                &path::split("sources.rapl"),
                &json!({ "root": "/sys", "labels": {} }),
                &marks,
            )
            .unwrap();
        shape
            .add(
                3,
                &path::split("idle"),
                &json!({ "floor": { "package": 20.0 }, "root": "/a", "labels": {} }),
                &marks,
            )
            .unwrap();
        shape
    }

    #[test]
    fn every_leaf_belongs_to_the_section_that_defines_it() {
        let shape = shape();
        let owners: Vec<(String, usize)> = shape
            .leaves
            .iter()
            .map(|leaf| (path::join(&leaf.path), leaf.section))
            .collect();
        let expected = [
            ("state.dir", 0),
            ("tick", 0),
            ("sources.cpu", 1),
            ("sources.gpu", 1),
            ("sources.rapl.labels", 2),
            ("sources.rapl.root", 2),
            ("idle.floor", 3),
            ("idle.labels", 3),
            ("idle.root", 3),
        ];
        let mut sorted = owners.clone();
        sorted.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        assert_eq!(sorted, expected.map(|(key, owner)| (key.to_owned(), owner)));
    }

    #[test]
    fn a_key_that_two_sections_claim_is_named() {
        let mut shape = shape();
        let marks = Marks::default();
        let table = [
            ("", json!({ "tick": "2s" }), "tick"),
            ("tick", json!({ "x": 1 }), "tick"),
            ("", json!({ "sources": "x" }), "sources"),
            ("idle.floor", json!({}), "idle.floor"),
        ];
        for (at, default, key) in table {
            let error = shape.add(9, &path::split(at), &default, &marks).unwrap_err();
            assert_eq!(error, format!("key {key} belongs to two sections"));
        }
        assert!(
            shape
                .add(9, &[], &json!([]), &marks)
                .unwrap_err()
                .contains("not a table")
        );
    }

    #[test]
    fn an_unknown_key_finds_its_sibling_its_section_or_its_spelling() {
        let shape = shape();
        let table = [
            (vec!["sources", "cpuu"], Some("sources.cpu")),
            (vec!["surces"], Some("sources")),
            (vec!["dir"], Some("state.dir")),
            (vec!["state.dir"], Some("state.dir without quotes, or nested")),
            (vec!["sources", "rapl", "banana"], None),
            (vec!["statedir"], Some("state.dir")),
            // There are two of them.
            (vec!["root"], None),
        ];
        for (unknown, expected) in table {
            let unknown: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
            assert_eq!(shape.nearest_key(&unknown).as_deref(), expected, "{unknown:?}");
        }
    }

    #[test]
    fn a_value_is_put_where_a_scalar_stood() {
        let mut tree = json!({ "floor": "measured", "share": "equal" });
        put(&mut tree, &path::split("floor.package"), json!(20));
        assert_eq!(tree, json!({ "floor": { "package": 20 }, "share": "equal" }));
        assert_eq!(at(&tree, &path::split("floor.package")), Some(&json!(20)));
        assert_eq!(at(&tree, &path::split("floor.dram")), None);
    }
}
