// SPDX-License-Identifier: Apache-2.0
//! Who gets which name at which moment.

use super::super::access::Kind;
use super::super::desk::{Known, State};
use super::super::naming::Naming;
use super::{known, web};
use crate::cgroup::owner_of;
use attribution::model::{
    CgroupId, Comm, ContainerFacts, ContainerId, CpuNanos, EventCounts, Identity, PackageId, PodUid, TaskKey,
    TaskKind, TaskUsage, Usage,
};
use integration_tests::api_server::ids;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const UID: &str = "11111111-2222-3333-4444-555555555555";
const WAIT: u64 = 30;
const AWAY: u64 = 900;

/// A resolver's state, a table, and a clock in seconds.
struct Scene {
    naming: Naming,
    identity: Arc<Identity>,
    known: Known,
    usage: Usage,
    /// A server that is there says something at every look, unless it is this.
    silent: bool,
    /// Whether the last look was for nothing that is in the table.
    nudged: bool,
}

impl Scene {
    fn new() -> Self {
        Self {
            naming: Naming::new(Duration::from_secs(WAIT), Duration::from_secs(AWAY)),
            identity: Arc::default(),
            known: Known {
                state: State::Current,
                ..Known::default()
            },
            usage: Usage::default(),
            silent: false,
            nudged: false,
        }
    }

    /// A container begins in the pod; its only process is called so.
    fn begin(&mut self, letter: char, uid: &str, comm: &str) {
        let id = CgroupId(u64::from(u32::from(letter)));
        let path = format!("/kubepods/burstable/pod{uid}/{}", ids(letter));
        let owner = Arc::new(owner_of(&path));
        Arc::make_mut(&mut self.identity).cgroups.insert(id, owner);
        self.usage.tasks.push(TaskUsage {
            task: Some(TaskKey {
                tgid: u32::from(letter),
                start_ticks: 1,
            }),
            cgroup: id,
            package: PackageId(0),
            cpu: CpuNanos::ZERO,
            events: EventCounts::default(),
            comm: Comm::from_bytes(comm.as_bytes()),
            kind: TaskKind::User,
            ended: false,
        });
    }

    fn end(&mut self, letter: char) {
        let id = CgroupId(u64::from(u32::from(letter)));
        Arc::make_mut(&mut self.identity).cgroups.remove(&id);
        self.usage.tasks.retain(|row| row.cgroup != id);
    }

    fn learn(&mut self, pods: &[Value]) {
        let pods = pods.iter().map(|pod| {
            let uid = pod["metadata"]["uid"].as_str().unwrap();
            (PodUid::new(uid), Arc::new(known(pod.clone())))
        });
        self.known.pods = Arc::new(pods.collect());
    }

    fn look(&mut self, at: u64, is_news: bool) {
        let at = Duration::from_secs(at);
        let identity = &mut self.identity;
        self.nudged = self.naming.name(&self.known, is_news, &self.usage, identity, at);
        let waits = !identity.awaited.containers.is_empty();
        if self.known.state == State::Current && !self.silent && waits {
            self.known.answers += 1;
            self.nudged |= self.naming.name(&self.known, true, &self.usage, identity, at);
        }
    }

    /// What a container is called; `None` while it is awaited. Without a name it is called nothing.
    fn name(&self, letter: char) -> Option<String> {
        let id = ContainerId::new(&ids(letter));
        let facts = self.identity.containers.get(&id);
        let is_awaited = self.identity.awaited.containers.contains(&id);
        assert!(facts.is_none() || !is_awaited, "who has a name does not wait");
        (!is_awaited).then(|| facts.map_or_else(String::new, |facts| facts.name.clone()))
    }

    fn pod(&self, uid: &str) -> Option<String> {
        let uid = PodUid::new(uid);
        let is_awaited = self.identity.awaited.pods.contains(&uid);
        let facts = self.identity.pods.get(&uid);
        (!is_awaited).then(|| facts.map_or_else(String::new, |facts| facts.name.clone()))
    }
}

