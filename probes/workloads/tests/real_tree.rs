// SPDX-License-Identifier: Apache-2.0
//! Cgroups of the real hierarchy that come and go while nobody looks.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use super::common::{boot_now, id_of, is_root};
    use attribution::model::{
        CgroupId, Comm, ContainerId, CpuNanos, EventCounts, PackageId, TaskKind, TaskUsage, Usage,
    };
    use nix::errno::Errno;
    use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
    use probe_workloads::cgroup::CgroupMount;
    use probe_workloads::{Resolver, Roots};
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};

    const HEX: &str = "b1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

    /// A folder of this test in the unified hierarchy, with a resolver that follows it.
    struct Place {
        mount: CgroupMount,
        path: String,
        resolver: Resolver,
    }

    impl Place {
        /// `None`, said why, where the kernel does not tell.
        fn new(name: &str) -> Option<Self> {
            let place = Self::of_any_kernel(name)?;
            if !place.is_told() {
                eprintln!("skipped: this kernel does not tell which cgroups come and go");
                return None;
            }
            Some(place)
        }

        fn is_told(&self) -> bool {
            self.resolver.held().paths > 0
        }

        fn of_any_kernel(name: &str) -> Option<Self> {
            if !is_root() {
                return None;
            }
            let roots = Roots::detect(Path::new("/proc")).unwrap();
            let Some(mount) = roots.cgroup_mounts.unified.clone() else {
                eprintln!("skipped: no unified hierarchy is mounted");
                return None;
            };
            let mut resolver = Resolver::new(roots);
            resolver.resolve(&Usage::default(), boot_now());
            let path = format!("/{name}-{}", std::process::id());
            let place = Self {
                mount,
                path,
                resolver,
            };
            place.make("");
            Some(place)
        }

        fn folder(&self, below: &str) -> PathBuf {
            self.mount.directory_of(&format!("{}{below}", self.path)).unwrap()
        }

        fn make(&self, below: &str) -> CgroupId {
            fs::create_dir(self.folder(below)).unwrap();
            id_of(&self.mount, &format!("{}{below}", self.path))
        }

        fn remove(&self, below: &str) {
            fs::remove_dir(self.folder(below)).unwrap();
        }

        fn resolve(&mut self, cgroups: &[CgroupId]) -> Vec<Option<String>> {
            let tasks = cgroups.iter().map(|cgroup| row(*cgroup)).collect();
            let usage = Usage {
                tasks,
                ..Usage::default()
            };
            let identity = self.resolver.resolve(&usage, boot_now());
            let container = |id| {
                let owner = identity.owner(None, id)?;
                owner
                    .container
                    .as_ref()
                    .map(ContainerId::as_str)
                    .map(str::to_owned)
            };
            cgroups.iter().map(|id| container(*id)).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // What a failed test left behind.
            let inside = |folder: PathBuf| {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                entries.map(|entry| entry.path())
            };
            for folder in inside(self.folder("")).filter(|path| path.is_dir()) {
                for inner in inside(folder.clone()).filter(|path| path.is_dir()) {
                    let _ = fs::remove_dir(inner);
                }
                let _ = fs::remove_dir(folder);
            }
            let _ = fs::remove_dir(self.folder(""));
        }
    }

    fn row(cgroup: CgroupId) -> TaskUsage {
        TaskUsage {
            task: None,
            cgroup,
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(1),
            events: EventCounts::ZERO,
            comm: Comm::default(),
            kind: TaskKind::User,
            ended: false,
        }
    }

    /// What the kernel answers whoever wants to be told.
    fn answer(point: &Path) -> Result<(), Errno> {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::from_bits_retain(0x1e00);
        Fanotify::init(flags, EventFFlags::empty())?.mark(
            MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM,
            MaskFlags::from_bits_retain(0x4000_0100),
            rustix::fs::CWD,
            Some(point),
        )
    }

    #[test]
    fn a_cgroup_is_known_by_its_number_whether_the_kernel_tells_of_it_or_not() {
        let Some(mut place) = Place::of_any_kernel("number") else {
            return;
        };
        let told = place.is_told();
        let answer = answer(&place.mount.point);
        assert_eq!(told, answer.is_ok(), "{answer:?}");
        match answer {
            Ok(()) => println!("cgroup that comes or goes: the kernel tells"),
            Err(error) => println!("cgroup that comes or goes: looked for, as the kernel answers {error:?}"),
        }

        let walks = place.resolver.counters().walks;
        let container = format!("/{HEX}");
        let known = [Some(HEX.to_owned())];
        let number = place.make(&container);
        assert_eq!(place.resolve(&[number]), known);
        let walked = place.resolver.counters().walks - walks;
        assert_eq!(walked, u64::from(!told));
        println!("cgroup made: known after {walked} walks");

        // The kernel gives the number of one that is gone to no other, and version 2 lets none be renamed.
        let renamed = fs::rename(place.folder(&container), place.folder("/other.service"));
        println!("cgroup renamed: {}", renamed.unwrap_err().kind());
        place.remove(&container);
        assert_eq!(
            place.resolve(&[number]),
            known,
            "as long as somebody speaks of it"
        );
        println!("cgroup removed: known while a report names it");

        let unseen = place.make(&container);
        place.remove(&container);
        assert_ne!(unseen, number);
        let named = place.resolve(&[unseen]);
        assert_eq!(named, [told.then(|| HEX.to_owned())]);
        let is_known = if told { "known" } else { "nobody's" };
        println!("cgroup made and removed unseen: {is_known}");
        let after = place.make(&container);
        assert_eq!(place.resolve(&[after]), known);
        place.remove(&container);
    }

    #[test]
    fn a_container_that_came_and_went_between_two_reports_is_known_and_costs_no_walk() {
        let Some(mut place) = Place::new("came-and-went") else {
            return;
        };
        let container = format!("/{HEX}");
        let outer = place.make(&container);
        let inner = place.make(&format!("{container}/init.scope"));
        place.remove(&format!("{container}/init.scope"));
        place.remove(&container);
        let walks = place.resolver.counters().walks;
        let named = place.resolve(&[outer, inner]);
        assert_eq!(named, [Some(HEX.to_owned()), Some(HEX.to_owned())]);
        let counters = *place.resolver.counters();
        assert_eq!(counters.walks, walks, "{counters:?}");
        assert!(counters.found_when_gone >= 2, "{counters:?}");

        // The next of the same name is another one, and is known while it lives.
        let again = place.make(&container);
        assert_ne!(again, outer);
        assert_eq!(
            place.resolve(&[outer, again]),
            [Some(HEX.to_owned()), Some(HEX.to_owned())]
        );
        place.remove(&container);
        assert_eq!(place.resolver.counters().walks, walks);
    }

    #[test]
    fn a_cgroup_whose_name_is_no_text_hides_nobody_in_it_and_costs_no_walk() {
        let Some(mut place) = Place::new("no-text") else {
            return;
        };
        place.resolve(&[]);
        let odd = place.folder("").join(OsStr::from_bytes(b"\xff"));
        fs::create_dir(&odd).unwrap();
        fs::create_dir(odd.join(HEX)).unwrap();
        let inside = CgroupId(fs::metadata(odd.join(HEX)).unwrap().ino());
        let walks = place.resolver.counters().walks;
        assert_eq!(place.resolve(&[inside]), [Some(HEX.to_owned())]);
        assert_eq!(place.resolver.counters().walks, walks);
        // What comes and goes in it has the number of its end.
        fs::create_dir(odd.join(HEX).join("x")).unwrap();
        let gone = CgroupId(fs::metadata(odd.join(HEX).join("x")).unwrap().ino());
        fs::remove_dir(odd.join(HEX).join("x")).unwrap();
        assert_eq!(place.resolve(&[gone]), [Some(HEX.to_owned())]);
    }

    #[test]
    fn when_the_kernels_queue_was_full_one_walk_makes_all_that_is_there_known_again() {
        let Some(mut place) = Place::new("overflow") else {
            return;
        };
        let queue = fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap();
        let queue: u32 = queue.trim().parse().unwrap();
        if queue > 50_000 {
            return eprintln!("skipped: the queue has room for {queue} events, which takes long to fill");
        }
        let before = place.make(&format!("/{HEX}"));
        place.resolve(&[before]);
        // Names of their own: the kernel makes one event of two that are alike.
        for number in 0..=queue / 2 {
            let name = format!("/short-{number}");
            place.make(&name);
            place.remove(&name);
        }
        let other = HEX.replace("b1", "c2");
        let after = place.make(&format!("/{other}"));
        let (walks, overflows) = (
            place.resolver.counters().walks,
            place.resolver.counters().overflows,
        );
        assert_eq!(
            place.resolve(&[before, after]),
            [Some(HEX.to_owned()), Some(other.clone())]
        );
        let counters = *place.resolver.counters();
        assert_eq!(
            (counters.walks, counters.overflows),
            (walks + 1, overflows + 1),
            "{counters:?}"
        );
        assert!(place.resolver.held().gone <= 4_096, "{:?}", place.resolver.held());
        // From there on the kernel tells again.
        let third = place.make("/third.service");
        place.remove("/third.service");
        assert_eq!(place.resolve(&[before, third]), [Some(HEX.to_owned()), None]);
        assert_eq!(place.resolver.counters().walks, walks + 1);
        place.remove(&format!("/{HEX}"));
        place.remove(&format!("/{other}"));
    }
}
