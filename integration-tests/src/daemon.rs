// SPDX-License-Identifier: Apache-2.0
//! The daemon as a child process: started on a free port, listened to, stopped, and never left behind.

use crate::http::{self, Response};
use crate::in_guest;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything that the daemon should do at once. Generous, because test machines are busy; no test
/// depends on how long it really takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The same for a machine of emulated CPUs, where all of this takes several times as long.
fn patience() -> Duration {
    if in_guest() { PATIENCE * 4 } else { PATIENCE }
}

/// Builds the binary if it is not up to date and gives its path; in a guest, it is there.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    if in_guest() {
        return PathBuf::from("kepler");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    // Tests lie in target/PROFILE/deps.
    let here = std::env::current_exe().expect("a path of this test");
    let profile = here
        .ancestors()
        .find(|folder| folder.ends_with("deps"))
        .and_then(Path::parent);
    let profile = profile.or_else(|| here.parent()).expect("a profile's folder");
    let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    build
        .args(["build", "--quiet", "--locked", "-p", "actors", "--bin", "kepler"])
        .current_dir(root);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.status().expect("cargo runs");
    assert!(built.success(), "kepler does not build");
    profile.join("kepler")
}

/// A command for the binary, without any configuration from this machine, and without what another run has learned: a
/// test that wants a state directory sets `state.dir`.
#[must_use]
pub fn command() -> Command {
    let mut command = bare(binary());
    command.env("KEPLER_STATE__DIR", "");
    command
}

/// What a cluster tells its pods, and systemd its units: tests may run in one, and are none of its business.
const OF_A_CLUSTER: [&str; 5] = [
    "NODE_NAME",
    "NODE_IP",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "STATE_DIRECTORY",
];

/// A command for any program, without any configuration of ours from this machine.
#[must_use]
pub fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KEPLER_") || OF_A_CLUSTER.contains(&&*text) {
            command.env_remove(name);
        }
    }
    command
}

/// The same command, begun by another program: `words` of it come before the command's own.
pub fn behind(command: &mut Command, program: &str, words: &[&str]) {
    let mut whole = bare(program);
    whole.args(words);
    whole.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    *command = whole;
}

/// A running daemon. Killed when dropped.
pub struct Daemon {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    lines: Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Daemon {
    /// Starts it on a free port of the loopback with these further arguments, and waits until it listens.
    ///
    /// # Panics
    /// When it ends instead; the message has its log.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["--listen", "127.0.0.1:0", "--set", "log.format=json"])
            .args(arguments);
        Self::spawn(command)
    }

    /// Starts a prepared command, which must log as JSON.
    ///
    /// # Panics
    /// When it ends before it listens.
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kepler starts");
        let stderr = child.stderr.take().expect("a pipe");
        let (sender, lines) = channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().expect("no panic while held").push(line.clone());
                drop(sender.send(line));
            }
        });
        let mut daemon = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            lines,
            log,
            reader,
        };
        let line = daemon.wait_for_log("listening");
        daemon.address = line["address"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address");
        daemon
    }

    /// Waits for a log line with this message and gives its fields.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_log(&mut self, message: &str) -> Value {
        let end = Instant::now() + patience();
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let fields: Value = serde_json::from_str(&line).unwrap_or_default();
                    if fields["message"] == message {
                        return fields;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no log line {message:?}; the log:\n{}", self.log().join("\n"))
                }
            }
        }
    }

    /// Everything that it logged so far.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic while held").clone()
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// GET.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        http::get(self.address, path, &[]).expect("an answer")
    }

    /// The snapshot as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn snapshot(&self) -> Value {
        let response = self.get("/api/v1/snapshot");
        assert_eq!(response.status, 200, "{}", response.text());
        serde_json::from_str(&response.text()).expect("JSON")
    }

    /// Polls the snapshot until `found` says yes, and gives what it said.
    ///
    /// # Panics
    /// When it never does; the message has the last snapshot.
    pub fn wait_until<T>(&self, what: &str, mut found: impl FnMut(&Value) -> Option<T>) -> T {
        let end = Instant::now() + patience();
        loop {
            let response = self.get("/api/v1/snapshot");
            let snapshot: Value = serde_json::from_str(&response.text()).unwrap_or_default();
            if let Some(value) = found(&snapshot) {
                return value;
            }
            assert!(
                Instant::now() < end,
                "never: {what}; last snapshot:\n{snapshot:#}"
            );
            pause();
        }
    }

    /// Waits for a snapshot of at least this tick.
    pub fn wait_for_tick(&self, tick: u64) -> Value {
        self.wait_until("tick", |snapshot| {
            (snapshot["tick"].as_u64()? >= tick).then(|| snapshot.clone())
        })
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + patience();
        loop {
            // With its last words: they are read on another thread.
            if let Some(status) = self.child.try_wait().expect("our own child")
                && self.reader.is_finished()
            {
                return status;
            }
            assert!(Instant::now() < end, "still running");
            pause();
        }
    }

    /// Asks it to stop and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.wait().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A short rest between two looks at something outside. Tests poll for facts and never count on the rest's length.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no channel to another process's progress"
)]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
