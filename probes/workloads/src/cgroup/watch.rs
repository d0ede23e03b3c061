// SPDX-License-Identifier: Apache-2.0
//! What happens to a cgroup hierarchy, as the kernel tells it: fanotify(7) with one mark on the whole file system.
//!
//! Asks without waiting and starts no thread. Chosen by measurement on a tree of 1,007 cgroups: the mark takes 6 µs and
//! an event half a microsecond, a walk of the tree 2,400 to 5,400 µs, and inotify, which wants a watch on every folder,
//! 62,000 µs and a pinned inode for each. And inotify tells names only: by the time that it is asked, a cgroup that has
//! gone has no number any more. Here the event of the end has the number of the one that ended.
//!
//! Needs Linux 6.7 (before, these file systems have no number of their own and the kernel answers `ENODEV`, as 5.10 and 6.1
//! do in docs/kernels.md, where 6.12 and the newest kernel tell), and `CAP_SYS_ADMIN` in the first user namespace. Where it
//! is refused, whoever wants it does without.

use attribution::model::CgroupId;
use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Flags of fanotify_init(2) that make events carry names and file handles instead of descriptors, from
/// include/uapi/linux/fanotify.h: `FAN_REPORT_FID`, `FAN_REPORT_DIR_FID`, `FAN_REPORT_NAME` and `FAN_REPORT_TARGET_FID`.
const REPORT_NAMES_AND_HANDLES: u32 = 0x200 | 0x400 | 0x800 | 0x1000;
/// Events of the mask.
const CREATE: u64 = 0x100;
const DELETE: u64 = 0x200;
const OVERFLOW: u64 = 0x4000;
const ON_DIR: u64 = 0x4000_0000;
/// `FANOTIFY_METADATA_VERSION`.
const VERSION: u8 = 3;
/// Kinds of information records: the object itself, and the folder with the name in it.
const RECORD_OBJECT: u8 = 1;
const RECORD_FOLDER_AND_NAME: u8 = 2;
/// `FILEID_KERNFS` of include/linux/exportfs.h: the handle is the node's 64-bit number, on 64-bit machines the inode number.
const HANDLE_OF_KERNFS: i32 = 0xfe;

/// `f_type` of version 2 and of version 1 (include/uapi/linux/magic.h). Handles of other file systems are something else.
const CGROUP2: u64 = 0x6367_7270;
const CGROUP1: u64 = 0x0027_e0eb;

/// Bytes of one read: more than a hundred events, each of which is under 450 bytes (a name has at most 255).
const BUFFER: usize = 16 * 1_024;
/// Changes taken in at one time: as many as the kernel's queue holds unless told otherwise
/// (`fs.fanotify.max_queued_events`). The rest stays in the queue.
pub(super) const CHANGES: usize = 16_384;

/// A cgroup came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The cgroup that it is in.
    pub(super) parent: CgroupId,
    /// Its name there.
    pub(super) name: OsString,
    /// Its own number. The kernel knows it when a cgroup goes; when one comes it does not say.
    pub(super) id: Option<CgroupId>,
    /// Whether it came; else it went. The kernel may tell both in one event, which becomes two changes.
    pub(super) came: bool,
}

/// What a look at the queue gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The kernel dropped events for want of room.
    pub(super) overflowed: bool,
    /// Events that were not what the kernel documents.
    pub(super) odd: u64,
}

/// The mark and its queue.
#[derive(Debug)]
pub(super) struct Watch {
    group: Fanotify,
    buffer: Box<[u8]>,
}

