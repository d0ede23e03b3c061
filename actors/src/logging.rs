// SPDX-License-Identifier: Apache-2.0
//! Log lines on standard error, as text or JSON, and what happens when code panics.

mod tame;

use crate::health::EXIT_DIED;
use crate::settings::{Log, LogFormat, LogLevel};
use crate::words;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tame::{Form, Tame};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
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
    let coloured = std::io::stderr().is_terminal() && words::colour_wanted();
    lines_to(std::io::stderr, log.format, coloured)
}

fn lines_to<W>(writer: W, format: LogFormat, coloured: bool) -> Lines
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    match (format, coloured) {
        (LogFormat::Text, true) => Box::new(layer.with_writer(Tame::new(writer, Form::Coloured))),
        (LogFormat::Text, false) => {
            Box::new(layer.with_ansi(false).with_writer(Tame::new(writer, Form::Text)))
        }
        (LogFormat::Json, _) => {
            let layer = layer.with_writer(Tame::new(writer, Form::Json));
            Box::new(layer.json().flatten_event(true))
        }
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
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing::Level;

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The line of an event in whose message, fields and errors stands `name`.
    fn line(name: &str, format: LogFormat, coloured: bool) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let (filter, _) = Layer::new(ours(LevelFilter::INFO));
        let lines = lines_to(move || writer.clone(), format, coloured);
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other(name.to_owned());
            tracing::warn!(name, shown = %name, looked_at = ?name, %error, "{name}");
        });
        let bytes = kept.0.lock().expect("one thread").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn whatever_a_workload_is_called_a_log_line_is_one_line_and_no_command() {
        let evil = "a\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{9b}31m\u{7}\"}{é";
        let text = line(evil, LogFormat::Text, false);
        assert_eq!((text.lines().count(), text.ends_with('\n')), (1, true), "{text}");
        assert!(
            !text.trim_end_matches('\n').chars().any(char::is_control),
            "{text:?}"
        );
        assert!(text.contains("forged") && text.contains('é'), "{text}");

        let json = line(evil, LogFormat::Json, false);
        assert_eq!(json.lines().count(), 1, "{json}");
        assert!(
            !json.trim_end_matches('\n').chars().any(char::is_control),
            "{json:?}"
        );
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        for field in ["message", "name", "shown", "error"] {
            assert_eq!(read[field], evil, "{field}");
        }

        let coloured = line(evil, LogFormat::Text, true);
        assert_eq!(coloured.lines().count(), 1, "{coloured}");
        assert!(coloured.contains("\u{1b}[33m WARN"), "{coloured:?}");
        // Whatever is left of escapes is the formatter's own.
        let own = coloured.split('\u{1b}').skip(1);
        for escape in own {
            let (code, _) = escape.split_once('m').expect("a colour");
            assert!(code.starts_with('[') && code.len() <= 4, "{code:?}");
        }
    }

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
