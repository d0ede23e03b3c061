// SPDX-License-Identifier: Apache-2.0
//! Everything that can go wrong here, and the words for "not permitted".

use crate::preflight::{Capabilities, Capability};
use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::sys::SyscallError;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the probe does not measure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel does not carry its types, so no field of its structs can be found.
    #[error(
        "no kernel types in {path}: a kernel built with CONFIG_DEBUG_INFO_BTF and a mounted /sys are needed"
    )]
    NoBtf {
        /// Where they should be.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: aya::BtfError,
    },
    /// The kernel refused with EPERM.
    #[error("not permitted to {doing}: {hint}")]
    NotPermitted {
        /// What was refused.
        doing: String,
        /// What is missing, and what to do.
        hint: String,
        /// What the kernel said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The object or its maps did not load.
    #[error("cannot load the eBPF object")]
    Object(#[source] EbpfError),
    /// A map misbehaved.
    #[error("eBPF map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What was wrong.
        #[source]
        source: MapError,
    },
    /// A map could not be read or pruned.
    #[error("cannot {doing} eBPF map {map}")]
    Batch {
        /// `read` or `prune`.
        doing: &'static str,
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A program did not load or attach.
    #[error("eBPF program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What was wrong.
        #[source]
        source: ProgramError,
    },
    /// The kernel did not list the threads.
    #[error("cannot list the threads of the machine by eBPF (iter/task)")]
    Pass(#[source] Box<dyn Error + Send + Sync>),
    /// The object lacks something that this code expects; they were not built together.
    #[error("the eBPF object has no {what}")]
    Mismatch {
        /// What is missing.
        what: &'static str,
    },
    /// The list of CPUs could not be read.
    #[error("cannot read {path}")]
    Cpus {
        /// From where.
        path: &'static str,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
    /// The kernel's run-time statistics could not be switched on.
    #[error("cannot switch on the run-time statistics of eBPF, which needs CAP_SYS_ADMIN")]
    Stats(#[source] SyscallError),
}

impl ProbeError {
    /// Says so when the reason is EPERM, naming what `capabilities` lacks.
    pub(crate) fn or_not_permitted(self, doing: &str, capabilities: Option<Capabilities>) -> Self {
        if !is_eperm(&self) {
            return self;
        }
        Self::NotPermitted {
            doing: doing.to_owned(),
            hint: hint(capabilities),
            source: Box::new(self),
        }
    }
}

/// Says which map misbehaved.
pub(crate) fn in_map(map: &'static str) -> impl FnOnce(MapError) -> ProbeError {
    move |source| ProbeError::Map { map, source }
}

/// Says which program did not load or attach.
pub(crate) fn in_program(program: &'static str) -> impl FnOnce(ProgramError) -> ProbeError {
    move |source| ProbeError::Program { program, source }
}

/// Says what was being done with which map.
pub(crate) fn in_batch(doing: &'static str, map: &'static str) -> impl FnOnce(io::Error) -> ProbeError {
    move |source| ProbeError::Batch { doing, map, source }
}

/// Whether EPERM is somewhere behind `error`. Not EACCES: that is the verifier's word for a program it does not like.
fn is_eperm(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        if code == Some(libc::EPERM) {
            return true;
        }
        next = error.source();
    }
    false
}

fn hint(capabilities: Option<Capabilities>) -> String {
    let Some(capabilities) = capabilities else {
        return "CAP_BPF and CAP_PERFMON are needed, and /proc/thread-self/status does not say which we have"
            .to_owned();
    };
    let missing: Vec<_> = capabilities.missing().into_iter().map(Capability::name).collect();
    if missing.is_empty() {
        return "CAP_BPF and CAP_PERFMON are held, so a user namespace, seccomp, lockdown or a security module \
                refuses; before Linux 5.11 also a low RLIMIT_MEMLOCK (set LimitMEMLOCK=infinity)"
            .to_owned();
    }
    format!(
        "missing {}; grant it (or CAP_SYS_ADMIN, or run as root)",
        missing.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32) -> ProbeError {
        ProbeError::Map {
            map: "tasks",
            source: MapError::CreateError {
                name: "tasks".to_owned(),
                io_error: io::Error::from_raw_os_error(code),
            },
        }
    }

    fn capabilities(mask: &str) -> Option<Capabilities> {
        Capabilities::from_status(&format!("CapEff:\t{mask}\n"))
    }

    #[test]
    fn a_refusal_names_the_capability_that_is_missing() {
        let text = |mask| {
            refused(libc::EPERM)
                .or_not_permitted("load", capabilities(mask))
                .to_string()
        };
        assert!(text("0000000000000000").contains("missing CAP_BPF and CAP_PERFMON"));
        assert!(text("0000004000000000").contains("missing CAP_BPF;"));
        assert!(text("0000008000000000").contains("missing CAP_PERFMON;"));
        assert!(text("000000c000000000").contains("seccomp"));
    }

    #[test]
    fn a_verdict_of_the_verifier_is_no_refusal() {
        let error = refused(libc::EACCES).or_not_permitted("load", capabilities("0000000000000000"));
        assert!(matches!(error, ProbeError::Map { .. }));
    }
}
