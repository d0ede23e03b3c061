// SPDX-License-Identifier: Apache-2.0
//! Real virtual machines that burn CPU, and processes that look like some: which they are, and what they cost.
//!
//! A machine here is QEMU with a boot sector of ten lines that never ends, under KVM where there is one and under QEMU's
//! own translator (TCG) too: then no `/dev/kvm` is open, and the time is the process's own.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::cgroup::{Cgroup, unified};
use integration_tests::child::Killed;
use integration_tests::daemon::{Daemon, PATIENCE, pause};
use integration_tests::figures::{conserves, container, energy, integer, nothing_fell, rows};
use integration_tests::{has_command, is_root, promtext, say, skip};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const QEMU: &str = "qemu-system-x86_64";

/// A UUID of this test's own.
fn uuid(test: u8) -> String {
    format!("{:08x}-8e0b-4b1a-9c53-1d2f3a4b5c{test:02x}", std::process::id())
}

fn daemon(tick: &str) -> Daemon {
    let daemon = Daemon::start(&["--tick", tick, "--set", "sources.cpu=estimator"]);
    daemon.wait_for_tick(2);
    daemon
}

fn start(command: &mut Command) -> Killed {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.expect("it starts"))
}

/// A boot sector that turns one vCPU for ever: `cli; inc eax; jmp` back.
fn spin(folder: &Path) -> PathBuf {
    let mut sector = vec![0xfa_u8, 0x66, 0x40, 0xeb, 0xfc];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let file = folder.join("spin.img");
    fs::write(&file, sector).expect("a file");
    file
}

/// QEMU that spins.
fn qemu(image: &Path, accelerator: &str, more: &[&str]) -> Killed {
    let drive = format!("file={},format=raw,if=floppy,readonly=on", image.display());
    let mut command = Command::new(QEMU);
    command
        .args(more)
        .args(["-accel", accelerator, "-cpu", "qemu64", "-m", "64", "-smp", "2"])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-drive",
            &drive,
        ]);
    start(&mut command)
}

/// A shell that burns CPU under another program's name and with further arguments, which it does not read.
fn stand_in(name: &str, arguments: &[&str], cgroup: Option<&Cgroup>) -> Killed {
    let enter = cgroup.map_or_else(|| ":".to_owned(), Cgroup::enter);
    let mut command = Command::new("sh");
    command
        .arg0(name)
        .args(["-c", &format!("{enter}; while :; do :; done")])
        .args(arguments);
    start(&mut command)
}

fn accelerators() -> Vec<&'static str> {
    let kvm = Path::new("/dev/kvm");
    let has_kvm = File::options().read(true).write(true).open(kvm).is_ok();
    if !has_kvm {
        skip("the machine under KVM: no usable /dev/kvm");
    }
    [has_kvm.then_some("kvm"), Some("tcg")]
        .into_iter()
        .flatten()
        .collect()
}

fn vm<'a>(snapshot: &'a Value, id: &str) -> Option<&'a Value> {
    rows(snapshot, "vms").iter().find(|row| row["id"] == id)
}

fn process(snapshot: &Value, pid: u64) -> Option<&Value> {
    rows(snapshot, "processes").iter().find(|row| row["pid"] == pid)
}

/// Waits for the machine with some energy.
fn burning(daemon: &Daemon, id: &str) -> Value {
    daemon.wait_until("the machine's energy", |snapshot| {
        vm(snapshot, id)
            .filter(|row| energy(row) > 1_000)
            .map(|_| snapshot.clone())
    })
}

