// SPDX-License-Identifier: Apache-2.0
//! `kepler top` before the real daemon, in a real terminal (tmux): what somebody who sits there sees.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, binary, command};
use integration_tests::tmux::{self, Tmux};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;

/// A daemon without a meter: what it says is estimated, and comes ten times a second.
const ESTIMATED: [&str; 10] = [
    "--tick",
    "100ms",
    "--set",
    "sources.cpu=estimator",
    "--set",
    "sources.dram=estimator",
    "--set",
    "sources.platform=",
    "--set",
    "exporter.page.price_per_kwh=0.31",
];

fn daemon_on(address: SocketAddr) -> Daemon {
    let mut daemon = command();
    daemon.args(["--listen", &address.to_string(), "--set", "log.format=json"]);
    Daemon::spawn({
        daemon.args(ESTIMATED);
        daemon
    })
}

/// Starts it in the terminal, and says how it ended.
fn look(terminal: &Tmux, from: SocketAddr, more: &str) {
    let top = binary();
    terminal.type_text(&format!(
        "{} top --from http://{from} {more}; echo \"left with $?\"",
        top.display()
    ));
    terminal.press(&["Enter"]);
}

/// The rows of the table.
fn workloads(screen: &str) -> Vec<&str> {
    let rows = screen
        .lines()
        .skip_while(|line| !line.starts_with("NAME"))
        .skip(1);
    rows.filter(|line| !line.is_empty() && !line.contains("? help") && !line.contains("type to search"))
        .collect()
}

/// The terminal is a shell's again: the normal screen, a cursor, and lines that are edited and echoed.
fn is_sane(terminal: &Tmux) {
    assert_eq!(terminal.ask("#{alternate_on} #{cursor_flag}"), "0 1");
    terminal.type_text("stty -a | tr ' ' '\\n' | grep -cx -e icanon -e echo -e isig | sed 's/^/of three: /'");
    terminal.press(&["Enter"]);
    terminal.wait_until("a sane terminal", |screen| screen.contains("of three: 3"));
}

#[test]
fn it_starts_updates_switches_searches_says_that_it_is_alone_and_goes_on() {
    if !tmux::is_here() {
        return;
    }
    let daemon = Daemon::start(&ESTIMATED);
    let address = daemon.address;
    let terminal = Tmux::start(100, 30, &[]);
    look(&terminal, address, "");
    let screen = terminal.wait_until("a live node with an estimate", |screen| {
        screen.contains("live") && screen.contains("Node ≈") && screen.contains("host processes")
    });
    assert!(
        screen.contains("estimated ±") && screen.contains("So far"),
        "{screen}"
    );
    let energy = |screen: &str| {
        screen
            .lines()
            .find(|line| line.contains("So far"))
            .map(str::to_owned)
    };
    let before = energy(&screen);
    terminal.wait_until("an update", |screen| energy(screen) != before);

    terminal.press(&["3"]);
    terminal.wait_until("processes", |screen| {
        screen.contains("KIND") && screen.contains("kepler")
    });
    terminal.press(&["/"]);
    terminal.type_text("keple");
    terminal.wait_until("a search", |screen| {
        let found = workloads(screen);
        screen.contains("search: keple_")
            && !found.is_empty()
            && found.iter().all(|row| row.contains("keple"))
    });
    terminal.press(&["Enter"]);
    terminal.wait_until("the search kept", |screen| {
        screen.contains("search: keple") && !screen.contains("keple_")
    });
    terminal.press(&["Enter"]);
    terminal.wait_until("one workload with its history", |screen| {
        screen.contains("Process kepler") && screen.contains('█')
    });
    // One after the other: an escape with a key close behind it is what Alt sends.
    terminal.press(&["Escape"]);
    terminal.wait_until("the table again", |screen| screen.contains("search: keple"));
    terminal.press(&["Escape"]);
    terminal.wait_until("all of it", |screen| !screen.contains("search:"));
    terminal.press(&["i"]);
    terminal.wait_until("sources", |screen| {
        screen.contains("trained_power_model") && screen.contains("PROVENANCE") && screen.contains("PROBE")
    });
    terminal.press(&["?"]);
    terminal.wait_until("help", |screen| screen.contains("q, Ctrl-C"));
    terminal.press(&["Escape"]);
    terminal.wait_until("the table", |screen| screen.contains("NAME"));

    drop(daemon);
    terminal.wait_until("that the daemon is gone", |screen| {
        screen.contains("DISCONNECTED") && screen.contains(&address.to_string())
    });
    let again = daemon_on(address);
    terminal.wait_until("that it is back", |screen| {
        screen.contains("live") && !screen.contains("DISCONNECTED") && screen.contains("Node ≈")
    });
    terminal.press(&["q"]);
    terminal.wait_until("that it left", |screen| screen.contains("left with 0"));
    is_sane(&terminal);
    drop(again);
}

