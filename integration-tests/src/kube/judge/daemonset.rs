// SPDX-License-Identifier: Apache-2.0
//! The image as a `DaemonSet`: its rights, what its pods say one after the other, and what is lost between two of them.

use super::names::misses;
use super::{Judge, LEAST, MOST_OFF_PPM, seconds};
use crate::figures::{imbalances, integer, rows};
use crate::kube::in_pod::{InPod, Meter};
use crate::kube::run::{Frame, Kubelet};
use crate::kube::series::{self, CONTAINERS, PODS, shown};
use crate::kube::truth;
use crate::meters::judge::Row;
use crate::promtext::Sample;
use serde_json::Value;
use std::collections::BTreeMap;

/// The pods, in the order of kube/daemonset.sh, and what ended the one before: the event of its beginning, the event of its end.
const LIVES: [(&str, &str, &str); 4] = [
    ("the first pod", "daemonset applied", "pod ready"),
    ("a rolling restart", "restart asked for", "pod restarted"),
    ("its pod is deleted", "pod deleted", "pod replaced"),
    (
        "names from the kubelet instead",
        "kubelet asked for",
        "pod with kubelet",
    ),
];
/// How far off one pod may be: a life is short, and a scrape is worth some of it. 5 %, in millionths.
const MOST_OFF_OF_ONE_PPM: u64 = 50_000;
/// The longest that nobody may answer while one pod takes the place of another: nearly all of it is the kubelet's, which takes its
/// time with the old pod's remains before there may be a new one.
const MOST_AWAY: u64 = 120 * SECOND;
/// The longest that the daemon itself may take to end, or to answer after it began.
const MOST_OURS: u64 = 5 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// The image may have so many bytes.
const MOST_BYTES: u64 = 30_000_000;
/// The four capabilities, by their bits.
const CAPABILITIES: [(&str, u32); 4] = [
    ("DAC_READ_SEARCH", 2),
    ("SYS_PTRACE", 19),
    ("PERFMON", 38),
    ("BPF", 39),
];

