// SPDX-License-Identifier: Apache-2.0
//! Quotas over a tree of cgroups: who has one, who speaks for whom, when it is read.

use super::*;
use crate::cgroup::{CgroupMount, owner_of};
use attribution::model::{CgroupId, PodFacts};
use std::fs;

const POD: &str = "11111111-2222-3333-4444-555555555555";

fn id(number: u64) -> String {
    format!("{number:064x}")
}

/// Containers of Docker and of a pod in a unified hierarchy, and a clock in seconds.
struct Node {
    dir: tempfile::TempDir,
    quotas: Quotas,
    identity: Arc<Identity>,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = CgroupMount {
            point: dir.path().to_owned(),
            root: "/".to_owned(),
        };
        let mounts = CgroupMounts {
            unified: Some(mount),
            ..CgroupMounts::default()
        };
        Self {
            dir,
            quotas: Quotas::new(mounts),
            identity: Arc::default(),
        }
    }

    /// A container's own cgroup, with a process in a cgroup below it.
    fn container(&mut self, number: u64, in_pod: bool) {
        let root = root(number, in_pod);
        let below = format!("{root}/init.scope");
        Arc::make_mut(&mut self.identity)
            .cgroups
            .insert(CgroupId(number), Arc::new(owner_of(&below)));
    }

    fn set(&self, number: u64, in_pod: bool, cpu_max: &str, memory_max: &str) {
        let folder = self.dir.path().join(&root(number, in_pod)[1..]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cpu.max"), cpu_max).unwrap();
        fs::write(folder.join("memory.max"), memory_max).unwrap();
    }

    fn look(&mut self, at: u64) {
        let at = Duration::from_secs(at);
        self.quotas.name(&Usage::default(), &mut self.identity, at);
    }

    fn reserved(&self, number: u64) -> Option<(u64, u64)> {
        let tenant = Tenant::Container(ContainerId::new(&id(number)));
        let found = self.identity.reserved.get(&tenant)?;
        Some((found.millicpus, found.memory))
    }

    fn told(&mut self, qos: &str) {
        let facts = PodFacts {
            qos: qos.to_owned(),
            ..PodFacts::default()
        };
        Arc::make_mut(&mut self.identity)
            .pods
            .insert(PodUid::new(POD), Arc::new(facts));
    }

    fn give(&mut self, tenant: Tenant, millicpus: u64) {
        let reserved = Reservation { millicpus, memory: 0 };
        Arc::make_mut(&mut self.identity)
            .reserved
            .insert(tenant, reserved);
    }
}

fn root(number: u64, in_pod: bool) -> String {
    if in_pod {
        format!("/kubepods/burstable/pod{POD}/{}", id(number))
    } else {
        format!("/docker/{}", id(number))
    }
}

#[test]
fn a_container_has_reserved_its_quota_and_one_without_has_not() {
    let mut node = Node::new();
    node.set(1, false, "50000 100000\n", "67108864\n");
    node.set(2, false, "max 100000\n", "max\n");
    (1..=3).for_each(|number| node.container(number, false));
    node.look(0);
    assert_eq!(node.reserved(1), Some((500, 67_108_864)));
    assert_eq!((node.reserved(2), node.reserved(3)), (None, None));
}

#[test]
fn a_quota_that_changed_is_known_within_a_minute_and_a_steady_call_changes_and_reads_nothing() {
    let mut node = Node::new();
    node.set(1, false, "50000 100000\n", "max\n");
    node.container(1, false);
    node.look(100);
    let before = Arc::clone(&node.identity);
    node.set(1, false, "200000 100000\n", "max\n");
    node.look(140);
    assert!(Arc::ptr_eq(&before, &node.identity));
    node.look(160);
    assert_eq!(node.reserved(1), Some((2_000, 0)));
    let before = Arc::clone(&node.identity);
    node.look(220);
    assert!(Arc::ptr_eq(&before, &node.identity), "read again, and still so");
    node.set(1, false, "max 100000\n", "max\n");
    node.look(280);
    assert_eq!(node.reserved(1), Some((0, 0)));
}

#[test]
fn who_has_left_has_reserved_nothing() {
    let mut node = Node::new();
    node.set(1, false, "50000 100000\n", "max\n");
    node.container(1, false);
    node.look(0);
    assert!(node.reserved(1).is_some());
    Arc::make_mut(&mut node.identity).cgroups.clear();
    node.look(1);
    assert_eq!((node.reserved(1), node.quotas.known.len()), (None, 0));
}

#[test]
fn in_a_pod_of_which_kubernetes_told_its_requests_count_and_not_a_quota() {
    //             quota    Kubernetes
    // 1           0.5      nothing yet, then a request of 2, then gone
    // 2           0.5      knows the pod when the container comes
    let mut node = Node::new();
    let tenant = || Tenant::Container(ContainerId::new(&id(1)));
    node.set(1, true, "50000 100000\n", "max\n");
    node.set(2, true, "50000 100000\n", "max\n");
    node.container(1, true);
    // A name alone may be from a runtime's own files.
    node.told("");
    node.look(0);
    assert_eq!(node.reserved(1), Some((500, 0)));
    node.told("Burstable");
    node.give(tenant(), 2_000);
    node.container(2, true);
    node.set(1, true, "70000 100000\n", "max\n");
    for at in [1, 70, 140] {
        node.look(at);
        assert_eq!(
            (node.reserved(1), node.reserved(2)),
            (Some((2_000, 0)), None),
            "{at}"
        );
    }
    Arc::make_mut(&mut node.identity).cgroups.clear();
    node.look(150);
    assert_eq!(node.reserved(1), None);
}

#[test]
fn a_machine_whose_size_is_known_speaks_for_its_container() {
    let mut node = Node::new();
    node.set(1, false, "50000 100000\n", "max\n");
    node.container(1, false);
    node.look(0);
    assert_eq!(node.reserved(1), Some((500, 0)));
    let owner = CgroupOwner {
        vm: Some(VmId::new("web")),
        ..owner_of(&root(1, false))
    };
    Arc::make_mut(&mut node.identity)
        .cgroups
        .insert(CgroupId(99), Arc::new(owner));
    node.look(1);
    assert_eq!(node.reserved(1), Some((500, 0)), "its size is not known");
    node.give(Tenant::Vm(VmId::new("web")), 4_000);
    for at in [2, 70] {
        node.look(at);
        assert_eq!(node.reserved(1), None, "{at}");
    }
}

#[test]
fn looks_of_one_call_are_bounded_and_their_repetition_is_spread() {
    let mut node = Node::new();
    for number in 0..100 {
        node.set(number, false, "50000 100000\n", "max\n");
        node.container(number, false);
    }
    node.look(0);
    assert_eq!(node.identity.reserved.len(), LOOKS);
    node.look(1);
    assert_eq!(node.identity.reserved.len(), 100);
    let mut dues: Vec<u128> = node
        .quotas
        .known
        .values()
        .map(|known| known.due.as_millis())
        .collect();
    dues.sort_unstable();
    assert!(dues[0] >= 45_000 && dues[99] <= 61_000, "{dues:?}");
    dues.dedup();
    assert!(dues.len() >= 64, "{}", dues.len());
}
