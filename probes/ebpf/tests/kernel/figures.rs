// SPDX-License-Identifier: Apache-2.0
//! What the kernel itself says of a process and of the CPUs: the truth that the tests hold the probe against.

use attribution::model::TaskKey;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Field `number` of /proc/PID/stat, counted from 1 as in proc(5).
fn stat_field(pid: u32, number: usize) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_comm) = text.rsplit_once(')').unwrap();
    after_comm
        .split_whitespace()
        .nth(number - 3)
        .unwrap()
        .parse()
        .unwrap()
}

pub(crate) fn task_of(pid: u32) -> TaskKey {
    TaskKey {
        tgid: pid,
        start_ticks: stat_field(pid, 22),
    }
}

pub(crate) fn comm_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap()
        .trim()
        .to_owned()
}

/// Time on CPU that the scheduler charged to all threads of a process, in nanoseconds. Of another process it lags
/// behind by up to one of the scheduler's ticks for each running thread; our own are charged when they are asked for.
pub(crate) fn schedstat(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| thread.unwrap().path())
        .map(|thread| {
            if pid == std::process::id() {
                cpu_clock(thread.file_name().unwrap().to_str().unwrap().parse().unwrap())
            } else {
                let text = fs::read_to_string(thread.join("schedstat")).unwrap();
                text.split(' ').next().unwrap().parse::<u64>().unwrap()
            }
        })
        .sum()
}

/// The CPU clock of one of our own threads.
#[expect(unsafe_code, reason = "no safe wrapper reads the CPU clock of another thread")]
fn cpu_clock(tid: libc::pid_t) -> u64 {
    // kernel: include/linux/posix-timers.h, make_thread_cpuclock: the complement of the number above three bits, of which
    // 4 means a thread and 2 the scheduler's time.
    let clock = (!tid << 3) | 4 | 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec to the address that it gets, which is `time`, initialised and ours alone.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let error = std::io::Error::last_os_error();
    assert_eq!(answer, 0, "the CPU clock of {tid}: {error}");
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Time that the hypervisor took from all CPUs since boot, in nanoseconds (proc(5): field `steal`, `USER_HZ` 100). It is
/// in no task's time, and not in idle time either.
pub(crate) fn stolen() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let steal = text.lines().next().unwrap().split_whitespace().nth(8).unwrap();
    steal.parse::<u64>().unwrap() * 10_000_000
}

/// Measures up to four times more where the measurement fails and a hypervisor took CPU time away during it: then the
/// clocks that are held against each other went on at different speeds, and what failed was the comparison. A failure of
/// an undisturbed machine, and of the last try, stands.
pub(crate) fn undisturbed(mut measure: impl FnMut()) {
    for _ in 0..4 {
        let steal = stolen();
        let Err(failure) = catch_unwind(AssertUnwindSafe(&mut measure)) else {
            return;
        };
        let taken = (stolen() - steal) / 1_000_000;
        if taken == 0 {
            resume_unwind(failure);
        }
        eprintln!("measured again: the hypervisor took {taken} ms");
    }
    measure();
}
