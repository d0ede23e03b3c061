// SPDX-License-Identifier: Apache-2.0
//! XGBoost's own JSON model (`save_model("model.json")`): owns the way from its fields to a checked forest. Knows no
//! feature of ours.
//!
//! Fields as in xgboost's `doc/model.schema`; `base_score` is a number in quotes up to 3.0 and a list in quotes since 3.1.
//! Refused by name: other boosters than `gbtree`, objectives whose prediction is no amount (logistic, ranking, several
//! targets), splits by category. All trees are used, also behind `best_iteration`, as `Booster.predict` does.

use super::form::MOST_FEATURES;
use super::trees::{Forest, Link, Node};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Largest leaf, condition and base: no model of watts has one, and far below what single precision can hold.
const LARGEST: f32 = 1e30;

/// A model with the names of its features, as far as it tells them.
#[derive(Debug, PartialEq)]
pub(super) struct Booster {
    pub(super) forest: Forest,
    /// How many features it was trained with.
    pub(super) features: usize,
    /// Their names, or nothing.
    pub(super) names: Vec<String>,
}

#[derive(Deserialize)]
struct Model {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    #[serde(default)]
    feature_names: Vec<String>,
    #[serde(default)]
    feature_types: Vec<String>,
    gradient_booster: GradientBooster,
    learner_model_param: LearnerParameters,
    objective: Objective,
}

#[derive(Deserialize)]
struct GradientBooster {
    name: String,
    model: Option<Trees>,
}

#[derive(Deserialize)]
struct Trees {
    trees: Vec<Tree>,
    #[serde(default)]
    tree_info: Vec<i64>,
}

#[derive(Deserialize)]
struct LearnerParameters {
    base_score: String,
    #[serde(default)]
    num_class: Option<String>,
    #[serde(default)]
    num_target: Option<String>,
    num_feature: String,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

#[derive(Deserialize)]
struct Tree {
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<u64>,
    split_conditions: Vec<f32>,
    default_left: Vec<Flag>,
    #[serde(default)]
    split_type: Vec<u64>,
    #[serde(default)]
    categories: Vec<IgnoredAny>,
    tree_param: TreeParameters,
}

#[derive(Deserialize)]
struct TreeParameters {
    #[serde(default)]
    size_leaf_vector: Option<String>,
}

/// `true` and `false` in old files, 1 and 0 in new ones.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Flag {
    Word(bool),
    Number(u64),
}

impl Flag {
    const fn is_set(self) -> bool {
        match self {
            Self::Word(set) => set,
            Self::Number(number) => number != 0,
        }
    }
}

/// Reads a model.
///
/// # Errors
/// With the field and what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Booster, String> {
    let model: Model =
        serde_json::from_slice(bytes).map_err(|error| format!("is no XGBoost model in JSON: {error}"))?;
    let learner = model.learner;
    let link = link(&learner.objective.name)?;
    one("num_class", learner.learner_model_param.num_class.as_deref())?;
    one("num_target", learner.learner_model_param.num_target.as_deref())?;
    let base = base(&learner.learner_model_param.base_score, link)?;
    let features = &learner.learner_model_param.num_feature;
    let features: usize = match features.parse() {
        Ok(count) if (1..=MOST_FEATURES).contains(&count) => count,
        _ => {
            return Err(format!(
                "learner.learner_model_param.num_feature is {features:?}, allowed are 1 to {MOST_FEATURES}"
            ));
        }
    };
    if let Some(kind) = learner
        .feature_types
        .iter()
        .find(|kind| *kind == "c" || *kind == "categorical")
    {
        return Err(format!(
            "learner.feature_types has {kind:?}: categories are not supported, train with numbers only"
        ));
    }
    let booster = &learner.gradient_booster;
    let trees = match &booster.model {
        Some(trees) if booster.name == "gbtree" => trees,
        _ => {
            return Err(format!(
                "learner.gradient_booster.name is {:?}: only booster \"gbtree\" is supported",
                booster.name
            ));
        }
    };
    if trees.tree_info.iter().any(|group| *group != 0) {
        return Err(
            "learner.gradient_booster.model.tree_info: trees of several outputs are not supported".to_owned(),
        );
    }
    let mut forest = Forest::new(base, link);
    for (number, tree) in trees.trees.iter().enumerate() {
        let planted = nodes(tree).and_then(|nodes| forest.plant(&nodes, features));
        planted.map_err(|problem| format!("learner.gradient_booster.model.trees[{number}]: {problem}"))?;
    }
    if forest.trees() == 0 {
        return Err("learner.gradient_booster.model.trees is empty: the model was never trained".to_owned());
    }
    Ok(Booster {
        forest,
        features,
        names: learner.feature_names,
    })
}

