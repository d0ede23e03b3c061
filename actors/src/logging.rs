// SPDX-License-Identifier: Apache-2.0
//! Log lines on standard error, as text or JSON, and what happens when code panics.

use crate::health::EXIT_DIED;
use crate::settings::{Log, LogFormat, LogLevel};
use crate::words;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt as _;

type Filtered = Layered<Layer<Targets, Registry>, Registry>;
type Lines = Box<dyn tracing_subscriber::Layer<Filtered> + Send + Sync>;

/// What of it can be changed.
struct Running {
    filter: Handle<Targets, Registry>,
    lines: Handle<Lines, Filtered>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts logging. A second call changes nothing.
pub fn start(log: &Log) {
    let (filter, filter_handle) = Layer::new(ours(level(log)));
    let (lines, lines_handle) = Layer::new(lines(log));
    match tracing_subscriber::registry().with(filter).with(lines).try_init() {
        Ok(()) => {
            drop(RUNNING.set(Running {
                filter: filter_handle,
                lines: lines_handle,
            }));
        }
        Err(error) => tracing::debug!(%error, "logging was started before"),
    }
}

/// Logs otherwise from now on, where it was started here.
pub fn change(log: &Log) {
    let Some(running) = RUNNING.get() else { return };
    let changed = running
        .filter
        .reload(ours(level(log)))
        .and_then(|()| running.lines.reload(lines(log)));
    if let Err(error) = changed {
        tracing::error!(%error, "the log cannot be changed");
    }
}

fn level(log: &Log) -> LevelFilter {
    match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn lines(log: &Log) -> Lines {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    match log.format {
        LogFormat::Text => {
            Box::new(lines.with_ansi(std::io::stderr().is_terminal() && words::colour_wanted()))
        }
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    }
}

/// All lines but those of a library that calls each request without an answer an error; what it means is said by us, once.
/// They are there at `trace`.
fn ours(level: LevelFilter) -> Targets {
    let everything = Targets::new().with_default(level);
    if level == LevelFilter::TRACE {
        everything
    } else {
        everything.with_target("kube_client", LevelFilter::OFF)
    }
}

/// Ends the process with [`EXIT_DIED`] on any panic. Release builds abort on panic, which would say only that a signal
/// came; and where unwinding is on, actix would let one actor go and keep a daemon that is half alive.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(
            thread = thread.name().unwrap_or("?"),
            place,
            what,
            "panicked; this is a bug, please report it"
        );
        std::process::exit(i32::from(EXIT_DIED));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_request_without_an_answer_is_no_error_line_of_a_library() {
        let theirs = "kube_client::client::builder";
        assert!(!ours(LevelFilter::INFO).would_enable(theirs, &Level::ERROR));
        assert!(!ours(LevelFilter::DEBUG).would_enable(theirs, &Level::ERROR));
        assert!(ours(LevelFilter::TRACE).would_enable(theirs, &Level::ERROR));
        assert!(ours(LevelFilter::INFO).would_enable("probe_workloads::pods::desk", &Level::INFO));
        assert!(!ours(LevelFilter::INFO).would_enable("probe_workloads::pods::desk", &Level::DEBUG));
    }
}
