// SPDX-License-Identifier: Apache-2.0
//! Which processes hold GPU files: owns the walk through `/proc` and how much of it is done at a time, and decides
//! nothing about what the files show.
//!
//! The kernel's only list of GPU files is in debugfs, which many nodes lock or do not mount. So every process has to be
//! looked at: one `readlink` per open file, too much for a tick on a node with some ten thousand of them. Therefore:
//!
//! - known GPU files are read at each reading: one `open`, `read`, `close` each, and one of several duplicates only;
//! - `/proc` is listed twice a second at most. A process that was not there before is looked at in the reading that lists
//!   it, then again after as long as it has been known, and at last every `scan`: at 0, 1, 2, 4, 8, 16, 26 ... s with the
//!   default of 10 s and a tick of 1 s;
//! - all looks together cost [`UNITS_PER_SECOND`] at most. A look that does not fit goes on at the next reading, in the
//!   middle of a process if need be. Young and old processes take turns, so neither can hold the other up.
//!
//! **A GPU file is found** in the reading that first lists its process if it was open by then, else within `scan`, or
//! within (open files of the node + 8 x processes) / 2048 seconds where that is longer (twice that while processes
//! start all the time). Nothing is lost by that: the file's counters tell its whole life, and it is known since when the
//! process can have had it. What is lost is what a file used that was closed before it was found, and its last tick.

use super::cards::Cards;
use super::fdinfo::{self, Engine};
use super::queue::{LISTING, Queue};
use super::unseen::Unseen;
use super::usage::{FileId, Sighting};
use crate::files::{Fault, parse_number};
use attribution::model::MonotonicNanos;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What looks may cost: one unit is one `readlink`, 1.5 to 2 us on an EPYC (examples/gpu_users.rs). So 4 ms a second, 0.4 %
/// of a CPU, on a node with enough processes to use it up (a thousand with 20 files each), and less on others.
const UNITS_PER_SECOND: u64 = 2_048;
/// Longest time between two readings that is made up for at once: a reading takes 16 ms of it at most.
const MOST_AT_ONCE: Duration = Duration::from_secs(4);
/// Opening and closing a process's list of files, and reading what one GPU file shows (xe and amdgpu go through the
/// client's buffers for it), in units.
const LOOK_UNITS: u64 = 8;
const ASK_UNITS: u64 = 16;
/// Most processes that are known. A node that runs more has `pid_max` raised beyond what 64-bit kernels set by 32.
pub(super) const MOST_PROCESSES: usize = 131_072;
/// Longest text about a file that is read. The longest known is 2 KB.
const LONGEST_TEXT: u64 = 16_384;
/// Most GPU files that are read at each reading, about 20 us each. Beyond are those of nodes that share their GPUs among
/// more containers than they have CPUs. A look at a process ends there, too: a million duplicates are a matter of one
/// loop of a tenant's, and remembering and comparing them would be ours.
pub(super) const MOST_HANDLES: usize = 4_096;

/// An open GPU file of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handle {
    number: u32,
    file: FileId,
    /// See [`Sighting::since`].
    since: Option<MonotonicNanos>,
}

/// A process.
#[derive(Debug)]
struct Known {
    /// When it was first listed; `None` for those of the first list.
    listed: Option<MonotonicNanos>,
    /// Every GPU file that it got before this moment is in `handles`; `None` before its first look.
    since: Option<MonotonicNanos>,
    /// The number of the list that it was last in.
    list: u64,
    /// Its GPU files, duplicates included.
    handles: Vec<Handle>,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    pid: u32,
    began: MonotonicNanos,
    files: fs::ReadDir,
    /// GPU files that were seen, [`MOST_HANDLES`] at most.
    seen: HashSet<u32>,
    /// There were more.
    is_cut: bool,
}

/// All processes of a `/proc`.
#[derive(Debug)]
pub(crate) struct Processes {
    root: PathBuf,
    scan: Duration,
    known: HashMap<u32, Known>,
    /// Those with handles.
    holders: BTreeSet<u32>,
    queue: Queue,
    look: Option<Look>,
    /// When the latest list was taken, and its number.
    listed: Option<MonotonicNanos>,
    list: u64,
    /// When looks were last allowed for.
    looked: Option<MonotonicNanos>,
    unseen: Unseen,
}

impl Processes {
    /// Nothing is read yet.
    pub(crate) fn new(root: PathBuf, scan: Duration) -> Self {
        Self {
            root,
            scan,
            known: HashMap::new(),
            holders: BTreeSet::new(),
            queue: Queue::new(scan),
            look: None,
            listed: None,
            list: 0,
            looked: None,
            unseen: Unseen::default(),
        }
    }