fn called(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn a_container_waits_for_its_pod_and_for_its_own_status_and_then_has_both_names() {
    let mut scene = Scene::new();
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    assert_eq!(
        (scene.name('a'), scene.pod(UID)),
        (None, None),
        "the pod is not known"
    );
    scene.learn(&[web(UID, &[("web", "")])]);
    scene.look(101, true);
    let pod = called("web-7d4b9c6f5-x2x4z");
    assert_eq!(
        (scene.name('a'), scene.pod(UID)),
        (None, pod.clone()),
        "the container has no id yet"
    );
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.look(103, true);
    assert_eq!((scene.name('a'), scene.pod(UID)), (called("web"), pod));
}

#[test]
fn nobody_waits_longer_than_the_wait_where_the_server_answers_or_says_no() {
    for state in [State::Current, State::Ended, State::Down(Kind::Forbidden)] {
        let mut scene = Scene::new();
        scene.known.state = state;
        scene.begin('a', UID, "nginx");
        scene.look(100, false);
        scene.look(100 + WAIT - 1, false);
        assert_eq!(scene.name('a'), None, "{state:?}");
        scene.look(100 + WAIT, false);
        assert_eq!(
            (scene.name('a'), scene.pod(UID)),
            (called(""), called("")),
            "{state:?}"
        );
        // Who begins later has a wait of its own, also in the same pod.
        scene.begin('b', UID, "nginx");
        scene.look(100 + WAIT + 1, false);
        assert_eq!(
            (scene.name('b'), scene.name('a')),
            (None, called("")),
            "{state:?}"
        );
        scene.known.state = State::Down(Kind::Unreachable);
        scene.look(100 + WAIT + 2, true);
        assert_eq!(scene.name('a'), called(""), "who was shown is not taken back");
    }
}

#[test]
fn while_the_server_is_away_the_wait_stands_still_up_to_the_longer_limit() {
    for state in [
        State::Asking,
        State::Down(Kind::Unreachable),
        State::Down(Kind::Slow),
    ] {
        let mut scene = Scene::new();
        scene.begin('a', UID, "nginx");
        scene.look(100, false);
        scene.look(110, false);
        scene.known.state = state;
        scene.look(120, true);
        scene.look(500, false);
        assert_eq!((scene.name('a'), scene.pod(UID)), (None, None), "{state:?}");
        scene.known.state = State::Current;
        scene.look(600, true);
        // 20 seconds were over before.
        scene.look(609, false);
        assert_eq!(scene.name('a'), None, "{state:?}");
        scene.look(610, false);
        assert_eq!(scene.name('a'), called(""), "{state:?}");
        scene.known.state = state;
        scene.begin('b', UID, "nginx");
        scene.look(1_000, true);
        scene.look(1_000 + AWAY - 1, false);
        assert_eq!(scene.name('b'), None, "{state:?}");
        scene.look(1_000 + AWAY, false);
        assert_eq!(scene.name('b'), called(""), "{state:?}");
    }
}

#[test]
fn a_container_that_came_and_went_while_the_server_was_away_gets_its_name() {
    let mut scene = Scene::new();
    scene.known.state = State::Down(Kind::Unreachable);
    scene.begin('a', UID, "job");
    scene.look(100, false);
    scene.end('a');
    scene.look(700, true);
    scene.known.state = State::Current;
    scene.learn(&[web(UID, &[("job", &ids('a'))])]);
    scene.look(701, true);
    assert_eq!(scene.name('a'), called("job"));
}

#[test]
fn a_server_that_was_not_heard_since_is_not_believed_to_know_nobody() {
    let mut scene = Scene::new();
    scene.silent = true;
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.look(300, false);
    assert_eq!(scene.name('a'), None, "its watch may be dead and nobody knows");
    scene.known.answers += 1;
    scene.look(310, true);
    scene.look(310 + WAIT - 1, false);
    assert_eq!(scene.name('a'), None);
    scene.look(310 + WAIT, false);
    assert_eq!(scene.name('a'), called(""));
}

#[test]
fn a_wait_that_is_shorter_than_other_steps_ends_on_time() {
    let mut scene = Scene::new();
    scene.naming = Naming::new(Duration::from_secs(1), Duration::from_secs(AWAY));
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.look(101, false);
    assert_eq!(scene.name('a'), called(""));
}

#[test]
fn the_longer_limit_is_never_the_shorter_one() {
    let mut scene = Scene::new();
    scene.naming = Naming::new(Duration::from_secs(WAIT), Duration::from_secs(1));
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.look(100 + WAIT - 1, false);
    assert_eq!(scene.name('a'), None);
}

#[test]
fn what_is_awaited_is_counted() {
    let mut scene = Scene::new();
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    let mut tallies = crate::resolver::Tallies::default();
    scene.naming.count(&mut tallies);
    let counts: Vec<_> = tallies
        .into_inner()
        .iter()
        .map(|tally| (tally.what, tally.count))
        .collect();
    assert_eq!(
        counts,
        [
            ("containers", 1),
            ("containers not remembered", 0),
            ("containers awaited", 1),
            ("pods awaited", 1)
        ]
    );
}

#[test]
fn names_that_come_after_the_wait_are_given_all_the_same() {
    let mut scene = Scene::new();
    scene.known.state = State::Down(Kind::Forbidden);
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.look(200, false);
    assert_eq!(scene.name('a'), called(""));
    scene.known.state = State::Current;
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.look(201, true);
    assert_eq!(scene.name('a'), called("web"));
}

#[test]
fn a_container_that_ended_before_its_name_was_known_gets_it_and_is_then_forgotten() {
    let mut scene = Scene::new();
    scene.begin('a', UID, "job");
    scene.look(100, false);
    scene.end('a');
    scene.look(102, false);
    assert_eq!(scene.name('a'), None, "it waits on");
    scene.learn(&[web(UID, &[("job", &ids('a'))])]);
    scene.look(103, true);
    assert_eq!(scene.name('a'), called("job"));
    scene.begin('b', UID, "x");
    scene.look(104, false);
    assert!(
        !scene
            .identity
            .containers
            .contains_key(&ContainerId::new(&ids('a')))
    );
    // One that never gets any waits no longer either.
    scene.end('b');
    scene.look(104 + WAIT, false);
    assert!(scene.identity.awaited.containers.is_empty());
}

#[test]
fn a_pod_that_is_deleted_takes_no_name_from_a_container_that_still_runs() {
    let mut scene = Scene::new();
    scene.begin('a', UID, "nginx");
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.look(100, true);
    // The table keeps it for a while; this is after that while, with a container that does not want to die.
    scene.learn(&[]);
    scene.look(900, true);
    assert_eq!(
        scene.identity.awaited,
        Default::default(),
        "its row has its name and keeps it"
    );
}

#[test]
fn the_container_of_a_pods_namespaces_is_called_pod() {
    let mut scene = Scene::new();
    scene.learn(&[web(UID, &[("web", &ids('a')), ("slow", "")])]);
    // pause, a container with a status, and one whose status comes late.
    scene.begin('p', UID, "runc:[2:INIT]");
    scene.begin('a', UID, "nginx");
    scene.begin('s', UID, "java");
    scene.look(100, true);
    assert_eq!(
        (scene.name('p'), scene.name('a'), scene.name('s')),
        (None, called("web"), None)
    );
    scene.usage.tasks[0].comm = Comm::from_bytes(b"pause");
    scene.look(102, false);
    assert_eq!((scene.name('p'), scene.name('s')), (called("POD"), None));
    scene.look(100 + WAIT, false);
    assert_eq!(scene.name('s'), called(""), "there is one in each pod");
    scene.learn(&[web(UID, &[("web", &ids('a')), ("slow", &ids('s'))])]);
    scene.look(140, true);
    assert_eq!(
        (scene.name('p'), scene.name('s')),
        (called("POD"), called("slow"))
    );
}

#[test]
fn one_that_is_not_called_pause_is_taken_for_it_when_no_status_came_in_time() {
    let mut scene = Scene::new();
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.begin('p', UID, "infra");
    scene.begin('a', UID, "nginx");
    scene.look(100, true);
    scene.look(100 + WAIT - 1, false);
    assert_eq!(scene.name('p'), None);
    scene.look(100 + WAIT, false);
    assert_eq!(scene.name('p'), called("POD"));
}

#[test]
fn a_container_that_was_started_again_while_the_server_is_away_is_not_called_pod() {
    let mut scene = Scene::new();
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.known.state = State::Down(Kind::Forbidden);
    scene.begin('b', UID, "nginx");
    scene.look(100, true);
    scene.look(100 + WAIT, false);
    assert_eq!(
        (scene.name('b'), scene.pod(UID)),
        (called(""), called("web-7d4b9c6f5-x2x4z"))
    );
}

#[test]
fn while_nothing_is_new_the_identity_stays_the_same_in_memory() {
    let mut scene = Scene::new();
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.begin('a', UID, "nginx");
    scene.begin('x', "another-pod", "java");
    scene.look(100, true);
    let identity = Arc::clone(&scene.identity);
    scene.look(101, false);
    assert!(Arc::ptr_eq(&identity, &scene.identity));
    // A table that tells nothing new about these, and a look at a moment when somebody's wait has steps.
    scene.look(102, true);
    scene.look(105, false);
    assert!(Arc::ptr_eq(&identity, &scene.identity));
    scene.look(100 + WAIT, false);
    assert!(!Arc::ptr_eq(&identity, &scene.identity), "the wait is over");
}

#[test]
fn what_others_named_or_await_stays_theirs() {
    let mut scene = Scene::new();
    let (other, facts) = (ContainerId::new("docker-1"), Arc::new(ContainerFacts::default()));
    let identity = Arc::make_mut(&mut scene.identity);
    identity.containers.insert(other.clone(), Arc::clone(&facts));
    identity.awaited.containers.insert(ContainerId::new("docker-2"));
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.learn(&[web(UID, &[("web", &ids('a'))])]);
    scene.look(101, true);
    scene.end('a');
    scene.look(102, false);
    assert!(scene.identity.containers.contains_key(&other));
    assert!(
        scene
            .identity
            .awaited
            .containers
            .contains(&ContainerId::new("docker-2"))
    );
    assert_eq!(scene.identity.containers.len(), 1);
}

#[test]
fn a_look_is_asked_for_once_for_each_pod_that_should_be_there() {
    let mut scene = Scene::new();
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.look(104, false);
    assert!(!scene.nudged, "it may be on its way");
    scene.look(105, false);
    assert!(scene.nudged);
    for at in 106..200 {
        scene.look(at, false);
        assert!(!scene.nudged, "{at}");
    }
    scene.begin('b', "b-b", "x");
    scene.look(200, false);
    scene.look(205, false);
    assert!(scene.nudged);
    scene.begin('c', "c-c", "x");
    scene.look(206, false);
    scene.look(211, false);
    assert!(!scene.nudged, "not more than one look in ten seconds");
    scene.look(215, false);
    assert!(scene.nudged);
}

#[test]
fn the_state_of_the_probe_is_in_the_identity_in_the_same_words_each_time() {
    let mut scene = Scene::new();
    scene.known.state = State::Asking;
    for (state, up) in [
        (State::Asking, false),
        (State::Current, true),
        (State::Down(Kind::Forbidden), false),
        (State::Current, true),
    ] {
        scene.known.state = state;
        scene.look(1, true);
        let [probe] = scene.identity.probes.as_slice() else {
            panic!("{:?}", scene.identity.probes)
        };
        assert_eq!((probe.probe, probe.up, probe.reason.is_empty()), ("pods", up, up));
    }
}

#[test]
fn a_hundred_thousand_containers_that_come_and_go_leave_nothing_behind() {
    let mut scene = Scene::new();
    for number in 0..100_000_u64 {
        let path = format!("/kubepods/burstable/podu{number}/{number:064x}");
        let cgroups = &mut Arc::make_mut(&mut scene.identity).cgroups;
        cgroups.clear();
        cgroups.insert(CgroupId(number), Arc::new(owner_of(&path)));
        if number % 100 == 0 {
            scene.look(number / 1_000, false);
        }
        assert!(scene.identity.awaited.containers.len() <= 16_384);
    }
    Arc::make_mut(&mut scene.identity).cgroups.clear();
    scene.look(1_000, false);
    assert!(scene.identity.awaited.containers.is_empty() && scene.identity.awaited.pods.is_empty());
}

#[test]
fn a_limit_that_was_nearly_reached_while_the_server_was_away_holds_when_it_is_back() {
    let mut scene = Scene::new();
    scene.known.state = State::Down(Kind::Unreachable);
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    scene.known.state = State::Current;
    scene.look(100 + AWAY - 10, true);
    assert_eq!(scene.name('a'), None);
    scene.look(100 + AWAY, false);
    assert_eq!(scene.name('a'), called(""));
}

#[test]
fn who_is_called_pause_is_believed_after_two_seconds_and_in_a_pod_that_is_known() {
    let mut scene = Scene::new();
    scene.begin('p', UID, "pause");
    scene.begin('q', "another-pod", "pause");
    scene.begin('e', UID, "pause");
    scene
        .usage
        .tasks
        .retain(|row| row.cgroup != CgroupId(u64::from(u32::from('e'))));
    scene.learn(&[web(UID, &[])]);
    scene.look(100, true);
    scene.look(101, true);
    assert_eq!(scene.name('p'), None);
    scene.look(102, true);
    assert_eq!(
        (scene.name('p'), scene.name('q'), scene.name('e')),
        (called("POD"), None, None)
    );
}

#[test]
fn nobody_whose_processes_are_not_known_is_taken_for_pause() {
    let mut scene = Scene::new();
    scene.begin('e', UID, "pause");
    scene.usage.tasks.clear();
    scene.learn(&[web(UID, &[])]);
    scene.look(100, true);
    scene.look(103, true);
    assert_eq!(scene.name('e'), None);
}

#[test]
fn of_several_that_could_hold_the_namespaces_it_is_one_called_pause_else_the_first() {
    for (comm, first, second) in [("pause", "", "POD"), ("java", "POD", "")] {
        let mut scene = Scene::new();
        scene.known.state = State::Down(Kind::Forbidden);
        scene.learn(&[web(UID, &[])]);
        scene.begin('x', UID, "nginx");
        scene.look(100, true);
        scene.begin('b', UID, comm);
        scene.look(101, false);
        scene.known.state = State::Current;
        scene.look(200, true);
        assert_eq!(
            (scene.name('x'), scene.name('b')),
            (called(first), called(second)),
            "{comm}"
        );
    }
}

#[test]
fn whom_somebody_else_no_longer_awaits_is_still_awaited_by_us() {
    let mut scene = Scene::new();
    scene.begin('a', UID, "nginx");
    scene.look(100, false);
    Arc::make_mut(&mut scene.identity).awaited = Default::default();
    scene.look(101, false);
    assert_eq!((scene.name('a'), scene.pod(UID)), (None, None));
}

#[test]
fn no_look_is_asked_for_who_has_ended_and_one_for_each_who_comes_later() {
    let mut scene = Scene::new();
    scene.silent = true;
    scene.begin('a', UID, "x");
    scene.look(100, false);
    scene.end('a');
    scene.look(106, false);
    assert!(!scene.nudged, "it is no longer there");
    scene.begin('b', "b-b", "x");
    scene.look(110, false);
    scene.look(115, false);
    assert!(scene.nudged);
    scene.end('b');
    scene.begin('c', "c-c", "x");
    scene.look(118, false);
    scene.look(123, false);
    assert!(!scene.nudged, "not yet");
    scene.look(125, false);
    assert!(scene.nudged, "as soon as it may be, for another one");
}

#[test]
fn where_all_room_is_taken_by_those_who_ended_they_leave_for_who_lives() {
    let mut scene = Scene::new();
    let cgroups = &mut Arc::make_mut(&mut scene.identity).cgroups;
    for number in 0..16_384_u64 {
        let owner = owner_of(&format!("/kubepods/burstable/podu/{number:064x}"));
        cgroups.insert(CgroupId(number), Arc::new(owner));
    }
    scene.look(100, false);
    Arc::make_mut(&mut scene.identity).cgroups.clear();
    scene.begin('a', UID, "nginx");
    let unremembered = |scene: &Scene| {
        let mut tallies = crate::resolver::Tallies::default();
        scene.naming.count(&mut tallies);
        let tallies = tallies.into_inner();
        let tally = tallies
            .iter()
            .find(|tally| tally.what == "containers not remembered");
        tally.map(|tally| tally.count)
    };
    scene.known.state = State::Asking;
    scene.look(101, false);
    assert_eq!(unremembered(&scene), Some(1));
    scene.look(102, true);
    assert_eq!((unremembered(&scene), scene.name('a')), (Some(0), None));
}
