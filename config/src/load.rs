// SPDX-License-Identifier: Apache-2.0
//! Loading: every layer turned into settings of known keys, then merged, then judged. Collects problems to the end.

use crate::check::{self, Judge};
use crate::environment::{Meaning, Variables};
use crate::file::{self, File};
use crate::layers::{Merged, Setting};
use crate::loaded::Loaded;
use crate::locate::Step;
use crate::path;
use crate::problem::{Fault, Origin, Problem, Problems};
use crate::schema::{Owner, Schema};
use crate::secrets;
use crate::shape::{Leaf, Met, Node, Shape};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What lies over the defaults, from the bottom to the top.
#[derive(Clone, Default)]
pub struct Layers {
    /// The configuration file, if any.
    pub file: Option<ConfigFile>,
    /// The environment, whole: variables without our prefix are not looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags of the command line that set a key. A later one wins over an earlier one.
    pub flags: Vec<Flag>,
}

/// A file to read: TOML if its name ends in `.toml`, YAML for `.yaml` and `.yml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// Somebody named it: it has to be there.
    Named(PathBuf),
    /// The usual place: it may be missing.
    Usual(PathBuf),
}

/// One flag that sets a key.
#[derive(Clone)]
pub struct Flag {
    /// The key, dotted: `exporter.listen`.
    pub key: String,
    /// The value. A text is read as a variable's text is: `"a,b"` may become a list and `"5"` a number.
    pub value: Value,
    /// The flag as people write it: `--exporter-listen`.
    pub name: String,
}

impl Schema {
    /// Lays the layers over the defaults and checks everything, or says all that is wrong.
    ///
    /// # Errors
    /// Every problem of every layer; the text of [`Problems`] is made to be printed.
    pub fn load(&self, layers: Layers) -> Result<Loaded, Problems> {
        let shape = self.shape()?;
        let mut loading = Loading::new(self, &shape);
        loading.set_from_foreign(&layers.environment);
        let file = loading.read_file(layers.file.as_ref());
        if let Some(file) = &file {
            loading.set_from_file(file);
        }
        loading.set_from_environment(layers.environment);
        layers.flags.iter().for_each(|flag| loading.set_from_flag(flag));
        loading.finish(file.as_ref())
    }

    /// For `fuzz`: as [`Self::load`], of a file that was read already and of nothing else.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn load_file(&self, file: Result<File, Box<Problem>>) -> Result<Loaded, Problems> {
        let shape = self.shape()?;
        let mut loading = Loading::new(self, &shape);
        let file = file.map_err(|problem| {
            loading.problems.push(*problem);
            loading.is_partial = true;
        });
        if let Ok(file) = &file {
            loading.set_from_file(file);
        }
        loading.finish(file.as_ref().ok())
    }

    /// The tree of all keys, or what is wrong with the sections themselves.
    fn shape(&self) -> Result<Shape, Problems> {
        let mut shape = Shape::new();
        let mut problems = Vec::new();
        for (index, owner) in self.owners.iter().enumerate() {
            problems.extend(check::fault_of_default(owner));
            if let Ok(default) = &owner.default
                && let Err(message) = shape.add(index, &owner.path, default, &owner.marks)
            {
                problems.push(Problem {
                    origin: Origin::Default,
                    key: path::join(&owner.path),
                    fault: Fault::Unusable(format!("{message}, a fault of this program")),
                });
            }
        }
        Problems::of(problems).map_or(Ok(shape), Err)
    }
}

/// A load under way.
struct Loading<'a> {
    schema: &'a Schema,
    shape: &'a Shape,
    variables: Variables,
    settings: Vec<Setting<'a>>,
    problems: Vec<Problem>,
    ignored: Vec<String>,
    is_partial: bool,
}

impl<'a> Loading<'a> {
    fn new(schema: &'a Schema, shape: &'a Shape) -> Self {
        Self {
            schema,
            shape,
            variables: Variables::of(shape, &schema.reserved),
            settings: Vec::new(),
            problems: Vec::new(),
            ignored: Vec::new(),
            is_partial: false,
        }
    }

