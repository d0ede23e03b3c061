// SPDX-License-Identifier: Apache-2.0
//! The cgroups of a hierarchy by number: the name of each and which it is in. A path is put together when it is asked for.
//!
//! Bounded by [`WALK_DIRECTORIES`] that are there and [`GONE`] that have gone, with a name each, which has 255 bytes
//! (`NAME_MAX`): 17 MiB of names and 7 MiB of the map at worst. Nobody's names, however long and deep, take the room of
//! anybody else's: whole paths, of 4 KiB each, would.

use super::index::{List, Met, WALK_DIRECTORIES, WalkOutcome, walk_below};
use super::mounts::CgroupMount;
use super::tree::Caught;
use super::watch::Change;
use attribution::model::CgroupId;
use foldhash::{HashMap, HashSet};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

/// Cgroups remembered after they went, the newest. A probe names the last of a cgroup's work one report after its end
/// at the latest, so this many may end in a tick or two: some 600 KiB, reached only where that many ever ended.
const GONE: usize = 4_096;

/// Ends whose parent was not known yet, kept for one more look. They come about when a cgroup and what it is in go while
/// they are being looked at.
const LATE: usize = 256;

/// Bytes of a path that a system call takes, with the zero at its end (`PATH_MAX`).
const PATH_MAX: usize = 4_096;

/// Levels below the mount point: no path of more has room in [`PATH_MAX`].
const LEVELS: u16 = 2_047;

/// Cgroups that are taken for living though a walk did not meet them, as it could not look into what they are in. A quarter
/// of all: whoever can hide a folder from the walk fills no more than that with what is not there any more. Outer ones come
/// first.
const SPARED: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Living,
    /// Living so far; the walk that goes on has not met it yet.
    Unmet,
    Gone,
    /// Gone long ago, but something is known that was in it.
    Kept,
}

/// A cgroup.
#[derive(Debug)]
struct Known {
    /// Which it is in; none for the mount point. Always one that is known, on the level above.
    parent: Option<CgroupId>,
    name: Box<OsStr>,
    /// How many known ones are in it.
    inside: u32,
    level: u16,
    state: State,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Paths {
    known: HashMap<CgroupId, Known>,
    /// Those that are gone, in the order in which they went: what was in a cgroup before that.
    gone: VecDeque<CgroupId>,
    late: Vec<Change>,
}

impl Paths {
    /// Cgroups known, and those of them that are gone.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.known.len(), self.gone.len())
    }

    /// A cgroup's path below the mount point, beginning with `/`; empty for the mount point itself. Of a longer one than
    /// [`PATH_MAX`] the outer part, which says whose it is.
    pub(super) fn below(&self, id: CgroupId) -> Option<OsString> {
        let names = self.names(id)?;
        let mut bytes = 0;
        let fits = |name: &&&OsStr| {
            bytes += 1 + name.len();
            bytes < PATH_MAX
        };
        let fitting = names.iter().take_while(fits).count();
        Some(joined(names.get(..fitting).unwrap_or_default()))
    }

    /// The path of what a change is about; none where no system call would take it.
    fn child(&self, change: &Change) -> Option<OsString> {
        let mut names = self.names(change.parent)?;
        names.push(&change.name);
        let bytes: usize = names.iter().map(|name| 1 + name.len()).sum();
        (bytes < PATH_MAX).then(|| joined(&names))
    }

    /// The names from below the mount point to a cgroup's own.
    fn names(&self, id: CgroupId) -> Option<Vec<&OsStr>> {
        let mut known = self.known.get(&id)?;
        let mut names = Vec::with_capacity(usize::from(known.level) + 1);
        while let Some(parent) = known.parent {
            names.push(&*known.name);
            known = self.known.get(&parent)?;
        }
        names.reverse();
        Some(names)
    }

    /// Takes changes in and empties the list. First those that came, oldest first: what is still there has its number
    /// from `id_at`. Then those that went, newest first: a cgroup goes after everything in it, so its own place is known
    /// before theirs is asked for.
    pub(super) fn apply(
        &mut self,
        changes: &mut Vec<Change>,
        id_at: &mut dyn FnMut(&OsStr) -> Option<CgroupId>,
        caught: &mut Caught,
    ) {
        for change in changes.iter().filter(|change| change.came) {
            if let Some(below) = self.child(change)
                && let Some(id) = id_at(&below)
            {
                self.insert(id, change, caught);
            }
        }
        let before = self.gone.len();
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
        // They were taken newest first.
        if let Some(ends) = self.gone.make_contiguous().get_mut(before..) {
            ends.reverse();
        }
        self.forget();
    }

