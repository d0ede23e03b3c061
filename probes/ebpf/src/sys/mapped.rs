// SPDX-License-Identifier: Apache-2.0
//! An array of the kernel in our memory: read and written without a system call.

use aya::maps::{MapData, MapError};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The values of an array map with `BPF_F_MMAPABLE`, as words. Programs write them at any time, so each word is atomic
/// and no two of them need belong together.
#[derive(Debug)]
pub(crate) struct MappedArray {
    first: NonNull<AtomicU64>,
    words: usize,
    /// Keeps the map.
    _map: MapData,
}

// SAFETY: it owns its mapping, and gives out nothing but shared atomics, which may be used from every thread.
unsafe impl Send for MappedArray {}

impl MappedArray {
    /// Maps an array whose values are `value_words` words long.
    pub(crate) fn new(map: MapData, value_words: usize) -> Result<Self, MapError> {
        let info = map.info()?;
        let (size, expected) = (
            super::size_of_u32(info.value_size()),
            value_words.saturating_mul(size_of::<AtomicU64>()),
        );
        if size != expected || size == 0 {
            return Err(MapError::InvalidValueSize { size, expected });
        }
        let words = value_words.saturating_mul(super::size_of_u32(info.max_entries()));
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours. The kernel refuses a
        // length that is more than the array, rounded up to pages.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words.saturating_mul(size_of::<AtomicU64>()),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start.cast()) {
            Some(first) if start != libc::MAP_FAILED => Ok(Self {
                first,
                words,
                _map: map,
            }),
            _ => Err(MapError::IoError(io::Error::last_os_error())),
        }
    }

    /// All values, one after the other.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: - `new` mapped `words` words from `first` on, readable, writable and page-aligned, and only `drop`
        // unmaps them, after every borrow of `self`;
        // - the kernel's programs write 8-byte words of this memory, and shared access goes through atomics only.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.words) }
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nobody borrows it any more.
        unsafe {
            libc::munmap(
                self.first.as_ptr().cast(),
                self.words.saturating_mul(size_of::<AtomicU64>()),
            );
        }
    }
}
