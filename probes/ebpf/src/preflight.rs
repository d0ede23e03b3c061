// SPDX-License-Identifier: Apache-2.0
//! What this machine and this process have of what the programs need: for `kepler check`, and for errors that say
//! what is missing.
//!
//! Only reads files below a root; loads nothing and asks the kernel for no right. Whether loading works is known only
//! by loading.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The kernel's types, which CO-RE needs.
const BTF: &str = "sys/kernel/btf/vmlinux";

/// First two bytes of BTF (kernel: include/uapi/linux/btf.h), in the byte order of the machine.
const BTF_MAGIC: u16 = 0xeb9f;

/// A capability that decides about eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Maps and programs.
    Bpf,
    /// Programs that read kernel memory: all of ours.
    Perfmon,
    /// Implies both; alone allows the kernel's run-time statistics.
    SysAdmin,
}

impl Capability {
    /// Its number in include/uapi/linux/capability.h.
    const fn bit(self) -> u32 {
        match self {
            Self::Bpf => 39,
            Self::Perfmon => 38,
            Self::SysAdmin => 21,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        }
    }
}

/// The effective capabilities of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Out of the text of `/proc/PID/status` (line `CapEff`, 64 bits in hex).
    #[must_use]
    pub fn from_status(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(mask.trim(), 16).ok().map(Self)
    }

    /// Whether it is in the set itself.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability.bit()) != 0
    }

    /// What loading needs and this set does not give, in words: `CAP_BPF`, `CAP_PERFMON`, both, or nothing.
    #[must_use]
    pub fn missing(self) -> Vec<Capability> {
        // bpf_capable() and perfmon_capable() take CAP_SYS_ADMIN as well (kernel: include/linux/capability.h).
        [Capability::Bpf, Capability::Perfmon]
            .into_iter()
            .filter(|needed| !self.has(*needed) && !self.has(Capability::SysAdmin))
            .collect()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// `uname -r`; `None` where /proc does not say.
    pub kernel_release: Option<String>,
    /// Whether the kernel carries its types, or why not.
    pub btf: Result<(), String>,
    /// Effective `CAP_BPF`, or `CAP_SYS_ADMIN` in its place.
    pub cap_bpf: bool,
    /// Effective `CAP_PERFMON`, or `CAP_SYS_ADMIN` in its place.
    pub cap_perfmon: bool,
    /// Effective `CAP_SYS_ADMIN` itself.
    pub cap_sys_admin: bool,
    /// The lockdown mode (`none`, `integrity`, `confidentiality`); `None` where the kernel has none. Under
    /// `confidentiality` no program may read kernel memory.
    pub lockdown: Option<String>,
    /// Whether we see pids as the kernel's first pid namespace numbers them, as eBPF does.
    pub host_pids: bool,
}

impl Preflight {
    /// Whether nothing that was looked at speaks against loading.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.btf.is_ok()
            && self.cap_bpf
            && self.cap_perfmon
            && self.lockdown.as_deref() != Some("confidentiality")
    }
}

/// Looks at the machine below `root` (`/`) as the calling process sees it.
#[must_use]
pub fn inspect(root: &Path) -> Preflight {
    let capabilities = capabilities(root).unwrap_or_default();
    let missing = capabilities.missing();
    Preflight {
        kernel_release: fs::read_to_string(root.join("proc/sys/kernel/osrelease"))
            .ok()
            .map(|text| text.trim().to_owned()),
        btf: btf(&root.join(BTF)),
        cap_bpf: !missing.contains(&Capability::Bpf),
        cap_perfmon: !missing.contains(&Capability::Perfmon),
        cap_sys_admin: capabilities.has(Capability::SysAdmin),
        lockdown: fs::read_to_string(root.join("sys/kernel/security/lockdown"))
            .ok()
            .and_then(|text| lockdown_mode(&text)),
        host_pids: fs::read_link(root.join("proc/self/ns/pid"))
            .is_ok_and(|link| is_first_pid_namespace(&link)),
    }
}

/// Where the kernel's types are.
pub(crate) fn btf_path() -> PathBuf {
    Path::new("/").join(BTF)
}

/// The effective capabilities of the calling thread; each thread has its own.
pub(crate) fn capabilities(root: &Path) -> Option<Capabilities> {
    fs::read_to_string(root.join("proc/thread-self/status"))
        .ok()
        .and_then(|status| Capabilities::from_status(&status))
}

fn btf(path: &Path) -> Result<(), String> {
    let mut magic = [0_u8; 2];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "{} does not exist: the kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted",
                path.display()
            ),
            _ => format!("cannot read {}: {error}", path.display()),
        })?;
    if u16::from_ne_bytes(magic) == BTF_MAGIC {
        Ok(())
    } else {
        Err(format!("{} is no BTF", path.display()))
    }
}

/// `none [integrity] confidentiality`: the mode in brackets is on.
fn lockdown_mode(text: &str) -> Option<String> {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .map(str::to_owned)
}

/// The first pid namespace has a fixed inode (`PROC_PID_INIT_INO`, kernel: include/linux/proc_ns.h).
fn is_first_pid_namespace(link: &Path) -> bool {
    link.as_os_str() == "pid:[4026531836]"
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
