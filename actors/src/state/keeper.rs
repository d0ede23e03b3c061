// SPDX-License-Identifier: Apache-2.0
//! Opens the state directory at the start, and saves into it from a thread of its own.
//!
//! Warns once when something goes wrong, and again only after it had gone well in between.

use super::file::{self, NAME, StateError};
use super::format::Saved;
use super::machine::{Conditions, Identity};
use attribution::engine::{LearnedZone, Trust};
use exporter::{Kept, KeptError};
use probe_workloads::Machine;
use rustix::fs::{Access, access, statvfs};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the state is, and whose it is.
#[derive(Debug)]
pub struct Plan {
    path: PathBuf,
    machine: Identity,
    conditions: Conditions,
}

/// What an earlier run has left, and who keeps what this one learns.
#[derive(Debug, Default)]
pub struct Memory {
    /// Learned floors.
    pub restored: Vec<LearnedZone>,
    /// How far they are believed; `None` where there are none.
    pub trust: Option<Trust>,
    /// `None` where nothing is saved.
    pub keeper: Option<Keeper>,
}

/// Saves.
#[derive(Debug)]
pub struct Keeper {
    plan: Plan,
    kept: Arc<Kept>,
    failing: bool,
    /// A broken file that could not be set aside.
    in_the_way: bool,
}

impl Plan {
    /// A plan for the machine whose `/sys` is at `sys`, and whose name is `name` where it was given one; `None` where `dir` is empty: nothing is remembered then.
    ///
    /// # Errors
    /// When this machine cannot be told from others.
    pub fn new(dir: &Path, name: &str, sys: &Path, machine: &Machine) -> Result<Option<Self>, StateError> {
        if dir.as_os_str().is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            path: dir.join(NAME),
            machine: Identity::read(name, sys, machine)?,
            conditions: Conditions::read(sys, machine),
        }))
    }

    /// Whether it looks as if something could be saved; changes nothing.
    fn can_save(&self) -> Result<(), StateError> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("/"));
        can_be_written(folder).map_err(|source| StateError::write(&self.path, source))
    }

    /// What can be said beforehand, for people; changes nothing.
    ///
    /// # Errors
    /// All that would be warned about: a file that cannot be used does not hide a folder that cannot be written.
    pub fn describe(&self, now: u64) -> Result<String, String> {
        let found = match (file::read(&self.path, &self.machine), self.can_save()) {
            (Ok(found), Ok(())) => found,
            (found, can_save) => {
                let wrong = [found.err(), can_save.err()].into_iter().flatten();
                return Err(wrong
                    .map(|error| error.to_string())
                    .collect::<Vec<_>>()
                    .join("; "));
            }
        };
        let path = self.path.display();
        Ok(match found {
            None => format!("{path}: nothing saved yet"),
            Some(saved) => {
                let (zones, age) = (saved.learned(now).len(), saved.age(now));
                let changed = match self.conditions.changes_since(&saved.conditions) {
                    changed if changed.is_empty() => changed,
                    changed => format!(", only as a prior: {changed} changed since"),
                };
                let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
                format!("{path}: idle floors of {zones} zone(s), saved {age} ago{changed}")
            }
        })
    }
}

impl Memory {
    /// Opens what `plan` says. `now` is Unix time in seconds. What is wrong is said once and counted in `kept`; a file that is
    /// no state is set aside.
    #[must_use]
    pub fn open(plan: Result<Option<Plan>, StateError>, kept: &Arc<Kept>, now: u64) -> Self {
        let plan = match plan {
            Ok(Some(plan)) => plan,
            Ok(None) => return Self::default(),
            Err(error) => {
                warn(&error, kept);
                return Self::default();
            }
        };
        match file::read(&plan.path, &plan.machine) {
            Ok(None) => Self {
                keeper: Some(Keeper::new(plan, kept)),
                ..Self::default()
            },
            Ok(Some(saved)) => {
                let restored = saved.learned(now);
                let changed = plan.conditions.changes_since(&saved.conditions);
                let trust = if changed.is_empty() {
                    Trust::Full
                } else {
                    Trust::Prior
                };
                tracing::info!(path = %plan.path.display(), zones = restored.len(), age_s = saved.age(now).as_secs(), changed, "idle floors restored");
                Self {
                    restored,
                    trust: Some(trust),
                    keeper: Some(Keeper::new(plan, kept)),
                }
            }
            Err(error) => Self {
                keeper: Keeper::despite(error, plan, kept),
                ..Self::default()
            },
        }
    }
}

