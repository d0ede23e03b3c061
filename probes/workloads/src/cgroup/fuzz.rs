// SPDX-License-Identifier: Apache-2.0
//! What holds for every path of a cgroup and every mountinfo, for `integration-tests/fuzz`. In no build of the daemon.

use super::{CgroupMounts, container_root, owner_of};
use std::path::Component;

/// A path: nobody owns more than is in it, and what is nested in a container does not change whose it is.
pub fn path(bytes: &[u8]) {
    let path = String::from_utf8_lossy(bytes);
    let owner = owner_of(&path);
    assert!(owner.path.ends_with(&*path) && owner.path.len() <= path.len() + 1);
    assert!(owner.container.is_some() || owner.runtime.is_empty());
    for part in [&owner.unit, &owner.slice].into_iter().flatten() {
        assert!(owner.container.is_none(), "a container is in no unit");
        assert!(part.len() <= path.len());
    }
    let Some(root) = container_root(&path) else {
        assert!(owner.container.is_none());
        return;
    };
    let own = owner_of(root);
    assert_eq!(
        (own.container, own.runtime, own.pod),
        (owner.container, owner.runtime, owner.pod)
    );
}

/// `/proc/self/mountinfo`: no path of a process leads out of a mount.
pub fn mounts(bytes: &[u8]) {
    let mounts = CgroupMounts::parse(bytes);
    let all = mounts.unified.iter();
    for mount in all.chain(mounts.version1.iter().map(|version1| &version1.mount)) {
        for path in [
            "/",
            "/a/b",
            "/system.slice/..",
            "/a/../../b",
            "/../../etc",
            "/../../../etc",
        ] {
            let Some(folder) = mount.directory_of(path) else {
                continue;
            };
            let below = folder
                .strip_prefix(&mount.point)
                .map(|below| below.components().all(|part| part != Component::ParentDir));
            assert_eq!(below, Ok(true), "{folder:?} of {:?}", mount.point);
        }
    }
    let _which = (mounts.mode(), mounts.accounting(), mounts.is_hybrid());
}
