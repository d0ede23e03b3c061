// SPDX-License-Identifier: Apache-2.0
//! The paths of all cgroups by number, kept current by what the kernel tells ([`super::watch`]): no walk but the first,
//! and one after each overflow of the kernel's queue. Cgroups that came and went between two looks are in it, too.
//!
//! Bounded by [`WALK_DIRECTORIES`] living cgroups and [`GONE`] that have gone, and by [`BYTES`] and [`GONE_BYTES`] of their paths.

use super::index::{WALK_DIRECTORIES, WalkOutcome, walk_below};
use super::mounts::{Accounting, CgroupMount};
use super::watch::{Change, Watch};
use attribution::model::CgroupId;
use foldhash::HashMap;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;

/// Cgroups remembered after they went, the newest. A probe names the last of a cgroup's work one report after its end
/// at the latest, so this many may end in a tick or two: some 600 KiB, reached only where that many ever ended.
const GONE: usize = 4_096;

/// Bytes of all paths: as many as [`WALK_DIRECTORIES`] have at 256 bytes each, where a container's has 200. Whoever may make
/// cgroups (`Delegate=yes`) can give each of them a path of 4 KiB.
const BYTES: usize = 16 << 20;

/// The same of those that went.
const GONE_BYTES: usize = 4 << 20;

/// Ends whose parent was not known yet, kept for one more look. They come about when a cgroup and what it is in go while
/// they are being looked at.
const LATE: usize = 256;

/// A cgroup.
#[derive(Debug)]
struct Known {
    /// Below the mount point, beginning with `/`; empty for the mount point itself.
    below: Box<str>,
    gone: bool,
}

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
    /// The walk that was needed at the beginning or after an overflow.
    pub(crate) walked: Option<WalkOutcome>,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Tree {
    accounting: Accounting,
    watch: Watch,
    paths: Paths,
    /// Whether a walk is due.
    stale: bool,
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
            accounting: accounting.clone(),
            paths: Paths::default(),
            stale: true,
            changes: Vec::new(),
        })
    }

    /// Takes in what happened since the last call. One system call when nothing did.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub(crate) fn catch_up(&mut self) -> io::Result<Caught> {
        let mut caught = Caught::default();
        let mount = &self.accounting.mount;
        let mut changes = std::mem::take(&mut self.changes);
        let heard = self.watch.read(&mut changes)?;
        caught.changes = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        caught.refused = heard.odd;
        caught.overflowed = heard.overflowed;
        if heard.overflowed || self.stale {
            // What was told before the walk names what has gone; the walk finds what is there.
            caught.walked = Some(self.paths.walk(mount, &mut caught));
            self.stale = false;
        }
        let mut is_hidden = false;
        let mut id_of = |below: &str| {
            let id = id_at(mount, below);
            // Bytes that are no text cannot be looked up by the text that stands for them.
            is_hidden |= id.is_none() && below.contains(char::REPLACEMENT_CHARACTER);
            id
        };
        self.paths.apply(&mut changes, &mut id_of, &mut caught);
        if is_hidden && caught.walked.is_none() {
            caught.walked = Some(self.paths.walk(mount, &mut caught));
        }
        // Room for a usual tick; what a storm needed is given back.
        changes.shrink_to(256);
        self.changes = changes;
        Ok(caught)
    }

    /// The path of a cgroup as `/proc/PID/cgroup` has it.
    pub(crate) fn path(&self, id: CgroupId) -> Option<String> {
        let below = self.paths.below(id)?;
        let mount = &self.accounting.mount;
        Some(mount.path_of(if below.is_empty() { "/" } else { below }))
    }

    /// The hierarchy.
    pub(crate) const fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// Cgroups known, and those of them that are gone.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.paths.known.len(), self.paths.gone.len())
    }
}

fn id_at(mount: &CgroupMount, below: &str) -> Option<CgroupId> {
    let folder = mount.point.join(below.trim_start_matches('/'));
    Some(CgroupId(std::fs::symlink_metadata(folder).ok()?.ino()))
}

/// The map without the kernel.
#[derive(Debug, Default)]
struct Paths {
    known: HashMap<CgroupId, Known>,
    /// Those that are gone, in the order in which they went.
    gone: VecDeque<CgroupId>,
    /// Of the paths of all.
    bytes: usize,
    /// Of the paths of those that are gone.
    gone_bytes: usize,
    late: Vec<Change>,
}

