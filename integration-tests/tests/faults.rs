// SPDX-License-Identifier: Apache-2.0
//! What goes wrong at the start and around the daemon: a clear word and the right exit code, or a degraded figure.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, binary, command};
use integration_tests::{has_command, is_root, say, skip};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Output;
use tempfile::TempDir;

fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command().args(arguments).output().expect("it runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn every_problem_of_a_broken_configuration_is_named_at_once_and_nothing_starts() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("kepler.toml");
    let text =
        "tick = 5\n[sources]\ncpuu = [\"rapl\"]\ndram = [\"rappl\"]\n[exporter]\nprocesses.max = \"many\"\n";
    fs::write(&file, text).expect("a file");
    let name = file.to_str().expect("UTF-8");
    for arguments in [vec!["--config", name], vec!["config", "check", name]] {
        let (code, said) = fails(&arguments);
        assert_eq!(code, Some(2), "{said}");
        for expected in [
            "kepler.toml",
            "tick",
            "100ms to 60s",
            "sources.cpuu",
            "sources.cpu",
            "rappl",
            "exporter.processes.max",
            "0 to 100000",
        ] {
            assert!(said.contains(expected), "no {expected:?} in:\n{said}");
        }
    }
}

#[test]
fn a_missing_file_that_was_named_is_refused_by_its_name() {
    let (code, said) = fails(&["--config", "/nonexistent/kepler.toml"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("/nonexistent/kepler.toml"), "{said}");
}

#[test]
fn flags_and_variables_are_checked_like_the_file() {
    let output = command()
        .env("KEPLER_TIKC", "1s")
        .args(["--tick", "1h", "config", "show"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("KEPLER_TIKC") && said.contains("--tick"), "{said}");
}

#[test]
fn the_strongest_layer_wins_and_show_says_where_each_value_comes_from() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("kepler.yaml");
    fs::write(
        &file,
        "tick: 2s\nlog:\n  level: warn\nexporter:\n  listen: 127.0.0.1:1\n",
    )
    .expect("a file");
    let output = command()
        .env("KEPLER_LOG__LEVEL", "debug")
        .env("KEPLER_EXPORTER__LISTEN", "127.0.0.1:2")
        // What Kubernetes injects for a service called kepler.
        .env("KEPLER_SERVICE_HOST", "10.0.0.1")
        .env("KEPLER_PORT", "tcp://10.0.0.1:28282")
        .args(["--config", file.to_str().expect("UTF-8"), "--listen", "127.0.0.1:3", "config", "show"])
        .output()
        .expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = |key: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("tick").contains("2s") && line("tick").contains("kepler.yaml"),
        "{shown}"
    );
    assert!(
        line("log.level").contains("debug") && line("log.level").contains("KEPLER_LOG__LEVEL"),
        "{shown}"
    );
    assert!(
        line("exporter.listen").contains("127.0.0.1:3") && line("exporter.listen").contains("--listen"),
        "{shown}"
    );
    assert!(
        line("exporter.processes.max").contains("200") && line("exporter.processes.max").contains("default"),
        "{shown}"
    );
}

#[test]
fn an_occupied_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, said) = fails(&["--listen", &address]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&address) && said.contains("exporter.listen"),
        "{said}"
    );
}

#[test]
fn both_signals_end_it_in_order_even_with_a_request_that_never_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(&["--tick", "100ms", "--set", "sources.cpu=estimator"]);
        daemon.wait_for_tick(2);
        let mut half = TcpStream::connect(daemon.address).expect("a connection");
        half.write_all(b"GET /metrics HTTP/1.1\r\nHost:")
            .expect("half a request");
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(
            daemon.log().iter().any(|line| line.contains("stopped")),
            "{}",
            daemon.log().join("\n")
        );
    }
}

#[test]
fn without_privilege_it_names_the_missing_capability_falls_back_and_still_gives_figures() {
    if !is_root() || !has_command("setpriv") {
        return skip("needs root and setpriv to drop privilege");
    }
    // The build folder need not be readable for others.
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path().join("kepler");
    fs::copy(binary(), &copy).expect("a copy");
    for path in [folder.path(), &copy] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).expect("our own file");
    }
    let mut setpriv = command_like(&copy);
    setpriv.args([
        "--tick",
        "100ms",
        "--listen",
        "127.0.0.1:0",
        "--set",
        "log.format=json",
        "--set",
        "sources.cpu=estimator",
    ]);
    let daemon = Daemon::spawn(setpriv);
    let log = daemon.log().join("\n");
    assert!(log.contains("CAP_BPF") && log.contains("CAP_PERFMON"), "{log}");
    let snapshot = daemon.wait_for_tick(4);
    let probes = snapshot["facts"]["probes"].to_string();
    assert!(probes.contains("CAP_BPF"), "{probes}");
    let text = daemon.get("/metrics").text();
    assert!(
        text.contains("kepler_probe_up{probe=\"proc_fallback\",reason=\"\"} 1"),
        "{text}"
    );
    let energy = snapshot["zones"].as_array().expect("zones").len();
    assert!(energy > 0, "no zones in {snapshot:#}");
    integration_tests::figures::conserves(&snapshot);
    assert_eq!(daemon.stop(), Some(0));
}

fn command_like(binary: &std::path::Path) -> std::process::Command {
    let mut command = integration_tests::daemon::bare("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
    ]);
    command.arg(binary).arg0("setpriv");
    command
}

#[test]
fn check_says_what_would_be_used_and_ends_with_0_where_it_can_run() {
    let output = command()
        .args(["--listen", "127.0.0.1:0", "check"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    say(&said);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for row in [
        "BTF",
        "CAP_BPF",
        "tracefs",
        "mode",
        "sched_switch",
        "proc_fallback",
        "cpu: rapl",
        "listen",
        "kepler can run here",
    ] {
        assert!(said.contains(row), "no {row:?} in:\n{said}");
    }
}
