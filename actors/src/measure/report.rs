// SPDX-License-Identifier: Apache-2.0
//! The bill for people, and as JSON.

use super::Measured;
use super::bill::{Bill, By, Part};
use super::child::Ended;
use crate::words::{self, ESTIMATE, joules, mark, percent, tame};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

/// Part of the command's CPU time that may be missing before it is said: the kernel and the probe round differently.
const ROUNDING_PERMILLE: u128 = 20;
/// CPU time below which nothing is said of what is missing: the step by which the program becomes the command is in one
/// of the two figures only.
const ROUNDING: Duration = Duration::from_millis(50);
/// Longest command that is repeated.
const LONGEST: usize = 200;

/// What is written to standard error.
pub(super) fn text(command: &[OsString], measured: &Measured) -> String {
    let mut out = format!("\nkepler: {}\n", shown(command));
    let ended = &measured.ended;
    match &measured.bill {
        Ok(bill) => energy(&mut out, bill),
        Err(why) => line(&mut out, &format!("no energy: {why}")),
    }
    line(
        &mut out,
        &format!(
            "{:.3} s wall, {:.3} s CPU ({:.3} user, {:.3} system){}",
            ended.wall.as_secs_f64(),
            ended.cpu().as_secs_f64(),
            ended.user.as_secs_f64(),
            ended.system.as_secs_f64(),
            measured.bill.as_ref().map_or_else(|_| String::new(), of_the_node)
        ),
    );
    if let Ok(bill) = &measured.bill {
        line(&mut out, &whose(bill));
        for remark in remarks(bill, ended) {
            line(&mut out, &remark);
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "  {text}").expect("writing into a string does not fail");
}

fn shown(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| tame(&word.to_string_lossy())).collect();
    words::cut(&words.join(" "), LONGEST)
}

fn energy(out: &mut String, bill: &Bill) {
    if bill.parts.is_empty() {
        line(
            out,
            "no energy: this machine has no source of it (`kepler check` says why)",
        );
        return;
    }
    let counted: Vec<&Part> = bill.parts.iter().filter(|part| part.in_total).collect();
    let sum = |of: fn(&Part) -> u64| {
        counted
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(of(part)))
    };
    let is_estimate = counted.iter().any(|part| part.error_permille.is_some());
    let estimate = mark(is_estimate);
    if !counted.is_empty() {
        let (dynamic, idle) = (sum(|part| part.dynamic_uj), sum(|part| part.idle_uj));
        line(
            out,
            &format!(
                "{estimate}{} J: {estimate}{} J dynamic, {estimate}{} J share of idle; {}",
                joules(dynamic.saturating_add(idle)),
                joules(dynamic),
                joules(idle),
                if is_estimate { "estimated" } else { "measured" }
            ),
        );
    }
    for part in &bill.parts {
        line(out, &component(part));
    }
}

/// `  package  12.345 J dynamic +  1.000 J idle, counted by rapl-sysfs; the node 20.000 J dynamic, 60.000 J idle`
fn component(part: &Part) -> String {
    let estimate = mark(part.error_permille.is_some());
    let name = if part.in_total {
        part.component.clone()
    } else {
        format!("({})", part.component)
    };
    let how = part.provenance.join(" and ");
    let error = part
        .error_permille
        .map_or_else(String::new, |error| format!(" ±{}", percent(error)));
    let late = if part.is_late {
        ", not read since the command ended"
    } else {
        ""
    };
    format!(
        "  {name:<10} {estimate}{} J dynamic, {estimate}{} J idle, {how}{error} by {}{late}; the node {} J dynamic, {} J idle",
        joules(part.dynamic_uj),
        joules(part.idle_uj),
        part.sources.join(", "),
        joules(part.node_dynamic_uj),
        joules(part.node_idle_uj)
    )
}

