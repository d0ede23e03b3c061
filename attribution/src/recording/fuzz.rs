// SPDX-License-Identifier: Apache-2.0
//! What holds for every recording, for `integration-tests/fuzz`. In no build of the daemon.

use super::{Encoder, Entry, Reader, frame};

/// Most entries of one input that are looked at.
const MOST: usize = 4_096;

/// A recording as it lies on the disk; and the same bytes as the content of one frame whose checksum is right, which chance
/// would not find. Both end, and what was read is written and read back the same.
pub fn recording(bytes: &[u8]) {
    check(bytes);
    let mut framed = Encoder::head();
    if frame::wrap(bytes, &mut framed).is_some() {
        check(&framed);
    }
}

fn check(bytes: &[u8]) {
    let Some(entries) = read(bytes) else { return };
    let Some(written) = write(&entries) else { return };
    let again = read(&written).unwrap_or_default();
    assert_eq!(lasting(&again), lasting(&entries));
    assert_eq!(write(&again), Some(written));
}

/// Entries but for those that are left out where they say again what was said.
fn lasting(entries: &[Entry]) -> usize {
    let is_lasting = |entry: &&Entry| !matches!(entry, Entry::Tallies(_) | Entry::Describe { .. });
    entries.iter().filter(is_lasting).count()
}

fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = Reader::new(bytes).ok()?;
    let mut entries = Vec::new();
    while entries.len() < MOST {
        let entry = reader.next_entry().expect("bytes in memory can be had");
        let Some(entry) = entry else {
            assert!(reader.ending().is_some(), "no end and no entry");
            break;
        };
        entries.push(entry);
    }
    Some(entries)
}

fn write(entries: &[Entry]) -> Option<Vec<u8>> {
    let (mut encoder, mut out) = (Encoder::new(), Encoder::head());
    for entry in entries {
        encoder.write(entry).ok()?;
        encoder.finish_frame(&mut out).ok()?;
    }
    Some(out)
}
