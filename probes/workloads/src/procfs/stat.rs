// SPDX-License-Identifier: Apache-2.0
//! `/proc/PID/stat`. Field numbers are those of proc_pid_stat(5).

use attribution::model::{Comm, TaskKey, TaskKind};

/// `task_struct.flags` of a task that is on its way out (include/linux/sched.h).
const PF_EXITING: u32 = 0x0000_0004;
/// `task_struct.flags` of a kernel thread (include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;

/// One process, as `/proc/PID/stat` tells it; times are those of the whole thread group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidStat {
    /// Process id (field 1).
    pub pid: u32,
    /// Command name (field 2).
    pub comm: Comm,
    /// Parent (field 4).
    pub parent: u32,
    /// `PF_*` flags of the leader (field 9).
    pub flags: u32,
    /// Ticks in user mode (field 14).
    pub user_ticks: u64,
    /// Ticks in the kernel (field 15).
    pub system_ticks: u64,
    /// Ticks in user mode of the children that were waited for, and of those that these had waited for (field 16).
    pub child_user_ticks: u64,
    /// The same in the kernel (field 17).
    pub child_system_ticks: u64,
    /// Start after boot in ticks (field 22).
    pub start_ticks: u64,
    /// CPU that the leader last ran on (field 39).
    pub processor: u32,
}

impl PidStat {
    /// Parses the file; `None` where it is not one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|byte| *byte == b'(')?;
        // A process names itself freely, `) R 1 (` included; nothing after the name holds a parenthesis.
        let close = bytes.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(bytes.get(..open)?)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let comm = Comm::from_bytes(bytes.get(open + 1..close)?);
        let mut fields = std::str::from_utf8(bytes.get(close + 1..)?)
            .ok()?
            .split_ascii_whitespace();
        // Each `nth` skips from the field after the one before it.
        Some(Self {
            pid,
            comm,
            parent: fields.nth(1)?.parse().ok()?,
            flags: fields.nth(4)?.parse().ok()?,
            user_ticks: fields.nth(4)?.parse().ok()?,
            system_ticks: fields.next()?.parse().ok()?,
            child_user_ticks: fields.next()?.parse().ok()?,
            child_system_ticks: fields.next()?.parse().ok()?,
            start_ticks: fields.nth(4)?.parse().ok()?,
            processor: fields.nth(16)?.parse().ok()?,
        })
    }

    /// The id that no later process shares.
    #[must_use]
    pub const fn key(&self) -> TaskKey {
        TaskKey {
            tgid: self.pid,
            start_ticks: self.start_ticks,
        }
    }

    /// Whose code it runs.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        if self.flags & PF_KTHREAD == 0 {
            TaskKind::User
        } else {
            TaskKind::Kernel
        }
    }

    /// Whether the leader is exiting or a zombie: version-1 hierarchies then say `/` whatever it was in
    /// (`proc_cgroup_show` in kernel/cgroup/cgroup.c).
    #[must_use]
    pub const fn exiting(&self) -> bool {
        self.flags & PF_EXITING != 0
    }

    /// Ticks on a CPU, user and system.
    #[must_use]
    pub const fn cpu_ticks(&self) -> u64 {
        self.user_ticks.saturating_add(self.system_ticks)
    }

    /// Ticks of the children that were waited for, user and system.
    #[must_use]
    pub const fn child_ticks(&self) -> u64 {
        self.child_user_ticks.saturating_add(self.child_system_ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "4711 (sh) S 1 4711 4711 0 -1 4194560 120 340 0 1 77 23 5 6 20 0 1 0 987654 2500000 200 \
        18446744073709551615 1 1 0 0 0 0 0 0 65538 0 0 0 17 3 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn fields_are_those_of_the_manual_page() {
        let stat = PidStat::parse(LINE.as_bytes()).unwrap();
        assert_eq!(
            (stat.pid, stat.comm.to_text().as_str(), stat.parent),
            (4711, "sh", 1)
        );
        assert_eq!(
            (stat.user_ticks, stat.system_ticks, stat.cpu_ticks()),
            (77, 23, 100)
        );
        assert_eq!(
            (stat.child_user_ticks, stat.child_system_ticks, stat.child_ticks()),
            (5, 6, 11)
        );
        assert_eq!((stat.start_ticks, stat.processor), (987_654, 3));
        assert_eq!(stat.flags, 4_194_560);
        assert_eq!((stat.kind(), stat.exiting()), (TaskKind::User, false));
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let plain = PidStat::parse(LINE.as_bytes()).unwrap();
        for name in [") R 1 (", "a b", "((", "))", "\n", ""] {
            let line = LINE.replace("(sh)", &format!("({name})"));
            let stat = PidStat::parse(line.as_bytes()).unwrap();
            assert_eq!(stat.comm.to_text(), name);
            assert_eq!((stat.start_ticks, stat.parent), (plain.start_ticks, plain.parent));
        }
        let bytes = [
            b"1 (\xff\xfe) ".as_slice(),
            LINE.split_once(") ").unwrap().1.as_bytes(),
        ]
        .concat();
        assert_eq!(PidStat::parse(&bytes).unwrap().start_ticks, 987_654);
    }

    #[test]
    fn kernel_threads_and_dying_processes_are_told_by_their_flags() {
        // 69238880 = 0x4208060: kthreadd as seen on a 6.x kernel; 4194564 = 0x400104: a zombie shell.
        let kernel = PidStat::parse(LINE.replace("4194560", "69238880").as_bytes()).unwrap();
        assert_eq!(kernel.kind(), TaskKind::Kernel);
        let zombie = PidStat::parse(LINE.replace("4194560", "4194564").as_bytes()).unwrap();
        assert!(zombie.exiting());
    }

    #[test]
    fn a_cut_file_is_no_process() {
        let end = LINE.find(" 3 0 0").unwrap();
        for cut in 0..end {
            assert_eq!(PidStat::parse(&LINE.as_bytes()[..cut]), None, "{}", &LINE[..cut]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(0_u8..=255, 0..200)) {
            let _ = PidStat::parse(&bytes);
        }
    }
}
