// SPDX-License-Identifier: Apache-2.0
//! `kepler replay`: the same attribution over a recording, at full speed.
//!
//! Nothing of this machine goes in: no clock, no environment, no configuration file. The rules are those of the recording
//! but for what is asked for here, so the same file and the same flags give the same snapshot on every machine.

mod summary;

use crate::cli::{Options, schema};
use crate::run::{build_info, rules};
use anyhow::Context as _;
use attribution::engine::Engine;
use attribution::model::{MonotonicNanos, Snapshot};
use attribution::recording::{Beginning, Ending, Entry, Reader};
use config::{Flag, Layers, Loaded, Problems};
use exporter::{ExporterConfig, Page, RenderSettings};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A recording that was opened.
pub struct Replay {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    beginning: Arc<Beginning>,
    /// Its settings, as the strongest layer but that of the command line.
    recorded: Vec<Flag>,
}

/// What a replay gave.
#[derive(Debug)]
pub struct Replayed {
    path: PathBuf,
    beginning: Arc<Beginning>,
    /// The last window's.
    pub snapshot: Arc<Snapshot>,
    /// Windows that were closed.
    pub windows: u64,
    /// Entries that the recording missed.
    pub missing: u64,
    /// From the first window's opening to the last one's close.
    pub lasted: Duration,
    /// How the recording ended.
    pub ending: Ending,
    /// Bytes after its end, which were not used.
    pub after_the_end: u64,
}

/// Which snapshots are written while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// None.
    Never,
    /// That of each window whose number is a multiple of this.
    Windows(u64),
}

impl Replay {
    /// Opens a recording and reads its beginning.
    ///
    /// # Errors
    /// When it is none, cannot be read, or holds a setting that is none.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let file = File::open(path).with_context(place)?;
        let mut reader = Reader::new(BufReader::new(file)).with_context(place)?;
        let beginning = reader.beginning().with_context(place)?;
        let recorded = recorded(&place(), &beginning.settings)?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            beginning,
            recorded,
        })
    }

    /// The settings of the recording with those of the command line over them.
    ///
    /// # Errors
    /// Every setting that this program does not take.
    pub fn settings(&self, options: &Options) -> Result<Loaded, Problems> {
        let recorded = self.recorded.iter().cloned();
        schema().load(Layers {
            flags: recorded.chain(options.flags()).collect(),
            ..Layers::default()
        })
    }

    /// Runs the attribution over all of it. Snapshots that are wanted on the way go to `to`, one line of JSON each; when
    /// nobody reads them any more it ends.
    ///
    /// # Errors
    /// When the file cannot be read on, or the settings cannot be used.
    pub fn run(mut self, loaded: &Loaded, every: Every, to: &mut dyn Write) -> anyhow::Result<Replayed> {
        let place = self.path.display().to_string();
        let facts = Arc::new(self.beginning.facts.clone());
        let mut engine = Engine::new(rules(loaded)?, Arc::clone(&facts));
        let mut snapshot = Arc::new(Snapshot {
            facts,
            ..Snapshot::default()
        });
        let (mut windows, mut missing) = (0, 0);
        let mut opened: Option<MonotonicNanos> = None;
        let mut closed = MonotonicNanos::ZERO;
        while let Some(entry) = self.reader.next_entry().with_context(|| place.clone())? {
            match &entry {
                Entry::Open { at, .. } => {
                    opened.get_or_insert(*at);
                }
                Entry::Close { at, .. } => closed = *at,
                Entry::Gap { missing: more } => missing += more,
                _ => {}
            }
            let Some(window) = engine.call(entry) else {
                continue;
            };
            windows += 1;
            snapshot = Arc::new(window.snapshot);
            if let Every::Windows(number) = every
                && windows % number.max(1) == 0
                && writeln!(to, "{}", json(&snapshot)?).is_err()
            {
                break;
            }
        }
        Ok(Replayed {
            path: self.path,
            beginning: self.beginning,
            snapshot,
            windows,
            missing,
            lasted: opened.map_or(Duration::ZERO, |opened| closed.since(opened)),
            ending: self.reader.ending().unwrap_or(Ending::Complete),
            after_the_end: self.reader.after_the_end(),
        })
    }
}

