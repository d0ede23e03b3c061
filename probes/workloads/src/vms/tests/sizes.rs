// SPDX-License-Identifier: Apache-2.0
//! How large machines are: what libvirt says, what command lines say, and how long it is known.

use super::*;
use attribution::model::{Reservation, Tenant};

const MIB: u64 = 1 << 20;

fn reserved(identity: &Identity, id: &str) -> Option<(u64, u64)> {
    let found = identity.reserved.get(&Tenant::Vm(VmId::new(id)))?;
    let Reservation { millicpus, memory } = found;
    Some((*millicpus, *memory))
}

#[test]
fn a_machine_has_reserved_its_cpus_and_its_memory_while_it_is_there() {
    let node = Node::new();
    let machine = node.process(7, &format!("{} -smp 4", qemu(UUID, "web")), "/");
    let shell = node.process(8, "/bin/sh", "/");
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[machine, shell]), SECOND * 200);
    assert_eq!(reserved(&identity, UUID), Some((4_000, 64 * MIB)));
    assert_eq!(identity.reserved.len(), 1);
    let identity = resolver.resolve(&usage(&[shell]), SECOND * 201);
    assert_eq!(identity.reserved.len(), 0);
}

#[test]
fn libvirt_knows_better_than_the_command_line() {
    //                                               CPUs   memory
    // the command line                               4      64 MiB
    // libvirt                                        2       3 GiB
    let node = Node::new();
    let state = format!(
        "<domstatus pid='7'><domain type='kvm'><name>web</name><uuid>{UUID}</uuid>\
         <memory unit='KiB'>4194304</memory><currentMemory unit='GiB'>3</currentMemory>\
         <vcpu placement='static' current='2'>8</vcpu></domain></domstatus>"
    );
    fs::write(node.path("libvirt/qemu/web.xml"), state).unwrap();
    let machine = node.process(7, &format!("{} -smp 4", qemu(UUID, "web")), "/");
    let identity = node.resolver().resolve(&usage(&[machine]), SECOND * 200);
    assert_eq!(reserved(&identity, UUID), Some((2_000, 3_072 * MIB)));
}

#[test]
fn a_machine_that_is_only_a_cgroup_is_as_large_as_libvirt_says() {
    let node = Node::new();
    let state = format!("<domain><name>web</name><uuid>{UUID}</uuid><vcpu>3</vcpu></domain>");
    fs::write(node.path("libvirt/qemu/web.xml"), state).unwrap();
    let scope = r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/vcpu0";
    let hidden = node.process(7, "/usr/bin/emulator", scope);
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[hidden]), SECOND * 200);
    let identity = resolver.resolve(&usage(&[hidden]), SECOND * 211);
    assert_eq!(reserved(&identity, UUID), Some((3_000, 0)));
}

#[test]
fn of_domains_of_xen_and_of_machines_told_over_a_socket_nothing_is_known() {
    let node = Node::new();
    let rows = [
        node.process(
            7,
            "/usr/lib/xen/bin/qemu-system-i386 -xen-domid 5 -name web -m 512",
            "/",
        ),
        node.process(8, "/usr/bin/firecracker --id a --api-sock a.sock", "/"),
        node.process(9, "/usr/bin/VBoxHeadless --comment web --startvm web", "/"),
    ];
    let identity = node.resolver().resolve(&usage(&rows), SECOND * 200);
    assert_eq!((identity.vms.len(), identity.reserved.len()), (3, 0));
}

#[test]
fn sizes_in_a_state_are_those_of_the_domain_alone() {
    // Devices and cells have sizes, too; what is no number is none.
    let sizes = |text: &str| {
        let size = domain_of(text.as_bytes()).unwrap().size();
        (size.vcpus, size.memory)
    };
    let cells = "<domain><devices><memory model='dimm'><target><size unit='KiB'>1</size></target></memory></devices>\
                 <cpu><numa><cell memory='1'/></numa></cpu><vcpu>2</vcpu></domain>";
    assert_eq!(sizes(cells), (Some(2), None));
    assert_eq!(
        sizes("<domain><vcpu current='x'>2</vcpu><memory unit='pages'>5</memory></domain>"),
        (None, None)
    );
    assert_eq!(
        sizes("<domain><vcpu>99999999</vcpu><memory>18446744073709551615</memory></domain>"),
        (None, None)
    );
    assert_eq!(sizes("<domain><memory>1024</memory></domain>"), (None, Some(MIB)));
}
