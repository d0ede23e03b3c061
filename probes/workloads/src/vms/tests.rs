// SPDX-License-Identifier: Apache-2.0
//! Command lines and cgroups as they were seen, and the whole thing over fixture trees behind the resolver.

mod claims;
mod sizes;

use super::command::{Command, Program, arguments, base_name};
use super::libvirt::{Domain, parse as domain_of};
use super::*;
use crate::{Resolver, Roots};
use attribution::model::{ContainerId, CpuNanos, EventCounts, PackageId, PodUid, Tenant};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

const UUID: &str = "6f1c0a52-8e0b-4b1a-9c53-1d2f3a4b5c6d";
const OTHER: &str = "c8f1f7c4-5a9e-4a0b-b6d7-0e9f8a7b6c5d";
const ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const POD: &str = "0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a";
const SECOND: Duration = Duration::from_secs(1);

/// A command line written with single spaces, as the kernel shows it.
fn cmdline(text: &str) -> Vec<u8> {
    let mut bytes = text.replace(' ', "\0").into_bytes();
    bytes.push(0);
    bytes
}

fn command(line: &[u8]) -> Option<Command> {
    let all = arguments(line);
    Program::of(base_name(all.first()?))?.parse(&all[1..])
}

#[test]
fn every_hypervisor_is_known_by_its_command_line() {
    // command line, hypervisor, id, name
    let table = [
        // libvirt 9.0 with QEMU 10, as run for this project.
        (
            format!("/usr/bin/qemu-system-x86_64 -name guest=web-vm,debug-threads=on -S -object {{\"qom-type\":\"secret\",\"id\":\"masterKey0\"}} -machine pc-i440fx-10.0,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel kvm -cpu kvm64,arch-capabilities=off -m size=65536k -smp 2,sockets=2,cores=1,threads=1 -uuid {UUID} -display none -no-user-config -nodefaults"),
            "qemu",
            Some(UUID),
            Some("web-vm"),
        ),
        // OpenStack names domains by number (nova's instance_name_template).
        (
            format!("/usr/bin/qemu-system-aarch64 -name guest=instance-0000012a,debug-threads=on -S -uuid {UUID} -smbios type=1,manufacturer=OpenStack\0Foundation,product=OpenStack\0Nova,uuid={OTHER}"),
            "qemu",
            Some(UUID),
            Some("instance-0000012a"),
        ),
        // KubeVirt on RHEL's QEMU: github.com/kubevirt/kubevirt/issues/6567.
        (
            "/usr/libexec/qemu-kvm -name guest=default_testvm-2,debug-threads=on -S -machine pc-q35-rhel8.4.0,accel=kvm,usb=off -uuid 0e44be5a-ff12-52fb-9413-07b52f3593c3 -smbios type=1,manufacturer=KubeVirt,product=None,uuid=0e44be5a-ff12-52fb-9413-07b52f3593c3,family=KubeVirt".to_owned(),
            "qemu",
            Some("0e44be5a-ff12-52fb-9413-07b52f3593c3"),
            Some("default_testvm-2"),
        ),
        // Proxmox VE: PVE::QemuServer's config_to_command (`-id`, `-name 'NAME,debug-threads=on'`).
        (
            format!("/usr/bin/kvm -id 100 -name web,debug-threads=on -no-shutdown -chardev socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off -mon chardev=qmp,mode=control -pidfile /var/run/qemu-server/100.pid -daemonize -smbios type=1,uuid={UUID} -smp 2"),
            "qemu",
            Some("100"),
            Some("web"),
        ),
        // Kata Containers' virtcontainers (`sandbox-ID`).
        (
            format!("/opt/kata/bin/qemu-system-x86_64 -name sandbox-{ID},debug-threads=on -uuid {UUID} -machine q35,accel=kvm"),
            "qemu",
            Some(UUID),
            Some(concat!("sandbox-", "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90")),
        ),
        // By hand: qemu(1). Upper case, doubled commas, the last one wins, two dashes.
        (
            format!("qemu-system-x86_64 --uuid {} -name first -name a,,b,debug-threads=on disk.img", UUID.to_uppercase()),
            "qemu",
            Some(UUID),
            Some("a,b"),
        ),
        ("qemu-system-x86_64 -m 64 -smbios type=0,vendor=x -hda disk.img".to_owned(), "qemu", None, None),
        // No UUID at all, in two ways to say so.
        ("qemu-system-x86_64 -uuid 00000000-0000-0000-0000-000000000000 -name web".to_owned(), "qemu", None, Some("web")),
        ("qemu-system-x86_64 -smbios type=1,uuid=FFFFFFFF-ffff-ffff-ffff-ffffffffffff".to_owned(), "qemu", None, None),
        ("qemu-system-riscv64 -uuid web -name process=web".to_owned(), "qemu", None, None),
        // The settings that only reach the guest are none of ours.
        (format!("qemu-system-x86_64 -append root=UUID={OTHER} -kernel k"), "qemu", None, None),
        // Xen's toolstack (libxl__build_device_model_args_new) and XCP-ng (github.com/cloudius-systems/osv/issues/345).
        (
            "/usr/lib/xen-4.17/bin/qemu-system-i386 -xen-domid 5 -no-shutdown -chardev socket,id=libxl-cmd,fd=17,server=on,wait=off -name web -vnc none -machine xenfv".to_owned(),
            "xen",
            Some("domid-5"),
            Some("web"),
        ),
        ("qemu-dm-31 -machine pc-0.10,accel=xen -vnc unix:/var/run/xen/vnc-31 -xen-domid 31 -m size=504".to_owned(), "xen", Some("domid-31"), None),
        ("/usr/lib/xen-4.4/bin/qemu-dm -d 7 -domain-name old -vnc 0.0.0.0:0".to_owned(), "xen", Some("domid-7"), Some("old")),
        ("qemu-system-x86_64 -d guest_errors -m 64".to_owned(), "qemu", None, None),
        // Firecracker, jailed (github.com/firecracker-microvm/firecracker/pull/5034) and by hand.
        (
            "/firecracker --id 551e7604-e35c-42b3-b825-416853441234 --start-time-us 49513245 --start-time-cpu-us 3371 --parent-cpu-time-us 4375 --api-sock /run/firecracker.socket".to_owned(),
            "firecracker",
            Some("551e7604-e35c-42b3-b825-416853441234"),
            Some("551e7604-e35c-42b3-b825-416853441234"),
        ),
        ("./firecracker-v1.7.0-x86_64 --api-sock /tmp/fc.socket".to_owned(), "firecracker", None, None),
        ("firecracker --id anonymous-instance --no-api".to_owned(), "firecracker", None, None),
        // cloud-hypervisor: its own documentation, Kata, and libvirt's ch driver (CH_STATE_DIR).
        (
            format!("cloud-hypervisor --kernel hypervisor-fw --disk path=focal.raw --platform num_pci_segments=2,uuid={UUID}"),
            "cloud-hypervisor",
            Some(UUID),
            None,
        ),
        (
            format!("/opt/kata/bin/cloud-hypervisor --api-socket /run/vc/vm/{ID}/clh-api.sock"),
            "cloud-hypervisor",
            Some(ID),
            Some(ID),
        ),
        ("/usr/bin/cloud-hypervisor --api-socket path=/run/libvirt/ch/web-socket".to_owned(), "cloud-hypervisor", None, Some("web")),
        // VirtualBox: started by VBoxSVC, and by hand (VBoxHeadless in its manual).
        (
            format!("/usr/lib/virtualbox/VBoxHeadless --comment web --startvm {UUID} --vrde config"),
            "virtualbox",
            Some(UUID),
            Some("web"),
        ),
        (
            format!("/usr/lib/virtualbox/VirtualBoxVM --comment web --startvm {UUID} --no-startvm-errormsgbox"),
            "virtualbox",
            Some(UUID),
            Some("web"),
        ),
        ("VBoxHeadless -s web".to_owned(), "virtualbox", None, Some("web")),
        // VMware Workstation and Player.
        (
            "/usr/lib/vmware/bin/vmware-vmx -s vmx.stdio.keep=TRUE -# product=1;name=VMware\0Workstation;version=17.0.0 -@ pipe=/tmp/vmware-root/vmx0;msgs=ui /vms/one/web.vmx".to_owned(),
            "vmware",
            Some("/vms/one/web.vmx"),
            Some("web"),
        ),
        ("vmware-vmx /old/a.vmx /vms/b.vmx".to_owned(), "vmware", Some("/vms/b.vmx"), Some("b")),
        ("vmware-vmx-debug web.vmx".to_owned(), "vmware", None, Some("web")),
    ];
    for (line, hypervisor, id, name) in table {
        let found = command(&cmdline(&line)).unwrap_or_default();
        assert_eq!(found.hypervisor, hypervisor, "{line}");
        assert_eq!(found.id.as_deref(), id, "{line}");
        assert_eq!(found.name.as_deref(), name, "{line}");
    }
}

