// SPDX-License-Identifier: Apache-2.0
//! Virtual machines: what their processes did, once on their own level and never on that of units, also when it is found
//! out late.

use super::*;
use crate::model::snapshot::GroupRow;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

impl Node {
    /// The process is this machine, with what else its cgroup says.
    fn machine(&mut self, tgid: u32, cgroup: u64, vm: &str, name: &str) {
        let base = self
            .owners
            .cgroups
            .get(&CgroupId(cgroup))
            .cloned()
            .unwrap_or_default();
        let task = TaskKey {
            tgid,
            start_ticks: self.starts.get(&tgid).copied().unwrap_or(0),
        };
        let owner = CgroupOwner {
            vm: Some(VmId::new(vm)),
            ..CgroupOwner::clone(&base)
        };
        self.owners.tasks.insert(task, Arc::new(owner));
        let facts = VmFacts {
            name: name.to_owned(),
            hypervisor: "qemu",
        };
        self.owners.vms.insert(VmId::new(vm), Arc::new(facts));
    }
}

fn vm<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a GroupRow<VmId>> {
    snapshot.vms.iter().find(|row| row.key == VmId::new(id))
}

fn vm_energy(snapshot: &Snapshot, id: &str) -> Vec<u64> {
    vm(snapshot, id)
        .map(|row| dynamic(&row.ledger))
        .unwrap_or_default()
}

fn name<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a str> {
    let facts = vm(snapshot, id)?.names.vm.as_ref()?;
    Some(facts.name.as_str())
}

fn unit(snapshot: &Snapshot, name: &str) -> Vec<u64> {
    let row = snapshot.units.iter().find(|row| row.key.unit == name);
    row.map(|row| dynamic(&row.ledger)).unwrap_or_default()
}

#[test]
fn a_machine_is_the_sum_of_its_processes_and_on_no_other_level_twice() {
    //                     cgroup              ran     pays
    // 1 qemu, main        ssh.service (12)   100 ms  1000 ┐
    // 1 qemu, a vCPU      its own (21)       200 ms  2000 ┤ web 4000
    // 2 a helper of it    ssh.service (12)   100 ms  1000 ┘
    // 3 sshd              ssh.service (12)   100 ms  1000   unit ssh.service
    // 4                   container a (10)   300 ms  3000   container a
    let mut node = Node::new(settings());
    node.machine(1, 12, "6f1c", "web");
    node.machine(2, 12, "6f1c", "web");
    node.window();
    for (tgid, cgroup, time) in [
        (1, 12, 100),
        (1, 21, 200),
        (2, 12, 100),
        (3, 12, 100),
        (4, 10, 300),
    ] {
        node.run(tgid, cgroup, 0, time * MS);
    }
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert_eq!(vm_energy(&snapshot, "6f1c"), [4_000]);
    assert_eq!(
        vm(&snapshot, "6f1c").map(|row| row.ledger.cpu.as_nanos()),
        Some(400 * MS)
    );
    assert_eq!(name(&snapshot, "6f1c"), Some("web"));
    assert_eq!(dynamic(&unit_total(&snapshot)), [1_000]);
    assert_eq!(dynamic(container(&snapshot, "a")), [3_000]);
    // On the container level it is outside of every container.
    assert_eq!(dynamic(container(&snapshot, "system")), [5_000]);
    let ours = snapshot.processes.iter().filter(|row| {
        let owner = row.owner.as_ref();
        owner.is_some_and(|owner| owner.vm.is_some())
    });
    assert_eq!(dynamic(&sum(ours.map(|row| &row.ledger))), [4_000]);
}

#[test]
fn a_machine_in_a_pod_is_on_three_levels() {
    let mut node = Node::new(settings());
    node.machine(1, 11, "6f1c", "vmi-test");
    node.window();
    node.run(1, 11, 0, 300 * MS);
    node.run(2, 11, 0, 100 * MS); // virt-launcher beside it
    node.spend(0, 4_000);
    let snapshot = node.window();
    assert_eq!(vm_energy(&snapshot, "6f1c"), [3_000]);
    assert_eq!(dynamic(container(&snapshot, "b")), [4_000]);
    let [pods, containers] = pod_totals(&snapshot);
    assert_eq!((dynamic(&pods), dynamic(&containers)), (vec![4_000], vec![4_000]));
    assert_eq!(dynamic(&unit_total(&snapshot)), [0_u64; 0]);
    let owner = vm(&snapshot, "6f1c").and_then(|row| row.owner.as_ref());
    assert!(owner.is_some_and(|owner| owner.container.is_some() && owner.pod.is_some()));
}

