// SPDX-License-Identifier: Apache-2.0
//! Trees as the runtimes write them: what they say, when it is read, and what nobody may make us read.
//!
//! The files' shape was taken by hand from dockerd 20.10.24, containerd 1.6.20 (ctr, and its CRI plugin under kubelet 1.20.2)
//! and podman 4.3.1; that of CRI-O, cri-dockerd and nerdctl is from their sources, named in `docker`, `oci` and `podman`.

use super::find::{Answer, Round};
use super::{BYTES, DiskNames, LOOKS, RuntimesConfig, docker, oci, podman};
use crate::cgroup::owner_of;
use crate::resolver::Namer as _;
use attribution::model::{
    CgroupId, CgroupOwner, ContainerFacts, ContainerId, Identity, PodFacts, PodUid, Usage,
};
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const A: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const UID: &str = "0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a";
const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";
const LISTS: &str = "storage/overlay-containers/containers.json";

/// A host of our own.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &impl ToString) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.to_string()).unwrap();
    }

    fn folder(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    fn names(&self) -> DiskNames {
        DiskNames::new(&RuntimesConfig {
            host: self.0.path().to_owned(),
        })
    }

    /// What one look says of the container at `path`: name, image, pod.
    fn look(&self, path: &str) -> String {
        let round = Round::new(self.0.path(), None, BYTES).unwrap();
        said(&round.find(&owner_of(path)))
    }
}

fn said(answer: &Answer) -> String {
    let Answer::Named(facts) = answer else {
        return format!("{answer:?}");
    };
    let pod = facts.pod.as_ref();
    let pod = pod.map(|pod| format!(" in {}/{}", pod.namespace, pod.name));
    let image = facts.container.image.as_ref().map(|image| format!(" of {image}"));
    format!(
        "{}{}{}",
        facts.container.name,
        image.unwrap_or_default(),
        pod.unwrap_or_default()
    )
}

/// An identity in which these cgroups exist.
fn identity(paths: &[&str]) -> Arc<Identity> {
    let mut identity = Identity::default();
    put(&mut identity, paths);
    Arc::new(identity)
}

fn put(identity: &mut Identity, paths: &[&str]) {
    let owners = paths.iter().map(|path| Arc::new(owner_of(path)));
    identity.cgroups = (2..).map(CgroupId).zip(owners).collect();
}

fn at(names: &mut DiskNames, identity: &mut Arc<Identity>, millis: u64) {
    names.name(&Usage::default(), identity, Duration::from_millis(millis));
}

fn container(identity: &Identity, id: &str) -> Option<String> {
    identity
        .containers
        .get(&ContainerId::new(id))
        .map(|facts| facts.name.clone())
}

fn waits(identity: &Identity, id: &str) -> bool {
    identity.awaited.containers.contains(&ContainerId::new(id))
}

fn dockers(name: &str, labels: &serde_json::Value) -> serde_json::Value {
    json!({
        "StreamConfig": {}, "State": {"Running": true, "Pid": 4242}, "ID": A, "Created": "2026-11-26T10:39:47.7Z",
        "Path": "/bin/sleep", "Args": ["302"], "Image": "sha256:a893e4b4623f", "Name": name, "Driver": "overlay2",
        "Config": {"Hostname": "ab07108b0412", "Image": "bb:1", "Env": ["PATH=/bin"], "Labels": labels},
        "NetworkSettings": {"Networks": {"none": {"IPAMConfig": null}}}
    })
}

fn bundle(annotations: &serde_json::Value) -> serde_json::Value {
    json!({
        "ociVersion": "1.0.2-dev", "process": {"args": ["/bin/sleep"], "cwd": "/"}, "root": {"path": "rootfs"},
        "mounts": [], "linux": {"cgroupsPath": "/x"}, "annotations": annotations
    })
}

fn listed(id: &str, name: &str) -> serde_json::Value {
    json!({
        "id": id, "names": [name], "image": "5cc8fc36d4aa", "layer": "0fb0443cbd60",
        "metadata": "{\"image-name\":\"localhost/bb:1\",\"image-id\":\"5cc8fc36d4aa\",\"name\":\"web\",\"created-at\":1795689478}",
        "created": "2026-11-26T10:37:58.808449332Z", "flags": {"MountLabel": "", "ProcessLabel": ""}
    })
}