#[test]
fn what_runs_no_machine_is_none() {
    for line in [
        // libvirt asks a QEMU for its abilities at each start of the daemon.
        "/usr/bin/qemu-system-x86_64 -S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg -qmp unix:/q -daemonize",
        "qemu-system-x86_64 -M none",
        "qemu-system-x86_64 --version",
        "qemu-system-x86_64 -machine help",
        // The QEMU that serves domain 0 of Xen itself.
        "/usr/lib/xen-4.17/bin/qemu-system-i386 -xen-domid 0 -xen-attach -name dom0 -nographic -M xenpv -daemonize",
        "qemu-x86_64 ./program",
        "qemu-img convert a b",
        "qemu-nbd --connect=/dev/nbd0 disk",
        "qemu-ga --method=virtio-serial",
        "grep qemu-system-x86_64 -name",
        "sudo qemu-system-x86_64 -name web",
        "kvm",
        "kvm list",
        "/usr/sbin/libvirtd --timeout 120",
        "firecracker-containerd --config /etc/x",
        "firecracker --version",
        "firecracker --snapshot-version",
        "firecracker --describe-snapshot /vm/snapshot",
        "jailer --id web --exec-file /usr/bin/firecracker",
        "cloud-hypervisor --version",
        "ch-remote --api-socket /s info",
        "/usr/lib/virtualbox/VirtualBox",
        "/usr/lib/virtualbox/VBoxSVC --auto-shutdown",
        "/usr/lib/virtualbox/VirtualBoxVM --startvm web --no-startvm-errormsgbox --separate",
        "VBoxManage startvm web",
        "vmware",
        "vmware-vmx",
        "xl create /etc/xen/web.cfg",
        "",
    ] {
        assert_eq!(command(&cmdline(line)), None, "{line}");
    }
}

