// SPDX-License-Identifier: Apache-2.0
//! Cgroups that hold one virtual machine and nothing else. Pure; asks no file.
//!
//! libvirt puts a machine's helpers (`swtpm`, `virtiofsd`, `passt`) beside its QEMU, and its threads into cgroups of their
//! own below (`emulator`, `vcpu0`, `iothread1`). All of that is one machine.

/// A machine by its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    /// The part of the path that ends with the machine's own cgroup.
    pub(super) root: &'a str,
    /// `qemu-1-web`, which systemd-machined knows it by, or Proxmox's number.
    pub(super) machine: String,
    /// libvirt's name of the domain, in so far as machined's allows its letters; empty for Proxmox.
    pub(super) name: String,
    /// As in `VmFacts`.
    pub(super) hypervisor: &'static str,
}

impl Scope<'_> {
    /// Whether it is where systemd, libvirt and Proxmox make the host's own: below slices and partitions at the top of the tree
    /// and nothing else. Further down anybody may make a cgroup of that name to whom a part of the tree was given.
    pub(super) fn is_the_hosts(&self) -> bool {
        let mut parts = self.root.split('/').skip(1);
        let top = parts.next().unwrap_or_default();
        let is_between = |part: &str| part.ends_with(".slice") || part.ends_with(".partition");
        let mut below: Vec<&str> = parts.collect();
        let own = below.pop();
        matches!(top, "machine.slice" | "machine" | "qemu.slice")
            && own.is_some()
            && below.into_iter().all(is_between)
    }
}

/// The machine that the cgroup at `path` belongs to.
pub(super) fn scope_of(path: &str) -> Option<Scope<'_>> {
    let mut end = 0;
    let mut parent = "";
    for part in path.split_inclusive('/') {
        end += part.len();
        let component = part.strip_suffix('/').unwrap_or(part);
        if let Some((machine, name, hypervisor)) = machine(component, parent) {
            let root = path.get(..end - (part.len() - component.len()))?;
            return Some(Scope {
                root,
                machine,
                name,
                hypervisor,
            });
        }
        parent = component;
    }
    None
}

fn machine(component: &str, parent: &str) -> Option<(String, String, &'static str)> {
    // systemd: `machine-qemu\x2d1\x2dweb.scope` (virSystemdMakeScopeName). machined's names are letters, digits, dots and
    // dashes, so no other escape occurs.
    if let Some(machine) = component
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
    {
        let machine = machine.replace(r"\x2d", "-");
        let (driver, rest) = machine.split_once('-')?;
        let (hypervisor, name) = (hypervisor(driver)?, after_number(rest).to_owned());
        return Some((machine, name, hypervisor));
    }
    // Without systemd: `/machine/qemu-3-web.libvirt-qemu`; `web.libvirt-qemu` before libvirt 1.3.
    if let Some((machine, driver)) = component.rsplit_once(".libvirt-") {
        let hypervisor = hypervisor(driver)?;
        let rest = machine
            .strip_prefix(driver)
            .and_then(|rest| rest.strip_prefix('-'));
        let name = rest.map_or(machine, after_number);
        return (!machine.is_empty()).then(|| (machine.to_owned(), name.to_owned(), hypervisor));
    }
    // Proxmox: `/qemu.slice/100.scope`.
    let number = component.strip_suffix(".scope")?;
    let is_proxmox =
        parent == "qemu.slice" && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_proxmox.then(|| (number.to_owned(), String::new(), "qemu"))
}

/// libvirt's drivers that run machines; its `lxc` runs containers.
fn hypervisor(driver: &str) -> Option<&'static str> {
    match driver {
        "qemu" => Some("qemu"),
        "ch" => Some("cloud-hypervisor"),
        "xen" | "libxl" => Some("xen"),
        _ => None,
    }
}

/// The name behind libvirt's number of the run, which old versions did not write.
fn after_number(text: &str) -> &str {
    match text.split_once('-') {
        Some((number, name)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            name
        }
        _ => text,
    }
}
