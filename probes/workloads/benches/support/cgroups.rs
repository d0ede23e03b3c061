// SPDX-License-Identifier: Apache-2.0
//! A hierarchy for a benchmark: the machine's own, or folders in memory.

use attribution::model::{CgroupId, TaskKey, Usage};
use probe_workloads::cgroup::{CgroupMount, CgroupMounts, Version1Mount};
use probe_workloads::{Resolver, Roots};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const POD: &str = "/kubepods/burstable/pod0f7a4c1e-9d3b-4e55-8a21-0123456789ab";

/// A place for cgroups, cleared away at the end.
pub(crate) struct Cgroups {
    /// Where the hierarchy is, and where in it this bench is.
    mount: PathBuf,
    inside: String,
    folder: Option<tempfile::TempDir>,
    /// What the kernel would show of the processes, and containerd's state on the host; in memory.
    files: tempfile::TempDir,
}

impl Cgroups {
    /// In the machine's own hierarchy; `None` where the kernel does not tell what comes and goes.
    pub(crate) fn real() -> Option<Self> {
        let roots = Roots::detect(Path::new("/proc")).ok()?;
        let mount = roots
            .cgroup_mounts
            .unified
            .clone()
            .filter(|mount| mount.root == "/")?;
        let mut resolver = Resolver::new(roots);
        resolver.resolve(&Usage::default(), Duration::from_secs(1));
        let inside = format!("/bench-{}", std::process::id());
        let place = Self {
            mount: mount.point,
            inside,
            folder: None,
            files: in_memory(),
        };
        (resolver.held().paths > 0 && fs::create_dir_all(place.path(POD)).is_ok()).then_some(place)
    }

    /// Folders in memory, as many beside ours as a node has of its own.
    pub(crate) fn in_memory() -> Self {
        let folder = in_memory();
        let place = Self {
            mount: folder.path().join("cgroup"),
            inside: String::new(),
            folder: Some(folder),
            files: in_memory(),
        };
        fs::create_dir_all(place.path(POD)).unwrap();
        for unit in 0..100 {
            fs::create_dir_all(place.path(&format!("/system.slice/unit-{unit}.service"))).unwrap();
        }
        place
    }

    /// Whether these are cgroups; else folders.
    pub(super) const fn are_real(&self) -> bool {
        self.folder.is_none()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mount
            .join(format!("{}{path}", self.inside).trim_start_matches('/'))
    }

    fn container(number: u64) -> String {
        format!("{POD}/{number:064x}")
    }

    /// A container, with what containerd writes of it.
    pub(super) fn make(&self, number: u64) -> CgroupId {
        let bundle = self.bundle(number);
        fs::create_dir_all(&bundle).unwrap();
        let notes = format!(r#"{{"annotations":{{"io.kubernetes.cri.container-name":"c{number}"}}}}"#);
        fs::write(bundle.join("config.json"), notes).unwrap();
        self.make_at(&Self::container(number))
    }

    pub(super) fn remove(&self, number: u64) {
        self.remove_at(&Self::container(number));
        fs::remove_dir_all(self.bundle(number)).unwrap();
    }

    fn bundle(&self, number: u64) -> PathBuf {
        let tasks = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
        self.files.path().join(format!("{tasks}/{number:064x}"))
    }

    pub(crate) fn make_at(&self, path: &str) -> CgroupId {
        let folder = self.path(path);
        fs::create_dir_all(&folder).unwrap();
        CgroupId(fs::metadata(folder).unwrap().ino())
    }

    pub(crate) fn remove_at(&self, path: &str) {
        fs::remove_dir(self.path(path)).unwrap();
    }

    /// Where the runtimes' state would be.
    pub(crate) fn host(&self) -> &Path {
        self.files.path()
    }

    pub(crate) fn roots(&self, unified: bool) -> Roots {
        let mount = CgroupMount {
            point: self.mount.clone(),
            root: "/".to_owned(),
        };
        let version1 = Version1Mount {
            controllers: vec!["cpuacct".to_owned()],
            mount: mount.clone(),
        };
        let proc = self.files.path().join("proc");
        fs::create_dir_all(&proc).unwrap();
        Roots {
            proc,
            cgroup_mounts: CgroupMounts {
                unified: unified.then_some(mount),
                version1: if unified { Vec::new() } else { vec![version1] },
                notes: Vec::new(),
            },
        }
    }

    /// Writes what the kernel shows of a process in version 1.
    pub(super) fn write_process(&self, task: TaskKey, container: u64) {
        self.write_process_at(task, &Self::container(container), b"/bin/work\0");
    }

    pub(crate) fn write_process_at(&self, task: TaskKey, path: &str, command: &[u8]) {
        let folder = self.files.path().join(format!("proc/{}", task.tgid));
        fs::create_dir_all(&folder).unwrap();
        let stat = format!(
            "{} (sh) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20 0 1 0 {} {}0 0\n",
            task.tgid,
            task.start_ticks,
            "0 ".repeat(16)
        );
        fs::write(folder.join("stat"), stat).unwrap();
        let lines = ["pids", "memory", "cpu,cpuacct", "name=systemd"]
            .map(|controllers| format!("4:{controllers}:{path}\n"));
        fs::write(folder.join("cgroup"), lines.concat()).unwrap();
        fs::write(folder.join("cmdline"), command).unwrap();
        let _ = symlink("/bin/work", folder.join("exe"));
    }

    pub(crate) fn remove_process(&self, task: TaskKey) {
        let _ = fs::remove_dir_all(self.files.path().join(format!("proc/{}", task.tgid)));
    }
}

fn in_memory() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        tempfile::tempdir_in(shm).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // Folders of cgroups hold files that cannot be removed, and go all the same.
        let mut folders = vec![self.mount.join(self.inside.trim_start_matches('/'))];
        let mut at = 0;
        while let Some(folder) = folders.get(at).filter(|_| self.folder.is_none()).cloned() {
            let inside = fs::read_dir(folder).into_iter().flatten().flatten();
            folders.extend(inside.map(|entry| entry.path()).filter(|path| path.is_dir()));
            at += 1;
        }
        for folder in folders.iter().rev().filter(|_| self.folder.is_none()) {
            let _ = fs::remove_dir(folder);
        }
    }
}