impl Keeper {
    /// Who keeps from now on what this run learns; what an earlier one has left there is not asked for.
    #[must_use]
    pub fn open(plan: Result<Option<Plan>, StateError>, kept: &Arc<Kept>) -> Option<Self> {
        match plan {
            Ok(Some(plan)) => match file::read(&plan.path, &plan.machine) {
                Ok(_) => Some(Self::new(plan, kept)),
                Err(error) => Self::despite(error, plan, kept),
            },
            Ok(None) => None,
            Err(error) => {
                warn(&error, kept);
                None
            }
        }
    }

    /// Warns at the start, and not when the first save is due, where it can be seen that it will fail.
    fn new(plan: Plan, kept: &Arc<Kept>) -> Self {
        let can_save = plan.can_save();
        match &can_save {
            Ok(()) => kept.begins(),
            Err(error) => warn(error, kept),
        }
        Self {
            failing: can_save.is_err(),
            in_the_way: false,
            plan,
            kept: Arc::clone(kept),
        }
    }

    /// Where what is there is no use: nobody, if it has to stay as it is.
    fn despite(error: StateError, plan: Plan, kept: &Arc<Kept>) -> Option<Self> {
        let error = error.set_aside(&plan.path);
        warn(&error, kept);
        if error.is_in_the_way() {
            return Some(Self {
                plan,
                kept: Arc::clone(kept),
                failing: true,
                in_the_way: true,
            });
        }
        let saves = !error.forbids_saving();
        saves.then(|| Self::new(plan, kept))
    }

    /// Nobody takes its place: nothing is kept any more, and no page says that something was.
    pub fn end(self) {
        self.kept.ends();
    }

    /// Saves what was learned by `now`, Unix time in seconds. Blocks on the disk.
    pub fn save(&mut self, learned: &[LearnedZone], now: u64) {
        if learned.is_empty() {
            return;
        }
        let Plan {
            path,
            machine,
            conditions,
        } = &self.plan;
        let saved = Saved::new(machine.clone(), conditions.clone(), now, learned);
        let way = match self.in_the_way {
            true => file::make_way(path, machine),
            false => Ok(()),
        };
        match way.and_then(|()| file::write(path, &saved)) {
            Ok(()) => {
                tracing::debug!(path = %path.display(), zones = learned.len(), "idle floors saved");
                self.kept.saved(Duration::from_secs(now));
                (self.failing, self.in_the_way) = (false, false);
            }
            // The other one's save is as good; whether this one could save is not known.
            Err(error @ StateError::Busy { .. }) => tracing::debug!(%error, "idle floor"),
            Err(error) if self.failing => {
                tracing::debug!(%error, "idle floor");
                count(&error, &self.kept);
            }
            Err(error) => {
                warn(&error, &self.kept);
                self.failing = true;
            }
        }
    }
}

fn warn(error: &StateError, kept: &Kept) {
    tracing::warn!(%error, "idle floor");
    count(error, kept);
}

fn count(error: &StateError, kept: &Kept) {
    let (reason, keeps) = match error {
        StateError::Read { .. } => (KeptError::Read, true),
        StateError::Broken { .. } => (KeptError::Broken, !error.is_in_the_way()),
        StateError::Foreign { .. } => (KeptError::Foreign, true),
        StateError::Newer { .. } => (KeptError::Newer, false),
        StateError::Unidentified(_) => (KeptError::Unidentified, false),
        StateError::Write { .. } => (KeptError::Write, false),
        // Another one saves, which is as good.
        StateError::Busy { .. } => return,
    };
    kept.failed(reason, keeps);
}

