// SPDX-License-Identifier: Apache-2.0
//! What kepler and a real kubelet said of the same pods (`make test-kube`), held against each other.
//!
//! Pure but for [`run::Run::read`]: `run` reads the folder that kube/run.sh filled and `in_pod` what kube/daemonset.sh put there,
//! `truth` is what the kubelet knows and counted, `series` what kepler counted, `judge` makes rows of both, `page` makes
//! docs/kube.md of these.

pub mod in_pod;
pub mod judge;
pub mod page;
pub mod run;
pub mod series;
pub mod truth;

#[cfg(test)]
mod tests;
