// SPDX-License-Identifier: Apache-2.0
//! A real runc container in the cgroup that kubelet would give it.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use super::common::{boot_now, id_of, is_root, key_of, nanos, report};
    use attribution::model::{CgroupId, ContainerId, MonotonicNanos, PodUid, TickId};
    use probe_workloads::cgroup::{CgroupMounts, Mode};
    use probe_workloads::{Machine, ProcReader, Resolver, Roots};
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const BUSYBOX: &str = "/bin/busybox";

    /// A running container; killed and cleared away when the test ends.
    struct Container {
        bundle: tempfile::TempDir,
        name: String,
        id: String,
        pod: String,
    }

    impl Container {
        fn start() -> Option<Self> {
            let has_runc = Command::new("runc")
                .arg("--version")
                .stdout(Stdio::null())
                .status();
            if has_runc.is_err() || !Path::new(BUSYBOX).exists() {
                eprintln!("skipped: needs runc and busybox-static");
                return None;
            }
            let pid = std::process::id();
            let container = Self {
                bundle: tempfile::tempdir().unwrap(),
                name: format!("probe-workloads-{pid}"),
                id: format!("{pid:064x}"),
                pod: format!("0f7a4c1e-9d3b-4e55-8a21-{pid:012x}"),
            };
            container.write_bundle();
            let log = fs::File::create(container.path("log")).unwrap();
            // Detached, runc would hold the test's own pipes open.
            let mut run = container.runc();
            run.args(["run", "-d", "--pid-file"])
                .arg(container.path("pid"))
                .arg("--bundle")
                .arg(container.bundle.path())
                .arg(&container.name);
            run.stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log);
            let status = run.status().unwrap();
            let log = fs::read_to_string(container.path("log")).unwrap();
            assert!(status.success(), "{log}");
            Some(container)
        }

        fn write_bundle(&self) {
            let bin = self.path("rootfs/bin");
            fs::create_dir_all(&bin).unwrap();
            fs::copy(BUSYBOX, bin.join("busybox")).unwrap();
            std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
            let spec = self.runc().arg("spec").current_dir(self.bundle.path()).status();
            assert!(spec.unwrap().success());
            let path = self.path("config.json");
            let mut config: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "while :; do :; done"]);
            config["linux"]["cgroupsPath"] = self.cgroup().into();
            // Nothing is limited, so a hierarchy without controllers will do.
            config["linux"]["resources"] = serde_json::json!({});
            fs::write(path, config.to_string()).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.bundle.path().join(name)
        }

        fn cgroup(&self) -> String {
            format!("/kubepods/burstable/pod{}/{}", self.pod, self.id)
        }

        fn runc(&self) -> Command {
            let mut runc = Command::new("runc");
            runc.arg("--root").arg(self.path("state"));
            runc
        }

        fn pid(&self) -> u32 {
            fs::read_to_string(self.path("pid"))
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        }
    }

    impl Drop for Container {
        fn drop(&mut self) {
            let _ = self.runc().args(["delete", "-f", &self.name]).status();
            // runc removes the container's cgroup and leaves the folders above it, in every hierarchy.
            let Ok(mounts) = CgroupMounts::read(Path::new("/proc")) else {
                return;
            };
            let version1 = mounts.version1.iter().map(|version1| &version1.mount);
            for mount in version1.chain(&mounts.unified) {
                for above in Path::new(&self.cgroup()).ancestors().skip(1) {
                    // Ends at the first one that others use.
                    let folder = above.to_str().and_then(|path| mount.directory_of(path));
                    if above == Path::new("/") || folder.is_none_or(|folder| fs::remove_dir(folder).is_err())
                    {
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn a_container_in_a_pod_is_found_by_cgroup_by_process_and_by_the_fallback() {
        if !is_root() {
            return;
        }
        let roots = Roots::detect(Path::new("/proc")).unwrap();
        let mode = roots.cgroup_mounts.mode();
        let Some(accounting) = roots.cgroup_mounts.accounting() else {
            eprintln!("skipped: no cgroup hierarchy is mounted");
            return;
        };
        let machine = Machine::read(Path::new("/proc"), Path::new("/sys"));
        let mut reader = ProcReader::open(&roots, &machine).unwrap();
        let Some(container) = Container::start() else {
            return;
        };
        let (task, id) = (
            key_of(container.pid()),
            id_of(&accounting.mount, &container.cgroup()),
        );
        let mut resolver = Resolver::new(roots);

        let by_cgroup = resolver.resolve(&report(task, id), boot_now());
        let owner = Arc::clone(&by_cgroup.cgroups[&id]);
        assert_eq!(owner.path, container.cgroup());
        assert_eq!(
            owner.container.as_ref().map(ContainerId::as_str),
            Some(container.id.as_str())
        );
        assert_eq!(
            owner.pod.as_ref().map(PodUid::as_str),
            Some(container.pod.as_str())
        );

        // As a probe reports it where the runtime uses version 1 only. A purely unified host has nothing to add.
        if mode != Mode::Unified {
            let by_task = resolver.resolve(&report(task, CgroupId::ROOT), boot_now());
            let found = by_task.owner(Some(task), CgroupId::ROOT).unwrap();
            assert_eq!(found.container, owner.container);
        }

        let start = Instant::now();
        for tick in 1.. {
            let mut now = || MonotonicNanos::from_nanos(tick);
            let drained = reader.drain(TickId(tick), TickId(tick - 1), &mut now, Vec::new());
            let usage = drained.unwrap().1;
            let time = nanos(&usage, |row| row.task == Some(task));
            assert_eq!(nanos(&usage, |row| row.task == Some(task) && row.cgroup != id), 0);
            if time >= 50_000_000 {
                let identity = resolver.resolve(&usage, boot_now());
                let found = identity.owner(Some(task), id).unwrap();
                assert_eq!(found.container, owner.container);
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "the container never ran"
            );
        }
    }
}
