// SPDX-License-Identifier: Apache-2.0
//! Every shape of cgroup path that we know, and paths that nobody should know.

use super::{container_root, owner_of};
use attribution::model::{ContainerId, PodUid};
use proptest::prelude::*;

const A: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const B: &str = "00000000111111112222222233333333444444445555555566666666deadbeef";
const C: &str = "ffffffffffffffff0000000000000000ffffffffffffffff0000000000000000";
const UID: &str = "0f7a4c1e-9d3b-4e55-8a21-6b7c8d9e0f1a";
const UID_: &str = "0f7a4c1e_9d3b_4e55_8a21_6b7c8d9e0f1a";
const UID2: &str = "11111111-2222-3333-4444-555555555555";
/// A static pod: an MD5 of its manifest.
const STATIC: &str = "35b8ae0dd0a8bbbf0eb5d7f30eb8f5b0";

fn fill(text: &str) -> String {
    text.replace("{A}", A)
        .replace("{B}", B)
        .replace("{C}", C)
        .replace("{UID}", UID)
        .replace("{UID2}", UID2)
        .replace("{UID_}", UID_)
        .replace("{STATIC}", STATIC)
}

/// Paths of containers: path, container, runtime, pod, nested (from the outside in, by comma); `-` is none. Lines with `#`
/// say where the shape is from.
const CONTAINERS: &str = r"
# moby daemon/oci_linux.go: PARENT/ID with cgroupfs, SLICE:docker:ID with systemd; the first ran with dockerd 20.10.24
/docker/{A}  {A} docker - -
/moby/{A}  {A} docker - -
/system.slice/docker-{A}.scope  {A} docker - -
# rootless dockerd, docs.docker.com/engine/security/rootless: the user's own manager
/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope  {A} docker - -
/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/docker/{A}  {A} docker - -
# ECS agent: --cgroup-parent=/ecs/TASK, in version 2 the slice ecstasks-TASK; Fargate's container ids (task metadata v4)
/ecs/e39cda25f9824fe9b035e2f57e81c793/{A}  {A} docker - -
/ecstasks.slice/ecstasks-e39cda25f9824fe9b035e2f57e81c793.slice/docker-{A}.scope  {A} docker - -
/ecs/e39cda25f9824fe9b035e2f57e81c793/e39cda25f9824fe9b035e2f57e81c793-1234567890  e39cda25f9824fe9b035e2f57e81c793-1234567890 - - -
# containerd oci.WithNamespacedCgroup; the first two ran with containerd 1.6.20 and ctr, ids as given there
/k8s.io/web-1  web-1 containerd - -
/default/plain  plain containerd - -
/default/{A}  {A} containerd - -
/k8s.io/{A}  {A} containerd - -
# containerd internal/cri getCgroupsPath; the second is what runc makes of it without a systemd
/system.slice/cri-containerd-abc0123.scope  abc0123 containerd - -
/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}  {A} containerd {UID} -
/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{A}  {A} containerd {UID} -
/kubepods/pod{UID2}/kubepods-pod{UID_}.slice:cri-containerd:{A}  {A} containerd {UID} -
# nerdctl pkg/cmd/container: SLICE:nerdctl:ID
/system.slice/nerdctl-{A}.scope  {A} containerd - -
/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{A}.scope  {A} containerd - -
# kubelet pkg/kubelet/cm: cgroupfs driver; a static pod's UID is a hash; kind's root; CRI-O's prefix
/kubepods/pod{UID}/{A}  {A} - {UID} -
/kubepods/burstable/pod{UID}/{A}  {A} - {UID} -
/kubepods/besteffort/pod{UID}/{A}  {A} - {UID} -
/kubelet/kubepods/burstable/pod{UID}/{A}  {A} - {UID} -
/kubepods/burstable/pod{STATIC}/{A}  {A} - {STATIC} -
/kubepods/burstable/pod{UID}/crio-{A}  {A} cri-o {UID} -
/kubepods/burstable/pod{UID}/web  web - {UID} -
# a folder of one's own: --cgroup-parent (GitHub's runner has /actions_job), runc without any runtime above it
/actions_job/{A}  {A} - - -
/{A}/init.scope  {A} - - -
# kubelet, systemd driver
/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope  {A} containerd {UID} -
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope  {A} containerd {UID} -
/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/docker-{A}.scope  {A} docker {UID} -
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/cri-containerd-{A}.scope  {A} containerd {STATIC} -
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/isulad-{A}.scope  {A} - {UID} -
/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope  {A} containerd {UID} -
/my\x2droot.slice/my\x2droot-kubepods.slice/my\x2droot-kubepods-pod{UID_}.slice/cri-containerd-{A}.scope  {A} containerd {UID} -
# CRI-O internal/config/cgmgr; crun's folder inside (run.oci.systemd.subgroup)
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-{A}.scope  {A} cri-o {UID} -
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-{A}.scope/container  {A} cri-o {UID} -
# Kata src/runtime/pkg/resourcecontrol RenameCgroupPath: the sandbox beside its containers
/kubepods/burstable/pod{UID}/kata_{A}  {A} - {UID} -
# podman libpod/container_internal_linux.go: systemd; pods; cgroupfs (the third ran with podman 4.3.1); cgroups=split (quadlet); rootless
/machine.slice/libpod-{A}.scope  {A} podman - -
/machine.slice/libpod-{A}.scope/container  {A} podman - -
/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope  {A} podman - -
/libpod_parent/libpod-{A}  {A} podman - -
/libpod_parent/{B}/libpod-{A}  {A} podman - -
/system.slice/web.service/libpod-payload-{A}  {A} podman - -
/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container  {A} podman - -
/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope/container  {A} podman - -
/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{A}  {A} podman - -
# LXC src/lxc/cgroups/cgfsng.c, before 4.0 and since; Incus with a project; Proxmox VE (PVE::LXC: container.inner = ns); unprivileged
/lxc.payload.web/system.slice/nginx.service  web lxc - -
/lxc.payload.project_web  project_web lxc - -
/lxc.payload.web/.lxc  web lxc - -
/lxc.payload/web  web lxc - -
/lxc/web  web lxc - -
/lxc/101/ns/system.slice/ssh.service  101 lxc - -
/user.slice/user-1000.slice/user@1000.service/app.slice/lxc.payload.web/init.scope  web lxc - -
# systemd src/machine/machine.c, src/nspawn/nspawn-cgroup.c (payload, supervisor), units/systemd-nspawn@.service
/machine.slice/machine-web.scope  web systemd-nspawn - -
/machine.slice/machine-my\x2dweb.scope/payload/init.scope  my-web systemd-nspawn - -
/machine.slice/machine-my\x2dweb.scope/supervisor  my-web systemd-nspawn - -
/machine.slice/machine-web.scope/system.slice/ssh.service  web systemd-nspawn - -
/machine.slice/systemd-nspawn@my-web.service/payload/system.slice/ssh.service  my-web systemd-nspawn - -
/machine.slice/machine-a.slice/machine-web.scope/payload  web systemd-nspawn - -
# libvirt's LXC driver, virDomainGenerateMachineName and virCgroupNewMachine
/machine.slice/machine-lxc\x2d1234\x2dweb.scope  lxc-1234-web libvirt-lxc - -
/machine.slice/machine-lxc\x2dmy\x2dweb.scope  lxc-my-web systemd-nspawn - -
/machine/lxc-1234-web.libvirt-lxc  lxc-1234-web libvirt-lxc - -
# Slurm: version 1 (src/plugins/cgroup/v1; with --enable-multiple-slurmd), version 2 (slurm.schedmd.com/cgroup_v2.html)
/slurm/uid_2101171/job_280678/step_interactive/task_0  job_280678 slurm - step_interactive
/slurm/uid_1000/job_5  job_5 slurm - -
/slurm/uid_1000/job_5/step_  job_5 slurm - -
/slurm_node1/uid_1000/job_5/step_batch  job_5 slurm - step_batch
/system.slice/slurmstepd.scope/job_1392969/step_0/user/task_0  job_1392969 slurm - step_0
/system.slice/slurmstepd.scope/job_5/step_0/slurm  job_5 slurm - step_0
/system.slice/slurmstepd.scope/job_5/step_0+1/user/task_special  job_5 slurm - step_0+1
/system.slice/node1_slurmstepd.scope/job_5/step_batch/user/task_special  job_5 slurm - step_batch
/system.slice/slurmstepd.scope/job_5/step_extern/user/libpod-{A}  job_5 slurm - step_extern,{A}
# Nomad client/lib/cgroupslib: version 2 with its partitions, version 1
/nomad.slice/share.slice/{UID}.web.scope  {UID}.web nomad - -
/nomad.slice/reserve.slice/{UID}.my-task.scope  {UID}.my-task nomad - -
/nomad/{UID}.web  {UID}.web nomad - -
/nomad/share/{UID}.web  {UID}.web nomad - -
/nomad/reserve/{UID}.web  {UID}.web nomad - -
/nomad.slice/share.slice/docker-{A}.scope  {A} docker - -
# Mesos docs/nested-container-and-task-group.md, --cgroups_root=mesos
/mesos/{UID}  {UID} mesos - -
/mesos/{UID}/mesos/{UID2}  {UID} mesos - {UID2}
# guardian guardiancmd/server.go: garden[-TAG][/good|/bad]/HANDLE; an instance of Cloud Foundry
/garden/{UID}  {UID} garden - -
/garden/bad/{UID}  {UID} garden - -
/system.slice/runc-bpm-garden.scope/garden-1/good/f2b6e5a4-3c1d-4f2a-5b1e-9d3a  f2b6e5a4-3c1d-4f2a-5b1e-9d3a garden - -
# nested: Docker in Docker, systemd in a container, kind, Kubernetes in a pod, Incus in LXC, Docker in nspawn, Slurm in a pod
/docker/{A}/docker/{B}  {A} docker - {B}
/docker/{A}/docker/{B}/docker/{C}  {A} docker - {B},{C}
/docker/{A}/init.scope  {A} docker - -
/docker/{A}/default/web  {A} docker - web
/system.slice/docker-{A}.scope/system.slice/ssh.service  {A} docker - -
/system.slice/docker-{A}.scope/system.slice/docker-{B}.scope  {A} docker - {B}
/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{B}.scope  {A} docker - {B}
/docker/{A}/kubelet/kubepods/besteffort/pod{UID}/{B}  {A} docker - {B}
/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope/system.slice/kubepods.slice/kubepods-pod{STATIC}.slice/cri-containerd-{B}.scope  {A} containerd {UID} {B}
/kubepods/burstable/pod{UID}/{A}/kubepods/pod{STATIC}/{B}  {A} - {UID} {B}
/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope/init.scope  {A} containerd {UID} -
/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope/docker/{B}/init.scope  {A} containerd {UID} {B}
/lxc.payload.web/lxc.payload.inner/init.scope  web lxc - inner
/machine.slice/machine-web.scope/payload/system.slice/docker-{B}.scope  web systemd-nspawn - {B}
/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope/system.slice/slurmstepd.scope/job_5/step_0  {A} containerd {UID} job_5,step_0
# nested under its own name, or twice under another's: once
/docker/{A}/docker/{A}  {A} docker - -
/docker/{A}/docker/{B}/docker/{B}  {A} docker - {B}
# outside of our cgroup namespace (cgroup_namespaces(7))
/../../kubepods/burstable/pod{UID}/{A}  {A} - {UID} -
/../cri-containerd-{A}.scope  {A} containerd - -
/../../../k8s.io/web-1  web-1 containerd - -
";

