// SPDX-License-Identifier: Apache-2.0
//! Machines as fixture trees, and the one that we run on.

use super::*;
use std::fs;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Two packages, two cores each, two threads a core; CPU 5 is offline.
fn two_sockets() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "sys/devices/system/cpu/online", "0-4,6-7\n");
    for cpu in 0..8 {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        write(
            root,
            &format!("{topology}/physical_package_id"),
            &format!("{}\n", cpu % 2),
        );
        write(root, &format!("{topology}/core_id"), &format!("{}\n", cpu / 4));
        write(root, &format!("{topology}/die_id"), "0\n");
    }
    write(
        root,
        "sys/devices/system/cpu/cpu0/cpufreq/base_frequency",
        "2100000\n",
    );
    write(
        root,
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
        "3700000\n",
    );
    write(
        root,
        "proc/cpuinfo",
        "vendor_id : GenuineIntel\nmodel name : Xeon @ 2.00GHz\nflags : fpu\n",
    );
    write(
        root,
        "proc/meminfo",
        "MemTotal:       24576000 kB\nMemFree: 1 kB\n",
    );
    write(root, "proc/sys/kernel/osrelease", "6.12.95\n");
    write(
        root,
        "proc/sys/kernel/random/boot_id",
        "0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a\n",
    );
    dir
}

fn read(dir: &tempfile::TempDir) -> Machine {
    Machine::read(&dir.path().join("proc"), &dir.path().join("sys"))
}

#[test]
fn a_two_socket_machine_is_read_whole() {
    let machine = read(&two_sockets());
    let expected = [0, 1, 2, 3, 4, 6, 7].map(|cpu| (cpu, PackageId(u16::try_from(cpu % 2).unwrap())));
    assert_eq!(machine.packages_of_cpu, expected);
    assert_eq!(
        machine.packages,
        [(0, 4, 2), (1, 3, 2)].map(|(id, threads, cores)| Package {
            package: PackageId(id),
            threads,
            cores
        })
    );
    assert_eq!((machine.threads(), machine.cores()), (7, 4));
    assert_eq!((machine.base_mhz, machine.max_mhz), (Some(2_100), Some(3_700)));
    assert_eq!(machine.vendor.as_deref(), Some("GenuineIntel"));
    assert_eq!(machine.memory_bytes, Some(24_576_000 * 1_024));
    assert_eq!(machine.hypervisor, Some(false));
    assert_eq!(machine.kernel_release.as_deref(), Some("6.12.95"));
    assert_eq!(
        machine.boot_id.as_deref(),
        Some("0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a")
    );
    assert_eq!(machine.notes, Vec::<String>::new());
    assert_eq!(machine.package_of(7), PackageId(1));
    assert_eq!(machine.package_of(99), PackageId(0), "not listed");
}

#[test]
fn a_cpu_that_comes_online_later_is_listed_where_the_kernel_says() {
    let dir = two_sockets();
    let mut machine = read(&dir);
    assert!(machine.notice([0, 5, 7]).is_empty());
    assert_eq!(machine.package_of(5), PackageId(1));
    // A package of which no CPU was online, and a CPU of which nothing is said.
    let third = "sys/devices/system/cpu/cpu8/topology/physical_package_id";
    write(dir.path(), third, "2\n");
    assert_eq!(machine.notice([9, 8]), [9]);
    assert_eq!([8, 9].map(|cpu| machine.package_of(cpu)), [2, 0].map(PackageId));
    assert!(machine.packages_of_cpu.is_sorted());
    assert!(machine.notice([9]).is_empty(), "said once");
}

#[test]
fn a_cpu_that_comes_online_later_follows_a_numbering_in_order_and_a_machine_of_one_package() {
    let dir = tempfile::tempdir().unwrap();
    let is = |cpu: u32, id: &str| {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id");
        write(dir.path(), &topology, id);
    };
    write(dir.path(), "sys/devices/system/cpu/online", "0-1");
    is(0, "36");
    is(1, "70000");
    let mut machine = read(&dir);
    is(2, "70000");
    is(3, "36");
    is(4, "5");
    assert_eq!(machine.notice(2..5), [4], "5 may be the number of another");
    assert_eq!(
        [2, 3, 4].map(|cpu| machine.package_of(cpu)),
        [1, 0, 0].map(PackageId)
    );

    let mut one = Machine {
        packages_of_cpu: vec![(0, PackageId(4))],
        ..Machine::default()
    };
    assert!(one.notice([1]).is_empty());
    assert_eq!(one.package_of(1), PackageId(4));
}

