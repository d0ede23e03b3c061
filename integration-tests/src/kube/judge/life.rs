// SPDX-License-Identifier: Apache-2.0
//! What happens: pods end, the API server goes away, a right is missing.

use super::names::misses;
use super::{Judge, seconds};
use crate::figures::rows;
use crate::kube::run::{Frame, Watched};
use crate::kube::series::{self, PODS, Points, shown};
use crate::promtext;
use std::collections::BTreeMap;

impl Judge<'_> {
    /// A job that ends, a pod that is deleted, a container that starts again and again.
    pub(super) fn ends(&mut self) {
        for (what, begin) in [
            ("a job's pod that ended", "batch-"),
            ("a pod that was deleted", "gone"),
        ] {
            let uid = self
                .pods
                .iter()
                .find(|(_, pod)| pod.name.starts_with(begin))
                .map(|(uid, _)| uid.clone());
            let totals = uid
                .map(|uid| ended_totals(self.frames(), &uid))
                .unwrap_or_default();
            let good = totals.len() >= 3 && totals.iter().all(|total| Some(total) == totals.first());
            let shown = match totals.as_slice() {
                [] => "it never ended".to_owned(),
                [first, ..] => format!("{} in {} snapshots after its end", seconds(*first), totals.len()),
            };
            self.fact(
                &format!("{what} keeps its total"),
                "the same ever after",
                shown,
                good,
            );
        }
        let (seen, _) = self.named_by(|pod, name| pod.name == "loop" && name == "crash");
        self.fact(
            "a restart loop: one series for each of its containers, under one name",
            "3 at least",
            seen.to_string(),
            seen >= 3,
        );
    }

    pub(super) fn outage(&mut self) {
        let away = self.run.when("api down").zip(self.run.when("api coming"));
        let (down, up) = away.unwrap_or_default();
        let inside: Vec<Frame> = self
            .frames()
            .iter()
            .filter(|frame| (down..=up).contains(&frame.at))
            .cloned()
            .collect();
        let web = self.pods.iter().find(|(_, pod)| pod.name.starts_with("web-"));
        let used = web
            .map(|(uid, _)| series::cpu(&inside, "pods", "uid", uid))
            .unwrap_or_default();
        let (rose, over) = ends_of(&used);
        self.fact(
            "the API server is away: figures go on",
            "CPU time rises",
            format!("by {} in {}", seconds(rose), seconds(over)),
            rose > 0,
        );
        self.said(
            "the API server is away: said in words",
            &self.run.main,
            &["pods cannot be asked for", "no connection", "the figures go on"],
        );
        self.said(
            "the API server is back: said in words",
            &self.run.main,
            &["pods of this node are known again"],
        );
        for (what, begin, container) in [
            (
                "a pod made after the API server came back is named, without a restart",
                "late-",
                "newcomer",
            ),
            (
                "a static pod, started while the API server was away, is named",
                "static-",
                "proxy",
            ),
        ] {
            let (seen, _) = self.named_by(|pod, name| pod.name.starts_with(begin) && name == container);
            let uids = self.pods.iter().filter(|(_, pod)| pod.name.starts_with(begin));
            let of_pod = uids
                .filter(|(uid, pod)| {
                    misses(&self.shown_pods, uid, &[pod.name.clone(), pod.namespace.clone()]).is_none()
                })
                .count();
            self.fact(
                what,
                "container and pod",
                format!("{seen} container, {of_pod} pod"),
                seen == 1 && of_pod == 1,
            );
        }
        let errors: Vec<_> = [&self.run.main, &self.run.denied]
            .iter()
            .flat_map(|daemon| daemon.log.lines())
            .filter(|line| line.contains("\"level\":\"ERROR\""))
            .map(squeezed)
            .collect();
        let lines = self.run.main.log.lines().count();
        self.all(
            "nothing of all this is an error to the log",
            "no such line",
            lines,
            &errors,
        );
        let alive = if self.run.main.alive { "alive" } else { "ended" };
        self.fact(
            "the daemon, after all this",
            "alive",
            alive.to_owned(),
            self.run.main.alive,
        );
    }

    /// Whether the log has a line with all of these words.
    fn said(&mut self, what: &str, daemon: &Watched, words: &[&str]) {
        let line = daemon.says(words);
        let shown = line.map_or_else(|| "nothing was said".to_owned(), squeezed);
        self.fact(what, &words.join(" .. "), shown, line.is_some());
    }

    pub(super) fn denied(&mut self) {
        let denied = &self.run.denied;
        self.said(
            "no right to read pods: said in words",
            denied,
            &["pods cannot be asked for", "403", "ClusterRole"],
        );
        let totals: Vec<BTreeMap<&str, u64>> = denied.frames.iter().map(totals).collect();
        let [first, second, third] = totals.as_slice() else {
            return self.fact(
                "no right to read pods: figures go on",
                "3 scrapes",
                totals.len().to_string(),
                false,
            );
        };
        let rose = second.values().sum::<u64>().saturating_sub(first.values().sum());
        self.fact(
            "no right to read pods: figures go on, in the metrics",
            "CPU time of pods rises",
            format!("by {} in {} pods", seconds(rose), second.len()),
            rose > 0,
        );
        let mut wrong: Vec<_> = second
            .iter()
            .filter(|(uid, total)| third.get(*uid).is_none_or(|now| now < total))
            .map(|(uid, total)| format!("{uid}: from {total} to {:?}", third.get(uid)))
            .collect();
        let named = shown(denied.frames.get(2..).unwrap_or_default(), PODS);
        let twice = named.iter().filter(|(_, names)| names.len() > 1);
        wrong.extend(twice.map(|(uid, names)| format!("{uid}: {:?} at once", names.keys())));
        self.all(
            "the right is granted: a pod goes on under its name where it was without",
            "no total falls, none is there twice",
            second.len(),
            &wrong,
        );
        let names = |frames: &[Frame]| -> usize {
            let rows = frames.iter().flat_map(|frame| rows(&frame.snapshot, "pods"));
            rows.filter(|row| row["name"].is_string()).count()
        };
        let before = names(denied.frames.get(..2).unwrap_or_default());
        let after = names(denied.frames.get(2..).unwrap_or_default());
        self.fact(
            "the right is granted: names come, without a restart",
            "no pod by name before, 8 at least after",
            format!("{before} before, {after} after"),
            before == 0 && after >= 8 && denied.alive,
        );
    }
}

