// SPDX-License-Identifier: Apache-2.0
//! The folder of a run: owns its layout, and judges nothing.

use super::in_pod::InPod;
use crate::promtext::{self, Sample};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;

/// Everything that was written down.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Of the API server.
    pub version: String,
    /// The machine's load before.
    pub load: String,
    /// What happened, with `CLOCK_REALTIME` in nanoseconds.
    pub events: Vec<(u64, String)>,
    /// The daemon that knows pods by name.
    pub main: Watched,
    /// The one whose account has no rights at first.
    pub denied: Watched,
    /// The image as a `DaemonSet`.
    pub pod: InPod,
    /// Whether it came to its end.
    pub done: bool,
}

/// One daemon, and the kubelet beside it.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// In order.
    pub frames: Vec<Frame>,
    /// In order.
    pub kubelet: Vec<Kubelet>,
    /// Its log.
    pub log: String,
    /// Whether it was alive at the end.
    pub alive: bool,
}

/// Both pages at one moment.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// When the window of the snapshot ended, `CLOCK_REALTIME` in nanoseconds.
    pub at: u64,
    /// `/metrics`.
    pub metrics: Vec<Sample>,
    /// `/api/v1/snapshot`.
    pub snapshot: Value,
}

/// What the kubelet said at one moment.
#[derive(Clone, Debug, Default)]
pub struct Kubelet {
    /// Between the question for the summary and the answer, `CLOCK_REALTIME` in nanoseconds.
    pub at: u64,
    /// `/stats/summary`.
    pub summary: Value,
    /// `/pods`.
    pub pods: Value,
    /// `container_cpu_usage_seconds_total` of `/metrics/cadvisor`.
    pub dated: Vec<Dated>,
}

/// A count of CPU time with its moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dated {
    /// The cgroup's path.
    pub path: String,
    /// Nanoseconds.
    pub usage: u64,
    /// `CLOCK_REALTIME` in nanoseconds.
    pub at: u64,
}

impl Run {
    /// Reads a folder.
    ///
    /// # Errors
    /// When there is none. What is missing inside is missing in the run.
    pub fn read(folder: &Path) -> io::Result<Self> {
        fs::read_dir(folder)?;
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let ahead = ahead(&text("clocks"));
        Ok(Self {
            version: text("version").trim().to_owned(),
            load: text("load").trim().to_owned(),
            events: text("events").lines().filter_map(event).collect(),
            main: Watched::read(&folder.join("main"), ahead),
            denied: Watched::read(&folder.join("denied"), ahead),
            pod: InPod::read(&folder.join("pod"), ahead),
            done: folder.join("done").exists(),
        })
    }

    /// When something happened first.
    #[must_use]
    pub fn when(&self, event: &str) -> Option<u64> {
        self.events
            .iter()
            .find(|(_, what)| what == event)
            .map(|(at, _)| *at)
    }
}

/// By how much `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`: lines of both, of which the first counts. A machine whose clock
/// is set during the run fails the comparison.
fn ahead(text: &str) -> u64 {
    let mut numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    let (real, monotonic) = (numbers.next(), numbers.next());
    real.zip(monotonic)
        .map_or(0, |(real, monotonic)| real.saturating_sub(monotonic))
}

fn event(line: &str) -> Option<(u64, String)> {
    let (at, what) = line.split_once(' ')?;
    Some((at.parse().ok()?, what.to_owned()))
}

impl Watched {
    pub(super) fn read(folder: &Path, ahead: u64) -> Self {
        let mut names: Vec<String> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| {
                let (number, _) = name.split_once('.')?;
                number.parse::<u32>().ok()?;
                Some(number.to_owned())
            })
            .collect();
        names.sort();
        names.dedup();
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let frame = |number: &String| {
            Frame::parse(
                &text(&format!("{number}.snapshot")),
                &text(&format!("{number}.metrics")),
                ahead,
            )
        };
        let kubelet = |number: &String| {
            Kubelet::parse(
                &text(&format!("{number}.asked")),
                &text(&format!("{number}.summary")),
                &text(&format!("{number}.pods")),
                &text(&format!("{number}.cadvisor")),
            )
        };
        let mut frames: Vec<Frame> = names.iter().filter_map(frame).collect();
        // The same snapshot twice says nothing new.
        frames.dedup_by_key(|frame| frame.at);
        Self {
            frames,
            kubelet: names.iter().map(kubelet).collect(),
            log: text("log"),
            alive: folder.join("alive").exists(),
        }
    }

    /// The last of its log lines that has all of these words, whatever their case.
    #[must_use]
    pub fn says(&self, words: &[&str]) -> Option<&str> {
        let mut lines = self.log.lines();
        lines.rfind(|line| {
            let line = line.to_lowercase();
            words.iter().all(|word| line.contains(&word.to_lowercase()))
        })
    }
}

impl Frame {
    /// Out of two pages; `None` where they are none.
    #[must_use]
    pub fn parse(snapshot: &str, metrics: &str, ahead: u64) -> Option<Self> {
        let snapshot: Value = serde_json::from_str(snapshot).ok()?;
        Some(Self {
            at: snapshot["window"]["ended_ns"].as_u64()?.saturating_add(ahead),
            metrics: promtext::parse(metrics),
            snapshot,
        })
    }
}

impl Kubelet {
    /// Out of its pages; what is no page is empty.
    #[must_use]
    pub fn parse(asked: &str, summary: &str, pods: &str, dated: &str) -> Self {
        let times: Vec<u64> = asked
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let (first, last) = (times.first(), times.last());
        Self {
            at: first
                .zip(last)
                .map_or(0, |(first, last)| first + last.saturating_sub(*first) / 2),
            summary: serde_json::from_str(summary).unwrap_or_default(),
            pods: serde_json::from_str(pods).unwrap_or_default(),
            dated: dated.lines().filter_map(Dated::parse).collect(),
        }
    }
}

impl Dated {
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(",id=\"")?;
        let (path, rest) = rest.split_once('"')?;
        let (_, numbers) = rest.rsplit_once("} ")?;
        let (seconds, at) = numbers.trim().split_once(' ')?;
        let usage = std::time::Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
        Some(Self {
            path: path.to_owned(),
            usage: u64::try_from(usage.as_nanos()).ok()?,
            at: at.parse::<u64>().ok()?.checked_mul(1_000_000)?,
        })
    }
}
