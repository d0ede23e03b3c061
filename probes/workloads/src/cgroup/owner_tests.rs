// SPDX-License-Identifier: Apache-2.0
//! Every shape of cgroup path that we know, and paths that nobody should know.

use super::{container_root, owner_of};
use attribution::model::{ContainerId, PodUid};
use proptest::prelude::*;

const A: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const B: &str = "00000000111111112222222233333333444444445555555566666666deadbeef";
const UID: &str = "0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a";
const UID_: &str = "0f7a4c1e_9d3b_4e55_8a21_6b7c8d9e0f1a";
/// A static pod: an MD5 of its manifest.
const STATIC: &str = "35b8ae0dd0a8bbbf0eb5d7f30eb8f5b0";

fn fill(text: &str) -> String {
    text.replace("{A}", A)
        .replace("{B}", B)
        .replace("{UID}", UID)
        .replace("{UID_}", UID_)
        .replace("{STATIC}", STATIC)
}

#[test]
fn every_shape_of_a_container_is_known() {
    // path, container, runtime, pod
    let table = [
        // docker
        ("/docker/{A}", "{A}", "docker", ""),
        ("/system.slice/docker-{A}.scope", "{A}", "docker", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
            "{A}",
            "docker",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/docker/{A}",
            "{A}",
            "docker",
            "",
        ),
        ("/ecs/4f1e/{A}", "{A}", "", ""),
        // containerd
        (
            "/system.slice/cri-containerd-abc0123.scope",
            "abc0123",
            "containerd",
            "",
        ),
        ("/k8s.io/web-1", "web-1", "containerd", ""),
        ("/k8s.io/{A}", "{A}", "containerd", ""),
        ("/default/{A}", "{A}", "containerd", ""),
        ("/system.slice/nerdctl-{A}.scope", "{A}", "containerd", ""),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}",
            "{A}",
            "containerd",
            "{UID}",
        ),
        (
            "/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{A}",
            "{A}",
            "containerd",
            "{UID}",
        ),
        // kubelet, cgroupfs driver
        ("/kubepods/pod{UID}/{A}", "{A}", "", "{UID}"),
        ("/kubepods/burstable/pod{UID}/{A}", "{A}", "", "{UID}"),
        ("/kubepods/besteffort/pod{UID}/{A}", "{A}", "", "{UID}"),
        ("/kubelet/kubepods/burstable/pod{UID}/{A}", "{A}", "", "{UID}"),
        ("/kubepods/burstable/pod{STATIC}/{A}", "{A}", "", "{STATIC}"),
        ("/kubepods/burstable/pod{UID}/crio-{A}", "{A}", "cri-o", "{UID}"),
        ("/kubepods/burstable/pod{UID}/web", "web", "", "{UID}"),
        // kubelet, systemd driver
        (
            "/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
            "{A}",
            "containerd",
            "{UID}",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
            "{A}",
            "containerd",
            "{UID}",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/docker-{A}.scope",
            "{A}",
            "docker",
            "{UID}",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-{A}.scope",
            "{A}",
            "cri-o",
            "{UID}",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-{A}.scope/container",
            "{A}",
            "cri-o",
            "{UID}",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/cri-containerd-{A}.scope",
            "{A}",
            "containerd",
            "{STATIC}",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/isulad-{A}.scope",
            "{A}",
            "",
            "{UID}",
        ),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
            "{A}",
            "containerd",
            "{UID}",
        ),
        // podman
        ("/machine.slice/libpod-{A}.scope", "{A}", "podman", ""),
        ("/machine.slice/libpod-{A}.scope/container", "{A}", "podman", ""),
        (
            "/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope",
            "{A}",
            "podman",
            "",
        ),
        ("/libpod_parent/libpod-{A}", "{A}", "podman", ""),
        (
            "/system.slice/web.service/libpod-payload-{A}",
            "{A}",
            "podman",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
            "{A}",
            "podman",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{A}",
            "{A}",
            "podman",
            "",
        ),
        // LXC and Incus
        ("/lxc.payload.web/system.slice/nginx.service", "web", "lxc", ""),
        // nested: the outermost owns it
        ("/docker/{A}/docker/{B}", "{A}", "docker", ""),
        ("/docker/{A}/init.scope", "{A}", "docker", ""),
        (
            "/system.slice/docker-{A}.scope/system.slice/ssh.service",
            "{A}",
            "docker",
            "",
        ),
        (
            "/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{B}.scope",
            "{A}",
            "docker",
            "",
        ),
        (
            "/kubepods/burstable/pod{UID}/{A}/kubepods/pod{STATIC}/{B}",
            "{A}",
            "",
            "{UID}",
        ),
        (
            "/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope/init.scope",
            "{A}",
            "containerd",
            "{UID}",
        ),
        // outside of our cgroup namespace
        ("/../../kubepods/burstable/pod{UID}/{A}", "{A}", "", "{UID}"),
        ("/../cri-containerd-{A}.scope", "{A}", "containerd", ""),
        ("/../../../k8s.io/web-1", "web-1", "containerd", ""),
    ];
    for (path, container, runtime, pod) in table {
        let owner = owner_of(&fill(path));
        assert_eq!(
            owner.container.as_ref().map(ContainerId::as_str),
            Some(fill(container).as_str()),
            "{path}"
        );
        assert_eq!(owner.runtime, runtime, "{path}");
        assert_eq!(owner.pod.as_ref().map_or("", PodUid::as_str), fill(pod), "{path}");
        assert_eq!(
            (owner.unit, owner.slice),
            (None, None),
            "a container is no unit: {path}"
        );
        assert_eq!(owner.path, fill(path));
    }
}

