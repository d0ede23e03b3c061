// SPDX-License-Identifier: Apache-2.0
//! What holds for every quantity and every limit of a cgroup, for `integration-tests/fuzz`. In no build of the daemon.

use super::limits;
use super::quantity::{bytes, millicpus};

/// A quantity of Kubernetes, and the text of `cpu.max` and `memory.max`.
pub fn amounts(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    // A thousandth of a CPU is a thousand times as fine as a byte.
    if let (Some(whole), Some(milli)) = (bytes(text), millicpus(text)) {
        assert!(milli / 1_000 <= whole, "{text:?}: {whole} and {milli}");
    }
    limits::fuzz(text);
}
