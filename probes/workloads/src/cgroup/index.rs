// SPDX-License-Identifier: Apache-2.0
//! Walks a cgroup mount: every folder's id (its inode number) and path. Keeps nothing; the caller takes what it wants.

use super::mounts::CgroupMount;
use crate::files::vanished;
use attribution::model::CgroupId;
use std::ffi::{OsStr, OsString};
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

/// What a walk came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkOutcome {
    /// Folders looked at.
    pub directories: u64,
    /// Folders that could not be read for another reason than that they vanished.
    pub unreadable: u64,
    /// Whether a bound cut it short.
    pub truncated: bool,
}

/// What a walk met.
pub(super) enum Met<'a> {
    /// A cgroup, after the one that it is in.
    Cgroup {
        id: CgroupId,
        /// None for the mount point.
        parent: Option<CgroupId>,
        name: &'a OsStr,
        /// Where it is mounted.
        at: &'a Path,
    },
    /// Not all that is in this cgroup could be looked at; none: not even the mount point.
    Unseen(Option<CgroupId>),
}

/// Whoever is shown what a walk met, until they break it off.
type Visit<'a> = &'a mut dyn FnMut(Met<'_>) -> ControlFlow<()>;

/// Appends the folders in a folder, so many of them at most; whether there are more. [`folders_in`], or one of a test that
/// fails as the kernel may.
pub(super) type List = fn(&Path, u64, &mut Vec<OsString>) -> io::Result<bool>;

/// Shows `visit` every cgroup below `mount` with its path, parents before children, until it breaks off. Symbolic links
/// are not followed (a hierarchy has none).
pub fn walk(mount: &CgroupMount, visit: &mut dyn FnMut(CgroupId, &str) -> ControlFlow<()>) -> WalkOutcome {
    walk_below(mount, folders_in, &mut |met| match met {
        Met::Cgroup { id, at, .. } => visit(id, &mount.path_of(&below(mount, at))),
        Met::Unseen(_) => ControlFlow::Continue(()),
    })
}

/// The path of what is mounted `at`, below the mount point; that one's own is `/`.
fn below(mount: &CgroupMount, at: &Path) -> String {
    let below = at.strip_prefix(&mount.point).unwrap_or(at);
    format!("/{}", below.to_string_lossy())
}

/// As [`walk`], for who also wants to know what is in what, and what was not seen.
pub(super) fn walk_below(mount: &CgroupMount, list: List, visit: Visit<'_>) -> WalkOutcome {
    walk_bounded(mount, WALK_DIRECTORIES, list, visit)
}

fn walk_bounded(mount: &CgroupMount, bound: u64, list: List, visit: Visit<'_>) -> WalkOutcome {
    let mut walk = Walk {
        bound,
        list,
        visit,
        outcome: WalkOutcome::default(),
        levels: Vec::new(),
        waiting: 0,
    };
    let mut next = Some(Folder {
        at: mount.point.clone(),
        parent: None,
        name: OsString::new(),
    });
    while let Some(folder) = next {
        if walk.look(folder).is_break() {
            break;
        }
        next = walk.next();
    }
    walk.outcome
}

/// A folder that is to be looked at.
struct Folder {
    at: PathBuf,
    parent: Option<CgroupId>,
    name: OsString,
}

/// A folder whose children are being looked at. They share its path: a tenant may nest names until each of the
/// [`WALK_DIRECTORIES`] paths has 4 KiB.
struct Level {
    id: CgroupId,
    at: PathBuf,
    /// Children that are still to be looked at.
    names: Vec<OsString>,
}

struct Walk<'a> {
    bound: u64,
    list: List,
    visit: Visit<'a>,
    outcome: WalkOutcome,
    levels: Vec<Level>,
    /// Names in all levels.
    waiting: u64,
}

impl Walk<'_> {
    /// Shows a folder, and notes what is in it.
    fn look(&mut self, folder: Folder) -> ControlFlow<()> {
        let metadata = match fs::symlink_metadata(&folder.at) {
            Ok(metadata) => metadata,
            Err(error) => return self.missed(&error, folder.parent),
        };
        self.outcome.directories += 1;
        let id = CgroupId(metadata.ino());
        (self.visit)(Met::Cgroup {
            id,
            parent: folder.parent,
            name: &folder.name,
            at: &folder.at,
        })?;
        // kernfs counts two links and one for each child, so most cgroups need not be listed: that costs one stat
        // instead of some fifty entries. File systems that count otherwise (in fixtures) never say 2 with children.
        if metadata.nlink() == 2 {
            return ControlFlow::Continue(());
        }
        if self.levels.len() >= WALK_DEPTH {
            self.outcome.truncated = true;
            return (self.visit)(Met::Unseen(Some(id)));
        }
        let taken = self.outcome.directories.saturating_add(self.waiting);
        let mut names = Vec::new();
        let listed = (self.list)(&folder.at, self.bound.saturating_sub(taken), &mut names);
        self.waiting += count(&names);
        self.levels.push(Level {
            id,
            at: folder.at,
            names,
        });
        match listed {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => {
                self.outcome.truncated = true;
                (self.visit)(Met::Unseen(Some(id)))
            }
            Err(error) => self.missed(&error, Some(id)),
        }
    }

    /// Something in a cgroup could not be looked at. If it vanished, there was nothing to see.
    fn missed(&mut self, error: &io::Error, within: Option<CgroupId>) -> ControlFlow<()> {
        const ENAMETOOLONG: i32 = rustix::io::Errno::NAMETOOLONG.raw_os_error();
        if vanished(error) {
            return ControlFlow::Continue(());
        }
        if error.raw_os_error() == Some(ENAMETOOLONG) {
            // A bound, too: another try makes no path shorter.
            self.outcome.truncated = true;
        } else {
            self.outcome.unreadable += 1;
        }
        (self.visit)(Met::Unseen(within))
    }

    fn next(&mut self) -> Option<Folder> {
        loop {
            let level = self.levels.last_mut()?;
            if let Some(name) = level.names.pop() {
                self.waiting = self.waiting.saturating_sub(1);
                return Some(Folder {
                    at: level.at.join(&name),
                    parent: Some(level.id),
                    name,
                });
            }
            self.levels.pop();
        }
    }
}

