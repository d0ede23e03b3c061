// SPDX-License-Identifier: Apache-2.0
//! The scheduler's object in the kernel: loading, attaching, one pass over the living. Knows names, not meanings.

use super::abi::{
    Burials, DeadCgroup, DeadCgroupKey, DeadRow, DeadRowKey, DeadThreadKey, OBJECT, ThreadRecord,
};
use crate::cost::{ProgramCost, cost_of};
use crate::error::{ProbeError, in_map, in_program};
use crate::object::{hash, kernel_types, map, per_cpu_array, tracepoint};
use crate::sys::BatchMap;
use attribution::model::PackageId;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::Iter;
use aya::{Ebpf, EbpfLoader};
use std::io::Read as _;

/// Shows the living.
pub(crate) const LIVING: &str = "iter_task";
/// Hears the last words of the dead.
pub(crate) const DEAD: &str = "sched_process_free";

/// In `pass_ended`: a pass runs, so anybody may have been seen.
const PASS_RUNS: u64 = u64::MAX;

/// Sizes of what is allocated in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Entries of `dead_threads`.
    pub(crate) threads: u32,
    /// Entries of `dead_rows`.
    pub(crate) rows: u32,
    /// Entries of `dead_cgroups`.
    pub(crate) cgroups: u32,
    /// CPUs that there can be.
    pub(crate) cpus: u32,
}

/// The loaded object. Dropping it detaches everything.
pub(crate) struct Object {
    ebpf: Ebpf,
    pub(crate) dead_threads: BatchMap<DeadThreadKey, ThreadRecord>,
    pub(crate) dead_rows: BatchMap<DeadRowKey, DeadRow>,
    pub(crate) dead_cgroups: BatchMap<DeadCgroupKey, DeadCgroup>,
    burials: PerCpuArray<MapData, Burials>,
    pass_ended: Array<MapData, u64>,
    packages: Array<MapData, u32>,
}

impl Object {
    /// Creates the maps and loads the programs; attaches nothing.
    pub(crate) fn load(sizes: Sizes) -> Result<Self, ProbeError> {
        let btf = kernel_types()?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("dead_threads", sizes.threads)
            .map_max_entries("dead_rows", sizes.rows)
            .map_max_entries("dead_cgroups", sizes.cgroups)
            .map_max_entries("packages", sizes.cpus)
            .load(OBJECT)
            .map_err(ProbeError::Object)?;
        living(&mut ebpf)?
            .load("task", &btf)
            .map_err(in_program(LIVING))?;
        tracepoint(&mut ebpf, DEAD)?
            .load(DEAD, &btf)
            .map_err(in_program(DEAD))?;
        let dead_threads = hash(&mut ebpf, "dead_threads")?;
        let dead_rows = hash(&mut ebpf, "dead_rows")?;
        let dead_cgroups = hash(&mut ebpf, "dead_cgroups")?;
        let burials = per_cpu_array(&mut ebpf, "burials")?;
        let pass_ended = Array::try_from(map(&mut ebpf, "pass_ended")?).map_err(in_map("pass_ended"))?;
        let packages = Array::try_from(map(&mut ebpf, "packages")?).map_err(in_map("packages"))?;
        Ok(Self {
            ebpf,
            dead_threads,
            dead_rows,
            dead_cgroups,
            burials,
            pass_ended,
            packages,
        })
    }

    /// Tells the programs the package of a CPU.
    pub(crate) fn place(&mut self, cpu: u32, package: PackageId) -> Result<(), ProbeError> {
        let package = u32::from(package.0);
        self.packages.set(cpu, package, 0).map_err(in_map("packages"))
    }

    /// Begins to hear the dead. The first pass must follow.
    pub(crate) fn attach(&mut self) -> Result<(), ProbeError> {
        self.pass_begins()?;
        // The link's id is not kept: it is detached when the object is dropped.
        tracepoint(&mut self.ebpf, DEAD)?
            .attach()
            .map(|_link| ())
            .map_err(in_program(DEAD))
    }

    /// From now on everybody may be seen: the dead are reported one by one.
    pub(crate) fn pass_begins(&mut self) -> Result<(), ProbeError> {
        self.pass_ended.set(0, PASS_RUNS, 0).map_err(in_map("pass_ended"))
    }

    /// Who begins after `now_ns` has not been seen.
    pub(crate) fn pass_ends(&mut self, now_ns: u64) -> Result<(), ProbeError> {
        self.pass_ended.set(0, now_ns, 0).map_err(in_map("pass_ended"))
    }

    /// Puts the records of all living threads in place of what `records` holds.
    pub(crate) fn read_living(&mut self, records: &mut Vec<u8>) -> Result<(), ProbeError> {
        records.clear();
        let program = living(&mut self.ebpf)?;
        let link = program.attach().map_err(in_program(LIVING))?;
        // Taken and dropped each time: a link that stays would want a call of our own for every file.
        let link = program.take_link(link).map_err(in_program(LIVING))?;
        let mut file = link
            .into_file()
            .map_err(|error| ProbeError::Pass(Box::new(error)))?;
        file.read_to_end(records)
            .map(|_bytes| ())
            .map_err(|error| ProbeError::Pass(Box::new(error)))
    }

    /// What was counted on each possible CPU.
    pub(crate) fn burials(&self) -> Result<PerCpuValues<Burials>, ProbeError> {
        self.burials.get(&0, 0).map_err(in_map("burials"))
    }

    /// What the kernel counted while its statistics were on.
    pub(crate) fn cost(&self) -> Vec<ProgramCost> {
        cost_of(&self.ebpf, &[LIVING, DEAD])
    }
}

fn living(ebpf: &mut Ebpf) -> Result<&mut Iter, ProbeError> {
    ebpf.program_mut(LIVING)
        .ok_or(ProbeError::Mismatch { what: LIVING })?
        .try_into()
        .map_err(in_program(LIVING))
}
