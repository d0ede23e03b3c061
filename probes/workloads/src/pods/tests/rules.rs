// SPDX-License-Identifier: Apache-2.0
//! What is read of a pod.

use super::super::config::Labels;
use super::super::rules::{bare_id, known as remember, made_by, uid_in_paths};
use super::super::shape::{self, Event, OwnerReference};
use super::{NODE, known, of, web};
use attribution::model::ContainerId;
use integration_tests::api_server::{Release, ids, mirror_pod, pod, status_of};
use proptest::prelude::*;
use serde_json::json;

fn owner(kind: &str, name: &str, controller: Option<bool>) -> OwnerReference {
    OwnerReference {
        kind: kind.to_owned(),
        name: name.to_owned(),
        controller,
    }
}

#[test]
fn who_made_a_pod_is_its_controller_and_for_a_replica_set_its_deployment() {
    let is = Some(true);
    // owners, pod-template-hash, who made it
    let table = [
        (vec![], None, None),
        (
            vec![owner("ReplicaSet", "web-7d4b9c6f5", is)],
            Some("7d4b9c6f5"),
            Some(("Deployment", "web")),
        ),
        // A Deployment's name may have dashes, and end like a hash.
        (
            vec![owner("ReplicaSet", "my-web-7d4b9-7d4b9", is)],
            Some("7d4b9"),
            Some(("Deployment", "my-web-7d4b9")),
        ),
        // One that somebody made by hand.
        (
            vec![owner("ReplicaSet", "web", is)],
            None,
            Some(("ReplicaSet", "web")),
        ),
        (
            vec![owner("ReplicaSet", "web-x", is)],
            Some("y"),
            Some(("ReplicaSet", "web-x")),
        ),
        (
            vec![owner("ReplicaSet", "-x", is)],
            Some("x"),
            Some(("ReplicaSet", "-x")),
        ),
        (
            vec![owner("ReplicaSet", "web-", is)],
            Some(""),
            Some(("ReplicaSet", "web-")),
        ),
        // The hash says something about ReplicaSets alone.
        (
            vec![owner("StatefulSet", "db-7d4b9", is)],
            Some("7d4b9"),
            Some(("StatefulSet", "db-7d4b9")),
        ),
        (
            vec![owner("DaemonSet", "agent", is)],
            None,
            Some(("DaemonSet", "agent")),
        ),
        (
            vec![owner("Job", "nightly-29401200", is)],
            None,
            Some(("Job", "nightly-29401200")),
        ),
        (vec![owner("Node", NODE, is)], None, Some(("Node", NODE))),
        // An owner that does not control it made nothing.
        (
            vec![owner("ConfigMap", "c", None), owner("Job", "j", is)],
            None,
            Some(("Job", "j")),
        ),
        (vec![owner("ConfigMap", "c", Some(false))], None, None),
    ];
    for (owners, hash, made) in table {
        let made = made.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        assert_eq!(made_by(&owners, hash), made, "{owners:?} {hash:?}");
    }
}

#[test]
fn a_pod_from_a_file_has_the_hash_of_that_file_in_paths() {
    let uid = |pod| uid_in_paths(&of(pod)).map(|uid| uid.as_str().to_owned());
    let mirror = mirror_pod(NODE, "8b1a9953c4611296a827abf8c47804d7", &[]);
    assert_eq!(uid(mirror).as_deref(), Some("8b1a9953c4611296a827abf8c47804d7"));
    // The kubelet's own list has no copy of it, but the pod itself, whose UID is the hash.
    let mut static_pod = web("8b1a9953c4611296a827abf8c47804d7", &[]);
    static_pod["metadata"]["annotations"] =
        json!({ "kubernetes.io/config.hash": "8b1a9953c4611296a827abf8c47804d7" });
    assert_eq!(
        uid(static_pod).as_deref(),
        Some("8b1a9953c4611296a827abf8c47804d7")
    );
    let mut no_mirror = web("11-22", &[]);
    no_mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "" });
    assert_eq!(uid(no_mirror).as_deref(), Some("11-22"));
    // A manifest that somebody copied from there is a pod of its own.
    let mut copied = web("11-22", &[]);
    copied["metadata"]["annotations"] =
        json!({ "kubernetes.io/config.hash": "8b1a9953c4611296a827abf8c47804d7" });
    assert_eq!(uid(copied).as_deref(), Some("11-22"));
    assert_eq!(uid(web("11-22", &[])).as_deref(), Some("11-22"));
    assert_eq!(uid(json!({})), None);
}

#[test]
fn ids_lose_their_runtime() {
    for (id, bare) in [
        ("docker://ab", Some("ab")),
        ("containerd://ab", Some("ab")),
        ("cri-o://ab", Some("ab")),
        ("ab", Some("ab")),
        ("", None),
        ("docker://", None),
    ] {
        assert_eq!(bare_id(id), bare, "{id}");
    }
}

