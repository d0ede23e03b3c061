// SPDX-License-Identifier: Apache-2.0
//! What pods have reserved, and which container pays for which part of it.

use super::super::desk::{Known, State};
use super::super::naming::Naming;
use super::super::requests::Requests;
use super::{known, of, web};
use crate::cgroup::owner_of;
use attribution::model::{CgroupId, ContainerId, Identity, PodUid, Reservation, Tenant, Usage};
use integration_tests::api_server::ids;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const UID: &str = "11111111-2222-3333-4444-555555555555";
const MIB: u64 = 1 << 20;

/// Reservations as (thousandths of a CPU, MiB) of these containers, and of the pod.
fn requests(spec: &Value, names: &[&str]) -> (Vec<(u64, u64)>, (u64, u64)) {
    let requests = Requests::of(&of(json!({"spec": spec})));
    let mib = |it: Reservation| (it.millicpus, it.memory / MIB);
    let by_name = names.iter().map(|name| mib(requests.by(name)));
    (by_name.collect(), mib(requests.whole))
}

fn asks(name: &str, cpu: &str, memory: &str) -> Value {
    json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}})
}

#[test]
fn a_container_has_reserved_its_request_or_else_its_limit_and_best_effort_nothing() {
    let spec = json!({"containers": [
        asks("web", "250m", "64Mi"),
        {"name": "limits", "resources": {"limits": {"cpu": "1", "memory": "128Mi"}}},
        {"name": "both", "resources": {"limits": {"cpu": "2", "memory": "128Mi"}, "requests": {"cpu": 0.5}}},
        {"name": "free"},
        {"name": "odd", "resources": {"requests": {"cpu": {"much": 1}, "memory": "-1"}, "limits": null}},
    ]});
    let (by_name, whole) = requests(&spec, &["web", "limits", "both", "free", "odd", "nobody"]);
    assert_eq!(
        by_name,
        [(250, 64), (1_000, 128), (500, 128), (0, 0), (0, 0), (0, 0)]
    );
    assert_eq!(whole, (1_750, 320));
}

#[test]
fn what_is_reserved_by_the_pod_and_not_by_containers_is_spread_over_them() {
    //                      CPU                    memory
    // pod                  2                      100 MiB
    // overhead             0.25                   60 MiB
    // a asks for           1                      64 MiB      together 1, 64: 1.25 and 96 more
    // b asks for           nothing
    let spec = json!({
        "containers": [asks("a", "1", "64Mi"), {"name": "b"}],
        "resources": {"requests": {"cpu": "2", "memory": "100Mi"}},
        "overhead": {"cpu": "250m", "memory": "60Mi"},
    });
    let (by_name, whole) = requests(&spec, &["a", "b"]);
    assert_eq!(by_name, [(1_625, 112), (625, 48)]);
    assert_eq!(whole, (2_250, 160));
}

#[test]
fn an_init_container_pays_for_the_pod_before_the_others_do_and_sidecars_for_themselves() {
    //                                   CPU      memory
    // init, runs alone                  4        10 MiB   with the sidecar 4.5, 15
    // sidecar                           0.5       5 MiB
    // web                               1        64 MiB
    // the pod: most of each             4.5      69 MiB
    let mut sidecar = asks("sidecar", "500m", "5Mi");
    sidecar["restartPolicy"] = "Always".into();
    let spec = json!({
        "initContainers": [asks("init", "4", "10Mi"), sidecar],
        "containers": [asks("web", "1", "64Mi")],
    });
    let (by_name, whole) = requests(&spec, &["init", "sidecar", "web"]);
    assert_eq!(by_name, [(4_000, 64), (500, 5), (4_000, 64)]);
    assert_eq!(whole, (4_500, 69));
}

#[test]
fn while_a_container_is_resized_what_the_kubelet_holds_counts() {
    let pod = json!({
        "spec": {"containers": [asks("web", "4", "64Mi")]},
        "status": {"containerStatuses": [{"name": "web", "allocatedResources": {"cpu": "2"}}]},
    });
    let by_web = Requests::of(&of(pod)).by("web");
    assert_eq!((by_web.millicpus, by_web.memory), (2_000, 64 * MIB));
}