/// Paths of everything else: path, unit, slice, pod.
const OTHERS: &str = r"
/  - - -
/..  - - -
/init.scope  init.scope - -
/system.slice  - system.slice -
/system.slice/ssh.service  ssh.service system.slice -
/system.slice/containerd.service  containerd.service system.slice -
/system.slice/system-getty.slice/getty@tty1.service  getty@tty1.service system-getty.slice -
/system.slice/foo.service/supervised  foo.service system.slice -
/user.slice/user-1000.slice/session-3.scope  session-3.scope user-1000.slice -
/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service  foo.service user-1000.slice -
/user.slice/user-1000.slice/user@1000.service/init.scope  init.scope user-1000.slice -
# units that are called like containers
/system.slice/run-docker.mount  run-docker.mount system.slice -
/system.slice/docker-compose.scope  docker-compose.scope system.slice -
/system.slice/docker-web.service  docker-web.service system.slice -
/system.slice/crio-wipe.service  crio-wipe.service system.slice -
/system.slice/cri-containerd-shim.service  cri-containerd-shim.service system.slice -
/system.slice/cri-containerd-web.slice  - cri-containerd-web.slice -
/system.slice/docker-{A}.service  docker-{A}.service system.slice -
/system.slice:docker:web  - - -
/system.slice/libpod-web.scope  libpod-web.scope system.slice -
/system.slice/machine-web.scope  machine-web.scope system.slice -
/user.slice/user-1000.slice/user@1000.service/app.slice/docker-x.service  docker-x.service user-1000.slice -
/user.slice/user-1000.slice/user@1000.service/app.slice/machine-x.scope  machine-x.scope user-1000.slice -
/user.slice/user-1000.slice/user@1000.service/app.slice/lxc/web  user@1000.service user-1000.slice -
/user.slice/user-1000.slice/user@1000.service/app.slice/app-flatpak-org.x-42.scope  app-flatpak-org.x-42.scope user-1000.slice -
/user.slice/user-1000.slice/user@1000.service/user.slice/apptainer-4242.scope  apptainer-4242.scope user-1000.slice -
/machine.slice/machine-.scope  machine-.scope machine.slice -
/machine.slice/web.service  web.service machine.slice -
/machine.slice/other.slice/machine-web.scope  machine-web.scope other.slice -
/machine.slice/machine-a/machine-web.scope  machine-web.scope machine.slice -
/machine/.libvirt-lxc  - - -
/a/machine/lxc-1234-web.libvirt-lxc  - - -
/machine.slice/systemd-nspawn@.service  systemd-nspawn@.service machine.slice -
# machines: libvirt (the second with its own folders), Cloud Hypervisor, systemd-vmspawn (src/vmspawn/vmspawn-scope.c), no systemd
/machine.slice/machine-qemu\x2d1\x2dweb.scope  machine-qemu-1-web.scope machine.slice -
/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/vcpu0  machine-qemu-1-web.scope machine.slice -
/machine.slice/machine-ch\x2d1\x2dweb.scope  machine-ch-1-web.scope machine.slice -
/system.slice/sd-vmspawn-1234-web.scope  sd-vmspawn-1234-web.scope system.slice -
/machine/qemu-3-web-vm.libvirt-qemu/emulator  - - -
# monitors are not their containers
/machine.slice/libpod-conmon-{A}.scope  libpod-conmon-{A}.scope machine.slice -
/libpod_parent/conmon  - - -
/libpod_parent/{B}/conmon  - - -
/system.slice/web.service/supervisor  web.service system.slice -
/system.slice/crio-conmon-{A}.scope  crio-conmon-{A}.scope system.slice -
/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{A}.scope  crio-conmon-{A}.scope kubepods-pod{UID_}.slice {UID}
/kubepods/pod{UID}/crio-conmon-{A}  - - {UID}
/lxc.monitor.web  - - -
/lxc.monitor/101  - - -
/system.slice/slurmstepd.scope/system  slurmstepd.scope system.slice -
/system.slice/slurmd.service  slurmd.service system.slice -
/slurm/system  - - -
# what is around containers, and what only looks like one
/kubepods/burstable/pod{UID}  - - {UID}
/kubepods/burstable/pod{UID}/.x  - - {UID}
/kubepods/pod/web  - - -
/kubepods.slice/kubepods-pod{UID_}.slice/kubepods/pod{UID2}  - kubepods-pod{UID_}.slice {UID2}
/.slice  - - -
/kubepods.slice/kubepods-pod.slice/isulad-{A}.scope  isulad-{A}.scope kubepods-pod.slice -
/kubepods.slice/kubepods-pod{UID_}.slice/isulad-{A}  - kubepods-pod{UID_}.slice {UID}
/kubepods.slice/kubepods-pod{UID_}.slice/isulad-web.scope  isulad-web.scope kubepods-pod{UID_}.slice {UID}
/kubepods.slice/kubepods-burstable.slice  - kubepods-burstable.slice -
/libpod_parent/{B}  - - -
/slurm/uid_1000  - - -
/slurm/uid_x/job_5  - - -
/slurm/uid_/job_5  - - -
/slurm/uid_1000/job_  - - -
/system.slice/slurmstepd.scope/job_x  slurmstepd.scope system.slice -
/a/slurm/uid_1000/job_5  - - -
/job_5/step_0  - - -
/system.slice/job_5  - system.slice -
/nomad.slice/share.slice/web.scope  web.scope share.slice -
/mesos/web  - - -
/mesos/gggggggg-9d3b-4e55-8a21-6b7c8d9e0f1a  - - -
/a/mesos/{UID}  - - -
/nomad/{UID}.  - - -
/garden/web  - - -
/ecs/task/web  - - -
/ecs/task/task-x  - - -
/a/ecs/task/task-1  - - -
/lxc  - - -
/default  - - -
/default/foo.service  foo.service - -
/default/system.slice  - system.slice -
/lxc/.x  - - -
/a/default/web  - - -
/poddle/podx/y  - - -
/docker  - - -
/docker/web  - - -
/docker/buildkit/hw3a5k2m9q8v7x6z1c4b5n0p2  - - -
/k8s.io  - - -
/a/k8s.io/web  - - -
/.service  - - -
/process_api/7fd8cdab70bb6083b562fd57409da7de  - - -
";