impl Paths {
    fn below(&self, id: CgroupId) -> Option<&str> {
        self.known.get(&id).map(|known| &*known.below)
    }

    fn child(&self, change: &Change) -> Option<String> {
        Some(format!("{}/{}", self.below(change.parent)?, change.name))
    }

    /// Takes changes in and empties the list. First those that came, oldest first: what is still there has its number
    /// from `id_at`. Then those that went, newest first: a cgroup goes after everything in it, so its own place is known
    /// before theirs is asked for.
    fn apply(
        &mut self,
        changes: &mut Vec<Change>,
        id_at: &mut dyn FnMut(&str) -> Option<CgroupId>,
        caught: &mut Caught,
    ) {
        for change in changes.iter().filter(|change| change.came) {
            if let Some(below) = self.child(change)
                && let Some(id) = id_at(&below)
            {
                self.insert(id, below, caught);
            }
        }
        let mut late = Vec::new();
        for change in changes.drain(..).rev().filter(|change| !change.came) {
            if !self.went(&change, caught) {
                late.push(change);
            }
        }
        // Those of the last call are older than all of these, so their turn comes after them.
        for change in std::mem::take(&mut self.late) {
            if !self.went(&change, caught) {
                caught.unplaced += 1;
            }
        }
        caught.unplaced += u64::try_from(late.len().saturating_sub(LATE)).unwrap_or(u64::MAX);
        late.truncate(LATE);
        self.late = late;
        self.forget();
    }

    /// A cgroup is gone; `false` when nobody can tell yet where it was.
    fn went(&mut self, change: &Change, caught: &mut Caught) -> bool {
        let Some(id) = change.id else { return true };
        if !self.known.contains_key(&id) {
            let Some(below) = self.child(change) else {
                return false;
            };
            if self.insert(id, below, caught) {
                caught.new_and_gone += 1;
            }
        }
        if let Some(known) = self.known.get_mut(&id)
            && !known.gone
        {
            known.gone = true;
            self.gone_bytes += known.below.len();
            self.gone.push_back(id);
        }
        true
    }

    fn insert(&mut self, id: CgroupId, below: String, caught: &mut Caught) -> bool {
        let living = self.known.len().saturating_sub(self.gone.len());
        let is_full = u64::try_from(living).is_ok_and(|living| living >= WALK_DIRECTORIES);
        if (is_full || !self.has_room(&below)) && !self.known.contains_key(&id) {
            caught.refused += 1;
            return false;
        }
        let old = self.put(id, below.into_boxed_str());
        caught.new += u64::from(old.is_none());
        old.is_none()
    }

    fn has_room(&self, below: &str) -> bool {
        self.bytes.saturating_add(below.len()) <= BYTES
    }

    /// One that is there; what was known of it.
    fn put(&mut self, id: CgroupId, below: Box<str>) -> Option<Known> {
        self.bytes += below.len();
        let old = self.known.insert(id, Known { below, gone: false });
        if let Some(old) = &old {
            self.left(old);
        }
        old
    }

    /// One is not known any more.
    fn left(&mut self, known: &Known) {
        let bytes = known.below.len();
        self.bytes = self.bytes.saturating_sub(bytes);
        if known.gone {
            self.gone_bytes = self.gone_bytes.saturating_sub(bytes);
        }
    }

    /// Finds all that are there. Those that are not there any more are gone.
    fn walk(&mut self, mount: &CgroupMount, caught: &mut Caught) -> WalkOutcome {
        let mut before = std::mem::take(&mut self.known);
        (self.bytes, self.gone_bytes) = (0, 0);
        let outcome = walk_below(mount, &mut |id, below| {
            let old = before.remove(&id);
            caught.new += u64::from(old.is_none());
            if self.has_room(below) {
                let same = old.map(|old| old.below).filter(|old| **old == *below);
                self.put(id, same.unwrap_or_else(|| below.into()));
            } else {
                caught.refused += 1;
            }
            ControlFlow::Continue(())
        });
        self.gone.retain(|id| !self.known.contains_key(id));
        for (id, known) in before {
            if !known.gone {
                self.gone.push_back(id);
            }
            self.bytes += known.below.len();
            self.gone_bytes += known.below.len();
            self.known.insert(id, Known { gone: true, ..known });
        }
        self.forget();
        outcome
    }

