// SPDX-License-Identifier: Apache-2.0
//! A cgroup for one command: made before it, left behind by nobody, removed after it.
//!
//! It is made below our own, so that every limit on us is one on the command, in the hierarchy by which the probe tells
//! cgroups apart. It is called as a systemd scope is, so that the attribution has a row for it that counts every process
//! that was ever in it, however short. No controller is turned on: nothing of the command changes but who pays.

use super::enter;
use anyhow::{Context as _, bail};
use probe_workloads::Roots;
use probe_workloads::cgroup::{CgroupMount, Hierarchy, owner_of};
use probe_workloads::procfs::CgroupLine;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names that are tried: those of another pid namespace's `kepler run` with our pid may be there.
const TRIES: u32 = 8;
/// How often it is tried to remove it, and the rest between: what has been killed is gone in milliseconds.
const REMOVALS: (u32, Duration) = (40, Duration::from_millis(25));
/// Deepest cgroups below it that are removed with it; the kernel allows no deeper ones by default in containers.
const DEEPEST: u32 = 16;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
    /// Where whoever is left goes back to.
    parent: PathBuf,
    name: String,
}

impl Cgroup {
    /// Makes one, and proves that it can be entered.
    ///
    /// # Errors
    /// When there are no cgroups here, or we may not make one. Says what would be needed.
    pub(super) fn create(roots: &Roots, pid: u32) -> anyhow::Result<Self> {
        let accounting = roots
            .cgroup_mounts
            .accounting()
            .context("no cgroup hierarchy is mounted")?;
        let lines = fs::read(roots.proc.join("self/cgroup")).context("our own cgroup cannot be read")?;
        let is_ours = |line: &CgroupLine| match accounting.hierarchy {
            Hierarchy::Unified => line.unified(),
            Hierarchy::Version1 => line.has("cpuacct"),
        };
        let own = CgroupLine::parse_all(&lines).into_iter().find(is_ours);
        let own = own
            .context("we are in no cgroup of the hierarchy that counts")?
            .path;
        let mount = &accounting.mount;
        let mut parents = vec![own];
        // Beside version 1 the unified hierarchy limits nothing, so that its top is as good where our own is a container's.
        if accounting.hierarchy == Hierarchy::Unified && roots.cgroup_mounts.is_hybrid() {
            parents.push(mount.root.clone());
        }
        let mut refused = None;
        for parent in parents {
            match Self::below(mount, &parent, pid) {
                Ok(cgroup) => return Ok(cgroup),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or_else(|| anyhow::anyhow!("no place for one")))
    }

    fn below(mount: &CgroupMount, parent: &str, pid: u32) -> anyhow::Result<Self> {
        let folder = mount
            .directory_of(parent)
            .with_context(|| format!("the cgroup {parent} is not below {}", mount.point.display()))?;
        for attempt in 0..TRIES {
            let name = match attempt {
                0 => format!("kepler-run-{pid}.scope"),
                _ => format!("kepler-run-{pid}-{attempt}.scope"),
            };
            let owner = owner_of(&format!("{}/{name}", parent.trim_end_matches('/')));
            if owner.unit.as_deref() != Some(name.as_str()) {
                bail!("{parent} is a container's, which pays for all below it");
            }
            let cgroup = Self {
                folder: folder.join(&name),
                parent: folder.clone(),
                name,
            };
            match fs::create_dir(&cgroup.folder) {
                Ok(()) => return cgroup.entered(),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", cgroup.folder.display()));
                }
            }
        }
        bail!("{} has {TRIES} of them already", folder.display())
    }

    /// Itself, if a process can enter it. One that may be made need not be one that may be entered (cgroups(7), delegation).
    fn entered(self) -> anyhow::Result<Self> {
        let tried = Command::new("/proc/self/exe")
            .args(enter::arguments(&self.folder, &[]))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match tried {
            Ok(status) if status.success() => Ok(self),
            _ => bail!("nobody may enter {}", self.folder.display()),
        }
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether that path leads into it.
    pub(super) fn holds(&self, path: &str) -> bool {
        path.split('/').any(|name| name == self.name)
    }

    /// Its name, which is also that of its row.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes everybody out who is left, and gives how many these were.
    pub(super) fn empty(&self) -> usize {
        let mut left = 0;
        for folder in below(&self.folder, 0) {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for pid in text.lines() {
                left += 1;
                if let Err(error) = fs::write(self.parent.join("cgroup.procs"), pid) {
                    tracing::debug!(%error, pid, "has ended");
                }
            }
        }
        left
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it is still there at the end.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        for _ in 0..REMOVALS.0 {
            if self.is_removed() {
                return Ok(());
            }
            tokio::time::sleep(REMOVALS.1).await;
            self.empty();
        }
        bail!(
            "{} cannot be removed: somebody is left in it",
            self.folder.display()
        )
    }

    fn is_removed(&self) -> bool {
        let mut folders = below(&self.folder, 0);
        folders.reverse();
        for folder in folders {
            drop(fs::remove_dir(folder));
        }
        !self.folder.exists()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What `remove` has not done, because something went wrong in between.
        if self.folder.exists() {
            self.empty();
            self.is_removed();
        }
    }
}

/// A cgroup and all below it, the outer ones first.
fn below(folder: &Path, depth: u32) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    if depth < DEEPEST {
        let inner = fs::read_dir(folder).into_iter().flatten().flatten();
        let inner = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        all.extend(inner.flat_map(|entry| below(&entry.path(), depth + 1)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use probe_workloads::cgroup::CgroupMounts;

    fn mount(folder: &Path) -> CgroupMount {
        CgroupMount {
            point: folder.to_owned(),
            root: "/".to_owned(),
        }
    }

    #[test]
    fn where_a_container_pays_none_is_made() {
        let folder = tempfile::TempDir::new().unwrap();
        let parent = format!("/docker/{}", "0a".repeat(32));
        fs::create_dir_all(folder.path().join(&parent[1..])).unwrap();
        let error = Cgroup::below(&mount(folder.path()), &parent, 7).unwrap_err();
        assert!(error.to_string().contains("container"), "{error}");
        assert_eq!(below(folder.path(), 0).len(), 3, "nothing was made");
    }

    #[test]
    fn without_a_hierarchy_it_is_said_what_is_missing() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("self")).unwrap();
        let roots = |mounts| Roots {
            proc: folder.path().to_owned(),
            cgroup_mounts: mounts,
        };
        let error = |mounts| Cgroup::create(&roots(mounts), 7).unwrap_err().to_string();
        assert!(error(CgroupMounts::default()).contains("no cgroup hierarchy is mounted"));
        let unified = CgroupMounts {
            unified: Some(mount(folder.path())),
            ..CgroupMounts::default()
        };
        assert!(error(unified.clone()).contains("cannot be read"));
        fs::write(folder.path().join("self/cgroup"), "0::/gone\n").unwrap();
        assert!(
            error(unified).contains("cannot make"),
            "a folder that is not there"
        );
    }

    #[test]
    fn a_path_leads_into_it_by_its_whole_name() {
        let cgroup = Cgroup {
            folder: PathBuf::from("/no/such/kepler-run-7.scope"),
            parent: PathBuf::from("/no/such"),
            name: "kepler-run-7.scope".to_owned(),
        };
        assert!(cgroup.holds("/a/kepler-run-7.scope") && cgroup.holds("/kepler-run-7.scope/inner.service"));
        assert!(!cgroup.holds("/kepler-run-77.scope") && !cgroup.holds("/"));
    }
}
