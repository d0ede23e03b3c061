// SPDX-License-Identifier: Apache-2.0
//! The wire: a real client over real HTTPS against an API server of our own, in all its moods.

use super::super::PodNames;
use super::super::access::{Kind, Patience};
use super::super::config::{KubernetesConfig, Mode, Port};
use super::super::desk::{Known, State};
use super::super::plan;
use super::{NODE, web};
use crate::resolver::Namer as _;
use attribution::model::PodUid;
use integration_tests::api_server::{ApiServer, Fault, Gone, Release, ids, pod};
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for what should happen soon; a failure alone takes that long.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "token-1";

struct Scene {
    server: ApiServer,
    names: PodNames,
    folder: TempDir,
}

/// A section for a pod of this server's cluster.
fn section(server: &ApiServer, folder: &TempDir) -> KubernetesConfig {
    server.write_service_account(folder.path(), TOKEN);
    KubernetesConfig {
        node_name: NODE.to_owned(),
        service_account: folder.path().to_owned(),
        service_host: "127.0.0.1".to_owned(),
        service_port: Port(server.port()),
        ..KubernetesConfig::default()
    }
}

fn short() -> Patience {
    Patience {
        answer: Duration::from_millis(500),
        settle: Duration::from_millis(100),
        list: Duration::from_secs(2),
        // Any watch that was one is good enough for the next to follow soon.
        steady: Duration::ZERO,
        ..Patience::default()
    }
}

fn start(section: &KubernetesConfig, patience: Patience) -> PodNames {
    let plan = plan::plan(section, "host").unwrap().unwrap();
    PodNames::start(plan, section, patience).unwrap()
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// One in which the server is like this from the beginning.
    fn with(before: impl FnOnce(&ApiServer)) -> Self {
        let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().unwrap());
        server.put(web("u1", &[("web", &ids('a'))]));
        before(&server);
        let names = start(&section(&server, &folder), short());
        Self {
            server,
            names,
            folder,
        }
    }

    /// Waits until what is known is so.
    fn until(&self, what: &str, so: impl Fn(&Known) -> bool) -> Known {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut told = self.names.told.clone();
        let waited = runtime.block_on(async {
            let wait = tokio::time::timeout(PATIENCE, told.wait_for(|known| so(known)));
            wait.await.map(|known| known.unwrap().clone())
        });
        waited.unwrap_or_else(|_| {
            let (known, asked) = (self.names.told.borrow().clone(), self.server.asked());
            panic!("never: {what}; {known:?}; asked: {asked:?}")
        })
    }

    fn until_current(&mut self) -> Known {
        self.until("current", |known| known.state == State::Current)
    }

    fn until_down(&mut self, kind: Kind) {
        self.until("down", |known| known.state == State::Down(kind));
    }

    fn until_pod(&mut self, uid: &str) {
        self.until(uid, |known| has(known, uid));
    }

    /// A further pod on this node reaches us.
    fn still_hears(&mut self, uid: &str) {
        self.server.put(further(uid));
        self.until_pod(uid);
    }
}

fn has(known: &Known, uid: &str) -> bool {
    known.pods.contains_key(&PodUid::new(uid))
}

fn further(uid: &str) -> serde_json::Value {
    pod(
        Release::V1_20,
        NODE,
        &format!("pod-{uid}"),
        uid,
        &[("main", &ids('f'))],
    )
}

#[test]
fn pods_of_this_node_are_listed_and_then_watched() {
    let mut scene = Scene::with(|server| {
        server.put(pod(Release::V1_33, "node-2", "elsewhere", "u2", &[]));
    });
    let known = scene.until_current();
    assert!(has(&known, "u1") && !has(&known, "u2"));
    scene.still_hears("u3");
    let mut changed = further("u3");
    changed["status"]["ephemeralContainerStatuses"] =
        json!([{ "name": "debug", "containerID": "docker://d" }]);
    scene.server.put(changed);
    scene.until("a change", |known| {
        known
            .pods
            .get(&PodUid::new("u3"))
            .is_some_and(|pod| pod.containers.len() == 2)
    });
    scene.server.remove("pod-u3");
    scene.still_hears("u4");
    assert!(
        has(&scene.names.told.borrow(), "u3"),
        "its names stay for a while"
    );
    let asked = scene.server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let list = "/api/v1/pods?&fieldSelector=spec.nodeName%3Dnode-1&resourceVersion=0";
    assert_eq!(asked[0], list, "from the server's memory");
    for words in [
        "watch=true",
        "fieldSelector=spec.nodeName%3Dnode-1",
        "allowWatchBookmarks=true",
        "resourceVersion=1002",
    ] {
        assert!(asked[1].contains(words), "{asked:?}");
    }
}