fn in_pod() -> serde_json::Value {
    json!({
        "io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "shop-1",
        "io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": UID
    })
}

#[test]
fn docker_calls_a_container_as_it_was_run() {
    let host = Host::new();
    let file = format!("var/lib/docker/containers/{A}/config.v2.json");
    host.write(&file, &dockers("/web", &json!({"com.x": "y"})));
    assert_eq!(host.look(&format!("/docker/{A}")), "web of bb:1");
    assert_eq!(
        host.look(&format!("/system.slice/docker-{A}.scope")),
        "web of bb:1"
    );
    assert_eq!(host.look(&format!("/ecs/task/{A}")), "web of bb:1");
    host.write(&file, &dockers("/web", &json!(null)));
    assert_eq!(host.look(&format!("/docker/{A}/docker/{A}")), "web of bb:1");
}

#[test]
fn labels_of_kubelet_count_in_a_pod_only() {
    let host = Host::new();
    let file = format!("var/lib/docker/containers/{A}/config.v2.json");
    host.write(&file, &dockers("/k8s_web_shop-1_prod_0f7a_0", &in_pod()));
    let pod = format!("/kubepods/burstable/pod{UID}/{A}");
    assert_eq!(host.look(&pod), "web of bb:1 in prod/shop-1");
    assert_eq!(
        host.look(&format!("/docker/{A}")),
        "k8s_web_shop-1_prod_0f7a_0 of bb:1"
    );
}

#[test]
fn docker_is_found_where_its_configuration_and_its_users_keep_it() {
    let host = Host::new();
    host.write(
        "etc/docker/daemon.json",
        &json!({"log-driver": "json-file", "data-root": "/data/docker"}),
    );
    host.write(
        &format!("data/docker/containers/{A}/config.v2.json"),
        &dockers("/moved", &json!({})),
    );
    let (mut names, mut known) = (host.names(), identity(&[&format!("/docker/{A}")]));
    at(&mut names, &mut known, 0);
    assert_eq!(container(&known, A).as_deref(), Some("moved"));

    let host = Host::new();
    host.write(
        &format!("data/docker/containers/{A}/config.v2.json"),
        &dockers("/linked", &json!({})),
    );
    host.folder("var/lib");
    symlink("/data/docker", host.path("var/lib/docker")).unwrap();
    assert_eq!(
        host.look(&format!("/docker/{A}")),
        "linked of bb:1",
        "an absolute link is the host's"
    );

    let host = Host::new();
    host.write(
        "etc/passwd",
        &"root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n",
    );
    let own = format!("home/ann/.local/share/docker/containers/{A}/config.v2.json");
    host.write(&own, &dockers("/rootless", &json!({})));
    let path = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope");
    assert_eq!(host.look(&path), "rootless of bb:1");
    assert_eq!(host.look(&path.replace("1000", "1001")), "Unknown", "not hers");
}

#[test]
fn containerd_says_container_pod_and_image() {
    let host = Host::new();
    let annotations = json!({
        "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.image-name": "docker.io/library/nginx:1", "io.kubernetes.cri.sandbox-id": "b",
        "io.kubernetes.cri.sandbox-name": "shop-1", "io.kubernetes.cri.sandbox-namespace": "prod",
        "io.kubernetes.cri.sandbox-uid": UID
    });
    let said = "web of docker.io/library/nginx:1 in prod/shop-1";
    let slice = UID.replace('-', "_");
    let paths = [
        format!("/kubepods/pod{UID}/{A}"),
        format!("/kubepods.slice/kubepods-pod{slice}.slice/cri-containerd-{A}.scope"),
    ];
    for root in [TASKS, "run/k3s/containerd/io.containerd.runtime.v2.task"] {
        let host = Host::new();
        host.write(&format!("{root}/k8s.io/{A}/config.json"), &bundle(&annotations));
        host.folder(&format!("{root}/moby"));
        for path in &paths {
            assert_eq!(host.look(path), said, "{root} {path}");
        }
    }
    host.write(
        &format!("{TASKS}/k8s.io/{A}/config.json"),
        &bundle(&json!({
            "io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": A,
            "io.kubernetes.cri.sandbox-name": "shop-1", "io.kubernetes.cri.sandbox-namespace": "prod"
        })),
    );
    assert_eq!(
        host.look(&paths[0]),
        "POD in prod/shop-1",
        "the API lists no sandbox"
    );
}

