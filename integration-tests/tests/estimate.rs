// SPDX-License-Identifier: Apache-2.0
//! `kepler estimate` as a program, and what the daemon says of the processor and of a host that was given to it.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, command};
use integration_tests::tree::Powercap;
use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};
use std::thread;

/// What the program says to these lines.
fn estimate(lines: Vec<u8>, arguments: &[&str]) -> Output {
    let mut child = command()
        .arg("estimate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    // More than a pipe holds.
    let writer = thread::spawn(move || input.write_all(&lines));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    output
}

fn answers(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// What the daemon says of its model.
fn detail(daemon: &Daemon) -> String {
    let snapshot = daemon.snapshot();
    let sources = snapshot["facts"]["sources"].as_array().expect("sources");
    let model = sources
        .iter()
        .find(|source| source["source"] == "trained_power_model")
        .expect("the model");
    model["detail"].as_str().expect("words").to_owned()
}

#[test]
fn every_line_is_answered_in_order_and_the_exit_code_tells_of_bad_ones() {
    let line = |index: u64| {
        let busy = index % 101;
        format!("{{\"cpu\":\"AMD EPYC 7763\",\"chips\":2,\"memory_gib\":512,\"busy\":{busy}e-2}}\n")
    };
    let good: String = (0..20_000).map(line).collect();
    let output = estimate(good.into_bytes(), &[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found = answers(&output);
    assert_eq!(found.len(), 20_000);
    for pair in found.chunks(101).flat_map(|round| round.windows(2)) {
        assert!(pair[0]["platform_watts"].as_f64() <= pair[1]["platform_watts"].as_f64());
    }
    assert!(found[0]["platform_watts"].as_f64() < found[100]["platform_watts"].as_f64());
    let output = estimate(b"{\"busy\":1}\n\x0b\n{\"busi\":1}\n{\"busy\":0}\n".to_vec(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let found = answers(&output);
    let lines: Vec<_> = found
        .iter()
        .map(|answer| answer["error"]["line"].as_u64())
        .collect();
    assert_eq!(lines, [None, Some(2), Some(3), None]);
    assert_eq!(
        found[2]["error"]["message"],
        "there is no field \"busi\"; the nearest is busy"
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("2 of 4 questions have no answer"), "{told}");
}

#[test]
fn flags_ask_the_same_as_lines() {
    let line = b"{\"cpu\":\"AMD EPYC 7763\",\"chips\":2,\"busy\":0.5}\n".to_vec();
    let by_flags = estimate(
        Vec::new(),
        &["--cpu", "AMD EPYC 7763", "--chips", "2", "--busy", "0.5"],
    );
    assert!(by_flags.status.success());
    assert_eq!(by_flags.stdout, estimate(line, &[]).stdout);
}

#[test]
fn the_processor_is_called_the_same_by_the_model_and_in_the_metrics() {
    let powercap = Powercap::new(0);
    let constraint = |file: &str, text: &str| {
        std::fs::write(powercap.root().join("intel-rapl:0").join(file), text).expect("a file");
    };
    constraint("constraint_0_name", "long_term\n");
    constraint("constraint_0_max_power_uw", "123000000\n");
    let root = format!("sources.rapl.root={}", powercap.root().display());
    let daemon = Daemon::start(&[
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.platform=estimator",
        "--set",
        &root,
    ]);
    let detail = detail(&daemon);
    // What firmware says of a package is below the meter's root, also where the meter is not used.
    assert!(detail.contains("123 W TDP each"), "{detail}");
    let text = daemon.get("/metrics").text();
    let info = text
        .lines()
        .find(|line| line.starts_with("kepler_node_info{"))
        .expect("node_info");
    let (_, named) = info.split_once("cpu_architecture=\"").expect("the label");
    let (named, _) = named.split_once('"').expect("its end");
    let model = detail
        .strip_prefix("built-in model of ")
        .and_then(|rest| rest.split_once(':'))
        .expect("a machine")
        .0;
    let same = if named == "unknown" {
        "a CPU of unknown generation"
    } else {
        named
    };
    assert_eq!(model, same);
}

#[test]
fn the_daemon_says_which_machine_its_estimates_are_of() {
    let mut arguments = vec![
        "--set",
        "sources.platform=estimator",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.dram=estimator",
    ];
    for said in ["cpu=AMD EPYC 7763", "chips=2", "threads=256", "memory_gib=512"] {
        arguments.extend(["--set", said]);
    }
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|word| match word.contains('=') && !word.starts_with("sources") {
            true => format!("estimator.machine.{word}"),
            false => word.to_owned(),
        })
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&arguments);
    let detail = detail(&daemon);
    assert!(detail.contains("Zen 3: 2 chips, 280 W TDP each"), "{detail}");
    assert!(
        detail.contains("256 threads, 2450 MHz, 512.0 GiB (AMD EPYC 7763)"),
        "{detail}"
    );
}