    /// A cgroup is gone; `false` when nobody can tell yet where it was.
    fn went(&mut self, change: &Change, caught: &mut Caught) -> bool {
        let Some(id) = change.id else { return true };
        if !self.known.contains_key(&id) {
            if !self.known.contains_key(&change.parent) {
                return false;
            }
            caught.new_and_gone += u64::from(self.insert(id, change, caught));
        }
        if let Some(known) = self.known.get_mut(&id)
            && known.state == State::Living
        {
            known.state = State::Gone;
            self.gone.push_back(id);
        }
        true
    }

    /// One that a change is about; whether it is new.
    fn insert(&mut self, id: CgroupId, change: &Change, caught: &mut Caught) -> bool {
        if self.living() >= bound() && !self.known.contains_key(&id) {
            caught.refused += 1;
            return false;
        }
        self.take(id, Some(change.parent), &change.name, caught)
    }

    fn take(&mut self, id: CgroupId, parent: Option<CgroupId>, name: &OsStr, caught: &mut Caught) -> bool {
        let placed = self.place(id, parent, name);
        caught.refused += u64::from(placed.is_none());
        let is_new = placed == Some(true);
        caught.new += u64::from(is_new);
        is_new
    }

    /// How many are there, with those that are kept for what was in them.
    fn living(&self) -> usize {
        self.known.len().saturating_sub(self.gone.len())
    }

    /// One is there, under this name; whether it is new. None when it cannot be: no cgroup changes its level (version 2
    /// renames none, version 1 only within what it is in), so none is ever in itself and every path has an end.
    fn place(&mut self, id: CgroupId, parent: Option<CgroupId>, name: &OsStr) -> Option<bool> {
        let level = match parent {
            Some(parent) => self.known.get(&parent)?.level + 1,
            None => 0,
        };
        if level > LEVELS || parent == Some(id) {
            return None;
        }
        let old = self.known.get_mut(&id);
        let is_new = old.is_none();
        let mut left = None;
        match old {
            Some(known) if known.level != level && known.inside > 0 => return None,
            Some(known) => {
                if *known.name != *name {
                    known.name = name.into();
                }
                if known.state == State::Gone {
                    self.gone.retain(|gone| *gone != id);
                }
                left = known.parent;
                (known.parent, known.level, known.state) = (parent, level, State::Living);
            }
            None => {
                let known = Known {
                    parent,
                    name: name.into(),
                    inside: 0,
                    level,
                    state: State::Living,
                };
                self.known.insert(id, known);
            }
        }
        if let Some(parent) = parent.and_then(|parent| self.known.get_mut(&parent)) {
            parent.inside += 1;
        }
        self.leave(left);
        Some(is_new)
    }

    /// One fewer is in this one. If nothing is and it was only kept for that, it is forgotten, and so on outwards.
    fn leave(&mut self, mut parent: Option<CgroupId>) {
        while let Some(id) = parent.take()
            && let Some(known) = self.known.get_mut(&id)
        {
            known.inside = known.inside.saturating_sub(1);
            if known.inside == 0 && known.state == State::Kept {
                parent = known.parent;
                self.known.remove(&id);
            }
        }
    }

    /// Finds all that are there. Those that are not there any more are gone; of what could not be looked at nobody knows.
    pub(super) fn walk(&mut self, mount: &CgroupMount, list: List, caught: &mut Caught) -> WalkOutcome {
        for known in self.known.values_mut() {
            if known.state == State::Living {
                known.state = State::Unmet;
            }
        }
        let mut unseen = HashSet::default();
        let outcome = walk_below(mount, list, &mut |met| {
            match met {
                // As many as a walk looks at have room until those that it does not meet have left.
                Met::Cgroup { id, parent, name, .. } => {
                    self.take(id, parent, name, caught);
                }
                Met::Unseen(within) => {
                    unseen.insert(within);
                }
            }
            ControlFlow::Continue(())
        });
        self.settle(unseen);
        self.forget();
        outcome
    }