fn count(names: &[OsString]) -> u64 {
    u64::try_from(names.len()).unwrap_or(u64::MAX)
}

/// See [`List`].
pub(super) fn folders_in(at: &Path, room: u64, names: &mut Vec<OsString>) -> io::Result<bool> {
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if count(names) >= room {
            return Ok(true);
        }
        names.push(entry.file_name());
    }
    Ok(false)
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
        let outcome = walk_bounded(&mount(point), bound, folders_in, &mut |met| {
            let Met::Cgroup { id, at, .. } = met else {
                return ControlFlow::Continue(());
            };
            let ino = fs::metadata(at).unwrap().ino();
            assert_eq!(id, CgroupId(ino), "{}", at.display());
            paths.push(below(&mount(point), at));
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
        let mut names = Vec::new();
        assert!(folders_in(dir.path(), 2, &mut names).unwrap());
        assert_eq!(names.len(), 2);
    }

    /// Folders that a walk showed and those in which it did not see all, by name.
    fn seen_and_unseen(point: &Path, bound: u64, list: List) -> (Vec<String>, Vec<String>, WalkOutcome) {
        let (mut seen, mut unseen, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let outcome = walk_bounded(&mount(point), bound, list, &mut |met| {
            match met {
                Met::Cgroup { id, name, .. } => {
                    seen.push(name.to_str().unwrap().to_owned());
                    names.push((Some(id), name.to_str().unwrap().to_owned()));
                }
                Met::Unseen(within) => {
                    let name = names.iter().find(|(id, _)| *id == within);
                    unseen.push(
                        name.map_or("not even the mount point", |(_, name)| name)
                            .to_owned(),
                    );
                }
            }
            ControlFlow::Continue(())
        });
        seen.sort();
        (seen, unseen, outcome)
    }

    #[test]
    fn what_was_not_seen_is_said_whatever_the_reason_but_that_it_vanished() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/x")).unwrap();
        fs::create_dir_all(dir.path().join("b/y")).unwrap();
        // Half a folder, then no descriptor, no folder, or too long a path.
        let no_descriptor: List = |at, room, names| {
            folders_in(at, room, names)?;
            if at.ends_with("a") {
                Err(io::Error::from_raw_os_error(24))
            } else {
                Ok(false)
            }
        };
        let (seen, unseen, outcome) = seen_and_unseen(dir.path(), 100, no_descriptor);
        assert_eq!((seen.len(), unseen), (5, vec!["a".to_owned()]));
        assert_eq!((outcome.unreadable, outcome.truncated), (1, false));
        let vanished: List = |at, room, names| {
            if at.ends_with("a") {
                Err(io::Error::from_raw_os_error(2))
            } else {
                folders_in(at, room, names)
            }
        };
        let (seen, unseen, outcome) = seen_and_unseen(dir.path(), 100, vanished);
        assert_eq!((seen.len(), unseen.len(), outcome.unreadable), (4, 0, 0));
        let too_long: List = |at, room, names| {
            if at.ends_with("a") {
                Err(io::Error::from_raw_os_error(36))
            } else {
                folders_in(at, room, names)
            }
        };
        let (_, unseen, outcome) = seen_and_unseen(dir.path(), 100, too_long);
        assert_eq!(
            (unseen, outcome.unreadable, outcome.truncated),
            (vec!["a".to_owned()], 0, true)
        );

        let (_, unseen, _) = seen_and_unseen(dir.path(), 2, folders_in);
        assert!(unseen.contains(&String::new()), "a bound: {unseen:?}");
        let deep = tempfile::tempdir().unwrap();
        fs::create_dir_all(deep.path().join(["d"; WALK_DEPTH + 1].join("/"))).unwrap();
        let (_, unseen, _) = seen_and_unseen(deep.path(), 100, folders_in);
        assert_eq!(unseen, ["d"]);
        fs::write(dir.path().join("file"), "").unwrap();
        let (_, unseen, _) = seen_and_unseen(&dir.path().join("file/no-folder"), 100, folders_in);
        assert_eq!(unseen, ["not even the mount point"]);
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
