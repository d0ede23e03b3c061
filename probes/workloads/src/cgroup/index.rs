// SPDX-License-Identifier: Apache-2.0
//! Walks a cgroup mount: every folder's id (its inode number) and path. Keeps nothing; the caller takes what it wants.

use super::mounts::CgroupMount;
use crate::files::vanished;
use attribution::model::CgroupId;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Folders that one walk looks at. The memory controller numbers its cgroups in 16 bits (`MEM_CGROUP_ID_MAX`), so more
/// can hardly exist; a walk of so many takes seconds, and one of the usual few hundred some milliseconds.
pub const WALK_DIRECTORIES: u64 = 65_536;

/// Levels below the mount. Kubernetes in kind with systemd in the containers has about twelve; each nesting adds six.
pub const WALK_DEPTH: usize = 32;

/// What a walk met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkOutcome {
    /// Folders looked at.
    pub directories: u64,
    /// Folders that could not be read for another reason than that they vanished.
    pub unreadable: u64,
    /// Whether a bound cut it short.
    pub truncated: bool,
}

/// Shows `visit` every cgroup below `mount` with its path, parents before children, until it breaks off. Symbolic links
/// are not followed (a hierarchy has none).
pub fn walk(mount: &CgroupMount, visit: &mut dyn FnMut(CgroupId, &str) -> ControlFlow<()>) -> WalkOutcome {
    walk_bounded(mount, WALK_DIRECTORIES, &mut |id, below| {
        visit(id, &mount.path_of(if below.is_empty() { "/" } else { below }))
    })
}

/// As [`walk`], with paths below the mount point; the mount point's own is empty.
pub(super) fn walk_below(
    mount: &CgroupMount,
    visit: &mut dyn FnMut(CgroupId, &str) -> ControlFlow<()>,
) -> WalkOutcome {
    walk_bounded(mount, WALK_DIRECTORIES, visit)
}

/// A folder whose children are being looked at. They share its path: a tenant may nest names until each of the
/// [`WALK_DIRECTORIES`] paths has 4 KiB.
struct Level {
    at: PathBuf,
    /// Path below the mount, without a slash at its end.
    below: String,
    /// Children that are still to be looked at.
    names: Vec<OsString>,
}

fn walk_bounded(
    mount: &CgroupMount,
    bound: u64,
    visit: &mut dyn FnMut(CgroupId, &str) -> ControlFlow<()>,
) -> WalkOutcome {
    let mut outcome = WalkOutcome::default();
    let mut levels: Vec<Level> = Vec::new();
    // Names in all levels.
    let mut waiting = 0_u64;
    let (mut at, mut below) = (mount.point.clone(), String::new());
    loop {
        let found = outcome.look(&at, &below, visit);
        if found.is_break() {
            break;
        }
        if found == ControlFlow::Continue(true) {
            let room = bound.saturating_sub(outcome.directories).saturating_sub(waiting);
            if levels.len() >= WALK_DEPTH {
                outcome.truncated = true;
            } else {
                let names = outcome.list(&at, room);
                waiting += count(&names);
                levels.push(Level { at, below, names });
            }
        }
        (at, below) = loop {
            let Some(level) = levels.last_mut() else {
                return outcome;
            };
            if let Some(name) = level.names.pop() {
                waiting = waiting.saturating_sub(1);
                let below = format!("{}/{}", level.below, name.to_string_lossy());
                break (level.at.join(name), below);
            }
            levels.pop();
        };
    }
    outcome
}

fn count(names: &[OsString]) -> u64 {
    u64::try_from(names.len()).unwrap_or(u64::MAX)
}

impl WalkOutcome {
    fn failed(&mut self, error: &io::Error) {
        if !vanished(error) {
            self.unreadable += 1;
        }
    }