#[test]
fn a_small_terminal_and_one_that_changes_are_drawn_whole() {
    if !tmux::is_here() {
        return;
    }
    let daemon = Daemon::start(&ESTIMATED);
    let terminal = Tmux::start(40, 10, &[]);
    look(&terminal, daemon.address, "--level processes --sort energy");
    terminal.wait_until("power in a small terminal", |screen| {
        screen.contains("Node ≈") && screen.contains("POWER W")
    });
    terminal.resize(20, 5);
    terminal.wait_until("that it is too small", |screen| screen.contains("too small"));
    terminal.resize(120, 40);
    terminal.wait_until("everything in a large one", |screen| {
        screen.contains("OF NODE") && screen.contains("So far") && screen.contains("ENERGY*")
    });
    // A signal ends it as q does.
    let pid = terminal.running().and_then(Pid::from_raw).expect("it runs");
    kill_process(pid, Signal::TERM).expect("it lives");
    terminal.wait_until("that it left", |screen| screen.contains("left with 0"));
    is_sane(&terminal);
}

#[test]
fn no_color_means_no_colour_and_no_daemon_is_waited_for() {
    if !tmux::is_here() {
        return;
    }
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let coloured = |screen: &str| {
        (31..=36)
            .any(|code| screen.contains(&format!("\x1b[{code}m")) || screen.contains(&format!(";{code}m")))
            // The same by its number in the palette.
            || screen.contains("[38;5;")
    };
    for (environment, has_colour) in [(&[("NO_COLOR", "1")][..], false), (&[], true)] {
        let terminal = Tmux::start(90, 20, environment);
        look(&terminal, nobody, "");
        terminal.wait_until("that nobody is there", |screen| {
            screen.contains("DISCONNECTED")
                && screen.contains("refused")
                && screen.contains("--from where it listens")
        });
        let screen = terminal.screen_with_colour();
        assert_eq!(coloured(&screen), has_colour, "{screen:?}");
        terminal.press(&["C-c"]);
        terminal.wait_until("that it left", |screen| screen.contains("left with 0"));
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let output = command()
        .args(["top", "--from", "http://127.0.0.1:1"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("kepler snapshot"), "{words}");
}

#[test]
fn help_errors_and_log_lines_have_colour_only_where_it_is_wanted() {
    if !tmux::is_here() {
        return;
    }
    for (environment, is_plain) in [(&[("NO_COLOR", "1")][..], true), (&[], false)] {
        let terminal = Tmux::start(100, 50, environment);
        let kepler = binary();
        let kepler = kepler.display();
        terminal.type_text(&format!(
            "{kepler} --bogus; {kepler} --listen 127.0.0.1:0 --set state.dir= --set sources.cpu=estimator --set sources.platform="
        ));
        terminal.press(&["Enter"]);
        terminal.wait_until("a log line", |screen| {
            screen.contains("listening") && screen.contains("--help")
        });
        let screen = terminal.screen_with_colour();
        assert_eq!(!screen.contains("\x1b["), is_plain, "{screen:?}");
        terminal.press(&["C-c"]);
    }
}