#[test]
fn facts_of_both_releases_are_the_same() {
    for release in [Release::V1_20, Release::V1_33] {
        let pod = of(pod(
            release,
            NODE,
            "web-1",
            "u",
            &[("web", &ids('a')), ("late", "")],
        ));
        let known = remember(&pod, &Labels(vec!["team".to_owned(), "none".to_owned()]));
        assert_eq!(
            (known.facts.name.as_str(), known.facts.namespace.as_str()),
            ("web-1", "shop")
        );
        assert_eq!(
            known.facts.made_by,
            Some(("Deployment".to_owned(), "web".to_owned()))
        );
        assert_eq!(known.facts.qos, "Burstable");
        assert_eq!(
            known.facts.labels,
            [("team".to_owned(), "blue".to_owned())],
            "by the list alone"
        );
        let containers: Vec<_> = known
            .containers
            .iter()
            .map(|(id, facts)| {
                (
                    id.as_str().to_owned(),
                    facts.name.as_str(),
                    facts.image.as_deref(),
                )
            })
            .collect();
        assert_eq!(containers, [(ids('a'), "web", Some("registry.example/web:1"))]);
    }
}

#[test]
fn init_sidecar_and_ephemeral_containers_and_the_one_before_a_restart_have_names() {
    let mut pod = web("u", &[("web", &ids('a'))]);
    pod["status"]["containerStatuses"][0]["lastState"] =
        json!({ "terminated": { "exitCode": 137, "containerID": format!("containerd://{}", ids('b')) } });
    let mut done = status_of(Release::V1_33, "migrate", "");
    done["state"] =
        json!({ "terminated": { "exitCode": 0, "containerID": format!("containerd://{}", ids('c')) } });
    pod["spec"]["initContainers"] =
        json!([{ "name": "migrate" }, { "name": "proxy", "restartPolicy": "Always", "image": "proxy:2" }]);
    let mut sidecar = status_of(Release::V1_33, "proxy", &ids('d'));
    sidecar["image"] = json!(format!("sha256:{}", ids('0')));
    pod["status"]["initContainerStatuses"] = json!([done, sidecar]);
    pod["spec"]["ephemeralContainers"] = json!([{ "name": "debugger", "targetContainerName": "web" }]);
    pod["status"]["ephemeralContainerStatuses"] = json!([status_of(Release::V1_33, "debugger", &ids('e'))]);
    let known = known(pod);
    for (letter, name) in [
        ('a', "web"),
        ('b', "web"),
        ('c', "migrate"),
        ('d', "proxy"),
        ('e', "debugger"),
    ] {
        let facts = known.container(&ContainerId::new(&ids(letter)));
        assert_eq!(facts.map(|facts| facts.name.as_str()), Some(name), "{letter}");
    }
    let sidecar = known.container(&ContainerId::new(&ids('d'))).unwrap();
    assert_eq!(sidecar.image.as_deref(), Some("proxy:2"), "a digest is no name");
}

#[test]
fn an_id_is_kept_once_and_no_more_of_them_than_have_room() {
    let mut pod = web("u", &[("web", &ids('a'))]);
    pod["spec"]["containers"][0]["image"] = json!("web:2");
    pod["status"]["containerStatuses"][0]["image"] = json!("");
    pod["status"]["containerStatuses"][0]["state"] =
        json!({ "terminated": { "containerID": format!("containerd://{}", ids('a')) } });
    let one = known(pod.clone());
    assert_eq!(one.containers.len(), 1);
    assert_eq!(
        one.containers[0].1.image.as_deref(),
        Some("web:2"),
        "nothing is no name"
    );
    let many: Vec<_> = (0..600)
        .map(|number| status_of(Release::V1_33, "web", &format!("{number:064x}")))
        .collect();
    pod["status"]["containerStatuses"] = json!(many);
    assert_eq!(known(pod).containers.len(), 512);
}

#[test]
fn a_pod_that_is_over_has_succeeded_or_failed() {
    for (phase, is_over) in [
        ("Succeeded", true),
        ("Failed", true),
        ("Running", false),
        ("Unknown", false),
    ] {
        let mut pod = web("u", &[]);
        pod["status"]["phase"] = json!(phase);
        assert_eq!(known(pod).is_over, is_over, "{phase}");
    }
}

#[test]
fn a_pod_that_says_null_or_nothing_is_a_pod_without_names() {
    for pod in [
        json!({ "metadata": { "uid": "u" } }),
        json!({ "metadata": { "uid": "u", "labels": null, "annotations": null, "ownerReferences": null },
                "spec": { "containers": null, "initContainers": null },
                "status": { "containerStatuses": null, "phase": null, "qosClass": null } }),
    ] {
        let known = known(pod);
        assert!(known.containers.is_empty() && known.facts.made_by.is_none() && !known.is_over);
    }
}