    /// Decides about those that a walk did not meet.
    fn settle(&mut self, mut unseen: HashSet<Option<CgroupId>>) {
        let unmet = self.known.iter().filter(|(_, known)| known.state == State::Unmet);
        let mut unmet: Vec<_> = unmet.map(|(id, known)| (known.level, *id)).collect();
        unmet.sort_unstable();
        let met = self.living().saturating_sub(unmet.len());
        let mut room = bound().saturating_sub(met).min(SPARED);
        let mut gone = Vec::new();
        for (_, id) in unmet {
            let Some(known) = self.known.get_mut(&id) else {
                continue;
            };
            if room > 0 && unseen.contains(&known.parent) {
                room -= 1;
                known.state = State::Living;
                unseen.insert(Some(id));
            } else {
                known.state = State::Gone;
                gone.push(id);
            }
        }
        // What is in a cgroup goes before it does.
        self.gone.extend(gone.into_iter().rev());
    }

    fn forget(&mut self) {
        while self.gone.len() > GONE {
            let Some(id) = self.gone.pop_front() else { break };
            match self.known.get_mut(&id) {
                Some(known) if known.inside > 0 => known.state = State::Kept,
                Some(known) => {
                    let parent = known.parent;
                    self.known.remove(&id);
                    self.leave(parent);
                }
                None => {}
            }
        }
    }
}

/// [`WALK_DIRECTORIES`].
fn bound() -> usize {
    usize::try_from(WALK_DIRECTORIES).unwrap_or(usize::MAX)
}

