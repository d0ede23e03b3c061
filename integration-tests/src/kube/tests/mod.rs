// SPDX-License-Identifier: Apache-2.0

mod daemonset;

use super::judge::rows_of;
use super::page::Judged;
use super::run::{Dated, Frame, Kubelet, Run, Watched};
use super::series::{CONTAINERS, Points, fallen, shown};
use super::truth;
use crate::meters::judge::Row;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

const SECOND: u64 = 1_000_000_000;
const UID: &str = "11111111-2222-3333-4444-555555555555";
const ID: &str = "aaaa";

/// A pod that uses half a CPU from moment 100 s on, of which the kubelet counts `per_mille` of what kepler does.
fn run(seconds: u64, per_mille: u64, name: impl Fn(u64) -> &'static str) -> Run {
    let cpu = |second: u64| second * SECOND / 2;
    let frame = |second: u64| {
        let labels = format!(
            "container_id=\"{ID}\",container_name=\"{0}\",pod_name=\"web-1\",container_namespace=\"shop\"",
            name(second)
        );
        Frame::parse(
            &json!({
                "window": {"ended_ns": second * SECOND},
                "containers": [{"id": ID, "cpu_ns": cpu(second)}],
                "pods": [{"uid": UID, "cpu_ns": cpu(second)}],
            })
            .to_string(),
            &format!("kepler_container_bpf_cpu_time_ms_total{{{labels}}} {second}\n"),
            100 * SECOND,
        )
        .expect("a frame")
    };
    let kubelet = |second: u64| {
        // Between two frames, and dated by another page.
        let usage = (cpu(second) + SECOND / 4) * per_mille / 1_000;
        let at_ms = (100 + second) * 1_000 + 500;
        let path = format!("/test-kube/kubepods/burstable/pod{UID}");
        let row = |id: &str| {
            format!(
                "container_cpu_usage_seconds_total{{container=\"\",cpu=\"total\",id=\"{id}\",name=\"\"}} {}.{:09} {at_ms}\n",
                usage / SECOND,
                usage % SECOND
            )
        };
        let begun = (100 + second) * SECOND;
        Kubelet::parse(
            &format!("{begun}\n{}\n", begun + SECOND),
            &json!({"pods": [{
                "podRef": {"uid": UID},
                "cpu": {"usageCoreNanoSeconds": usage},
                "containers": [{"name": "server", "cpu": {"usageCoreNanoSeconds": usage}}],
            }]})
            .to_string(),
            &json!({"items": [{
                "metadata": {"uid": UID, "name": "web-1", "namespace": "shop"},
                "status": {"qosClass": "Burstable", "containerStatuses": [
                    {"name": "server", "containerID": format!("containerd://{ID}"), "state": {"running": {}}},
                ]},
            }]})
            .to_string(),
            &(row("/") + &row(&path)),
        )
    };
    Run {
        main: Watched {
            frames: (0..seconds).map(frame).collect(),
            kubelet: (0..seconds).map(kubelet).collect(),
            ..Watched::default()
        },
        ..Run::default()
    }
}

fn find(rows: &[Row], words: &str) -> Row {
    let row = rows.iter().find(|row| row.what.contains(words));
    row.unwrap_or_else(|| panic!("no row {words} in {rows:?}"))
        .clone()
}

#[test]
fn cpu_time_within_two_per_cent_of_the_kubelets_is_good_and_beyond_it_is_not() {
    for (per_mille, good) in [
        (1_000, true),
        (985, true),
        (1_015, true),
        (970, false),
        (1_030, false),
    ] {
        let rows = rows_of(&run(60, per_mille, |_| "server"));
        for words in ["pod web-1, CPU time", "container web-1 server, CPU time"] {
            let row = find(&rows, words);
            assert_eq!(row.good, good, "{per_mille}: {row:?}");
        }
    }
    let exact = find(&rows_of(&run(60, 1_000, |_| "server")), "pod web-1, CPU time");
    assert_eq!(exact.off_ppm, Some(0), "counts are compared at the same moments");
}

#[test]
fn less_than_a_second_of_cpu_time_is_not_compared() {
    let rows = rows_of(&run(3, 500, |_| "server"));
    assert!(
        rows.iter().all(|row| !row.what.starts_with("pod web-1")),
        "{rows:?}"
    );
    assert!(!find(&rows, "pods whose CPU time was compared").good);
}

#[test]
fn counts_are_compared_where_ours_moved_least() {
    let ours = Points::new(
        [
            (0, 0),
            (10, 0),
            (20, 100),
            (30, 100),
            (40, 100),
            (50, 200),
            (60, 200),
        ]
        .into_iter(),
    );
    let truth = Points::new([(5, 0), (15, 90), (25, 100), (45, 190), (55, 200)].into_iter());
    let rise = ours.rise(&truth).expect("some");
    assert_eq!((rise.truth, rise.ours, rise.over), (200, 200, 50));
}

#[test]
fn nothing_is_compared_beyond_our_own_points() {
    let ours = Points::new([(10, 0), (20, 100)].into_iter());
    assert_eq!(ours.rise(&Points::new([(5, 0), (25, 200)].into_iter())), None);
    assert_eq!(ours.rise(&Points::default()), None);
}