#[test]
fn containerd_without_kubernetes_has_names_of_its_clients() {
    let host = Host::new();
    let file = format!("{TASKS}/default/{A}/config.json");
    host.write(
        &file,
        &bundle(&json!({"nerdctl/name": "web", "nerdctl/namespace": "default"})),
    );
    assert_eq!(host.look(&format!("/default/{A}")), "web");
    assert_eq!(host.look(&format!("/system.slice/nerdctl-{A}.scope")), "web");
    host.write(
        &format!("{TASKS}/default/plain/config.json"),
        &bundle(&json!(null)),
    );
    assert_eq!(host.look("/default/plain"), "plain", "ctr's id is its name");
    host.write(&file, &bundle(&json!(null)));
    assert_eq!(
        host.look(&format!("/default/{A}")),
        "Unknown",
        "64 digits are none"
    );
    // The same id in two namespaces: the path says which.
    host.write(
        &format!("{TASKS}/k8s.io/web/config.json"),
        &bundle(&json!({"nerdctl/name": "one"})),
    );
    host.write(
        &format!("{TASKS}/default/web/config.json"),
        &bundle(&json!({"nerdctl/name": "two"})),
    );
    assert_eq!(
        (host.look("/k8s.io/web"), host.look("/default/web")),
        ("one".into(), "two".into())
    );
}

#[test]
fn crio_says_container_pod_and_image() {
    let host = Host::new();
    let mut annotations = in_pod();
    annotations["io.kubernetes.cri-o.ImageName"] = json!("quay.io/x/web:2");
    annotations["io.kubernetes.cri-o.ContainerType"] = json!("container");
    let file = format!("var/lib/containers/storage/overlay-containers/{A}/userdata/config.json");
    host.write(&file, &bundle(&annotations));
    let slice = UID.replace('-', "_");
    let said = "web of quay.io/x/web:2 in prod/shop-1";
    let scope = format!("/kubepods.slice/kubepods-pod{slice}.slice/crio-{A}.scope/container");
    assert_eq!(host.look(&scope), said);
    assert_eq!(
        host.look(&format!("/kubepods/burstable/pod{UID}/{A}")),
        said,
        "whoever it is"
    );
}

#[test]
fn podman_is_named_by_its_list_and_a_users_by_his() {
    let host = Host::new();
    host.write("etc/passwd", &"ann:x:1000:1000::/home/ann:/bin/sh\n");
    let (b, c) = (A.replace('a', "b"), A.replace('a', "c"));
    host.write(
        &format!("var/lib/containers/{LISTS}"),
        &json!([listed("x", "other"), listed(A, "web")]),
    );
    let volatile = "var/lib/containers/storage/overlay-containers/volatile-containers.json";
    host.write(volatile, &json!([listed(&b, "once")]));
    host.write(
        &format!("home/ann/.local/share/containers/{LISTS}"),
        &json!([listed(&c, "hers")]),
    );
    assert_eq!(
        host.look(&format!("/machine.slice/libpod-{A}.scope")),
        "web of localhost/bb:1"
    );
    assert_eq!(
        host.look(&format!("/libpod_parent/libpod-{b}")),
        "once of localhost/bb:1"
    );
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    assert_eq!(
        host.look(&format!("{manager}/user.slice/libpod-{c}.scope/container")),
        "hers of localhost/bb:1"
    );
    assert_eq!(
        host.look(&format!("{manager}/app.slice/web.service/libpod-payload-{c}")),
        "hers of localhost/bb:1"
    );
    assert_eq!(
        host.look(&format!("/machine.slice/libpod-{c}.scope")),
        "NotYet",
        "not root's"
    );
}

