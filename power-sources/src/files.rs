// SPDX-License-Identifier: Apache-2.0
//! Bytes of one small file of the kernel's to a number: owns opening, reading and parsing, and what a failure is called.
//!
//! Strict on purpose: decimal digits and one newline are a reading, everything else is none. Knows no meter.

use attribution::model::ErrorReason;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Longest file that is read: a `u64` has 20 digits, a label of a driver's a few words. What is longer is cut, and is then
/// neither a number nor a name that anybody knows.
const LONGEST: usize = 128;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// For the metric.
    pub(crate) reason: ErrorReason,
    /// For people: path, what was found, what to do.
    pub(crate) words: String,
}

impl Fault {
    /// What the kernel answered for `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        // ENXIO and ENODEV: the device behind an open file is gone. std has no portable kinds for them.
        const ENXIO: i32 = 6;
        const ENODEV: i32 = 19;
        let gone =
            error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(ENXIO | ENODEV));
        let hint = if error.kind() == io::ErrorKind::PermissionDenied {
            "; needs CAP_DAC_READ_SEARCH or root"
        } else {
            ""
        };
        Self {
            reason: if gone { ErrorReason::Gone } else { ErrorReason::Io },
            words: format!("{}: {error}{hint}", path.display()),
        }
    }

    /// `path` holds something else than `expected`.
    pub(crate) fn parse(path: &Path, found: &[u8], expected: &str) -> Self {
        let shown = found.get(..found.len().min(LONGEST)).unwrap_or(found);
        Self {
            reason: ErrorReason::Parse,
            words: format!(
                "{}: found \"{}\", expected {expected}",
                path.display(),
                shown.escape_ascii()
            ),
        }
    }
}

/// A file with a number that is kept open.
#[derive(Debug)]
pub(crate) struct OpenNumber {
    file: File,
    path: PathBuf,
}

impl OpenNumber {
    /// Opens `path` and reads nothing yet.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Fault> {
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(Fault::io(&path, &error)),
        }
    }

    /// Reads a number that is never negative. sysfs asks the driver anew at each read of offset 0.
    pub(crate) fn read(&self) -> Result<u64, Fault> {
        self.parsed(parse_number, "a number")
    }

    /// Reads a number that may be negative, as a current is.
    pub(crate) fn read_signed(&self) -> Result<i128, Fault> {
        self.parsed(parse_signed, "a number")
    }

    fn parsed<T>(&self, parse: fn(&[u8]) -> Option<T>, expected: &str) -> Result<T, Fault> {
        let mut bytes = [0_u8; LONGEST];
        let answer = self
            .file
            .metadata()
            .and_then(|facts| Ok((facts.nlink(), self.file.read_at(&mut bytes, 0)?)));
        match answer {
            // sysfs answers ENODEV for a file that was removed, a plain tree (a replay) the old bytes for ever.
            Ok((0, _)) => Err(Fault {
                reason: ErrorReason::Gone,
                words: format!("{}: removed or replaced", self.path.display()),
            }),
            Ok((_, length)) => {
                let bytes = bytes.get(..length).unwrap_or_default();
                parse(bytes).ok_or_else(|| Fault::parse(&self.path, bytes, expected))
            }
            Err(error) => Err(Fault::io(&self.path, &error)),
        }
    }
}

/// Reads a small file once.
pub(crate) fn small_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(LONGEST);
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Fault::io(path, &error)),
    }
}

/// Reads a file that holds one number.
pub(crate) fn number_file(path: &Path) -> Result<u64, Fault> {
    number(path, &small_file(path)?)
}

fn number(path: &Path, bytes: &[u8]) -> Result<u64, Fault> {
    parse_number(bytes).ok_or_else(|| Fault::parse(path, bytes, "a number"))
}

/// Decimal digits, then at most one newline; `None` for everything else and for what does not fit 64 bits.
pub(crate) fn parse_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// As [`parse_number`], with a minus before it or without.
pub(crate) fn parse_signed(bytes: &[u8]) -> Option<i128> {
    match bytes.strip_prefix(b"-") {
        Some(digits) => parse_number(digits).map(|value| -i128::from(value)),
        None => parse_number(bytes).map(i128::from),
    }
}

/// Reads a file that holds one line of text, such as a driver's label.
pub(crate) fn text_file(path: &Path) -> Result<String, Fault> {
    let bytes = small_file(path)?;
    parse_text(&bytes).ok_or_else(|| Fault::parse(path, &bytes, "a line of text"))
}

/// UTF-8 without control characters; blanks, newlines and zeros around it are not part of it (ACPI pads its texts).
pub(crate) fn parse_text(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    let text = text.trim_matches(|sign: char| sign.is_whitespace() || sign == '\0');
    (!text.contains(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_number_has_one_minus_at_most_and_digits_after_it() {
        assert_eq!(parse_signed(b"-12\n"), Some(-12));
        assert_eq!(parse_signed(b"12"), Some(12));
        assert_eq!(
            parse_signed(b"-18446744073709551615"),
            Some(-i128::from(u64::MAX))
        );
        let garbage: [&[u8]; 6] = [b"", b"-", b"--1", b"- 1", b"1-", b"-+1"];
        for bytes in garbage {
            assert_eq!(parse_signed(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_text_is_one_line_without_its_padding() {
        assert_eq!(
            parse_text(b"Grace Power Socket 0\n").as_deref(),
            Some("Grace Power Socket 0")
        );
        assert_eq!(parse_text(b"  CPU \0\n\0").as_deref(), Some("CPU"));
        assert_eq!(parse_text(b"\n").as_deref(), Some(""));
        assert_eq!(parse_text(b"two\nlines"), None);
        assert_eq!(parse_text(b"\xff"), None);
    }

    #[test]
    fn only_digits_and_one_newline_are_a_number() {
        assert_eq!(parse_number(b"0\n"), Some(0));
        assert_eq!(parse_number(b"262143328850\n"), Some(262_143_328_850));
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX));
        let garbage: [&[u8]; 11] = [
            b"",
            b"\n",
            b"1\n\n",
            b" 1",
            b"1 ",
            b"+1",
            b"-1",
            b"1.5",
            b"0x1f",
            b"18446744073709551616",
            b"1\0",
        ];
        for bytes in garbage {
            assert_eq!(parse_number(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn failures_get_the_reason_that_people_can_act_on() {
        let path = Path::new("/p/energy_uj");
        let fault = |number| Fault::io(path, &io::Error::from_raw_os_error(number));
        for (number, reason) in [
            (2, ErrorReason::Gone),  // ENOENT
            (19, ErrorReason::Gone), // ENODEV
            (6, ErrorReason::Gone),  // ENXIO
            (22, ErrorReason::Io),   // EINVAL
            (5, ErrorReason::Io),    // EIO
            (61, ErrorReason::Io),   // ENODATA
            (13, ErrorReason::Io),   // EACCES
        ] {
            assert_eq!(fault(number).reason, reason, "errno {number}");
            assert!(fault(number).words.starts_with("/p/energy_uj: "));
        }
        assert!(fault(13).words.contains("needs CAP_DAC_READ_SEARCH or root"));
        assert!(!fault(5).words.contains("CAP_DAC_READ_SEARCH"));
    }
}
