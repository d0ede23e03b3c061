// SPDX-License-Identifier: Apache-2.0
//! `/proc/PID/cgroup` (cgroups(7)): one line for each hierarchy, in no order that may be relied on.

/// One line: the cgroup of a process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupLine {
    /// Number of the hierarchy; 0 is the unified one (version 2).
    pub hierarchy: u32,
    /// Its controllers (`cpu,cpuacct`, `name=systemd`); empty for the unified hierarchy.
    pub controllers: String,
    /// The cgroup, relative to the root of the reader's cgroup namespace: outside of it the path begins with `/..`.
    pub path: String,
    /// Whether that cgroup is gone, and only a zombie can be in it. Another one may have the path by now. Version 2 alone
    /// says so.
    pub is_gone: bool,
}

impl CgroupLine {
    /// Parses the file. Lines that are none are left out; bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn parse_all(bytes: &[u8]) -> Vec<Self> {
        String::from_utf8_lossy(bytes)
            // And not `lines`, which takes a carriage return for a part of the end: the name of a cgroup may end with one.
            .split('\n')
            .filter_map(Self::parse)
            .collect()
    }

    fn parse(line: &str) -> Option<Self> {
        // Only the first two colons part fields: a path may hold more (`kubepods-….slice:cri-containerd:…`).
        let mut fields = line.splitn(3, ':');
        let hierarchy = fields.next()?.parse().ok()?;
        let controllers = fields.next()?.to_owned();
        let path = fields.next()?;
        if !path.starts_with('/') {
            return None;
        }
        // The kernel marks a removed cgroup of version 2, which a zombie may still be in.
        let (path, is_gone) = match path.strip_suffix(" (deleted)") {
            Some(living) if hierarchy == 0 => (living, true),
            _ => (path, false),
        };
        Some(Self {
            hierarchy,
            controllers,
            path: path.to_owned(),
            is_gone,
        })
    }

    /// Whether this is the unified hierarchy.
    #[must_use]
    pub fn unified(&self) -> bool {
        self.hierarchy == 0
    }

    /// Whether the hierarchy has this controller (`cpuacct`, `name=systemd`).
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|name| name == controller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_is_kept_with_its_controllers() {
        let lines = CgroupLine::parse_all(
            b"9:name=systemd:/\n3:cpu,cpuacct:/docker/abc\n0::/a:b/c\nnonsense\n1:x\nx:cpu:/\n2:cpu:relative\n",
        );
        assert_eq!(lines.len(), 3);
        assert!(lines[1].has("cpuacct") && lines[1].has("cpu") && !lines[1].has("cpuset"));
        assert_eq!(
            (lines[1].unified(), lines[1].path.as_str()),
            (false, "/docker/abc")
        );
        assert_eq!((lines[2].unified(), lines[2].path.as_str()), (true, "/a:b/c"));
    }

    #[test]
    fn a_name_that_ends_with_a_carriage_return_keeps_it() {
        let lines = CgroupLine::parse_all(b"0::/mine\r\n1:cpu:/a\r");
        assert_eq!(
            (lines[0].path.as_str(), lines[1].path.as_str()),
            ("/mine\r", "/a\r")
        );
    }

    #[test]
    fn the_mark_of_a_removed_cgroup_is_no_part_of_its_path() {
        let lines = CgroupLine::parse_all(b"0::/gone (deleted)\n1:cpu:/kept (deleted)\n");
        assert_eq!(lines[0].path, "/gone");
        assert_eq!(lines[1].path, "/kept (deleted)");
        assert!(lines[0].is_gone && !lines[1].is_gone);
    }
}