/// `, 50 % of the node's CPU time`: by which dynamic energy is shared out, for the most part.
fn of_the_node(bill: &Bill) -> String {
    bill.node_cpu_ns.map_or_else(String::new, |node| {
        format!(
            ", {} of the node's CPU time meanwhile",
            words::share(bill.cpu_ns, node)
        )
    })
}

fn whose(bill: &Bill) -> String {
    match &bill.by {
        By::Cgroup { name } => format!(
            "of all its processes, by a cgroup of its own ({name}); by {}",
            bill.measured_by
        ),
        By::Descent { processes } => format!(
            "of the {processes} of its processes that were seen, by descent: those that lived for an instant are missing; by {}",
            bill.measured_by
        ),
    }
}

fn remarks(bill: &Bill, ended: &Ended) -> Vec<String> {
    let mut remarks = bill.remarks.clone();
    if bill.left > 0 {
        let words = format!(
            "{} of its processes still run; their energy up to the command's end is in",
            bill.left
        );
        remarks.push(words);
    }
    let (cpu, seen) = (ended.cpu().as_nanos(), u128::from(bill.cpu_ns));
    let missing = cpu.saturating_sub(seen);
    if missing > ROUNDING.as_nanos() && missing.saturating_mul(1000) > cpu.saturating_mul(ROUNDING_PERMILLE) {
        let part = seen.saturating_mul(1000).checked_div(cpu).unwrap_or(0);
        let part = percent(u64::try_from(part).unwrap_or(0));
        remarks.push(format!(
            "these figures have {part} of its CPU time; the rest was in processes that nobody saw"
        ));
    }
    if bill.parts.iter().any(|part| part.error_permille.is_some()) {
        remarks.push(format!(
            "{ESTIMATE} is an estimate by a model, not a meter's figure"
        ));
    }
    remarks
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u8,
    command: Vec<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    wall_ns: u64,
    user_ns: u64,
    system_ns: u64,
    energy: Option<EnergyView<'a>>,
    problem: Option<&'a str>,
}

#[derive(Serialize)]
struct EnergyView<'a> {
    #[serde(flatten)]
    by: &'a By,
    measured_by: &'a str,
    dynamic_uj: u64,
    idle_uj: u64,
    estimated: bool,
    cpu_ns: u64,
    node_cpu_ns: Option<u64>,
    still_running: usize,
    components: &'a [Part],
    remarks: Vec<String>,
}

