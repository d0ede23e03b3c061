// SPDX-License-Identifier: Apache-2.0
//! Which program is a hypervisor's, and what its command line says about the machine that it runs. Pure; asks no file.
//!
//! One process is one virtual machine. Programs that only manage machines (`libvirtd`, `VBoxSVC`, `xl`, `jailer` before
//! its exec) or ask a hypervisor what it can do (`-machine none`, `--version`) are none.

use super::qemu;
use super::size::{self, Size};

/// Longest id that is taken for one, in bytes. A UUID has 36, a sandbox id 64; the path of a `.vmx` file may be long.
const ID: usize = 256;

/// Longest name kept, in bytes; libvirt's and Nova's are 255 at most.
pub(super) const NAME: usize = 255;

/// What a hypervisor's command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// As in `VmFacts`.
    pub(super) hypervisor: &'static str,
    /// What no other machine of this host is called.
    pub(super) id: Option<String>,
    /// What people call it. May not be unique.
    pub(super) name: Option<String>,
    /// Virtual CPUs and memory.
    pub(super) size: Size,
}

/// A program that runs virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// `qemu-system-ARCH` of everybody, `qemu-kvm` of Red Hat (`/usr/libexec`).
    Qemu,
    /// `kvm` of Proxmox and old Debian: QEMU, but a word short enough to be other things.
    Kvm,
    CloudHypervisor,
    Firecracker,
    /// `VBoxHeadless`, `VirtualBoxVM`; `VirtualBox` itself up to version 5.
    VirtualBox,
    Vmware,
}

impl Program {
    /// By the last part of a path, or by a command name, which the kernel cuts at 15 bytes.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        // Asked for every process of every report, and most begin otherwise.
        if !matches!(name.first(), Some(b'q' | b'k' | b'c' | b'f' | b'V' | b'v')) {
            return None;
        }
        let begins = |prefix: &str| name.starts_with(prefix.as_bytes());
        // `firecracker-containerd` and `firecracker-ctr` manage machines; releases are called `firecracker-v1.7.0-x86_64`.
        let is_firecracker = name == b"firecracker" || begins("firecracker-v");
        match name {
            // `qemu-x86_64` runs a program and no machine; `qemu-img`, `qemu-nbd`, `qemu-ga` run nothing.
            _ if begins("qemu-system-") || begins("qemu-lite-system-") => Some(Self::Qemu),
            // XCP-ng renames its QEMU to `qemu-dm-DOMID`.
            _ if name == b"qemu-kvm" || name == b"qemu-dm" || begins("qemu-dm-") => Some(Self::Qemu),
            b"kvm" => Some(Self::Kvm),
            _ if begins("cloud-hyperviso") => Some(Self::CloudHypervisor),
            _ if is_firecracker => Some(Self::Firecracker),
            b"VBoxHeadless" | b"VirtualBoxVM" | b"VirtualBox" => Some(Self::VirtualBox),
            // And `vmware-vmx-debug`, `vmware-vmx-stats`.
            _ if begins("vmware-vmx") => Some(Self::Vmware),
            _ => None,
        }
    }

    /// What `arguments` (without the program's name) say; `None` when no machine runs here.
    pub(super) fn parse(self, arguments: &[&[u8]]) -> Option<Command> {
        match self {
            Self::Qemu => qemu::parse(arguments),
            Self::Kvm => qemu::parse(arguments).filter(|_| qemu::has_own_option(arguments)),
            Self::CloudHypervisor => cloud_hypervisor(arguments),
            Self::Firecracker => firecracker(arguments),
            Self::VirtualBox => virtualbox(arguments),
            Self::Vmware => vmware(arguments),
        }
    }
}

/// Parts of `/proc/PID/cmdline`, the program's name first.
pub(super) fn arguments(cmdline: &[u8]) -> Vec<&[u8]> {
    let cmdline = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    cmdline.split(|byte| *byte == 0).collect()
}

/// The last part of a path.
pub(super) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Values of an option in their order, from `--name VALUE`, `-name VALUE` and `--name=VALUE`.
pub(super) fn values<'a>(arguments: &[&'a [u8]], name: &str) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(option) = option(argument) else {
            continue;
        };
        match option.strip_prefix(name.as_bytes()) {
            Some([]) => found.extend(rest.next()),
            Some([b'=', value @ ..]) => found.push(value),
            _ => {}
        }
    }
    found
}

/// The value that counts: all of these programs let the last one win.
pub(super) fn value<'a>(arguments: &[&'a [u8]], name: &str) -> Option<&'a [u8]> {
    values(arguments, name).pop()
}

/// Whether an option is there, with or without a value.
pub(super) fn has(arguments: &[&[u8]], name: &str) -> bool {
    arguments
        .iter()
        .any(|argument| option(argument) == Some(name.as_bytes()))
}