    fn forget(&mut self) {
        while self.gone.len() > GONE || self.gone_bytes > GONE_BYTES {
            let Some(id) = self.gone.pop_front() else { break };
            if self.known.get(&id).is_some_and(|known| known.gone)
                && let Some(known) = self.known.remove(&id)
            {
                self.left(&known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A hierarchy that can be changed, and what its kernel would tell.
    struct Hierarchy {
        living: BTreeMap<String, CgroupId>,
        ever: Vec<(CgroupId, String)>,
        told: Vec<Change>,
    }

    impl Hierarchy {
        fn new() -> Self {
            Self {
                living: BTreeMap::from([(String::new(), CgroupId::ROOT)]),
                ever: Vec::new(),
                told: Vec::new(),
            }
        }

        fn make(&mut self, below: &str) {
            let (parent, name) = below.rsplit_once('/').unwrap();
            let Some(parent) = self.living.get(parent).copied() else {
                return;
            };
            if self.living.contains_key(below) {
                return;
            }
            let id = CgroupId(u64::try_from(self.ever.len()).unwrap() + 2);
            self.living.insert(below.to_owned(), id);
            self.ever.push((id, below.to_owned()));
            self.told.push(change(parent, name, None));
        }

        fn remove(&mut self, below: &str) {
            let inside = format!("{below}/");
            if self.living.keys().any(|other| other.starts_with(&inside)) {
                return;
            }
            if let Some(id) = self.living.remove(below) {
                let (parent, name) = below.rsplit_once('/').unwrap();
                self.told.push(change(self.living[parent], name, Some(id)));
            }
        }

        /// What a look gives that is taken now.
        fn look(&mut self, paths: &mut Paths) -> Caught {
            let mut caught = Caught::default();
            let mut changes = std::mem::take(&mut self.told);
            paths.apply(
                &mut changes,
                &mut |below| self.living.get(below).copied(),
                &mut caught,
            );
            caught
        }
    }

    fn change(parent: CgroupId, name: &str, id: Option<CgroupId>) -> Change {
        Change {
            parent,
            name: name.to_owned(),
            id,
            came: id.is_none(),
        }
    }

    fn paths() -> Paths {
        let mut paths = Paths::default();
        paths.insert(CgroupId::ROOT, String::new(), &mut Caught::default());
        paths
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_known_with_all_that_was_in_it() {
        let (mut node, mut paths) = (Hierarchy::new(), paths());
        for below in ["/docker", "/docker/x", "/docker/x/init", "/a"] {
            node.make(below);
        }
        for below in ["/docker/x/init", "/docker/x", "/docker"] {
            node.remove(below);
        }
        let caught = node.look(&mut paths);
        assert_eq!((caught.new, caught.new_and_gone, caught.unplaced), (4, 3, 0));
        for (id, below) in &node.ever {
            assert_eq!(paths.below(*id), Some(below.as_str()));
        }
        assert_eq!(paths.gone.len(), 3);
    }

    #[test]
    fn an_end_whose_parent_ends_in_the_next_look_is_placed_then_and_not_later() {
        let mut paths = paths();
        let (outer, inner) = (CgroupId(10), CgroupId(11));
        let look = |paths: &mut Paths, mut changes: Vec<Change>| {
            let mut caught = Caught::default();
            paths.apply(&mut changes, &mut |_| None, &mut caught);
            caught.unplaced
        };
        let came = change(CgroupId::ROOT, "outer", None);
        assert_eq!(
            look(&mut paths, vec![came, change(outer, "inner", Some(inner))]),
            0
        );
        assert_eq!(
            look(&mut paths, vec![change(CgroupId::ROOT, "outer", Some(outer))]),
            0
        );
        assert_eq!(paths.below(inner), Some("/outer/inner"));
        // A folder that nobody ever heard of, above our mount for example.
        assert_eq!(
            look(&mut paths, vec![change(CgroupId(99), "x", Some(CgroupId(12)))]),
            0
        );
        assert_eq!(look(&mut paths, Vec::new()), 1);
        assert_eq!(look(&mut paths, Vec::new()), 0);
    }

    #[test]
    fn of_those_that_are_gone_the_newest_stay_and_the_living_never_leave() {
        let (mut node, mut paths) = (Hierarchy::new(), paths());
        node.make("/stays");
        for round in 0..20 {
            for number in 0..1_000 {
                let below = format!("/c{round}-{number}");
                node.make(&below);
                node.remove(&below);
            }
            node.look(&mut paths);
        }
        assert_eq!((paths.known.len(), paths.gone.len()), (GONE + 2, GONE));
        assert_eq!(paths.below(CgroupId(2)), Some("/stays"));
        let (last, below) = node.ever.last().unwrap();
        assert_eq!(paths.below(*last), Some(below.as_str()));
    }

    #[test]
    fn ends_without_a_place_are_bounded() {
        let mut paths = paths();
        let mut caught = Caught::default();
        let mut changes: Vec<_> = (0..1_000)
            .map(|id| change(CgroupId(99), "x", Some(CgroupId(100 + id))))
            .collect();
        paths.apply(&mut changes, &mut |_| None, &mut caught);
        assert_eq!((paths.late.len(), caught.unplaced), (LATE, 744));
    }

    #[test]
    fn a_walk_finds_what_is_there_and_keeps_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let mount = CgroupMount {
            point: dir.path().to_owned(),
            root: "/".to_owned(),
        };
        let id = |below: &str| id_at(&mount, below).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let (mut paths, mut caught) = (Paths::default(), Caught::default());
        paths.walk(&mount, &mut caught);
        let (a, b) = (id("/a"), id("/a/b"));
        assert_eq!(
            (caught.new, paths.below(b), paths.below(id("/"))),
            (3, Some("/a/b"), Some(""))
        );
        std::fs::create_dir(dir.path().join("c")).unwrap();
        std::fs::remove_dir(dir.path().join("a/b")).unwrap();
        paths.walk(&mount, &mut caught);
        assert_eq!((paths.below(b), paths.gone.len()), (Some("/a/b"), 1));
        assert_eq!((paths.below(a), paths.below(id("/c"))), (Some("/a"), Some("/c")));
        paths.walk(&mount, &mut caught);
        assert_eq!((paths.known.len(), paths.gone.len(), caught.new), (4, 1, 4));
    }

    #[test]
    fn no_more_living_ones_are_held_than_a_walk_looks_at() {
        let mut paths = paths();
        let mut caught = Caught::default();
        for id in 2..=WALK_DIRECTORIES {
            paths.insert(CgroupId(id), String::new(), &mut caught);
        }
        assert!(!paths.insert(CgroupId(u64::MAX), "/late".to_owned(), &mut caught));
        assert_eq!((paths.below(CgroupId(u64::MAX)), caught.refused), (None, 1));
        // One of those that are known may be told of again, and one that goes makes room.
        paths.insert(CgroupId(2), "/again".to_owned(), &mut caught);
        assert_eq!((paths.below(CgroupId(2)), caught.refused), (Some("/again"), 1));
        let mut went = vec![change(CgroupId::ROOT, "again", Some(CgroupId(2)))];
        paths.apply(&mut went, &mut |_| None, &mut caught);
        assert!(paths.insert(CgroupId(u64::MAX), "/late".to_owned(), &mut caught));
    }

    #[test]
    fn however_long_their_paths_are_those_of_all_are_bounded_and_so_are_those_of_the_gone() {
        let mut paths = paths();
        let mut caught = Caught::default();
        let long = format!("/{}", "x".repeat(4_095));
        let most = u64::try_from(BYTES / 4_096).unwrap();
        for id in 2..most + 102 {
            paths.insert(CgroupId(id), long.clone(), &mut caught);
        }
        let held = |paths: &Paths| paths.known.values().map(|known| known.below.len()).sum::<usize>();
        assert_eq!((paths.bytes, held(&paths), caught.refused), (BYTES, BYTES, 100));
        // Those that go make room, and the oldest of them are forgotten.
        for id in 2..most + 2 {
            let mut went = vec![change(CgroupId::ROOT, "x", Some(CgroupId(id)))];
            paths.apply(&mut went, &mut |_| None, &mut caught);
        }
        assert_eq!(
            (paths.bytes, paths.gone_bytes, held(&paths)),
            (GONE_BYTES, GONE_BYTES, GONE_BYTES)
        );
        assert_eq!(paths.below(CgroupId(2)), None);
        assert_eq!(paths.below(CgroupId(most + 1)), Some(&*long));
        assert!(paths.insert(CgroupId(most + 200), long, &mut caught));
    }

    #[test]
    fn an_end_that_is_told_twice_or_without_a_number_counts_once_or_not() {
        let mut paths = paths();
        let mut caught = Caught::default();
        paths.insert(CgroupId(7), "/a".to_owned(), &mut caught);
        for _ in 0..3 {
            let mut changes = vec![change(CgroupId::ROOT, "a", Some(CgroupId(7)))];
            // Nobody knows where it was: it has a path already.
            changes.push(change(CgroupId(99), "a", Some(CgroupId(7))));
            let nameless = change(CgroupId(99), "b", Some(CgroupId(0)));
            changes.push(Change { id: None, ..nameless });
            paths.apply(&mut changes, &mut |_| None, &mut caught);
        }
        assert_eq!((paths.gone.len(), paths.late.len(), caught.unplaced), (1, 0, 0));
    }

    #[test]
    fn one_that_was_taken_for_gone_and_is_there_again_stays_whatever_goes() {
        let (mut paths, mut caught) = (paths(), Caught::default());
        let back = CgroupId(7);
        paths.insert(back, "/back".to_owned(), &mut caught);
        let mut went = vec![change(CgroupId::ROOT, "back", Some(back))];
        paths.apply(&mut went, &mut |_| None, &mut caught);
        let mut came = vec![change(CgroupId::ROOT, "back", None)];
        paths.apply(&mut came, &mut |_| Some(back), &mut caught);
        for id in 0..2 * u64::try_from(GONE).unwrap() {
            let mut went = vec![change(CgroupId::ROOT, "x", Some(CgroupId(100 + id)))];
            paths.apply(&mut went, &mut |_| None, &mut caught);
        }
        assert_eq!(paths.below(back), Some("/back"));
    }

    #[test]
    fn a_walk_that_finds_one_again_takes_it_from_those_that_are_gone() {
        let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mount = CgroupMount {
            point: dir.path().to_owned(),
            root: "/".to_owned(),
        };
        let (mut paths, mut caught) = (Paths::default(), Caught::default());
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let (here, there) = (dir.path().join("a"), away.path().join("a"));
        for (from, to, gone) in [
            (None, None, 0),
            (Some(&here), Some(&there), 1),
            (Some(&there), Some(&here), 0),
        ] {
            if let (Some(from), Some(to)) = (from, to) {
                std::fs::rename(from, to).unwrap();
            }
            paths.walk(&mount, &mut caught);
            assert_eq!((paths.known.len(), paths.gone.len()), (2, gone));
            assert_eq!((paths.bytes, paths.gone_bytes), (2, 2 * gone));
        }
    }

    proptest! {
        /// Whatever comes and goes, and whenever somebody looks: every cgroup that ever was has its own path, and the
        /// kernel's list of the living is ours.
        #[test]
        fn every_cgroup_that_ever_was_has_its_path(
            steps in proptest::collection::vec((0_u8..4, 0_usize..12), 1..120),
        ) {
            const PLACES: [&str; 12] = [
                "/a", "/a/b", "/a/b/c", "/a/b/d", "/e", "/e/f", "/e/f/g", "/h", "/h/i", "/a/j", "/a/j/k", "/e/l",
            ];
            let (mut node, mut paths) = (Hierarchy::new(), paths());
            for (what, place) in steps {
                match what {
                    0 | 1 => node.make(PLACES[place]),
                    2 => node.remove(PLACES[place]),
                    _ => {
                        let caught = node.look(&mut paths);
                        prop_assert_eq!(caught.unplaced, 0);
                    }
                }
            }
            node.look(&mut paths);
            for (id, below) in &node.ever {
                prop_assert_eq!(paths.below(*id), Some(below.as_str()));
            }
            let living: BTreeMap<_, _> = paths
                .known
                .iter()
                .filter(|(_, known)| !known.gone)
                .map(|(id, known)| (known.below.to_string(), *id))
                .collect();
            prop_assert_eq!(living, node.living);
            let bytes = |of: &dyn Fn(&Known) -> bool| {
                let known = paths.known.values().filter(|known| of(known));
                known.map(|known| known.below.len()).sum::<usize>()
            };
            prop_assert_eq!((paths.bytes, paths.gone_bytes), (bytes(&|_| true), bytes(&|known| known.gone)));
        }
    }
}
