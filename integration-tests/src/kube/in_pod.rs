// SPDX-License-Identifier: Apache-2.0
//! What kube/daemonset.sh wrote down of the image as a `DaemonSet`: owns the layout of that folder, and judges nothing.

use super::run::{Frame, Watched};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The `DaemonSet`'s pods, one after the other.
#[derive(Clone, Debug, Default)]
pub struct InPod {
    /// What all of them said, and the kubelet beside them.
    pub watched: Watched,
    /// When `/readyz` was answered (`CLOCK_REALTIME` in nanoseconds), and with which status; 0 where nobody answered.
    pub readiness: Vec<(u64, u16)>,
    /// What the meter draws.
    pub meter: Option<Meter>,
    /// `/proc/PID/status` of the first one's process.
    pub status: String,
    /// The first one, as the API server has it.
    pub object: Value,
    /// The last one.
    pub last_object: Value,
    /// The image's own description.
    pub image: Value,
    /// Bytes of the image as a file.
    pub image_bytes: u64,
    /// `kepler check` in the first one.
    pub check: String,
    /// Files of the state folder after the first one's end.
    pub state: String,
}

/// A meter that draws the same all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// `CLOCK_REALTIME` in nanoseconds.
    pub since: u64,
    /// Power.
    pub watts: u64,
}

impl Meter {
    /// Microjoules from one moment to another.
    #[must_use]
    pub fn between(self, from: u64, to: u64) -> u64 {
        to.saturating_sub(from.max(self.since)) / 1_000 * self.watts
    }
}

impl InPod {
    /// Reads the folder; `ahead` is by how much `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`. What is missing is missing.
    #[must_use]
    pub fn read(folder: &Path, ahead: u64) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let json = |name: &str| serde_json::from_str(&text(name)).unwrap_or_default();
        let mut watched = Watched::read(folder, ahead);
        // Before its first window a pod answers that it knows nothing yet.
        watched
            .frames
            .retain(|frame| frame.snapshot["tick"].as_u64() > Some(0));
        Self {
            watched,
            readiness: text("ready").lines().filter_map(answer).collect(),
            meter: meter(&text("meter"), ahead),
            status: text("status"),
            object: json("object"),
            last_object: json("last-object"),
            image: json("image"),
            image_bytes: text("image-bytes").trim().parse().unwrap_or_default(),
            check: text("check"),
            state: text("state"),
        }
    }

    /// The frames of each pod: one that counts its windows anew is another.
    #[must_use]
    pub fn lives(&self) -> Vec<&[Frame]> {
        let tick = |frame: &Frame| frame.snapshot["tick"].as_u64();
        self.watched
            .frames
            .chunk_by(|before, after| tick(before) <= tick(after))
            .collect()
    }

    /// The longest time between two answers that it is ready, of which the later came between two moments.
    #[must_use]
    pub fn longest_away(&self, from: u64, to: u64) -> Option<u64> {
        let ready: Vec<u64> = self
            .readiness
            .iter()
            .filter(|(_, status)| *status == 200)
            .map(|(at, _)| *at)
            .collect();
        let pairs = ready.iter().zip(ready.iter().skip(1));
        let within = pairs.filter(|(_, after)| (from..=to).contains(*after));
        within.map(|(before, after)| after - before).max()
    }
}

fn answer(line: &str) -> Option<(u64, u16)> {
    let (at, status) = line.split_once(' ')?;
    Some((at.parse().ok()?, status.parse().ok()?))
}

fn meter(text: &str, ahead: u64) -> Option<Meter> {
    let (since, watts) = text.trim().split_once(' ')?;
    Some(Meter {
        since: since.parse::<u64>().ok()?.checked_add(ahead)?,
        watts: watts.parse().ok()?,
    })
}