#[test]
fn a_list_is_read_once_in_a_round() {
    let host = Host::new();
    host.write(&format!("var/lib/containers/{LISTS}"), &json!([listed(A, "web")]));
    let once = fs::metadata(host.path(&format!("var/lib/containers/{LISTS}")))
        .unwrap()
        .len();
    // Room for one reading and a byte: a second one would end the round.
    let round = Round::new(host.0.path(), None, once + 1).unwrap();
    for _ in 0..5 {
        assert_eq!(
            said(&round.find(&owner_of(&format!("/libpod_parent/libpod-{A}")))),
            "web of localhost/bb:1"
        );
    }
    assert!(!round.is_over());
}

#[test]
fn where_the_id_is_the_name_nothing_is_read() {
    let host = Host::new();
    for (path, name) in [
        ("/lxc.payload.web/init.scope", "web"),
        ("/lxc/101/ns", "101"),
        (r"/machine.slice/machine-my\x2dweb.scope/payload", "my-web"),
        ("/system.slice/slurmstepd.scope/job_5/step_0/user/task_0", "job_5"),
        (
            "/nomad.slice/share.slice/0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a.my-task.scope",
            "my-task",
        ),
    ] {
        assert_eq!(host.look(path), name, "{path}");
    }
    let (mut names, mut known) = (host.names(), identity(&["/lxc.payload.web"]));
    at(&mut names, &mut known, 0);
    assert_eq!(container(&known, "web").as_deref(), Some("web"));
}

#[test]
fn a_pod_is_named_without_any_server_and_what_a_server_said_stays() {
    let host = Host::new();
    host.write(&format!("{TASKS}/k8s.io/{A}/config.json"), &bundle(&in_pod()));
    let path = format!("/kubepods/pod{UID}/{A}");
    let (mut names, mut known) = (host.names(), identity(&[&path]));
    at(&mut names, &mut known, 0);
    let pod = Arc::clone(&known.pods[&PodUid::new(UID)]);
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str(), pod.qos.as_str()),
        ("prod", "shop-1", "")
    );
    assert_eq!(container(&known, A).as_deref(), Some("web"));

    let from_server = Arc::new(PodFacts {
        name: "shop-1".into(),
        qos: "Burstable".into(),
        ..PodFacts::default()
    });
    let mut known = identity(&[&path]);
    let all = Arc::make_mut(&mut known);
    all.pods.insert(PodUid::new(UID), Arc::clone(&from_server));
    at(&mut host.names(), &mut known, 0);
    assert!(Arc::ptr_eq(&known.pods[&PodUid::new(UID)], &from_server));
    assert_eq!(container(&known, A).as_deref(), Some("web"));
}

#[test]
fn a_name_leaves_with_its_container_and_a_pods_with_its_last() {
    let host = Host::new();
    let b = A.replace('a', "b");
    for id in [A, &b] {
        host.write(&format!("{TASKS}/k8s.io/{id}/config.json"), &bundle(&in_pod()));
    }
    let (one, two) = (
        format!("/kubepods/pod{UID}/{A}"),
        format!("/kubepods/pod{UID}/{b}"),
    );
    let (mut names, mut known) = (host.names(), identity(&[&one, &two]));
    at(&mut names, &mut known, 0);
    assert_eq!((known.containers.len(), known.pods.len()), (2, 1));
    put(Arc::make_mut(&mut known), &[&two]);
    at(&mut names, &mut known, 1_000);
    assert_eq!((known.containers.len(), known.pods.len()), (1, 1));
    put(Arc::make_mut(&mut known), &[]);
    at(&mut names, &mut known, 2_000);
    assert_eq!((known.containers.len(), known.pods.len()), (0, 0));
    assert_eq!(
        (names.known.len(), names.pending.len(), names.pods.len()),
        (0, 0, 0)
    );

    // What somebody else has put in its place is his to take away.
    put(Arc::make_mut(&mut known), &[&one]);
    at(&mut names, &mut known, 3_000);
    let theirs = Arc::new(ContainerFacts::default());
    let all = Arc::make_mut(&mut known);
    all.containers.insert(ContainerId::new(A), theirs);
    put(all, &[]);
    at(&mut names, &mut known, 4_000);
    assert_eq!(known.containers.len(), 1);
}

