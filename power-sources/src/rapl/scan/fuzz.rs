// SPDX-License-Identifier: Apache-2.0
//! Entry of the fuzzers into names of zones and their folders; nothing of the daemon calls it.

use super::{FolderName, ZoneName};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// For `crate::fuzz`: a folder has a control type and two numbers at most, and a name's place is as large as a kernel's.
pub(crate) fn fuzz_name(bytes: &[u8]) {
    if let Some(folder) = FolderName::parse(OsStr::from_bytes(bytes)) {
        assert!(folder.numbers.len() <= 2 && bytes.starts_with(b"intel-rapl"));
        assert!(
            folder
                .parent()
                .is_none_or(|parent| parent.numbers.len() < folder.numbers.len())
        );
    }
    let _zone = ZoneName::parse(bytes);
}