#[test]
fn the_cgroup_of_a_machine_is_known_in_every_shape() {
    // path, root, machine, name, hypervisor
    let table = [
        (
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope",
            "",
            "qemu-1-web",
            "web",
            "qemu",
        ),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/vcpu0",
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope",
            "qemu-1-web",
            "web",
            "qemu",
        ),
        (
            r"/machine.slice/machine-qemu\x2d12\x2dinstance\x2d0000012a.scope/libvirt/emulator",
            r"/machine.slice/machine-qemu\x2d12\x2dinstance\x2d0000012a.scope",
            "qemu-12-instance-0000012a",
            "instance-0000012a",
            "qemu",
        ),
        (
            r"/machine.slice/machine-qemu\x2dweb.scope",
            "",
            "qemu-web",
            "web",
            "qemu",
        ),
        (
            r"/machine.slice/machine-ch\x2d3\x2dweb.scope",
            "",
            "ch-3-web",
            "web",
            "cloud-hypervisor",
        ),
        (
            "/machine/qemu-3-web-vm.libvirt-qemu",
            "",
            "qemu-3-web-vm",
            "web-vm",
            "qemu",
        ),
        (
            "/machine/qemu-3-web-vm.libvirt-qemu/emulator",
            "/machine/qemu-3-web-vm.libvirt-qemu",
            "qemu-3-web-vm",
            "web-vm",
            "qemu",
        ),
        (
            "/machine/web.libvirt-qemu/vcpu1",
            "/machine/web.libvirt-qemu",
            "web",
            "web",
            "qemu",
        ),
        ("/qemu.slice/100.scope", "", "100", "", "qemu"),
        (
            r"/docker/x/machine.slice/machine-qemu\x2d1\x2dweb.scope",
            "",
            "qemu-1-web",
            "web",
            "qemu",
        ),
    ];
    for (path, root, machine, name, hypervisor) in table {
        let scope = scope_of(path).unwrap();
        let root = if root.is_empty() { path } else { root };
        assert_eq!(
            (
                scope.root,
                scope.machine.as_str(),
                scope.name.as_str(),
                scope.hypervisor
            ),
            (root, machine, name, hypervisor),
            "{path}"
        );
    }
    for path in [
        "/",
        "",
        r"/machine.slice/machine-web.scope",
        r"/machine.slice/machine-lxc\x2d1\x2dweb.scope",
        "/machine/lxc-1-web.libvirt-lxc",
        "/machine/.libvirt-qemu",
        "/system.slice/libvirtd.service",
        "/qemu.slice",
        "/qemu.slice/web.scope",
        "/qemu.slice/.scope",
        "/100.scope",
    ] {
        assert_eq!(scope_of(path), None, "{path}");
    }
}

/// As libvirt 9.0 writes it, in short.
const STATE: &str = "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE. <name>no</name>\n-->\n\
<domstatus state='running' reason='booted' pid='4711'>\n\
  <taint flag='high-privileges'/>\n\
  <monitor path='/var/lib/libvirt/qemu/domain-3-web/monitor.sock' type='unix'/>\n\
  <vcpus>\n    <vcpu id='0' pid='4715'/>\n  </vcpus>\n\
  <qemuCaps>\n    <flag name='hda-duplex'/>\n  </qemuCaps>\n\
  <domain type='kvm' id='3'>\n\
    <name>instance-0000012a</name>\n\
    <uuid>6F1C0A52-8e0b-4b1a-9c53-1d2f3a4b5c6d</uuid>\n\
    <metadata>\n\
      <nova:instance xmlns:nova=\"http://openstack.org/xmlns/libvirt/nova/1.1\">\n\
        <nova:package version=\"25.0.0>1\"/>\n\
        <nova:name>shop &amp; &#x73;tore &lt;1&gt;</nova:name>\n\
        <nova:flavor name=\"m1.small\"><nova:memory>2048</nova:memory></nova:flavor>\n\
        <nova:owner><nova:user uuid=\"1\">admin</nova:user></nova:owner>\n\
      </nova:instance>\n\
    </metadata>\n\
    <memory unit='KiB'>65536</memory>\n\
    <devices><disk><alias><name>not this</name></alias></disk></devices>\n\
  </domain>\n\
</domstatus>\n";

#[test]
fn libvirts_state_says_pid_uuid_name_and_openstacks_name() {
    let expected = Domain {
        pid: Some(4_711),
        uuid: Some(UUID.to_owned()),
        name: Some("instance-0000012a".to_owned()),
        server: Some("shop & store <1>".to_owned()),
        ..Domain::default()
    };
    let whole = Domain {
        most_memory: Some(64 << 20),
        ..expected.clone()
    };
    assert_eq!(domain_of(STATE.as_bytes()), Some(whole));
    // Cut behind what is wanted, as a bound would.
    let cut = STATE.find("<memory").unwrap();
    assert_eq!(domain_of(&STATE.as_bytes()[..cut]), Some(expected));
    let plain = domain_of(b"<domain><name>web</name></domain>").unwrap();
    assert_eq!((plain.name.as_deref(), plain.pid), (Some("web"), None));
}

#[test]
fn what_is_no_state_of_a_domain_says_nothing() {
    for text in [
        "",
        "web",
        "<a></b>",
        "<domstatus pid='1'></domstatus>",
        "</domain>",
        "<domain><name>web</domain>",
    ] {
        assert_eq!(domain_of(text.as_bytes()), None, "{text}");
    }
    let deep = format!("<domain>{}", "<a>".repeat(100));
    assert_eq!(domain_of(deep.as_bytes()), None);
    let odd = "<domain><uuid>web</uuid><name> \n</name><title><name>x</name></title></domain>";
    assert_eq!(domain_of(odd.as_bytes()), Some(Domain::default()));
}