#[test]
fn a_machine_that_is_found_late_leaves_its_unit_what_that_has_paid() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 12, 0, 100 * MS);
    node.spend(0, 1_000);
    let before = node.window();
    assert_eq!(unit(&before, "ssh.service"), [1_000]);
    assert_eq!(vm_energy(&before, "6f1c"), [0_u64; 0]);
    node.machine(1, 12, "6f1c", "web");
    node.run(1, 12, 0, 100 * MS);
    node.spend(0, 500);
    let after = node.window();
    assert_eq!(unit(&after, "ssh.service"), [1_000]);
    assert_eq!(vm_energy(&after, "6f1c"), [500]);
    assert_eq!(dynamic(container(&after, "system")), [1_500]);
}

#[test]
fn an_ended_machine_keeps_its_total_and_its_name_for_a_while_and_goes_on_when_it_comes_back() {
    let mut node = Node::new(settings());
    node.machine(1, 12, "6f1c", "web");
    node.window();
    node.run(1, 12, 0, 100 * MS);
    node.end(1);
    node.spend(0, 1_000);
    node.window();
    // The resolver knows nothing of it any more.
    node.owners.tasks.clear();
    node.owners.vms.clear();
    let ended = node.window();
    assert_eq!(vm(&ended, "6f1c").map(|row| row.ended), Some(true));
    assert_eq!(
        (vm_energy(&ended, "6f1c"), name(&ended, "6f1c")),
        (vec![1_000], Some("web"))
    );
    node.tick += 170;
    assert_eq!(vm_energy(&node.window(), "6f1c"), [1_000]);
    node.tick += 30;
    let gone = node.window();
    assert!(gone.vms.is_empty());
    assert_eq!(dynamic(&gone.retired.vms), [1_000]);
    node.machine(2, 12, "6f1c", "web");
    node.run(2, 12, 0, 100 * MS);
    node.spend(0, 300);
    let back = node.window();
    assert_eq!(
        (vm_energy(&back, "6f1c"), name(&back, "6f1c")),
        (vec![1_300], Some("web"))
    );
    assert_eq!(dynamic(&back.retired.vms), [0]);
}

#[test]
fn a_kernel_thread_is_the_kernels_and_its_machines_and_nobody_elses() {
    let mut node = Node::new(settings());
    // vhost-1 before Linux 6.4; cgroup 1 holds kernel threads in this harness.
    node.machine(1, 12, "6f1c", "web");
    node.machine(9, 1, "6f1c", "web");
    node.window();
    node.run(1, 12, 0, 100 * MS);
    node.run(9, 1, 0, 100 * MS);
    node.spend(0, 2_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "kernel")), [1_000]);
    assert_eq!(dynamic(container(&snapshot, "system")), [1_000]);
    assert_eq!(vm_energy(&snapshot, "6f1c"), [2_000]);
    assert_eq!(dynamic(&unit_total(&snapshot)), [0_u64; 0]);
    let owner = vm(&snapshot, "6f1c").and_then(|row| row.owner.clone()).unwrap();
    assert_eq!(
        owner.unit.as_deref(),
        Some("ssh.service"),
        "the hypervisor's, not its worker's"
    );
}

#[test]
fn a_kernel_thread_in_a_machines_cgroup_or_a_container_is_the_kernels_alone() {
    let mut node = Node::new(settings());
    let of_vm = CgroupOwner {
        vm: Some(VmId::new("6f1c")),
        ..CgroupOwner::default()
    };
    node.owners.cgroups.insert(CgroupId(1), Arc::new(of_vm.clone()));
    let in_pod = CgroupOwner {
        vm: of_vm.vm,
        ..CgroupOwner::clone(&owner("/kubepods/podp/b", Some("b"), Some("p")))
    };
    let task = TaskKey {
        tgid: 9,
        start_ticks: 0,
    };
    node.owners.tasks.insert(task, Arc::new(in_pod));
    node.window();
    node.run(8, 1, 0, 100 * MS);
    node.run(9, 1, 0, 100 * MS);
    node.spend(0, 2_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "kernel")), [2_000]);
    assert!(snapshot.vms.is_empty() && snapshot.pods.is_empty() && snapshot.units.is_empty());
}

