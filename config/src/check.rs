// SPDX-License-Identifier: Apache-2.0
//! Values held against their owners: first each section as a whole, then, to say which key is to blame, each value by
//! itself among its owner's defaults.
//!
//! A value that another layer replaces is checked as well: it is wrong where it stands and comes back when the other
//! goes.

use crate::file::{self, File};
use crate::layers::{Merged, Setting};
use crate::loaded::Placed;
use crate::locate::Step;
use crate::problem::{Fault, Origin, Problem};
use crate::refusal::Refusal;
use crate::schema::Owner;
use crate::secrets;
use crate::shape::{self, Leaf, Shape};
use crate::text;
use serde_json::Value;

/// Holds one value against its owner, everything else being default.
fn alone(owner: &Owner, leaf: &Leaf, below: &[String], value: &Value) -> Result<(), Refusal> {
    let mut section = owner.default.clone().unwrap_or_default();
    let mut whole = value.clone();
    if !below.is_empty() {
        whole = Value::Null;
        shape::put(&mut whole, below, value.clone());
    }
    shape::put(&mut section, leaf.relative(), whole);
    (owner.check)(&section)
}

/// The reading of a text that its owner takes, or else the likeliest one with the owner's objection.
pub(crate) fn read_text(
    owner: &Owner,
    leaf: &Leaf,
    below: &[String],
    text: &str,
) -> (Value, Option<Refusal>) {
    let default = if below.is_empty() {
        &leaf.default
    } else {
        &Value::Null
    };
    let mut objections = Vec::new();
    for reading in text::readings(text, default) {
        match alone(owner, leaf, below, &reading) {
            Ok(()) => return (reading, None),
            Err(refusal) => objections.push((reading, refusal)),
        }
    }
    // An objection to the value says more about what is allowed than one to its type.
    let best = objections
        .iter()
        .position(|(_, refusal)| !refusal.is_of_type())
        .unwrap_or(0);
    match objections.into_iter().nth(best) {
        Some((reading, refusal)) => (reading, Some(refusal)),
        None => (Value::from(text), None),
    }
}

/// Everything that is needed to judge a section.
pub(crate) struct Judge<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) file: Option<&'a File>,
    pub(crate) settings: &'a [Setting<'a>],
    pub(crate) merged: &'a Merged,
    /// Whether a layer could not be read: then rules about what is set would blame the wrong.
    pub(crate) is_partial: bool,
}

