// SPDX-License-Identifier: Apache-2.0
//! What came out: sections for their owners, and every value with its origin for people.

use crate::Error;
use crate::check;
use crate::path;
use crate::problem::{Fault, Origin, Problem, Problems};
use crate::secrets;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// A checked configuration.
#[derive(Clone, Default)]
pub struct Loaded {
    /// Sections by path.
    pub(crate) sections: BTreeMap<String, Value>,
    /// Every value.
    pub(crate) values: Vec<Placed>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Variables that were left alone.
    pub(crate) ignored: Vec<String>,
}

/// A value where it was set.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) path: Vec<String>,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    pub(crate) secret: bool,
}

/// A key as `kepler config show` tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The key, dotted, as TOML writes it.
    pub key: String,
    /// The value; secrets are masked.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
}

impl Loaded {
    /// The section at `path` for its owner.
    ///
    /// # Errors
    /// If nobody registered `path`, or as another type.
    pub fn section<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let section = self.value(path).ok_or_else(|| Error::NoSuchSection {
            path: path.to_owned(),
        })?;
        T::deserialize(section).map_err(|source| Error::OtherType {
            path: path.to_owned(),
            source,
        })
    }

    /// The section at `path` as a plain table, secrets included.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&Value> {
        self.sections.get(&path::join(&path::split(path)))
    }

    /// The keys, dotted, whose value is another one in `other`, or that only one of them has; secrets are compared and not told.
    #[must_use]
    pub fn keys_unlike(&self, other: &Self) -> Vec<String> {
        let by_path = |values: &[Placed]| -> BTreeMap<Vec<String>, Value> {
            let values = values.iter();
            values
                .map(|placed| (placed.path.clone(), placed.value.clone()))
                .collect()
        };
        let (ours, theirs) = (by_path(&self.values), by_path(&other.values));
        let paths: BTreeSet<&Vec<String>> = ours.keys().chain(theirs.keys()).collect();
        let unlike = paths
            .into_iter()
            .filter(|path| ours.get(*path) != theirs.get(*path));
        unlike.map(|path| path::join(path)).collect()
    }

    /// The file that was read, if there was one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Names of variables with our prefix that were left alone: injected for a service of our name, or reserved.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Every value with its origin, sorted by key; tables down to their entries, lists as one. Secrets are masked.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        self.values
            .iter()
            .map(|placed| Effective {
                key: path::join(&placed.path),
                value: secrets::masked(&placed.value, placed.secret),
                origin: placed.origin.clone(),
            })
            .collect()
    }

    /// Problems between sections, found by whoever knows more than one of them: whole keys and what is wrong, told
    /// with the origin of each like every other problem.
    ///
    /// # Errors
    /// If `broken` is not empty.
    pub fn refuse(&self, broken: impl IntoIterator<Item = (String, String)>) -> Result<(), Problems> {
        let origins: Vec<(Vec<String>, Origin)> = self
            .values
            .iter()
            .map(|placed| (placed.path.clone(), placed.origin.clone()))
            .collect();
        let problem = |(key, reason): (String, String)| {
            let path = path::split(&key);
            let found = self.values.iter().find(|placed| placed.path == path);
            Problem {
                origin: check::origin_of(&origins, &path),
                fault: Fault::Refused {
                    found: found.map_or_else(
                        || "a table".to_owned(),
                        |placed| secrets::found(&placed.value, placed.secret),
                    ),
                    allowed: None,
                    reason: Some(reason),
                },
                key,
            }
        };
        Problems::of(broken.into_iter().map(problem).collect()).map_or(Ok(()), Err)
    }
}

/// Without secrets, so that it may be logged.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("file", &self.file)
            .field("ignored", &self.ignored)
            .field("effective", &self.effective())
            .finish_non_exhaustive()
    }
}
