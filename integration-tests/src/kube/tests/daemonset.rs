// SPDX-License-Identifier: Apache-2.0

use super::find;
use crate::kube::in_pod::{InPod, Meter};
use crate::kube::judge::rows_of;
use crate::kube::run::{Frame, Kubelet, Run};
use crate::meters::judge::Row;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;
const UID: &str = "11111111-2222-3333-4444-555555555555";
const WATTS: u64 = 40;
/// Each pod lives for so many seconds, and from one to the next it takes five.
const LIFE: u64 = 40;
const TURN: u64 = LIFE + 5;

/// A run of four pods, of which each begins to count anew.
fn run() -> Run {
    let mut run = Run::default();
    for life in 0..4 {
        let began = 1_000 + life * TURN;
        for second in 0..=LIFE {
            run.pod.watched.frames.push(frame(began, second));
            run.pod.watched.kubelet.push(kubelet(life, began + second));
            run.pod.readiness.push(((began + second) * SECOND, 200));
        }
        run.pod.readiness.push(((began + LIFE + 1) * SECOND, 0));
    }
    for (number, event) in [
        (0, "daemonset applied"),
        (0, "pod ready"),
        (1, "restart asked for"),
        (1, "pod restarted"),
        (2, "pod deleted"),
        (2, "pod replaced"),
        (3, "kubelet asked for"),
        (3, "pod with kubelet"),
    ] {
        let begins = !["pod ready", "pod restarted", "pod replaced", "pod with kubelet"].contains(&event);
        let at = 1_000 + number * TURN;
        let at = if begins { at.saturating_sub(5) } else { at + 1 };
        run.events.push((at * SECOND, event.to_owned()));
    }
    run.pod.watched.log = (0..4).map(log).collect();
    run.pod = InPod {
        meter: Some(Meter {
            since: SECOND,
            watts: WATTS,
        }),
        status: "CapEff:\t000000c000080004\nNoNewPrivs:\t1\nSeccomp:\t2\n".to_owned(),
        object: object(0),
        last_object: object(0),
        image: json!({"architecture": "amd64", "config": {"Labels": {"org.opencontainers.image.revision": "abc"}}}),
        image_bytes: 20_000_000,
        state: "-rw------- 1 0 0 9 idle-floor.json".to_owned(),
        ..run.pod
    };
    run
}

/// A pod's log: it begins a second before its first window, and ends a second after its last.
fn log(life: u64) -> String {
    let began = 1_000 + life * TURN;
    let at = |second: u64| {
        let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
        humantime::format_rfc3339(moment).to_string()
    };
    let (first, end, last) = (at(began - 1), at(began + LIFE), at(began + LIFE + 1));
    let restored = if life == 0 {
        ""
    } else {
        "{\"level\":\"INFO\",\"message\":\"idle floors restored\",\"zones\":1}\n"
    };
    format!(
        "{{\"timestamp\":\"{first}\",\"measure\":\"no_new_privs\"}}\n{restored}\
         {{\"timestamp\":\"{end}\",\"message\":\"stopping\"}}\n{{\"timestamp\":\"{last}\",\"message\":\"stopped\"}}\n"
    )
}

fn object(restarts: u64) -> Value {
    json!({
        "spec": {"containers": [{"securityContext": {"privileged": false}}]},
        "status": {"containerStatuses": [{"restartCount": restarts}]},
    })
}

