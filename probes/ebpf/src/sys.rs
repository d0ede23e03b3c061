// SPDX-License-Identifier: Apache-2.0
//! What aya 0.14 does not have: batches on hash maps, arrays in our own memory; and giving memory back. The only unsafe
//! code of the workspace.
//!
//! A map is wrapped once, its key and value sizes are compared with the kernel's own answer there, and everything
//! after that is safe to call. Nothing here knows what the maps mean.
#![expect(
    unsafe_code,
    reason = "bpf(2) has no safe wrapper for batches, malloc_trim has none at all, and Pod is an unsafe trait"
)]

use crate::abi::{
    HardwareValue, OverflowKey, OverflowValue, Readings, Slot, Softirqs, TaskMapKey, TaskMapValue,
};
use crate::scheduler::abi::{
    Burials, DeadCgroup, DeadCgroupKey, DeadRow, DeadRowKey, DeadThreadKey, ThreadRecord,
};
use aya::Pod;
use aya::maps::{MapData, MapError};
use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsFd as _, AsRawFd as _};

mod mapped;
pub(crate) use mapped::MappedArray;

// SAFETY: repr(C), only integers and arrays of them, so every bit pattern is a value and, as all padding has a name
// (abi's test compares the fields with BTF), every byte is initialised.
unsafe impl Pod for TaskMapKey {}
// SAFETY: as above.
unsafe impl Pod for TaskMapValue {}
// SAFETY: as above.
unsafe impl Pod for OverflowKey {}
// SAFETY: as above.
unsafe impl Pod for OverflowValue {}
// SAFETY: as above.
unsafe impl Pod for Slot {}
// SAFETY: as above.
unsafe impl Pod for HardwareValue {}
// SAFETY: as above.
unsafe impl Pod for Readings {}
// SAFETY: as above.
unsafe impl Pod for Softirqs {}
// SAFETY: as above.
unsafe impl Pod for ThreadRecord {}
// SAFETY: as above.
unsafe impl Pod for DeadThreadKey {}
// SAFETY: as above.
unsafe impl Pod for DeadRowKey {}
// SAFETY: as above.
unsafe impl Pod for DeadRow {}
// SAFETY: as above.
unsafe impl Pod for DeadCgroupKey {}
// SAFETY: as above.
unsafe impl Pod for DeadCgroup {}
// SAFETY: as above.
unsafe impl Pod for Burials {}

/// Gives freed memory back to the kernel. Loading parses all of the kernel's types, some 15 MB on the heap that nothing
/// needs afterwards and that glibc would keep for good.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes any pad, is thread-safe, and touches only pages that hold no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `enum bpf_cmd` in include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
/// As above. Of hashes since Linux 5.14.
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
/// As above.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// As above.
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
/// As above.
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;

/// Entries per call at first. The cost per entry is the same from 64 to 4096; these are 64 to 120 KiB of buffers a map.
const FIRST_CHUNK: usize = 1024;

/// `struct { } batch` in `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The `struct { }` of commands on one element there.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A hash map that is read and pruned in batches.
#[derive(Debug)]
pub(crate) struct BatchMap<K, V> {
    map: MapData,
    keys: Vec<K>,
    values: Vec<V>,
    _entry: PhantomData<(K, V)>,
}

impl<K: Pod + Default, V: Pod + Default> BatchMap<K, V> {
    /// Wraps a hash map whose keys and values have the sizes of `K` and `V`.
    pub(crate) fn new(map: MapData) -> Result<Self, MapError> {
        let info = map.info()?;
        let (key_size, value_size) = (size_of_u32(info.key_size()), size_of_u32(info.value_size()));
        if key_size != size_of::<K>() {
            return Err(MapError::InvalidKeySize {
                size: key_size,
                expected: size_of::<K>(),
            });
        }
        if value_size != size_of::<V>() {
            return Err(MapError::InvalidValueSize {
                size: value_size,
                expected: size_of::<V>(),
            });
        }
        Ok(Self {
            map,
            keys: vec![K::default(); FIRST_CHUNK],
            values: vec![V::default(); FIRST_CHUNK],
            _entry: PhantomData,
        })
    }

    /// Shows every entry to `visit`, each once: the kernel walks bucket by bucket, and only we delete.
    pub(crate) fn for_each(&mut self, visit: impl FnMut(&K, &V)) -> io::Result<()> {
        self.walk(BPF_MAP_LOOKUP_BATCH, visit)
    }

    /// Shows every entry to `visit` and deletes it, in one step under the lock of its bucket: what is shown is not there
    /// any more, and what is not shown (after an error) still is.
    pub(crate) fn take_each(&mut self, visit: impl FnMut(&K, &V)) -> io::Result<()> {
        self.walk(BPF_MAP_LOOKUP_AND_DELETE_BATCH, visit)
    }