#[test]
fn an_empty_tree_is_a_machine_about_which_nothing_is_known_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let machine = read(&dir);
    assert_eq!((machine.threads(), machine.cores()), (0, 0));
    assert_eq!(machine.package_of(3), PackageId(0));
    assert_eq!(
        (machine.memory_bytes, machine.hypervisor, machine.base_mhz),
        (None, None, None)
    );
    for file in [
        "cpuinfo",
        "meminfo",
        "online",
        "osrelease",
        "boot_id",
        "cpuinfo_max_freq",
    ] {
        assert!(
            machine.notes.iter().any(|note| note.contains(file)),
            "{file}: {:?}",
            machine.notes
        );
    }
}

#[test]
fn without_sysfs_the_cpus_of_proc_stat_are_one_package() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "proc/stat",
        "cpu  2 0 0 2 0 0 0\ncpu0 1 0 0 1 0 0 0\ncpu1 1 0 0 1 0 0 0\n",
    );
    let machine = read(&dir);
    assert_eq!(machine.packages_of_cpu, [(0, PackageId(0)), (1, PackageId(0))]);
    assert_eq!(machine.cores(), 2);
}

#[test]
fn a_package_id_of_minus_one_is_package_zero() {
    let dir = two_sockets();
    for cpu in 0..8 {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id");
        write(dir.path(), &path, "-1\n");
    }
    let machine = read(&dir);
    assert!(
        machine
            .packages_of_cpu
            .iter()
            .all(|(_, package)| *package == PackageId(0))
    );
    assert_eq!(
        machine.notes,
        Vec::<String>::new(),
        "that is the kernel's word, and no fault"
    );
}

#[test]
fn a_guest_is_told_by_flag_by_xen_or_by_its_firmware() {
    let arm = |vendor: &str, product: &str| {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            "proc/cpuinfo",
            "CPU implementer : 0x41\nCPU part : 0xd0c\n",
        );
        write(dir.path(), "sys/class/dmi/id/sys_vendor", vendor);
        write(dir.path(), "sys/class/dmi/id/product_name", product);
        read(&dir).hypervisor
    };
    assert_eq!(arm("QEMU\n", "KVM Virtual Machine\n"), Some(true));
    assert_eq!(arm("Amazon EC2\n", "m7g.large\n"), Some(true));
    assert_eq!(arm("Amazon EC2\n", "m7g.metal\n"), Some(false));
    assert_eq!(arm("Microsoft Corporation\n", "Surface\n"), Some(false));
    assert_eq!(arm("Microsoft Corporation\n", "Virtual Machine\n"), Some(true));
    assert_eq!(arm("GIGABYTE\n", "R272\n"), Some(false));
    let dir = two_sockets();
    write(dir.path(), "sys/hypervisor/type", "xen\n");
    assert_eq!(read(&dir).hypervisor, Some(true));
    let dir = two_sockets();
    write(dir.path(), "proc/cpuinfo", "flags : fpu hypervisor\n");
    assert_eq!(read(&dir).hypervisor, Some(true));
}

#[test]
fn the_machine_that_runs_this_test_has_cpus_memory_and_a_kernel() {
    let machine = Machine::read(Path::new("/proc"), Path::new("/sys"));
    assert!(machine.threads() >= 1 && machine.cores() >= 1);
    assert!(machine.memory_bytes.unwrap() > 64 << 20);
    assert!(machine.kernel_release.is_some() && machine.boot_id.is_some());
    let threads: u32 = machine.packages.iter().map(|package| package.threads).sum();
    assert_eq!(usize::try_from(threads).unwrap(), machine.threads());
}
