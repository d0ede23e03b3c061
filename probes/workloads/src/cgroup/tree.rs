// SPDX-License-Identifier: Apache-2.0
//! The paths of all cgroups by number, kept current by what the kernel tells ([`super::watch`]): no walk but the first,
//! one after each overflow of the kernel's queue, and another where one could not read a folder. Cgroups that came and
//! went between two looks are in it, too. What bounds it is in [`super::paths`].

use super::index::{List, WalkOutcome, folders_in};
use super::mounts::{Accounting, CgroupMount};
use super::paths::Paths;
use super::watch::{Change, Heard, Watch};
use attribution::model::CgroupId;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Wait before the next walk when one could not read everything, for the first time and at most. No descriptor is left for
/// moments, a folder that its owner keeps from us stays so: a walk a minute of even [`super::WALK_DIRECTORIES`] is half a
/// percent of a CPU.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a look changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caught {
    /// Changes that the kernel told.
    pub(crate) changes: u64,
    /// Numbers that were not known before.
    pub(crate) new: u64,
    /// Of these: of cgroups that were gone already.
    pub(crate) new_and_gone: u64,
    /// Cgroups that went without that anybody could tell where they had been.
    pub(crate) unplaced: u64,
    /// Events that were none, or were about too many cgroups.
    pub(crate) refused: u64,
    /// Whether the kernel had dropped events.
    pub(crate) overflowed: bool,
    /// The walk that was needed at the beginning, after an overflow, or as the last one was not whole.
    pub(crate) walked: Option<WalkOutcome>,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Tree {
    watch: Watch,
    followed: Followed,
    /// Empty between calls; kept for its room.
    changes: Vec<Change>,
}

impl Tree {
    /// Watches a hierarchy.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub(crate) fn open(accounting: &Accounting) -> io::Result<Self> {
        Ok(Self {
            watch: Watch::open(&accounting.mount.point)?,
            followed: Followed::new(accounting.clone(), folders_in),
            changes: Vec::new(),
        })
    }

    /// Takes in what happened since the last call; `now` is of any clock that does not go back. One system call when
    /// nothing did.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub(crate) fn catch_up(&mut self, now: Duration) -> io::Result<Caught> {
        let heard = self.watch.read(&mut self.changes)?;
        let caught = self.followed.take_in(heard, &mut self.changes, now);
        // Room for a usual tick; what a storm needed is given back.
        self.changes.shrink_to(256);
        Ok(caught)
    }

    /// The path of a cgroup as `/proc/PID/cgroup` has it.
    pub(crate) fn path(&self, id: CgroupId) -> Option<String> {
        self.followed.path(id)
    }

    /// The hierarchy.
    pub(crate) const fn accounting(&self) -> &Accounting {
        &self.followed.accounting
    }

    /// Cgroups known, and those of them that are gone.
    pub(crate) fn len(&self) -> (usize, usize) {
        self.followed.paths.len()
    }
}

/// The tree without the kernel's queue.
#[derive(Debug)]
struct Followed {
    accounting: Accounting,
    paths: Paths,
    walk: NextWalk,
    list: List,
}

impl Followed {
    fn new(accounting: Accounting, list: List) -> Self {
        Self {
            accounting,
            paths: Paths::default(),
            walk: NextWalk::default(),
            list,
        }
    }

    /// Empties the list of changes.
    fn take_in(&mut self, heard: Heard, changes: &mut Vec<Change>, now: Duration) -> Caught {
        let mut caught = Caught {
            changes: u64::try_from(changes.len()).unwrap_or(u64::MAX),
            refused: heard.odd,
            overflowed: heard.overflowed,
            ..Caught::default()
        };
        let mount = &self.accounting.mount;
        if heard.overflowed || self.walk.is_due(now) {
            // What was told before the walk names what has gone; the walk finds what is there.
            let outcome = self.paths.walk(mount, self.list, &mut caught);
            self.walk.done(outcome, now);
            caught.walked = Some(outcome);
        }
        let mut id_of = |below: &OsStr| id_at(mount, below);
        self.paths.apply(changes, &mut id_of, &mut caught);
        caught
    }

    fn path(&self, id: CgroupId) -> Option<String> {
        let below = self.paths.below(id)?;
        let below = below.to_string_lossy();
        let mount = &self.accounting.mount;
        Some(mount.path_of(if below.is_empty() { "/" } else { &below }))
    }
}

fn id_at(mount: &CgroupMount, below: &OsStr) -> Option<CgroupId> {
    let below = Path::new(below);
    let folder = mount.point.join(below.strip_prefix("/").unwrap_or(below));
    Some(CgroupId(std::fs::symlink_metadata(folder).ok()?.ino()))
}

/// When all is to be walked without that the kernel lost anything.
#[derive(Debug)]
struct NextWalk {
    at: Option<Duration>,
    /// The wait before it.
    wait: Duration,
}

impl Default for NextWalk {
    /// The first walk, at once.
    fn default() -> Self {
        Self {
            at: Some(Duration::ZERO),
            wait: Duration::ZERO,
        }
    }
}