#[test]
fn a_watch_that_ends_is_begun_where_it_stopped_without_a_new_list() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.still_hears("u2");
    scene.server.bookmark();
    scene.still_hears("u3");
    for (round, in_a_line) in [(2, false), (3, true)] {
        scene.server.break_watches(in_a_line);
        scene.server.wait_for(&["watch=true"], round);
        scene.still_hears(&format!("v{round}"));
    }
    assert_eq!(scene.server.count(&["resourceVersion=0"]), 1);
    let asked = scene.server.asked();
    assert!(
        asked[2].contains("resourceVersion=1103"),
        "the bookmark's count: {asked:?}"
    );
    let known = scene.names.told.borrow().clone();
    assert_eq!((known.state, known.failed), (State::Current, 0), "no trouble");
}

#[test]
fn a_bookmark_alone_moves_the_place_from_which_a_watch_goes_on() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.server.wait_for(&["watch=true"], 1);
    scene.server.bookmark();
    scene.still_hears("u2");
    scene.server.bookmark();
    scene.server.break_watches(false);
    scene.server.wait_for(&["watch=true"], 2);
    let last = scene.server.asked().pop().unwrap();
    assert!(last.contains("resourceVersion=1202"), "{last}");
}

#[test]
fn a_version_that_is_forgotten_is_listed_again_however_it_is_told() {
    for gone in [Gone::Event, Gone::Status] {
        let mut scene = Scene::new();
        scene.until_current();
        scene.server.wait_for(&["watch=true"], 1);
        scene.server.set_fault(Fault::Away);
        scene.until_down(Kind::Unreachable);
        // While nobody listens, a pod comes, another goes, and the server forgets how.
        scene.server.put(further("u2"));
        scene.server.forget(gone);
        scene.server.set_fault(Fault::None);
        scene.until_pod("u2");
        scene.until_current();
        assert!(scene.server.count(&["resourceVersion=0"]) >= 2);
        scene.still_hears("u3");
    }
}

#[test]
fn a_server_that_is_away_silent_or_confused_takes_no_name_and_is_heard_again() {
    for (fault, kind) in [
        (Fault::Away, Kind::Unreachable),
        (Fault::Silent, Kind::Slow),
        (Fault::SilentWatch, Kind::Slow),
        (Fault::AlwaysGone, Kind::Expired),
        (Fault::Busy(0), Kind::Busy),
        (Fault::Status(503), Kind::Refused),
        (Fault::Nonsense, Kind::Malformed),
    ] {
        let mut scene = Scene::new();
        scene.until_current();
        scene.server.set_fault(fault);
        scene.until_down(kind);
        assert!(has(&scene.names.told.borrow(), "u1"), "{fault:?}");
        scene.server.set_fault(Fault::None);
        scene.until_current();
        scene.still_hears("u2");
    }
}

#[test]
fn a_server_that_is_away_at_the_beginning_is_found_when_it_comes() {
    let mut scene = Scene::with(|server| server.set_fault(Fault::Away));
    scene.until_down(Kind::Unreachable);
    scene.server.set_fault(Fault::None);
    scene.until_current();
    scene.until_pod("u1");
}

#[test]
fn what_is_not_allowed_is_told_apart_and_over_when_it_is_granted() {
    for denied in [&["list", "watch"][..], &["watch"][..]] {
        let mut scene = Scene::with(|server| server.deny(denied));
        scene.until_down(Kind::Forbidden);
        let listed = denied == ["watch"];
        assert_eq!(
            has(&scene.names.told.borrow(), "u1"),
            listed,
            "a list that is allowed is used"
        );
        scene.server.deny(&[]);
        scene.until_current();
        scene.until_pod("u1");
    }
}

#[test]
fn a_token_that_is_rotated_is_read_again() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.server.set_token("token-2");
    scene.until_down(Kind::Unauthorized);
    scene.server.write_service_account(scene.folder.path(), "token-2");
    scene.until_current();
    scene.still_hears("u2");
}