/// The machine's id that the process has, once it has one.
fn id_of(daemon: &Daemon, pid: u64) -> String {
    daemon.wait_until("the machine of the process", |snapshot| {
        process(snapshot, pid)?["owner"]["vm"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_real_machine_has_its_name_and_what_its_process_costs_and_stays_when_it_ended() {
    if !has_command(QEMU) {
        return skip("needs qemu-system-x86");
    }
    let folder = TempDir::new().expect("a folder");
    let image = spin(folder.path());
    let daemon = daemon("500ms");
    for (test, accelerator) in accelerators().into_iter().enumerate() {
        let (id, name) = (
            uuid(u8::try_from(test).unwrap_or(0)),
            format!("demo,{accelerator}"),
        );
        // A comma in a name is written twice.
        let named = format!("guest=demo,,{accelerator},debug-threads=on");
        let mut machine = qemu(&image, accelerator, &["-name", &named, "-uuid", &id]);
        let first = burning(&daemon, &id);
        let row = vm(&first, &id).expect("a row");
        assert_eq!(row["name"], name.as_str());
        assert_eq!(row["hypervisor"], "qemu");
        assert_eq!(row["owner"]["container"], Value::Null);
        let last = daemon.wait_for_tick(integer(&first, "tick") + 4);
        for snapshot in [&first, &last] {
            conserves(snapshot);
        }
        nothing_fell(&first, &last);
        // What the machine has got since then is what its only process has got.
        let since = |snapshot: &Value, field: fn(&Value) -> u64| {
            let machine = vm(snapshot, &id).expect("a machine");
            let process = process(snapshot, machine_pid(snapshot, &id)).expect("its process");
            (field(machine), field(process))
        };
        let (joules, cpu) = (since(&last, energy), since(&last, |row| integer(row, "cpu_ns")));
        let (joules_then, cpu_then) = (since(&first, energy), since(&first, |row| integer(row, "cpu_ns")));
        assert_eq!(joules.0 - joules_then.0, joules.1 - joules_then.1);
        assert_eq!(cpu.0 - cpu_then.0, cpu.1 - cpu_then.1);
        assert!(joules.0 > joules_then.0);
        assert_eq!(machine_pid(&last, &id), machine.pid());
        say(&format!(
            "{accelerator}: {} ms of CPU, {} mJ in {} ticks",
            (cpu.0 - cpu_then.0) / 1_000_000,
            (joules.0 - joules_then.0) / 1_000,
            integer(&last, "tick") - integer(&first, "tick"),
        ));
        shown_as_text(&daemon, &id, &name, machine.pid());
        machine.kill();
        let ended = daemon.wait_until("its end", |snapshot| {
            vm(snapshot, &id)
                .filter(|row| row["ended"] == true)
                .map(|_| snapshot.clone())
        });
        let later = daemon.wait_for_tick(integer(&ended, "tick") + 3);
        let kept = vm(&later, &id).expect("still visible");
        assert_eq!(energy(kept), energy(vm(&ended, &id).expect("a row")));
        assert_eq!(kept["name"], name.as_str());
    }
}

/// The process that is this machine.
fn machine_pid(snapshot: &Value, id: &str) -> u64 {
    let row = rows(snapshot, "processes")
        .iter()
        .find(|row| row["owner"]["vm"] == id);
    integer(row.expect("a process of the machine"), "pid")
}

fn shown_as_text(daemon: &Daemon, id: &str, name: &str, pid: u64) {
    let text = daemon.get("/metrics").text();
    let samples = promtext::parse(&text);
    let machine = promtext::of(&samples, "kepler_vm_joules_total");
    let machine = machine.iter().find(|sample| sample.label("vm_id") == id);
    let machine = machine.expect("a series of the machine");
    assert_eq!(
        (machine.label("vm_name"), machine.label("hypervisor")),
        (name, "qemu")
    );
    assert!(machine.millionths() > 0);
    let process = promtext::of(&samples, "kepler_process_joules_total");
    let process = process
        .iter()
        .find(|sample| sample.label("pid") == pid.to_string());
    let process = process.expect("a series of the process");
    assert_eq!(process.label("vm_id"), id);
    assert_eq!(process.label("container_id"), "system_processes");
}

#[test]
fn two_machines_from_one_folder_without_ids_are_two() {
    if !has_command(QEMU) {
        return skip("needs qemu-system-x86");
    }
    let folder = TempDir::new().expect("a folder");
    let image = spin(folder.path());
    let daemon = daemon("500ms");
    let machines = [qemu(&image, "tcg", &[]), qemu(&image, "tcg", &[])];
    let [one, two] = machines.each_ref().map(|machine| id_of(&daemon, machine.pid()));
    assert_ne!(one, two);
    for (id, machine) in [one, two].iter().zip(&machines) {
        assert!(
            id.starts_with(&format!("{}-", machine.pid())),
            "pid and start time: {id}"
        );
        let row = burning(&daemon, id);
        assert_eq!(vm(&row, id).map(|row| &row["hypervisor"]), Some(&"qemu".into()));
    }
}

#[test]
fn a_command_line_makes_a_machine_and_a_shell_beside_it_none() {
    let (id, name) = (uuid(10), "guest=web,debug-threads=on");
    let daemon = daemon("500ms");
    let machine = stand_in("/usr/libexec/qemu-kvm", &["-name", name, "-uuid", &id], None);
    let shell = stand_in("sh", &["-name", name, "-uuid", &id], None);
    assert_eq!(id_of(&daemon, machine.pid()), id);
    let snapshot = burning(&daemon, &id);
    let row = vm(&snapshot, &id).expect("a row");
    assert_eq!(
        (&row["name"], &row["hypervisor"]),
        (&"web".into(), &"qemu".into())
    );
    assert_eq!(
        process(&snapshot, shell.pid()).map(|row| &row["owner"]["vm"]),
        Some(&Value::Null)
    );
    conserves(&snapshot);
}

#[test]
fn a_machine_in_a_pod_is_the_pods_and_its_own() {
    if !is_root() || unified().is_none() {
        return skip("needs root and a mounted unified cgroup hierarchy");
    }
    let (id, pod) = (uuid(11), uuid(12));
    let of_container = format!("{:064x}", std::process::id());
    let cgroup = Cgroup::create(&format!("kubepods/burstable/pod{pod}/{of_container}")).expect("a cgroup");
    let daemon = daemon("500ms");
    let arguments = ["-name", "guest=default_vmi-test,debug-threads=on", "-uuid", &id];
    let _machine = stand_in("/usr/libexec/qemu-kvm", &arguments, Some(&cgroup));
    let snapshot = daemon.wait_until("the machine in its pod", |snapshot| {
        vm(snapshot, &id)
            .filter(|row| energy(row) > 1_000 && row["owner"]["pod"] == pod.as_str())
            .map(|_| snapshot.clone())
    });
    assert_eq!(
        vm(&snapshot, &id).map(|row| &row["name"]),
        Some(&"vmi-test".into())
    );
    let row = container(&snapshot, &of_container).expect("its container");
    assert!(energy(row) >= energy(vm(&snapshot, &id).expect("a row")) / 2);
    conserves(&snapshot);
}

#[test]
fn all_that_runs_in_a_machines_own_cgroup_is_the_machine() {
    if !is_root() || unified().is_none() {
        return skip("needs root and a mounted unified cgroup hierarchy");
    }
    let id = uuid(13);
    // No other test's machine has this name.
    let name = format!("web{}", std::process::id());
    let root = format!("machine/qemu-{}-{name}.libvirt-qemu", std::process::id());
    let _root = Cgroup::create(&root).expect("a cgroup");
    let emulator = Cgroup::create(&format!("{root}/emulator")).expect("a cgroup");
    let daemon = daemon("500ms");
    let guest = format!("guest={name},debug-threads=on");
    let arguments = ["-name", &guest, "-uuid", &id];
    let machine = stand_in("qemu-system-x86_64", &arguments, Some(&emulator));
    let helper = stand_in("swtpm", &["socket"], Some(&emulator));
    let snapshot = daemon.wait_until("the helper's machine", |snapshot| {
        let owner = &process(snapshot, helper.pid())?["owner"];
        (owner["vm"] == id.as_str()).then(|| snapshot.clone())
    });
    assert_eq!(
        process(&snapshot, machine.pid()).map(|row| &row["owner"]["vm"]),
        Some(&id.as_str().into())
    );
    assert_eq!(
        rows(&snapshot, "vms")
            .iter()
            .filter(|row| row["name"] == name.as_str())
            .count(),
        1
    );
    conserves(&snapshot);
}

/// libvirt's own daemon, with a configuration of this test's. Users, groups and settings that it needs are in files that
/// only it sees.
struct Libvirt {
    folder: TempDir,
    /// Of the only domain.
    name: String,
    _daemon: Killed,
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // Its QEMU would outlive libvirt's daemon.
        self.virsh(&["destroy", &self.name]);
    }
}

impl Libvirt {
    fn start(name: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).expect("a file");
        fs::create_dir(path("etc")).expect("a folder");
        write(
            "etc/qemu.conf",
            "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nstdio_handler = \"file\"\n",
        );
        let sockets = path("").display().to_string();
        write(
            "libvirtd.conf",
            &format!("unix_sock_dir = \"{sockets}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n"),
        );
        // The defaults of its build, which it looks up before it reads its settings.
        for (file, line) in [
            ("passwd", "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin\n"),
            ("group", "libvirt-qemu:x:64055:\nkvm:x:64056:\n"),
        ] {
            let system = fs::read_to_string(format!("/etc/{file}")).expect("a file");
            write(file, &format!("{system}{line}"));
        }
        let script = "mount --bind \"$1/etc\" /etc/libvirt && mount --bind \"$1/passwd\" /etc/passwd \
            && mount --bind \"$1/group\" /etc/group && exec libvirtd -f \"$1/libvirtd.conf\" -p \"$1/pid\"";
        let daemon = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("log")).expect("a file"))
            .spawn();
        let libvirt = Self {
            folder,
            name: name.to_owned(),
            _daemon: Killed(daemon.expect("libvirtd starts")),
        };
        let end = Instant::now() + PATIENCE;
        while !libvirt.virsh(&["list"]) {
            let log = fs::read_to_string(libvirt.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "libvirtd does not answer: {log}");
            pause();
        }
        libvirt
    }

    fn virsh(&self, arguments: &[&str]) -> bool {
        let socket = self.folder.path().join("libvirt-sock");
        let mut command = Command::new("virsh");
        command
            .arg("-q")
            .arg("-c")
            .arg(format!("qemu:///system?socket={}", socket.display()))
            .args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("virsh runs");
        output.status.success()
    }
}