#[test]
fn a_container_is_looked_for_at_once_then_after_1_4_and_16_seconds_and_never_again() {
    let found_at = |written: u64| {
        let host = Host::new();
        host.folder("var/lib/docker/containers");
        let (mut names, mut known) = (host.names(), identity(&[&format!("/docker/{A}")]));
        for millis in (0..60_000).step_by(500) {
            if millis == written {
                host.write(
                    &format!("var/lib/docker/containers/{A}/config.v2.json"),
                    &dockers("/web", &json!({})),
                );
            }
            at(&mut names, &mut known, millis);
            if container(&known, A).is_some() {
                return Some(millis);
            }
        }
        assert!(names.pending.is_empty());
        None
    };
    assert_eq!(found_at(0), Some(0));
    assert_eq!(found_at(500), Some(1_000));
    assert_eq!(found_at(1_500), Some(5_000));
    assert_eq!(found_at(5_500), Some(21_000));
    assert_eq!(found_at(21_500), None);
}

#[test]
fn a_container_waits_for_its_name_two_seconds_at_most_and_only_where_one_can_come() {
    let path = format!("/kubepods/pod{UID}/{A}");
    let host = Host::new();
    host.folder(&format!("{TASKS}/k8s.io"));
    let (mut names, mut known) = (host.names(), identity(&[&path]));
    let mut waited = Vec::new();
    for millis in [0, 1_000, 1_900, 2_000, 5_000] {
        at(&mut names, &mut known, millis);
        let pods = known.awaited.pods.contains(&PodUid::new(UID));
        assert_eq!(waits(&known, A), pods, "its pod with it");
        waited.push(pods);
    }
    assert_eq!(waited, [true, true, true, false, false]);

    // Found while waiting: no longer awaited.
    let (mut names, mut known) = (host.names(), identity(&[&path]));
    at(&mut names, &mut known, 0);
    assert!(waits(&known, A));
    host.write(&format!("{TASKS}/k8s.io/{A}/config.json"), &bundle(&in_pod()));
    at(&mut names, &mut known, 1_000);
    assert!(!waits(&known, A) && known.awaited.pods.is_empty());
    assert_eq!(container(&known, A).as_deref(), Some("web"));

    // Gone while waiting.
    let (mut names, mut known) = (host.names(), identity(&[&path.replace('f', "e")]));
    at(&mut names, &mut known, 0);
    assert_eq!(known.awaited.containers.len(), 1);
    put(Arc::make_mut(&mut known), &[]);
    at(&mut names, &mut known, 100);
    assert!(known.awaited.containers.is_empty() && known.awaited.pods.is_empty());

    // No runtime keeps state here.
    let bare = Host::new();
    for host in [bare.0.path(), Path::new("/nonexistent")] {
        let mut names = DiskNames::new(&RuntimesConfig {
            host: host.to_owned(),
        });
        let mut known = identity(&[&path]);
        at(&mut names, &mut known, 0);
        assert!(!waits(&known, A) && known.awaited.pods.is_empty());
    }
}

#[test]
fn whom_others_await_stays_awaited() {
    let host = Host::new();
    host.folder("var/lib/docker/containers");
    let (mut names, mut known) = (host.names(), identity(&[&format!("/docker/{A}")]));
    let all = Arc::make_mut(&mut known);
    all.awaited.containers.insert(ContainerId::new(A));
    for millis in [0, 1_000, 5_000, 60_000] {
        at(&mut names, &mut known, millis);
        assert!(waits(&known, A));
    }
}

#[test]
fn one_call_looks_for_so_many_and_the_others_wait() {
    let host = Host::new();
    let paths: Vec<_> = (0..LOOKS + 100)
        .map(|number| format!("/docker/{number:064x}"))
        .collect();
    for number in 0..paths.len() {
        let name = dockers(&format!("/web-{number}"), &json!({}));
        host.write(
            &format!("var/lib/docker/containers/{number:064x}/config.v2.json"),
            &name,
        );
    }
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let (mut names, mut known) = (host.names(), identity(&paths));
    at(&mut names, &mut known, 0);
    assert_eq!(
        (known.containers.len(), known.awaited.containers.len()),
        (LOOKS, 100)
    );
    at(&mut names, &mut known, 1_000);
    assert_eq!(
        (known.containers.len(), known.awaited.containers.len()),
        (LOOKS + 100, 0)
    );
}

