// SPDX-License-Identifier: Apache-2.0
//! What has to hold of parsers that are public anyway: the configuration as the daemon has it, and the client's side of a daemon.

use actors::client::{About, Events, NodeHistory, SnapshotFacts, Update, WorkloadHistory};
use config::{Schema, render_effective};
use std::sync::LazyLock;

static SCHEMA: LazyLock<Schema> = LazyLock::new(actors::cli::schema);

/// A configuration file: what is refused is told in lines of bounded number, without commands to a terminal; what is taken can be shown.
pub(crate) fn configuration(bytes: &[u8]) {
    for is_toml in [true, false] {
        match SCHEMA.load_bytes(bytes, is_toml) {
            Ok(loaded) => assert!(render_effective(&loaded.effective()).lines().count() > 100),
            Err(problems) => {
                let text = problems.to_string();
                assert!(
                    !text.chars().any(|char| char.is_control() && char != '\n'),
                    "{text:?}"
                );
                assert!(text.lines().count() <= 103, "{} lines", text.lines().count());
            }
        }
    }
}

/// An answer of a daemon, whichever it is: every field that is read can be worked with.
pub(crate) fn answers(bytes: &[u8]) {
    if let Ok(update) = serde_json::from_slice::<Update>(bytes) {
        let (_power, _energy) = (update.node.power(), update.node.energy());
        for row in &update.rows {
            assert!(row.title().len() <= bytes.len().saturating_mul(3) + 64);
            let (_power, _energy, _is_estimate) = (row.power(), row.energy(), row.is_estimate());
        }
    }
    let _others = (
        serde_json::from_slice::<About>(bytes).is_ok(),
        serde_json::from_slice::<SnapshotFacts>(bytes).is_ok(),
        serde_json::from_slice::<NodeHistory>(bytes).is_ok(),
        serde_json::from_slice::<WorkloadHistory>(bytes).is_ok(),
    );
}

/// Events: where the network cuts them does not matter.
pub(crate) fn events(bytes: &[u8]) {
    let whole = Events::default().feed(bytes);
    let mut pieces = Events::default();
    let cut = usize::from(bytes.first().copied().unwrap_or(0)).max(1);
    let events = bytes.chunks(cut).map(|piece| pieces.feed(piece));
    let events: Option<Vec<_>> = events.collect();
    assert_eq!(events.map(|events| events.concat()), whole);
}
