// SPDX-License-Identifier: Apache-2.0
//! The CPU clock of a process: what all its threads ran since it began, the dead ones too, in nanoseconds.
//!
//! It costs one system call without a file, some hundredths of reading `/proc/PID/stat`, needs no rights, and counts the
//! very slices (`sum_exec_runtime`) that the cgroups' counters count. A thread that runs on another CPU right now shows up
//! to its latest timer tick, 1 to 10 ms ago; what is missing comes with the next reading.

use crate::error::WorkloadError;
use crate::files;
use attribution::model::CpuNanos;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use std::path::Path;

/// What a process's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockReading {
    /// Time on a CPU since it began.
    Time(CpuNanos),
    /// There is no such process (any more).
    Gone,
    /// The kernel does not tell.
    Refused,
}

/// Reads CPU clocks of processes by pid.
pub trait ProcessClock: Send {
    /// The clock of the thread group `pid`.
    fn read(&self, pid: u32) -> ClockReading;
}

/// The kernel's clocks, by the pids of our own pid namespace.
#[derive(Debug)]
pub struct KernelClock(());

impl KernelClock {
    /// The clocks of the processes that the proc mount at `root` lists.
    ///
    /// # Errors
    /// In words, why they cannot be had: `root` is no proc mount, it lists another pid namespace (its pid 7 is not ours,
    /// and the clock would tell of a stranger), or the kernel refuses.
    pub fn of(root: &Path) -> Result<Self, String> {
        let shown = root.display();
        match statfs(root) {
            Ok(found) if found.f_type == PROC_SUPER_MAGIC => {}
            Ok(_) => return Err(format!("{shown} is no proc mount")),
            Err(error) => return Err(WorkloadError::io(root, error.into()).to_string()),
        }
        let path = root.join("self/status");
        let status = match files::read(&path) {
            Ok(Some(status)) => status,
            Ok(None) => {
                return Err(format!(
                    "{shown} does not list this process: share the host's pid namespace"
                ));
            }
            Err(error) => return Err(error.to_string()),
        };
        if !is_ours(&status) {
            return Err(format!(
                "{shown} lists another pid namespace than this process's: share the host's pid namespace"
            ));
        }
        let clock = Self(());
        match clock.read(std::process::id()) {
            ClockReading::Time(_) => Ok(clock),
            ClockReading::Gone | ClockReading::Refused => Err(
                "the kernel refuses clock_gettime on a process's CPU clock (a seccomp filter?)".to_owned(),
            ),
        }
    }
}

impl ProcessClock for KernelClock {
    fn read(&self, pid: u32) -> ClockReading {
        let Some(id) = clock_id(pid) else {
            return ClockReading::Gone;
        };
        match clock_gettime(id) {
            Ok(time) => match nanos(time.tv_sec(), time.tv_nsec()) {
                Some(nanos) => ClockReading::Time(CpuNanos::from_nanos(nanos)),
                None => ClockReading::Refused,
            },
            // The kernel says EINVAL of a pid that leads no thread group; ESRCH is for those that died meanwhile.
            Err(Errno::EINVAL | Errno::ESRCH) => ClockReading::Gone,
            Err(_) => ClockReading::Refused,
        }
    }
}

/// `MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)` of include/linux/posix-timers_types.h, which C libraries have built in and
/// which therefore cannot change. `clock_getcpuclockid` makes the same number and asks the kernel once more whether it
/// is good. `None` for what no pid can be: 0 would be our own clock, and above 2^29 the shift would lose bits
/// (`PID_MAX_LIMIT` is 2^22).
fn clock_id(pid: u32) -> Option<ClockId> {
    const CPUCLOCK_SCHED: i32 = 2;
    const PID_MAX_LIMIT: i32 = 1 << 22;
    let pid = i32::try_from(pid)
        .ok()
        .filter(|pid| (1..=PID_MAX_LIMIT).contains(pid))?;
    Some(ClockId::from_raw((!pid << 3) | CPUCLOCK_SCHED))
}

fn nanos(seconds: i64, nanos: i64) -> Option<u64> {
    let seconds = u64::try_from(seconds).ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(u64::try_from(nanos).ok()?)
}

/// Whether `self/status` was read through a proc mount of the reader's own pid namespace: `NSpid` has the reader's pid in
/// the namespace of the mount and in each one nested in it down to the reader's own (proc_pid_status(5)).
/// `false` before Linux 4.1, which does not tell.
fn is_ours(status: &[u8]) -> bool {
    let mut lines = status.split(|byte| *byte == b'\n');
    let pids = lines.find_map(|line| line.strip_prefix(b"NSpid:"));
    let pids = pids.and_then(|pids| std::str::from_utf8(pids).ok());
    pids.is_some_and(|pids| pids.split_ascii_whitespace().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn time(reading: ClockReading) -> u64 {
        match reading {
            ClockReading::Time(time) => time.as_nanos(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_clock_of_this_process_is_what_the_process_itself_is_told() {
        let clock = KernelClock::of(Path::new("/proc")).unwrap();
        let own = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            nanos(time.tv_sec, time.tv_nsec).unwrap()
        };
        let before = own();
        let found = time(clock.read(std::process::id()));
        assert!((before..=own()).contains(&found), "{before} {found}");
    }

    #[test]
    fn another_process_has_a_clock_until_it_is_waited_for() {
        let clock = KernelClock::of(Path::new("/proc")).unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(time(clock.read(child.id())) > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(clock.read(child.id()), ClockReading::Gone);
    }

    #[test]
    fn a_thread_that_ended_stays_on_the_clock_of_its_process() {
        let clock = KernelClock::of(Path::new("/proc")).unwrap();
        let before = time(clock.read(std::process::id()));
        let ran = std::thread::spawn(|| {
            let own = || {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                nanos(time.tv_sec, time.tv_nsec).unwrap()
            };
            while own() < 5_000_000 {}
            own()
        });
        let ran = ran.join().unwrap();
        assert!(time(clock.read(std::process::id())) >= before + ran);
    }

    #[test]
    fn what_cannot_be_a_pid_has_no_clock_and_never_ours() {
        let clock = KernelClock::of(Path::new("/proc")).unwrap();
        for pid in [
            0,
            (1 << 22) + 1,
            1 << 29,
            u32::MAX,
            0x8000_0000 | std::process::id(),
        ] {
            assert_eq!(clock.read(pid), ClockReading::Gone, "{pid}");
        }
    }

    #[test]
    fn a_tree_that_is_no_proc_mount_has_no_clocks_and_the_reason_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let reason = KernelClock::of(dir.path()).unwrap_err();
        assert!(reason.ends_with("is no proc mount"), "{reason}");
        assert!(KernelClock::of(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_proc_mount_is_ours_when_it_knows_us_by_one_pid() {
        assert!(is_ours(b"Name:\tkepler\nNSpid:\t7\nNSpgid:\t7\n"));
        assert!(
            !is_ours(b"Name:\tkepler\nNSpid:\t4711\t7\n"),
            "a container's own pids"
        );
        assert!(!is_ours(b"Name:\tkepler\nPid:\t7\n"), "before Linux 4.1");
    }
}
