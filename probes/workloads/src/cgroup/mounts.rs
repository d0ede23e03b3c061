// SPDX-License-Identifier: Apache-2.0
//! Which cgroup hierarchies are mounted where, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Mounts nothing.

use crate::error::WorkloadError;
use crate::files;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Which versions of control groups the node uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Version 2 alone.
    Unified,
    /// Version 2 beside hierarchies of version 1.
    Hybrid,
    /// Version 1 alone.
    Version1,
    /// None is mounted where we can see it.
    Absent,
}

impl Mode {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::Version1 => "version 1",
            Self::Absent => "absent",
        }
    }
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Which cgroup is at the mount point: `/` for the whole hierarchy, `/docker/…` where only a part is mounted,
    /// `/../..` where the mount shows cgroups above our cgroup namespace.
    pub root: String,
}

impl CgroupMount {
    /// The folder of the cgroup that `/proc/PID/cgroup` calls `path`; `None` where it is not below this mount.
    #[must_use]
    pub fn directory_of(&self, path: &str) -> Option<PathBuf> {
        let below = if self.root == "/" {
            path
        } else {
            path.strip_prefix(self.root.as_str())?
        };
        let inside = below.is_empty() || below.starts_with('/');
        if !inside || below.split('/').any(|name| name == "..") {
            return None;
        }
        Some(self.point.join(below.trim_start_matches('/')))
    }

    /// The path of a cgroup found at `below` (beginning with `/`) under the mount point, as far as it is known.
    #[must_use]
    pub fn path_of(&self, below: &str) -> String {
        let climbs = self.root.split('/').any(|name| name == "..");
        if self.root == "/" || climbs {
            below.to_owned()
        } else if below == "/" {
            self.root.clone()
        } else {
            format!("{}{below}", self.root)
        }
    }
}

/// A mounted hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version1Mount {
    /// Its controllers; `name=systemd` for a named hierarchy without any.
    pub controllers: Vec<String>,
    /// Where.
    pub mount: CgroupMount,
}

/// The hierarchy that counts CPU time and whose inode numbers are the cgroup ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2: `cpu.stat`, `usage_usec`.
    Unified,
    /// The cpuacct hierarchy of version 1: `cpuacct.usage`.
    Version1,
}

/// [`Hierarchy`] with its mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// Which.
    pub hierarchy: Hierarchy,
    /// Where.
    pub mount: CgroupMount,
}

/// Every cgroup mount of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupMounts {
    /// The hierarchy of version 2.
    pub unified: Option<CgroupMount>,
    /// Hierarchies of version 1.
    pub version1: Vec<Version1Mount>,
    /// What is odd about them, for the log.
    pub notes: Vec<String>,
}

impl CgroupMounts {
    /// Reads `<proc>/self/mountinfo`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(proc: &Path) -> Result<Self, WorkloadError> {
        let path = proc.join("self/mountinfo");
        match files::read(&path)? {
            Some(bytes) => Ok(Self::parse(&bytes)),
            None => Err(WorkloadError::Missing { path }),
        }
    }

    /// Parses mountinfo. Lines that are none are left out.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            match Line::parse(line) {
                Some(line) if line.kind == "cgroup2" => found.take_unified(line.mount),
                Some(line) if line.kind == "cgroup" => found.take_version1(line),
                _ => {}
            }
        }
        let odd = found
            .unified
            .iter()
            .chain(found.version1.iter().map(|v1| &v1.mount))
            .filter(|mount| mount.root != "/")
            .map(|mount| {
                format!(
                    "{} shows cgroup {} instead of the root: mount the host's /sys/fs/cgroup",
                    mount.point.display(),
                    mount.root
                )
            })
            .collect();
        found.notes = odd;
        found
    }

    /// Which versions are in use.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match (&self.unified, self.version1.is_empty()) {
            (Some(_), true) => Mode::Unified,
            (Some(_), false) => Mode::Hybrid,
            (None, false) => Mode::Version1,
            (None, true) => Mode::Absent,
        }
    }

    /// Whether version 1 has controllers beside version 2. A hierarchy with a name alone (`name=systemd`, which people mount
    /// for old containers) moves nobody.
    #[must_use]
    pub fn is_hybrid(&self) -> bool {
        let has_controller =
            |v1: &Version1Mount| v1.controllers.iter().any(|name| !name.starts_with("name="));
        self.unified.is_some() && self.version1.iter().any(has_controller)
    }

    /// The version-1 mount that has this controller.
    #[must_use]
    pub fn version1_of(&self, controller: &str) -> Option<&CgroupMount> {
        self.version1
            .iter()
            .find(|v1| v1.controllers.iter().any(|name| name == controller))
            .map(|v1| &v1.mount)
    }

    /// The hierarchy whose inode numbers are cgroup ids: the unified one, else version 1's cpuacct.
    #[must_use]
    pub fn accounting(&self) -> Option<Accounting> {
        let unified = self.unified.as_ref().map(|mount| (Hierarchy::Unified, mount));
        let version1 = || {
            self.version1_of("cpuacct")
                .map(|mount| (Hierarchy::Version1, mount))
        };
        unified.or_else(version1).map(|(hierarchy, mount)| Accounting {
            hierarchy,
            mount: mount.clone(),
        })
    }

    fn take_unified(&mut self, mount: CgroupMount) {
        // A later mount on the same folder hides the earlier one, so it wins a tie.
        if self
            .unified
            .as_ref()
            .is_none_or(|known| view(&mount) >= view(known))
        {
            self.unified = Some(mount);
        }
    }

    fn take_version1(&mut self, line: Line<'_>) {
        let controllers: Vec<String> = line
            .super_options
            .split(',')
            .filter(|option| is_controller(option))
            .map(str::to_owned)
            .collect();
        let known = self
            .version1
            .iter_mut()
            .find(|known| known.controllers == controllers);
        match known {
            Some(known) if view(&line.mount) >= view(&known.mount) => known.mount = line.mount,
            Some(_) => {}
            None => self.version1.push(Version1Mount {
                controllers,
                mount: line.mount,
            }),
        }
    }
}

