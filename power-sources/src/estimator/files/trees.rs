// SPDX-License-Identifier: Apache-2.0
//! Boosted trees, checked and flat: owns the walk from the roots to the leaves. Knows no file format.
//!
//! XGBoost's rules (xgboost, `src/predictor` and `include/xgboost/tree_model.h`): everything in single precision; a value
//! below the condition goes left, one that equals it right, a missing one where the node says; leaves are summed.

use super::form::MOST_FEATURES;

/// Most nodes of all trees together: a thousand trees of ten levels. The rest of them would cost a tick milliseconds.
pub(super) const MOST_NODES: usize = 1_000_000;
/// Most trees.
pub(super) const MOST_TREES: usize = 10_000;
/// Most levels of a tree. XGBoost's own default is 6.
pub(super) const MOST_LEVELS: u32 = 64;

/// A node: children by their number in the same tree as a file tells them, and by their place among all nodes in a checked
/// forest. There they lie behind their parent, so that every walk ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Node {
    Leaf(f32),
    Split {
        feature: usize,
        below: f32,
        missing_left: bool,
        left: usize,
        right: usize,
    },
}

/// From the sum of leaves to the prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The sum itself.
    Identity,
    /// Its exponential (`reg:gamma`, `reg:tweedie`, `count:poisson`).
    Exponential,
}

/// A checked forest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    /// What the sum begins with.
    base: f32,
    link: Link,
}

impl Forest {
    /// Without a tree yet; `base` is what the sum begins with.
    pub(super) const fn new(base: f32, link: Link) -> Self {
        Self {
            nodes: Vec::new(),
            roots: Vec::new(),
            base,
            link,
        }
    }

    /// Adds a tree after a walk over all nodes that its root leads to; what it does not lead to was pruned away.
    ///
    /// # Errors
    /// With the node and what is wrong with it: a child that is not there, a node with two ways to it (which is also how a
    /// cycle looks), too deep, too many.
    pub(super) fn plant(&mut self, raw: &[Node], features: usize) -> Result<(), String> {
        if self.roots.len() >= MOST_TREES {
            return Err(format!("more than {MOST_TREES} trees"));
        }
        let root = self.nodes.len();
        let mut seen = vec![false; raw.len()];
        let mut level = vec![0_usize];
        let mut depth = 0;
        while !level.is_empty() {
            if depth > MOST_LEVELS {
                return Err(format!("deeper than {MOST_LEVELS} levels"));
            }
            if self.nodes.len() + level.len() > MOST_NODES {
                return Err(format!("more than {MOST_NODES} nodes in all trees"));
            }
            let mut next = Vec::new();
            let behind = self.nodes.len() + level.len();
            for number in level {
                let node = take(raw, &mut seen, number)?;
                self.nodes.push(match node {
                    Node::Leaf(value) => Node::Leaf(value),
                    Node::Split {
                        feature,
                        below,
                        missing_left,
                        left,
                        right,
                    } => {
                        if feature >= features.min(MOST_FEATURES) {
                            return Err(format!(
                                "node {number}: splits by feature {feature}, of which there are {features}"
                            ));
                        }
                        let place = behind + next.len();
                        next.extend([left, right]);
                        Node::Split {
                            feature,
                            below,
                            missing_left,
                            left: place,
                            right: place + 1,
                        }
                    }
                });
            }
            level = next;
            depth += 1;
        }
        self.roots.push(root);
        Ok(())
    }

    /// How many trees it has.
    pub(super) const fn trees(&self) -> usize {
        self.roots.len()
    }

    /// The prediction; what is missing is NaN.
    pub(super) fn predict(&self, values: &[f32]) -> f32 {
        let sum = self
            .roots
            .iter()
            .fold(self.base, |sum, root| sum + self.leaf(*root, values));
        match self.link {
            Link::Identity => sum,
            Link::Exponential => sum.exp(),
        }
    }

    fn leaf(&self, root: usize, values: &[f32]) -> f32 {
        let mut at = root;
        loop {
            at = match self.nodes.get(at) {
                Some(Node::Leaf(value)) => return *value,
                Some(Node::Split {
                    feature,
                    below,
                    missing_left,
                    left,
                    right,
                }) => {
                    let value = values.get(*feature).copied().unwrap_or(f32::NAN);
                    let goes_left = if value.is_nan() {
                        *missing_left
                    } else {
                        value < *below
                    };
                    if goes_left { *left } else { *right }
                }
                // Cannot be: children were placed when their parent was.
                None => return f32::NAN,
            };
        }
    }
}

