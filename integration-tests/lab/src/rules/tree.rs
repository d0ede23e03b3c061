// SPDX-License-Identifier: Apache-2.0
//! The simulated RAPL as files, so that the daemon's own source reads it: its wraps, resets and gaps are dealt with by the
//! code that ships.

use crate::meters::Reading;
use crate::node::Node;
use attribution::model::Component;
use power_sources::{Ask, Opened, PowerSource};
use std::fs;
use std::io;
use std::path::PathBuf;
use tempfile::TempDir;

/// A powercap tree of a node with its packages and memories.
pub struct Tree {
    root: TempDir,
    sockets: usize,
}

impl Tree {
    /// The tree as it is now.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(node: &mut Node) -> io::Result<Self> {
        let tree = Self {
            root: TempDir::new()?,
            sockets: node.sockets.len(),
        };
        tree.set("intel-rapl", "enabled", "1")?;
        for (index, name) in tree.zones() {
            tree.set(&index, "name", &name)?;
            if name.starts_with("package") {
                tree.set(&index, "constraint_0_name", "long_term")?;
            }
        }
        for ((index, _), reading) in tree.zones().into_iter().zip(readings(node)) {
            tree.set(
                &index,
                "max_energy_range_uj",
                &reading.map_or(0, |it| it.range).to_string(),
            )?;
        }
        tree.write(node)?;
        Ok(tree)
    }

    /// Opens the daemon's source on it.
    ///
    /// # Errors
    /// What the source has to say.
    pub fn open(
        &self,
        clock: fn() -> attribution::model::MonotonicNanos,
    ) -> io::Result<Box<dyn PowerSource>> {
        let section = serde_json::json!({ "root": self.root.path() });
        let ask = Ask {
            section: &section,
            wanted: &[Component::Package, Component::Dram],
            clock,
            slept: || std::time::Duration::ZERO,
        };
        match power_sources::rapl::open(&ask) {
            Ok(Opened::Source(source)) => Ok(source),
            Ok(Opened::Absent { reason }) => Err(io::Error::other(reason)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Writes what the counters say now.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, node: &mut Node) -> io::Result<()> {
        for ((index, _), reading) in self.zones().into_iter().zip(readings(node)) {
            // A counter that cannot be read is a file that says nothing.
            let text = reading.map_or_else(String::new, |it| it.microjoules.to_string());
            self.set(&index, "energy_uj", &text)?;
        }
        Ok(())
    }

    fn zones(&self) -> Vec<(String, String)> {
        (0..self.sockets)
            .flat_map(|socket| {
                let package = format!("intel-rapl:{socket}");
                [
                    (package.clone(), format!("package-{socket}")),
                    (format!("{package}:0"), "dram".to_owned()),
                ]
            })
            .collect()
    }

    fn set(&self, entry: &str, file: &str, text: &str) -> io::Result<()> {
        let folder: PathBuf = self.root.path().join(entry);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(file), format!("{text}\n"))
    }
}

fn readings(node: &mut Node) -> Vec<Option<Reading>> {
    let now = node.now;
    let both = |socket: &mut crate::node::Socket| [socket.package.read(now), socket.dram.read(now)];
    node.sockets.iter_mut().flat_map(both).collect()
}