proptest! {
    #[test]
    fn containers_have_reserved_together_what_the_pod_has(
        own in prop::collection::vec((0..4_000_u64, 0..4_000_u64), 1..6),
        sidecars in prop::collection::vec((0..4_000_u64, 0..4_000_u64), 0..3),
        init in (0..9_000_u64, 0..9_000_u64),
        pod in (0..40_000_u64, 0..40_000_u64),
    ) {
        let ask = |at: usize, kind: &str, amount: &(u64, u64)| {
            asks(&format!("{kind}{at}"), &format!("{}m", amount.0), &amount.1.to_string())
        };
        let mut inits: Vec<Value> = sidecars.iter().enumerate().map(|(at, one)| ask(at, "s", one)).collect();
        inits.iter_mut().for_each(|one| one["restartPolicy"] = "Always".into());
        inits.push(ask(0, "i", &init));
        let containers: Vec<Value> = own.iter().enumerate().map(|(at, one)| ask(at, "c", one)).collect();
        let requests = Requests::of(&of(json!({"spec": {
            "containers": containers, "initContainers": inits,
            "resources": {"requests": {"cpu": format!("{}m", pod.0), "memory": pod.1.to_string()}},
        }})));
        let sum = |kind: &str, count: usize| {
            (0..count).fold(Reservation::default(), |sum, at| sum.and(requests.by(&format!("{kind}{at}"))))
        };
        let sidecars = sum("s", sidecars.len());
        prop_assert_eq!(sum("c", own.len()).and(sidecars), requests.whole);
        prop_assert_eq!(requests.by("i0").and(sidecars), requests.whole);
    }
}

/// A table of one pod, with a container `a` that asks for half a CPU, and who is there.
struct Scene {
    naming: Naming,
    identity: Arc<Identity>,
    known: Known,
}

impl Scene {
    fn new(letters: &str) -> Self {
        let mut scene = Self {
            naming: Naming::new(Duration::from_secs(10), Duration::from_secs(900)),
            identity: Arc::default(),
            known: Known {
                state: State::Current,
                ..Known::default()
            },
        };
        scene.there(letters);
        scene
    }

    /// These containers are there, and no others.
    fn there(&mut self, letters: &str) {
        let cgroups = &mut Arc::make_mut(&mut self.identity).cgroups;
        cgroups.clear();
        for letter in letters.chars() {
            let path = format!("/kubepods/burstable/pod{UID}/{}", ids(letter));
            cgroups.insert(CgroupId(u64::from(u32::from(letter))), Arc::new(owner_of(&path)));
        }
    }

    fn learn(&mut self, cpu: &str, phase: &str) {
        let mut pod = web(UID, &[("web", &ids('a'))]);
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        pod["status"]["phase"] = phase.into();
        self.known.pods = Arc::new([(PodUid::new(UID), Arc::new(known(pod)))].into());
    }

    /// The server has answered once more.
    fn look(&mut self, at: u64) {
        self.known.answers += 1;
        let now = Duration::from_secs(at);
        self.naming
            .name(&self.known, true, &Usage::default(), &mut self.identity, now);
    }

    fn reserved(&self, letter: char) -> Option<u64> {
        let tenant = Tenant::Container(ContainerId::new(&ids(letter)));
        Some(self.identity.reserved.get(&tenant)?.millicpus)
    }
}

#[test]
fn a_container_has_its_reservation_from_the_pods_first_word_to_its_own_end() {
    let mut scene = Scene::new("a");
    scene.look(0);
    assert_eq!(scene.reserved('a'), None);
    scene.learn("500m", "Running");
    scene.look(1);
    assert_eq!(scene.reserved('a'), Some(500));
    let before = Arc::clone(&scene.identity);
    scene.look(2);
    assert!(Arc::ptr_eq(&before, &scene.identity), "nothing new");
    // A quota that was known before it, or that anybody writes.
    let tenant = Tenant::Container(ContainerId::new(&ids('a')));
    let other = Reservation {
        millicpus: 7,
        memory: 7,
    };
    Arc::make_mut(&mut scene.identity).reserved.insert(tenant, other);
    scene.look(3);
    assert_eq!(scene.reserved('a'), Some(500));
    scene.learn("750m", "Running");
    scene.look(4);
    assert_eq!(scene.reserved('a'), Some(750));
    scene.there("");
    scene.look(5);
    assert!(scene.identity.reserved.is_empty());
}

#[test]
fn a_sandbox_that_is_alone_pays_for_its_pod_until_that_is_over() {
    //  there     phase       a      f, the sandbox
    //  f         Pending            500     its image is being fetched
    //  a, f      Running     500    0
    //  f         Running            500     waits to be started again
    //  f         Failed             0
    let mut scene = Scene::new("f");
    scene.learn("500m", "Pending");
    scene.look(0);
    assert_eq!(scene.reserved('f'), None, "nobody knows yet what it is");
    scene.look(1);
    scene.look(11);
    assert_eq!(scene.reserved('f'), Some(500));
    scene.there("af");
    scene.learn("500m", "Running");
    scene.look(12);
    assert_eq!((scene.reserved('a'), scene.reserved('f')), (Some(500), None));
    scene.there("f");
    scene.look(13);
    assert_eq!((scene.reserved('a'), scene.reserved('f')), (None, Some(500)));
    scene.learn("500m", "Failed");
    scene.look(14);
    assert!(scene.identity.reserved.is_empty());
}