/// Lines of a table in words, filled in; `-` is nothing.
fn lines(table: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| {
        let words = row.split_whitespace();
        words
            .map(|word| if word == "-" { String::new() } else { fill(word) })
            .collect()
    })
}

#[test]
fn every_shape_of_a_container_is_known() {
    let mut seen = 0;
    for row in lines(CONTAINERS) {
        let [path, container, runtime, pod, nested] = row.try_into().unwrap();
        let owner = owner_of(&path);
        let inner: Vec<_> = owner.nested.iter().map(ContainerId::as_str).collect();
        assert_eq!(
            owner.container.as_ref().map(ContainerId::as_str),
            Some(container.as_str()),
            "{path}"
        );
        assert_eq!(owner.runtime, runtime, "{path}");
        assert_eq!(owner.pod.as_ref().map_or("", PodUid::as_str), pod, "{path}");
        assert_eq!(inner.join(","), nested, "{path}");
        assert_eq!(
            (owner.unit, owner.slice),
            (None, None),
            "a container is no unit: {path}"
        );
        assert_eq!(owner.path, path);
        seen += 1;
    }
    assert!(seen > 80, "{seen} shapes");
}

#[test]
fn everything_else_has_a_unit_a_slice_or_nothing() {
    for row in lines(OTHERS) {
        let [path, unit, slice, pod] = row.try_into().unwrap();
        let owner = owner_of(&path);
        assert_eq!(owner.container, None, "{path}");
        assert_eq!((owner.runtime, owner.nested.len()), ("", 0), "{path}");
        assert_eq!(owner.unit.unwrap_or_default(), unit, "{path}");
        assert_eq!(owner.slice.unwrap_or_default(), slice, "{path}");
        assert_eq!(owner.pod.as_ref().map_or("", PodUid::as_str), pod, "{path}");
    }
    assert_eq!(owner_of("").path, "/");
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
        (
            r"/machine.slice/machine-my\x2dweb.scope/payload/init.scope",
            r"/machine.slice/machine-my\x2dweb.scope",
        ),
        ("/slurm/uid_1000/job_5/step_0/task_1", "/slurm/uid_1000/job_5"),
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
    let words: Vec<String> = lines(CONTAINERS)
        .chain(lines(OTHERS))
        .flat_map(|row| row[0].split('/').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let word = prop_oneof![
        8 => proptest::sample::select(words),
        1 => "[ -~]{0,12}",
        1 => "\\PC{0,6}",
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
            prop_assert!(!id.as_str().is_empty() && plain.contains(id.as_str()));
            let root = container_root(&path).unwrap();
            prop_assert!(path.starts_with(root) && root.replace(r"\x2d", "-").contains(id.as_str()));
            // Its own cgroup says the same, so that a counter of the whole container goes to the same workload.
            let own = owner_of(root);
            prop_assert_eq!((&own.container, own.runtime, &own.pod), (&owner.container, owner.runtime, &owner.pod));
            prop_assert!(own.nested.is_empty());
            // What is nested changes nothing.
            let inner = owner_of(&format!("{root}/system.slice/docker-{B}.scope"));
            prop_assert_eq!((&inner.container, &inner.pod), (&owner.container, &owner.pod));
        } else {
            prop_assert_eq!(owner.runtime, "");
            prop_assert!(owner.nested.is_empty());
        }
        if let Some(pod) = &owner.pod {
            prop_assert!(path.replace('_', "-").contains(&pod.as_str().replace('_', "-")));
        }
        for name in owner.unit.iter().chain(&owner.slice) {
            prop_assert!(plain.contains(name.as_str()) || name.contains('\\'), "{} in {}", name, path);
            prop_assert!(owner.container.is_none());
        }
    }

    #[test]
    fn what_is_nested_is_another_container_and_there_once(path in pathish()) {
        let owner = owner_of(&path);
        for (at, id) in owner.nested.iter().enumerate() {
            prop_assert!(Some(id) != owner.container.as_ref(), "{}", path);
            prop_assert!(!owner.nested[at + 1..].contains(id), "{}", path);
        }
    }
}