/// Five pods that use half a CPU each, and the daemon's own; all energy is nobody's.
fn frame(began: u64, second: u64) -> Frame {
    let used = second * SECOND / 2;
    let (mut pods, mut containers, mut metrics) = (Vec::new(), Vec::new(), String::new());
    for (number, name) in names(began).into_iter().enumerate() {
        pods.push(json!({"uid": uid(number), "cpu_ns": used}));
        let owner = json!({"pod": uid(number)});
        containers
            .push(json!({"kind": "container", "id": format!("c{number}"), "owner": owner, "cpu_ns": used}));
        let labels = format!(
            "container_id=\"c{number}-{name}\",container_name=\"main\",pod_name=\"{name}\",container_namespace=\"kepler\""
        );
        metrics += &format!("kepler_container_bpf_cpu_time_ms_total{{{labels}}} {second}\n");
        metrics += &format!("kepler_container_bpf_cpu_time_ms_created{{{labels}}} {began}\n");
        let labels = format!(
            "pod_id=\"{}\",pod_name=\"{name}\",pod_namespace=\"kepler\"",
            uid(number)
        );
        metrics += &format!("kepler_pod_bpf_cpu_time_ms_total{{{labels}}} {second}\n");
        metrics += &format!("kepler_pod_bpf_cpu_time_ms_created{{{labels}}} {began}\n");
    }
    // The first page is of a second in which it measured.
    let paid = (second + 1) * WATTS * 1_000_000;
    let snapshot = json!({
        "tick": second + 1,
        "window": {"ended_ns": (began + second) * SECOND},
        "zones": [{"component": "package", "dynamic_uj": paid, "idle_uj": 0, "unattributed_uj": paid, "unreserved_idle_uj": 0}],
        "pods": pods,
        "containers": containers,
        "other_processes": {"cpu_ns": used * 6},
        "facts": {"accounting": {"chosen": "switch"}, "probes": [{"probe": "iter_task", "up": true}]},
    });
    Frame::parse(&snapshot.to_string(), &metrics, 0).expect("a frame")
}

fn names(began: u64) -> Vec<String> {
    let others = (1..=5).map(|number| format!("web-{number}"));
    others.chain([format!("kepler-{began}")]).collect()
}

fn uid(number: usize) -> String {
    format!("{number}{}", &UID[1..])
}

fn kubelet(life: u64, at: u64) -> Kubelet {
    let began = 1_000 + life * TURN;
    let used = (at - began) * SECOND / 2;
    let (mut summary, mut items, mut dated) = (Vec::new(), Vec::new(), String::new());
    for (number, name) in names(began).into_iter().enumerate() {
        let uid = uid(number);
        // It counts since before us.
        let usage = 77 * SECOND + used;
        summary.push(json!({"podRef": {"uid": uid}, "cpu": {"usageCoreNanoSeconds": usage}}));
        items.push(json!({
            "metadata": {"uid": uid, "name": name, "namespace": "kepler"},
            "status": {"containerStatuses": [
                {"name": "main", "containerID": format!("containerd://c{number}-{name}"), "state": {"running": {}}},
            ]},
        }));
        dated += &format!(
            "container_cpu_usage_seconds_total{{container=\"\",id=\"/test/pod{uid}\",name=\"\"}} {}.{:09} {}\n",
            usage / SECOND,
            usage % SECOND,
            at * 1_000
        );
    }
    let asked = format!("{0}\n{0}\n", at * SECOND);
    Kubelet::parse(
        &asked,
        &json!({"pods": summary}).to_string(),
        &json!({"items": items}).to_string(),
        &dated,
    )
}

fn of_pods(run: &Run) -> Vec<Row> {
    let rows = rows_of(run).into_iter();
    rows.skip_while(|row| row.what != "in a pod: the image").collect()
}

/// The only row that is not good after a change of the run.
fn spoilt(change: impl FnOnce(&mut Run)) -> Row {
    let mut run = run();
    change(&mut run);
    let bad: Vec<Row> = of_pods(&run).into_iter().filter(|row| !row.good).collect();
    assert_eq!(bad.len(), 1, "{bad:#?}");
    bad.into_iter().next().expect("one")
}

#[test]
fn pods_that_do_what_they_should_are_good_in_every_row() {
    let rows = of_pods(&run());
    let bad: Vec<&Row> = rows.iter().filter(|row| !row.good).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(
        find(&rows, "its pod is deleted: /readyz").shown,
        "for 5.000 s; ready by its probes after 6.000 s"
    );
    let unbilled = find(&rows, "a rolling restart: energy");
    assert!(unbilled.truth.contains("200 J"), "{}", unbilled.truth);
    assert_eq!(unbilled.shown, "160 J, that of 4.000 s");
}

#[test]
fn a_pod_with_more_rights_is_told() {
    for status in [
        "CapEff:\t000000c000280004\nNoNewPrivs:\t1\nSeccomp:\t2\n",
        "CapEff:\t000000c000080004\nNoNewPrivs:\t0\nSeccomp:\t2\n",
        "CapEff:\t000000c000080004\nNoNewPrivs:\t1\nSeccomp:\t0\n",
    ] {
        let row = spoilt(|run| status.clone_into(&mut run.pod.status));
        assert_eq!(row.what, "in a pod: what the kernel lets it do");
    }
    spoilt(|run| run.pod.object["spec"]["containers"][0]["securityContext"]["privileged"] = true.into());
}

