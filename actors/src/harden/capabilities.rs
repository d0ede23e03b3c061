// SPDX-License-Identifier: Apache-2.0
//! Capabilities: which are kept, by whom. All others leave the thread's sets and, as far as that is allowed, its bounding set.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What the daemon uses while it runs, where it was given it. docs/hardening.md says what each is for and what is lost
/// without it.
pub(super) const OF_THE_DAEMON: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// What answering HTTP uses: certificates may belong to somebody else when they are read anew.
pub(super) const OF_HTTP: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Keeps of the calling thread's capabilities those that are wanted. Gives what is left, in words.
pub(super) fn keep(wanted: CapabilitySet) -> io::Result<String> {
    let held = capabilities(None)?;
    let kept = held.permitted & wanted;
    clear_ambient_capability_set()?;
    // Needs CAP_SETPCAP, which leaves with the others. Without it nothing can be gained either, since no_new_privs is set.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (CapabilitySet::all() - wanted).iter() {
            match remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(io::Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: held.effective & kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    let names: Vec<String> = kept.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    Ok(match names.is_empty() {
        true => "none kept".to_owned(),
        false => format!("kept {}", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_gone_and_does_not_come_back() {
        // Capabilities are a thread's, so no other test is touched.
        let thread = std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            let words = keep(CapabilitySet::BPF).unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after.permitted, before.permitted & CapabilitySet::BPF);
            assert_eq!(after.inheritable, CapabilitySet::empty());
            assert!(set_capabilities(None, before).is_err() || before.permitted == after.permitted);
            let is_there = before.permitted.contains(CapabilitySet::BPF);
            assert_eq!(words, if is_there { "kept CAP_BPF" } else { "none kept" });
        });
        thread.join().unwrap();
    }
}
