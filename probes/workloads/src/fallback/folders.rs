// SPDX-License-Identifier: Apache-2.0
//! Where cgroups are: what is above a path, and which cgroup has it. Reads no file, only folders' numbers.

use crate::cgroup::CgroupMount;
use attribution::model::CgroupId;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// The paths of the cgroups above, the nearest first, without the root.
pub(super) fn paths_above(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.rmatch_indices('/').map(|(at, _)| at);
    slashes
        .filter_map(|at| path.get(..at))
        .take_while(|above| !above.is_empty())
}

/// Whether the cgroup is below the mount point, and not that itself.
pub(super) fn is_below(mount: &CgroupMount, path: &str) -> bool {
    mount
        .directory_of(path)
        .is_some_and(|folder| folder != mount.point)
}

/// The id of the cgroup that has the path now.
pub(super) fn id_of(mount: &CgroupMount, path: &str) -> Option<CgroupId> {
    let folder = mount.directory_of(path)?;
    let metadata = fs::symlink_metadata(folder).ok()?;
    Some(CgroupId(metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_nearest_above_comes_first_and_the_root_is_left_out() {
        let above = |path| paths_above(path).collect::<Vec<_>>();
        assert_eq!(above("/a/b/c"), ["/a/b", "/a"]);
        assert_eq!(above("/a"), [""; 0]);
    }

    #[test]
    fn the_mount_point_is_not_below_itself() {
        let mount = |root: &str| CgroupMount {
            point: PathBuf::from("/sys/fs/cgroup"),
            root: root.to_owned(),
        };
        let below = ["/docker/x", "/docker/x/y", "/docker"].map(|path| is_below(&mount("/docker/x"), path));
        assert_eq!(below, [false, true, false]);
        assert!(!is_below(&mount("/../.."), "/../..") && is_below(&mount("/../.."), "/../../a"));
    }
}
