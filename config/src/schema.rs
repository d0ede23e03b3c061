// SPDX-License-Identifier: Apache-2.0
//! Which sections there are: each with its path, its defaults and its owner's checks. Holds no values of anybody.

use crate::path;
use crate::refusal::Refusal;
use crate::shape::Marks;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::marker::PhantomData;

/// An owner's check of its whole section.
type Check = Box<dyn Fn(&Value) -> Result<(), Refusal> + Send + Sync>;

/// An owner's rules between its keys: `(key relative to the section, what is wrong)`.
type Rules = Box<dyn Fn(&Value) -> Vec<(String, String)> + Send + Sync>;

/// One registered section.
pub(crate) struct Owner {
    pub(crate) path: Vec<String>,
    pub(crate) default: Result<Value, String>,
    pub(crate) check: Check,
    pub(crate) rules: Option<Rules>,
    pub(crate) marks: Marks,
}

/// All sections of a program.
#[derive(Default)]
pub struct Schema {
    pub(crate) owners: Vec<Owner>,
    pub(crate) reserved: Vec<String>,
    /// Variables without our prefix, and the key that each sets.
    pub(crate) foreign: Vec<(String, Vec<String>)>,
}

impl Schema {
    /// No section yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the section at `path` (`"sources.rapl"`, `""` for keys at the top). `T`'s default, serialised, is the
    /// list of its keys, so every key has to be in it: no `skip_serializing_if`.
    ///
    /// Sections may nest: none sees the keys of another.
    pub fn section<T>(&mut self, path: &str) -> Section<'_, T>
    where
        T: Default + Serialize + DeserializeOwned + 'static,
    {
        let default = serde_json::to_value(T::default()).map_err(|error| error.to_string());
        self.add(
            path,
            default,
            Box::new(|section| Refusal::of_type::<T>(section).map(|_| ())),
        )
    }

    /// Registers a section whose type is known to its owner only: its default as a table, and a check that says in the
    /// words of a serde error why a table is refused.
    pub fn section_raw(
        &mut self,
        path: &str,
        default: Value,
        check: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Section<'_, Value> {
        // A section without keys.
        let default = if default.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            default
        };
        let check = move |section: &Value| {
            check(section).map_err(|message| Refusal {
                at: Vec::new(),
                message,
            })
        };
        self.add(path, Ok(default), Box::new(check))
    }

    /// Leaves a variable with our prefix to somebody else (`KEPLER_CONFIG`, which names the file itself).
    pub fn reserve_variable(&mut self, variable: &str) {
        self.reserved.push(variable.to_owned());
    }

    fn add<T>(&mut self, path: &str, default: Result<Value, String>, check: Check) -> Section<'_, T> {
        let index = self.owners.len();
        self.owners.push(Owner {
            path: path::split(path),
            default,
            check,
            rules: None,
            marks: Marks::default(),
        });
        Section {
            schema: self,
            index,
            of: PhantomData,
        }
    }
}

/// A section that was just registered, to say more about it.
pub struct Section<'a, T> {
    schema: &'a mut Schema,
    index: usize,
    of: PhantomData<fn(&T)>,
}

impl<T> Section<'_, T> {
    /// Says that `key` (relative to the section) is one value although its default is a table with entries: a map, or
    /// one of several tables. A value that is given then replaces the default as a whole.
    pub fn open(self, key: &str) -> Self {
        let key = path::split(key);
        self.change(|owner| owner.marks.open.push(key))
    }

    /// Says that `key` (relative to the section) must not be shown, although its name does not say so.
    pub fn secret(self, key: &str) -> Self {
        let key = path::split(key);
        self.change(|owner| owner.marks.secret.push(key))
    }

    /// Says that `variable`, which is somebody else's and has not our prefix (`NODE_NAME`), sets `key` (relative to the
    /// section) where neither the file nor the environment nor a flag does. An empty one sets nothing.
    pub fn variable(self, key: &str, variable: &str) -> Self {
        let mut path = self.schema.owners.get(self.index).map_or_else(Vec::new, |owner| owner.path.clone());
        path.extend(path::split(key));
        self.schema.foreign.push((variable.to_owned(), path));
        self
    }

    fn change(self, change: impl FnOnce(&mut Owner)) -> Self {
        if let Some(owner) = self.schema.owners.get_mut(self.index) {
            change(owner);
        }
        self
    }
}

impl<T: DeserializeOwned + 'static> Section<'_, T> {
    /// Rules between the keys of this section, asked once each key is right by itself. They answer with the key to
    /// blame, relative to the section, and what is wrong.
    pub fn rules(self, rules: impl Fn(&T) -> Vec<(String, String)> + Send + Sync + 'static) -> Self {
        self.change(|owner| {
            owner.rules = Some(Box::new(move |section| {
                Refusal::of_type::<T>(section).map_or_else(|_| Vec::new(), |section| rules(&section))
            }));
        })
    }
}
