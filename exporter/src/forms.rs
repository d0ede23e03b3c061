// SPDX-License-Identifier: Apache-2.0
//! The written forms of a page: two formats, each plain and in two encodings. Each is made at its first request, once, and its
//! bytes are shared by all that ask for it, however many ask at once.

use crate::gzip::OpenGzip;
use crate::text::writer::Format;
use crate::zstd::OpenZstd;
use bytes::Bytes;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The word of `Content-Encoding`; none for what is not encoded.
    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// How often each form of a page was written: 0 or 1, and for an encoding once for each format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renders {
    /// Prometheus text.
    pub text: u32,
    /// OpenMetrics.
    pub openmetrics: u32,
    /// Either of them, compressed with gzip.
    pub gzip: u32,
    /// Either of them, compressed with zstd.
    pub zstd: u32,
    /// JSON.
    pub json: u32,
}

/// The forms of one format.
#[derive(Debug, Default)]
struct Written {
    plain: OnceLock<Vec<Bytes>>,
    // Writing into memory does not fail; if it ever did, the plain text would still be an answer.
    gzip: OnceLock<Option<OpenGzip>>,
    zstd: OnceLock<Option<OpenZstd>>,
}

/// The forms of a page.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    text: Written,
    openmetrics: Written,
    num_text: AtomicU32,
    num_openmetrics: AtomicU32,
    num_gzip: AtomicU32,
    num_zstd: AtomicU32,
}

impl Forms {
    fn of(&self, format: Format) -> (&Written, &AtomicU32) {
        match format {
            Format::Text => (&self.text, &self.num_text),
            Format::OpenMetrics => (&self.openmetrics, &self.num_openmetrics),
        }
    }

    /// The pieces of the page in `format`.
    pub(crate) fn plain(&self, format: Format, render: impl FnOnce() -> Vec<Bytes>) -> &[Bytes] {
        let (written, count) = self.of(format);
        written.plain.get_or_init(|| {
            count.fetch_add(1, Ordering::Relaxed);
            render()
        })
    }

    /// Whether nothing is left to be written for that form.
    pub(crate) fn are_written(&self, format: Format, encoding: Encoding) -> bool {
        let (written, _) = self.of(format);
        match encoding {
            Encoding::Identity => written.plain.get().is_some(),
            Encoding::Gzip => written.gzip.get().is_some(),
            Encoding::Zstd => written.zstd.get().is_some(),
        }
    }

    /// The whole body with `tail` behind the page's own part, and how it is encoded. The shared part is not copied.
    pub(crate) fn body(
        &self,
        (format, encoding): (Format, Encoding),
        tail: Vec<u8>,
        render: impl FnOnce() -> Vec<Bytes>,
    ) -> (Vec<Bytes>, Encoding) {
        let plain = self.plain(format, render);
        let (written, _) = self.of(format);
        let packed = match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => {
                let open = written.gzip.get_or_init(|| {
                    self.num_gzip.fetch_add(1, Ordering::Relaxed);
                    OpenGzip::begin(plain).ok()
                });
                open.as_ref().and_then(|open| open.finish(&tail).ok())
            }
            Encoding::Zstd => {
                let open = written.zstd.get_or_init(|| {
                    self.num_zstd.fetch_add(1, Ordering::Relaxed);
                    OpenZstd::begin(plain).ok()
                });
                open.as_ref().map(|open| open.finish(&tail))
            }
        };
        match packed {
            Some(parts) => (parts.to_vec(), encoding),
            None => {
                let mut parts = plain.to_vec();
                parts.push(Bytes::from(tail));
                (parts, Encoding::Identity)
            }
        }
    }

    /// How often each was written.
    pub(crate) fn renders(&self) -> Renders {
        let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
        Renders {
            text: count(&self.num_text),
            openmetrics: count(&self.num_openmetrics),
            gzip: count(&self.num_gzip),
            zstd: count(&self.num_zstd),
            json: 0,
        }
    }
}
