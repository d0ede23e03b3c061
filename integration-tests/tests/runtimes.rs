// SPDX-License-Identifier: Apache-2.0
//! Docker, containerd and Podman, each started by the test with all of its state in a folder of its own. Needs root; with
//! the feature `runtimes` (`make test-containers`, which installs them) one that is missing is a failure.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, PATIENCE, pause};
use integration_tests::figures::{conserves, container, energy, integer, nothing_fell};
use integration_tests::runc::{BURNER, clear_away, write_rootfs};
use integration_tests::say;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// Rounds of start, exec and kill.
const ROUNDS: u64 = 3;

/// A runtime of this test alone.
struct Runtime {
    folder: TempDir,
    /// Its daemon, where it has one.
    daemon: Option<Child>,
    /// The client with what leads it to this daemon.
    client: Vec<String>,
}

impl Runtime {
    fn new(daemon: impl FnOnce(&Path) -> Option<Command>, client: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let at = folder.path();
        write_rootfs(&at.join("rootfs"));
        let layer = Command::new("tar")
            .arg("-C")
            .arg(at.join("rootfs"))
            .arg("-cf")
            .arg(at.join("layer.tar"))
            .arg(".")
            .status();
        assert!(layer.expect("tar runs").success());
        let daemon = daemon(at).map(|mut command| {
            let log = fs::File::create(at.join("daemon.log")).expect("a file");
            let child = command
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file"))
                .stderr(log)
                .spawn();
            child.unwrap_or_else(|error| panic!("{command:?}: {error} (make test-containers installs it)"))
        });
        let client = client(at);
        Self {
            folder,
            daemon,
            client,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether a command of the client succeeds, what it prints, and what it says about a failure.
    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let out = fs::File::create(self.path("out")).expect("a file");
        let log = fs::File::create(self.path("log")).expect("a file");
        let status = Command::new(&self.client[0])
            .args(&self.client[1..])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .status();
        let status = status.unwrap_or_else(|error| panic!("{:?}: {error}", self.client));
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        if status.success() {
            Ok(read("out").trim().to_owned())
        } else {
            Err(format!("{arguments:?}: {}{}", read("log"), read("daemon.log")))
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until its daemon answers.
    fn wait_for(&self, arguments: &[&str]) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.try_run(arguments) {
            assert!(Instant::now() < end, "{error}");
            pause();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        let pid = i32::try_from(daemon.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        drop(daemon.wait());
    }
}

/// What a test does with one container of a runtime.
struct Steps<'a> {
    /// As the snapshot names it.
    runtime: &'static str,
    id: &'a str,
    /// Starts it; gives the pid of its first process.
    start: &'a dyn Fn(&str) -> u32,
    exec: &'a dyn Fn(),
    kill: &'a dyn Fn(),
}

/// Start, exec and kill -9, again and again: all of the kernel's time is charged to the container, and nothing falls.
fn live(steps: &Steps<'_>) {
    let daemon = Daemon::start(&[
        "--tick",
        "200ms",
        "--set",
        "probes.cpu_time=switch",
        "--set",
        "sources.cpu=estimator",
    ]);
    let mut before = daemon.wait_for_tick(2);
    let mut kernel = 0;
    let mut path = String::new();
    for round in 1..=ROUNDS {
        let pid = (steps.start)(&format!("{BURNER} 60; exec sleep 1000"));
        wait_for_name(pid, "sleep");
        (steps.exec)();
        let (at, usage) = usage_of(pid);
        (path, kernel) = (at, kernel + usage);
        (steps.kill)();
        let after = daemon.wait_for_tick(integer(&daemon.snapshot(), "tick") + 2);
        nothing_fell(&before, &after);
        conserves(&after);
        let row = container(&after, steps.id).unwrap_or_else(|| panic!("round {round}: no row in {after:#}"));
        assert_eq!(row["owner"]["runtime"], steps.runtime, "{row:#}");
        before = after;
    }
    let row = container(&before, steps.id).expect("a row");
    let ours = integer(row, "cpu_ns");
    let ratio = ours as f64 / kernel as f64;
    say(&format!(
        "{}: kernel {kernel} ns in {path}, charged {ours} ns, {:.2} %",
        steps.runtime,
        ratio * 100.0
    ));
    // What the kills took is in ours alone.
    assert!((0.99..=1.10).contains(&ratio), "{ratio}");
    assert!(energy(row) > 0);
    daemon.wait_until("its end", |snapshot| {
        container(snapshot, steps.id)
            .filter(|row| row["ended"] == true)
            .map(|_| ())
    });
    clear_away(&path);
}

fn wait_for_name(pid: u32, name: &str) {
    let (end, file) = (Instant::now() + PATIENCE, format!("/proc/{pid}/comm"));
    while fs::read_to_string(&file).unwrap_or_default().trim() != name {
        assert!(Instant::now() < end, "{file} never says {name}");
        pause();
    }
}

/// Path and CPU time of a process's cgroup in the unified hierarchy, by the kernel's count.
fn usage_of(pid: u32) -> (String, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process");
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.expect("a unified hierarchy").to_owned();
    let mount = integration_tests::cgroup::unified().expect("a unified hierarchy");
    let stat =
        fs::read_to_string(mount.join(path.trim_start_matches('/')).join("cpu.stat")).expect("cpu.stat");
    let usage = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
    (path, usage.expect("usage_usec") * 1_000)
}

fn number(text: &str) -> u32 {
    text.trim().parse().unwrap_or_else(|_| panic!("no pid: {text:?}"))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn docker() {
    let socket = |at: &Path| format!("unix://{}", at.join("d.sock").display());
    let docker = Runtime::new(
        |at| {
            let mut dockerd = Command::new("dockerd");
            dockerd
                .args([
                    "--bridge",
                    "none",
                    "--iptables=false",
                    "--storage-driver",
                    "vfs",
                    "-H",
                    &socket(at),
                ])
                .arg("--data-root")
                .arg(at.join("data"))
                .arg("--exec-root")
                .arg(at.join("exec"))
                .arg("--pidfile")
                .arg(at.join("d.pid"));
            Some(dockerd)
        },
        |at| words(&["docker", "-H", &socket(at)]),
    );
    docker.wait_for(&["version"]);
    let layer = docker.path("layer.tar").display().to_string();
    docker.run(&["import", &layer, "burner"]);
    let script = format!("{BURNER} 60; exec sleep 1000");
    let id = docker.run(&["create", "--network", "none", "burner", "/bin/sh", "-c", &script]);
    let start = |_: &str| {
        docker.run(&["start", &id]);
        number(&docker.run(&["inspect", "-f", "{{.State.Pid}}", &id]))
    };
    live(&Steps {
        runtime: "docker",
        id: &id,
        start: &start,
        exec: &|| drop(docker.run(&["exec", &id, BURNER, "30"])),
        kill: &|| drop(docker.run(&["kill", "-s", "KILL", &id])),
    });
    docker.run(&["rm", "-f", &id]);
}

#[test]
fn podman() {
    let podman = Runtime::new(
        |_| None,
        |at| {
            let folder = |name: &str| at.join(name).display().to_string();
            let mut client = words(&["podman", "--cgroup-manager=cgroupfs", "--runtime", "runc"]);
            client.extend(words(&["--events-backend", "none", "--storage-driver", "vfs"]));
            for (flag, name) in [("--root", "root"), ("--runroot", "runroot"), ("--tmpdir", "tmp")] {
                client.extend([flag.to_owned(), folder(name)]);
            }
            client
        },
    );
    let layer = podman.path("layer.tar").display().to_string();
    podman.run(&["import", &layer, "burner"]);
    let script = format!("{BURNER} 60; exec sleep 1000");
    // Raising limits needs CAP_SYS_RESOURCE, which a sandbox may lack.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let create = [
        &["create", "--network=host"][..],
        &limits,
        &["burner", "/bin/sh", "-c", &script],
    ]
    .concat();
    let id = podman.run(&create);
    let start = |_: &str| {
        podman.run(&["start", &id]);
        number(&podman.run(&["inspect", "-f", "{{.State.Pid}}", &id]))
    };
    live(&Steps {
        runtime: "podman",
        id: &id,
        start: &start,
        exec: &|| drop(podman.run(&["exec", &id, BURNER, "30"])),
        kill: &|| {
            podman.run(&["kill", "-s", "KILL", &id]);
            podman.run(&["wait", &id]);
        },
    });
    podman.run(&["rm", "-f", "-t", "0", &id]);
    clear_away("/libpod_parent/conmon");
}

#[test]
fn containerd() {
    let containerd = Runtime::new(
        |at| {
            let folder = |name: &str| at.join(name).display().to_string();
            let config = format!(
                "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
                folder("root"),
                folder("state"),
                folder("c.sock")
            );
            fs::write(at.join("c.toml"), config).expect("a file");
            let mut containerd = Command::new("containerd");
            containerd.arg("-c").arg(at.join("c.toml"));
            Some(containerd)
        },
        |at| words(&["ctr", "-a", &at.join("c.sock").display().to_string()]),
    );
    containerd.wait_for(&["version"]);
    let id = format!("{:08x}{:056x}", std::process::id(), 0xc0_ffee);
    let rootfs = containerd.path("rootfs").display().to_string();
    let (burner, pidfile) = (
        format!("/bin/{BURNER}"),
        containerd.path("pid").display().to_string(),
    );
    let start = |script: &str| {
        containerd.run(&[
            "run",
            "-d",
            "--pid-file",
            &pidfile,
            "--rootfs",
            &rootfs,
            &id,
            "/bin/sh",
            "-c",
            script,
        ]);
        number(&fs::read_to_string(&pidfile).expect("a pid file"))
    };
    live(&Steps {
        runtime: "containerd",
        id: &id,
        start: &start,
        exec: &|| drop(containerd.run(&["task", "exec", "--exec-id", "burner", &id, &burner, "30"])),
        kill: &|| {
            containerd.run(&["task", "kill", "-s", "SIGKILL", &id]);
            // The task is dead a moment after the signal.
            containerd.wait_for(&["task", "delete", &id]);
            containerd.run(&["container", "delete", &id]);
        },
    });
}
