// SPDX-License-Identifier: Apache-2.0
//! A real process and real cgroups whose names are chosen to do harm, before the real daemon. Needs root.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use integration_tests::cgroup::{self, Cgroup};
use integration_tests::child::Killed;
use integration_tests::daemon::{self, Daemon};
use integration_tests::figures::{conserves, energy, rows};
use integration_tests::{http, promtext};
use std::collections::HashSet;
use std::process::{Command, Stdio};

/// What the process calls itself, as a shell writes it: ends a line, a label and a page, and commands a terminal. Fifteen bytes, as the kernel keeps.
const COMMAND: &str = r#"\n# EOF\n"}\033[2J\377"#;
/// The same as it is read.
const COMMAND_READ: &str = "\n# EOF\n\"}\u{1b}[2J\u{fffd}";

/// What cgroups are called; the kernel takes everything but a newline and a slash. The two are told apart by what nobody can see.
const UNITS: [&str; 2] = [
    "=e\u{1b}]0;x\u{7}\"\\}{\u{9b}2J<img src=x onerror=y>\r\u{1}.service",
    "=e\u{1b}]0;x\u{7}\"\\}{\u{9b}2J<img src=x onerror=y>\r\u{2}.service",
];

/// A shell that gives itself the name, and then never sleeps.
fn shell(cgroup: &Cgroup) -> Killed {
    let script = format!("printf '{COMMAND}' > /proc/self/comm; while :; do :; done");
    let child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .spawn();
    let child = Killed(child.expect("sh starts"));
    std::fs::write(cgroup.path().join("cgroup.procs"), child.0.id().to_string()).expect("into the cgroup");
    child
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|char| char.is_control() && char != '\n')
}

fn printed(daemon: &Daemon, arguments: &[&str]) -> String {
    let address = format!("http://{}", daemon.address);
    let mut command = daemon::command();
    command.args(["snapshot", "--from", &address]).args(arguments);
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn names_that_mean_harm_are_text_on_every_way_out_of_the_daemon() {
    if !cgroup::is_here() {
        return;
    }
    let daemon = Daemon::start(&[
        "--tick",
        "500ms",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "exporter.schemas=kepler,kepler-0.11",
        "--set",
        "log.level=debug",
    ]);
    let parent = format!("kepler-hostile-{}", std::process::id());
    let cgroups = UNITS.map(|unit| Cgroup::create(&format!("{parent}/{unit}")).expect("a cgroup"));
    let _shells = cgroups.each_ref().map(shell);
    let snapshot = daemon.wait_until("both units with their energy, and the name", |snapshot| {
        let units = UNITS.iter().all(|unit| {
            rows(snapshot, "units")
                .iter()
                .any(|row| row["unit"] == *unit && energy(row) > 0)
        });
        let named = rows(snapshot, "processes")
            .iter()
            .filter(|row| row["command"] == COMMAND_READ);
        (units && named.count() == 2).then(|| snapshot.clone())
    });
    conserves(&snapshot);

    for accept in ["text/plain", "application/openmetrics-text"] {
        let page = http::get(daemon.address, "/metrics", &[("Accept", accept)])
            .expect("an answer")
            .text();
        assert!(is_plain(&page), "a control character in {accept}");
        let ends = page.lines().filter(|line| *line == "# EOF").count();
        assert_eq!(ends, usize::from(accept != "text/plain"));
        let samples = promtext::parse(&page);
        let series: HashSet<_> = samples
            .iter()
            .map(|sample| (&sample.name, &sample.labels))
            .collect();
        assert_eq!(series.len(), samples.len(), "a series twice");
        let of_unit = samples.iter().filter(|sample| {
            sample.name == "kepler_unit_bpf_cpu_time_ms_total"
                && sample.label("unit").starts_with("=e\u{fffd}]0;x\u{fffd}\"\\}{")
        });
        assert_eq!(of_unit.count(), 2);
    }
    for arguments in [["--csv", "--level", "process"], ["--csv", "--level", "unit"]] {
        let text = printed(&daemon, &arguments);
        // What begins so is a formula to whoever opens it as a sheet.
        assert!(is_plain(&text) && !text.contains("\n="), "{text:?}");
    }
    // A table is for people: there it is a name like any other, once the table has it.
    let table = daemon.wait_until("a unit in the table", |_| {
        let text = printed(&daemon, &["--table", "--level", "unit"]);
        text.contains("=e\u{fffd}]0;x\u{fffd}\"\\}{").then_some(text)
    });
    assert!(is_plain(&table), "{table:?}");
    assert!(daemon.log().iter().all(|line| is_plain(line)));
}