/// A domain as OpenStack's Nova describes it.
fn domain(name: &str, id: &str, image: &Path, kind: &str) -> String {
    let cpu = if kind == "kvm" {
        "<cpu mode='custom' match='minimum' check='none'><model fallback='allow'>kvm64</model>\
         <feature policy='disable' name='arch-capabilities'/></cpu>"
    } else {
        ""
    };
    format!(
        "<domain type='{kind}'><name>{name}</name><uuid>{id}</uuid><metadata>\
         <nova:instance xmlns:nova=\"http://openstack.org/xmlns/libvirt/nova/1.1\"><nova:name>shop &amp; store</nova:name>\
         </nova:instance></metadata><memory unit='MiB'>64</memory><vcpu>2</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os><features><acpi/></features>{cpu}\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><disk type='file' device='floppy'>\
         <driver name='qemu' type='raw'/><source file='{}'/><target dev='fda' bus='fdc'/><readonly/></disk>\
         <memballoon model='none'/></devices></domain>",
        image.display()
    )
}

#[test]
fn libvirts_domain_has_openstacks_name_and_all_its_threads() {
    let needed = [QEMU, "libvirtd", "virsh", "unshare"];
    if !is_root() || unified().is_none() || needed.iter().any(|command| !has_command(command)) {
        return skip("needs root, a unified cgroup hierarchy and libvirt: make test-vms installs it");
    }
    if Path::new("/run/libvirt/qemu/driver.pid").exists()
        && Command::new("pidof")
            .arg("libvirtd")
            .status()
            .is_ok_and(|status| status.success())
    {
        return skip("a libvirtd of this machine's own runs: its state is not ours to share");
    }
    let (id, name) = (uuid(14), format!("instance-{:08x}", std::process::id()));
    let libvirt = Libvirt::start(&name);
    let image = spin(libvirt.folder.path());
    let file = libvirt.folder.path().join("domain.xml");
    let kind = if accelerators().contains(&"kvm") {
        "kvm"
    } else {
        "qemu"
    };
    fs::write(&file, domain(&name, &id, &image, kind)).expect("a file");
    let daemon = daemon("500ms");
    assert!(
        libvirt.virsh(&["create", &file.display().to_string()]),
        "the domain starts"
    );
    let first = burning(&daemon, &id);
    let row = vm(&first, &id).expect("a row");
    assert_eq!(
        (&row["name"], &row["hypervisor"]),
        (&"shop & store".into(), &"qemu".into())
    );
    // libvirt's threads are in cgroups of their own: their time is the kernel's own count of all of these.
    let last = daemon.wait_for_tick(integer(&first, "tick") + 4);
    let (machine, pid) = (vm(&last, &id).expect("a row"), machine_pid(&last, &id));
    assert_eq!(
        integer(machine, "cpu_ns") - integer(row, "cpu_ns"),
        integer(process(&last, pid).expect("its process"), "cpu_ns")
            - integer(process(&first, pid).expect("its process"), "cpu_ns"),
    );
    let path = machine["owner"]["path"].as_str().unwrap_or_default();
    say(&format!(
        "libvirt: {path}, pid {pid}, {} ms",
        integer(machine, "cpu_ns") / 1_000_000
    ));
    assert!(path.contains(&format!("-{name}")), "{path}");
    conserves(&last);
    assert!(libvirt.virsh(&["destroy", &name]));
    let ended = daemon.wait_until("its end", |snapshot| {
        vm(snapshot, &id)
            .filter(|row| row["ended"] == true)
            .map(|_| snapshot.clone())
    });
    assert_eq!(
        vm(&ended, &id).map(|row| &row["name"]),
        Some(&"shop & store".into())
    );
}
