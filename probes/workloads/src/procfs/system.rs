// SPDX-License-Identifier: Apache-2.0
//! The `cpuN` lines of `/proc/stat` (proc_stat(5)).

/// Time of one CPU since boot in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// The CPU.
    pub cpu: u32,
    /// Ran something: user, nice, system, irq and softirq. `guest` is part of user already, `guest_nice` of nice.
    pub busy_ticks: u64,
    /// Ran nothing: idle and iowait.
    pub idle_ticks: u64,
    /// Wanted to run while the hypervisor ran someone else; neither busy nor idle.
    pub steal_ticks: u64,
}

impl CpuTimes {
    /// Parses all `cpuN` lines into `lines`; `None` where there is none or one is broken.
    pub fn parse_all(bytes: &[u8], lines: &mut Vec<Self>) -> Option<()> {
        lines.clear();
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some(rest) = line.strip_prefix(b"cpu") else {
                // The cpu lines come first; what follows (the interrupt line) is long.
                break;
            };
            if rest.first() == Some(&b' ') {
                continue; // the sum of all CPUs
            }
            lines.push(Self::parse(std::str::from_utf8(rest).ok()?)?);
        }
        (!lines.is_empty()).then_some(())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let cpu = fields.next()?.parse().ok()?;
        let mut next = || fields.next()?.parse::<u64>().ok();
        let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
        let (iowait, irq, softirq) = (next()?, next()?, next()?);
        // Kernels before 2.6.11 have no steal field.
        let steal = next().unwrap_or(0);
        Some(Self {
            cpu,
            busy_ticks: [user, nice, system, irq, softirq]
                .into_iter()
                .fold(0, u64::saturating_add),
            idle_ticks: idle.saturating_add(iowait),
            steal_ticks: steal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_leaves_guest_and_steal_out_and_idle_takes_iowait_in() {
        let text = b"cpu  11 22 33 44 55 66 77 88 9 9\ncpu0 1 2 3 4 5 6 7 8 100 200\ncpu12 10 0 0 40 0 0 0 0 0 0\nintr 1 cpu7\n";
        let mut lines = Vec::new();
        CpuTimes::parse_all(text, &mut lines).unwrap();
        assert_eq!(
            lines,
            [
                CpuTimes {
                    cpu: 0,
                    busy_ticks: 1 + 2 + 3 + 6 + 7,
                    idle_ticks: 9,
                    steal_ticks: 8
                },
                CpuTimes {
                    cpu: 12,
                    busy_ticks: 10,
                    idle_ticks: 40,
                    steal_ticks: 0
                },
            ]
        );
    }

    #[test]
    fn a_file_without_cpu_lines_is_refused() {
        let mut lines = Vec::new();
        for text in ["", "intr 1 2\n", "cpu  1 2 3 4 5 6 7\n", "cpu0 1 2 x\n"] {
            assert_eq!(CpuTimes::parse_all(text.as_bytes(), &mut lines), None, "{text}");
        }
    }
}
