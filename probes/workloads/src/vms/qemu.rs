// SPDX-License-Identifier: Apache-2.0
//! QEMU's options (qemu(1)), as far as they say who a machine is. Pure; asks no file.

use super::command::{Command, has, id, name, uuid, value, values};
use super::size;

/// Options that nothing else called `kvm` has.
const OWN_OPTIONS: [&str; 13] = [
    "accel",
    "boot",
    "cdrom",
    "cpu",
    "device",
    "drive",
    "enable-kvm",
    "hda",
    "kernel",
    "m",
    "machine",
    "name",
    "smp",
];

/// What QEMU's command line says; `None` when no machine runs: QEMU asked for its abilities (libvirt does so at each
/// start), or the QEMU that serves Xen's own domain 0.
pub(super) fn parse(arguments: &[&[u8]]) -> Option<Command> {
    let machine = ["machine", "M"]
        .iter()
        .find_map(|option| value(arguments, option))
        .and_then(|value| suboption(value, "type", "type"));
    // `-d 5 -domain-name WEB` is how Xen's old qemu-dm says it; with others `-d` is what to log.
    let domain = value(arguments, "domain-name");
    let old_domid = || domain.and_then(|_| value(arguments, "d"));
    let domid = value(arguments, "xen-domid").or_else(old_domid);
    let is_none = machine.is_some_and(|machine| machine == b"none" || machine == b"help");
    let only_prints = ["version", "help", "h"]
        .iter()
        .any(|option| has(arguments, option));
    if is_none || only_prints || domid == Some(b"0") {
        return None;
    }
    // `-name WEB` or `-name guest=WEB,...`.
    let guest = value(arguments, "name")
        .and_then(|value| suboption(value, "guest", "guest"))
        .or_else(|| domain.map(<[u8]>::to_vec));
    Some(Command {
        hypervisor: if domid.is_some() { "xen" } else { "qemu" },
        id: id_of(arguments, domid),
        name: guest.and_then(|guest| name(&guest)),
        size: size::of_qemu(arguments),
    })
}

/// Whether QEMU's options are there.
pub(super) fn has_own_option(arguments: &[&[u8]]) -> bool {
    OWN_OPTIONS.iter().any(|option| has(arguments, option))
}

/// The UUID that libvirt and Kata give, Proxmox's number of the machine (an option of its own QEMU), the UUID that the
/// guest sees, Xen's number of the domain.
fn id_of(arguments: &[&[u8]], domid: Option<&[u8]>) -> Option<String> {
    let given = || values(arguments, "uuid").into_iter().rev().find_map(uuid);
    let of_proxmox = || value(arguments, "id").filter(|id| id.iter().all(u8::is_ascii_digit));
    let of_guest = || {
        let tables = values(arguments, "smbios").into_iter();
        tables
            .filter_map(|table| suboption(table, "uuid", ""))
            .find_map(|value| uuid(&value))
    };
    let of_xen = || {
        let domid = std::str::from_utf8(domid?).ok()?;
        id(format!("domid-{domid}").as_bytes())
    };
    given()
        .or_else(|| of_proxmox().and_then(id))
        .or_else(of_guest)
        .or_else(of_xen)
}

/// A value of `key=value,key=value`; a comma in a value is written twice (qemu(1), `-name`). A first part without `=`
/// belongs to the key `implied`.
pub(super) fn suboption(text: &[u8], key: &str, implied: &str) -> Option<Vec<u8>> {
    let mut found = None;
    for (at, part) in parts(text).into_iter().enumerate() {
        let split = part.iter().position(|byte| *byte == b'=');
        let (name, value) = match split {
            Some(split) => (part.get(..split), part.get(split + 1..)),
            None if at == 0 => (Some(implied.as_bytes()), Some(part.as_slice())),
            None => continue,
        };
        if name == Some(key.as_bytes()) {
            found = value.map(<[u8]>::to_vec);
        }
    }
    found
}

/// Parts between single commas, with doubled ones made single.
fn parts(text: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after.first(), parts.last_mut()) {
            (b',', Some(b','), Some(part)) => {
                part.push(b',');
                rest = after.get(1..).unwrap_or_default();
            }
            (b',', ..) => parts.push(Vec::new()),
            (byte, _, Some(part)) => part.push(*byte),
            (_, _, None) => {}
        }
    }
    parts
}
