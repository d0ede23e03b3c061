// SPDX-License-Identifier: Apache-2.0
//! System calls that the daemon never makes and that an intruder would: refused with `EPERM` for the rest of its life.
//!
//! A list of what is refused and not of what is allowed: what a C library calls changes with its version, and a daemon that is
//! killed for a new `clone3` of its runtime is worse than one without a filter.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::collections::BTreeMap;

/// Starting programs, looking into or changing other processes, changing the machine and its mounts, and calls that have
/// given their caller the kernel more than once.
const REFUSED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_personality,
];

/// The bit of calls of the x32 ABI, which a kernel may have beside x86-64's own under the same name of architecture
/// (arch/x86/include/uapi/asm/unistd.h).
const X32: i64 = 0x4000_0000;

/// Numbers that only x32 has, for calls whose structures differ (execve among them).
const OF_X32_ALONE: std::ops::RangeInclusive<i64> = if cfg!(target_arch = "x86_64") {
    X32 + 512..=X32 + 547
} else {
    // Empty.
    std::ops::RangeInclusive::new(1, 0)
};

/// The same call of x32.
const fn under_x32(call: i64) -> Option<i64> {
    if cfg!(target_arch = "x86_64") {
        Some(call | X32)
    } else {
        None
    }
}

/// Refuses them to the calling thread and those that it starts.
pub(super) fn refuse() -> Result<String, String> {
    let program = program().map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())?;
    Ok(format!("{} system calls refused", REFUSED.len()))
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<_, _> = REFUSED
        .iter()
        .flat_map(|call| [Some(*call), under_x32(*call)])
        .flatten()
        .chain(OF_X32_ALONE)
        .map(|call| (call, Vec::new()))
        .collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        refused,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::process::Command;

    #[test]
    fn a_thread_that_gave_them_up_starts_no_program_and_the_others_do() {
        let thread = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            refuse().unwrap();
            let started = Command::new("/bin/true").status().map_err(|error| error.kind());
            assert_eq!(
                started.map(|status| status.success()),
                Err(ErrorKind::PermissionDenied)
            );
            assert!(std::fs::read("/proc/self/stat").is_ok());
        });
        thread.join().unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
}