/// CPU time by pod in the metrics, in nanoseconds.
fn totals(frame: &Frame) -> BTreeMap<&str, u64> {
    let mut totals = BTreeMap::new();
    for sample in promtext::of(&frame.metrics, PODS.metric) {
        // Milliseconds with six places.
        *totals.entry(sample.label(PODS.id)).or_default() += sample.millionths();
    }
    totals
}

/// CPU time of a pod in every snapshot that says that it ended.
fn ended_totals(frames: &[Frame], uid: &str) -> Vec<u64> {
    let found = frames
        .iter()
        .flat_map(|frame| rows(&frame.snapshot, "pods"))
        .filter(|row| row["uid"] == uid && row["ended"] == true);
    found.filter_map(|row| row["cpu_ns"].as_u64()).collect()
}

/// What the first and last point differ by, and how far they are apart.
fn ends_of(points: &Points) -> (u64, u64) {
    match (points.all().first(), points.all().last()) {
        (Some((since, low)), Some((until, high))) => {
            (high.saturating_sub(*low), until.saturating_sub(*since))
        }
        _ => (0, 0),
    }
}

/// A log line's message and reason, cut short.
fn squeezed(line: &str) -> String {
    let fields: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let parts =
        ["message", "reason", "detail", "advice"].map(|field| fields[field].as_str().unwrap_or_default());
    let text = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    text.chars().take(200).collect()
}
