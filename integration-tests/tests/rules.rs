// SPDX-License-Identifier: Apache-2.0
//! The Prometheus rules: they fire when they should and not before, say what to do in a place that is there, and name no
//! metric that the daemon does not have.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::boards::metrics;
use integration_tests::{has_command, skip};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: [&str; 2] = ["kepler-recording.yaml", "kepler-alerts.yaml"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("deploy/prometheus")
}

/// Rules of both files.
fn rules() -> Vec<Value> {
    let read = |file: &&str| {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        let all: Value = serde_saphyr::from_str(&text).unwrap();
        let groups = all["groups"].as_array().unwrap().clone();
        groups
            .into_iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
    };
    FILES.iter().flat_map(read).collect()
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool")
        .args(arguments)
        .args(files)
        .output()
        .expect("promtool starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn promtool_takes_the_rules_and_their_tests_fire_and_stay_silent_as_they_should() {
    if !has_command("promtool") {
        return skip("needs promtool (Debian package prometheus)");
    }
    promtool(&["check", "rules"], &FILES.map(|file| folder().join(file)));
    let tests = ["recording.yaml", "alerts.yaml"].map(|file| folder().join("tests").join(file));
    promtool(&["test", "rules"], &tests);
}

#[test]
fn every_rule_has_a_test_and_every_alert_one_in_which_it_is_silent() {
    let text = |file: &str| fs::read_to_string(folder().join("tests").join(file)).unwrap();
    let (recording, alerts) = (text("recording.yaml"), text("alerts.yaml"));
    for rule in rules() {
        if let Some(name) = rule["record"].as_str() {
            assert!(recording.contains(&format!("round({name}")), "{name} has no test");
            continue;
        }
        let name = rule["alert"].as_str().unwrap();
        let fires = format!("alertname: {name}\n");
        let silent = format!("alertname: {name}, exp_alerts: []}}");
        assert!(
            alerts.contains(&fires) && alerts.contains(&silent),
            "{name} has no test"
        );
    }
}

#[test]
fn every_alert_says_what_to_do_and_its_page_has_more() {
    let page = fs::read_to_string(folder().join("../../docs/alerts.md")).unwrap();
    let mut sections = BTreeSet::new();
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            rule["for"].is_string() && rule["labels"]["severity"].is_string(),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            assert!(
                rule["annotations"][annotation].as_str().unwrap().ends_with('.'),
                "{name}: {annotation}"
            );
        }
        let anchor = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], anchor.as_str());
        assert!(
            page.contains(&format!("\n### {name}\n")),
            "docs/alerts.md has no section {name}"
        );
        sections.insert(name.to_owned());
    }
    let written = page
        .lines()
        .filter_map(|line| line.strip_prefix("### Kepler"))
        .count();
    assert_eq!(
        written,
        sections.len(),
        "docs/alerts.md has a section about no alert"
    );
    for rule in rules().iter().filter(|rule| rule["record"].is_string()) {
        let name = rule["record"].as_str().unwrap();
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/alerts.md does not have {name}"
        );
    }
}

#[test]
fn rules_name_no_metric_that_the_daemon_does_not_have() {
    let reference = fs::read_to_string(folder().join("../../docs/metrics.md")).unwrap();
    let mut seen = 0;
    for rule in rules() {
        for metric in metrics(rule["expr"].as_str().unwrap()) {
            // A rule on it is silent where it is not told.
            let is_optional = metric == "kepler_config_last_reload_successful";
            assert!(
                is_optional || reference.contains(&format!("| `{metric}` |")),
                "{metric} is no metric of ours"
            );
            seen += 1;
        }
    }
    assert!(seen > 20);
}