#[test]
fn a_name_that_comes_after_a_series_without_one_is_a_second_series() {
    let rows = rows_of(&run(60, 1_000, |_| "server"));
    assert!(find(&rows, "names of every container").good);
    assert!(find(&rows, "every container is shown under one name").good);
    let rows = rows_of(&run(60, 1_000, |second| if second < 5 { "" } else { "server" }));
    assert!(!find(&rows, "names of every container").good);
    assert!(!find(&rows, "every container is shown under one name").good);
}

#[test]
fn a_wrong_name_is_told_with_the_right_one() {
    let row = find(
        &rows_of(&run(60, 1_000, |_| "victim")),
        "names of every container",
    );
    assert!(!row.good);
    assert!(
        row.shown.contains("server") && row.shown.contains("victim"),
        "{}",
        row.shown
    );
}

#[test]
fn a_name_that_the_kubelet_has_not_is_told_and_a_sandbox_is_none() {
    let mut run = run(60, 1_000, |_| "server");
    let add = |run: &mut Run, id: &str, name: &str| {
        let labels = format!(
            "container_id=\"{id}\",container_name=\"{name}\",pod_name=\"web-1\",container_namespace=\"shop\""
        );
        let text = format!("kepler_container_bpf_cpu_time_ms_total{{{labels}}} 1\n");
        for frame in &mut run.main.frames {
            frame.metrics.extend(crate::promtext::parse(&text));
        }
    };
    add(&mut run, "bbbb", "POD");
    assert!(find(&rows_of(&run), "no name of a pod's container").good);
    add(&mut run, "cccc", "ghost");
    assert!(!find(&rows_of(&run), "no name of a pod's container").good);
}

#[test]
fn a_counter_that_falls_is_found_and_one_that_stays_is_not() {
    let frame = |value: &str| Frame {
        metrics: crate::promtext::parse(&format!("a_total{{x=\"1\"}} {value}\nb 9\n")),
        ..Frame::default()
    };
    let (counters, wrong) = fallen(&[frame("1.5"), frame("1.5"), frame("1.4")]);
    assert_eq!((counters, wrong.len()), (1, 1), "{wrong:?}");
    assert!(fallen(&[frame("1.5"), frame("1.5"), frame("2")]).1.is_empty());
}

#[test]
fn a_series_that_comes_back_is_told() {
    let mut run = run(60, 1_000, |_| "server");
    for frame in run.main.frames.get_mut(20..25).expect("frames") {
        frame.metrics.clear();
    }
    assert!(!find(&rows_of(&run), "no container's series goes away").good);
    assert_eq!(shown(&run.main.frames, CONTAINERS).len(), 1);
}

#[test]
fn containers_before_a_restart_and_init_containers_are_containers_of_the_pod() {
    let pods = json!({"items": [{
        "metadata": {"uid": UID, "name": "loop", "namespace": "shop"},
        "status": {
            "qosClass": "Burstable",
            "initContainerStatuses": [
                {"name": "prepare", "containerID": "containerd://i", "state": {"terminated": {"containerID": "containerd://i"}}},
            ],
            "containerStatuses": [{
                "name": "crash", "containerID": "containerd://b",
                "state": {"waiting": {}}, "lastState": {"terminated": {"containerID": "containerd://a"}},
            }],
        },
    }]});
    let said = [Kubelet::parse("", "", &pods.to_string(), "")];
    let all = truth::pods(&said);
    let ids: Vec<_> = all[UID]
        .containers
        .iter()
        .map(|(id, name)| (id.as_str(), name.as_str()))
        .collect();
    assert_eq!(ids, [("a", "crash"), ("b", "crash"), ("i", "prepare")]);
    assert!(truth::lasting(&said).is_empty(), "none of them runs");
}

#[test]
fn a_run_is_read_from_its_folder_and_one_that_stopped_is_a_failure() {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    };
    write("clocks", "1000 400\n9000 8400\n");
    write("events", "5 api down\n6 late runs\n");
    write("main/log", "{\"message\":\"x\",\"reason\":\"403: no\"}\n");
    write("main/1000.snapshot", "{\"window\":{\"ended_ns\":7}}");
    write("main/1000.metrics", "a_total 1\n");
    write(
        "main/1000.cadvisor",
        "container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id=\"/p\",image=\"\"} 0.25 3\n",
    );
    write("main/1001.snapshot", "no");
    let run = Run::read(folder.path()).expect("a run");
    assert_eq!(run.when("late runs"), Some(6));
    assert_eq!(
        run.main.frames.iter().map(|frame| frame.at).collect::<Vec<_>>(),
        [607]
    );
    assert!(run.main.says(&["X", "403"]).is_some() && run.main.says(&["404"]).is_none());
    let dated = Dated {
        path: "/p".to_owned(),
        usage: 250_000_000,
        at: 3_000_000,
    };
    let found: Vec<&Dated> = run.main.kubelet.iter().flat_map(|said| &said.dated).collect();
    assert_eq!(found, [&dated]);
    let complaints = Judged::new(run).complaints();
    assert!(
        complaints
            .iter()
            .any(|words| words.contains("did not come to its end"))
    );
}

#[test]
fn a_run_without_anything_passes_nothing() {
    let rows = rows_of(&Run::default());
    assert!(rows.iter().all(|row| !row.good), "{rows:?}");
}
