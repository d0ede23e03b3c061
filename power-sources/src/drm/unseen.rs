// SPDX-License-Identifier: Apache-2.0
//! What could not be looked at: owns the counts since they were told last, and says them once a scan and not per process.

use super::processes::{MOST_HANDLES, MOST_PROCESSES};
use crate::files::Fault;
use attribution::model::{ErrorReason, MonotonicNanos};
use std::path::Path;
use std::time::Duration;

/// Looks that failed since the last complaint.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Looks that the kernel refused.
    pub(super) refused: u64,
    /// Processes and files beyond what is kept; of one process's files, those beyond are one.
    pub(super) too_many: u64,
    /// When a look was refused last.
    hidden: Option<MonotonicNanos>,
    complained: Option<MonotonicNanos>,
}

impl Unseen {
    /// All looks of one reading are done; `refused_before` of them had been refused before it. What there is to say.
    pub(super) fn after_looks(
        &mut self,
        refused_before: u64,
        now: MonotonicNanos,
        scan: Duration,
        root: &Path,
    ) -> Vec<Fault> {
        if self.refused > refused_before {
            self.hidden = Some(now);
        }
        if self.complained.is_some_and(|last| now.since(last) < scan) {
            return Vec::new();
        }
        self.complaints(now, root)
    }

    /// Whether there may be users that cannot be seen: each process is looked at once in a scan, so a refusal says so for two.
    pub(super) fn hides_users(&self, now: MonotonicNanos, scan: Duration) -> bool {
        self.hidden
            .is_some_and(|last| now.since(last) <= scan.saturating_mul(2))
    }

    fn complaints(&mut self, now: MonotonicNanos, root: &Path) -> Vec<Fault> {
        let root = root.display();
        let mut faults = Vec::new();
        if self.refused > 0 {
            faults.push(Fault {
                reason: ErrorReason::Io,
                words: format!(
                    "{root}: {} looks at the open files of processes were refused, so their use of GPUs is not \
                     known; needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root",
                    self.refused
                ),
            });
        }
        if self.too_many > 0 {
            faults.push(Fault {
                reason: ErrorReason::Implausible,
                words: format!(
                    "{root}: {} processes or GPU files are beyond what is looked at ({MOST_PROCESSES} and {MOST_HANDLES} are the \
                     most); use of GPUs by what is beyond is not known",
                    self.too_many
                ),
            });
        }
        if !faults.is_empty() {
            self.complained = Some(now);
            (self.refused, self.too_many) = (0, 0);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_look_hides_users_for_two_scans() {
        let scan = Duration::from_secs(10);
        let at = |seconds| MonotonicNanos::ZERO.after(Duration::from_secs(seconds));
        let mut unseen = Unseen::default();
        unseen.after_looks(0, at(4), scan, Path::new("/proc"));
        assert!(!unseen.hides_users(at(4), scan));
        unseen.refused = 1;
        assert_eq!(unseen.after_looks(0, at(5), scan, Path::new("/proc")).len(), 1);
        assert!(unseen.hides_users(at(25), scan));
        assert!(!unseen.hides_users(at(26), scan));
    }
}