#[test]
fn everything_else_has_a_unit_a_slice_or_nothing() {
    // path, unit, slice, pod
    let table = [
        ("/", "", "", ""),
        ("", "", "", ""),
        ("/..", "", "", ""),
        ("/init.scope", "init.scope", "", ""),
        ("/system.slice", "", "system.slice", ""),
        ("/system.slice/ssh.service", "ssh.service", "system.slice", ""),
        (
            "/system.slice/containerd.service",
            "containerd.service",
            "system.slice",
            "",
        ),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service",
            "system-getty.slice",
            "",
        ),
        (
            "/system.slice/run-docker.mount",
            "run-docker.mount",
            "system.slice",
            "",
        ),
        (
            "/system.slice/docker-compose.scope",
            "docker-compose.scope",
            "system.slice",
            "",
        ),
        (
            "/system.slice/foo.service/supervised",
            "foo.service",
            "system.slice",
            "",
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "session-3.scope",
            "user-1000.slice",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
            "foo.service",
            "user-1000.slice",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "init.scope",
            "user-1000.slice",
            "",
        ),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope",
            "machine-qemu-1-web.scope",
            "machine.slice",
            "",
        ),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/vcpu0",
            "machine-qemu-1-web.scope",
            "machine.slice",
            "",
        ),
        ("/machine/qemu-3-web-vm.libvirt-qemu/emulator", "", "", ""),
        // monitors are not their containers
        (
            "/machine.slice/libpod-conmon-{A}.scope",
            "libpod-conmon-{A}.scope",
            "machine.slice",
            "",
        ),
        ("/libpod_parent/conmon", "", "", ""),
        (
            "/system.slice/crio-conmon-{A}.scope",
            "crio-conmon-{A}.scope",
            "system.slice",
            "",
        ),
        (
            "/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{A}.scope",
            "crio-conmon-{A}.scope",
            "kubepods-pod{UID_}.slice",
            "{UID}",
        ),
        ("/kubepods/pod{UID}/crio-conmon-{A}", "", "", "{UID}"),
        ("/lxc.monitor.web", "", "", ""),
        // a pod without its container, and what only looks like one
        ("/kubepods/burstable/pod{UID}", "", "", "{UID}"),
        (
            "/kubepods.slice/kubepods-burstable.slice",
            "",
            "kubepods-burstable.slice",
            "",
        ),
        ("/poddle/podx/y", "", "", ""),
        ("/docker", "", "", ""),
        ("/docker/web", "", "", ""),
        ("/k8s.io", "", "", ""),
        ("/a/k8s.io/web", "", "", ""),
        ("/.service", "", "", ""),
        ("/process_api/7fd8cdab70bb6083b562fd57409da7de", "", "", ""),
    ];
    for (path, unit, slice, pod) in table {
        let owner = owner_of(&fill(path));
        assert_eq!(owner.container, None, "{path}");
        assert_eq!(owner.runtime, "", "{path}");
        assert_eq!(owner.unit.as_deref().unwrap_or_default(), fill(unit), "{path}");
        assert_eq!(owner.slice.as_deref().unwrap_or_default(), fill(slice), "{path}");
        assert_eq!(owner.pod.as_ref().map_or("", PodUid::as_str), fill(pod), "{path}");
        assert!(owner.path.starts_with('/'));
    }
}

