// SPDX-License-Identifier: Apache-2.0
//! Files that the configuration names: passwords, authorities, models. Their content is a part of the configuration, so a reload
//! asks whether it is another one. Remembers no content.

use config::Loaded;
use rustix::fs::OFlags;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Most of a file that is looked at. Models of the largest kind have 4 MiB.
const MOST_BYTES: u64 = 16 << 20;

/// A word for the content of each file, by its key; `None` where it cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Option<u64>>);

impl Files {
    /// The files that `loaded` names now.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let effective = loaded.effective();
        let named = effective.iter().filter(|one| names_a_file(&one.key));
        let content = named.filter_map(|one| match &one.value {
            Value::String(path) if !path.is_empty() => Some((one.key.clone(), word(Path::new(path)))),
            _ => None,
        });
        Self(content.collect())
    }

    /// Keys whose file, of the same name, holds something else than in `before`.
    pub fn unlike<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a String> {
        let other =
            |(key, word): &(&String, &Option<u64>)| before.0.get(*key).is_some_and(|then| then != *word);
        self.0.iter().filter(other).map(|(key, _)| key)
    }
}

fn names_a_file(key: &str) -> bool {
    // Those of the exporter are followed by itself.
    let is_followed = key.starts_with("exporter.");
    (key.ends_with("_file") && !is_followed) || key.starts_with("estimator.models.")
}

/// A regular file. Opening a named pipe waits until somebody writes into it, unless it is told not to wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::from_ne_bytes(OFlags::NONBLOCK.bits().to_ne_bytes());
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(ErrorKind::InvalidInput.into()),
    }
}

fn word(path: &Path) -> Option<u64> {
    let mut content = Vec::new();
    let file = open(path).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut content).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&content);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use config::{Flag, Layers};
    use std::fs;

    #[test]
    fn a_file_that_holds_something_else_is_a_changed_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        fs::write(&file, "one").expect("written");
        let flag = Flag {
            key: "sources.redfish.ca_file".to_owned(),
            value: Value::String(file.display().to_string()),
            name: "--set".to_owned(),
        };
        let loaded = cli::schema().load(Layers {
            flags: vec![flag],
            ..Layers::default()
        });
        let loaded = loaded.expect("valid");
        let now = || Files::of(&loaded);
        let (first, same) = (now(), now());
        assert_eq!(same.unlike(&first).count(), 0);
        fs::write(&file, "two").expect("written");
        let second = now();
        assert_eq!(
            second.unlike(&first).collect::<Vec<_>>(),
            ["sources.redfish.ca_file"]
        );
        fs::remove_file(&file).expect("removed");
        assert_eq!(now().unlike(&second).count(), 1);
        // Another name is a changed key by itself.
        assert_eq!(second.unlike(&Files::default()).count(), 0);
    }

    #[test]
    fn a_named_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("password");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
        assert_eq!(word(&pipe), None);
        assert_eq!(word(folder.path()), None);
    }
}
