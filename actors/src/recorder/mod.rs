// SPDX-License-Identifier: Apache-2.0
//! `kepler record`: the reporters as configured, the attribution beside them, and everything that it is asked in a file.
//!
//! Nothing is served unless it is asked for: who records beside a running daemon must not fight it for its port. The
//! attribution runs all the same, so that probe and window behave as they do in the daemon.

mod tap;
mod writer;

pub use tap::Tap;
pub(crate) use tap::WAITING;
pub use writer::{Names, RecordError, Recording, Written};

use crate::node;
use crate::run::{self, Outcome, announce, listen, parts, stop_signal};
use attribution::recording::{Beginning, Entry};
use config::Loaded;
use exporter::{Entrance, Page};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a recording is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Where to.
    pub file: &'a Path,
    /// How long; until a signal comes where it is not said.
    pub lasts: Option<Duration>,
    /// With names or without.
    pub names: Names,
    /// Whether pages are served meanwhile.
    pub serve: Serve,
}

/// Whether pages are served while a recording is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// On `exporter.listen`.
    Yes,
    /// Nowhere.
    No,
}

/// How a recording ended.
pub struct Recorded {
    /// How the run ended.
    pub outcome: Outcome,
    /// What is in the file.
    pub written: Written,
    /// What the last window showed.
    pub last: Arc<Page>,
}

/// Records until a signal comes, the time is over, nothing can be written any more, or a part dies.
///
/// # Errors
/// When it cannot start, and when not all could be written; what was written until then can be replayed.
pub fn record(loaded: &Loaded, wanted: &Wanted<'_>) -> anyhow::Result<Recorded> {
    let (mut recording, tap) = Recording::create(wanted.file, wanted.names)?;
    let broken = recording.broken();
    let lasts = wanted.lasts;
    let stop = || {
        let signal = stop_signal()?;
        Ok(async move {
            tokio::select! {
                () = signal => {}
                () = broken => {}
                () = after(lasts) => tracing::info!("the time is over"),
            }
        })
    };
    let ran = run::run_to_the_last_page(stop, || {
        let entrance = match wanted.serve {
            Serve::Yes => listen(loaded)?,
            Serve::No => Entrance::closed(),
        };
        let mut parts = parts(loaded, &node::machine(), entrance)?;
        // A replay begins with nothing learned, so a recording does, too: `parts` remembers nothing.
        let mut tap = tap;
        let beginning = Beginning {
            program: format!("kepler {}", run::build_info().version),
            tick: parts.tick,
            anonymous: false,
            settings: settings(loaded),
            state: Vec::new(),
            facts: parts.facts.as_ref().clone(),
        };
        tap.hear(&Entry::Begin(Arc::new(beginning)));
        parts.tap = Some(tap);
        announce(&parts);
        Ok(parts)
    });
    let (outcome, last) = match ran {
        Ok(ran) => ran,
        Err(error) => {
            // A recording of nothing helps nobody, and would be in the way of the next try.
            drop(std::fs::remove_file(wanted.file));
            return Err(error);
        }
    };
    let written = recording.finish()?;
    tracing::info!(
        file = %wanted.file.display(),
        windows = written.windows,
        bytes = written.bytes,
        missing = written.missing,
        "recorded"
    );
    Ok(Recorded {
        outcome,
        written,
        last,
    })
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Keys of the configuration that decide what the attribution makes of its reports.
const MATTER: [&str; 4] = ["tick", "attribution.", "exporter.processes.", "exporter.ended."];

/// Settings that matter, by their first word.
fn settings(loaded: &Loaded) -> Vec<(String, String)> {
    let mut tree = Map::new();
    let effective = loaded.effective();
    let matter = effective
        .iter()
        .filter(|setting| MATTER.iter().any(|key| setting.key.starts_with(key)));
    for setting in matter {
        put(&mut tree, &setting.key, setting.value.clone());
    }
    tree.into_iter()
        .map(|(key, value)| (key, value.to_string()))
        .collect()
}

/// Puts a value where its dotted key says. None of these keys has a dot in a name.
fn put(tree: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            tree.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let below = tree.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                put(below, rest, value);
            }
        }
    }
}