impl Judge<'_> {
    /// The section's own keys as merged, without those of sections inside it.
    pub(crate) fn section(&self, index: usize, owner: &Owner) -> Value {
        let mut section = owner.default.clone().unwrap_or_default();
        for leaf in self.shape.leaves.iter().filter(|leaf| leaf.section == index) {
            if let Some(value) = shape::at(&self.merged.tree, &leaf.path) {
                shape::put(&mut section, leaf.relative(), value.clone());
            }
        }
        section
    }

    /// All problems of a section.
    pub(crate) fn judge(&self, index: usize, owner: &Owner) -> Vec<Problem> {
        let section = self.section(index, owner);
        let verdict = (owner.check)(&section);
        let mut problems: Vec<Problem> = self
            .settings
            .iter()
            .enumerate()
            .filter(|(_, setting)| setting.leaf.section == index)
            // What is in the whole is right if the whole is.
            .filter(|(position, setting)| verdict.is_err() || self.is_replaced(*position, setting))
            .filter_map(|(_, setting)| {
                let refusal = alone(owner, setting.leaf, &setting.below, &setting.value).err()?;
                Some(self.problem(setting, &refusal))
            })
            .collect();
        if !problems.is_empty() || self.is_partial {
            return problems;
        }
        match (verdict, &owner.rules) {
            (Err(refusal), _) => problems.push(self.problem_of_whole(owner, &section, &refusal)),
            (Ok(()), Some(rules)) => {
                let broken = rules(&section).into_iter();
                problems.extend(broken.map(|(key, reason)| {
                    let steps = crate::path::split(&key).into_iter().map(Step::Key).collect();
                    let refusal = Refusal {
                        at: steps,
                        message: reason,
                    };
                    self.problem_of_whole(owner, &section, &refusal)
                }));
            }
            (Ok(()), None) => {}
        }
        problems
    }

    /// Every merged value with its origin, and its line where it is a file's; sorted by key, as figment keeps them.
    pub(crate) fn values(&self) -> Vec<Placed> {
        self.merged
            .origins
            .iter()
            .filter_map(|(path, origin)| {
                let steps: Vec<Step> = path.iter().cloned().map(Step::Key).collect();
                Some(Placed {
                    value: shape::at(&self.merged.tree, path)?.clone(),
                    origin: self.placed(origin, &steps),
                    secret: self.is_secret(path),
                    path: path.clone(),
                })
            })
            .collect()
    }

    /// Whether a leaf at or above `path`, or a name on the way, says that the value is secret.
    fn is_secret(&self, path: &[String]) -> bool {
        let of_leaf = |leaf: &Leaf| {
            let below = path.strip_prefix(leaf.path.as_slice())?;
            Some(leaf.secret || below.iter().any(|key| secrets::is_secret_name(key)))
        };
        self.shape.leaves.iter().find_map(of_leaf).unwrap_or(false)
    }

    fn is_replaced(&self, position: usize, setting: &Setting<'_>) -> bool {
        self.settings
            .iter()
            .skip(position.saturating_add(1))
            .any(|later| setting.is_replaced_by(later))
    }

    /// One value's problem.
    fn problem(&self, setting: &Setting<'_>, refusal: &Refusal) -> Problem {
        let mut steps: Vec<Step> = setting.path().into_iter().map(Step::Key).collect();
        let section_steps = steps.get(..setting.leaf.depth).unwrap_or_default().to_vec();
        let blamed: Vec<Step> = section_steps
            .into_iter()
            .chain(refusal.at.iter().cloned())
            .collect();
        let mut secret = setting.leaf.secret;
        let mut found = match &setting.text {
            Some(text) => Value::from(text.as_str()),
            None => setting.value.clone(),
        };
        // The type may know better where inside the value it objects. A missing key leads nowhere inside.
        if let Some(inside) = blamed
            .strip_prefix(steps.as_slice())
            .filter(|inside| !inside.is_empty())
        {
            secret = secret || inside.iter().any(is_secret_step);
            match descend(&setting.value, inside) {
                Some(value) => found = value.clone(),
                None if setting.text.is_none() => found = Value::Null,
                None => {}
            }
            steps = blamed;
        }
        Problem {
            origin: self.placed(&setting.origin, &steps),
            key: file::key_text(&steps),
            fault: refusal.fault(
                &found,
                secret || setting.below.iter().any(|key| secrets::is_secret_name(key)),
            ),
        }
    }

    /// A problem of keys together: told at the key that the owner blames, or at the section.
    fn problem_of_whole(&self, owner: &Owner, section: &Value, refusal: &Refusal) -> Problem {
        let steps: Vec<Step> = owner
            .path
            .iter()
            .cloned()
            .map(Step::Key)
            .chain(refusal.at.iter().cloned())
            .collect();
        let keys: Vec<String> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.clone()),
                Step::Index(_) => None,
            })
            .collect();
        let secret = self.is_secret(&keys);
        let fault = match descend(section, &refusal.at) {
            Some(value) => refusal.fault(value, secret),
            None => refusal.fault(&Value::Null, secret),
        };
        Problem {
            origin: self.placed(&origin_of(&self.merged.origins, &keys), &steps),
            key: file::key_text(&steps),
            fault,
        }
    }

    /// An origin with the line where a file can tell it.
    fn placed(&self, origin: &Origin, steps: &[Step]) -> Origin {
        match (origin, self.file) {
            (Origin::File { .. }, Some(file)) => file.origin(steps),
            _ => origin.clone(),
        }
    }
}

fn is_secret_step(step: &Step) -> bool {
    matches!(step, Step::Key(key) if secrets::is_secret_name(key))
}

fn descend<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// Who set a key: itself, something inside it, or what it is inside of. Of several, the first that is not a default.
pub(crate) fn origin_of(origins: &[(Vec<String>, Origin)], path: &[String]) -> Origin {
    origins
        .iter()
        .filter(|(known, _)| known.starts_with(path) || path.starts_with(known))
        .map(|(_, origin)| origin)
        .find(|origin| **origin != Origin::Default)
        .cloned()
        .unwrap_or(Origin::Default)
}

/// The defaults of a section held against its own check: a fault of the program, not of people.
pub(crate) fn fault_of_default(owner: &Owner) -> Option<Problem> {
    let message = match &owner.default {
        Err(message) => message.clone(),
        Ok(default) => (owner.check)(default).err()?.message,
    };
    Some(Problem {
        origin: Origin::Default,
        key: crate::path::join(&owner.path),
        fault: Fault::Unusable(format!(
            "the section refuses its own default, a fault of this program: {message}"
        )),
    })
}