/// The node of this number, once.
fn take(raw: &[Node], seen: &mut [bool], number: usize) -> Result<Node, String> {
    let (Some(node), Some(seen)) = (raw.get(number), seen.get_mut(number)) else {
        return Err(format!(
            "node {number} is a child and does not exist, there are {}",
            raw.len()
        ));
    };
    if std::mem::replace(seen, true) {
        return Err(format!(
            "node {number} is reached twice, so this is a cycle and no tree"
        ));
    }
    Ok(*node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(below: f32, missing_left: bool, left: usize, right: usize) -> Node {
        Node::Split {
            feature: 0,
            below,
            missing_left,
            left,
            right,
        }
    }

    fn forest(raw: &[Node]) -> Result<Forest, String> {
        let mut forest = Forest::new(10.0, Link::Identity);
        forest.plant(raw, 1).map(|()| forest)
    }

    #[test]
    fn what_is_below_goes_left_what_is_equal_right_and_what_is_missing_where_the_node_says() {
        for (missing_left, missing) in [(true, 11.0), (false, 12.0)] {
            let raw = [split(3.0, missing_left, 1, 2), Node::Leaf(1.0), Node::Leaf(2.0)];
            let forest = forest(&raw).unwrap();
            assert_eq!(forest.predict(&[2.999_999_8]), 11.0);
            assert_eq!(forest.predict(&[3.0]), 12.0);
            assert_eq!(forest.predict(&[f32::NAN]), missing);
            assert_eq!(forest.predict(&[]), missing);
        }
    }

    #[test]
    fn trees_are_summed_and_an_exponential_link_is_taken_of_the_sum() {
        let mut forest = Forest::new(0.5, Link::Exponential);
        let raw = [split(3.0, true, 1, 2), Node::Leaf(1.0), Node::Leaf(2.0)];
        forest.plant(&raw, 1).unwrap();
        forest.plant(&[Node::Leaf(0.25)], 1).unwrap();
        assert_eq!(forest.trees(), 2);
        assert_eq!(forest.predict(&[0.0]), 1.75_f32.exp());
        assert_eq!(forest.predict(&[5.0]), 2.75_f32.exp());
    }

    #[test]
    fn what_is_no_tree_is_refused_by_the_number_of_the_node() {
        let leaf = Node::Leaf(1.0);
        let cycle = forest(&[split(1.0, true, 1, 2), split(2.0, true, 0, 2), leaf]).unwrap_err();
        assert_eq!(cycle, "node 0 is reached twice, so this is a cycle and no tree");
        let itself = forest(&[split(1.0, true, 0, 0)]).unwrap_err();
        assert!(itself.starts_with("node 0 is reached twice"), "{itself}");
        let outside = forest(&[split(1.0, true, 1, 7), leaf]).unwrap_err();
        assert_eq!(outside, "node 7 is a child and does not exist, there are 2");
        let empty = forest(&[]).unwrap_err();
        assert_eq!(empty, "node 0 is a child and does not exist, there are 0");
        let feature = Forest::new(0.0, Link::Identity).plant(&[split(1.0, true, 1, 2), leaf, leaf], 0);
        assert_eq!(
            feature.unwrap_err(),
            "node 0: splits by feature 0, of which there are 0"
        );
    }

    #[test]
    fn a_tree_that_is_a_long_line_is_refused_and_one_of_the_allowed_depth_is_not() {
        let line = |levels: usize| -> Vec<Node> {
            let pairs = (0..levels)
                .flat_map(|level| [split(1.0, true, 2 * level + 1, 2 * level + 2), Node::Leaf(0.0)]);
            pairs.chain([Node::Leaf(0.0)]).collect()
        };
        assert!(forest(&line(64)).is_ok());
        let words = forest(&line(65)).unwrap_err();
        assert_eq!(words, "deeper than 64 levels");
    }

    #[test]
    fn more_nodes_and_trees_than_a_tick_can_walk_are_refused() {
        let mut forest = Forest::new(0.0, Link::Identity);
        for _ in 0..MOST_TREES {
            forest.plant(&[Node::Leaf(0.0)], 1).unwrap();
        }
        let words = forest.plant(&[Node::Leaf(0.0)], 1).unwrap_err();
        assert_eq!(words, "more than 10000 trees");
    }
}