/// A proc tree, a cgroup tree and a tree of libvirt's.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["proc", "cgroup", "libvirt/qemu"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(Roots::in_folder(self.0.path(), true)).with(Box::new(self.names()))
    }

    fn names(&self) -> VmNames {
        VmNames::new(&self.path("proc"), &self.path("libvirt"))
    }

    fn cgroup(&self, path: &str) -> CgroupId {
        let folder = self.path("cgroup").join(path.trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        CgroupId(fs::metadata(folder).unwrap().ino())
    }

    fn runs_as(&self, pid: u32, user: u32) {
        let status = format!("Name:\tsh\nUid:\t{user}\t{user}\t{user}\t{user}\n");
        fs::write(self.path("proc").join(pid.to_string()).join("status"), status).unwrap();
    }

    /// Born at 100 s, in the cgroup at `path`.
    fn process(&self, pid: u32, line: &str, path: &str) -> TaskUsage {
        let folder = self.path("proc").join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let zeros = "0 ".repeat(16);
        let stat = format!("{pid} (sh) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20 0 1 0 10000 {zeros}0 0\n");
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{path}\n")).unwrap();
        self.runs_as(pid, 64_055);
        fs::write(folder.join("cmdline"), cmdline(line)).unwrap();
        let name = base_name(line.split(' ').next().unwrap().as_bytes());
        TaskUsage {
            task: Some(TaskKey {
                tgid: pid,
                start_ticks: 10_000,
            }),
            cgroup: self.cgroup(path),
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(1),
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(name),
            kind: TaskKind::User,
            ended: false,
        }
    }
}

fn usage(rows: &[TaskUsage]) -> Usage {
    Usage {
        tasks: rows.to_vec(),
        ..Usage::default()
    }
}

fn vm_of(identity: &Identity, row: &TaskUsage) -> Option<String> {
    let owner = identity.owner(row.task, row.cgroup)?;
    Some(owner.vm.as_ref()?.as_str().to_owned())
}

fn facts<'a>(identity: &'a Identity, id: &str) -> Option<(&'a str, &'static str)> {
    let facts = identity.vms.get(&VmId::new(id))?;
    Some((facts.name.as_str(), facts.hypervisor))
}

fn qemu(uuid: &str, name: &str) -> String {
    format!("/usr/bin/qemu-system-x86_64 -name guest={name},debug-threads=on -uuid {uuid} -m 64")
}

#[test]
fn a_machine_keeps_what_its_cgroup_says_and_costs_no_file_when_it_is_known() {
    let node = Node::new();
    let machine = node.process(7, &qemu(UUID, "web"), "/system.slice/web.service");
    let shell = node.process(8, "/bin/sh", "/system.slice/web.service");
    let mut resolver = node.resolver();
    let report = usage(&[machine, shell]);
    let identity = resolver.resolve(&report, SECOND * 200);
    let owner = identity.owner(machine.task, machine.cgroup).unwrap();
    assert_eq!(owner.vm, Some(VmId::new(UUID)));
    assert_eq!(
        (owner.path.as_str(), owner.unit.as_deref()),
        ("/system.slice/web.service", Some("web.service"))
    );
    assert_eq!(facts(&identity, UUID), Some(("web", "qemu")));
    assert_eq!(vm_of(&identity, &shell), None);
    fs::remove_dir_all(node.path("proc")).unwrap();
    let again = resolver.resolve(&report, SECOND * 201);
    assert!(Arc::ptr_eq(&identity, &again));
}

#[test]
fn each_process_is_looked_at_a_few_times_and_never_again() {
    let node = Node::new();
    let rows = [
        node.process(7, &qemu(UUID, "web"), "/"),
        node.process(8, "/bin/sh", "/"),
    ];
    let (mut names, mut identity) = (node.names(), Arc::new(Identity::default()));
    for tenths in 1_001..1_300_u32 {
        names.name(&usage(&rows), &mut identity, SECOND * tenths / 10);
    }
    assert_eq!(names.counters().looks, 3 + 1);
    assert_eq!((names.counters().found, names.counters().gone), (1, 0));
}

#[test]
fn only_a_look_that_is_refused_loses_something() {
    let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert_eq!(Seen::from(refused), Seen::Refused);
    for kind in [
        rustix::io::Errno::NOENT,
        rustix::io::Errno::SRCH,
        rustix::io::Errno::IO,
    ] {
        assert_eq!(Seen::from(std::io::Error::from(kind)), Seen::Gone, "{kind}");
    }
}

#[test]
fn a_machine_without_an_id_is_its_process_and_two_of_one_folder_are_two() {
    let node = Node::new();
    let line = "/vms/all/qemu-system-x86_64 -m 64 -hda disk.img";
    let rows = [node.process(7, line, "/"), node.process(8, line, "/")];
    let identity = node.resolver().resolve(&usage(&rows), SECOND * 200);
    assert_eq!(vm_of(&identity, &rows[0]).as_deref(), Some("7-10000"));
    assert_eq!(vm_of(&identity, &rows[1]).as_deref(), Some("8-10000"));
    assert_eq!(facts(&identity, "7-10000"), Some(("", "qemu")));
}

#[test]
fn machines_that_were_given_one_id_are_told_apart_and_copies_of_one_are_not() {
    let node = Node::new();
    // KubeVirt made UUIDs from the name alone: two of one name in two namespaces.
    let [one, two] = [("one", "pod1-1"), ("two", "pod2-2")].map(|(namespace, pod)| {
        let id = if namespace == "one" {
            ID.to_owned()
        } else {
            ID.replace("a1", "b2")
        };
        let pid = if namespace == "one" { 7 } else { 8 };
        node.process(
            pid,
            &qemu(UUID, &format!("{namespace}_web")),
            &format!("/kubepods/{pod}/{id}"),
        )
    });
    // A fork of the first one, as `-daemonize` makes.
    let copy = node.process(9, &qemu(UUID, "one_web"), &format!("/kubepods/pod1-1/{ID}"));
    let identity = node.resolver().resolve(&usage(&[copy, two, one]), SECOND * 200);
    let vms = [one, copy, two].map(|row| vm_of(&identity, &row).unwrap());
    assert_eq!(vms, [UUID, UUID, "8-10000"]);
    assert_eq!(identity.vms.len(), 2);
}

