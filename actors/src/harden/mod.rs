// SPDX-License-Identifier: Apache-2.0
//! Giving up what the daemon does not need, so that whoever takes it over gets little.
//!
//! Two steps. Before anything is opened the **process** gives up the right to gain rights (`no_new_privs`), every capability
//! that no part of it uses, and the system calls that only an intruder would make (seccomp). When HTTP starts, the **thread
//! that faces the network** gives up all other capabilities but one, and may read no files but those that its configuration
//! names (Landlock).
//!
//! Landlock is not for the other threads: a thread inside of it may not look at processes outside of it (`/proc/PID/exe`), and
//! looking at processes is what they do. Refuses to guess: what the kernel does not have is said, and is an error only where
//! `security.hardening = "required"`.

mod calls;
mod capabilities;
mod files;
mod interval;

use config::Loaded;
use exporter::{Address, Entrance};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use interval::ExportInterval;

/// `[security]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Whether the daemon gives up what it does not need.
    pub hardening: Hardening,
    /// How far apart snapshots are that readers are shown; nothing: every one is shown.
    pub min_export_interval: ExportInterval,
}

/// How earnestly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hardening {
    /// As far as the kernel lets it.
    #[default]
    Auto,
    /// Not at all, for a debugger or a plugin that needs more.
    Off,
    /// All of it, or the daemon does not start.
    Required,
}

/// One thing that was to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// What.
    pub name: &'static str,
    /// What came of it: kept rights and the like, or why it could not be had.
    pub outcome: Result<String, String>,
}

/// What could not be had, where it is required.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "security.hardening = \"required\", and {name} cannot be had: {reason}; allow it, or set security.hardening = \"auto\""
)]
pub struct Unhardened {
    name: &'static str,
    reason: String,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.outcome.as_ref().unwrap_or_else(|reason| reason);
        write!(f, "{}: {words}", self.name)
    }
}

/// What the thread that faces the network may still do.
#[derive(Clone, Debug)]
pub struct Network {
    security: Security,
    /// Folders that it may read.
    readable: Vec<PathBuf>,
    /// Folders of sockets that it makes and removes.
    sockets: Vec<PathBuf>,
}

impl Network {
    /// By the configuration, and what people come in by.
    ///
    /// # Errors
    /// None that a validated configuration has.
    pub fn of(loaded: &Loaded, entrance: &Entrance) -> anyhow::Result<Self> {
        // What the daemon says of itself: its own files, when the machine was started, which CPUs there are, and no other process's. Where certificates lie as a rule, for a
        // web configuration that names another one some day.
        let usual = [
            "/proc/self",
            "/proc/stat",
            "/proc/cpuinfo",
            "/etc",
            "/run/secrets",
        ]
        .map(PathBuf::from);
        // Both where a file is named and where it is: another file may get the name.
        let named = entrance.files();
        let real: Vec<PathBuf> = named.iter().filter_map(|file| file.canonicalize().ok()).collect();
        let folders = named.iter().chain(&real).map(|file| folder(file));
        // And where a link lies by which it is reached: it is turned to another folder when a certificate is renewed.
        let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|of| of.is_symlink());
        let links = named
            .iter()
            .flat_map(|file| file.ancestors().filter(is_link).map(folder).collect::<Vec<_>>());
        let sockets = entrance
            .addresses()
            .into_iter()
            .filter_map(|address| match address {
                Address::Unix(path) => Some(folder(&path)),
                Address::Tcp(_) => None,
            });
        let readable: BTreeSet<PathBuf> = usual.into_iter().chain(folders).chain(links).collect();
        Ok(Self {
            security: loaded.section("security")?,
            readable: readable.into_iter().collect(),
            sockets: sockets.collect(),
        })
    }

    /// Everything, for programs that are not the daemon.
    #[must_use]
    pub const fn unrestricted() -> Self {
        Self {
            security: Security {
                hardening: Hardening::Off,
                min_export_interval: ExportInterval(Duration::ZERO),
            },
            readable: Vec::new(),
            sockets: Vec::new(),
        }
    }

    /// Restricts the calling thread and those that it starts.
    ///
    /// # Errors
    /// What is required and cannot be had.
    pub fn restrict(&self) -> Result<(), Unhardened> {
        let measures = thread(self.security, &self.readable, &self.sockets)?;
        announce("the thread that answers HTTP", &measures);
        Ok(())
    }
}

