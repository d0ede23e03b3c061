// SPDX-License-Identifier: Apache-2.0
//! The command's life: started with the input and output that we have, told the signals that we are told, waited for with
//! all that it leaves behind for us to wait for, and its seconds counted by the kernel (getrusage(2)).

use super::enter;
use super::kin::Kin;
use crate::clock;
use crate::exit;
use anyhow::Context as _;
use attribution::model::MonotonicNanos;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::fs::{Access, access};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpgrp, kill_process, set_child_subreaper, wait,
};
use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// How often its family is looked at: whoever lives shorter than this may be missed where it is found by descent.
const LOOKS: Duration = Duration::from_millis(50);

/// How it ended, and what the kernel counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code, or the signal that ended it.
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) wall: Duration,
    pub(super) user: Duration,
    pub(super) system: Duration,
    /// When it ended.
    pub(super) at: MonotonicNanos,
}

impl Ended {
    /// Our own exit code.
    pub(super) fn code(&self) -> u8 {
        let code = match (self.code, self.signal) {
            (Some(code), _) => u8::try_from(code).ok(),
            (None, Some(signal)) => u8::try_from(signal)
                .ok()
                .and_then(|signal| exit::SIGNALLED.checked_add(signal)),
            (None, None) => None,
        };
        code.unwrap_or(exit::FAILED)
    }

    /// CPU time, as the kernel counts it for all that were waited for.
    pub(super) const fn cpu(&self) -> Duration {
        self.user.saturating_add(self.system)
    }
}

/// Why a command could not be started, and the exit code that says it.
pub(super) struct Refused {
    pub(super) words: String,
    pub(super) code: u8,
}

/// In the words and codes of a shell.
pub(super) fn of_exec(program: &OsStr, error: &Error) -> Refused {
    let words = format!("{}: {error}", program.display());
    let code = match error.kind() {
        ErrorKind::NotFound => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    };
    Refused { words, code }
}

/// Whether there is such a program, as a shell looks for it: found out before anything is begun for it.
pub(super) fn look_up(program: &OsStr, path: Option<&OsStr>) -> Result<(), Refused> {
    let named = Path::new(program);
    let places: Vec<PathBuf> = if program.as_bytes().contains(&b'/') {
        vec![named.to_owned()]
    } else {
        let folders = path.map(std::env::split_paths);
        folders
            .into_iter()
            .flatten()
            .map(|folder| folder.join(named))
            .collect()
    };
    let runs = |place: &PathBuf| place.is_file() && access(place, Access::EXEC_OK).is_ok();
    if places.iter().any(runs) {
        return Ok(());
    }
    let kind = if places.iter().any(|place| place.exists()) {
        ErrorKind::PermissionDenied
    } else {
        ErrorKind::NotFound
    };
    Err(of_exec(program, &kind.into()))
}

/// Signals that are told on. Of a terminal's own, see [`Child::tell`].
const FORWARDED: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// Signals that this process ignores, a bit each (proc(5), `SigIgn`); none where nobody says.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn is_among(signal: Signal, mask: u64) -> bool {
    let bit = u32::try_from(signal.as_raw()).unwrap_or(0).checked_sub(1);
    bit.and_then(|bit| 1_u64.checked_shl(bit))
        .is_some_and(|bit| mask & bit != 0)
}

/// What we are told.
pub(super) struct Signals {
    child: Listener,
    told: Vec<(Listener, Signal)>,
}