#[test]
fn a_machine_that_starts_again_takes_its_id_from_the_dead_one() {
    let node = Node::new();
    let mut old = node.process(7, &qemu(UUID, "web"), &format!("/docker/{ID}"));
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[old]), SECOND * 200);
    old.ended = true;
    let new = node.process(8, &qemu(UUID, "web"), "/docker2/a.service");
    let identity = resolver.resolve(&usage(&[old, new]), SECOND * 201);
    assert_eq!(vm_of(&identity, &new).as_deref(), Some(UUID));
    assert_eq!(
        vm_of(&identity, &old).as_deref(),
        Some(UUID),
        "and the dead one is paid"
    );
    let identity = resolver.resolve(&usage(&[new]), SECOND * 202);
    assert_eq!(
        (identity.tasks.len(), facts(&identity, UUID)),
        (1, Some(("web", "qemu")))
    );
    let none = resolver.resolve(&usage(&[]), SECOND * 203);
    assert!(none.tasks.is_empty() && none.vms.is_empty());
}

#[test]
fn a_machine_in_a_pod_is_its_containers_and_its_pods_too() {
    let node = Node::new();
    let path = format!("/kubepods/burstable/pod{POD}/{ID}");
    let row = node.process(7, &qemu(UUID, "default_vmi-test"), &path);
    let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
    let owner = identity.owner(row.task, row.cgroup).unwrap();
    assert_eq!(owner.container, Some(ContainerId::new(ID)));
    assert_eq!(owner.pod, Some(PodUid::new(POD)));
    assert_eq!(owner.vm, Some(VmId::new(UUID)));
    assert_eq!(facts(&identity, UUID), Some(("vmi-test", "qemu")));
    // Outside of pods an underscore is a letter, and so it is where Kubernetes has no such name.
    let docker = format!("/docker/{ID}");
    for (name, path) in [
        ("default_web", "/"),
        ("default_web", docker.as_str()),
        ("Default_web", path.as_str()),
    ] {
        let row = node.process(9, &qemu(OTHER, name), path);
        let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
        assert_eq!(facts(&identity, OTHER), Some((name, "qemu")));
    }
}

#[test]
fn threads_in_cgroups_of_their_own_and_helpers_are_of_one_machine() {
    let node = Node::new();
    let root = r"/machine.slice/machine-qemu\x2d1\x2dweb.scope";
    let main = node.process(7, &qemu(UUID, "web"), &format!("{root}/libvirt/emulator"));
    let before = TaskUsage {
        cgroup: node.cgroup("/system.slice/libvirtd.service"),
        ..main
    };
    let vcpu = TaskUsage {
        cgroup: node.cgroup(&format!("{root}/libvirt/vcpu0")),
        ..main
    };
    let other_package = TaskUsage {
        package: PackageId(1),
        ..vcpu
    };
    let helper = node.process(8, "/usr/bin/swtpm socket", &format!("{root}/libvirt/emulator"));
    let nobody = TaskUsage { task: None, ..vcpu };
    let rows = [before, main, vcpu, other_package, helper, nobody];
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&rows), SECOND * 200);
    for row in &rows {
        assert_eq!(vm_of(&identity, row).as_deref(), Some(UUID), "{row:?}");
    }
    let owner = identity.owner(main.task, main.cgroup).unwrap();
    assert_eq!(
        owner.unit.as_deref(),
        Some("machine-qemu-1-web.scope"),
        "and not libvirtd's"
    );
    // A vCPU more, and the hypervisor gone with its helper lingering: nobody becomes another machine.
    let vcpu1 = TaskUsage {
        cgroup: node.cgroup(&format!("{root}/libvirt/vcpu1")),
        ..main
    };
    let identity = resolver.resolve(&usage(&[main, vcpu, vcpu1, helper]), SECOND * 201);
    assert_eq!(
        vm_of(&identity, &TaskUsage { task: None, ..vcpu1 }).as_deref(),
        Some(UUID)
    );
    for second in [202, 300] {
        let identity = resolver.resolve(&usage(&[helper]), SECOND * second);
        assert_eq!(vm_of(&identity, &helper).as_deref(), Some(UUID));
    }
    let none = resolver.resolve(&usage(&[]), SECOND * 301);
    assert!(none.cgroups.is_empty() && none.vms.is_empty());
}

#[test]
fn a_machine_whose_process_does_not_say_so_is_known_by_its_cgroup_after_a_while() {
    let node = Node::new();
    let root = r"/machine.slice/machine-qemu\x2d1\x2dweb.scope";
    let row = node.process(
        7,
        "/opt/own-emulator --guest",
        &format!("{root}/libvirt/emulator"),
    );
    let mut resolver = node.resolver();
    let early = resolver.resolve(&usage(&[row]), SECOND * 200);
    assert_eq!(vm_of(&early, &row), None, "the hypervisor may be about to start");
    let identity = resolver.resolve(&usage(&[row]), SECOND * 211);
    assert_eq!(vm_of(&identity, &row).as_deref(), Some("qemu-1-web"));
    assert_eq!(facts(&identity, "qemu-1-web"), Some(("web", "qemu")));
    assert!(Arc::ptr_eq(
        &identity,
        &resolver.resolve(&usage(&[row]), SECOND * 212)
    ));
    let none = resolver.resolve(&usage(&[]), SECOND * 213);
    assert!(none.vms.is_empty());
}