impl Judge<'_> {
    pub(super) fn daemonset(&mut self) {
        let pod = &self.run.pod;
        self.image(pod);
        self.rights(pod);
        self.probes(pod);
        let lives = pod.lives();
        for (number, (life, _, _)) in LIVES.into_iter().enumerate() {
            let frames = lives.get(number).copied().unwrap_or_default();
            self.one_life(life, frames);
        }
        for number in 0..LIVES.len() {
            self.becomes_ready(pod, number);
        }
        for (pair, (what, _, _)) in lives.windows(2).zip(LIVES.into_iter().skip(1)) {
            if let [before, after] = pair {
                self.begins_anew(what, before, after);
                self.unbilled(what, pod.meter, before, after);
            }
        }
        self.our_time(pod);
        self.kept(pod);
        let errors: Vec<_> = pod
            .watched
            .log
            .lines()
            .filter(|line| line.contains("\"level\":\"ERROR\""))
            .map(|line| line.chars().take(200).collect())
            .collect();
        let lines = pod.watched.log.lines().count();
        self.all(
            "in a pod: nothing is an error to the log",
            "no such line",
            lines,
            &errors,
        );
    }

    fn image(&mut self, pod: &InPod) {
        let label = |name: &str| {
            let key = format!("org.opencontainers.image.{name}");
            pod.image["config"]["Labels"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let bytes = pod.image_bytes;
        self.fact(
            "in a pod: the image",
            "below 30 MB, labelled",
            format!(
                "{bytes} bytes, {}, version {}, revision {}",
                pod.image["architecture"].as_str().unwrap_or_default(),
                label("version"),
                label("revision")
            ),
            (1..MOST_BYTES).contains(&bytes) && !label("revision").is_empty(),
        );
    }

    fn rights(&mut self, pod: &InPod) {
        let field = |name: &str| {
            let lines = pod.status.lines();
            let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found.next().unwrap_or_default().trim().to_owned()
        };
        let effective = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(u64::MAX);
        let names: Vec<&str> = CAPABILITIES
            .iter()
            .filter(|(_, bit)| effective >> bit & 1 == 1)
            .map(|(name, _)| *name)
            .collect();
        let others = CAPABILITIES
            .iter()
            .fold(effective, |left, (_, bit)| left & !(1 << bit));
        let context = &pod.object["spec"]["containers"][0]["securityContext"];
        let (privileges, seccomp) = (field("NoNewPrivs"), field("Seccomp"));
        self.fact(
            "in a pod: what the kernel lets it do",
            "no other capabilities than four, no new privileges (1), seccomp (2), not privileged",
            format!(
                "{}; NoNewPrivs {privileges}, Seccomp {seccomp}, privileged {}",
                names.join(", "),
                context["privileged"]
            ),
            others == 0 && privileges == "1" && seccomp == "2" && context["privileged"] == false,
        );
    }

    fn probes(&mut self, pod: &InPod) {
        let facts = pod.watched.frames.first().map(|frame| &frame.snapshot["facts"]);
        let facts = facts.unwrap_or(&Value::Null);
        let chosen = facts["accounting"]["chosen"].as_str().unwrap_or_default();
        let (up, down): (Vec<_>, Vec<_>) = rows(facts, "probes").iter().partition(|row| row["up"] == true);
        let names = |rows: Vec<&Value>| {
            let names = rows.iter().map(|row| row["probe"].as_str().unwrap_or_default());
            names.collect::<Vec<_>>().join(", ")
        };
        self.fact(
            "in a pod: who counts CPU time",
            "an eBPF program",
            format!("{chosen}; up: {}; not up: {}", names(up), names(down)),
            ["switch", "scheduler"].contains(&chosen),
        );
    }

    fn one_life(&mut self, life: &str, frames: &[Frame]) {
        let within = |said: &&Kubelet| {
            let (first, last) = (frames.first(), frames.last());
            first
                .zip(last)
                .is_some_and(|(first, last)| (first.at..=last.at).contains(&said.at))
        };
        let kubelet: Vec<Kubelet> = self
            .run
            .pod
            .watched
            .kubelet
            .iter()
            .filter(within)
            .cloned()
            .collect();
        self.names_in_life(life, frames, &kubelet);
        self.cpu_in_life(life, frames, &kubelet);
        let imbalances: Vec<_> = frames
            .iter()
            .flat_map(|frame| imbalances(&frame.snapshot))
            .collect();
        self.all(
            &format!("{life}: containers, processes and nobody add up to each zone, to the microjoule"),
            "in every snapshot",
            frames.len(),
            &imbalances,
        );
        let (counters, fallen) = series::fallen(frames);
        self.all(
            &format!("{life}: no counter falls over {} scrapes", frames.len()),
            "none",
            counters,
            &fallen,
        );
    }

    fn names_in_life(&mut self, life: &str, frames: &[Frame], kubelet: &[Kubelet]) {
        let (containers, pods) = (shown(frames, CONTAINERS), shown(frames, PODS));
        let lasting = truth::lasting(kubelet);
        let (mut checked, mut wrong, mut own) = (0, Vec::new(), 0);
        for (uid, pod) in truth::pods(kubelet) {
            for (id, name) in pod.containers.iter().filter(|(id, _)| lasting.contains(*id)) {
                let wanted = [name.clone(), pod.name.clone(), pod.namespace.clone()];
                wrong.extend(misses(&containers, id, &wanted));
                wrong.extend(misses(&pods, &uid, &[pod.name.clone(), pod.namespace.clone()]));
                checked += 1;
                own += usize::from(pod.namespace == "kepler");
            }
        }
        if own == 0 {
            wrong.push("its own pod is not among them".to_owned());
        }
        self.all(
            &format!("{life}: names of every container that runs, and of its pod, its own among them"),
            "the kubelet's, from the first series on",
            checked,
            &wrong,
        );
    }

    fn cpu_in_life(&mut self, life: &str, frames: &[Frame], kubelet: &[Kubelet]) {
        let (mut compared, mut truths, mut ours_all, mut wrong) = (0_usize, 0_u64, 0_u64, Vec::new());
        for (uid, pod) in truth::pods(kubelet) {
            let truth = truth::pod_usage(kubelet, &uid);
            let ours = series::cpu(frames, "pods", "uid", &uid);
            let Some(rise) = ours.rise(&truth).filter(|rise| rise.truth >= LEAST) else {
                continue;
            };
            compared += 1;
            truths += rise.truth;
            ours_all += rise.ours;
            let off = rise.truth.abs_diff(rise.ours) * 1_000_000 / rise.truth;
            if off > MOST_OFF_OF_ONE_PPM {
                let (truth, ours) = (seconds(rise.truth), seconds(rise.ours));
                wrong.push(format!("{}: {ours} of {truth}", pod.name));
            }
        }
        let mut said = format!("{} in {compared} pods", seconds(ours_all));
        if !wrong.is_empty() {
            said = format!("{said}; {}", super::summed(&wrong));
        }
        let off = truths.abs_diff(ours_all) * 1_000_000 / truths.max(1);
        self.rows.push(Row {
            what: format!("{life}: CPU time of all pods to 2 %, of each to 5 %"),
            truth: format!("{}, of 5 pods at least", seconds(truths)),
            shown: said,
            off_ppm: Some(off),
            good: compared >= 5 && wrong.is_empty() && off <= MOST_OFF_PPM,
        });
    }

    fn becomes_ready(&mut self, pod: &InPod, number: usize) {
        let Some((what, begin, end)) = LIVES.get(number) else {
            return;
        };
        let times = self.run.when(begin).zip(self.run.when(end));
        let (from, to) = times.unwrap_or_default();
        let after = format!("ready by its probes after {}", seconds(to.saturating_sub(from)));
        if number == 0 {
            return self.fact(&format!("{what}: it comes"), "ready", after, times.is_some());
        }
        let away = pod.longest_away(from, to);
        self.fact(
            &format!("{what}: /readyz is not answered with 200"),
            "for two minutes at most: the kubelet's time",
            format!("for {}; {after}", away.map_or_else(|| "ever".to_owned(), seconds)),
            times.is_some() && away.is_some_and(|away| away <= MOST_AWAY),
        );
    }

    /// Every counter that both have says of the later pod that it began after the earlier one's last word.
    fn begins_anew(&mut self, what: &str, before: &[Frame], after: &[Frame]) {
        let (Some(last), Some(first)) = (before.last(), after.first()) else {
            return self.all(&format!("{what}: counters"), "they begin anew", 0, &[]);
        };
        let earlier = created(last);
        let (mut checked, mut wrong) = (0, Vec::new());
        for (series, at) in created(first) {
            if earlier.contains_key(&series) {
                checked += 1;
                if at <= nanos_as_seconds(last.at) {
                    wrong.push(format!("{series:?} since {at}"));
                }
            }
        }
        self.all(
            &format!("{what}: counters begin at 0 again, and their _created says when"),
            "after the last scrape of the pod before",
            checked,
            &wrong,
        );
    }

    /// Energy of the meter that is in no scraped counter.
    fn unbilled(&mut self, what: &str, meter: Option<Meter>, before: &[Frame], after: &[Frame]) {
        let (Some(meter), Some(last), Some(first)) = (meter, before.last(), after.first()) else {
            return self.all(&format!("{what}: energy"), "some", 0, &[]);
        };
        let drawn = meter.between(last.at, first.at);
        let lost = drawn.saturating_sub(metered(first));
        let joules = |microjoules: u64| format!("{} J", (microjoules + 500_000) / 1_000_000);
        self.fact(
            &format!("{what}: energy that is in no counter"),
            &format!(
                "no more than the {} that the meter counts from the last scrape before to the first one after",
                joules(drawn)
            ),
            format!(
                "{}, that of {}",
                joules(lost),
                seconds(lost / meter.watts.max(1) * 1_000)
            ),
            lost <= drawn && drawn < MOST_AWAY / 1_000 * meter.watts,
        );
    }

    /// What of the time without answers is the daemon's own.
    fn our_time(&mut self, pod: &InPod) {
        let said = |words: &str| -> Vec<u64> {
            let lines = pod.watched.log.lines().filter(|line| line.contains(words));
            lines.filter_map(moment).collect()
        };
        let (begun, ended) = (said("no_new_privs"), said("\"stopped\""));
        let ends = said("\"stopping\"").into_iter().zip(ended);
        let slowest_end = ends.map(|(from, to)| to.saturating_sub(from)).max();
        let answers = begun.iter().skip(1).filter_map(|from| {
            let mut ready = pod.readiness.iter().filter(|(_, status)| *status == 200);
            Some(ready.find(|(at, _)| at > from)?.0 - from)
        });
        let slowest_start = answers.max();
        let within = |time: Option<u64>| time.is_some_and(|time| time <= MOST_OURS);
        let words = |time: Option<u64>| time.map_or_else(|| "never".to_owned(), seconds);
        self.fact(
            "in a pod: the longest from its first log line to /readyz, and from SIGTERM to its end",
            "5 s each",
            format!("{} and {}", words(slowest_start), words(slowest_end)),
            begun.len() == LIVES.len() && within(slowest_start) && within(slowest_end),
        );
    }

    /// What was learned is there again.
    fn kept(&mut self, pod: &InPod) {
        let restored: Vec<u64> = pod
            .watched
            .log
            .lines()
            .filter(|line| line.contains("idle floors restored"))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["zones"].as_u64())
            .collect();
        let file = pod.state.contains("idle-floor.json");
        let good = file && restored.len() == LIVES.len() - 1 && restored.iter().all(|zones| *zones > 0);
        self.fact(
            "in a pod: the learned idle floor outlives each pod, in the host's folder",
            "restored in the three later pods",
            format!("restored by {} pods, zones: {restored:?}", restored.len()),
            good,
        );
        let restarts = |object: &Value| object["status"]["containerStatuses"][0]["restartCount"].as_u64();
        let counts = [restarts(&pod.object), restarts(&pod.last_object)];
        self.fact(
            "in a pod: restarts by the liveness probe",
            "0",
            counts
                .iter()
                .flatten()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(" and "),
            counts == [Some(0), Some(0)],
        );
    }
}

