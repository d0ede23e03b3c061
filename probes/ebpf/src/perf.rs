// SPDX-License-Identifier: Apache-2.0
//! perf_event_open(2), and putting its descriptor into an eBPF map: neither std, rustix nor aya 0.14 does it. Knows no
//! counter by name and keeps nothing.
#![expect(
    unsafe_code,
    reason = "perf_event_open(2) and bpf(2) have no safe wrapper for this"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// What to count, as perf_event_open(2) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfEvent {
    /// `PERF_TYPE_*`.
    pub kind: u32,
    /// `PERF_COUNT_*` of that type.
    pub config: u64,
}

/// The first published form of `struct perf_event_attr` (64 bytes, `PERF_ATTR_SIZE_VER0`): every kernel takes it, and
/// nothing newer is needed.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    bp_addr: u64,
}

/// `PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING`.
const READ_TIMES: u64 = 1 | 2;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: libc::c_ulong = 8;

/// Begins to count `event` on `cpu`, whatever runs there.
///
/// # Errors
/// What the kernel says: `ENOENT` or `EOPNOTSUPP` where it cannot count this, `EACCES` or `EPERM` where we may not.
pub(crate) fn open(event: PerfEvent, cpu: u32) -> io::Result<OwnedFd> {
    let attr = PerfEventAttr {
        kind: event.kind,
        size: u32::try_from(size_of::<PerfEventAttr>()).unwrap_or(u32::MAX),
        config: event.config,
        read_format: READ_TIMES,
        ..PerfEventAttr::default()
    };
    let cpu = libc::c_int::try_from(cpu).map_err(|_too_large| io::ErrorKind::InvalidInput)?;
    // SAFETY: - `attr` is a live, fully initialised struct whose size is in its own field, and the kernel only reads it;
    // - pid -1 with a CPU and no group leader are plain numbers.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attr),
            -1 as libc::pid_t,
            cpu,
            -1 as libc::c_int,
            CLOEXEC,
        )
    };
    let descriptor = libc::c_int::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The beginning of `union bpf_attr` for commands on one element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_MAP_UPDATE_ELEM` in include/uapi/linux/bpf.h.
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;

/// Puts `event` into element `index` of a map of perf events. The map holds the event from then on, also when the
/// descriptor is closed, until the map itself is.
///
/// # Errors
/// What the kernel says.
pub(crate) fn place(map: BorrowedFd<'_>, index: u32, event: BorrowedFd<'_>) -> io::Result<()> {
    let descriptor = event.as_raw_fd();
    let mut attr = ElementAttr {
        map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
        pad: 0,
        key: address(&index),
        value: address(&descriptor),
        flags: 0,
    };
    // SAFETY: - key and value are four bytes each, as in every map of perf events (the kernel allows no other), they
    //   live until the call returns, and the kernel only reads them;
    // - both descriptors are borrowed, so they are open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_UPDATE_ELEM,
            std::ptr::from_mut(&mut attr),
            size_of::<ElementAttr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Pointers travel in `union bpf_attr` as 64 bits, on every architecture.
fn address<T>(of: &T) -> u64 {
    u64::try_from(std::ptr::from_ref(of).expose_provenance()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attributes_have_the_first_published_size() {
        assert_eq!(size_of::<PerfEventAttr>(), 64);
    }
}
