// SPDX-License-Identifier: Apache-2.0
//! The node itself: its CPUs, where they sit, how fast they are, and whether it is a guest. Read once at start-up.
//!
//! Nothing here is fatal: a file that is missing or broken leaves its figure out and a note for the log.

mod cpuinfo;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod topology;

#[cfg(test)]
mod tests;

use crate::error::WorkloadError;
use crate::files;
use attribution::model::PackageId;
use cpuinfo::CpuInfo;
use std::path::{Path, PathBuf};

/// What the node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Each online CPU (hardware thread) with its package, sorted by CPU; later those that [`Machine::notice`] took in.
    pub packages_of_cpu: Vec<(u32, PackageId)>,
    /// The root of sys below which that was read.
    pub sys: PathBuf,
    /// Pairs of hardware threads that share a core, by the lower CPU; empty where a core has more than two, so that no
    /// single thread is "the other one".
    pub siblings: Vec<(u32, u32)>,
    /// Each package, sorted.
    pub packages: Vec<Package>,
    /// Nominal clock in MHz (`cpufreq/base_frequency`, else what the model name says after `@`).
    pub base_mhz: Option<u32>,
    /// Highest clock in MHz (`cpufreq/cpuinfo_max_freq`).
    pub max_mhz: Option<u32>,
    /// `GenuineIntel`, `AuthenticAMD`; on arm64 the implementer's name.
    pub vendor: Option<String>,
    /// The processor's name; on arm64 implementer and part.
    pub model_name: Option<String>,
    /// What the processor says of itself in numbers, which no hypervisor paints over.
    pub signature: Option<CpuSignature>,
    /// Memory in bytes (`MemTotal`: without what firmware and kernel keep).
    pub memory_bytes: Option<u64>,
    /// Whether a hypervisor runs us; `None` where nothing tells.
    pub hypervisor: Option<bool>,
    /// Architecture as Rust names it: `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// `proc/sys/kernel/osrelease`.
    pub kernel_release: Option<String>,
    /// Changes with each boot: `proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
    /// What could not be read, each with its file.
    pub notes: Vec<String>,
}

/// A processor's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of /proc/cpuinfo")]
pub enum CpuSignature {
    /// CPUID of x86, with extended family and model.
    X86 { family: u32, model: u32, stepping: u32 },
    /// MIDR_EL1 of arm64.
    Arm { implementer: u32, part: u32 },
}

/// A CPU package (socket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Which.
    pub package: PackageId,
    /// Online hardware threads.
    pub threads: u32,
    /// Cores with at least one online thread.
    pub cores: u32,
}

impl Machine {
    /// Reads the node below the roots of proc and sys.
    #[must_use]
    pub fn read(proc: &Path, sys: &Path) -> Self {
        let mut notes = Vec::new();
        let cpuinfo = match note(&proc.join("cpuinfo"), &mut notes) {
            Some(bytes) => CpuInfo::parse(&bytes),
            None => CpuInfo::default(),
        };
        let cpus = topology::read(proc, sys, &mut notes);
        let clock = |file: &str, notes: &mut Vec<String>| {
            let first = cpus.first().map_or(0, |cpu| cpu.cpu);
            let path = sys.join(format!("devices/system/cpu/cpu{first}/cpufreq/{file}"));
            let khz: u64 = text(&path, notes)?.parse().ok()?;
            u32::try_from(khz / 1_000).ok()
        };
        Self {
            packages_of_cpu: cpus.iter().map(|cpu| (cpu.cpu, cpu.package)).collect(),
            sys: sys.to_owned(),
            siblings: topology::siblings(&cpus),
            packages: topology::packages(&cpus),
            // Only intel_pstate and CPPC drivers write base_frequency; the model name is no worse.
            base_mhz: clock("base_frequency", &mut Vec::new())
                .or(cpuinfo.nominal_mhz)
                .or_else(|| {
                    notes.push("no nominal clock in cpufreq/base_frequency or the model name".to_owned());
                    None
                }),
            max_mhz: clock("cpuinfo_max_freq", &mut notes),
            memory_bytes: memory(proc, &mut notes),
            hypervisor: hypervisor(sys, &cpuinfo),
            vendor: cpuinfo.vendor,
            model_name: cpuinfo.model_name,
            signature: cpuinfo.signature,
            architecture: std::env::consts::ARCH,
            kernel_release: text(&proc.join("sys/kernel/osrelease"), &mut notes),
            boot_id: text(&proc.join("sys/kernel/random/boot_id"), &mut notes),
            notes,
        }
    }