/// What the meter's zone has been paid.
fn metered(frame: &Frame) -> u64 {
    let zones = rows(&frame.snapshot, "zones").iter();
    let ours = zones.filter(|zone| zone["component"] == "package");
    ours.map(|zone| integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
        .sum()
}

type Series<'a> = (&'a str, &'a BTreeMap<String, String>);

/// Since when each counter of workloads counts, in seconds since the epoch.
fn created(frame: &Frame) -> BTreeMap<Series<'_>, f64> {
    let ours = frame.metrics.iter().filter(|sample| {
        sample.name.ends_with("_created")
            && (sample.name.starts_with("kepler_container_") || sample.name.starts_with("kepler_pod_"))
    });
    ours.map(|sample| {
        let Sample { name, labels, .. } = sample;
        ((name.as_str(), labels), sample.float())
    })
    .collect()
}

/// When a log line was written: nanoseconds since the epoch.
fn moment(line: &str) -> Option<u64> {
    // What kubectl says of itself may stand before it.
    let fields: Value = serde_json::from_str(line.get(line.find('{')?..)?).ok()?;
    let at = humantime::parse_rfc3339(fields["timestamp"].as_str()?).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[expect(clippy::cast_precision_loss, reason = "a moment to the microsecond is enough")]
fn nanos_as_seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
