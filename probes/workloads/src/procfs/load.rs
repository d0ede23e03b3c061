// SPDX-License-Identifier: Apache-2.0
//! How busy the node has been: context switches and threads. For choosing at start-up how to account CPU time.

use std::fs;
use std::path::Path;

/// What a node does, on the average since boot and right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Context switches of all CPUs, mean since boot (`ctxt` in proc_stat(5) over proc_uptime(5)).
    pub switches_per_second: u64,
    /// Threads that there are now (fourth field of proc_loadavg(5)).
    pub threads: u64,
}

impl Load {
    /// Reads the files below the root of proc. What cannot be read is 0.
    #[must_use]
    pub fn read(proc: &Path) -> Self {
        let text = |file: &str| fs::read_to_string(proc.join(file)).unwrap_or_default();
        Self {
            switches_per_second: switches(&text("stat"), &text("uptime")).unwrap_or_default(),
            threads: threads(&text("loadavg")).unwrap_or_default(),
        }
    }
}

pub(super) fn switches(stat: &str, uptime: &str) -> Option<u64> {
    let total: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("ctxt "))?
        .trim()
        .parse()
        .ok()?;
    let seconds: u64 = uptime.split('.').next()?.parse().ok()?;
    Some(total / seconds.max(1))
}

pub(super) fn threads(loadavg: &str) -> Option<u64> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_a_mean_since_boot_and_threads_are_all_of_them() {
        assert_eq!(
            switches("cpu 1 2\nctxt 9000\nbtime 1\n", "90.71 1.00\n"),
            Some(100)
        );
        assert_eq!(switches("ctxt 5\n", "0.20 0.00\n"), Some(5));
        assert_eq!(switches("cpu 1\n", "1.0 1.0"), None);
        assert_eq!(threads("0.20 0.18 0.12 1/780 11206\n"), Some(780));
        assert_eq!(threads("0.20"), None);
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        assert_eq!(Load::read(Path::new("/nowhere")), Load::default());
    }
}
