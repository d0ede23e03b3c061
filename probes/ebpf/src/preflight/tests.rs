// SPDX-License-Identifier: Apache-2.0

use super::*;
use std::os::unix::fs::symlink;

fn status(mask: &str) -> String {
    format!("Name:\tkepler\nCapPrm:\t000001ffffffffff\nCapEff:\t{mask}\nCapBnd:\t000001ffffffffff\n")
}

fn capabilities_of(mask: &str) -> Capabilities {
    Capabilities::from_status(&status(mask)).unwrap()
}

#[test]
fn the_effective_set_is_read_and_not_its_neighbours() {
    // Bits 38 and 39.
    let both = capabilities_of("000000c000000000");
    assert!(both.has(Capability::Bpf) && both.has(Capability::Perfmon));
    assert!(!both.has(Capability::SysAdmin));
    assert!(both.missing().is_empty());
    assert_eq!(Capabilities::from_status("CapPrm:\t000001ffffffffff\n"), None);
    assert_eq!(Capabilities::from_status("CapEff:\tnothing\n"), None);
}

#[test]
fn each_capability_is_missed_on_its_own_and_sys_admin_stands_for_both() {
    assert_eq!(
        capabilities_of("0000000000000000").missing(),
        [Capability::Bpf, Capability::Perfmon]
    );
    assert_eq!(capabilities_of("0000004000000000").missing(), [Capability::Bpf]);
    assert_eq!(
        capabilities_of("0000008000000000").missing(),
        [Capability::Perfmon]
    );
    assert_eq!(capabilities_of("0000000000200000").missing(), []);
}

#[test]
fn a_ready_machine_is_called_ready() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("proc/sys/kernel/osrelease", b"6.12.95\n");
    write("proc/thread-self/status", status("000000c000000000").as_bytes());
    write(
        "sys/kernel/security/lockdown",
        b"none [integrity] confidentiality\n",
    );
    write(BTF, &BTF_MAGIC.to_ne_bytes());
    fs::create_dir_all(root.path().join("proc/self/ns")).unwrap();
    symlink("pid:[4026531836]", root.path().join("proc/self/ns/pid")).unwrap();

    let found = inspect(root.path());
    assert_eq!(
        found,
        Preflight {
            kernel_release: Some("6.12.95".to_owned()),
            btf: Ok(()),
            cap_bpf: true,
            cap_perfmon: true,
            cap_sys_admin: false,
            lockdown: Some("integrity".to_owned()),
            host_pids: true,
        }
    );
    assert!(found.is_ready());

    write(
        "sys/kernel/security/lockdown",
        b"none integrity [confidentiality]\n",
    );
    assert!(!inspect(root.path()).is_ready());
    write(
        "sys/kernel/security/lockdown",
        b"[none] integrity confidentiality\n",
    );
    write(BTF, b"ELF");
    assert!(inspect(root.path()).btf.unwrap_err().ends_with("is no BTF"));
}

#[test]
fn an_empty_machine_says_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let found = inspect(root.path());
    assert!(found.btf.as_ref().unwrap_err().contains("CONFIG_DEBUG_INFO_BTF"));
    assert_eq!(found.kernel_release, None);
    assert!(!found.cap_bpf && !found.cap_perfmon && !found.host_pids && !found.is_ready());
}
