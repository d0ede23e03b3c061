// SPDX-License-Identifier: Apache-2.0
//! The object in the kernel: loading, attaching, flushing, and what it costs. Knows names, not meanings.

use crate::abi::{OBJECT, OverflowKey, OverflowValue, Slot, TaskMapKey, TaskMapValue};
use crate::error::ProbeError;
use crate::preflight;
use crate::sys::BatchMap;
use attribution::model::PackageId;
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::{BtfTracePoint, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _};
use aya::sys::{Stats, SyscallError};
use aya::{Btf, Ebpf, EbpfLoader};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The program without which there is no probe.
pub(crate) const SWITCH: &str = "sched_switch";
/// Keeps names fresh; the probe works without it.
pub(crate) const RENAME: &str = "task_rename";
/// Charges the task that runs on a CPU.
const FLUSH: &str = "flush";

/// The loaded object. Dropping it detaches everything.
pub(crate) struct Object {
    ebpf: Ebpf,
    pub(crate) tasks: BatchMap<TaskMapKey, TaskMapValue>,
    pub(crate) overflow: BatchMap<OverflowKey, OverflowValue>,
    slots: PerCpuArray<MapData, Slot>,
}

/// What the kernel counted for one program while statistics were on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program's name.
    pub program: &'static str,
    /// Runs.
    pub run_count: u64,
    /// Time inside, of all CPUs together.
    pub run_time: Duration,
}

/// Keeps the kernel's statistics on while it lives. They are the kernel's, not ours: every program on the machine pays
/// two clock reads a run.
#[derive(Debug)]
pub struct StatsGuard {
    _descriptor: OwnedFd,
}

/// Switches the kernel's run-time statistics on, as long as the guard lives. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// [`ProbeError::Stats`] when the kernel refuses.
pub fn enable_stats() -> Result<StatsGuard, ProbeError> {
    aya::sys::enable_stats(Stats::RunTime)
        .map(|descriptor| StatsGuard {
            _descriptor: descriptor,
        })
        .map_err(ProbeError::Stats)
}

impl Object {
    /// Creates the maps and loads the programs; attaches nothing. `renames` says whether the optional program loaded.
    pub(crate) fn load(max_tasks: u32) -> Result<(Self, Result<(), ProbeError>), ProbeError> {
        // First of all: without BTF aya would skip the relocations in silence and load wrong offsets.
        let btf = Btf::from_sys_fs().map_err(|source| ProbeError::NoBtf {
            path: preflight::btf_path(),
            source,
        })?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("tasks", max_tasks)
            .load(OBJECT)
            .map_err(ProbeError::Object)?;
        let tasks = BatchMap::new(hash(&mut ebpf, "tasks")?).map_err(in_map("tasks"))?;
        let overflow = BatchMap::new(hash(&mut ebpf, "overflow")?).map_err(in_map("overflow"))?;
        let slots = ebpf
            .take_map("slots")
            .ok_or(ProbeError::Mismatch { what: "map slots" })?;
        let slots = PerCpuArray::try_from(slots).map_err(in_map("slots"))?;
        let mut object = Self {
            ebpf,
            tasks,
            overflow,
            slots,
        };
        object.flusher()?.load().map_err(in_program(FLUSH))?;
        object
            .tracepoint(SWITCH)?
            .load(SWITCH, &btf)
            .map_err(in_program(SWITCH))?;
        let renames = object
            .tracepoint(RENAME)
            .and_then(|program| program.load(RENAME, &btf).map_err(in_program(RENAME)));
        Ok((object, renames))
    }

    /// Tells each CPU its package. CPUs that are not listed (offline, or plugged in later) count to the first one's.
    pub(crate) fn place(&mut self, packages: &[(u32, PackageId)]) -> Result<(), ProbeError> {
        let mut slots = self.slots()?.to_vec();
        let first = packages.first().map_or(0, |(_, package)| package.0);
        for slot in &mut slots {
            slot.package = u32::from(first);
        }
        for (cpu, package) in packages {
            let slot = usize::try_from(*cpu).ok().and_then(|cpu| slots.get_mut(cpu));
            match slot {
                Some(slot) => slot.package = u32::from(package.0),
                None => tracing::warn!(
                    cpu,
                    "a CPU that the kernel does not count as possible is left out"
                ),
            }
        }
        let values = PerCpuValues::try_from(slots).map_err(|source| ProbeError::Map {
            map: "slots",
            source: MapError::IoError(source),
        })?;
        self.slots.set(0, values, 0).map_err(in_map("slots"))
    }

    /// Attaches one of the tracepoint programs.
    pub(crate) fn attach(&mut self, program: &'static str) -> Result<(), ProbeError> {
        // The link's id is not kept: it is detached when the object is dropped.
        self.tracepoint(program)?
            .attach()
            .map(|_link| ())
            .map_err(in_program(program))
    }

    /// The slots of all possible CPUs.
    pub(crate) fn slots(&self) -> Result<PerCpuValues<Slot>, ProbeError> {
        self.slots.get(&0, 0).map_err(in_map("slots"))
    }

    /// Charges what runs on `cpu` up to now, by an interrupt there. `false`: that CPU is not there any more.
    pub(crate) fn flush(&mut self, cpu: u32) -> Result<bool, ProbeError> {
        let options = RawTracePointRunOptions {
            cpu: Some(cpu),
            ..RawTracePointRunOptions::new()
        };
        match self.flusher()?.test_run(options) {
            Ok(_) => Ok(true),
            // What smp_call_function_single says of a CPU that is offline.
            Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
                if io_error.raw_os_error() == Some(libc::ENXIO) =>
            {
                Ok(false)
            }
            Err(source) => Err(in_program(FLUSH)(source)),
        }
    }

    /// What the kernel counted while its statistics were on; programs that did not load are left out.
    pub(crate) fn cost(&self) -> Vec<ProgramCost> {
        [SWITCH, RENAME, FLUSH]
            .into_iter()
            .filter_map(|name| {
                let info = self.ebpf.program(name)?.info().ok()?;
                Some(ProgramCost {
                    program: name,
                    run_count: info.run_count(),
                    run_time: info.run_time(),
                })
            })
            .collect()
    }

    fn tracepoint(&mut self, name: &'static str) -> Result<&mut BtfTracePoint, ProbeError> {
        self.ebpf
            .program_mut(name)
            .ok_or(ProbeError::Mismatch { what: name })?
            .try_into()
            .map_err(in_program(name))
    }

    fn flusher(&mut self) -> Result<&mut RawTracePoint, ProbeError> {
        self.ebpf
            .program_mut(FLUSH)
            .ok_or(ProbeError::Mismatch { what: FLUSH })?
            .try_into()
            .map_err(in_program(FLUSH))
    }
}

fn hash(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, ProbeError> {
    match ebpf.take_map(name) {
        Some(Map::HashMap(map)) => Ok(map),
        _ => Err(ProbeError::Mismatch { what: name }),
    }
}

fn in_map(map: &'static str) -> impl FnOnce(MapError) -> ProbeError {
    move |source| ProbeError::Map { map, source }
}

fn in_program(program: &'static str) -> impl FnOnce(ProgramError) -> ProbeError {
    move |source| ProbeError::Program { program, source }
}