/// How much of the hierarchy a mount shows: above our namespace, its root, or a part.
fn view(mount: &CgroupMount) -> u8 {
    let climbs = mount.root != "/" && mount.root.split('/').all(|name| name.is_empty() || name == "..");
    match (climbs, mount.root.as_str()) {
        (true, _) => 2,
        (false, "/") => 1,
        (false, _) => 0,
    }
}

/// Version-1 controllers of Linux up to 6.18 (include/linux/cgroup_subsys.h; `debug` is left out), and named hierarchies.
fn is_controller(option: &str) -> bool {
    const CONTROLLERS: [&str; 14] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "blkio",
        "memory",
        "devices",
        "freezer",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "pids",
        "rdma",
        "misc",
    ];
    option.starts_with("name=") || CONTROLLERS.contains(&option)
}

/// The parts of a mountinfo line that matter here.
struct Line<'a> {
    mount: CgroupMount,
    kind: &'a str,
    super_options: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        // Before the dash: id, parent, device, root, mount point, options, any number of optional fields.
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let root = before.nth(3)?;
        let point = before.next()?;
        let mut after = after.split(' ');
        let kind = after.next()?;
        let super_options = after.nth(1)?;
        Some(Self {
            mount: CgroupMount {
                point: PathBuf::from(OsString::from_vec(unescape(point))),
                root: String::from_utf8_lossy(&unescape(root)).into_owned(),
            },
            kind,
            super_options,
        })
    }
}

