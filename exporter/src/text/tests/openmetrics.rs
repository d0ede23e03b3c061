// SPDX-License-Identifier: Apache-2.0
//! The page as OpenMetrics: golden file, a real parser, hostile names in both formats.

use super::{is_golden, mark, samples};
use crate::config::{ExporterConfig, Schema};
use crate::forms::Encoding;
use crate::page::Page;
use crate::sample;
use crate::text::writer::Format;
use attribution::model::snapshot::{ContainerKey, UnitKey};
use attribution::model::{Comm, ContainerId, Snapshot};
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn both_schemas() -> ExporterConfig {
    ExporterConfig {
        schemas: vec![Schema::Kepler, Schema::Kepler011],
        ..ExporterConfig::default()
    }
}

/// A whole scrape.
fn scrape(snapshot: Snapshot, format: Format) -> String {
    let settings = Arc::new(sample::settings_of(&both_schemas()));
    let page = Page::new(Arc::new(snapshot), settings);
    String::from_utf8(page.scrape(format, Encoding::Identity).0.concat()).unwrap()
}

#[test]
fn the_page_as_openmetrics_is_the_golden_file() {
    let page = sample::page();
    let text = String::from_utf8(page.openmetrics().concat()).unwrap();
    is_golden("kepler.openmetrics", &text);
}

#[test]
fn both_formats_hold_the_same_samples() {
    let [text, openmetrics] =
        [Format::Text, Format::OpenMetrics].map(|format| scrape(sample::snapshot(), format));
    let plain = samples(&text);
    let told: Vec<_> = samples(&openmetrics)
        .into_iter()
        .filter(|(series, _)| !series.split('{').next().unwrap().ends_with("_created"))
        .collect();
    assert_eq!(told.len(), plain.len());
    for (series, value) in told {
        // Our own process may have run on between the two.
        if !series.starts_with("process_") && !series.starts_with("kepler_scrape_bytes") {
            assert_eq!(plain.get(series), Some(&value), "{series}");
        }
    }
}

#[test]
fn every_counter_says_since_when_and_a_workload_its_own_moment() {
    let text = scrape(sample::snapshot(), Format::OpenMetrics);
    let samples = samples(&text);
    let mut num_counters = 0;
    for series in samples.keys() {
        let (name, labels) = series
            .split_once('{')
            .map_or((*series, ""), |(name, labels)| (name, labels));
        let Some(stem) = name.strip_suffix("_total") else {
            continue;
        };
        let created = match labels {
            "" => format!("{stem}_created"),
            labels => format!("{stem}_created{{{labels}"),
        };
        assert!(samples.contains_key(created.as_str()), "{created}");
        num_counters += 1;
    }
    assert!(num_counters > 100);
    // The daemon began at 80 s on the clock of the snapshots, rows at 90 s.
    let pod = format!(
        "kepler_pod_bpf_cpu_time_ms_created{{pod_id=\"{}\",pod_name=\"web-7d4b9\",pod_namespace=\"shop\"}}",
        sample::POD
    );
    assert_eq!(samples[pod.as_str()], "1700000010");
    assert_eq!(samples["kepler_windows_created"], "1700000000");
    assert_eq!(samples["kepler_window_lateness_seconds_created"], "1700000000");
    assert!(text.ends_with("\n# EOF\n"));
}

/// A Python that has the official client with its strict parser (Debian: python3-prometheus-client).
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let check = Command::new(python)
            .args(["-c", "import prometheus_client.openmetrics.parser"])
            .stderr(Stdio::null())
            .status();
        check.is_ok_and(|status| status.success())
    })
}

const PARSE: &str = "
import sys, json
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
text = sys.stdin.buffer.read().decode('utf-8')
families = list(parse(text))
print(json.dumps({f.name: [f.type, f.unit, [[s.name, s.labels, repr(s.value)] for s in f.samples]] for f in families}))
";

