// SPDX-License-Identifier: Apache-2.0
//! How large a machine is: its virtual CPUs and its memory, which are what it has reserved of the node. Pure.
//!
//! A machine that was made larger or smaller while it runs is as large as libvirt says when it is looked at last, at ten
//! seconds of age; its command line tells how it began. Xen's domains are outside of what dom0's kernel calls the node, and
//! a command line of VirtualBox, VMware, or a hypervisor that is told over a socket (Kata, Firecracker's API) says nothing.

use super::command::{has, value, values};
use super::qemu::suboption;
use attribution::model::Reservation;

/// The most virtual CPUs that are believed; QEMU's and KVM's own bound is 4,096.
const MOST_VCPUS: u64 = 4_096;
/// The most memory that is believed: what 52 bits of address reach.
const MOST_MEMORY: u64 = 1 << 52;

/// What is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) vcpus: Option<u64>,
    /// Bytes.
    pub(super) memory: Option<u64>,
}

impl Size {
    /// What can be believed of it.
    pub(super) fn new(vcpus: Option<u64>, memory: Option<u64>) -> Self {
        Self {
            vcpus: vcpus.filter(|vcpus| (1..=MOST_VCPUS).contains(vcpus)),
            memory: memory.filter(|memory| (1..=MOST_MEMORY).contains(memory)),
        }
    }

    /// With what `other` knows and this one does not.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.or(other.vcpus),
            memory: self.memory.or(other.memory),
        }
    }

    /// What is reserved by a machine of `hypervisor`, as in `VmFacts`; `None` where nothing is known.
    pub(super) fn reserved(self, hypervisor: &str) -> Option<Reservation> {
        let is_known = self != Self::default() && hypervisor != "xen";
        is_known.then(|| Reservation {
            millicpus: self.vcpus.unwrap_or(0) * 1_000,
            memory: self.memory.unwrap_or(0),
        })
    }
}

/// `-smp` and `-m` of qemu(1). Without them a machine has one CPU and 128 MiB.
pub(super) fn of_qemu(arguments: &[&[u8]]) -> Size {
    let smp = value(arguments, "smp");
    let number = |key: &str, implied: &str| {
        let text = suboption(smp?, key, implied)?;
        number(&text)
    };
    // The number of CPUs may follow from the topology alone, and else from how many it may have.
    let topology = [
        "drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads",
    ];
    let topology: Vec<u64> = topology.iter().filter_map(|part| number(part, "")).collect();
    let product = topology
        .iter()
        .try_fold(1_u64, |all, part| all.checked_mul(*part));
    let by_topology = product.filter(|_| !topology.is_empty());
    let vcpus = number("cpus", "cpus")
        .or_else(|| number("maxcpus", "").filter(|_| by_topology.is_none()))
        .or(by_topology);
    // Several `-m` add to each other's keys; the last size counts.
    let sizes = values(arguments, "m").into_iter().rev();
    let memory = sizes.filter_map(|text| suboption(text, "size", "size")).next();
    Size::new(
        vcpus.or_else(|| smp.is_none().then_some(1)),
        match memory {
            Some(text) => qemu_size(&text),
            None => Some(128 << 20),
        },
    )
}

/// `--cpus boot=4` and `--memory size=4G` of cloud-hypervisor, whose defaults are 1 and 512 MiB. Only where the command
/// line describes the machine at all: else that is told over a socket.
pub(super) fn of_cloud_hypervisor(arguments: &[&[u8]]) -> Size {
    let described = ["kernel", "firmware", "cpus", "memory"]
        .iter()
        .any(|option| has(arguments, option) || value(arguments, option).is_some());
    if !described {
        return Size::default();
    }
    let of = |option: &str, key: &str, default: u64, read: fn(&[u8]) -> Option<u64>| {
        let text = value(arguments, option).and_then(|text| suboption(text, key, ""));
        text.map_or(Some(default), |text| read(&text))
    };
    Size::new(
        of("cpus", "boot", 1, number),
        of("memory", "size", 512 << 20, plain_size),
    )
}

/// A size as QEMU reads one: in MiB where it has no unit.
fn qemu_size(text: &[u8]) -> Option<u64> {
    if text.last().is_some_and(u8::is_ascii_digit) {
        return number(text)?.checked_mul(1 << 20);
    }
    plain_size(text)
}

