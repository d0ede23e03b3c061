// SPDX-License-Identifier: Apache-2.0
//! Frames: entries that were written together, with their length and a checksum before them. A frame is whole or it is
//! not there: that is how the torn end of a file is known.

use super::fault::Fault;
use std::io::{ErrorKind, Read};

/// Longest frame. A first report of as many rows as a report may have takes a quarter of it.
pub(super) const LONGEST_FRAME: usize = 64 << 20;

/// A frame around `entries`: length and CRC-32 in little endian, four bytes each, then the entries.
///
/// `None` when they are too long to be read again.
pub(super) fn wrap(entries: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let length = u32::try_from(entries.len())
        .ok()
        .filter(|_| entries.len() <= LONGEST_FRAME)?;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&crc32(entries).to_le_bytes());
    to.extend_from_slice(entries);
    Some(())
}

/// What came next.
pub(super) enum Found {
    /// A whole frame; its entries are in the buffer.
    Whole,
    /// Nothing at all: the end.
    Nothing,
    /// Not a frame: so many bytes of it were read.
    Torn(u64, &'static str),
}

/// Reads the next frame's entries into `buffer`, which never holds more than came.
pub(super) fn next(from: &mut impl Read, buffer: &mut Vec<u8>) -> Result<Found, Fault> {
    buffer.clear();
    let mut head = [0; 8];
    match fill(from, &mut head)? {
        0 => return Ok(Found::Nothing),
        8 => {}
        read => return Ok(Found::Torn(count(read), "cut off")),
    }
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_le_bytes([a, b, c, d]);
    if usize::try_from(length).map_or(true, |length| length > LONGEST_FRAME) {
        return Ok(Found::Torn(8, "damaged"));
    }
    let read = from
        .take(u64::from(length))
        .read_to_end(buffer)
        .map_err(Fault::Io)?;
    if count(read) < u64::from(length) {
        return Ok(Found::Torn(8 + count(read), "cut off"));
    }
    if crc32(buffer) != u32::from_le_bytes([e, f, g, h]) {
        return Ok(Found::Torn(8 + count(read), "damaged"));
    }
    Ok(Found::Whole)
}

/// Reads until `place` is full or the end is there, and says how much that was.
pub(super) fn fill(from: &mut impl Read, place: &mut [u8]) -> Result<usize, Fault> {
    let mut filled = 0;
    while let Some(rest) = place.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
    Ok(filled)
}

/// Reads and counts all that is left.
pub(super) fn rest(from: &mut impl Read) -> Result<u64, Fault> {
    std::io::copy(from, &mut std::io::sink()).map_err(Fault::Io)
}

/// Bytes as they are counted.
pub(super) fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// CRC-32 as of ISO 3309, the one of gzip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let place = usize::from(low ^ byte);
        // There is a row for every byte.
        TABLE.get(place).copied().unwrap_or(0) ^ crc >> 8
    })
}

const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "computed while compiling: an index beyond the end would not compile, and 255 fits"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ 0xedb8_8320
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_gzip() {
        // The check value of the catalogue of parametrised CRC algorithms, and of nothing.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn a_frame_that_is_longer_than_any_is_not_waited_for() {
        let bytes = [0xff; 64];
        let mut buffer = Vec::new();
        let found = next(&mut bytes.as_slice(), &mut buffer).unwrap();
        assert!(matches!(found, Found::Torn(8, "damaged")));
        assert_eq!(buffer.capacity(), 0);
        assert!(wrap(&vec![0; LONGEST_FRAME + 1], &mut Vec::new()).is_none());
    }
}
