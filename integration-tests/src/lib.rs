// SPDX-License-Identifier: Apache-2.0
//! Does it: starts the real `kepler` binary and looks at it from outside, as a user and as Prometheus do.
//!
//! This library is the harness: the daemon as a child, a small HTTP client, a parser of the text format, and the machine's
//! cgroups. It makes no shortcut into the daemon; whatever a test learns came over HTTP, from a log line or an exit code.

#![forbid(unsafe_code)]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of this is test code: a harness that cannot go on panics, and JSON is looked into by index"
)]

pub mod api_server;
pub mod bmc;
pub mod boards;
pub mod budgets;
pub mod canned;
pub mod cgroup;
pub mod child;
pub mod daemon;
pub mod dashboards;
pub mod figures;
pub mod http;
pub mod kernels;
pub mod kube;
pub mod manifests;
pub mod meters;
pub mod nvml;
pub mod prometheus;
pub mod promtext;
pub mod receiver;
pub mod runc;
pub mod serial;
pub mod tmux;
pub mod tree;
pub mod trial;

/// Says aloud why a test did nothing here.
pub fn skip(why: &str) {
    say(&format!("skipped: {why}"));
}

/// A line for whoever watches the tests.
pub fn say(line: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Whether this is a guest of guest/run.sh: a machine that may be changed, with the daemon in its `PATH` and no toolchain.
#[must_use]
pub fn in_guest() -> bool {
    std::env::var_os("IN_GUEST").is_some()
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a command is installed.
#[must_use]
pub fn has_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
