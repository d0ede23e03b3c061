// SPDX-License-Identifier: Apache-2.0
//! A command's family, for where it can have no cgroup: whoever descends from it, looked at again and again, and so never
//! whoever lives between two looks. What ended stays known.

use attribution::model::TaskKey;
use probe_workloads::procfs::ProcFs;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Processes that are remembered: a build of a hundred thousand commands is 3 MB. More than that are not found by descent.
const MOST: usize = 100_000;

/// See the module's head.
pub(super) struct Kin {
    root: PathBuf,
    proc: ProcFs,
    known: HashSet<TaskKey>,
    /// Of the known, those that were there at the last look.
    living: BTreeSet<u32>,
    /// Whoever adopts its orphans.
    adopts: u32,
    /// Nobody needs it.
    is_off: bool,
}

impl Kin {
    /// The children of `adopts`, who is told of them as long as they live, and theirs.
    pub(super) fn of(root: &Path, adopts: u32) -> Self {
        Self {
            root: root.to_owned(),
            proc: ProcFs::new(root),
            known: HashSet::new(),
            living: BTreeSet::new(),
            adopts,
            is_off: false,
        }
    }

    /// Looks at nobody.
    pub(super) fn off(root: &Path) -> Self {
        Self {
            is_off: true,
            ..Self::of(root, 0)
        }
    }

    /// Remembers a process.
    pub(super) fn know(&mut self, pid: u32) {
        // Gone already: nobody can know it.
        if let Ok(Some(stat)) = self.proc.stat(pid)
            && self.known.len() < MOST
        {
            self.known.insert(stat.key());
            self.living.insert(pid);
        }
    }

    /// Everybody it knows.
    pub(super) const fn known(&self) -> &HashSet<TaskKey> {
        &self.known
    }

    /// How many there were at the last look.
    pub(super) fn living(&self) -> usize {
        self.living.len()
    }

    /// Looks who is there.
    pub(super) fn look(&mut self) {
        if self.is_off {
            return;
        }
        let mut waiting = children(&self.root, self.adopts);
        let mut seen = BTreeSet::new();
        while let Some(pid) = waiting.pop() {
            if seen.len() >= MOST || !seen.insert(pid) {
                continue;
            }
            self.know(pid);
            waiting.extend(children(&self.root, pid));
        }
        self.living = seen;
    }
}

/// The children of every thread of a process (proc_pid_task_tid_children(5)); nobody where the kernel does not say.
fn children(root: &Path, pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(root.join(format!("{pid}/task")));
    let threads = threads.into_iter().flatten().flatten();
    let of_thread = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).ok();
    let text: String = threads.filter_map(of_thread).collect();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn process(root: &Path, pid: u32, start: u64, children: &str) {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(folder.join(format!("task/{pid}"))).unwrap();
        fs::write(folder.join(format!("task/{pid}/children")), children).unwrap();
        let stat = format!(
            "{pid} (a b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0"
        );
        fs::write(folder.join("stat"), stat).unwrap();
    }

    #[test]
    fn children_of_children_are_found_and_the_dead_stay_known() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = folder.path();
        process(root, 10, 100, "11 ");
        process(root, 11, 101, "12 13 ");
        process(root, 12, 102, "");
        process(root, 13, 103, "");
        process(root, 99, 104, "");
        let mut kin = Kin::of(root, 10);
        kin.look();
        assert_eq!((kin.known().len(), kin.living()), (3, 3));
        // 12 is another process now, 13 is gone, and an orphan has come to us.
        fs::remove_dir_all(root.join("13")).unwrap();
        process(root, 12, 900, "");
        process(root, 14, 105, "");
        process(root, 10, 100, "11 14 ");
        kin.look();
        assert_eq!((kin.known().len(), kin.living()), (5, 4));
        assert!(!kin.known().iter().any(|task| task.tgid == 99));
        let mut off = Kin::off(root);
        off.look();
        assert_eq!(off.known().len(), 0);
    }
}