#[test]
fn a_line_of_a_watch_is_an_event_or_an_error_in_words() {
    let line = |kind: &str, object| json!({ "type": kind, "object": object }).to_string();
    let event = |line: String| shape::event(line.as_bytes());
    for kind in ["ADDED", "MODIFIED"] {
        let Ok(Event::Is(pod)) = event(line(kind, web("u", &[]))) else {
            panic!("{kind}")
        };
        assert_eq!(pod.metadata.uid, "u");
    }
    assert!(matches!(event(line("DELETED", web("u", &[]))), Ok(Event::Was(_))));
    let bookmark = line(
        "BOOKMARK",
        json!({ "metadata": { "resourceVersion": "7" }, "spec": { "containers": null } }),
    );
    assert!(matches!(event(bookmark), Ok(Event::Bookmark(version)) if version == "7"));
    let gone = json!({ "kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410 });
    assert!(matches!(event(line("ERROR", gone)), Ok(Event::Error(410, words)) if words == "too old"));
    let bare = json!({ "reason": "Expired", "code": 410 });
    assert!(matches!(event(line("ERROR", bare)), Ok(Event::Error(410, words)) if words == "Expired"));
    assert!(matches!(event(line("LATER", json!(1))), Ok(Event::Unknown)));
    for wrong in [
        "",
        "{",
        "[]",
        "{\"type\":\"ADDED\"}",
        "{\"type\":1,\"object\":{}}",
    ] {
        assert!(shape::event(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_refusal_has_words_and_a_time_whoever_wrote_it() {
    let refusal = |words: &str, retry| shape::Refusal {
        words: words.to_owned(),
        retry,
    };
    let status = json!({ "kind": "Status", "message": "slow down", "details": { "retryAfterSeconds": 7 }, "code": 429 });
    assert_eq!(
        shape::refusal(status.to_string().as_bytes()),
        refusal("slow down", Some(7))
    );
    let status = json!({ "kind": "Status", "message": "no", "code": 403 });
    assert_eq!(shape::refusal(status.to_string().as_bytes()), refusal("no", None));
    assert_eq!(shape::refusal(b" <b>no</b>\n"), refusal("<b>no</b>", None));
    assert_eq!(shape::refusal(b"\xff").retry, None);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_of_pods_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = shape::event(&bytes);
        let _ = shape::list(&bytes);
        let _ = shape::refusal(&bytes);
    }

    #[test]
    fn a_pod_that_is_cut_anywhere_is_no_pod(at in 0_usize..2_000) {
        let line = json!({ "type": "ADDED", "object": web("u", &[("web", &ids('a'))]) }).to_string();
        let cut = line.as_bytes().get(..at.min(line.len() - 1)).unwrap();
        prop_assert!(shape::event(cut).is_err());
    }

    #[test]
    fn an_owner_is_never_without_a_name(name in "[a-z-]{0,12}", hash in proptest::option::of("[a-z-]{0,4}")) {
        let made = made_by(&[owner("ReplicaSet", &name, Some(true))], hash.as_deref());
        let (kind, made) = made.unwrap();
        let is_deployment = kind == "Deployment" && !made.is_empty() && name.starts_with(&made);
        prop_assert!(is_deployment || (kind == "ReplicaSet" && made == name));
    }
}

#[test]
fn what_an_answer_says_is_kept_short_and_without_commands_to_a_terminal() {
    let evil = format!("a\u{1b}[2J\n{}", "é".repeat(10_000));
    let pod: shape::Pod = serde_json::from_value(json!({
        "metadata": {
            "name": evil, "namespace": evil, "uid": "u", "labels": { "app": evil },
            "ownerReferences": [{ "kind": evil, "name": evil, "controller": true }],
        },
        "status": {
            "qosClass": evil,
            "containerStatuses": [
                { "name": evil, "image": evil, "containerID": "containerd://c1" },
                { "name": "x", "containerID": format!("containerd://{}", "c".repeat(256)) },
            ],
        },
    }))
    .unwrap();
    let known = remember(&pod, &Labels(vec!["app".to_owned()]));
    let facts = &known.facts;
    let kept = format!("a\u{fffd}[2J\u{fffd}{}", "é".repeat(251));
    assert_eq!(
        (kept.len(), &facts.name, &facts.namespace, &facts.qos),
        (512, &kept, &kept, &kept)
    );
    assert_eq!(facts.made_by, Some((kept.clone(), kept.clone())));
    assert_eq!(facts.labels, [("app".to_owned(), kept.clone())]);
    // Nothing is called so long in a path.
    let [(id, of_container)] = known.containers.as_slice() else {
        panic!("{} containers", known.containers.len());
    };
    assert_eq!((id.as_str(), &of_container.name), ("c1", &kept));
    assert_eq!(of_container.image.as_ref(), Some(&kept));
    let uid = |length| {
        let pod = json!({ "metadata": { "uid": "u".repeat(length) } });
        uid_in_paths(&serde_json::from_value(pod).unwrap()).is_some()
    };
    assert!(uid(255) && !uid(256) && !uid(0));
}