impl Replayed {
    /// What a person should know about the recording beside its figures; nothing when all is well.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let path = self.path.display();
        let torn = match self.ending {
            Ending::Complete => None,
            torn @ Ending::Torn { .. } => Some(format!("{path}: {torn}")),
        };
        let missing = (self.missing > 0).then(|| {
            format!(
                "{path}: {} entries are missing because the disk could not keep up; {IN_SPITE_OF_A_GAP}",
                self.missing
            )
        });
        let more = (self.after_the_end > 0).then(|| {
            format!(
                "{path}: {} bytes come after the end of the recording and were not used",
                self.after_the_end
            )
        });
        [torn, missing, more].into_iter().flatten().collect()
    }
}

/// What of a replay holds where entries are missing, and what does not: who ended in the gap is not told of.
const IN_SPITE_OF_A_GAP: &str = "the zones' totals are right, windows are missing, and so are the last shares of tasks that ended in them";

/// Settings as they were recorded.
fn recorded(place: &str, settings: &[(String, String)]) -> anyhow::Result<Vec<Flag>> {
    let flag = |(key, value): &(String, String)| {
        let key = shown(key);
        match serde_json::from_str(value) {
            Ok(value) => Ok(Flag {
                key,
                value,
                name: format!("{place} (as recorded)"),
            }),
            Err(error) => anyhow::bail!(
                "{place}: the recorded setting `{key}` is no JSON: {error}; the recording is damaged"
            ),
        }
    };
    settings.iter().map(flag).collect()
}

/// A name out of a recording as a terminal may have it: whoever made the recording may have put into it what moves cursors
/// and changes titles.
fn shown(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

/// A snapshot as `/api/v1/snapshot` shows it.
///
/// # Errors
/// Where serialising fails, which no snapshot is known to make it do.
pub fn json(snapshot: &Arc<Snapshot>) -> anyhow::Result<String> {
    let settings = RenderSettings::new(&ExporterConfig::default(), build_info());
    text(&Page::new(Arc::clone(snapshot), Arc::new(settings)))
}

/// A page's JSON as text.
///
/// # Errors
/// Where serialising fails, which no snapshot is known to make it do.
pub fn text(page: &Page) -> anyhow::Result<String> {
    match page.json() {
        Ok(json) => Ok(String::from_utf8_lossy(&json).into_owned()),
        Err(error) => anyhow::bail!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::recording::Encoder;

    fn file(settings: &[(&str, &str)], after: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let beginning = Beginning {
            settings: settings.collect(),
            ..Beginning::default()
        };
        let (mut encoder, mut bytes) = (Encoder::new(), Encoder::head());
        for entry in [
            Entry::Begin(Arc::new(beginning)),
            Entry::Gap { missing: 2 },
            Entry::End,
        ] {
            encoder.write(&entry).unwrap();
        }
        encoder.finish_frame(&mut bytes).unwrap();
        bytes.extend(after);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.keplrec");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn a_recorded_setting_that_is_no_json_is_told_and_not_taken_for_the_default() {
        let (_folder, path) = file(&[("attribution", r#"{"idle": {"share": "usage"}}"#)], b"");
        let replay = Replay::open(&path).unwrap();
        assert!(replay.settings(&Options::default()).is_ok());
        let (_folder, path) = file(&[("attri\u{1b}bution", "{\"idle\": ")], b"");
        let words = Replay::open(&path).err().unwrap().to_string();
        assert!(
            words.contains("a.keplrec: the recorded setting `attri\u{fffd}bution` is no JSON"),
            "{words}"
        );
        assert!(words.ends_with("the recording is damaged"), "{words}");
    }

    #[test]
    fn a_gap_and_bytes_after_the_end_are_remarked_on() {
        let remarks = |after| {
            let (_folder, path) = file(&[], after);
            let replay = Replay::open(&path).unwrap();
            let loaded = replay.settings(&Options::default()).unwrap();
            let replayed = replay.run(&loaded, Every::Never, &mut Vec::new()).unwrap();
            replayed.remarks()
        };
        let said = remarks(b"");
        assert!(
            said.len() == 1
                && said[0].contains("2 entries are missing")
                && said[0].contains("the zones' totals"),
            "{said:?}"
        );
        let said = remarks(b"more");
        assert!(said[1].contains("4 bytes come after the end"), "{said:?}");
    }
}