/// The same as a line of JSON: whole microjoules and nanoseconds.
pub(super) fn json(command: &[OsString], measured: &Measured) -> std::io::Result<String> {
    let ended = &measured.ended;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let bill = measured.bill.as_ref();
    let energy = bill.ok().map(|bill| {
        let counted = || bill.parts.iter().filter(|part| part.in_total);
        EnergyView {
            by: &bill.by,
            measured_by: &bill.measured_by,
            dynamic_uj: counted().fold(0, |sum, part| sum.saturating_add(part.dynamic_uj)),
            idle_uj: counted().fold(0, |sum, part| sum.saturating_add(part.idle_uj)),
            estimated: counted().any(|part| part.error_permille.is_some()),
            cpu_ns: bill.cpu_ns,
            node_cpu_ns: bill.node_cpu_ns,
            still_running: bill.left,
            components: &bill.parts,
            remarks: remarks(bill, ended),
        }
    });
    let document = Document {
        schema: 1,
        command: command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        exit_code: ended.code,
        signal: ended.signal,
        wall_ns: nanos(ended.wall),
        user_ns: nanos(ended.user),
        system_ns: nanos(ended.system),
        energy,
        problem: bill.err().map(String::as_str),
    };
    Ok(format!("{}\n", serde_json::to_string(&document)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::MonotonicNanos;

    fn measured(error_permille: Option<u64>) -> Measured {
        let part = |component: &str, in_total, error_permille: Option<u64>| Part {
            component: component.to_owned(),
            in_total,
            sources: vec!["rapl-sysfs".to_owned()],
            provenance: vec![
                if error_permille.is_some() {
                    "estimated"
                } else {
                    "counted"
                }
                .to_owned(),
            ],
            error_permille,
            dynamic_uj: 12_345_678,
            idle_uj: 1_000_000,
            node_dynamic_uj: 20_000_000,
            node_idle_uj: 60_000_000,
            is_late: !in_total,
        };
        Measured {
            ended: Ended {
                code: Some(3),
                signal: None,
                wall: Duration::from_millis(2_500),
                user: Duration::from_millis(1_900),
                system: Duration::from_millis(100),
                at: MonotonicNanos::ZERO,
            },
            bill: Ok(Bill {
                by: By::Cgroup {
                    name: "kepler-run-7.scope".to_owned(),
                },
                measured_by: "this process".to_owned(),
                parts: vec![
                    part("package", true, error_permille),
                    part("platform", false, None),
                ],
                cpu_ns: 1_990_000_000,
                node_cpu_ns: Some(4_000_000_000),
                left: 0,
                remarks: Vec::new(),
            }),
        }
    }

    fn command() -> Vec<OsString> {
        ["make", "-j8", "a\x1b[2Jb"].map(OsString::from).to_vec()
    }

    #[test]
    fn people_read_joules_by_component_seconds_and_where_they_come_from() {
        let expected = "
kepler: make -j8 a\u{fffd}[2Jb
  13.346 J: 12.346 J dynamic, 1.000 J share of idle; measured
    package    12.346 J dynamic, 1.000 J idle, counted by rapl-sysfs; the node 20.000 J dynamic, 60.000 J idle
    (platform) 12.346 J dynamic, 1.000 J idle, counted by rapl-sysfs, not read since the command ended; the node 20.000 J dynamic, 60.000 J idle
  2.500 s wall, 2.000 s CPU (1.900 user, 0.100 system), 50 % of the node's CPU time meanwhile
  of all its processes, by a cgroup of its own (kepler-run-7.scope); by this process
";
        assert_eq!(text(&command(), &measured(None)), expected);
    }

    #[test]
    fn an_estimate_is_marked_wherever_it_stands() {
        let text = text(&command(), &measured(Some(150)));
        assert!(
            text.contains("≈13.346 J: ≈12.346 J dynamic, ≈1.000 J share of idle; estimated\n"),
            "{text}"
        );
        assert!(text.contains("estimated ±15 % by"), "{text}");
        assert!(text.contains("not a meter's figure"), "{text}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut measured = measured(None);
        if let Ok(bill) = &mut measured.bill {
            bill.by = By::Descent { processes: 2 };
            bill.cpu_ns = 1_500_000_000;
            bill.left = 1;
        }
        let said = text(&command(), &measured);
        for words in [
            "the 2 of its processes that were seen",
            "have 75 % of its CPU time",
            "1 of its processes still run",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        measured.bill = Err("the daemon went away".to_owned());
        let said = text(&command(), &measured);
        assert!(
            said.contains("no energy: the daemon went away") && said.contains("2.000 s CPU"),
            "{said}"
        );
    }

    #[test]
    fn json_has_whole_numbers_and_sums_what_counts_once() {
        let read = |measured: &Measured| -> serde_json::Value {
            serde_json::from_str(&json(&command(), measured).unwrap()).unwrap()
        };
        let document = read(&measured(Some(150)));
        assert_eq!(document["exit_code"], 3);
        assert_eq!(document["wall_ns"], 2_500_000_000_u64);
        assert_eq!(document["energy"]["by"], "cgroup");
        assert_eq!(document["energy"]["dynamic_uj"], 12_345_678);
        assert_eq!(document["energy"]["estimated"], true);
        assert_eq!(document["energy"]["components"][1]["in_total"], false);
        assert_eq!(document["problem"], serde_json::Value::Null);
    }
}