    fn read_file(&mut self, named: Option<&ConfigFile>) -> Option<File> {
        let (path, must_exist) = match named? {
            ConfigFile::Named(path) => (path, true),
            ConfigFile::Usual(path) => (path, false),
        };
        let problem = match File::read(path) {
            Ok(None) if must_exist => file::unusable(
                path,
                None,
                "does not exist; create it or name another file".to_owned(),
            ),
            Ok(file) => return file,
            Err(problem) => problem,
        };
        self.problems.push(*problem);
        self.is_partial = true;
        None
    }

    fn set_from_file(&mut self, file: &File) {
        self.problems.extend(file.refused.iter().cloned());
        self.is_partial = self.is_partial || !file.refused.is_empty();
        self.set_tree(
            &file.tree,
            &|path| file.origin(&steps(path)),
            &Origin::File {
                path: file.path().to_owned(),
                line: None,
                column: None,
            },
        );
    }

    /// Takes a tree of values with types. `place` tells where a path was written, for problems.
    fn set_tree(&mut self, tree: &Value, place: &dyn Fn(&[String]) -> Origin, origin: &Origin) {
        for met in self.shape.walk(tree) {
            match met {
                Met::Leaf(leaf, value) => self.settings.push(Setting {
                    leaf,
                    below: Vec::new(),
                    value: value.clone(),
                    text: None,
                    origin: origin.clone(),
                }),
                Met::Unknown(path) => self.unknown_key(place(&path), &path),
                Met::NoTable(path, value) => {
                    let found = secrets::found(value, path.iter().any(|key| secrets::is_secret_name(key)));
                    let allowed = match self.shape.keys_of(&path).as_slice() {
                        [] => "a table".to_owned(),
                        keys => format!("a table with the keys {}", keys.join(", ")),
                    };
                    self.refused(place(&path), &path, found, allowed);
                }
            }
        }
    }

    /// Takes the variables of others that were said to mean a key of ours: the weakest layer over the defaults.
    fn set_from_foreign(&mut self, environment: &[(OsString, OsString)]) {
        let schema = self.schema;
        for (variable, path) in &schema.foreign {
            let mut all = environment.iter().rev();
            let given = all.find_map(|(name, value)| (name == variable.as_str()).then_some(value.to_str()?));
            if let Some(text) = given.filter(|text| !text.is_empty()) {
                let variable = variable.clone();
                self.set_text(path, text, Origin::Environment { variable });
            }
        }
    }

    fn set_from_environment(&mut self, mut environment: Vec<(OsString, OsString)>) {
        // The order of an environment means nothing; messages should not change with it.
        environment.sort();
        for (name, value) in environment {
            self.set_from_variable(&name, &value);
        }
    }

    fn set_from_variable(&mut self, name: &OsStr, value: &OsStr) {
        let variable = name.to_string_lossy().into_owned();
        let origin = Origin::Environment {
            variable: variable.clone(),
        };
        match self.variables.meaning(name, value) {
            Meaning::Foreign => {}
            Meaning::Ignored => self.ignored.push(variable),
            Meaning::Unknown(suggestion) => self.problems.push(Problem {
                origin,
                key: String::new(),
                fault: Fault::Unknown { suggestion },
            }),
            Meaning::Sets(path) => match value.to_str() {
                Some(text) => self.set_text(&path, text, origin),
                None => self.refused(
                    origin,
                    &path,
                    "bytes that are no UTF-8".to_owned(),
                    "UTF-8 text".to_owned(),
                ),
            },
        }
    }

    fn set_from_flag(&mut self, flag: &Flag) {
        let path = path::split(&flag.key);
        let origin = Origin::Flag {
            name: flag.name.clone(),
        };
        match &flag.value {
            Value::String(text) => self.set_text(&path, text, origin),
            value => {
                let mut tree = Value::Object(serde_json::Map::new());
                crate::shape::put(&mut tree, &path, value.clone());
                self.set_tree(&tree, &|_| origin.clone(), &origin);
            }
        }
    }

