// SPDX-License-Identifier: Apache-2.0
//! What holds for every libvirt document and every command line, for `integration-tests/fuzz`. In no build of the daemon.

use super::command::{Command, NAME, Program, arguments};
use super::libvirt;
use super::size::Size;

const PROGRAMS: [Program; 6] = [
    Program::Qemu,
    Program::Kvm,
    Program::CloudHypervisor,
    Program::Firecracker,
    Program::VirtualBox,
    Program::Vmware,
];

fn is_clean(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control)
}

fn believed(size: Size) {
    assert!(size.vcpus.is_none_or(|vcpus| (1..=4_096).contains(&vcpus)));
    assert!(size.memory.is_none_or(|memory| (1..=1 << 52).contains(&memory)));
}

/// A document of libvirt's: names are short and clean, a UUID is one, sizes can be believed.
pub fn libvirt(xml: &[u8]) {
    let Some(domain) = libvirt::parse(xml) else {
        return;
    };
    let names = [&domain.name, &domain.server].into_iter().flatten();
    names.for_each(|name| assert!(is_clean(name, NAME), "{name:?}"));
    if let Some(uuid) = &domain.uuid {
        let is_uuid = |char: char| char == '-' || matches!(char, '0'..='9' | 'a'..='f');
        assert!(uuid.len() == 36 && uuid.chars().all(is_uuid), "{uuid:?}");
    }
    believed(domain.size());
    // A document that goes on behind the domain says the same. One whose domain never ends is cut off in a comment, and says nothing.
    let longer = [xml, b"<!--"].concat();
    assert!(libvirt::parse(&longer).is_none_or(|longer| longer == domain));
}

/// `/proc/PID/cmdline`, as each hypervisor's: ids and names are short and clean, sizes can be believed.
pub fn command_line(cmdline: &[u8]) {
    let all = arguments(cmdline);
    let options = all.get(1..).unwrap_or_default();
    for program in PROGRAMS {
        let Some(Command { id, name, size, .. }) = program.parse(options) else {
            continue;
        };
        assert!(id.as_deref().is_none_or(|id| is_clean(id, 256)), "{id:?}");
        assert!(
            name.as_deref().is_none_or(|name| is_clean(name, NAME)),
            "{name:?}"
        );
        believed(size);
    }
    let _program = all.first().copied().and_then(Program::of);
}
