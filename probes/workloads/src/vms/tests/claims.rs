// SPDX-License-Identifier: Apache-2.0
//! Whoever may start a process or make a cgroup may call it what they like: no machine's energy, id or size is theirs for it.

use super::*;

const SCOPE: &str = r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator";
const LOGIN: &str = "/user.slice/user-1000.slice/session-1.scope";

/// A user's process that says what the machine `web` says, and that it is larger.
fn says_the_same(node: &Node, pid: u32, path: &str) -> TaskUsage {
    let line = format!("{} -smp 4096", qemu(UUID, "web"));
    let row = node.process(pid, &line, path);
    node.runs_as(pid, 1_000);
    row
}

fn vms<const N: usize>(identity: &Identity, rows: [TaskUsage; N]) -> [String; N] {
    rows.map(|row| vm_of(identity, &row).unwrap())
}

#[test]
fn whoever_says_what_a_living_machine_says_is_another_one_for_it() {
    let node = Node::new();
    let machine = node.process(8, &qemu(UUID, "web"), SCOPE);
    let liar = says_the_same(&node, 7, LOGIN);
    let identity = node.resolver().resolve(&usage(&[liar, machine]), SECOND * 200);
    assert_eq!(vms(&identity, [machine, liar]), [UUID, "7-10000"]);
    let size = |id: &str| identity.reserved.get(&Tenant::Vm(VmId::new(id))).copied();
    assert_eq!(
        size(UUID).map(|size| size.millicpus),
        Some(1_000),
        "and not 4,096 of them"
    );
    // The same user, name and container: QEMU that forks to become a daemon.
    let copy = node.process(9, &qemu(UUID, "web"), "/system.slice/libvirtd.service");
    let identity = node
        .resolver()
        .resolve(&usage(&[liar, machine, copy]), SECOND * 200);
    assert_eq!(vms(&identity, [machine, copy, liar]), [UUID, UUID, "7-10000"]);
    // Nobody vouches for either: whoever began first has it.
    let other = node.process(6, &qemu(OTHER, "own"), "/a.service");
    let same = node.process(5, &qemu(OTHER, "own"), "/b.service");
    node.runs_as(5, 1_001);
    let identity = node.resolver().resolve(&usage(&[other, same]), SECOND * 200);
    assert_eq!(vms(&identity, [same, other]), [OTHER, "6-10000"]);
    // Whose process it is cannot be seen: it is nobody's copy.
    fs::remove_file(node.path("proc/6/status")).unwrap();
    fs::remove_file(node.path("proc/5/status")).unwrap();
    let identity = node.resolver().resolve(&usage(&[other, same]), SECOND * 200);
    assert_eq!(vms(&identity, [same, other]), [OTHER, "6-10000"]);
}

#[test]
fn a_machine_that_the_host_vouches_for_takes_its_id_from_whoever_only_claims_it() {
    let node = Node::new();
    let liar = says_the_same(&node, 7, LOGIN);
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[liar]), SECOND * 200);
    assert_eq!(vms(&identity, [liar]), [UUID], "nobody else has it");
    let machine = node.process(8, &qemu(UUID, "web"), SCOPE);
    let identity = resolver.resolve(&usage(&[liar, machine]), SECOND * 201);
    assert_eq!(vms(&identity, [machine, liar]), [UUID, "7-10000"]);
    assert_eq!(facts(&identity, UUID), Some(("web", "qemu")));
    let again = resolver.resolve(&usage(&[liar, machine]), SECOND * 202);
    assert!(Arc::ptr_eq(&identity, &again), "and that is that");
    // It dies, and nobody has its id before it was paid.
    let ended = TaskUsage {
        ended: true,
        ..machine
    };
    let second = says_the_same(&node, 9, "/b.service");
    let identity = resolver.resolve(&usage(&[liar, ended, second]), SECOND * 203);
    assert_eq!(
        vms(&identity, [ended, liar, second]),
        [UUID, "7-10000", "9-10000"]
    );
}