/// A size with a unit of one letter, all powers of 1024; bytes without one.
fn plain_size(text: &[u8]) -> Option<u64> {
    let (last, rest) = text.split_last()?;
    let shift = match last.to_ascii_lowercase() {
        b'b' => 0,
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        b'p' => 50,
        _ => return number(text),
    };
    number(rest)?.checked_mul(1 << shift)
}

/// A size as libvirt writes it: KiB where it has no unit (`virScaleInteger`).
pub(super) fn libvirt_size(text: &str, unit: Option<&str>) -> Option<u64> {
    let factor: u64 = match unit.unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    number(text.trim().as_bytes())?.checked_mul(factor)
}

/// A number and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_ascii_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn qemus_options_say_how_many_cpus_and_how_much_memory() {
        let cases = [
            ("", Some(1), Some(128 * MIB)),
            ("-smp 4 -m 4G", Some(4), Some(4_096 * MIB)),
            (
                "-smp 4,sockets=1,cores=4,threads=1 -m 2048",
                Some(4),
                Some(2_048 * MIB),
            ),
            (
                "-smp cpus=2,maxcpus=8 -m size=4194304k,slots=16,maxmem=8G",
                Some(2),
                Some(4_096 * MIB),
            ),
            ("-smp sockets=2,cores=3,threads=2 -m 1.5G", Some(12), None),
            ("-smp maxcpus=6", Some(6), Some(128 * MIB)),
            (
                "-smp 2 -smp 8 -m 1G -m slots=2,maxmem=4G",
                Some(8),
                Some(1_024 * MIB),
            ),
            ("-smp 0 -m 0", None, None),
            ("-smp 99999 -m 999999999P", None, None),
            ("-smp four -m all", None, None),
            ("-m size=512M", Some(1), Some(512 * MIB)),
            ("-m 134217728b", Some(1), Some(128 * MIB)),
        ];
        for (line, vcpus, memory) in cases {
            assert_eq!(of_qemu(&words(line)), Size { vcpus, memory }, "{line}");
        }
    }

    #[test]
    fn cloud_hypervisors_options_say_so_where_they_are_there() {
        let cases = [
            (
                "--kernel k --cpus boot=4,max=8 --memory size=4G,shared=on",
                Some(4),
                Some(4_096 * MIB),
            ),
            ("--kernel=k", Some(1), Some(512 * MIB)),
            ("--kernel k --memory size=1073741824", Some(1), Some(1_024 * MIB)),
            ("--kernel k --cpus boot=x", None, Some(512 * MIB)),
            ("--api-socket /run/vc/vm/x/clh-api.sock", None, None),
        ];
        for (line, vcpus, memory) in cases {
            assert_eq!(
                of_cloud_hypervisor(&words(line)),
                Size { vcpus, memory },
                "{line}"
            );
        }
    }

    #[test]
    fn libvirts_sizes_are_in_kib_where_nothing_else_is_said() {
        let cases = [
            ("4194304", None, Some(4_096 * MIB)),
            (" 4 ", Some("GiB"), Some(4_096 * MIB)),
            ("1", Some("GB"), Some(1_000_000_000)),
            ("5", Some("bytes"), Some(5)),
            ("5", Some("pages"), None),
            ("5.5", Some("GiB"), None),
            ("99999999999", Some("TiB"), None),
        ];
        for (text, unit, bytes) in cases {
            assert_eq!(libvirt_size(text, unit), bytes, "{text} {unit:?}");
        }
    }

    #[test]
    fn one_source_fills_the_gaps_of_another() {
        let (cpus, memory) = (Size::new(Some(2), None), Size::new(Some(4), Some(7)));
        assert_eq!(
            cpus.or(memory).reserved("qemu"),
            Some(Reservation {
                millicpus: 2_000,
                memory: 7
            })
        );
        assert_eq!(Size::default().reserved("qemu"), None);
        assert_eq!(memory.reserved("xen"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_on_a_command_line_no_size_is_absurd(parts in prop::collection::vec(
            prop_oneof!["-(smp|m)", "--(cpus|memory)", "(cpus|size|sockets|boot)=[0-9]{0,22}[kMGP]?", "[0-9]{0,20}[,a-zM=]{0,9}"], 0..8)
        ) {
            let words: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            for size in [of_qemu(&words), of_cloud_hypervisor(&words)] {
                prop_assert!(size.vcpus.is_none_or(|it| (1..=MOST_VCPUS).contains(&it)));
                prop_assert!(size.memory.is_none_or(|it| (1..=MOST_MEMORY).contains(&it)));
            }
        }
    }
}