impl NextWalk {
    fn is_due(&self, now: Duration) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// A walk that could not read everything is made again, each time after twice the wait.
    fn done(&mut self, outcome: WalkOutcome, now: Duration) {
        if outcome.unreadable == 0 {
            (self.at, self.wait) = (None, Duration::ZERO);
        } else {
            self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            self.at = Some(now + self.wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Hierarchy;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;

    const OVERFLOW: Heard = Heard {
        overflowed: true,
        odd: 0,
    };

    /// A hierarchy in a folder. What a file `EMFILE` is in cannot be listed.
    struct Place {
        dir: tempfile::TempDir,
        followed: Followed,
    }

    impl Place {
        fn new(folders: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in folders {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            let mount = CgroupMount {
                point: dir.path().to_owned(),
                root: "/".to_owned(),
            };
            let accounting = Accounting {
                hierarchy: Hierarchy::Unified,
                mount,
            };
            let list: List = |at, room, names| {
                if at.join("EMFILE").exists() {
                    return Err(io::Error::from_raw_os_error(24));
                }
                folders_in(at, room, names)
            };
            Self {
                dir,
                followed: Followed::new(accounting, list),
            }
        }

        fn id(&self, below: impl AsRef<Path>) -> CgroupId {
            CgroupId(fs::symlink_metadata(self.dir.path().join(below)).unwrap().ino())
        }

        fn look(&mut self, seconds: u64, heard: Heard, mut changes: Vec<Change>) -> Caught {
            let caught = self
                .followed
                .take_in(heard, &mut changes, Duration::from_secs(seconds));
            assert!(changes.is_empty());
            caught
        }

        fn walks(&mut self, seconds: u64) -> bool {
            self.look(seconds, Heard::default(), Vec::new()).walked.is_some()
        }
    }

    #[test]
    fn a_walk_that_could_not_read_a_folder_is_made_again_and_nobody_in_it_is_gone_meanwhile() {
        let mut place = Place::new(&["pods/a/init", "pods/b", "other"]);
        assert!(place.walks(100));
        assert!(!place.walks(101), "all was read");
        let all = ["pods/a/init", "pods/a", "pods/b", "pods", "other"].map(|below| place.id(below));
        let mark = place.dir.path().join("pods/EMFILE");
        fs::write(&mark, "").unwrap();
        fs::create_dir(place.dir.path().join("pods/new")).unwrap();
        fs::remove_dir(place.dir.path().join("pods/b")).unwrap();
        let caught = place.look(102, OVERFLOW, Vec::new());
        assert_eq!(caught.walked.map(|walk| walk.unreadable), Some(1));
        assert_eq!(place.followed.paths.len(), (6, 0));
        for id in all {
            assert!(place.followed.path(id).is_some());
        }
        // Each wait is twice the one before.
        for (seconds, walks) in [(102, false), (103, true), (104, false), (105, true), (108, false)] {
            assert_eq!(place.walks(seconds), walks, "{seconds}");
        }
        fs::remove_file(mark).unwrap();
        assert!(place.walks(109));
        assert_eq!(place.followed.paths.len(), (7, 1));
        let new = place.id("pods/new");
        assert_eq!(place.followed.path(new).as_deref(), Some("/pods/new"));
        assert!(!place.walks(1_000_000), "all was read");
    }

    #[test]
    fn waits_for_the_next_walk_double_up_to_a_minute_and_begin_anew_when_one_was_whole() {
        let partial = WalkOutcome {
            unreadable: 1,
            ..WalkOutcome::default()
        };
        let (mut walk, mut now) = (NextWalk::default(), Duration::ZERO);
        assert!(walk.is_due(now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            walk.done(partial, now);
            let due = now + Duration::from_secs(seconds);
            assert!(!walk.is_due(due - Duration::from_millis(1)));
            assert!(walk.is_due(due));
            now = due;
        }
        walk.done(WalkOutcome::default(), now);
        assert!(!walk.is_due(Duration::MAX));
        walk.done(partial, now);
        assert!(walk.is_due(now + FIRST_WAIT));
    }

    #[test]
    fn a_name_that_is_no_text_is_looked_up_by_its_bytes_and_costs_no_walk() {
        let mut place = Place::new(&["user"]);
        place.walks(0);
        let user = place.id("user");
        let odd = OsStr::from_bytes(b"odd-\xff");
        let came = |parent, name: &OsStr| Change {
            parent,
            name: name.to_owned(),
            id: None,
            came: true,
        };
        let folder = place.dir.path().join("user").join(odd);
        for tick in 1..5 {
            fs::create_dir(&folder).unwrap();
            let id = place.id(&folder);
            let gone = Change {
                id: Some(id),
                came: false,
                ..came(user, odd)
            };
            fs::remove_dir(&folder).unwrap();
            let caught = place.look(tick, Heard::default(), vec![came(user, odd), gone]);
            assert_eq!(caught.walked, None);
        }
        fs::create_dir_all(folder.join("inner")).unwrap();
        let changes = vec![came(user, odd)];
        assert_eq!(place.look(5, Heard::default(), changes).walked, None);
        let outer = place.id(&folder);
        let changes = vec![came(outer, &OsString::from("inner"))];
        let caught = place.look(6, Heard::default(), changes);
        assert_eq!(caught.walked, None);
        let inner = place.id(folder.join("inner"));
        assert_eq!(
            place.followed.path(inner).as_deref(),
            Some("/user/odd-\u{fffd}/inner")
        );
    }

    #[test]
    fn the_mount_point_and_what_is_below_have_the_paths_of_proc() {
        let mut place = Place::new(&["a"]);
        "/docker/x".clone_into(&mut place.followed.accounting.mount.root);
        place.walks(0);
        let (root, a) = (place.id(""), place.id("a"));
        assert_eq!(place.followed.path(root).as_deref(), Some("/docker/x"));
        assert_eq!(place.followed.path(a).as_deref(), Some("/docker/x/a"));
    }
}
