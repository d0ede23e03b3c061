// SPDX-License-Identifier: Apache-2.0
//! Pods: rules by tables, names by moments, and the wire against an API server of our own.

mod desk;
mod naming;
mod requests;
mod rules;
mod sections;
mod server;
mod table;

use super::config::Labels;
use super::rules::KnownPod;
use super::shape::Pod;
use integration_tests::api_server::{self, Release};
use serde_json::Value;

const NODE: &str = "node-1";

fn of(pod: Value) -> Pod {
    serde_json::from_value(pod).unwrap()
}

/// A pod of `shop/web-...` with these containers.
fn web(uid: &str, containers: &[(&str, &str)]) -> Value {
    api_server::pod(Release::V1_33, NODE, "web-7d4b9c6f5-x2x4z", uid, containers)
}

fn known(pod: Value) -> KnownPod {
    super::rules::known(&of(pod), &Labels::default())
}
