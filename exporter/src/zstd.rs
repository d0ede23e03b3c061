// SPDX-License-Identifier: Apache-2.0
//! zstd with an open end, as [`crate::gzip`] does it: the page is compressed once, each scrape appends its own few lines.
//!
//! The page's part is a frame that was flushed and not ended (RFC 8878, 3.1.1); what is appended goes into raw blocks, the last
//! of which ends the frame. Two frames behind each other would be valid, too, and are lost on clients that stop after one.

use bytes::Bytes;
use std::io::{self, Write};
use zstd::stream::write::Encoder;

/// Of the sample page of 10,000 processes (`make bench-exporter`) level 1 makes about as little as gzip's, in less time.
const LEVEL: i32 = 1;

/// Bytes in a raw block; a block may have as many as the window, which is larger at [`LEVEL`].
const BLOCK: usize = 32 * 1024;

/// The beginning of a frame.
#[derive(Debug)]
pub(crate) struct OpenZstd {
    head: Bytes,
}

impl OpenZstd {
    pub(crate) fn begin(pieces: &[Bytes]) -> io::Result<Self> {
        let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
        for piece in pieces {
            encoder.write_all(piece)?;
        }
        encoder.flush()?;
        let mut head = std::mem::take(encoder.get_mut());
        head.shrink_to_fit();
        Ok(Self {
            head: Bytes::from(head),
        })
    }

    /// The two parts of the frame that holds the text and then `tail`. The first is shared, not copied.
    pub(crate) fn finish(&self, tail: &[u8]) -> [Bytes; 2] {
        let mut end = Vec::with_capacity(tail.len() + 16);
        let mut blocks = tail.chunks(BLOCK).peekable();
        while let Some(block) = blocks.next() {
            push_raw(&mut end, block, blocks.peek().is_none());
        }
        if tail.is_empty() {
            push_raw(&mut end, &[], true);
        }
        [self.head.clone(), Bytes::from(end)]
    }
}

/// A block header (3.1.1.2) is three bytes, little-endian: whether it is the last one, the type (0 is raw), the size.
fn push_raw(out: &mut Vec<u8>, block: &[u8], is_last: bool) {
    let size = u32::try_from(block.len()).unwrap_or(u32::MAX);
    let header = (size << 3) | u32::from(is_last);
    let [a, b, c, _] = header.to_le_bytes();
    out.extend_from_slice(&[a, b, c]);
    out.extend_from_slice(block);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use zstd::stream::read::Decoder;

    #[test]
    fn both_parts_are_one_frame_that_holds_both_texts() {
        let text = "kepler_node_package_joules_total 12.5\n".repeat(20_000);
        let pieces: Vec<Bytes> = text
            .as_bytes()
            .chunks(100_000)
            .map(Bytes::copy_from_slice)
            .collect();
        let open = OpenZstd::begin(&pieces).unwrap();
        let long = "x".repeat(3 * BLOCK + 1);
        for tail in ["", "process_open_fds 9\n", &long] {
            let packed = open.finish(tail.as_bytes()).concat();
            let mut decoder = Decoder::new(packed.as_slice()).unwrap().single_frame();
            let mut unpacked = String::new();
            decoder.read_to_string(&mut unpacked).unwrap();
            assert_eq!(unpacked, format!("{text}{tail}"));
            assert!(
                decoder.finish().buffer().is_empty(),
                "something follows the frame"
            );
            assert!(packed.len() < text.len() / 20 + tail.len());
        }
    }
}