/// What the host's user processes outside of containers paid: units and machines, and nothing in both.
fn covers_the_host(snapshot: &Snapshot) {
    let vms = snapshot.vms.iter().map(|row| &row.ledger);
    let machines = sum(vms.chain([&snapshot.retired.vms]));
    let mut parts = unit_total(snapshot);
    parts.absorb(&machines);
    let host = snapshot
        .containers
        .iter()
        .filter(|row| row.key == ContainerKey::System);
    // Where nobody of the host is left, its row retires like any other; no container ever ends here.
    let host = sum(host.map(|row| &row.ledger).chain([&snapshot.retired.containers]));
    assert_eq!(parts.cpu, host.cpu);
    let zones = |ledger: &Ledger| {
        let mut zones = dynamic(ledger);
        zones.resize(4, 0);
        zones
    };
    assert_eq!(zones(&parts), zones(&host));
}

#[test]
fn what_the_host_paid_is_covered_when_its_row_has_retired() {
    let mut node = Node::new(settings());
    node.window();
    node.run(2, 12, 0, MS);
    node.spend(0, 500);
    covers_the_host(&node.window());
    node.end(2);
    node.window();
    node.window();
    node.tick += 200;
    let snapshot = node.window();
    covers_the_host(&snapshot);
    assert!(
        snapshot
            .containers
            .iter()
            .all(|row| row.key != ContainerKey::System)
    );
    assert_eq!(
        dynamic(&snapshot.retired.containers),
        dynamic(&unit_total(&snapshot))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn units_and_machines_cover_the_host_and_no_machine_falls(
        steps in prop::collection::vec(
            (
                prop::collection::vec((1..6_u32, prop_oneof![Just(12_u64), Just(21), Just(10)], 0..2_u16, 0..500_u64), 0..5),
                prop::collection::vec((0..4_usize, 0..50_000_u64), 0..3),
                prop::option::of((1..6_u32, 0..3_u32)),
                prop::option::weighted(0.2, 1..6_u32),
                prop_oneof![9 => Just(0_u64), 1 => 0..400_u64],
            ),
            1..30,
        ),
    ) {
        let mut node = Node::new(settings());
        node.window();
        let mut before: BTreeMap<VmId, (CpuNanos, Vec<u64>)> = BTreeMap::new();
        for (runs, spends, found, end, pause) in steps {
            for (tgid, cgroup, socket, time) in runs {
                // Those in the container stay there: a machine in one is on its level as well.
                let (tgid, cgroup) = if cgroup == 10 { (tgid + 100, 10) } else { (tgid, cgroup) };
                node.run(tgid, cgroup, socket, time * MS);
            }
            spends.into_iter().for_each(|(zone, energy)| node.spend(zone, energy));
            // Found at any moment of its life, and perhaps under another id than before.
            if let Some((tgid, vm)) = found {
                node.machine(tgid, 12, &format!("vm-{vm}"), "web");
            }
            end.into_iter().for_each(|tgid| node.end(tgid));
            node.tick += pause;
            let snapshot = node.window();
            covers_the_host(&snapshot);
            for row in &snapshot.vms {
                let now = (row.ledger.cpu, dynamic(&row.ledger));
                if let Some((cpu, energy)) = before.insert(row.key.clone(), now.clone()) {
                    prop_assert!(cpu <= now.0);
                    prop_assert!(energy.iter().zip(&now.1).all(|(then, now)| then <= now));
                }
            }
        }
    }
}

#[test]
fn sleepers_of_one_machine_that_are_in_other_rows_pay_each_in_its_own() {
    let mut node = Node::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(1_000_000))]),
        processes_max: 0,
        ..settings()
    });
    node.machine(1, 12, "6f1c", "web");
    node.machine(9, 1, "6f1c", "web");
    node.reserve(Tenant::Vm(VmId::new("6f1c")), 4_000, 0);
    node.run(1, 12, 0, MS);
    node.run(9, 1, 0, MS);
    node.window();
    // Both sleep. Half of the node is the machine's.
    node.spend(0, 2_000);
    let snapshot = node.window();
    let paid = ["kernel", "system"].map(|id| idle(container(&snapshot, id)));
    assert_eq!(paid, [[500], [500]]);
}
