// SPDX-License-Identifier: Apache-2.0
//! What holds for every `/proc/PID/fdinfo/FD`, for `integration-tests/fuzz`. In no build of the daemon.

use super::fdinfo::parse;

/// A client's engines are few, have names that are told apart, and a capacity.
pub(crate) fn fdinfo(bytes: &[u8]) {
    let Some(client) = parse(bytes) else { return };
    assert!(client.driver.len() <= 32 && client.address.len() <= 32);
    assert!(client.engines.len() <= 32);
    for (at, engine) in client.engines.iter().enumerate() {
        assert!(engine.name.len() <= 32 && (1..=1_024).contains(&engine.capacity));
        let others = client.engines.iter().skip(at + 1);
        assert!(others.clone().all(|other| other.name != engine.name));
    }
}
