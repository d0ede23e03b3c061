// SPDX-License-Identifier: Apache-2.0
//! The rules that are compared. Each reads the node at its own moments, as its own sampling would.

pub mod feed;
pub mod kepler_current;
pub mod kepler_ebpf;
pub mod ours;
pub mod tree;

use crate::bill::Bill;
use crate::node::Node;
use crate::tasks::Nanos;

/// Something that watches a node and bills for it.
pub trait Rule {
    /// When it wants to do something next.
    fn next(&self) -> Nanos;
    /// Does it; the node has been run until then.
    fn act(&mut self, node: &mut Node);
    /// By name, what was billed so far. One rule may watch once and bill in several ways.
    fn bills(&self) -> Vec<(&'static str, Bill)>;
    /// What broke its own promises, in words.
    fn broken(&self) -> Vec<String> {
        Vec::new()
    }
}