    /// Shows a folder; whether it has children.
    fn look(
        &mut self,
        at: &Path,
        below: &str,
        visit: &mut dyn FnMut(CgroupId, &str) -> ControlFlow<()>,
    ) -> ControlFlow<(), bool> {
        match fs::symlink_metadata(at) {
            Ok(metadata) => {
                self.directories += 1;
                visit(CgroupId(metadata.ino()), below)?;
                // kernfs counts two links and one for each child, so most cgroups need not be listed: that costs one stat
                // instead of some fifty entries. File systems that count otherwise (in fixtures) never say 2 with children.
                ControlFlow::Continue(metadata.nlink() != 2)
            }
            Err(error) => {
                self.failed(&error);
                ControlFlow::Continue(false)
            }
        }
    }

    /// The folders in a folder, `room` of them at most.
    fn list(&mut self, at: &Path, room: u64) -> Vec<OsString> {
        let mut names = Vec::new();
        if let Err(error) = self.list_into(&mut names, at, room) {
            self.failed(&error);
        }
        names
    }

    fn list_into(&mut self, names: &mut Vec<OsString>, at: &Path, room: u64) -> io::Result<()> {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if count(names) >= room {
                self.truncated = true;
                break;
            }
            names.push(entry.file_name());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &Path) -> CgroupMount {
        CgroupMount {
            point: point.to_owned(),
            root: "/".to_owned(),
        }
    }

    fn paths(point: &Path, bound: u64) -> (Vec<String>, WalkOutcome) {
        let mut paths = Vec::new();
        let outcome = walk_bounded(&mount(point), bound, &mut |id, path| {
            let ino = fs::metadata(point.join(path.trim_start_matches('/')))
                .unwrap()
                .ino();
            assert_eq!(id, CgroupId(ino), "{path}");
            paths.push(if path.is_empty() { "/" } else { path }.to_owned());
            ControlFlow::Continue(())
        });
        paths.sort();
        (paths, outcome)
    }

    #[test]
    fn every_folder_is_shown_with_its_inode_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir_all(dir.path().join("c")).unwrap();
        fs::write(dir.path().join("a/cpu.stat"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("c/loop")).unwrap();
        let (paths, outcome) = paths(dir.path(), 100);
        assert_eq!(paths, ["/", "/a", "/a/b", "/c"]);
        assert_eq!(
            outcome,
            WalkOutcome {
                directories: 4,
                unreadable: 0,
                truncated: false
            }
        );
    }

    #[test]
    fn a_walk_ends_at_its_bounds_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (shown, outcome) = paths(dir.path(), 2);
        assert_eq!(
            (shown.len(), outcome.directories, outcome.truncated),
            (2, 2, true)
        );
        let deep = tempfile::tempdir().unwrap();
        fs::create_dir_all(deep.path().join(["d"; WALK_DEPTH + 3].join("/"))).unwrap();
        let (shown, outcome) = paths(deep.path(), 1_000);
        assert_eq!((shown.len(), outcome.truncated), (WALK_DEPTH + 1, true));
    }

    #[test]
    fn of_a_folder_with_very_many_no_more_are_held_than_will_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/x", "a/y", "b/x", "b/y", "c"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        for bound in 1..8 {
            let (shown, outcome) = paths(dir.path(), bound);
            assert_eq!(shown.len(), usize::try_from(bound).unwrap());
            assert_eq!((outcome.directories, outcome.truncated), (bound, true));
        }
        assert!(!paths(dir.path(), 8).1.truncated);
        let mut outcome = WalkOutcome::default();
        assert_eq!(outcome.list(dir.path(), 2).len(), 2);
        assert!(outcome.truncated);
    }

    #[test]
    fn a_walk_stops_when_it_is_told_to_and_a_mount_that_is_gone_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let outcome = walk(&mount(dir.path()), &mut |_, _| ControlFlow::Break(()));
        assert_eq!(outcome.directories, 1);
        let gone = walk(&mount(&dir.path().join("gone")), &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert_eq!(gone, WalkOutcome::default());
    }
}