#[test]
fn libvirt_is_believed_only_about_this_machine() {
    let node = Node::new();
    let state =
        |name: &str, text: &str| fs::write(node.path(&format!("libvirt/qemu/{name}.xml")), text).unwrap();
    state("instance-0000012a", STATE);
    state("other", &STATE.replace("6F1C0A52", "7F1C0A52"));
    state("scoped", &STATE.replace("4711", "9"));
    fs::write(node.path("libvirt/secret.xml"), STATE).unwrap();
    // pid, command line, cgroup -> id, name
    let scope = "/machine/qemu-3-scoped.libvirt-qemu";
    let table = [
        (7, qemu(UUID, "instance-0000012a"), "/", UUID, "shop & store <1>"),
        (8, qemu(OTHER, "other"), "/", OTHER, "other"),
        // No id of its own: libvirt knows the process.
        (
            9,
            "qemu-system-x86_64 -m 64".to_owned(),
            scope,
            UUID,
            "shop & store <1>",
        ),
        (
            10,
            "qemu-system-x86_64 -m 64".to_owned(),
            scope,
            "qemu-3-scoped",
            "scoped",
        ),
        (11, qemu(UUID, "../secret"), "/", UUID, "../secret"),
        (12, qemu(OTHER, "nowhere"), "/", OTHER, "nowhere"),
    ];
    for (pid, line, path, id, name) in table {
        let row = node.process(pid, &line, path);
        let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
        assert_eq!(vm_of(&identity, &row).as_deref(), Some(id), "{line}");
        assert_eq!(facts(&identity, id), Some((name, "qemu")), "{line}");
    }
}

#[test]
fn libvirts_state_may_come_late_and_without_it_nothing_is_missing() {
    let node = Node::new();
    let row = node.process(7, &qemu(UUID, "instance-0000012a"), "/");
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[row]), SECOND * 100);
    assert_eq!(facts(&identity, UUID), Some(("instance-0000012a", "qemu")));
    fs::write(node.path("libvirt/qemu/instance-0000012a.xml"), STATE).unwrap();
    let identity = resolver.resolve(&usage(&[row]), SECOND * 101);
    assert_eq!(facts(&identity, UUID), Some(("shop & store <1>", "qemu")));
}

#[test]
fn a_process_that_becomes_a_hypervisor_by_exec_is_found_however_old_and_one_that_stops_is_let_go() {
    let node = Node::new();
    let shell = node.process(7, "/bin/sh -c x", "/a.service");
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[shell]), SECOND * 500);
    assert_eq!(vm_of(&identity, &shell), None);
    let machine = node.process(7, &qemu(UUID, "web"), "/a.service");
    let identity = resolver.resolve(&usage(&[machine]), SECOND * 501);
    assert_eq!(vm_of(&identity, &machine).as_deref(), Some(UUID));
    // The other way round while it is young: a script of that name.
    let script = node.process(8, &qemu(OTHER, "web"), "/a.service");
    let identity = resolver.resolve(&usage(&[machine, script]), SECOND * 100);
    assert_eq!(vm_of(&identity, &script).as_deref(), Some(OTHER));
    let sleep = node.process(8, "sleep 9", "/a.service");
    let identity = resolver.resolve(&usage(&[machine, sleep]), SECOND * 101);
    assert_eq!(vm_of(&identity, &sleep), None);
    assert_eq!(facts(&identity, OTHER), None);
}

#[test]
fn a_process_that_was_in_the_middle_of_an_exec_is_looked_at_again_whatever_it_is_called() {
    let node = Node::new();
    let row = TaskUsage {
        comm: Comm::from_bytes(b"web"),
        ..node.process(7, &qemu(UUID, "web"), "/")
    };
    let line = fs::read(node.path("proc/7/cmdline")).unwrap();
    fs::write(node.path("proc/7/cmdline"), "").unwrap();
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[row]), SECOND * 100);
    assert_eq!(vm_of(&identity, &row), None);
    fs::write(node.path("proc/7/cmdline"), line).unwrap();
    let identity = resolver.resolve(&usage(&[row]), SECOND * 101);
    assert_eq!(vm_of(&identity, &row).as_deref(), Some(UUID));
}

#[test]
fn a_process_that_hides_its_name_is_known_by_its_file() {
    let node = Node::new();
    let line = format!("web -uuid {UUID}");
    for file in ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm (deleted)"] {
        let row = node.process(7, &line, "/");
        symlink(file, node.path("proc/7/exe")).unwrap();
        let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
        assert_eq!(vm_of(&identity, &row).as_deref(), Some(UUID), "{file}");
        fs::remove_dir_all(node.path("proc/7")).unwrap();
    }
    let mut row = node.process(7, &line, "/");
    row.comm = Comm::from_bytes(b"qemu-system-x86_64");
    let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
    assert_eq!(vm_of(&identity, &row).as_deref(), Some(UUID));
}

#[test]
fn a_script_that_is_called_like_a_hypervisor_is_none() {
    let node = Node::new();
    let mut row = node.process(7, "/bin/sh /usr/bin/kvm -m 64 -name web", "/");
    row.comm = Comm::from_bytes(b"kvm");
    symlink("/usr/bin/dash", node.path("proc/7/exe")).unwrap();
    let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
    assert_eq!(vm_of(&identity, &row), None);
}