/// Undoes the kernel's `\040` for space, tab, line feed and backslash.
fn unescape(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        match rest {
            [b'\\', a, b, c, tail @ ..] if let Some(byte) = octal([*a, *b, *c]) => {
                out.push(byte);
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |sum, digit| {
        let digit = char::from(*digit).to_digit(8)?;
        sum.checked_mul(8)?.checked_add(u8::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct\n\
        37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_mode_follows_from_what_is_mounted() {
        let version1: String = HYBRID
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .flat_map(|line| [line, "\n"])
            .collect();
        for (text, mode, hierarchy, point) in [
            (UNIFIED, Mode::Unified, Some(Hierarchy::Unified), "/sys/fs/cgroup"),
            (
                HYBRID,
                Mode::Hybrid,
                Some(Hierarchy::Unified),
                "/sys/fs/cgroup/unified",
            ),
            (
                version1.as_str(),
                Mode::Version1,
                Some(Hierarchy::Version1),
                "/sys/fs/cgroup/cpu,cpuacct",
            ),
            ("1 1 0:1 / / rw - ext4 /dev/vda rw\n", Mode::Absent, None, ""),
        ] {
            let mounts = CgroupMounts::parse(text.as_bytes());
            assert_eq!(mounts.mode(), mode);
            assert_eq!(mounts.is_hybrid(), mode == Mode::Hybrid);
            let accounting = mounts.accounting();
            assert_eq!(accounting.as_ref().map(|found| found.hierarchy), hierarchy);
            if let Some(accounting) = accounting {
                assert_eq!(accounting.mount.point, Path::new(point));
            }
            assert_eq!(mounts.notes, Vec::<String>::new());
        }
    }

    #[test]
    fn a_named_hierarchy_alone_makes_no_hybrid() {
        let named =
            format!("{UNIFIED}40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n");
        assert!(!CgroupMounts::parse(named.as_bytes()).is_hybrid());
    }

    #[test]
    fn version_1_mounts_are_found_by_controller_and_options_are_none() {
        let mounts = CgroupMounts::parse(HYBRID.as_bytes());
        let point = |controller| mounts.version1_of(controller).map(|mount| mount.point.as_path());
        assert_eq!(point("cpu"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(point("name=systemd"), Some(Path::new("/sys/fs/cgroup/systemd")));
        assert_eq!(point("pids"), None);
        assert_eq!(mounts.version1[2].controllers, ["name=systemd"]);
    }

    #[test]
    fn the_mount_that_shows_most_is_taken_and_a_part_is_noted() {
        // Our own namespace's view, and the host's mounted beside it.
        let both = "5 1 0:1 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n6 1 0:1 /../../.. /host/cgroup ro - cgroup2 cgroup rw\n";
        let mounts = CgroupMounts::parse(both.as_bytes());
        assert_eq!(mounts.unified.unwrap().point, Path::new("/host/cgroup"));
        let part = "5 1 0:1 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let mounts = CgroupMounts::parse(part.as_bytes());
        assert!(mounts.notes[0].contains("/docker/abc"), "{:?}", mounts.notes);
    }

    #[test]
    fn of_two_mounts_that_show_as_much_the_later_one_hides_the_other() {
        let unified = "5 1 0:1 / /one ro - cgroup2 cgroup rw\n6 1 0:1 / /two ro - cgroup2 cgroup rw\n";
        let mounts = CgroupMounts::parse(unified.as_bytes());
        assert_eq!(mounts.unified.unwrap().point, Path::new("/two"));
        let version1 = "5 1 0:1 / /one ro - cgroup cgroup rw,cpu\n6 1 0:1 / /two ro - cgroup cgroup rw,cpu\n\
            7 1 0:1 /docker/x /part ro - cgroup cgroup rw,cpu\n";
        let mounts = CgroupMounts::parse(version1.as_bytes());
        assert_eq!(mounts.version1_of("cpu").unwrap().point, Path::new("/two"));
    }

    #[test]
    fn paths_and_folders_belong_together_and_nothing_climbs_out_of_the_mount() {
        let mount = |root: &str| CgroupMount {
            point: PathBuf::from("/m"),
            root: root.to_owned(),
        };
        let folder = |root: &str, path: &str| mount(root).directory_of(path);
        assert_eq!(folder("/", "/a/b"), Some(PathBuf::from("/m/a/b")));
        assert_eq!(folder("/", "/"), Some(PathBuf::from("/m/")));
        assert_eq!(folder("/docker/x", "/docker/x/y"), Some(PathBuf::from("/m/y")));
        assert_eq!(folder("/docker/x", "/docker/xy"), None);
        assert_eq!(
            folder("/../..", "/../../kubepods"),
            Some(PathBuf::from("/m/kubepods"))
        );
        assert_eq!(folder("/../..", "/own"), None);
        assert_eq!(folder("/", "/../etc"), None);
        assert_eq!(mount("/").path_of("/a"), "/a");
        assert_eq!(mount("/docker/x").path_of("/y"), "/docker/x/y");
        assert_eq!(mount("/docker/x").path_of("/"), "/docker/x");
        assert_eq!(mount("/../..").path_of("/y"), "/y");
    }

    #[test]
    fn escapes_of_the_kernel_are_undone() {
        let line = r"5 1 0:1 /machine-qemu\134x2d1 /odd\040place ro - cgroup2 cgroup rw";
        let mount = CgroupMounts::parse(line.as_bytes()).unified.unwrap();
        assert_eq!(mount.point, Path::new("/odd place"));
        assert_eq!(mount.root, r"/machine-qemu\x2d1");
        assert_eq!(unescape(r"a\9\04"), br"a\9\04");
        assert_eq!(unescape(r"\777"), br"\777");
    }
}