    fn walk(&mut self, command: libc::c_long, mut visit: impl FnMut(&K, &V)) -> io::Result<()> {
        // For a hash the position is a bucket number of 32 bits (kernel/bpf/hashtab.c); more room does no harm.
        let mut position = 0_u64;
        let mut begun = false;
        loop {
            let (count, result) = self.lookup_batch(command, &mut position, begun);
            for (key, value) in self.keys.iter().zip(&self.values).take(count) {
                visit(key, value);
            }
            match result {
                Ok(()) => begun = true,
                // The last bucket was in this chunk.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                // One bucket is larger than the chunk; the position has not moved.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => self.grow(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes `keys`; those that are not there are passed over.
    pub(crate) fn delete(&mut self, mut keys: &[K]) -> io::Result<()> {
        while !keys.is_empty() {
            let (done, result) = self.delete_batch(keys);
            let gone = match result {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => 1,
                Err(error) => return Err(error),
            };
            // `done` keys were deleted, the next one was not there.
            keys = keys.get(done.saturating_add(gone)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Deletes one entry and returns what it held; `None` when it was not there.
    ///
    /// What a program adds up to the deletion is in the value: both are one step under the lock of the bucket. Only who
    /// had found the entry before and adds to it after that is too late, and what it adds is lost or that of the element's
    /// next owner: once for each CPU at most, if a program is in those few instructions. Before Linux 5.14 these are two
    /// steps, and what comes between them, in a microsecond, is lost as well.
    pub(crate) fn take(&mut self, key: &K) -> io::Result<Option<V>> {
        let in_one = self.element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, key);
        // Kernels before it have several words for a command that they do not know; whatever else is wrong, the other
        // two will say.
        if in_one.is_ok() {
            return in_one;
        }
        let value = self.element(BPF_MAP_LOOKUP_ELEM, key)?;
        self.delete(std::slice::from_ref(key))?;
        Ok(value)
    }

    fn element(&self, command: libc::c_long, key: &K) -> io::Result<Option<V>> {
        let (key, mut value) = (*key, V::default());
        let mut attr = ElementAttr {
            map_fd: self.fd(),
            key: address(std::ptr::from_ref(&key).cast_mut()),
            value: address(std::ptr::from_mut(&mut value)),
            ..ElementAttr::default()
        };
        // SAFETY: - the kernel reads one key and writes one value, and `new` made sure that the map's sizes are those of
        //   K and V, which is what `key` and `value` are;
        // - V is Pod, so whatever is written is a value;
        // - both live until the call has returned, and the descriptor belongs to `self.map`, so it is open.
        match unsafe { bpf(command, &mut attr) } {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn grow(&mut self) {
        let doubled = self.keys.len().saturating_mul(2);
        self.keys.resize(doubled, K::default());
        self.values.resize(doubled, V::default());
    }

    /// One chunk into the buffers, by one of the two look-up commands. Returns how many entries were written, also beside
    /// an error.
    fn lookup_batch(
        &mut self,
        command: libc::c_long,
        position: &mut u64,
        begun: bool,
    ) -> (usize, io::Result<()>) {
        let room = self.keys.len().min(self.values.len());
        let position: *mut u64 = position;
        let mut attr = BatchAttr {
            in_batch: if begun { address(position) } else { 0 },
            out_batch: address(position),
            keys: address(self.keys.as_mut_ptr()),
            values: address(self.values.as_mut_ptr()),
            count: u32::try_from(room).unwrap_or(u32::MAX),
            map_fd: self.fd(),
            ..BatchAttr::default()
        };
        // SAFETY: - the kernel writes at most `count` keys and values, and both buffers hold `room >= count` of them;
        // - `new` made sure that the map's key and value sizes are those of K and V;
        // - K and V are Pod, so whatever is written is a value;
        // - the buffers and `position` (8 bytes, 4 are used) are borrowed mutably until the call returns;
        // - the descriptor belongs to `self.map`, so it is open.
        let result = unsafe { bpf(command, &mut attr) };
        let count = match result.as_ref().err().and_then(io::Error::raw_os_error) {
            // What the kernel says before it looks at the map, when `count` still is ours, and of a copy that failed.
            Some(libc::EINVAL | libc::ENOSPC | libc::EFAULT | libc::EPERM | libc::EBADF) => 0,
            // Also when it stops half-way (EBUSY, ENOMEM): these entries were shown, and deleted if that was asked for.
            _ => size_of_u32(attr.count).min(room),
        };
        (count, result)
    }

    /// Deletes until one fails. Returns how many were deleted.
    fn delete_batch(&mut self, keys: &[K]) -> (usize, io::Result<()>) {
        let mut attr = BatchAttr {
            keys: address(keys.as_ptr().cast_mut()),
            count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
            map_fd: self.fd(),
            ..BatchAttr::default()
        };
        // SAFETY: - the kernel reads at most `count` keys, `keys` holds as many, and writes none;
        // - `new` made sure that the map's key size is that of K;
        // - `keys` is borrowed until the call returns, and the descriptor belongs to `self.map`, so it is open.
        let result = unsafe { bpf(BPF_MAP_DELETE_BATCH, &mut attr) };
        let done = size_of_u32(attr.count).min(keys.len());
        (done, result)
    }

    fn fd(&self) -> u32 {
        u32::try_from(self.map.fd().as_fd().as_raw_fd()).unwrap_or(u32::MAX)
    }
}

/// Calls bpf(2); retried when a signal comes between.
///
/// # Safety
/// `attr` must be the part of `union bpf_attr` that `command` reads, and every address in it good for what the kernel does
/// with it.
unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<()> {
    loop {
        // SAFETY: `attr` is a live, initialised struct of the size that is passed; the caller answers for the
        // addresses inside.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Pointers travel in `union bpf_attr` as 64 bits, on every architecture.
fn address<T>(pointer: *mut T) -> u64 {
    u64::try_from(pointer.expose_provenance()).unwrap_or(u64::MAX)
}

/// `u32` to `usize`: lossless on every machine that Linux runs eBPF on.
fn size_of_u32(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