#[test]
fn a_cgroup_that_is_called_like_another_machines_is_not_that_machine() {
    let node = Node::new();
    fs::write(node.path("libvirt/qemu/web.xml"), STATE).unwrap();
    let machine = node.process(4_711, &qemu(UUID, "web"), "/machine/qemu-1-web.libvirt-qemu");
    let hidden = node.process(8, "/opt/own-emulator", "/machine/qemu-2-own.libvirt-qemu");
    let inside = |path: &str| format!("/docker/{ID}{path}");
    let likes = [
        node.process(9, "/bin/burn", &inside("/machine/qemu-1-web.libvirt-qemu")),
        node.process(10, "/bin/burn", &inside("/machine/qemu-2-own.libvirt-qemu")),
    ];
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[machine, hidden]), SECOND * 200);
    let first = [machine, hidden];
    resolver.resolve(&usage(&first), SECOND * 211);
    let all = [machine, hidden, likes[0], likes[1]];
    resolver.resolve(&usage(&all), SECOND * 212);
    let identity = resolver.resolve(&usage(&all), SECOND * 230);
    let vms = all.map(|row| vm_of(&identity, &row).unwrap());
    assert_eq!(vms[..2], [UUID.to_owned(), "qemu-2-own".to_owned()]);
    assert_eq!(vms[2], inside("/machine/qemu-1-web.libvirt-qemu"));
    assert_eq!(vms[3], inside("/machine/qemu-2-own.libvirt-qemu"));
}

#[test]
fn a_reused_pid_a_zombie_and_a_kernel_thread_are_no_machine() {
    let node = Node::new();
    let row = node.process(7, &qemu(UUID, "web"), "/");
    let earlier = TaskUsage {
        task: Some(TaskKey {
            tgid: 7,
            start_ticks: 5_000,
        }),
        ..row
    };
    let zombie = node.process(8, &qemu(OTHER, "web"), "/");
    fs::write(node.path("proc/8/cmdline"), "").unwrap();
    let mut vhost = node.process(9, &qemu(OTHER, "web"), "/");
    vhost.kind = TaskKind::Kernel;
    let mut names = node.names();
    let mut identity = Arc::new(Identity::default());
    names.name(&usage(&[earlier, zombie, vhost]), &mut identity, SECOND * 200);
    assert!(identity.tasks.is_empty() && identity.vms.is_empty());
    assert_eq!((names.counters().looks, names.counters().gone), (2, 2));
}

#[test]
fn the_kernels_workers_of_a_machine_are_its_own_from_its_start_to_their_end() {
    let node = Node::new();
    let root = r"/machine.slice/machine-qemu\x2d1\x2dweb.scope";
    let machine = node.process(4_711, &qemu(UUID, "web"), root);
    let kernel = |tgid, start_ticks, comm: &[u8]| TaskUsage {
        task: Some(TaskKey { tgid, start_ticks }),
        kind: TaskKind::Kernel,
        comm: Comm::from_bytes(comm),
        ..machine
    };
    let worker = kernel(20, 10_001, b"vhost-4711");
    let other_package = TaskUsage {
        package: PackageId(1),
        ..worker
    };
    let strangers = [
        kernel(21, 9_999, b"vhost-4711"), // of an earlier process of this pid
        kernel(22, 10_001, b"vhost-4712"),
        kernel(23, 10_001, b"vhost-"),
        kernel(24, 10_001, b"kworker/4711"),
        TaskUsage {
            kind: TaskKind::User,
            ..kernel(25, 10_001, b"vhost-4711")
        },
        TaskUsage { task: None, ..worker },
    ];
    let mut resolver = node.resolver();
    let before = resolver.resolve(&usage(&[worker]), SECOND * 200);
    assert!(before.tasks.is_empty());
    let mut rows = vec![machine, worker, other_package];
    rows.extend(strangers);
    let identity = resolver.resolve(&usage(&rows), SECOND * 201);
    let mut owned: Vec<_> = identity.tasks.keys().map(|task| task.tgid).collect();
    owned.sort_unstable();
    assert_eq!(owned, [20, 4_711]);
    let owner = identity.tasks.get(&worker.task.unwrap()).unwrap();
    assert_eq!((&owner.vm, owner.path.as_str()), (&Some(VmId::new(UUID)), "/"));
    let again = resolver.resolve(&usage(&rows), SECOND * 202);
    assert!(Arc::ptr_eq(&identity, &again));
    let ours = resolver
        .tallies()
        .into_iter()
        .filter(|tally| tally.probe == "vms");
    let ours: Vec<_> = ours
        .map(|tally| (tally.kind.name(), tally.what, tally.count))
        .collect();
    let expected = [
        ("done", "looks", 2),
        ("done", "looks put off", 0),
        ("done", "looks at processes that were gone", 1),
        ("done", "machines' processes found", 1),
        ("lost", "looks refused", 0),
        ("held", "processes", 2),
        ("held", "machines' processes", 1),
        ("held", "machines", 1),
        ("held", "kernel threads of machines", 1),
    ];
    assert_eq!(ours, expected);
    // The machine's process leaves before it: what it did is the machine's to its end.
    let alone = resolver.resolve(&usage(&[worker, strangers[1]]), SECOND * 203);
    assert_eq!(alone.tasks.len(), 1);
    let none = resolver.resolve(&usage(&[strangers[1]]), SECOND * 204);
    assert!(none.tasks.is_empty());
}