    /// Who holds a file of which card, and what went wrong.
    pub(crate) fn sightings(
        &mut self,
        now: MonotonicNanos,
        cards: &dyn Cards,
    ) -> (Vec<Sighting>, Vec<Fault>) {
        let mut faults = Vec::new();
        if self.listed.is_none_or(|listed| now.since(listed) >= LISTING)
            && let Err(error) = self.take_list(now)
        {
            faults.push(Fault::io(&self.root, &error));
        }
        let refused_before = self.unseen.refused;
        self.look_at_the_due(now, cards);
        let sightings = self.ask_the_holders(cards);
        faults.extend(
            self.unseen
                .after_looks(refused_before, now, self.scan, &self.root),
        );
        (sightings, faults)
    }

    /// Whether there may be users that cannot be seen.
    pub(crate) fn hide_users(&self, now: MonotonicNanos) -> bool {
        self.unseen.hides_users(now, self.scan)
    }

    /// Takes the list of processes: new ones are due at once, those that are gone are forgotten.
    fn take_list(&mut self, now: MonotonicNanos) -> io::Result<()> {
        self.list += 1;
        for entry in fs::read_dir(&self.root)? {
            let Some(pid) = number(&entry?) else {
                continue;
            };
            if let Some(known) = self.known.get_mut(&pid) {
                known.list = self.list;
            } else if self.known.len() >= MOST_PROCESSES {
                self.unseen.too_many += 1;
            } else {
                let listed = self.listed.is_some().then_some(now);
                let known = Known {
                    listed,
                    since: self.listed,
                    list: self.list,
                    handles: Vec::new(),
                };
                self.known.insert(pid, known);
                self.queue.arrived(pid, listed, now);
            }
        }
        self.listed = Some(now);
        // What is queued for a process that is gone is dropped when it is due.
        let (known, list) = (&mut self.known, self.list);
        known.retain(|_, known| known.list == list);
        self.holders.retain(|pid| known.contains_key(pid));
        Ok(())
    }

    /// Looks at processes until nothing is due or enough was done.
    fn look_at_the_due(&mut self, now: MonotonicNanos, cards: &dyn Cards) {
        let passed = self.looked.map_or(MOST_AT_ONCE, |looked| now.since(looked));
        let passed = passed.min(MOST_AT_ONCE).as_millis();
        let mut units = u64::try_from(passed).unwrap_or(0) * UNITS_PER_SECOND / 1_000;
        self.looked = Some(now);
        while units > 0 {
            let Some(mut look) = self.look.take().or_else(|| self.begin_a_look(now, &mut units)) else {
                break;
            };
            let pid = look.pid;
            // Out of the map, so that its files can be read while it changes. It may have ended since the look began.
            let Some(mut known) = self.known.remove(&pid) else {
                continue;
            };
            if self.go_on(&mut look, &mut known, &mut units, cards) {
                known.handles.retain(|handle| look.seen.contains(&handle.number));
                // What was beyond may be found at another look, and the process had it before this one.
                if !look.is_cut {
                    known.since = Some(look.began);
                }
                self.queue.looked_at(pid, known.listed, now);
            } else {
                self.look = Some(look);
            }
            if known.handles.is_empty() {
                self.holders.remove(&pid);
            } else {
                self.holders.insert(pid);
            }
            self.known.insert(pid, known);
        }
    }

    /// Opens the next process that is due; `None` when there is none.
    fn begin_a_look(&mut self, now: MonotonicNanos, units: &mut u64) -> Option<Look> {
        while *units > 0 {
            let pid = self.queue.next(now)?;
            let Some(known) = self.known.get(&pid) else {
                continue;
            };
            let listed = known.listed;
            *units = units.saturating_sub(LOOK_UNITS);
            match fs::read_dir(self.process(pid).join("fd")) {
                Ok(files) => {
                    return Some(Look {
                        pid,
                        began: now,
                        files,
                        seen: HashSet::new(),
                        is_cut: false,
                    });
                }
                // Asked again like any other: what is gone leaves the list, and a refusal may end (setuid, exec).
                Err(error) => {
                    self.unseen.refused += u64::from(error.kind() == io::ErrorKind::PermissionDenied);
                    self.queue.looked_at(pid, listed, now);
                }
            }
        }
        None
    }