/// Where a file is.
fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Gives up what the daemon does not need, and says what came of it.
///
/// # Errors
/// What is required and cannot be had.
pub fn daemon(loaded: &Loaded) -> anyhow::Result<()> {
    let measures = process(loaded.section("security")?)?;
    announce("the process", &measures);
    Ok(())
}

/// The process, for all of its life. To be called while it has one thread: what comes later inherits it.
///
/// # Errors
/// What is required and cannot be had.
fn process(security: Security) -> Result<Vec<Measure>, Unhardened> {
    let measures = || {
        let mut measures = vec![
            // Seccomp asks for it where CAP_SYS_ADMIN is missing, so it comes first.
            measure("no_new_privs", set_no_new_privs(true).map(|()| "set".to_owned())),
            measure("capabilities", capabilities::keep(capabilities::OF_THE_DAEMON)),
            measure("seccomp", calls::refuse()),
        ];
        if security.hardening == Hardening::Required {
            // What the thread will do, tried now: later it would be no refusal to start, but the death of a part.
            measures.push(measure("landlock", files::can_be_had()));
        }
        measures
    };
    judge(security, measures)
}

/// The calling thread, which faces the network, and those that it starts. It may read below `readable` and make or remove
/// sockets in `sockets`.
///
/// # Errors
/// What is required and cannot be had.
fn thread(security: Security, readable: &[PathBuf], sockets: &[PathBuf]) -> Result<Vec<Measure>, Unhardened> {
    let measures = || {
        vec![
            measure("capabilities", capabilities::keep(capabilities::OF_HTTP)),
            measure("landlock", files::restrict(readable, sockets)),
        ]
    };
    judge(security, measures)
}

fn measure(name: &'static str, outcome: Result<String, impl fmt::Display>) -> Measure {
    Measure {
        name,
        outcome: outcome.map_err(|error| error.to_string()),
    }
}

fn judge(security: Security, measures: impl FnOnce() -> Vec<Measure>) -> Result<Vec<Measure>, Unhardened> {
    if security.hardening == Hardening::Off {
        return Ok(Vec::new());
    }
    let measures = measures();
    if security.hardening == Hardening::Required {
        for Measure { name, outcome } in &measures {
            if let Err(reason) = outcome {
                return Err(Unhardened {
                    name,
                    reason: reason.clone(),
                });
            }
        }
    }
    Ok(measures)
}

/// A line each. `of`: the process, or a thread of it.
fn announce(of: &str, measures: &[Measure]) {
    for Measure { name, outcome } in measures {
        match outcome {
            Ok(detail) => tracing::info!(measure = name, of, detail, "hardened"),
            Err(reason) => tracing::warn!(measure = name, of, reason, "not hardened"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hardening: Hardening, outcome: Result<String, String>) -> Result<Vec<Measure>, Unhardened> {
        let measures = || {
            vec![
                measure("seccomp", Ok::<_, String>(String::new())),
                measure("landlock", outcome),
            ]
        };
        let security = Security {
            hardening,
            ..Security::default()
        };
        judge(security, measures)
    }

    #[test]
    fn what_cannot_be_had_stops_the_daemon_only_where_it_is_required() {
        let missing = || Err("this kernel has none".to_owned());
        assert_eq!(of(Hardening::Off, missing()).unwrap(), []);
        assert_eq!(of(Hardening::Auto, missing()).unwrap().len(), 2);
        let words = of(Hardening::Required, missing()).unwrap_err().to_string();
        assert!(
            words.contains("landlock cannot be had: this kernel has none"),
            "{words}"
        );
        assert_eq!(of(Hardening::Required, Ok("2".to_owned())).unwrap().len(), 2);
    }
}