impl Watch {
    /// Marks the hierarchy that is mounted at `point`; from now on nothing that happens in it is missed.
    ///
    /// # Errors
    /// When the kernel refuses, or something else is mounted there.
    pub(super) fn open(point: &Path) -> io::Result<Self> {
        let kind = u64::try_from(rustix::fs::statfs(point)?.f_type).unwrap_or(0);
        if kind != CGROUP2 && kind != CGROUP1 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{} is no cgroup file system", point.display()),
            ));
        }
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::from_bits_retain(REPORT_NAMES_AND_HANDLES);
        let group = Fanotify::init(flags, EventFFlags::empty())?;
        group.mark(
            MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM,
            MaskFlags::from_bits_retain(CREATE | DELETE | ON_DIR),
            rustix::fs::CWD,
            Some(point),
        )?;
        Ok(Self {
            group,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Appends what happened since the last call to `changes`, oldest first, until there are [`CHANGES`] of them.
    ///
    /// # Errors
    /// When the queue cannot be read any more.
    pub(super) fn read(&mut self, changes: &mut Vec<Change>) -> io::Result<Heard> {
        let mut heard = Heard::default();
        while changes.len() < CHANGES {
            match nix_read(&self.group, &mut self.buffer) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(read) => parse(self.buffer.get(..read).unwrap_or_default(), changes, &mut heard),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(heard)
    }
}

fn nix_read(group: &Fanotify, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::read(group.as_fd(), buffer).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// The events of one read: `struct fanotify_event_metadata`, each followed by its information records.
fn parse(mut bytes: &[u8], changes: &mut Vec<Change>, heard: &mut Heard) {
    while !bytes.is_empty() {
        let event = u32_at(bytes, 0)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length > 0)
            .and_then(|length| bytes.split_at_checked(length));
        let Some((event, rest)) = event else {
            // Without its length nobody knows where the next one begins: what is left was lost.
            heard.odd += 1;
            heard.overflowed = true;
            return;
        };
        bytes = rest;
        if parse_event(event, changes, heard).is_none() {
            heard.odd += 1;
        }
    }
}

/// One event; `None` when it is odd.
fn parse_event(event: &[u8], changes: &mut Vec<Change>, heard: &mut Heard) -> Option<()> {
    if *event.get(4)? != VERSION {
        return None;
    }
    let header = usize::from(u16::from_ne_bytes(*event.get(6..)?.first_chunk()?));
    let mask = u64::from_ne_bytes(*event.get(8..)?.first_chunk()?);
    if mask & OVERFLOW != 0 {
        heard.overflowed = true;
        return Some(());
    }
    if mask & ON_DIR == 0 {
        return Some(());
    }
    let (mut object, mut place) = (None, None);
    let mut records = event.get(header..)?;
    while !records.is_empty() {
        let length = usize::from(u16::from_ne_bytes(*records.get(2..)?.first_chunk()?));
        let (record, rest) = records.split_at_checked(length).filter(|_| length > 0)?;
        records = rest;
        match *record.first()? {
            RECORD_OBJECT => object = Some(handle(record)?.0),
            RECORD_FOLDER_AND_NAME => {
                let (parent, name) = handle(record)?;
                place = Some((parent, name_in(name)?));
            }
            _ => {}
        }
    }
    let (parent, name) = place?;
    // A change that comes and one that goes are never about the same number, but may share an event.
    for (bit, came) in [(CREATE, true), (DELETE, false)] {
        if mask & bit != 0 {
            changes.push(Change {
                parent,
                name: name.clone(),
                id: object.filter(|_| !came),
                came,
            });
        }
    }
    Some(())
}

/// The number in a record's file handle, and what follows: four bytes of header, eight that say which file system, then
/// `struct file_handle`.
fn handle(record: &[u8]) -> Option<(CgroupId, &[u8])> {
    let size = u32_at(record, 12)?;
    let kind = i32::from_ne_bytes(*record.get(16..)?.first_chunk()?);
    if size != 8 || kind != HANDLE_OF_KERNFS {
        return None;
    }
    let (number, rest) = record.get(20..)?.split_first_chunk()?;
    Some((CgroupId(u64::from_ne_bytes(*number)), rest))
}

/// A name up to its zero byte. Of any bytes: who makes a cgroup may call it so.
fn name_in(bytes: &[u8]) -> Option<OsString> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = bytes.get(..end)?;
    // The kernel makes no such name, and a path is made of it.
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return None;
    }
    Some(OsString::from_vec(name.to_vec()))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An event as the kernel writes it.
    fn event(mask: u64, parent: u64, name: &str, object: Option<u64>) -> Vec<u8> {
        let mut records = Vec::new();
        let mut record = |kind: u8, number: u64, name: &[u8]| {
            let length = (28 + name.len()).next_multiple_of(4);
            let begin = records.len();
            records.extend([kind, 0]);
            records.extend(u16::try_from(length).unwrap().to_ne_bytes());
            records.extend([7; 8]);
            records.extend(8_u32.to_ne_bytes());
            records.extend(HANDLE_OF_KERNFS.to_ne_bytes());
            records.extend(number.to_ne_bytes());
            records.extend(name);
            records.resize(begin + length, 0);
        };
        record(RECORD_FOLDER_AND_NAME, parent, &[name.as_bytes(), b"\0"].concat());
        if let Some(object) = object {
            record(RECORD_OBJECT, object, b"");
        }
        let mut event = Vec::new();
        event.extend(u32::try_from(24 + records.len()).unwrap().to_ne_bytes());
        event.extend([VERSION, 0, 24, 0]);
        event.extend(mask.to_ne_bytes());
        event.extend((-1_i32).to_ne_bytes());
        event.extend(1_i32.to_ne_bytes());
        event.extend(records);
        event
    }

    fn heard(bytes: &[u8]) -> (Vec<Change>, Heard) {
        let (mut changes, mut heard) = (Vec::new(), Heard::default());
        parse(bytes, &mut changes, &mut heard);
        (changes, heard)
    }

    fn change(parent: u64, name: &str, id: Option<u64>) -> Change {
        Change {
            parent: CgroupId(parent),
            name: name.into(),
            id: id.map(CgroupId),
            came: id.is_none(),
        }
    }

    #[test]
    fn what_comes_has_a_place_and_what_goes_has_its_number_too() {
        let bytes = [
            event(CREATE | ON_DIR, 1, "docker", None),
            event(DELETE | ON_DIR, 1 << 40, "a b", Some(9)),
            event(CREATE | DELETE | ON_DIR, 3, "x", Some(4)),
            event(CREATE, 1, "a file", None),
        ]
        .concat();
        let (changes, found) = heard(&bytes);
        assert_eq!(
            changes,
            [
                change(1, "docker", None),
                change(1 << 40, "a b", Some(9)),
                change(3, "x", None),
                change(3, "x", Some(4)),
            ]
        );
        assert_eq!(found, Heard::default());
    }

    #[test]
    fn an_overflow_is_heard_and_odd_events_cost_only_themselves() {
        let mut overflow = event(OVERFLOW, 1, "x", None);
        overflow.truncate(24);
        overflow[0] = 24;
        let (changes, found) = heard(&overflow);
        assert_eq!((changes.len(), found.overflowed, found.odd), (0, true, 0));

        let good = event(CREATE | ON_DIR, 1, "good", None);
        let mut foreign = event(CREATE | ON_DIR, 1, "other handle", None);
        foreign[24 + 16] = 1;
        let climbing = ["..", ".", "", "a/b"].map(|name| event(CREATE | ON_DIR, 1, name, None));
        let mut newer = good.clone();
        newer[4] = 4;
        let (changes, found) = heard(&[foreign, climbing.concat(), newer, good.clone()].concat());
        assert_eq!(changes, [change(1, "good", None)]);
        assert_eq!((found.odd, found.overflowed), (6, false));

        // A length that leads nowhere: the rest is lost, and is treated so.
        let (changes, found) = heard(&[good, vec![0; 24]].concat());
        assert_eq!((changes.len(), found.odd, found.overflowed), (1, 1, true));
    }

    #[test]
    fn what_is_no_hierarchy_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Watch::open(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        assert!(Watch::open(&dir.path().join("gone")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_none_make_a_name_that_climbs(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..120,
        ) {
            heard(&bytes);
            let mut bent = event(CREATE | DELETE | ON_DIR, 5, "name", Some(6));
            for (index, byte) in bytes.iter().take(8).enumerate() {
                if let Some(old) = bent.get_mut(at + index) {
                    *old = *byte;
                }
            }
            for change in heard(&bent).0 {
                prop_assert!(!change.name.as_encoded_bytes().contains(&b'/') && change.name != "..");
            }
        }
    }
}