    /// Goes on with a look, and answers whether it is over.
    fn go_on(&mut self, look: &mut Look, known: &mut Known, units: &mut u64, cards: &dyn Cards) -> bool {
        while *units > 0 {
            let Some(Ok(entry)) = look.files.next() else {
                return true; // An error is the end of the process.
            };
            *units = units.saturating_sub(1);
            let Some(fd) = number(&entry) else {
                continue;
            };
            match fs::read_link(entry.path()) {
                Ok(target) if is_gpu(&target) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.unseen.refused += 1;
                    return true;
                }
                _ => continue,
            }
            if look.seen.len() >= MOST_HANDLES {
                look.is_cut = true;
                self.unseen.too_many += 1;
                return true;
            }
            look.seen.insert(fd);
            let at = known.handles.iter().position(|handle| handle.number == fd);
            let before = at.and_then(|at| known.handles.get(at)).map(|handle| handle.file);
            if before.is_some_and(|file| cards.sleeps(file.card)) {
                continue;
            }
            *units = units.saturating_sub(ASK_UNITS);
            let file = self.ask(look.pid, fd, cards).map(|(file, _)| file);
            if file == before {
                continue;
            }
            if let Some(at) = at {
                known.handles.remove(at);
            }
            if let Some(file) = file {
                self.add(known, fd, file);
            }
        }
        false
    }

    fn add(&mut self, known: &mut Known, number: u32, file: FileId) {
        if known.handles.len() >= MOST_HANDLES {
            self.unseen.too_many += 1;
            return;
        }
        known.handles.push(Handle {
            number,
            file,
            since: known.since,
        });
    }

    /// Reads every GPU file that is held, one of its duplicates only.
    fn ask_the_holders(&mut self, cards: &dyn Cards) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        for pid in self.holders.clone() {
            let Some(mut known) = self.known.remove(&pid) else {
                continue;
            };
            let mut told = HashSet::new();
            let handles = std::mem::take(&mut known.handles);
            for handle in handles {
                if told.contains(&handle.file) {
                    known.handles.push(handle);
                    continue;
                }
                if sightings.len() >= MOST_HANDLES {
                    self.unseen.too_many += 1;
                    continue;
                }
                let sleeps = cards.sleeps(handle.file.card);
                let answer = if sleeps {
                    Some((handle.file, None))
                } else {
                    self.ask(pid, handle.number, cards)
                };
                // A number that was closed and is used again for another GPU file: new since the latest look.
                let Some((file, engines)) = answer else {
                    continue;
                };
                let since = if file == handle.file {
                    handle.since
                } else {
                    known.since
                };
                known.handles.push(Handle {
                    file,
                    since,
                    ..handle
                });
                told.insert(file);
                sightings.push(Sighting {
                    pid,
                    file,
                    since,
                    engines,
                });
            }
            if known.handles.is_empty() {
                self.holders.remove(&pid);
            }
            self.known.insert(pid, known);
        }
        sightings
    }

    /// What one open file shows, if it is a GPU file on a card of interest.
    fn ask(&self, pid: u32, number: u32, cards: &dyn Cards) -> Option<(FileId, Option<Vec<Engine>>)> {
        let path = self.process(pid).join("fdinfo").join(number.to_string());
        let mut text = Vec::with_capacity(2_048);
        let file = File::open(path).ok()?;
        file.take(LONGEST_TEXT).read_to_end(&mut text).ok()?;
        let client = fdinfo::parse(&text)?;
        let file = FileId {
            card: cards.card(&client)?,
            id: client.id,
        };
        Some((file, Some(client.engines)))
    }

    fn process(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string())
    }
}

/// The number that an entry of `/proc` or of a list of open files is called by.
fn number(entry: &fs::DirEntry) -> Option<u32> {
    parse_number(entry.file_name().as_encoded_bytes())?
        .try_into()
        .ok()
}