/// What the parser read: by family, type, unit and samples.
fn parsed(text: &str) -> Option<serde_json::Value> {
    let Some(python) = python() else {
        eprintln!("skipped: needs python3-prometheus-client");
        return None;
    };
    let mut child = Command::new(python)
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let owned = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(owned.as_bytes()));
    let output = child.wait_with_output().unwrap();
    drop(writer.join().unwrap());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_strict_parser_reads_every_sample_with_its_type_and_unit() {
    let text = scrape(hostile(), Format::OpenMetrics);
    let Some(families) = parsed(&text) else { return };
    let families = families.as_object().unwrap();
    let count: usize = families
        .values()
        .map(|family| family[2].as_array().unwrap().len())
        .sum();
    assert_eq!(count, text.lines().filter(|line| !line.starts_with('#')).count());
    for (name, kind, unit) in [
        ("kepler_pod_joules", "counter", "joules"),
        ("kepler_node_package_watts", "gauge", "watts"),
        ("kepler_window_lateness_seconds", "histogram", "seconds"),
        ("kepler_process_bpf_cpu_time_ms", "counter", "ms"),
        ("kepler_node_cpu_usage_ratio", "gauge", "ratio"),
        ("process_cpu_seconds", "counter", "seconds"),
        ("kepler_node_info", "gauge", ""),
    ] {
        if let Some(family) = families.get(name) {
            assert_eq!(
                (family[0].as_str(), family[1].as_str()),
                (Some(kind), Some(unit)),
                "{name}"
            );
        } else {
            assert_eq!(name, "kepler_node_cpu_usage_ratio", "needs two windows");
        }
    }
    let labels = &families["kepler_unit_joules"][2][0][1];
    assert_eq!(labels["unit"], format!("{HOSTILE_READ}{}", mark(HOSTILE)));
}

/// Everything that may break a line or a pair of quotes, and what it is read back as.
const HOSTILE: &str = "a\"b\\c\nd\re\tf\0g\u{1b}[31mh\u{85}i\u{2028}j{k=\"v\"} 1 # {x=\"y\"} 2é\u{1f600}";
const HOSTILE_READ: &str =
    "a\"b\\c\nd\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}[31mh\u{fffd}i\u{2028}j{k=\"v\"} 1 # {x=\"y\"} 2é\u{1f600}";

fn hostile() -> Snapshot {
    let mut snapshot = sample::snapshot();
    snapshot.units[0].key = UnitKey {
        unit: HOSTILE.into(),
        slice: "\\\"".into(),
    };
    snapshot.processes[0].comm = Comm::from_bytes(b"\xff\xfe\"\\\n\xc3");
    snapshot.containers[0].key = ContainerKey::Container(ContainerId::new(HOSTILE));
    snapshot
}

/// Reads a page as its grammar says and nothing more: name, labels with their three escapes, one blank, a number.
fn read_back(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut series = Vec::new();
    for line in text
        .split('\n')
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (name, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (label, value) = rest.trim_start_matches(',').split_once("=\"").unwrap();
                let mut read = String::new();
                let mut characters = value.char_indices();
                let end = loop {
                    match characters.next().unwrap() {
                        (at, '"') => break at,
                        (_, '\\') => read.push(match characters.next().unwrap().1 {
                            'n' => '\n',
                            same @ ('"' | '\\') => same,
                            other => panic!("\\{other} in {line}"),
                        }),
                        (_, plain) => {
                            assert!(!plain.is_control(), "{line}");
                            read.push(plain);
                        }
                    }
                };
                labels.push((label.to_owned(), read));
                rest = &value[end + 1..];
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').unwrap();
        assert!(
            value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'),
            "{line}"
        );
        series.push((name.to_owned(), labels));
    }
    series
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_name_that_anybody_can_choose_breaks_out_of_its_place_in_either_format(
        unit in any::<String>(), slice in "[\"\\\\\n{},= #é\u{0}-\u{1f}]{0,300}", comm in any::<[u8; 15]>(),
    ) {
        let mut snapshot = sample::snapshot();
        snapshot.units[0].key = UnitKey { unit: unit.clone(), slice: slice.clone() };
        snapshot.processes[0].comm = Comm::from_bytes(&comm);
        let safe = |text: &str| -> String {
            let cut = text.chars().count() > 256;
            let shown = text.chars().take(256).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c });
            let shown: String = shown.chain(cut.then_some('…')).collect();
            let is_as_it_was = shown == text;
            if is_as_it_was { shown } else { shown + &mark(text) }
        };
        for format in [Format::Text, Format::OpenMetrics] {
            let text = scrape(snapshot.clone(), format);
            let series = read_back(&text);
            let of_unit = series.iter().find(|(name, _)| name == "kepler_unit_bpf_cpu_time_ms_total").unwrap();
            let expected = [("unit".to_owned(), safe(&unit)), ("slice".to_owned(), safe(&slice))];
            prop_assert_eq!(&of_unit.1[..], &expected[..]);
            let comm = safe(&Comm::from_bytes(&comm).to_text());
            let found = series.iter().any(|(_, labels)| labels.iter().any(|(name, value)| name == "command" && *value == comm));
            prop_assert!(found, "{:?}", comm);
        }
    }
}