/// An option without its dashes.
fn option(argument: &[u8]) -> Option<&[u8]> {
    let option = argument.strip_prefix(b"-")?;
    Some(option.strip_prefix(b"-").unwrap_or(option))
}

/// As an id: short, and without what would break a label.
pub(super) fn id(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let fits = !text.is_empty() && text.len() <= ID && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// A UUID as libvirt writes it, in lower case, so that both ways to it lead to one id. All zeros or all ones say that there
/// is none (SMBIOS, 7.2.1), and would make one machine of two.
pub(super) fn uuid(bytes: &[u8]) -> Option<String> {
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match is_dash(at) {
            true => *byte == b'-',
            false => byte.is_ascii_hexdigit(),
        });
    let same = |digit: u8| {
        bytes
            .iter()
            .all(|byte| *byte == b'-' || byte.eq_ignore_ascii_case(&digit))
    };
    let fits = fits && !same(b'0') && !same(b'f');
    // What passed is ASCII.
    fits.then(|| String::from_utf8_lossy(bytes).to_ascii_lowercase())
}

/// As a name: bytes that are no UTF-8 become U+FFFD, control characters too, and the rest is cut.
pub(super) fn name(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let clean = |char: char| {
        if char.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            char
        }
    };
    let mut out = String::new();
    for char in text.trim().chars().map(clean) {
        if out.len() + char.len_utf8() > NAME {
            break;
        }
        out.push(char);
    }
    (!out.is_empty()).then_some(out)
}

/// Programs that only print something and end.
fn only_prints(arguments: &[&[u8]]) -> bool {
    ["help", "h", "version", "V"]
        .iter()
        .any(|option| has(arguments, option))
}

/// `--platform uuid=U` is the guest's own UUID. Kata names the sandbox in the socket's folder (`/run/vc/vm/ID/clh-api.sock`),
/// libvirt the domain in the socket's name (`/run/libvirt/ch/NAME-socket`).
fn cloud_hypervisor(arguments: &[&[u8]]) -> Option<Command> {
    if only_prints(arguments) {
        return None;
    }
    let platform = value(arguments, "platform").unwrap_or_default();
    let of_guest = qemu::suboption(platform, "uuid", "").and_then(|value| uuid(&value));
    let socket = value(arguments, "api-socket").unwrap_or_default();
    let socket = socket.strip_prefix(b"path=").unwrap_or(socket);
    let parts: Vec<&[u8]> = socket.rsplit(|byte| *byte == b'/').collect();
    let (sandbox, domain) = match parts.as_slice() {
        [_, sandbox, b"vm", b"vc", ..] => (Some(*sandbox), None),
        [socket, b"ch", b"libvirt", ..] => (None, socket.strip_suffix(b"-socket")),
        _ => (None, None),
    };
    Some(Command {
        hypervisor: "cloud-hypervisor",
        id: of_guest.or_else(|| sandbox.and_then(id)),
        name: domain.or(sandbox).and_then(name),
        size: size::of_cloud_hypervisor(arguments),
    })
}

/// `--id`, which the jailer always gives; without it all machines are called `anonymous-instance`
/// (`DEFAULT_INSTANCE_ID` in Firecracker's src/firecracker/src/main.rs).
fn firecracker(arguments: &[&[u8]]) -> Option<Command> {
    let only_prints =
        only_prints(arguments) || has(arguments, "snapshot-version") || has(arguments, "describe-snapshot");
    if only_prints {
        return None;
    }
    let given = value(arguments, "id").filter(|id| *id != b"anonymous-instance");
    Some(Command {
        hypervisor: "firecracker",
        id: given.and_then(id),
        name: given.and_then(name),
        size: Size::default(),
    })
}

/// `--comment NAME --startvm UUID`, as VBoxSVC starts it; people may give a name instead of the UUID. Without one it is
/// the window of the manager, and with `--separate` a window onto a machine that runs in a VBoxHeadless.
fn virtualbox(arguments: &[&[u8]]) -> Option<Command> {
    if has(arguments, "separate") {
        return None;
    }
    let started = ["startvm", "s"]
        .iter()
        .find_map(|option| value(arguments, option))?;
    let id = uuid(started);
    let of_start = id.is_none().then_some(started);
    Some(Command {
        hypervisor: "virtualbox",
        id,
        name: value(arguments, "comment").or(of_start).and_then(name),
        size: Size::default(),
    })
}

/// The `.vmx` file comes last. Its path is the id: a folder may hold several.
fn vmware(arguments: &[&[u8]]) -> Option<Command> {
    let file = arguments
        .iter()
        .rev()
        .find(|argument| argument.ends_with(b".vmx"))?;
    let stem = base_name(file).strip_suffix(b".vmx").unwrap_or_default();
    Some(Command {
        hypervisor: "vmware",
        // A path that depends on a folder that we do not know is nobody's alone.
        id: file.starts_with(b"/").then_some(*file).and_then(id),
        name: name(stem),
        size: Size::default(),
    })
}