/// Whether an open file is a GPU's. Containers may have the nodes elsewhere, but not under other names.
fn is_gpu(target: &Path) -> bool {
    let is_dri = target.parent().is_some_and(|folder| folder.ends_with("dri"));
    let name = target.file_name().map_or(&b""[..], OsStr::as_encoded_bytes);
    is_dri && (name.starts_with(b"card") || name.starts_with(b"renderD"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drm::fdinfo::Client;
    use crate::drm::testing::{Machine, nanos};

    /// No card at all.
    struct None;

    impl Cards for None {
        fn card(&self, _client: &Client) -> Option<usize> {
            Option::None
        }

        fn sleeps(&self, _card: usize) -> bool {
            false
        }
    }

    /// One card, whatever a file says.
    struct Any;

    impl Cards for Any {
        fn card(&self, _client: &Client) -> Option<usize> {
            Some(0)
        }

        fn sleeps(&self, _card: usize) -> bool {
            false
        }
    }

    #[test]
    fn this_machines_own_processes_are_walked_without_a_fault() {
        let mut processes = Processes::new(PathBuf::from("/proc"), Duration::from_secs(1));
        let own = std::process::id();
        for second in 0..30 {
            let now = MonotonicNanos::ZERO.after(Duration::from_secs(second));
            let (sightings, faults) = processes.sightings(now, &None);
            assert_eq!(sightings.len(), 0);
            for fault in faults {
                // All that can go wrong for somebody who is not root.
                assert!(fault.words.contains("needs CAP_SYS_PTRACE"), "{}", fault.words);
            }
        }
        // Its own process may be looked at by everybody, and was.
        let looked_at = processes.known.get(&own).and_then(|known| known.since);
        assert!(
            looked_at.is_some(),
            "{own} is not among {}",
            processes.known.len()
        );
    }

    #[test]
    fn a_reading_does_so_much_and_the_next_goes_on_in_the_middle_of_a_process() {
        let machine = Machine::new();
        for fd in 0..2_600 {
            machine.open(9, fd, "/dev/null", "");
        }
        let mut processes = Processes::new(machine.proc_root(), Duration::from_secs(10));
        processes.looked = Some(MonotonicNanos::ZERO);
        // A tenth of a second pays for 204 of the 2608 units that the one process costs.
        for reading in 1..=13 {
            let now = MonotonicNanos::ZERO.after(Duration::from_millis(100 * reading));
            processes.sightings(now, &None);
            assert_eq!(processes.look.is_some(), reading < 13, "after reading {reading}");
        }
        // Everything that it had when the look began is known.
        let began = MonotonicNanos::ZERO.after(Duration::from_millis(100));
        assert_eq!(processes.known[&9].since, Some(began));
    }

    #[test]
    fn of_a_process_with_a_heap_of_duplicates_the_first_ones_are_looked_at_and_the_rest_is_told_once() {
        let machine = Machine::new();
        let most = u32::try_from(MOST_HANDLES).unwrap();
        let text = nanos("amdgpu", "0000:03:00.0", 1, &[]);
        for fd in 0..most + 50 {
            machine.gpu_file(9, fd, &text);
        }
        let mut processes = Processes::new(machine.proc_root(), Duration::from_secs(10));
        processes.looked = Some(MonotonicNanos::ZERO);
        let mut told = Vec::new();
        let mut reading = |processes: &mut Processes, seconds: u64| {
            let now = MonotonicNanos::ZERO.after(Duration::from_secs(seconds));
            told.extend(processes.sightings(now, &Any).1);
            processes.look.as_ref().map(|look| look.seen.len())
        };
        let mut second = 1;
        while reading(&mut processes, second).is_some_and(|seen| seen <= MOST_HANDLES) {
            second += 4;
        }
        assert!(processes.look.is_none(), "the look is over");
        let known = &processes.known[&9];
        assert_eq!((known.handles.len(), known.since), (MOST_HANDLES, Option::None));
        // The others are seen once there are no more of them than that; until then it had them at any time since the last whole look.
        for fd in 50..most + 50 {
            machine.close(9, fd);
        }
        for later in 1..=20 {
            reading(&mut processes, second + later);
        }
        let known = &processes.known[&9];
        assert_eq!(known.handles.len(), 50);
        assert!(known.since.is_some());
        let [fault] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(
            fault.words.contains("1 processes or GPU files are beyond"),
            "{}",
            fault.words
        );
    }

    #[test]
    fn numbers_that_are_no_gpu_files_any_more_are_forgotten_at_the_next_look() {
        let machine = Machine::new();
        for fd in 1..=3 {
            machine.gpu_file(9, fd, &nanos("amdgpu", "0000:03:00.0", 1, &[]));
        }
        let mut processes = Processes::new(machine.proc_root(), Duration::from_secs(10));
        let numbers = |processes: &mut Processes, seconds| {
            processes.sightings(MonotonicNanos::ZERO.after(Duration::from_secs(seconds)), &Any);
            let mut numbers: Vec<_> = processes.known[&9]
                .handles
                .iter()
                .map(|handle| handle.number)
                .collect();
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(numbers(&mut processes, 0), [1, 2, 3]);
        let asked = processes.known[&9].handles[0].number;
        for fd in (1..=3).filter(|fd| *fd != asked) {
            machine.close(9, fd);
        }
        assert_eq!(numbers(&mut processes, 5), [1, 2, 3]);
        assert_eq!(numbers(&mut processes, 10), [asked]);
    }

    #[test]
    fn looks_that_were_refused_are_told_once_a_scan_and_not_per_process() {
        let mut processes = Processes::new(PathBuf::from("/nothing"), Duration::from_secs(10));
        processes.listed = Some(MonotonicNanos::ZERO);
        let mut words = Vec::new();
        for tenth in 0..40 {
            processes.unseen.refused += 300;
            let now = MonotonicNanos::ZERO.after(Duration::from_millis(10 * tenth));
            words.extend(
                processes
                    .sightings(now, &None)
                    .1
                    .into_iter()
                    .map(|fault| fault.words),
            );
        }
        assert_eq!(
            words,
            [
                "/nothing: 300 looks at the open files of processes were refused, so their use of GPUs is not known; \
                 needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root"
            ]
        );
        assert_eq!(processes.unseen.refused, 39 * 300);
    }
}