    /// Online hardware threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.packages_of_cpu.len()
    }

    /// Cores with at least one online thread.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.packages.iter().map(|package| package.cores).sum()
    }

    /// Lists those of `online` that came online after start-up, each on its package. Of one that the kernel does not say that
    /// of, it is the first one; these are returned.
    pub fn notice(&mut self, online: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut unknown = Vec::new();
        for cpu in online {
            let at = self.packages_of_cpu.binary_search_by_key(&cpu, |(cpu, _)| *cpu);
            let Err(at) = at else { continue };
            let found = topology::later(&self.sys, cpu, &self.packages_of_cpu);
            if found.is_none() {
                unknown.push(cpu);
            }
            let package = found.unwrap_or_else(|| self.package_of(cpu));
            self.packages_of_cpu.insert(at, (cpu, package));
        }
        unknown
    }

    /// The package of a CPU; the first package for one that is not listed.
    #[must_use]
    pub fn package_of(&self, cpu: u32) -> PackageId {
        let at = self.packages_of_cpu.binary_search_by_key(&cpu, |(cpu, _)| *cpu);
        at.ok()
            .and_then(|at| self.packages_of_cpu.get(at))
            .or_else(|| self.packages_of_cpu.first())
            .map_or(PackageId(0), |(_, package)| *package)
    }
}

/// The file's bytes, or a note why not.
fn note(path: &Path, notes: &mut Vec<String>) -> Option<Vec<u8>> {
    match files::read(path) {
        Ok(Some(bytes)) => return Some(bytes),
        Ok(None) => notes.push(
            WorkloadError::Missing {
                path: path.to_owned(),
            }
            .to_string(),
        ),
        Err(error) => notes.push(error.to_string()),
    }
    None
}

/// The file as one trimmed line that is not empty, or a note why not.
fn text(path: &Path, notes: &mut Vec<String>) -> Option<String> {
    let bytes = note(path, notes)?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if text.is_empty() {
        notes.push(format!("{} is empty", path.display()));
        return None;
    }
    Some(text)
}

fn memory(proc: &Path, notes: &mut Vec<String>) -> Option<u64> {
    let path = proc.join("meminfo");
    let bytes = note(&path, notes)?;
    let found = parse_memory(&String::from_utf8_lossy(&bytes));
    if found.is_none() {
        notes.push(WorkloadError::malformed(&path, "MemTotal line").to_string());
    }
    found
}

fn parse_memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    // "kB" there means KiB (proc_meminfo(5)).
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// Vendors and products that SMBIOS names only in guests. A cloud's bare-metal types carry the vendor too, so where a
/// vendor sells both, the product has to say so.
const GUESTS: [(&str, &str); 12] = [
    ("QEMU", ""),
    ("VMware", ""),
    ("Xen", ""),
    ("innotek GmbH", ""),
    ("Parallels", ""),
    ("KubeVirt", ""),
    ("OpenStack Foundation", ""),
    ("Red Hat", "KVM"),
    ("Microsoft Corporation", "Virtual Machine"),
    ("Google", "Google Compute Engine"),
    ("Alibaba Cloud", "Alibaba Cloud ECS"),
    ("DigitalOcean", "Droplet"),
];

fn hypervisor(sys: &Path, cpuinfo: &CpuInfo) -> Option<bool> {
    let read = |path: &str| text(&sys.join(path), &mut Vec::new());
    if read("hypervisor/type").is_some() {
        return Some(true);
    }
    // CPUID leaf 1, ECX bit 31, is reserved for hypervisors to set: on x86 it decides.
    if let Some(flag) = cpuinfo.hypervisor {
        return Some(flag);
    }
    let vendor = read("class/dmi/id/sys_vendor")?;
    let product = read("class/dmi/id/product_name").unwrap_or_default();
    // Nitro guests and Nitro metal share vendor and product family; metal types end so (`m7g.metal`, `c7gn.metal-48xl`).
    let amazon = vendor == "Amazon EC2" && !product.contains(".metal");
    let known = GUESTS.iter().any(|(guest_vendor, guest_product)| {
        vendor.starts_with(guest_vendor) && product.starts_with(guest_product)
    });
    Some(amazon || known)
}