#[test]
fn an_image_that_is_too_large_or_without_labels_is_told() {
    spoilt(|run| run.pod.image_bytes = 30_000_000);
    spoilt(|run| run.pod.image = Value::Null);
}

#[test]
fn a_turn_that_takes_longer_than_two_minutes_is_told() {
    let mut run = run();
    let fourth = (1_000 + 3 * TURN) * SECOND;
    run.pod
        .readiness
        .retain(|(at, _)| *at == 1_000 * SECOND || *at >= fourth);
    let rows = of_pods(&run);
    let row = find(&rows, "names from the kubelet instead: /readyz");
    assert!(
        !row.good && row.shown.starts_with("for 135.000 s"),
        "{}",
        row.shown
    );
    assert!(
        !find(&rows, "its pod is deleted: /readyz").good,
        "nobody ever answered"
    );
}

#[test]
fn a_daemon_that_takes_its_time_is_told() {
    let row = spoilt(|run| {
        let late = run.pod.watched.log.replace(
            "00:17:21Z\",\"message\":\"stopped",
            "00:18:21Z\",\"message\":\"stopped",
        );
        assert_ne!(late, run.pod.watched.log);
        run.pod.watched.log = late;
    });
    assert!(row.what.contains("from SIGTERM to its end"), "{}", row.what);
}

#[test]
fn counters_that_go_on_as_if_nothing_had_been_are_told() {
    let row = spoilt(|run| {
        for frame in run.pod.watched.frames.iter_mut().rev().take(41) {
            for sample in &mut frame.metrics {
                if sample.name == "kepler_pod_bpf_cpu_time_ms_created" && sample.label("pod_name") == "web-1"
                {
                    sample.value = "1000".to_owned();
                }
            }
        }
    });
    assert!(
        row.what.starts_with("names from the kubelet instead: counters"),
        "{}",
        row.what
    );
}

#[test]
fn what_was_learned_and_is_forgotten_is_told_and_so_is_a_restart_by_a_probe() {
    let row = spoilt(|run| run.pod.watched.log = run.pod.watched.log.replacen("restored", "lost", 1));
    assert!(row.shown.starts_with("restored by 2 pods"), "{}", row.shown);
    spoilt(|run| run.pod.last_object = object(1));
}

#[test]
fn a_pod_without_its_name_and_one_whose_time_is_wrong_are_told() {
    let second_life = 41..82;
    let row = spoilt(|run| {
        for frame in run
            .pod
            .watched
            .frames
            .get_mut(second_life.clone())
            .expect("frames")
        {
            for sample in &mut frame.metrics {
                if sample.name == "kepler_container_bpf_cpu_time_ms_total"
                    && sample.label("pod_name") == "web-1"
                {
                    sample.labels.insert("pod_name".to_owned(), "web-2".to_owned());
                }
            }
        }
    });
    assert!(row.what.starts_with("a rolling restart: names"), "{}", row.what);
    let row = spoilt(|run| {
        for frame in run
            .pod
            .watched
            .frames
            .get_mut(second_life.clone())
            .expect("frames")
        {
            let used = frame.snapshot["pods"][0]["cpu_ns"].as_u64().expect("time");
            let less = used * 94 / 100;
            // At every level alike.
            frame.snapshot["pods"][0]["cpu_ns"] = less.into();
            frame.snapshot["containers"][0]["cpu_ns"] = less.into();
            frame.snapshot["other_processes"]["cpu_ns"] = (used * 5 + less).into();
        }
    });
    assert!(
        row.what.starts_with("a rolling restart: CPU time"),
        "{}",
        row.what
    );
}

#[test]
fn sums_that_do_not_add_up_and_errors_in_the_log_are_told() {
    let row = spoilt(|run| {
        let frame = run.pod.watched.frames.get_mut(3).expect("a frame");
        frame.snapshot["zones"][0]["unattributed_uj"] = 1.into();
    });
    assert!(row.what.starts_with("the first pod: containers"), "{}", row.what);
    spoilt(|run| {
        run.pod
            .watched
            .log
            .push_str("{\"level\":\"ERROR\",\"message\":\"x\"}\n")
    });
    spoilt(|run| {
        for frame in &mut run.pod.watched.frames {
            frame.snapshot["facts"]["accounting"]["chosen"] = "proc".into();
        }
    });
}