#[test]
fn a_token_that_comes_late_and_a_certificate_of_another_are_told_apart() {
    let (server, folder, other) = (
        ApiServer::start(TOKEN),
        TempDir::new().unwrap(),
        ApiServer::start(TOKEN),
    );
    let section = section(&server, &folder);
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let section = KubernetesConfig {
        mode: Mode::Api,
        ..section
    };
    let names = start(&section, short());
    let mut scene = Scene {
        server,
        names,
        folder,
    };
    scene.until_down(Kind::Setup);
    other.write_service_account(scene.folder.path(), TOKEN);
    scene.until_down(Kind::Untrusted);
    assert_eq!(
        scene.server.asked(),
        [""; 0],
        "no token was sent to somebody who is not trusted"
    );
    scene.server.write_service_account(scene.folder.path(), TOKEN);
    scene.until_current();
}

#[test]
fn a_pod_that_runs_here_and_is_not_in_the_table_makes_it_list_again() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.server.wait_for(&["watch=true"], 1);
    scene.names.nudge.notify_one();
    scene.server.wait_for(&["resourceVersion=0"], 2);
    scene.still_hears("u2");
}

#[test]
fn a_list_that_comes_byte_by_byte_is_given_up() {
    let mut scene = Scene::with(|server| server.set_fault(Fault::Dribble));
    scene.until_down(Kind::Slow);
    scene.server.set_fault(Fault::None);
    scene.until_current();
}

#[test]
fn a_watch_that_outlives_its_time_is_begun_again_whatever_it_says() {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().unwrap());
    let patience = Patience {
        watch: Duration::from_millis(20),
        grace: Duration::from_millis(200),
        ..short()
    };
    let names = start(&section(&server, &folder), patience);
    let mut scene = Scene {
        server,
        names,
        folder,
    };
    scene.until_current();
    scene.server.set_fault(Fault::Dribble);
    scene.server.wait_for(&["watch=true"], 3);
    assert_eq!(scene.names.told.borrow().state, State::Current);
    assert_eq!(scene.server.count(&["resourceVersion=0"]), 1);
}

#[test]
fn a_watch_that_is_never_answered_leaves_the_list_which_is_asked_for_again() {
    let mut scene = Scene::with(|server| server.set_fault(Fault::SilentWatch));
    scene.until_down(Kind::Slow);
    scene.still_hears("u2");
}

#[test]
fn watches_that_end_soon_are_begun_less_and_less_often() {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().unwrap());
    server.set_fault(Fault::ShortWatch);
    let patience = Patience {
        steady: Duration::from_secs(30),
        ..short()
    };
    let began = std::time::Instant::now();
    let _names = start(&section(&server, &folder), patience);
    server.wait_for(&["watch=true"], 4);
    // Half of 1, 2 and 4 seconds at least.
    assert!(began.elapsed() >= Duration::from_millis(3_500));
    assert_eq!(server.count(&["resourceVersion=0"]), 1, "and not listed again");
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks_and_not_asked_for_more_then() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.server.set_fault(Fault::Busy(3));
    scene.until_down(Kind::Busy);
    let began = std::time::Instant::now();
    let asked = scene.server.asked().len();
    scene.server.set_fault(Fault::None);
    scene.until_current();
    assert!(began.elapsed() >= Duration::from_secs(3), "by its Retry-After");
    assert_eq!(scene.server.asked().len(), asked + 1, "a watch, and no list");
    scene.still_hears("u2");
}

#[test]
fn a_version_that_is_gone_once_is_no_trouble() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.server.wait_for(&["watch=true"], 1);
    scene.server.forget(Gone::Event);
    scene.server.break_watches(false);
    scene.server.wait_for(&["watch=true"], 3);
    scene.still_hears("u2");
    let known = scene.until_current();
    assert_eq!((known.failed, scene.server.count(&["resourceVersion=0"])), (0, 2));
}

#[test]
fn the_past_that_is_always_gone_is_trouble_once_and_the_list_is_kept_current() {
    let mut scene = Scene::with(|server| server.set_fault(Fault::AlwaysGone));
    scene.until_down(Kind::Expired);
    scene.still_hears("u2");
}

#[test]
fn every_answer_is_counted_and_every_failure() {
    let mut scene = Scene::new();
    let known = scene.until_current();
    assert!(known.answers >= 2, "a list and a watch");
    scene.server.bookmark();
    scene.until("a bookmark", |now| now.answers > known.answers);
    scene.server.set_fault(Fault::Away);
    scene.until_down(Kind::Unreachable);
    let mut tallies = crate::resolver::Tallies::default();
    scene.names.count(&mut tallies);
    let count = |what| {
        let tallies = tallies.clone().into_inner();
        let tally = tallies.iter().find(|tally| tally.what == what);
        tally.map(|tally| tally.count)
    };
    assert!(count("answers") > Some(known.answers));
    assert!(count("failed questions") >= Some(1));
    assert_eq!((count("pods"), count("pods without room")), (Some(1), Some(0)));
    assert!(count("seconds since the last answer").is_some());
}