fn joined(names: &[&OsStr]) -> OsString {
    let mut path = OsString::new();
    for name in names {
        path.push("/");
        path.push(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::index::folders_in;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::io;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

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
                &mut |below| self.living.get(below.to_str().unwrap()).copied(),
                &mut caught,
            );
            caught
        }
    }

    fn change(parent: CgroupId, name: &str, id: Option<CgroupId>) -> Change {
        Change {
            parent,
            name: name.into(),
            id,
            came: id.is_none(),
        }
    }

    fn paths() -> Paths {
        let mut paths = Paths::default();
        paths.place(CgroupId::ROOT, None, OsStr::new(""));
        paths
    }

    /// A path as text.
    fn text(paths: &Paths, id: CgroupId) -> Option<String> {
        Some(paths.below(id)?.into_string().unwrap())
    }

    /// A cgroup came and has this number.
    fn came(paths: &mut Paths, parent: CgroupId, name: &str, id: u64) -> Caught {
        let mut caught = Caught::default();
        let id = CgroupId(id);
        paths.apply(
            &mut vec![change(parent, name, None)],
            &mut |_| Some(id),
            &mut caught,
        );
        caught
    }

    /// One went.
    fn went(paths: &mut Paths, parent: CgroupId, name: &str, id: u64) -> Caught {
        let mut caught = Caught::default();
        let mut changes = vec![change(parent, name, Some(CgroupId(id)))];
        paths.apply(&mut changes, &mut |_| None, &mut caught);
        caught
    }

    fn mount(point: &Path) -> CgroupMount {
        CgroupMount {
            point: point.to_owned(),
            root: "/".to_owned(),
        }
    }

    fn id_of(folder: impl AsRef<Path>) -> CgroupId {
        CgroupId(std::fs::symlink_metadata(folder).unwrap().ino())
    }

    /// Whatever happens: what a cgroup is in is known, one level up, and knows how many are in it.
    fn assert_whole(paths: &Paths) {
        let mut inside = BTreeMap::new();
        for (id, known) in &paths.known {
            if let Some(parent) = known.parent {
                assert_eq!(paths.known[&parent].level + 1, known.level, "{id:?}");
                *inside.entry(parent).or_insert(0) += 1;
            }
            assert_ne!(known.state, State::Unmet);
        }
        for (id, known) in &paths.known {
            assert_eq!(known.inside, inside.get(id).copied().unwrap_or(0), "{id:?}");
            assert!(known.state != State::Kept || known.inside > 0, "{id:?}");
        }
        let gone = paths.known.values().filter(|known| known.state == State::Gone);
        assert_eq!(gone.count(), paths.gone.len());
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
            assert_eq!(text(&paths, *id).as_deref(), Some(below.as_str()));
        }
        // What was in a cgroup went before it and is forgotten first.
        let order: Vec<_> = paths.gone.iter().filter_map(|id| text(&paths, *id)).collect();
        assert_eq!(order, ["/docker/x/init", "/docker/x", "/docker"]);
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
        assert_eq!(text(&paths, inner).as_deref(), Some("/outer/inner"));
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
        assert_eq!(text(&paths, CgroupId(2)).as_deref(), Some("/stays"));
        let (last, below) = node.ever.last().unwrap();
        assert_eq!(text(&paths, *last).as_deref(), Some(below.as_str()));
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
        let at = |below: &str| dir.path().join(below);
        std::fs::create_dir_all(at("a/b")).unwrap();
        let (mut paths, mut caught) = (Paths::default(), Caught::default());
        let mut walk = |paths: &mut Paths| paths.walk(&mount(dir.path()), folders_in, &mut caught);
        walk(&mut paths);
        let (root, a, b) = (id_of(at("")), id_of(at("a")), id_of(at("a/b")));
        let known = [root, a, b].map(|id| text(&paths, id).unwrap());
        assert_eq!(known, ["", "/a", "/a/b"]);
        std::fs::create_dir(at("c")).unwrap();
        std::fs::remove_dir(at("a/b")).unwrap();
        walk(&mut paths);
        let known = [a, b, id_of(at("c"))].map(|id| text(&paths, id).unwrap());
        assert_eq!(known, ["/a", "/a/b", "/c"]);
        assert_eq!(paths.len(), (4, 1));
        walk(&mut paths);
        assert_eq!((paths.len(), caught.new), ((4, 1), 4));
        assert_whole(&paths);
    }

    #[test]
    fn no_more_living_ones_are_held_than_a_walk_looks_at() {
        let mut paths = paths();
        for id in 2..=WALK_DIRECTORIES {
            paths.place(CgroupId(id), Some(CgroupId::ROOT), OsStr::new("x"));
        }
        let late = |paths: &mut Paths| came(paths, CgroupId::ROOT, "late", u64::MAX);
        assert_eq!(late(&mut paths).refused, 1);
        assert_eq!(text(&paths, CgroupId(u64::MAX)), None);
        // One of those that are known may be told of again, and one that goes makes room.
        assert_eq!(came(&mut paths, CgroupId::ROOT, "again", 2).refused, 0);
        assert_eq!(text(&paths, CgroupId(2)).as_deref(), Some("/again"));
        went(&mut paths, CgroupId::ROOT, "again", 2);
        let caught = late(&mut paths);
        assert_eq!((caught.refused, caught.new), (0, 1));
    }

    /// Whoever may make cgroups, within 10 (`/tenant`): folders of 255 bytes in each other down to a path of 4 KiB, and
    /// many in the last.
    fn with_a_tenant_of_long_paths(many: u64) -> (Paths, CgroupId) {
        let mut paths = paths();
        let mut around = CgroupId::ROOT;
        let long = "x".repeat(255);
        for id in 10..25 {
            let name = if id == 10 { "tenant" } else { &long };
            assert_eq!(came(&mut paths, around, name, id).refused, 0);
            around = CgroupId(id);
        }
        for id in 0..many {
            assert_eq!(came(&mut paths, around, &long, 10_000 + id).new, 1);
        }
        assert!(text(&paths, CgroupId(10_000)).unwrap().len() > 3_800);
        (paths, around)
    }

    #[test]
    fn the_long_paths_of_one_keep_nobody_elses_out() {
        // 76 MiB, were they held whole.
        let (mut paths, _) = with_a_tenant_of_long_paths(20_000);
        let caught = came(&mut paths, CgroupId::ROOT, "docker", 2);
        assert_eq!((caught.new, caught.refused), (1, 0));
        assert_eq!(text(&paths, CgroupId(2)).as_deref(), Some("/docker"));
        let names = paths.known.values().map(|known| known.name.len()).sum::<usize>();
        assert!(names < 255 * paths.known.len(), "{names} bytes");
        assert_whole(&paths);
    }

    #[test]
    fn of_those_that_are_gone_as_many_are_remembered_however_long_their_paths_are() {
        let (mut paths, around) = with_a_tenant_of_long_paths(5_000);
        came(&mut paths, CgroupId::ROOT, "short", 2);
        went(&mut paths, CgroupId::ROOT, "short", 2);
        let most = u64::try_from(GONE).unwrap();
        for id in 1..most {
            went(&mut paths, around, "x", 10_000 + id);
        }
        assert_eq!(text(&paths, CgroupId(2)).as_deref(), Some("/short"));
        assert_eq!(paths.gone.len(), GONE);
        went(&mut paths, around, "x", 10_000 + most);
        assert_eq!((text(&paths, CgroupId(2)), paths.gone.len()), (None, GONE));
    }

    #[test]
    fn a_path_that_no_system_call_takes_is_known_by_its_outer_part_and_not_asked_for() {
        let mut paths = paths();
        let (mut around, name) = (CgroupId::ROOT, "y".repeat(255));
        for id in 2..30 {
            paths
                .place(CgroupId(id), Some(around), OsStr::new(&name))
                .unwrap();
            around = CgroupId(id);
        }
        let path = text(&paths, around).unwrap();
        assert_eq!((path.len(), path.matches('/').count()), (15 * 256, 15));
        let mut asked = 0;
        let mut changes = vec![change(CgroupId(16), &name, None), change(CgroupId(16), "z", None)];
        let mut id_at = |below: &OsStr| {
            asked += 1;
            assert_eq!(below.len(), 15 * 256 + 2);
            None
        };
        paths.apply(&mut changes, &mut id_at, &mut Caught::default());
        assert_eq!(asked, 1);
    }

    #[test]
    fn no_cgroup_is_in_itself_nor_deeper_than_any_path_nor_on_another_level_with_what_is_in_it() {
        let mut paths = paths();
        let x = OsStr::new("x");
        let mut place = |id, parent| paths.place(CgroupId(id), Some(CgroupId(parent)), x);
        assert_eq!(
            (place(2, 1), place(3, 2), place(3, 2)),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!(place(4, 99), None, "nobody knows where that is");
        assert_eq!((place(3, 3), place(2, 3), place(1, 3)), (None, None, None));
        // With nothing in it, a number may be another cgroup's now.
        assert_eq!((place(3, 1), place(2, 3)), (Some(false), Some(false)));
        for id in 2..=u64::from(LEVELS) {
            assert_eq!(place(1_000 + id, if id == 2 { 3 } else { 999 + id }), Some(true));
        }
        assert_eq!(place(9_999, 1_000 + u64::from(LEVELS)), None);
        assert_whole(&paths);
    }

    #[test]
    fn a_cgroup_that_is_long_gone_is_kept_for_what_was_in_it_and_no_longer() {
        let mut paths = paths();
        for (id, parent, name) in [(10, 1, "outer"), (11, 10, "middle")] {
            came(&mut paths, CgroupId(parent), name, id);
        }
        went(&mut paths, CgroupId(10), "middle", 11);
        went(&mut paths, CgroupId::ROOT, "outer", 10);
        // The kernel tells of it after that of what it was in, as it may when it makes one event of two.
        went(&mut paths, CgroupId(11), "inner", 12);
        let end = |paths: &mut Paths, id: usize| {
            went(paths, CgroupId::ROOT, "x", 100 + u64::try_from(id).unwrap());
        };
        for id in 0..GONE - 1 {
            end(&mut paths, id);
        }
        assert_eq!(text(&paths, CgroupId(12)).as_deref(), Some("/outer/middle/inner"));
        assert_eq!(paths.len(), (GONE + 3, GONE), "and the mount point");
        assert_whole(&paths);
        end(&mut paths, GONE);
        assert_eq!(paths.len(), (GONE + 1, GONE));
        assert_whole(&paths);
        assert_eq!(
            [10, 11, 12].map(|id| paths.below(CgroupId(id))),
            [None, None, None]
        );
    }

    #[test]
    fn an_end_that_is_told_twice_or_without_a_number_counts_once_or_not() {
        let mut paths = paths();
        let mut caught = Caught::default();
        came(&mut paths, CgroupId::ROOT, "a", 7);
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
        let mut paths = paths();
        came(&mut paths, CgroupId::ROOT, "back", 7);
        went(&mut paths, CgroupId::ROOT, "back", 7);
        came(&mut paths, CgroupId::ROOT, "back", 7);
        assert_whole(&paths);
        for id in 0..2 * u64::try_from(GONE).unwrap() {
            went(&mut paths, CgroupId::ROOT, "x", 100 + id);
        }
        assert_eq!(text(&paths, CgroupId(7)).as_deref(), Some("/back"));
    }

    #[test]
    fn a_walk_that_finds_one_again_takes_it_from_those_that_are_gone() {
        let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
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
            paths.walk(&mount(dir.path()), folders_in, &mut caught);
            assert_eq!(paths.len(), (2, gone));
            assert_whole(&paths);
        }
    }

    #[test]
    fn a_walk_finds_a_new_name_and_what_is_and_was_in_it_goes_along() {
        let dir = tempfile::tempdir().unwrap();
        let at = |below: &str| dir.path().join(below);
        std::fs::create_dir_all(at("old/b")).unwrap();
        let (mut paths, mut caught) = (Paths::default(), Caught::default());
        paths.walk(&mount(dir.path()), folders_in, &mut caught);
        let (outer, inner) = (id_of(at("old")), id_of(at("old/b")));
        went(&mut paths, outer, "gone", u64::MAX);
        std::fs::rename(at("old"), at("new")).unwrap();
        paths.walk(&mount(dir.path()), folders_in, &mut caught);
        assert_eq!(text(&paths, inner).as_deref(), Some("/new/b"));
        assert_eq!(text(&paths, CgroupId(u64::MAX)).as_deref(), Some("/new/gone"));
        assert_eq!((paths.len(), caught.refused), ((4, 1), 0));
    }

    #[test]
    fn what_is_hidden_from_a_walk_takes_no_more_than_its_share() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("hidden/x")).unwrap();
        let (mut paths, mut caught) = (Paths::default(), Caught::default());
        paths.walk(&mount(dir.path()), folders_in, &mut caught);
        let hidden = id_of(dir.path().join("hidden"));
        let far = 1 << 60;
        let share = u64::try_from(SPARED).unwrap();
        for id in 0..share + 100 {
            paths
                .place(CgroupId(far + id), Some(hidden), OsStr::new("x"))
                .unwrap();
        }
        let inner = CgroupId(far - 1);
        paths
            .place(inner, Some(CgroupId(far)), OsStr::new("inner"))
            .unwrap();
        let list: List = |at, room, names| {
            if at.ends_with("hidden") {
                return Err(io::Error::from_raw_os_error(13));
            }
            folders_in(at, room, names)
        };
        let outcome = paths.walk(&mount(dir.path()), list, &mut caught);
        assert_eq!(outcome.unreadable, 1);
        // One that was in it already, a hundred and one too many, and the outer ones come first.
        assert_eq!(paths.len(), (2 + 1 + SPARED + 101, 102));
        assert!(paths.gone.contains(&inner));
        assert_whole(&paths);
    }

    #[test]
    fn what_is_in_a_folder_that_cannot_be_read_is_not_gone_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        for below in ["pods/a/b/c", "pods/d", "gone/e"] {
            std::fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        let (mut paths, mut caught) = (Paths::default(), Caught::default());
        paths.walk(&mount(dir.path()), folders_in, &mut caught);
        assert_eq!(paths.len(), (8, 0));
        std::fs::remove_dir_all(dir.path().join("gone")).unwrap();
        let list: List = |at, room, names| {
            if at.ends_with("pods") {
                return Err(io::Error::from_raw_os_error(24));
            }
            folders_in(at, room, names)
        };
        paths.walk(&mount(dir.path()), list, &mut caught);
        assert_eq!(paths.len(), (8, 2));
        let first = paths.gone.front().and_then(|id| text(&paths, *id));
        assert_eq!(
            first.as_deref(),
            Some("/gone/e"),
            "what is in a cgroup goes first"
        );
        paths.walk(&mount(dir.path()), list, &mut caught);
        assert_eq!(paths.len(), (8, 2), "nor after another such walk");
        let nothing: List = |_, _, _| Err(io::Error::from_raw_os_error(24));
        paths.walk(&mount(dir.path()), nothing, &mut caught);
        assert_eq!(paths.len(), (8, 2), "not even when nothing can be read");
        // A mount point that is not there any more has nothing in it.
        paths.walk(&mount(&dir.path().join("no")), folders_in, &mut caught);
        assert_eq!(paths.len(), (8, 8));
        assert_whole(&paths);
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
                let known = text(&paths, *id);
                prop_assert_eq!(known.as_deref(), Some(below.as_str()));
            }
            let living: BTreeMap<_, _> = paths
                .known
                .iter()
                .filter(|(_, known)| known.state == State::Living)
                .map(|(id, _)| (text(&paths, *id).unwrap(), *id))
                .collect();
            prop_assert_eq!(living, node.living);
            assert_whole(&paths);
        }
    }
}