#[test]
fn the_root_of_a_container_ends_with_its_own_cgroup() {
    for (path, root) in [
        ("/docker/{A}/system.slice/x.service", "/docker/{A}"),
        (
            "/../../kubepods/pod{UID}/{A}/init.scope",
            "/../../kubepods/pod{UID}/{A}",
        ),
        (
            "/machine.slice/libpod-{A}.scope/container",
            "/machine.slice/libpod-{A}.scope",
        ),
        ("/docker/{A}", "/docker/{A}"),
    ] {
        assert_eq!(container_root(&fill(path)), Some(fill(root).as_str()));
    }
    assert_eq!(container_root("/system.slice/ssh.service"), None);
}

#[test]
fn an_escape_that_would_break_a_label_stays() {
    let unit = |path: &str| owner_of(path).unit.unwrap();
    assert_eq!(unit(r"/dev-disk-by\x2dlabel.swap"), "dev-disk-by-label.swap");
    assert_eq!(unit(r"/caf\xc3\xa9.service"), "café.service");
    assert_eq!(unit(r"/a\x0ab.service"), r"a\x0ab.service");
    assert_eq!(unit(r"/a\xff.service"), r"a\xff.service");
    assert_eq!(unit(r"/a\x2.service"), r"a\x2.service");
}

/// Paths made of the words that the parser looks for, in any order.
fn pathish() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("kubepods".to_owned()),
        Just("burstable".to_owned()),
        Just(format!("pod{UID}")),
        Just(format!("kubepods-pod{UID_}.slice")),
        Just(A.to_owned()),
        Just(format!("docker-{A}.scope")),
        Just(format!("kubepods-pod{UID_}.slice:cri-containerd:{B}")),
        Just("docker".to_owned()),
        Just("k8s.io".to_owned()),
        Just("..".to_owned()),
        Just(r"a\x2db.service".to_owned()),
        Just("user-1000.slice".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,6}",
    ];
    proptest::collection::vec(word, 0..9).prop_map(|words| format!("/{}", words.join("/")))
}

proptest! {
    #[test]
    fn no_path_makes_the_parser_panic(path in any::<String>()) {
        let _ = (owner_of(&path), container_root(&path));
    }

    #[test]
    fn what_an_owner_says_comes_out_of_the_path(path in pathish()) {
        let owner = owner_of(&path);
        let plain = path.replace(r"\x2d", "-");
        if let Some(id) = &owner.container {
            prop_assert!(!id.as_str().is_empty() && path.contains(id.as_str()));
            let root = container_root(&path).unwrap();
            prop_assert!(path.starts_with(root) && root.contains(id.as_str()));
            // What is nested changes nothing.
            let nested = owner_of(&format!("{root}/system.slice/docker-{B}.scope"));
            prop_assert_eq!((&nested.container, &nested.pod), (&owner.container, &owner.pod));
        } else {
            prop_assert_eq!(owner.runtime, "");
        }
        if let Some(pod) = &owner.pod {
            prop_assert!(path.replace('_', "-").contains(&pod.as_str().replace('_', "-")));
        }
        for name in owner.unit.iter().chain(&owner.slice) {
            prop_assert!(plain.contains(name.as_str()) || name.contains('\\'), "{} in {}", name, path);
            prop_assert!(owner.container.is_none());
        }
    }
}