/// Whether a file may be put into `folder`, or the folder made.
fn can_be_written(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|ancestor| ancestor.exists());
    let there = there.unwrap_or_else(|| Path::new("/"));
    if !there.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK)?;
    match statvfs(there) {
        // File systems without a size of their own say 0 blocks.
        Ok(room) if room.f_bavail == 0 && room.f_blocks > 0 => Err(ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{identity, learned};
    use super::*;
    use std::fs;

    fn plan(dir: &Path) -> Plan {
        Plan {
            path: dir.join(NAME),
            machine: identity(1),
            conditions: Conditions::default(),
        }
    }

    fn open(dir: &Path, now: u64) -> Memory {
        Memory::open(Ok(Some(plan(dir))), &Arc::default(), now)
    }

    #[test]
    fn what_one_run_saved_the_next_one_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(folder.path(), 1_000);
        assert!(first.restored.is_empty() && first.trust.is_none());
        first.keeper.expect("a keeper").save(&learned(20), 1_000);
        let second = open(folder.path(), 1_000);
        assert_eq!((second.restored, second.trust), (learned(20), Some(Trust::Full)));
        assert!(second.keeper.is_some());
        let said = plan(folder.path()).describe(1_090).expect("fine");
        assert!(
            said.contains("idle floors of 1 zone(s), saved 1m 30s ago"),
            "{said}"
        );
    }

    #[test]
    fn what_changed_on_the_machine_makes_it_a_prior() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut keeper = open(folder.path(), 0).keeper.expect("a keeper");
        keeper.plan.conditions.microcode = Some("0x1".to_owned());
        keeper.save(&learned(20), 0);
        assert_eq!(open(folder.path(), 0).trust, Some(Trust::Prior));
        let said = plan(folder.path()).describe(0).expect("fine");
        assert!(
            said.ends_with("only as a prior: microcode changed since"),
            "{said}"
        );
    }

    #[test]
    fn a_broken_file_and_another_machines_are_replaced_and_a_newer_one_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        for text in ["{", "", "[]"] {
            fs::write(&path, text).expect("a file");
            assert!(plan(folder.path()).describe(0).is_err(), "{text:?}");
            let memory = open(folder.path(), 0);
            assert!(memory.restored.is_empty(), "{text:?}");
            let aside = fs::read_to_string(path.with_extension("json.broken")).expect("set aside");
            assert_eq!(aside, text);
            memory.keeper.expect("a keeper").save(&learned(20), 0);
            assert_eq!(open(folder.path(), 0).restored, learned(20), "{text:?}");
        }
        let other = Plan {
            machine: identity(2),
            ..plan(folder.path())
        };
        let memory = Memory::open(Ok(Some(other)), &Arc::default(), 0);
        assert!(memory.restored.is_empty() && memory.keeper.is_some());
        fs::write(&path, r#"{"version": 2}"#).expect("a file");
        assert!(open(folder.path(), 0).keeper.is_none());
    }

    #[test]
    fn a_broken_file_that_cannot_be_set_aside_is_said_so_and_not_replaced_until_it_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (
            folder.path().join(NAME),
            folder.path().join("idle-floor.json.broken"),
        );
        fs::write(&path, "{").expect("a file");
        // Not even root puts a file into a folder's place.
        fs::create_dir(&aside).expect("a folder");
        let said = file::read(&path, &identity(1)).expect_err("broken").to_string();
        assert!(
            said.contains("the daemon sets it aside"),
            "nothing was done yet: {said}"
        );
        let error = file::read(&path, &identity(1))
            .expect_err("broken")
            .set_aside(&path);
        let said = error.to_string();
        assert!(
            said.contains("cannot be set aside") && said.contains("nothing is saved"),
            "{said}"
        );
        let kept = Arc::<Kept>::default();
        let memory = Memory::open(Ok(Some(plan(folder.path()))), &kept, 0);
        let mut keeper = memory.keeper.expect("it may get better");
        let told = |up: bool, broken: u64| {
            let (up, broken) = (format!("up: {up},"), format!("errors: [0, {broken}, 0, 0, 0, 0]"));
            let told = format!("{kept:?}");
            assert!(told.contains(&up) && told.contains(&broken), "{told}");
        };
        told(false, 1);
        keeper.save(&learned(20), 0);
        assert_eq!(fs::read_to_string(&path).expect("still there"), "{");
        told(false, 2);
        fs::remove_dir(&aside).expect("a folder");
        keeper.save(&learned(20), 0);
        told(true, 2);
        assert_eq!(fs::read_to_string(&aside).expect("set aside"), "{");
        assert_eq!(open(folder.path(), 0).restored, learned(20));
        // Once is enough: what is there from now on is a state.
        keeper.save(&learned(21), 0);
        assert_eq!(fs::read_to_string(&aside).expect("set aside"), "{");
    }

    #[test]
    fn what_was_in_the_way_and_is_not_any_more_is_left_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (
            folder.path().join(NAME),
            folder.path().join("idle-floor.json.broken"),
        );
        for there in [None, Some(r#"{"version": 2}"#)] {
            fs::write(&path, "{").expect("a file");
            fs::create_dir(&aside).expect("a folder");
            let mut keeper = open(folder.path(), 0).keeper.expect("a keeper");
            fs::remove_dir(&aside).expect("a folder");
            match there {
                None => fs::remove_file(&path).expect("a file"),
                Some(newer) => fs::write(&path, newer).expect("a file"),
            }
            keeper.save(&learned(20), 0);
            assert!(!aside.exists());
            let is = fs::read_to_string(&path).expect("a file");
            assert_eq!(there.is_some_and(|newer| newer == is), keeper.failing, "{is}");
        }
    }

    #[test]
    fn nothing_is_remembered_without_a_folder_or_without_an_identity() {
        let machine = Machine::default();
        let nowhere = Plan::new(Path::new(""), "", Path::new("/nonexistent"), &machine);
        assert!(matches!(nowhere, Ok(None)));
        let nobody = Plan::new(
            Path::new("/var/lib/kepler"),
            "",
            Path::new("/nonexistent"),
            &machine,
        );
        assert!(matches!(&nobody, Err(StateError::Unidentified(_))));
        assert!(Memory::open(nobody, &Arc::default(), 0).keeper.is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_known_before_and_survived() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        let below = file.join("kepler");
        let said = plan(&below).describe(0).expect_err("not a folder");
        assert!(said.contains("state.dir"), "{said}");
        let mut keeper = open(&below, 0).keeper.expect("it may get better");
        assert!(keeper.failing, "known from the start");
        keeper.failing = false;
        keeper.save(&learned(20), 0);
        assert!(keeper.failing);
        fs::remove_file(&file).expect("a file");
        keeper.save(&learned(20), 0);
        assert!(!keeper.failing);
        assert_eq!(open(&below, 0).restored, learned(20));
    }

    #[test]
    fn a_broken_file_does_not_hide_a_folder_that_cannot_be_written() {
        // Nobody, not even root, makes a file there; what is there is no file of ours.
        let plan = Plan {
            path: Path::new("/proc/sys/kernel/ostype").to_owned(),
            ..plan(Path::new("/"))
        };
        let folder = plan.can_save().err().map(|error| error.to_string());
        let said = plan.describe(0).expect_err("broken");
        assert!(said.contains("is broken"), "{said}");
        assert!(folder.is_some_and(|folder| said.contains(&folder)), "{said}");
    }

    #[test]
    fn a_save_of_another_daemon_is_no_trouble() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut keeper = open(folder.path(), 0).keeper.expect("a keeper");
        let other = fs::File::open(folder.path()).expect("a folder");
        rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("a lock");
        keeper.save(&learned(20), 0);
        assert!(!keeper.failing && open(folder.path(), 0).restored.is_empty());
        drop(other);
        keeper.save(&learned(20), 0);
        assert_eq!(open(folder.path(), 0).restored, learned(20));
    }

    #[test]
    fn nothing_learned_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut keeper = open(folder.path(), 0).keeper.expect("a keeper");
        keeper.save(&learned(20), 0);
        keeper.save(&[], 0);
        assert_eq!(open(folder.path(), 0).restored, learned(20));
    }
}