#[test]
fn a_machine_that_libvirt_tells_of_late_takes_its_id_then() {
    let node = Node::new();
    let liar = says_the_same(&node, 7, LOGIN);
    let machine = node.process(4_711, &qemu(UUID, "instance-0000012a"), "/a.service");
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[liar, machine]), SECOND * 100);
    assert_eq!(vms(&identity, [liar, machine]), [UUID, "4711-10000"]);
    fs::write(node.path("libvirt/qemu/instance-0000012a.xml"), STATE).unwrap();
    let identity = resolver.resolve(&usage(&[liar, machine]), SECOND * 101);
    assert_eq!(vms(&identity, [machine, liar]), [UUID, "7-10000"]);
    assert_eq!(
        identity.vms.len(),
        2,
        "nothing is left of the id that it had to take"
    );
    // What libvirt says of one process, it says of no other.
    assert_eq!(facts(&identity, UUID), Some(("shop & store <1>", "qemu")));
}

#[test]
fn a_daemon_with_a_cgroup_namespace_of_its_own_knows_the_hosts_machines_by_the_tree() {
    let node = Node::new();
    let liar = says_the_same(&node, 7, LOGIN);
    let machine = node.process(8, &qemu(UUID, "web"), SCOPE);
    // As the kernel shows it to whoever is in another namespace.
    fs::write(node.path("proc/8/cgroup"), format!("0::/../../..{SCOPE}\n")).unwrap();
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[liar]), SECOND * 200);
    let identity = resolver.resolve(&usage(&[liar, machine]), SECOND * 201);
    assert_eq!(vms(&identity, [machine, liar]), [UUID, "7-10000"]);
}

#[test]
fn whoever_runs_as_the_hypervisors_user_in_another_machines_cgroup_is_none_of_the_others() {
    let node = Node::new();
    let machine = node.process(7, &qemu(UUID, "web"), SCOPE);
    let other = r"/machine.slice/machine-qemu\x2d2\x2devil.scope/libvirt/emulator";
    let inside = node.process(8, &qemu(UUID, "web"), other);
    let identity = node.resolver().resolve(&usage(&[machine, inside]), SECOND * 200);
    let [first, second] = vms(&identity, [machine, inside]);
    assert_eq!(first, UUID);
    assert_ne!(second, UUID);
    let nobody = TaskUsage { task: None, ..inside };
    assert_ne!(
        vm_of(&identity, &nobody).as_deref(),
        Some(UUID),
        "nor is its cgroup"
    );
}

#[test]
fn only_the_host_makes_cgroups_of_machines_at_the_top() {
    let scope = |path: &str| scope_of(path).map(|scope| scope.is_the_hosts());
    for path in [
        SCOPE,
        "/machine/qemu-3-web.libvirt-qemu/emulator",
        "/machine/production.partition/qemu-3-web.libvirt-qemu",
        r"/machine.slice/machine-production.slice/machine-qemu\x2d1\x2dweb.scope",
        "/qemu.slice/100.scope",
    ] {
        assert_eq!(scope(path), Some(true), "{path}");
    }
    for path in [
        r"/user.slice/user-1000.slice/user@1000.service/machine-qemu\x2d1\x2dweb.scope",
        r"/machine.slice/machine-guest.scope/payload/machine-qemu\x2d1\x2dweb.scope",
        "/docker/1/machine/qemu-3-web.libvirt-qemu",
        "/qemu-3-web.libvirt-qemu",
        "/kubepods/pod1/qemu.slice/100.scope",
    ] {
        assert_eq!(scope(path), Some(false), "{path}");
    }
}

#[test]
fn a_cgroup_of_anybodys_is_no_machine_that_libvirt_knows_and_none_that_is_still_to_start() {
    let node = Node::new();
    fs::write(node.path("libvirt/qemu/web.xml"), STATE).unwrap();
    let path = r"/user.slice/user-1000.slice/user@1000.service/machine-qemu\x2d1\x2dweb.scope";
    let burner = node.process(7, "/bin/burn", path);
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[burner]), SECOND * 200);
    let identity = resolver.resolve(&usage(&[burner]), SECOND * 211);
    assert_eq!(vms(&identity, [burner]), [path]);
    assert_eq!(facts(&identity, path), Some(("web", "qemu")));
    let machine = node.process(8, "qemu-system-x86_64 -m 64", SCOPE);
    let identity = resolver.resolve(&usage(&[burner, machine]), SECOND * 212);
    assert_eq!(vms(&identity, [burner, machine]), [path, "qemu-1-web"]);
}
