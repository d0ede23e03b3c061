// SPDX-License-Identifier: Apache-2.0
//! Comparisons of one run: owns what counts as equal, and makes a row of each.

mod daemonset;
mod life;
mod names;

use super::run::{Frame, Run};
use super::series::{self, CONTAINERS, PODS, Points, Shown, shown};
use super::truth::{self, Pod};
use crate::meters::judge::Row;
use std::collections::BTreeMap;

/// How far off CPU time may be: 2 %, in millionths.
const MOST_OFF_PPM: u64 = 20_000;
/// CPU time below which 2 % are less than what one look tells, in nanoseconds.
const LEAST: u64 = 1_000_000_000;
/// Complaints named in one row; the others are counted.
const MOST_NAMED: usize = 3;

/// Judges a run.
pub struct Judge<'a> {
    run: &'a Run,
    pods: BTreeMap<String, Pod>,
    containers: Shown,
    shown_pods: Shown,
    rows: Vec<Row>,
}

/// All rows about a run.
#[must_use]
pub fn rows_of(run: &Run) -> Vec<Row> {
    let mut judge = Judge {
        run,
        pods: truth::pods(&run.main.kubelet),
        containers: shown(&run.main.frames, CONTAINERS),
        shown_pods: shown(&run.main.frames, PODS),
        rows: Vec::new(),
    };
    judge.cpu_time();
    judge.names();
    judge.one_series();
    judge.who_made_it();
    judge.ends();
    judge.outage();
    judge.denied();
    judge.daemonset();
    judge.rows
}

impl Judge<'_> {
    fn frames(&self) -> &[Frame] {
        &self.run.main.frames
    }

    fn fact(&mut self, what: &str, truth: &str, shown: String, good: bool) {
        self.rows.push(Row {
            what: what.to_owned(),
            truth: truth.to_owned(),
            shown,
            off_ppm: None,
            good,
        });
    }

    /// A row that is good when nothing is wrong.
    fn all(&mut self, what: &str, truth: &str, checked: usize, wrong: &[String]) {
        let shown = if wrong.is_empty() {
            format!("so in all of {checked}")
        } else {
            summed(wrong)
        };
        self.fact(what, truth, shown, wrong.is_empty() && checked > 0);
    }

    /// Ours of each pod, and of each container that was never restarted, beside the kubelet's.
    fn cpu_time(&mut self) {
        let mut compared = 0;
        for (uid, pod) in self.pods.clone() {
            let truth = truth::pod_usage(&self.run.main.kubelet, &uid);
            let ours = series::cpu(self.frames(), "pods", "uid", &uid);
            compared += usize::from(self.held(&format!("pod {}", pod.name), &truth, &ours));
            for (id, name) in only_ones(&pod) {
                let truth = truth::container_usage(&self.run.main.kubelet, &uid, name);
                let ours = series::cpu(self.frames(), "containers", "id", id);
                self.held(&format!("container {} {name}", pod.name), &truth, &ours);
            }
        }
        self.fact(
            "pods whose CPU time was compared",
            "8 at least",
            compared.to_string(),
            compared >= 8,
        );
    }

    fn held(&mut self, what: &str, truth: &Points, ours: &Points) -> bool {
        let Some(rise) = ours.rise(truth).filter(|rise| rise.truth >= LEAST) else {
            return false;
        };
        let off = u128::from(rise.truth.abs_diff(rise.ours)) * 1_000_000 / u128::from(rise.truth);
        let off = u64::try_from(off).unwrap_or(u64::MAX);
        self.rows.push(Row {
            what: format!("{what}, CPU time over {}", seconds(rise.over)),
            truth: seconds(rise.truth),
            shown: seconds(rise.ours),
            off_ppm: Some(off),
            good: off <= MOST_OFF_PPM,
        });
        true
    }
}

/// Containers of a pod whose name only one of them ever had.
fn only_ones(pod: &Pod) -> Vec<(&String, &String)> {
    let count = |wanted: &String| pod.containers.values().filter(|name| *name == wanted).count();
    let mut ones: Vec<_> = pod
        .containers
        .iter()
        .filter(|(_, name)| count(name) == 1)
        .collect();
    ones.sort_by_key(|(_, name)| *name);
    ones
}

/// Some of what is wrong, and how much more there is.
fn summed(wrong: &[String]) -> String {
    let named = wrong
        .get(..MOST_NAMED.min(wrong.len()))
        .unwrap_or_default()
        .join("; ");
    match wrong.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

/// Nanoseconds in seconds with three places.
fn seconds(nanos: u64) -> String {
    let millis = nanos.saturating_add(500_000) / 1_000_000;
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}