#[test]
fn what_the_resolver_knows_of_the_process_itself_stays_under_the_machine() {
    // A process in the root of the unified hierarchy, which version 1 knows better.
    let node = Node::new();
    let root = TaskUsage {
        cgroup: CgroupId::ROOT,
        ..node.process(7, &qemu(UUID, "web"), "/")
    };
    fs::write(node.path("proc/7/cgroup"), format!("4:cpu:/docker/{ID}\n0::/\n")).unwrap();
    let mut resolver = node.resolver();
    let report = usage(&[root]);
    let identity = resolver.resolve(&report, SECOND * 100);
    let owner = identity.owner(root.task, root.cgroup).unwrap();
    assert_eq!(owner.container, Some(ContainerId::new(ID)));
    assert_eq!(owner.vm, Some(VmId::new(UUID)));
    // The resolver follows it when it asks again (who is in a container is asked every five minutes), and the machine stays.
    fs::write(node.path("proc/7/cgroup"), "4:cpu:/b.service\n0::/\n").unwrap();
    let identity = resolver.resolve(&report, SECOND * 500);
    let owner = identity.owner(root.task, root.cgroup).unwrap();
    assert_eq!(
        (owner.unit.as_deref(), &owner.vm),
        (Some("b.service"), &Some(VmId::new(UUID)))
    );
}

#[test]
fn a_long_command_line_is_read_on_and_one_without_end_is_cut() {
    let node = Node::new();
    let devices = "-device virtio-net-pci,netdev=hostnet0,id=net0 ".repeat(1_000);
    let row = node.process(7, &format!("qemu-system-x86_64 {devices}-uuid {UUID}"), "/");
    let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
    assert_eq!(vm_of(&identity, &row).as_deref(), Some(UUID));
    let endless = format!("qemu-system-x86_64 -uuid {UUID} -name {}", "x".repeat(300_000));
    let row = node.process(8, &endless, "/");
    let identity = node.resolver().resolve(&usage(&[row]), SECOND * 200);
    assert_eq!(facts(&identity, UUID), Some(("", "qemu")), "half a name is none");
}

#[test]
fn names_and_ids_make_safe_labels() {
    let line = b"qemu-system-x86_64\0-name\0a\nb\xff\0";
    assert_eq!(command(line).unwrap().name.as_deref(), Some("a\u{fffd}b\u{fffd}"));
    let long = format!("firecracker\0--id\0{}\0", "é".repeat(300));
    let found = command(long.as_bytes()).unwrap();
    assert_eq!((found.id, found.name.map(|name| name.len())), (None, Some(254)));
    assert_eq!(command(b"firecracker\0--id\0a\nb\0").unwrap().id, None);
}

/// Arguments that the parsers look for, in any order, with anything between.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"qemu-system-x86_64",
        b"kvm",
        b"firecracker",
        b"cloud-hypervisor",
        b"VBoxHeadless",
        b"vmware-vmx",
        b"-name",
        b"-uuid",
        b"-id",
        b"--id",
        b"-machine",
        b"-smbios",
        b"-xen-domid",
        b"--startvm",
        b"--platform",
        b"--api-socket",
        b"/run/vc/vm/a/clh-api.sock",
        b"guest=a,,b",
        b"type=1,uuid=",
        b"none",
        b"=",
        b"-",
        b"--",
        b"6f1c0a52-8e0b-4b1a-9c53-1d2f3a4b5c6d",
        b"/a/b.vmx",
        b".vmx",
    ];
    let word = prop_oneof![
        3 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.join(&0))
}

proptest! {
    #[test]
    fn no_command_line_makes_the_parser_panic(line in lines()) {
        if let Some(found) = command(&line) {
            prop_assert!(!found.hypervisor.is_empty());
            for text in found.id.iter().chain(&found.name) {
                prop_assert!(!text.is_empty() && !text.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(command(&line).is_some(), false);
    }

    #[test]
    fn a_name_with_any_commas_comes_back(guest in "[a-z=,]{1,12}") {
        let line = format!("qemu-system-x86_64\0-name\0guest={},debug-threads=on\0", guest.replace(',', ",,"));
        let found = command(line.as_bytes()).unwrap();
        prop_assert_eq!(found.name, Some(guest));
    }

    #[test]
    fn no_state_makes_the_reader_panic(text in "[<>/='\"&#;!\\-a-z \\PC]{0,60}", at in 0..STATE.len()) {
        let _ = domain_of(text.as_bytes());
        let _ = domain_of(&STATE.as_bytes()[..at]);
        let mixed = [&STATE.as_bytes()[..at], text.as_bytes(), &STATE.as_bytes()[at..]].concat();
        let _ = domain_of(&mixed);
    }

    #[test]
    fn no_path_makes_the_scope_panic(path in "(/?(machine-|qemu|\\.scope|\\.libvirt-|qemu\\.slice|[0-9-]{1,3}|\\\\x2d|\\PC)){0,8}") {
        if let Some(scope) = scope_of(&path) {
            prop_assert!(path.starts_with(scope.root) && !scope.machine.is_empty());
        }
    }
}

#[test]
fn a_reference_is_looked_for_near_by_so_that_a_text_of_ampersands_is_read_once() {
    let name = |text: &str| {
        let xml = format!("<domain><name>{text}</name></domain>");
        domain_of(xml.as_bytes()).unwrap().name.unwrap()
    };
    assert_eq!(name("a&#x0000041;&#65;&lt"), "aAA&lt");
    // Nobody writes so many zeros, and whoever does reads what he wrote.
    let long = "&#x000000000041;";
    assert_eq!((long.len(), name(long)), (16, "A".to_owned()));
    let longer = "&#x00000000000041;";
    assert_eq!(name(longer), longer);
    assert_eq!(name(&"&".repeat(1 << 20)), "&".repeat(255));
}