#[test]
fn nothing_new_changes_nothing() {
    let host = Host::new();
    host.folder("var/lib/docker/containers");
    host.write(
        &format!("var/lib/docker/containers/{A}/config.v2.json"),
        &dockers("/web", &json!({})),
    );
    let b = A.replace('a', "b");
    let (mut names, mut known) = (
        host.names(),
        identity(&[&format!("/docker/{A}"), &format!("/docker/{b}")]),
    );
    at(&mut names, &mut known, 0);
    at(&mut names, &mut known, 2_000);
    // One is named, one is still looked for from time to time.
    for millis in [2_500, 5_000, 6_000, 30_000, 31_000] {
        let before = Arc::as_ptr(&known);
        at(&mut names, &mut known, millis);
        assert_eq!(before, Arc::as_ptr(&known), "at {millis}");
    }
    // And whatever changes it is seen, in place or not.
    put(Arc::make_mut(&mut known), &[]);
    at(&mut names, &mut known, 32_000);
    assert!(known.containers.is_empty());
}

#[test]
fn what_is_no_small_plain_file_is_not_read() {
    let host = Host::new();
    let file = format!("var/lib/docker/containers/{A}/config.v2.json");
    let path = format!("/docker/{A}");
    host.folder(&file);
    assert_eq!(host.look(&path), "Unknown", "a folder");
    fs::remove_dir(host.path(&file)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        host.path(&file),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(
        host.look(&path),
        "Unknown",
        "a FIFO without a writer would keep us for ever"
    );
    fs::remove_file(host.path(&file)).unwrap();
    let mut long = dockers("/web", &json!({})).to_string();
    long.push_str(&" ".repeat(1_024 * 1_024));
    host.write(&file, &long);
    assert_eq!(host.look(&path), "Unknown", "too long");
    host.write(&file, &&long[..1_024 * 1_024]);
    assert_eq!(host.look(&path), "web of bb:1", "1 MiB is not");
    for text in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "{\"Name\": 7}",
        "{\"Name\":\"/\"}",
        "{\"Name\":\"/a\\nb\"}",
    ] {
        host.write(&file, &text);
        assert_eq!(host.look(&path), "NotYet", "{text}");
    }
}

#[test]
fn a_users_links_lead_nowhere() {
    let host = Host::new();
    host.write("etc/passwd", &"ann:x:1000:1000::/home/ann:/bin/sh\n");
    host.write(&format!("root/{LISTS}"), &json!([listed(A, "secret")]));
    host.folder("home/ann/.local/share/containers");
    symlink(
        "/root/storage",
        host.path("home/ann/.local/share/containers/storage"),
    )
    .unwrap();
    let path = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope");
    assert_eq!(host.look(&path), "Unknown");
    let own = host.path("home/ann/.local/share/containers/storage");
    fs::remove_file(&own).unwrap();
    host.write(&format!("home/ann/{LISTS}"), &json!([listed(A, "own")]));
    symlink("../../../storage", own).unwrap();
    assert_eq!(host.look(&path), "Unknown", "not even to what is hers");
    symlink("/root", host.path("home/bob")).unwrap();
    host.write("etc/passwd", &"bob:x:1000:1000::/home/bob/../../../..:/bin/sh\n");
    assert_eq!(host.look(&path), "Unknown", "the root is the end");
}

