// SPDX-License-Identifier: Apache-2.0
//! A zone in a folder that the host of this virtual machine writes and shares into it (`vm_passthrough.dir` of its daemon,
//! docs/vm-passthrough.md in this project): owns how such a counter is read. It is told from the kernel's own by the file
//! `provenance`, and shows the machine's share of a meter or of a model, so it never carries a meter's name.
//!
//! The file is opened for each reading: the host has two files take turns, so a whole value is only what a name leads to. When the
//! host writes less often than we read, a reading is repeated with the moment at which it was new.

use crate::files::{Fault, parse_number, small_file};
use crate::moment::{Asked, Moment};
use attribution::model::{ErrorReason, Permille, Provenance};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Says that a zone is the host's, and where its figures come from.
pub(super) const PROVENANCE: &str = "provenance";

/// A host that has not written for three of its longest ticks does not write any more.
const SILENT: Duration = Duration::from_secs(180);

/// What the host's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) raw: u64,
    pub(super) provenance: Provenance,
    /// When it was new to us.
    pub(super) when: Moment,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Shared {
    dir: PathBuf,
    /// When the host wrote last, by its own clock, and when we saw that.
    newest: Option<(SystemTime, Moment)>,
}

impl Shared {
    /// Of the zone in `dir`.
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir, newest: None }
    }

    /// Whether the zone in `dir` is one of a host's.
    pub(super) fn is_in(dir: &Path) -> bool {
        dir.join(PROVENANCE).exists()
    }

    /// Begins anew with time: what was read so far was no reading.
    pub(super) const fn was_only_tried(&mut self) {
        self.newest = None;
    }

    /// Reads what the host says.
    pub(super) fn read(&mut self, asked: Asked) -> Result<Shown, Fault> {
        let provenance = provenance(&self.dir)?;
        let path = self.dir.join("energy_uj");
        let (bytes, written) = stamped(&path).map_err(|error| Fault::io(&path, &error))?;
        let raw = parse_number(&bytes).ok_or_else(|| Fault::parse(&path, &bytes, "a number"))?;
        let when = match self.newest {
            Some((before, when)) if before == written => when,
            _ => self.newest.insert((written, asked.answered())).1,
        };
        let silent = asked.at.since(when.at);
        if silent >= SILENT {
            return Err(Fault {
                reason: ErrorReason::Timeout,
                words: format!(
                    "{}: the host has not written for {} s; does its daemon run, with this machine in vm_passthrough.dir?",
                    path.display(),
                    silent.as_secs()
                ),
            });
        }
        Ok(Shown {
            raw,
            provenance,
            when,
        })
    }
}

/// The bytes and the time of one and the same file.
fn stamped(path: &Path) -> io::Result<(Vec<u8>, SystemTime)> {
    /// A `u64` has 20 digits.
    const LONGEST: u64 = 32;
    let file = File::open(path)?;
    let written = file.metadata()?.modified()?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok((bytes, written))
}

fn provenance(dir: &Path) -> Result<Provenance, Fault> {
    let path = dir.join(PROVENANCE);
    let bytes = small_file(&path)?;
    parse(&bytes).ok_or_else(|| {
        Fault::parse(
            &path,
            &bytes,
            "counted, integrated, or estimated with an error such as 0.250",
        )
    })
}

/// `counted`, `integrated` or `estimated 0.250`.
fn parse(bytes: &[u8]) -> Option<Provenance> {
    let text = str::from_utf8(bytes.strip_suffix(b"\n")?).ok()?;
    match text {
        "counted" => return Some(Provenance::Counted),
        "integrated" => return Some(Provenance::Integrated),
        _ => {}
    }
    let (whole, thousandths) = text.strip_prefix("estimated ")?.split_once('.')?;
    if thousandths.len() != 3 {
        return None;
    }
    let number = |digits: &str| parse_number(digits.as_bytes()).and_then(|value| u32::try_from(value).ok());
    let error = number(whole)?
        .checked_mul(1_000)?
        .checked_add(number(thousandths)?)?;
    Some(Provenance::Estimated {
        relative_error_p90: Permille(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_word_is_a_provenance_and_every_other_word_is_none() {
        let estimated = |error| {
            Some(Provenance::Estimated {
                relative_error_p90: Permille(error),
            })
        };
        let cases: [(&[u8], Option<Provenance>); 10] = [
            (b"counted\n", Some(Provenance::Counted)),
            (b"integrated\n", Some(Provenance::Integrated)),
            (b"estimated 0.250\n", estimated(250)),
            (b"estimated 1.003\n", estimated(1_003)),
            (b"estimated\n", None),
            (b"estimated 0.25\n", None),
            (b"estimated -0.250\n", None),
            (b"estimated 4294967.296\n", None),
            (b"counted", None),
            (b"", None),
        ];
        for (bytes, meant) in cases {
            assert_eq!(parse(bytes), meant, "{}", bytes.escape_ascii());
        }
    }
}