#[test]
fn a_kubelet_with_a_certificate_of_somebody_else_is_told_nothing() {
    let (server, other, folder) = (
        ApiServer::start(TOKEN),
        ApiServer::start(TOKEN),
        TempDir::new().unwrap(),
    );
    let mut section = section(&server, &folder);
    section.mode = Mode::Kubelet;
    section.kubelet.address = "127.0.0.1".to_owned();
    section.kubelet.port = Port(server.port());
    section.kubelet.ca_file = folder.path().join("other.crt");
    std::fs::write(&section.kubelet.ca_file, other.ca()).unwrap();
    let names = start(&section, short());
    let mut scene = Scene {
        server,
        names,
        folder,
    };
    scene.until_down(Kind::Untrusted);
    assert_eq!(scene.server.asked(), [""; 0], "no token left this machine");
}

#[test]
fn a_kubeconfig_reaches_it_too() {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().unwrap());
    server.put(web("u1", &[]));
    let section = KubernetesConfig {
        kubeconfig: server.write_kubeconfig(folder.path(), TOKEN),
        node_name: NODE.to_owned(),
        ..KubernetesConfig::default()
    };
    let names = start(&section, short());
    let mut scene = Scene {
        server,
        names,
        folder,
    };
    scene.until_current();
    scene.until_pod("u1");
}

#[test]
fn a_kubelet_is_asked_again_and_again() {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().unwrap());
    server.put(web("u1", &[]));
    let mut section = section(&server, &folder);
    section.mode = Mode::Kubelet;
    section.kubelet.address = "127.0.0.1".to_owned();
    section.kubelet.port = Port(server.port());
    section.kubelet.interval.0 = Duration::from_secs(1);
    let names = start(&section, short());
    let mut scene = Scene {
        server,
        names,
        folder,
    };
    scene.until_current();
    scene.until_pod("u1");
    scene.still_hears("u2");
    scene.server.deny(&["list"]);
    scene.until_down(Kind::Forbidden);
    assert!(has(&scene.names.told.borrow(), "u1"));
    scene.server.deny(&[]);
    scene.until_current();
    scene.still_hears("u3");
    scene.server.set_token("token-2");
    scene.until_down(Kind::Unauthorized);
    scene.server.write_service_account(scene.folder.path(), "token-2");
    scene.until_current();
    assert!(
        scene
            .server
            .asked()
            .iter()
            .all(|asked| asked.contains("/pods") && !asked.contains("/api"))
    );
}

#[test]
fn a_thread_that_has_ended_is_said() {
    let (tell, told) = tokio::sync::watch::channel(Known {
        state: State::Current,
        ..Known::default()
    });
    let wait = Duration::from_secs(30);
    let mut names = PodNames {
        told,
        nudge: std::sync::Arc::default(),
        known: Known::default(),
        naming: super::super::naming::Naming::new(wait, wait),
    };
    let mut identity = std::sync::Arc::default();
    let usage = attribution::model::Usage::default();
    names.name(&usage, &mut identity, wait);
    drop(tell);
    names.name(&usage, &mut identity, wait);
    let [probe] = identity.probes.as_slice() else {
        panic!("{:?}", identity.probes)
    };
    assert!(!probe.up && probe.reason.contains("ended"), "{probe:?}");
}

#[test]
fn the_thread_ends_with_the_names_and_its_watch_with_it() {
    let mut scene = Scene::new();
    scene.until_current();
    scene.server.wait_for(&["watch=true"], 1);
    let Scene {
        server,
        names,
        folder: _folder,
    } = scene;
    let nudge = std::sync::Arc::downgrade(&names.nudge);
    drop(names);
    let end = std::time::Instant::now() + PATIENCE;
    while nudge.strong_count() > 0 {
        assert!(std::time::Instant::now() < end, "the thread goes on");
        std::thread::yield_now();
    }
    // Its connection is closed: the server learns of it when it next has something to say.
    server.put(further("u2"));
    server.put(further("u3"));
    let end = std::time::Instant::now() + PATIENCE;
    while server.watches() > 0 {
        assert!(std::time::Instant::now() < end, "the watch goes on");
        server.bookmark();
        std::thread::yield_now();
    }
}