/// JSON with the keys that the parsers look for and anything as values.
fn jsonish() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("Name"),
        Just("Config"),
        Just("Image"),
        Just("Labels"),
        Just("annotations"),
        Just("id"),
        Just("names"),
        Just("metadata"),
        Just("image-name"),
        Just("io.kubernetes.cri.container-name"),
        Just("nerdctl/name"),
        Just("io.kubernetes.container.name"),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        "\\PC{0,8}".prop_map(|s| json!(s)),
        Just(json!("{\"image-name\":\"x\"}")),
        Just(json!("{")),
    ];
    let value = leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            proptest::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    });
    value.prop_map(|value| value.to_string())
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Everything that the parsers make of these bytes can be shown.
fn check(bytes: &[u8]) {
    let mut found: Vec<_> = [true, false]
        .iter()
        .filter_map(|pod| docker::parse(bytes, *pod))
        .collect();
    if let oci::Bundle::Named(facts) = oci::parse(bytes) {
        found.push(facts);
    }
    found.extend(
        podman::parse(bytes)
            .into_iter()
            .flat_map(|list| list.into_values()),
    );
    for facts in found {
        assert!(is_label(&facts.container.name), "{facts:?}");
        assert!(facts.container.image.is_none_or(|image| is_label(&image)));
        assert!(
            facts
                .pod
                .is_none_or(|pod| is_label(&pod.name) && is_label(&pod.namespace))
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn whatever_a_file_says_can_be_shown(text in jsonish(), cut in any::<proptest::sample::Index>()) {
        check(text.as_bytes());
        check(&text.as_bytes()[..cut.index(text.len())]);
    }

    #[test]
    fn no_owner_makes_a_look_panic_or_leave_the_state(id in "\\PC{0,12}", path in "\\PC{0,20}", runtime in 0..6_usize) {
        let host = Host::new();
        host.folder("var/lib/docker/containers");
        let runtime = ["docker", "containerd", "cri-o", "podman", "", "nomad"][runtime];
        let owner = CgroupOwner { path, container: Some(ContainerId::new(&id)), runtime, ..CgroupOwner::default() };
        let answer = Round::new(host.0.path(), None, BYTES).unwrap().find(&owner);
        prop_assert!(runtime == "nomad" || !matches!(answer, Answer::Named(_)), "{:?}", answer);
    }
}

#[test]
fn two_users_have_two_lists_in_one_round() {
    let host = Host::new();
    host.write(
        "etc/passwd",
        &"ann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\nnone:x:1002:1002::home/ann:/bin/sh\n",
    );
    let (b, c) = (A.replace('a', "b"), A.replace('a', "c"));
    for (home, id, name) in [("ann", &b, "hers"), ("bob", &c, "his")] {
        let list = format!("home/{home}/.local/share/containers/{LISTS}");
        host.write(&list, &json!([listed(id, name)]));
    }
    let path = |uid: u32, id: &str| {
        format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/libpod-{id}.scope")
    };
    let round = Round::new(host.0.path(), None, BYTES).unwrap();
    let look = |uid, id| said(&round.find(&owner_of(&path(uid, id))));
    assert_eq!(look(1000, &b), "hers of localhost/bb:1");
    assert_eq!(look(1001, &c), "his of localhost/bb:1");
    assert_eq!(look(1001, &b), "NotYet", "not his");
    assert_eq!(look(1002, &b), "Unknown", "a home that is no absolute path");
}

#[test]
fn roots_containers_are_the_hosts() {
    let host = Host::new();
    host.write("etc/passwd", &"root:x:0:0::/root:/bin/sh\n");
    host.write(
        &format!("root/.local/share/containers/{LISTS}"),
        &json!([listed(A, "odd")]),
    );
    let path = format!("/user.slice/user-0.slice/session-1.scope/libpod-{A}.scope");
    assert_eq!(host.look(&path), "Unknown");
}

#[test]
fn what_a_server_said_of_the_container_stays_while_its_pod_is_looked_for() {
    let host = Host::new();
    host.write(&format!("{TASKS}/k8s.io/{A}/config.json"), &bundle(&in_pod()));
    let mut known = identity(&[&format!("/kubepods/pod{UID}/{A}")]);
    let theirs = Arc::new(ContainerFacts {
        name: "theirs".into(),
        image: None,
    });
    Arc::make_mut(&mut known)
        .containers
        .insert(ContainerId::new(A), Arc::clone(&theirs));
    at(&mut host.names(), &mut known, 0);
    assert!(Arc::ptr_eq(&known.containers[&ContainerId::new(A)], &theirs));
    assert_eq!(known.pods[&PodUid::new(UID)].name, "shop-1");

    // Not there yet: the pod waits, and the container does not.
    fs::remove_dir_all(host.path(&format!("{TASKS}/k8s.io/{A}"))).unwrap();
    let mut known = identity(&[&format!("/kubepods/pod{UID}/{A}")]);
    Arc::make_mut(&mut known)
        .containers
        .insert(ContainerId::new(A), theirs);
    at(&mut host.names(), &mut known, 0);
    assert!(!waits(&known, A) && known.awaited.pods.contains(&PodUid::new(UID)));
}

#[test]
fn a_pod_that_somebody_else_named_anew_is_his_to_take_away() {
    let host = Host::new();
    host.write(&format!("{TASKS}/k8s.io/{A}/config.json"), &bundle(&in_pod()));
    let mut names = host.names();
    let mut known = identity(&[&format!("/kubepods/pod{UID}/{A}")]);
    at(&mut names, &mut known, 0);
    let all = Arc::make_mut(&mut known);
    all.pods.insert(PodUid::new(UID), Arc::default());
    put(all, &[]);
    at(&mut names, &mut known, 1_000);
    assert_eq!((known.pods.len(), names.pods.len()), (1, 0));
}

#[test]
fn one_call_reads_so_much_and_the_others_wait() {
    let host = Host::new();
    let long = "x".repeat(1_000_000);
    let paths: Vec<_> = (0..20).map(|number| format!("/docker/{number:064x}")).collect();
    for number in 0..paths.len() {
        let text = dockers("/web", &json!({"long": long}));
        host.write(
            &format!("var/lib/docker/containers/{number:064x}/config.v2.json"),
            &text,
        );
    }
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let (mut names, mut known) = (host.names(), identity(&paths));
    at(&mut names, &mut known, 0);
    assert_eq!(known.containers.len(), 17, "16 MiB are full with the 17th");
    at(&mut names, &mut known, 1_000);
    assert_eq!(known.containers.len(), 20);
}

#[test]
fn an_id_that_would_climb_is_not_looked_for() {
    let host = Host::new();
    host.write(
        "var/lib/docker/secret/config.v2.json",
        &dockers("/secret", &json!({})),
    );
    host.folder("var/lib/docker/containers/x");
    let round = Round::new(host.0.path(), None, BYTES).unwrap();
    for id in ["../secret", "x/../../secret", ".", ".."] {
        let owner = CgroupOwner {
            container: Some(ContainerId::new(id)),
            runtime: "docker",
            ..CgroupOwner::default()
        };
        assert_eq!(said(&round.find(&owner)), "Unknown", "{id}");
    }
}

#[test]
fn a_name_has_512_bytes_at_most() {
    let name = |length: usize| super::facts::Facts::new(Some(&"n".repeat(length)), None);
    assert!(name(512).is_some() && name(513).is_none() && name(0).is_none());
}

#[test]
fn docker_with_remapped_users_is_found_below_its_root() {
    let host = Host::new();
    host.folder("var/lib/docker/containers");
    host.folder("var/lib/docker/1.x/containers");
    host.write(
        &format!("var/lib/docker/231072.231072/containers/{A}/config.v2.json"),
        &dockers("/remapped", &json!({})),
    );
    assert_eq!(host.look(&format!("/docker/{A}")), "remapped of bb:1");
}

#[test]
fn thousands_of_dead_containers_leave_the_living_their_names() {
    let host = Host::new();
    let mut list: Vec<_> = (0..10_000)
        .map(|number| listed(&format!("{number:064x}"), "dead"))
        .collect();
    list.push(listed(A, "living"));
    let list = json!(list);
    host.write("etc/passwd", &"ann:x:1000:1000::/home/ann:/bin/sh\n");
    host.write(&format!("var/lib/containers/{LISTS}"), &list);
    host.write(&format!("home/ann/.local/share/containers/{LISTS}"), &list);
    let own = format!("libpod-{A}.scope");
    assert_eq!(
        host.look(&format!("/machine.slice/{own}")),
        "living of localhost/bb:1"
    );
    // A user may not make us read so much.
    let hers = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/{own}");
    fs::remove_dir_all(host.path("var")).unwrap();
    assert_eq!(host.look(&hers), "NotYet");
}
