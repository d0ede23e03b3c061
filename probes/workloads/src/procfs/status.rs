// SPDX-License-Identifier: Apache-2.0
//! `/proc/PID/status` (`proc_pid_status(5)`): whose process it is. Pure. The owner of the folder `/proc/PID` does not say it: that
//! is root as soon as a process makes itself undumpable, which anybody's may.

/// The real user id, by `Uid:`. The kernel writes a name with its line feeds escaped, so no process can write this line.
pub(super) fn real_user(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let users = lines.find_map(|line| line.strip_prefix(b"Uid:"))?;
    let real = users
        .split(u8::is_ascii_whitespace)
        .find(|user| !user.is_empty())?;
    std::str::from_utf8(real).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_user_is_the_first_of_four() {
        let status = b"Name:\tUid:\\n0\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\nUid:\t64055\t0\t0\t0\nGid:\t993\t993\t993\t993\n";
        assert_eq!(real_user(status), Some(64_055));
        for other in [
            "",
            "Uid:",
            "Uid:\t\n",
            "Uid:\t-1\t0\t0\t0\n",
            "Uid:\t4294967296\n",
            "xUid:\t1\n",
        ] {
            assert_eq!(real_user(other.as_bytes()), None, "{other:?}");
        }
    }
}