    /// Takes a text without type for the key at `path`, or for one below a leaf.
    fn set_text(&mut self, path: &[String], text: &str, origin: Origin) {
        let Some((leaf, owner)) = self.leaf_at_or_above(path) else {
            return self.no_leaf(path, text, origin);
        };
        let below = path.get(leaf.path.len()..).unwrap_or_default().to_vec();
        let (value, refusal) = check::read_text(owner, leaf, &below, text);
        if !below.is_empty() && refusal.is_some_and(|refusal| refusal.is_of_table()) {
            return self.below_no_table(path, leaf, origin);
        }
        self.settings.push(Setting {
            leaf,
            below,
            value,
            text: Some(text.to_owned()),
            origin,
        });
    }

    fn leaf_at_or_above(&self, path: &[String]) -> Option<(&'a Leaf, &'a Owner)> {
        (1..=path.len()).find_map(|length| match self.shape.get(path.get(..length)?) {
            Some(Node::Leaf(leaf)) => Some((leaf, self.schema.owners.get(leaf.section)?)),
            _ => None,
        })
    }

    /// A text for something that is no leaf: a table, or nothing at all.
    fn no_leaf(&mut self, path: &[String], text: &str, origin: Origin) {
        if let Some(Node::Table(_)) = self.shape.get(path) {
            let example = match (&origin, self.variables.example_in(path)) {
                (Origin::Environment { .. }, Some(variable)) => {
                    format!("one of its keys, such as {variable}")
                }
                _ => format!("one of its keys: {}", self.shape.keys_of(path).join(", ")),
            };
            return self.refused(origin, path, path::quoted(text), example);
        }
        self.unknown_key(origin, path);
    }

    /// A name that goes on below a leaf which takes no table.
    fn below_no_table(&mut self, path: &[String], leaf: &Leaf, origin: Origin) {
        let (key, suggestion) = match &origin {
            Origin::Environment { .. } => (String::new(), path::variable(&leaf.path)),
            _ => (path::join(path), path::join(&leaf.path)),
        };
        self.problems.push(Problem {
            origin,
            key,
            fault: Fault::Unknown {
                suggestion: Some(suggestion),
            },
        });
    }

    fn unknown_key(&mut self, origin: Origin, path: &[String]) {
        self.problems.push(Problem {
            origin,
            key: path::join(path),
            fault: Fault::Unknown {
                suggestion: self.shape.nearest_key(path),
            },
        });
    }

    fn refused(&mut self, origin: Origin, path: &[String], found: String, allowed: String) {
        self.problems.push(Problem {
            origin,
            key: path::join(path),
            fault: Fault::Refused {
                found,
                allowed: Some(allowed),
                reason: None,
            },
        });
    }

    /// Merges and judges.
    fn finish(mut self, file: Option<&File>) -> Result<Loaded, Problems> {
        let merged = Merged::of(self.shape, &self.settings);
        let mut loaded = Loaded {
            file: file.map(|file| file.path().to_owned()),
            ignored: self.ignored,
            ..Loaded::default()
        };
        match &merged {
            // Plain values always merge; if figment ever thinks otherwise, it says so.
            Err(error) => self.problems.push(Problem {
                origin: Origin::Default,
                key: String::new(),
                fault: Fault::Unusable(error.to_string()),
            }),
            Ok(merged) => {
                let judge = Judge {
                    shape: self.shape,
                    file,
                    settings: &self.settings,
                    merged,
                    is_partial: self.is_partial,
                };
                for (index, owner) in self.schema.owners.iter().enumerate() {
                    self.problems.extend(judge.judge(index, owner));
                    loaded
                        .sections
                        .insert(path::join(&owner.path), judge.section(index, owner));
                }
                if self.problems.is_empty() {
                    loaded.values = judge.values();
                }
            }
        }
        Problems::of(self.problems).map_or(Ok(loaded), Err)
    }
}

fn steps(path: &[String]) -> Vec<Step> {
    path.iter().cloned().map(Step::Key).collect()
}
