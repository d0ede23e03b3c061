// SPDX-License-Identifier: Apache-2.0
//! What holds for every state file of a container runtime, for `integration-tests/fuzz`. In no build of the daemon.

use super::facts::Facts;
use super::oci::Bundle;
use super::{docker, oci, podman};

fn clean(facts: &Facts) {
    let Facts { container, pod } = facts;
    let names = [Some(&container.name), container.image.as_ref()];
    let of_pod = pod.iter().flat_map(|pod| [Some(&pod.name), Some(&pod.namespace)]);
    for name in names.into_iter().chain(of_pod).flatten() {
        let fits = !name.is_empty() && name.len() <= 512 && !name.chars().any(char::is_control);
        assert!(fits, "{name:?}");
    }
}

/// State of Docker, containerd, CRI-O and podman: what becomes a name is short and clean, and nobody is in a pod by his own
/// labels alone.
pub fn state(bytes: &[u8]) {
    if let Some(facts) = docker::parse(bytes, false) {
        clean(&facts);
        assert!(facts.pod.is_none(), "a pod by a label");
    }
    docker::parse(bytes, true).iter().for_each(clean);
    if let Bundle::Named(facts) = oci::parse(bytes) {
        clean(&facts);
    }
    podman::parse(bytes)
        .iter()
        .flatten()
        .for_each(|(_, facts)| clean(facts));
}