fn link(objective: &str) -> Result<Link, String> {
    match objective {
        "reg:squarederror"
        | "reg:linear"
        | "reg:absoluteerror"
        | "reg:pseudohubererror"
        | "reg:squaredlogerror"
        | "reg:quantileerror" => Ok(Link::Identity),
        "reg:gamma" | "reg:tweedie" | "count:poisson" => Ok(Link::Exponential),
        _ => Err(format!(
            "learner.objective.name is {objective:?}, which predicts no watts; supported are reg:squarederror, reg:absoluteerror, \
             reg:pseudohubererror, reg:squaredlogerror, reg:quantileerror, reg:gamma, reg:tweedie, count:poisson"
        )),
    }
}

/// A count that may be 0 or 1: one output.
fn one(name: &str, count: Option<&str>) -> Result<(), String> {
    match count {
        None | Some("0" | "1") => Ok(()),
        Some(count) => Err(format!(
            "learner.learner_model_param.{name} is {count:?}: models of several outputs are not supported"
        )),
    }
}

/// What the sum of leaves begins with: the score as the objective's link turns it back.
fn base(score: &str, link: Link) -> Result<f32, String> {
    let list = score.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let base = list
        .unwrap_or(score)
        .trim()
        .parse()
        .ok()
        .map(|base: f32| match link {
            Link::Identity => base,
            Link::Exponential => base.ln(),
        });
    base.filter(|base| base.abs() <= LARGEST).ok_or_else(|| {
        format!("learner.learner_model_param.base_score is {score:?}, expected one number such as \"5E-1\" or \"[5E-1]\"")
    })
}

/// The nodes of one tree, each field of each node in reach.
fn nodes(tree: &Tree) -> Result<Vec<Node>, String> {
    if let Some(size) = tree
        .tree_param
        .size_leaf_vector
        .as_deref()
        .filter(|size| !matches!(*size, "0" | "1"))
    {
        return Err(format!(
            "tree_param.size_leaf_vector is {size:?}: leaves of several outputs are not supported"
        ));
    }
    if !tree.categories.is_empty() || tree.split_type.iter().any(|kind| *kind != 0) {
        return Err("splits by category are not supported, train with numbers only".to_owned());
    }
    let count = tree.left_children.len();
    for (name, length) in [
        ("right_children", tree.right_children.len()),
        ("split_indices", tree.split_indices.len()),
        ("split_conditions", tree.split_conditions.len()),
        ("default_left", tree.default_left.len()),
    ] {
        if length != count {
            return Err(format!(
                "{name} has {length} entries and left_children has {count}"
            ));
        }
    }
    let children = tree.left_children.iter().zip(&tree.right_children);
    let splits = tree
        .split_indices
        .iter()
        .zip(&tree.split_conditions)
        .zip(&tree.default_left);
    children
        .zip(splits)
        .enumerate()
        .map(
            |(number, ((left, right), ((feature, condition), default_left)))| {
                let all = (*left, *right, *feature, *condition, *default_left);
                node(all).map_err(|problem| format!("node {number}: {problem}"))
            },
        )
        .collect()
}

fn node((left, right, feature, condition, default_left): (i64, i64, u64, f32, Flag)) -> Result<Node, String> {
    if condition.is_nan() || condition.abs() > LARGEST {
        return Err(format!(
            "split_conditions has {condition}, allowed are -{LARGEST} to {LARGEST}"
        ));
    }
    match (left, right) {
        (-1, -1) => Ok(Node::Leaf(condition)),
        (-1, _) | (_, -1) => Err("has one child; allowed are none and two".to_owned()),
        (left, right) => match (
            usize::try_from(left),
            usize::try_from(right),
            usize::try_from(feature),
        ) {
            (Ok(left), Ok(right), Ok(feature)) => Ok(Node::Split {
                feature,
                below: condition,
                missing_left: default_left.is_set(),
                left,
                right,
            }),
            _ => Err(format!(
                "children {left} and {right} cannot exist; allowed are -1 and the numbers of nodes"
            )),
        },
    }
}