impl Signals {
    /// Listens. From now on these signals do not end this process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind: SignalKind| signal(kind).context("cannot listen for signals");
        // What is ignored stays ignored, and is ignored by the command (nohup, and what a shell starts in the background).
        let ignored = ignored();
        let heard = FORWARDED.iter().filter(|(_, name)| !is_among(*name, ignored));
        let told = heard.map(|(kind, name)| Ok((listen(*kind)?, *name)));
        Ok(Self {
            child: listen(SignalKind::child())?,
            told: told.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The next one that somebody sends us.
    pub(super) async fn told(&mut self) -> Signal {
        Self::next(&mut self.told).await
    }

    async fn next(told: &mut [(Listener, Signal)]) -> Signal {
        std::future::poll_fn(|context| {
            for (listener, name) in &mut *told {
                if listener.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// A command that runs.
pub(super) struct Child {
    pid: Pid,
    began: MonotonicNanos,
    before: (Duration, Duration),
    status: Option<WaitStatus>,
}

impl Child {
    /// Starts it, in the cgroup of that folder where there is one.
    pub(super) fn start(command: &[OsString], folder: Option<&Path>) -> Result<Self, Refused> {
        let failed = |words: String| Refused {
            words,
            code: exit::NOT_RUN,
        };
        // Whoever the command leaves behind is given to us, so that its seconds are counted.
        if let Err(error) = set_child_subreaper(Pid::from_raw(1)) {
            tracing::warn!(%error, "children that outlive the command are not waited for");
        }
        let program = command.first().ok_or_else(|| failed("no command".to_owned()))?;
        let mut start = match folder {
            Some(folder) => {
                let mut start = Command::new("/proc/self/exe");
                start.args(enter::arguments(folder, command));
                start
            }
            None => {
                let mut start = Command::new(program);
                start.args(command.iter().skip(1));
                start
            }
        };
        let (began, before) = (clock::monotonic(), used());
        let child = start.spawn().map_err(|error| match folder {
            Some(_) => failed(format!("cannot start: {error}")),
            None => of_exec(program, &error),
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self {
            pid: pid.ok_or_else(|| failed("the kernel gave no pid".to_owned()))?,
            began,
            before,
            status: None,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw_nonzero().get()).unwrap_or(0)
    }

    /// Waits for its end; meanwhile tells signals on and looks at its family.
    pub(super) async fn wait(mut self, signals: &mut Signals, kin: &mut Kin) -> Ended {
        let mut looks = interval(LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.reap();
            if let Some(status) = self.status {
                return self.ended(status);
            }
            let Signals { child, told } = &mut *signals;
            tokio::select! {
                _ = child.recv() => {}
                name = Signals::next(told) => self.tell(name),
                _ = looks.tick() => kin.look(),
            }
        }
    }

    /// Takes in everybody who has ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                self.status = Some(status);
            }
        }
    }

    fn tell(&self, name: Signal) {
        // What a terminal sends it sends to everybody in front of it, so the command has it already.
        let is_keyboards = matches!(name, Signal::INT | Signal::QUIT);
        if is_keyboards && is_in_front() {
            return;
        }
        if let Err(error) = kill_process(self.pid, name) {
            tracing::debug!(%error, "the command has ended");
        }
    }

    fn ended(&self, status: WaitStatus) -> Ended {
        let at = clock::monotonic();
        let (user, system) = used();
        Ended {
            code: status.exit_status(),
            signal: status.terminating_signal(),
            wall: at.since(self.began),
            user: user.saturating_sub(self.before.0),
            system: system.saturating_sub(self.before.1),
            at,
        }
    }
}

/// User and system time of all children that were waited for, and of theirs.
fn used() -> (Duration, Duration) {
    let time = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or_else(
        |_never| Default::default(),
        |usage| {
            let (user, system) = (usage.user_time(), usage.system_time());
            (time(user.num_microseconds()), time(system.num_microseconds()))
        },
    )
}

/// Whether the terminal's keys go to our process group.
fn is_in_front() -> bool {
    let terminal = std::fs::File::open("/dev/tty").ok();
    terminal.and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok()) == Some(getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_found_by_its_bit() {
        // nohup: SIGHUP is signal 1.
        assert!(is_among(Signal::HUP, 0x1) && !is_among(Signal::INT, 0x1));
        // What a shell without job control starts in the background ignores SIGINT and SIGQUIT.
        assert!(is_among(Signal::INT, 0x6) && is_among(Signal::QUIT, 0x6) && !is_among(Signal::HUP, 0x6));
    }

    #[test]
    fn an_exit_code_is_the_commands_own_or_that_of_its_signal() {
        let ended = |code, signal| {
            Ended {
                code,
                signal,
                ..Ended::default()
            }
            .code()
        };
        assert_eq!(ended(Some(0), None), 0);
        assert_eq!(ended(Some(255), None), 255);
        assert_eq!(ended(None, Some(9)), 137);
        assert_eq!(ended(None, None), 1);
    }

    #[test]
    fn a_command_that_is_not_there_and_one_that_may_not_run_have_the_codes_of_a_shell() {
        let refused = |kind: ErrorKind| of_exec(OsStr::new("x"), &kind.into()).code;
        assert_eq!(refused(ErrorKind::NotFound), 127);
        assert_eq!(refused(ErrorKind::PermissionDenied), 126);
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("program");
        std::fs::write(&file, "").unwrap();
        let code = |program: &str| {
            let found = look_up(OsStr::new(program), Some(folder.path().as_os_str()));
            found.map_or_else(|refused| refused.code, |()| 0)
        };
        assert_eq!((code("program"), code("other"), code("/")), (126, 127, 126));
        let may = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&file, may).unwrap();
        assert_eq!((code("program"), code(file.to_str().unwrap())), (0, 0));
    }
}
