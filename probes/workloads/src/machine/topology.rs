// SPDX-License-Identifier: Apache-2.0
//! `sys/devices/system/cpu` (Documentation/admin-guide/cputopology.rst): which CPUs are online and which package each is in.

use super::{Package, note, text};
use crate::procfs::ProcFs;
use attribution::model::PackageId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// CPUs that a list may name: eight times what the kernel can be built for (NR_CPUS is at most 8,192), so that a broken
/// list costs no memory.
pub(super) const CPUS: u32 = 65_536;

/// One online CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) cpu: u32,
    pub(super) package: PackageId,
    /// Core ids repeat between dies on some machines and are missing in some guests.
    core: (i64, i64),
}

/// Every online CPU, sorted. Without sysfs, the CPUs of `/proc/stat`, all in package 0.
pub(super) fn read(proc: &Path, sys: &Path, notes: &mut Vec<String>) -> Vec<Cpu> {
    let folder = sys.join("devices/system/cpu");
    let online = note(&folder.join("online"), notes)
        .and_then(|bytes| parse_list(String::from_utf8_lossy(&bytes).trim()));
    let cpus = online.unwrap_or_else(|| {
        notes.push("no list of online CPUs: taking those of proc/stat".to_owned());
        from_proc(proc)
    });
    let mut silent = Vec::new();
    let mut id = |cpu: u32, file: &str| -> Option<i64> {
        let path = folder.join(format!("cpu{cpu}/topology/{file}"));
        text(&path, &mut silent)?.parse().ok()
    };
    let raw: Vec<(u32, i64, (i64, i64))> = cpus
        .into_iter()
        .map(|cpu| {
            // -1 is the kernel's word for "unknown"; such machines have one package.
            let package = id(cpu, "physical_package_id").unwrap_or(0).max(0);
            let die = id(cpu, "die_id").unwrap_or(0);
            // A CPU without a core id counts as a core of its own; no real id is negative.
            let core = id(cpu, "core_id").filter(|core| *core >= 0);
            (cpu, package, (die, core.unwrap_or_else(|| -1 - i64::from(cpu))))
        })
        .collect();
    if let Some(first) = silent.first() {
        notes.push(format!(
            "{} topology files missing, the first: {first}",
            silent.len()
        ));
    }
    number(&raw, notes)
}

/// Packages keep the kernel's number. Firmware of some arm64 machines hands out numbers beyond 16 bits (offsets into the
/// PPTT table); then all are numbered in order.
fn number(raw: &[(u32, i64, (i64, i64))], notes: &mut Vec<String>) -> Vec<Cpu> {
    let ids: BTreeSet<i64> = raw.iter().map(|(_, package, _)| *package).collect();
    let fits = ids.iter().all(|id| u16::try_from(*id).is_ok());
    if !fits {
        notes.push(format!(
            "package ids {ids:?} do not fit 16 bits and were numbered in order"
        ));
    }
    let in_order: BTreeMap<i64, u16> = ids.into_iter().zip(0_u16..).collect();
    raw.iter()
        .map(|(cpu, package, core)| {
            let kept = u16::try_from(*package).ok().filter(|_| fits);
            let ordered = in_order.get(package).copied().unwrap_or_default();
            Cpu {
                cpu: *cpu,
                package: PackageId(kept.unwrap_or(ordered)),
                core: *core,
            }
        })
        .collect()
}

/// The package of a CPU that came online after those that are `listed`; `None` when nobody knows.
pub(super) fn later(sys: &Path, cpu: u32, listed: &[(u32, PackageId)]) -> Option<PackageId> {
    let folder = sys.join("devices/system/cpu");
    PackageId::of_later(cpu, listed, |cpu| {
        let path = folder.join(format!("cpu{cpu}/topology/physical_package_id"));
        let id = text(&path, &mut Vec::new())?.parse().ok();
        id.filter(|id| *id >= 0)
    })
}

/// Threads and cores by package.
pub(super) fn packages(cpus: &[Cpu]) -> Vec<Package> {
    let mut found: BTreeMap<PackageId, (u32, BTreeSet<(i64, i64)>)> = BTreeMap::new();
    for cpu in cpus {
        let (threads, cores) = found.entry(cpu.package).or_default();
        *threads += 1;
        cores.insert(cpu.core);
    }
    found
        .into_iter()
        .map(|(package, (threads, cores))| Package {
            package,
            threads,
            cores: u32::try_from(cores.len()).unwrap_or(threads),
        })
        .collect()
}

/// Cores with two online threads, where none has more.
pub(super) fn siblings(cpus: &[Cpu]) -> Vec<(u32, u32)> {
    let mut cores: BTreeMap<(PackageId, (i64, i64)), Vec<u32>> = BTreeMap::new();
    for cpu in cpus {
        cores.entry((cpu.package, cpu.core)).or_default().push(cpu.cpu);
    }
    if cores.values().any(|threads| threads.len() > 2) {
        return Vec::new();
    }
    let mut pairs: Vec<(u32, u32)> = cores
        .values()
        .filter_map(|threads| match threads[..] {
            [one, other] => Some((one, other)),
            _ => None,
        })
        .collect();
    pairs.sort_unstable();
    pairs
}

fn from_proc(proc: &Path) -> Vec<u32> {
    let mut lines = Vec::new();
    match ProcFs::new(proc).cpu_times(&mut lines) {
        Ok(()) => lines.iter().map(|line| line.cpu).collect(),
        Err(_) => Vec::new(),
    }
}

/// The kernel's list format (`0-3,8,10-11`), sorted; `None` where it is none or names absurdly many.
pub(super) fn parse_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = BTreeSet::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_those_of_the_kernel() {
        assert_eq!(parse_list("0"), Some(vec![0]));
        assert_eq!(parse_list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list("2,0"), Some(vec![0, 2]));
        for broken in ["", "-", "3-1", "a", "0-", "0-4294967295", "99999999999", "0,,1"] {
            assert_eq!(parse_list(broken), None, "{broken}");
        }
    }

    #[test]
    fn siblings_are_the_two_threads_of_a_core_and_nobody_where_there_are_more() {
        let cpu = |cpu, package, core| Cpu {
            cpu,
            package: PackageId(package),
            core: (0, core),
        };
        // core 0 of each package is another core; CPU 4 is alone
        let cpus = [
            cpu(0, 0, 0),
            cpu(1, 1, 0),
            cpu(2, 0, 0),
            cpu(3, 1, 0),
            cpu(4, 0, 1),
        ];
        assert_eq!(siblings(&cpus), [(0, 2), (1, 3)]);
        let many = [
            cpu(0, 0, 0),
            cpu(1, 0, 0),
            cpu(2, 0, 0),
            cpu(3, 0, 1),
            cpu(4, 0, 1),
        ];
        assert_eq!(siblings(&many), []);
    }

    #[test]
    fn package_ids_beyond_16_bits_are_numbered_in_order() {
        let mut notes = Vec::new();
        let cpus = number(
            &[(0, 70_000, (0, 0)), (1, 36, (0, 1)), (2, 70_000, (0, 2))],
            &mut notes,
        );
        let packages: Vec<u16> = cpus.iter().map(|cpu| cpu.package.0).collect();
        assert_eq!(packages, [1, 0, 1]);
        assert_eq!(notes.len(), 1);
        let kept = number(&[(0, 3, (0, 0))], &mut notes);
        assert_eq!((kept[0].package, notes.len()), (PackageId(3), 1));
    }
}
