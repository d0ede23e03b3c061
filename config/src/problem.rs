// SPDX-License-Identifier: Apache-2.0
//! What people can set wrong, and how it is told: where, which key, what was found, what is allowed. All at once.

use crate::path;
use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File {
        /// Its path as it was named.
        path: PathBuf,
        /// The line of the key, from 1, where it could be found.
        line: Option<usize>,
        /// The column, from 1, for syntax errors only.
        column: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag of the command line.
    Flag {
        /// The flag as it was written (`--exporter-listen`).
        name: String,
    },
}

impl Origin {
    /// The place as a compiler would write it, to stand before a message: `/etc/kepler/kepler.toml:7`.
    fn place(&self) -> String {
        match self {
            Self::Default => "built-in default".to_owned(),
            Self::File { path, line, column } => {
                let mut place = path::plain(&path.to_string_lossy());
                for number in [line, column].into_iter().flatten() {
                    place.push(':');
                    place.push_str(&number.to_string());
                }
                place
            }
            Self::Environment { variable } => path::plain(&path::cut(variable)),
            Self::Flag { name } => path::plain(name),
        }
    }
}

/// `default`, `file PATH:LINE`, `environment VARIABLE` or `flag --name`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { .. } => write!(f, "file {}", self.place()),
            Self::Environment { .. } => write!(f, "environment {}", self.place()),
            Self::Flag { .. } => write!(f, "flag {}", self.place()),
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody owns this key, or this variable with our prefix.
    Unknown {
        /// The nearest name that is known, written as this layer writes names.
        suggestion: Option<String>,
    },
    /// The owner refuses the value.
    Refused {
        /// What was found, in words; secrets are masked.
        found: String,
        /// What is allowed, where the owner says so.
        allowed: Option<String>,
        /// The owner's reason, where it says no more than that.
        reason: Option<String>,
    },
    /// Something about the file or variable as a whole, with what to do.
    Unusable(String),
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set.
    pub origin: Origin,
    /// The key, dotted; empty where the problem is not one key's.
    pub key: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin.place())?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        match &self.fault {
            Fault::Unknown { suggestion } => {
                let variable = self.key.is_empty() && matches!(self.origin, Origin::Environment { .. });
                write!(f, ": unknown {}", if variable { "variable" } else { "key" })?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
                    None => Ok(()),
                }
            }
            Fault::Refused {
                found,
                allowed,
                reason,
            } => {
                write!(f, ": found {found}")?;
                if let Some(reason) = reason {
                    write!(f, "; {}", path::plain(reason))?;
                }
                match allowed {
                    Some(allowed) => write!(f, "; allowed: {}", path::plain(allowed)),
                    None => Ok(()),
                }
            }
            Fault::Unusable(message) => write!(f, ": {}", path::plain(message)),
        }
    }
}

/// Every problem of a configuration, in the order of the layers and, in the file, of the lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Problems that the text lists by name; beyond that it only counts, because nobody reads on.
    const LISTED: usize = 100;

    /// `None` where there is no problem.
    pub(crate) fn of(mut problems: Vec<Problem>) -> Option<Self> {
        // Default < File < Environment < Flag, and within a file by line. The sort is stable: within one place the
        // order of discovery stays.
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "config: {} {noun}, nothing was started", self.0.len())?;
        for problem in self.0.iter().take(Self::LISTED) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().checked_sub(Self::LISTED) {
            Some(more) if more > 0 => write!(f, "\n  and {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(key: usize) -> Problem {
        Problem {
            origin: Origin::Default,
            key: format!("k{key}"),
            fault: Fault::Unknown { suggestion: None },
        }
    }

    #[test]
    fn a_flood_of_problems_is_counted_and_not_listed() {
        let problems = Problems::of((0..101).map(unknown).collect()).unwrap();
        let text = problems.to_string();
        assert!(text.starts_with("config: 101 problems, nothing was started\n"));
        assert_eq!(text.lines().count(), 102);
        assert!(text.ends_with("\n  and 1 more"), "{text}");
        let text = Problems::of((0..100).map(unknown).collect()).unwrap().to_string();
        assert!(!text.contains("more"));
    }

    #[test]
    fn no_problem_is_no_problems() {
        assert_eq!(Problems::of(Vec::new()), None);
    }

    #[test]
    fn a_path_that_holds_a_newline_stays_on_its_line() {
        let origin = Origin::File {
            path: PathBuf::from("/etc/a\nb.toml"),
            line: Some(3),
            column: None,
        };
        assert_eq!(origin.to_string(), "file /etc/a\\nb.toml:3");
    }
}
