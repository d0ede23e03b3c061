// SPDX-License-Identifier: Apache-2.0
//! The loads: many processes, and pairs of threads that hand a byte to and fro at a given rate. All are this program,
//! started again with a word that says what to do.

use std::io::{BufRead as _, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Processes of a crowd that work; the others sleep.
pub(crate) const BUSY: usize = 100;

/// Becomes a load if `word` names one, and then does not come back before the load is to end.
pub(crate) fn became(word: Option<&str>) -> bool {
    match word {
        Some("idle") => std::io::stdin().lines().for_each(drop),
        Some("busy") => busy(),
        Some("pairs") => pairs(),
        _ => return false,
    }
    true
}

/// Works half a percent of its time.
#[expect(clippy::disallowed_methods, reason = "sleeping is its work")]
fn busy() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(50) {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// This program as another process.
fn start(word: &str) -> Child {
    let own = std::env::current_exe().expect("a path");
    let mut command = Command::new(own);
    command.arg(word).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().expect("a process")
}

fn stop(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Many processes.
pub(crate) struct Crowd(Vec<Child>);

impl Crowd {
    pub(crate) fn new(size: usize) -> Self {
        let word = |index| if index < BUSY { "busy" } else { "idle" };
        Self((0..size).map(|index| start(word(index))).collect())
    }

    /// Wakes every process once.
    pub(crate) fn stir(&mut self) {
        for child in &mut self.0 {
            if let Some(stdin) = &mut child.stdin {
                drop(stdin.write_all(b"\n"));
            }
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
        }
        self.0.iter_mut().for_each(stop);
    }
}

/// A process with pairs of threads, two on each CPU, that switch to and fro.
pub(crate) struct Pairs(Child);

impl Pairs {
    /// At rest at first.
    pub(crate) fn new() -> Self {
        Self(start("pairs"))
    }

    /// Switches a second from now on, of all pairs together.
    pub(crate) fn set_rate(&mut self, switches: u64) {
        let stdin = self.0.stdin.as_mut().expect("it was started with a pipe");
        writeln!(stdin, "{switches}").expect("it reads");
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

/// Reads rates, a line each, and keeps to the latest until there are no more.
fn pairs() {
    static RATE: AtomicU64 = AtomicU64::new(0);
    let cpus = std::thread::available_parallelism().map_or(1, Into::into);
    let count = u64::try_from(cpus * 2).unwrap_or(2);
    for cpu in (0..cpus).chain(0..cpus) {
        let (hear_ping, ping) = std::io::pipe().expect("a pipe");
        let (hear_pong, pong) = std::io::pipe().expect("a pipe");
        std::thread::spawn(move || answer(cpu, hear_ping, pong));
        std::thread::spawn(move || serve(cpu, count, &RATE, hear_pong, ping));
    }
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        RATE.store(line.parse().unwrap_or(0), Ordering::Relaxed);
    }
}

fn answer(cpu: usize, mut hear: PipeReader, mut say: PipeWriter) {
    pin(cpu);
    let mut byte = [0];
    while hear.read_exact(&mut byte).is_ok() && say.write_all(&byte).is_ok() {}
}

/// Plays as many rounds as the time since the last look asks for; a round is two switches, as both are on one CPU.
#[expect(clippy::disallowed_methods, reason = "a rate below the utmost means to sleep")]
fn serve(cpu: usize, pairs: u64, rate: &AtomicU64, mut hear: PipeReader, mut say: PipeWriter) {
    const STEP: Duration = Duration::from_millis(5);
    pin(cpu);
    let mut byte = [0];
    let mut last = Instant::now();
    // Rounds owed, in rounds times nanoseconds of a second.
    let mut owed = 0_u128;
    loop {
        std::thread::sleep(STEP);
        let now = Instant::now();
        // After a long stall no more than ten steps are made up for.
        let passed = (now - last).min(STEP * 10).as_nanos();
        last = now;
        owed += passed * u128::from(rate.load(Ordering::Relaxed) / pairs / 2);
        while owed >= 1_000_000_000 {
            owed -= 1_000_000_000;
            if say.write_all(&byte).is_err() || hear.read_exact(&mut byte).is_err() {
                return;
            }
        }
    }
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    // Where CPUs are not numbered from 0 the pair runs where it likes, and the rate is measured all the same.
    let _anywhere = rustix::thread::sched_setaffinity(None, &set);
}
