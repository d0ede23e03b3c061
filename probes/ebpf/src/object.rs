// SPDX-License-Identifier: Apache-2.0
//! The object in the kernel: loading, attaching, flushing. Knows names, not meanings.

use crate::abi::{
    COUNTERS, HardwareValue, OBJECT, OverflowKey, OverflowValue, Readings, Slot, Softirqs, TaskMapKey,
    TaskMapValue,
};
use crate::cost::{ProgramCost, cost_of};
use crate::error::{ProbeError, in_map, in_program};
use crate::preflight;
use crate::seats::{SEAT_WORDS, seats_for};
use crate::sys::{BatchMap, MappedArray};
use attribution::model::PackageId;
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::{
    BtfTracePoint, FEntry, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _,
};
use aya::sys::SyscallError;
use aya::{Btf, Ebpf, EbpfLoader, Pod};
use std::os::fd::{AsFd as _, BorrowedFd};

/// The program without which there is no probe.
pub(crate) const SWITCH: &str = "sched_switch";
/// Keeps names fresh; the probe works without it.
pub(crate) const RENAME: &str = "task_rename";
/// Charges the task that runs on a CPU.
const FLUSH: &str = "flush";
/// Tells a CPU its package.
const PLACE: &str = "place";
/// Softirqs: both, or neither.
const SOFTIRQ_ENTRY: &str = "softirq_entry";
const SOFTIRQ_EXIT: &str = "softirq_exit";
/// Pages found in the page cache, and what they are attached to, newest kernels first.
const PAGE_ACCESSED: &str = "page_accessed";
const ACCESSED: [&str; 2] = ["folio_mark_accessed", "mark_page_accessed"];
/// Pages dirtied there, likewise.
const PAGE_DIRTIED: &str = "page_dirtied";
const DIRTIED: [&str; 2] = ["writeback_dirty_folio", "writeback_dirty_page"];

/// All programs, for their cost.
const PROGRAMS: [&str; 7] = [
    SWITCH,
    RENAME,
    FLUSH,
    SOFTIRQ_ENTRY,
    SOFTIRQ_EXIT,
    PAGE_ACCESSED,
    PAGE_DIRTIED,
];

/// Where the perf events of each counter are, by its place.
const PERF_EVENTS: [&str; COUNTERS] = ["perf_events_0", "perf_events_1", "perf_events_2", "perf_events_3"];

/// What is decided before loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Size of `tasks`.
    pub(crate) max_tasks: u32,
    /// Size of `overflow`.
    pub(crate) max_unnamed: u32,
    /// Which hardware counters are open: bit by place.
    pub(crate) counters: u32,
    /// Whether cores have two hardware threads.
    pub(crate) smt: bool,
}

/// The loaded object. Dropping it detaches everything.
pub(crate) struct Object {
    ebpf: Ebpf,
    pub(crate) tasks: BatchMap<TaskMapKey, TaskMapValue>,
    pub(crate) overflow: BatchMap<OverflowKey, OverflowValue>,
    pub(crate) hardware: BatchMap<TaskMapKey, HardwareValue>,
    /// See [`crate::seats`].
    pub(crate) seats: MappedArray,
    slots: PerCpuArray<MapData, Slot>,
    softirqs: PerCpuArray<MapData, Softirqs>,
    readings: PerCpuArray<MapData, Readings>,
    /// By counter, as in [`PERF_EVENTS`].
    perf_events: Vec<MapData>,
}

impl Object {
    /// Creates the maps and loads the programs that are needed; attaches nothing. The kernel's types are 11 MiB, and not
    /// kept: nothing is loaded later.
    pub(crate) fn load(plan: Plan, btf: &Btf) -> Result<Self, ProbeError> {
        let cpus = aya::util::nr_cpus().map_err(|(path, source)| ProbeError::Cpus { path, source })?;
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let counted = plan.counters != 0;
        let rows = if counted {
            // Each row of `overflow` may need one, too.
            plan.max_tasks.saturating_add(plan.max_unnamed)
        } else {
            1
        };
        let seats = seats_for(plan.max_tasks);
        let mut ebpf = EbpfLoader::new()
            .btf(Some(btf))
            .override_global("seat_mask", &(seats - 1), true)
            .map_max_entries("seats", seats)
            .override_global("counters", &plan.counters, true)
            .override_global("smt", &u32::from(plan.smt), true)
            .map_max_entries("tasks", plan.max_tasks)
            .map_max_entries("overflow", plan.max_unnamed)
            .map_max_entries("hardware", rows)
            .map_max_entries("busy_words", if plan.smt { cpus } else { 1 })
            .load(OBJECT)
            .map_err(ProbeError::Object)?;
        let mut object = Self {
            tasks: hash(&mut ebpf, "tasks")?,
            overflow: hash(&mut ebpf, "overflow")?,
            hardware: hash(&mut ebpf, "hardware")?,
            seats: mapped_array(&mut ebpf, "seats", SEAT_WORDS)?,
            slots: per_cpu_array(&mut ebpf, "slots")?,
            softirqs: per_cpu_array(&mut ebpf, "softirqs")?,
            readings: per_cpu_array(&mut ebpf, "readings")?,
            perf_events: PERF_EVENTS
                .into_iter()
                .map(|name| match ebpf.take_map(name) {
                    Some(Map::PerfEventArray(map)) => Ok(map),
                    _ => Err(ProbeError::Mismatch { what: name }),
                })
                .collect::<Result<_, _>>()?,
            ebpf,
        };
        object.by_hand(FLUSH)?.load().map_err(in_program(FLUSH))?;
        // Now, for nothing may be loaded later; whoever needs it says what fails without it.
        if let Err(error) = object.by_hand(PLACE)?.load() {
            tracing::debug!(%error, "a CPU that comes online later cannot be told its package");
        }
        object.load_tracepoint(SWITCH, SWITCH, btf)?;
        Ok(object)
    }

    fn load_tracepoint(&mut self, program: &'static str, on: &str, btf: &Btf) -> Result<(), ProbeError> {
        tracepoint(&mut self.ebpf, program)?
            .load(on, btf)
            .map_err(in_program(program))
    }

    /// Loads and attaches the program that keeps names fresh.
    pub(crate) fn attach_renames(&mut self, btf: &Btf) -> Result<(), ProbeError> {
        self.load_tracepoint(RENAME, RENAME, btf)?;
        self.attach(RENAME)
    }

    /// Loads and attaches the two programs of softirqs. An entry without an exit would never end: the exit goes first.
    pub(crate) fn attach_softirqs(&mut self, btf: &Btf) -> Result<(), ProbeError> {
        self.load_tracepoint(SOFTIRQ_ENTRY, SOFTIRQ_ENTRY, btf)?;
        self.load_tracepoint(SOFTIRQ_EXIT, SOFTIRQ_EXIT, btf)?;
        self.attach(SOFTIRQ_EXIT)?;
        self.attach(SOFTIRQ_ENTRY)
    }

    /// Loads and attaches the two programs of the page cache: both or neither, half of a count is none.
    pub(crate) fn attach_page_cache(&mut self, btf: &Btf) -> Result<(), ProbeError> {
        first_that_is_there(&DIRTIED, |name| self.load_tracepoint(PAGE_DIRTIED, name, btf))?;
        let program = self.page_accessed()?;
        first_that_is_there(&ACCESSED, |name| {
            program.load(name, btf).map_err(in_program(PAGE_ACCESSED))
        })?;
        let link = program.attach().map_err(in_program(PAGE_ACCESSED))?;
        let both = self.attach(PAGE_DIRTIED);
        if both.is_err() {
            let detached = self.page_accessed()?.detach(link);
            detached.map_err(in_program(PAGE_ACCESSED))?;
        }
        both
    }

    fn page_accessed(&mut self) -> Result<&mut FEntry, ProbeError> {
        self.ebpf
            .program_mut(PAGE_ACCESSED)
            .ok_or(ProbeError::Mismatch { what: PAGE_ACCESSED })?
            .try_into()
            .map_err(in_program(PAGE_ACCESSED))
    }

    /// Tells each CPU its package and its sibling. CPUs that are not listed (offline, or plugged in later) count to the
    /// first one's package until [`Object::place_later`].
    pub(crate) fn place(
        &mut self,
        packages: &[(u32, PackageId)],
        siblings: &[(u32, u32)],
    ) -> Result<(), ProbeError> {
        let mut slots = self.slots()?.to_vec();
        let first = packages.first().map_or(0, |(_, package)| package.0);
        for slot in &mut slots {
            slot.package = u32::from(first);
        }
        for (cpu, package) in packages {
            match slot_of(&mut slots, *cpu) {
                Some(slot) => slot.package = u32::from(package.0),
                None => tracing::warn!(
                    cpu,
                    "a CPU that the kernel does not count as possible is left out"
                ),
            }
        }
        for (one, other) in siblings {
            for (cpu, sibling) in [(*one, *other), (*other, *one)] {
                if let Some(slot) = slot_of(&mut slots, cpu) {
                    slot.sibling = sibling.saturating_add(1);
                }
            }
        }
        let values = PerCpuValues::try_from(slots).map_err(|source| ProbeError::Map {
            map: "slots",
            source: MapError::IoError(source),
        })?;
        self.slots.set(0, values, 0).map_err(in_map("slots"))
    }

    /// Tells a CPU its package while programs run, by an interrupt there. `false`: that CPU is not there any more.
    pub(crate) fn place_later(&mut self, cpu: u32, package: PackageId) -> Result<bool, ProbeError> {
        let mut options = RawTracePointRunOptions {
            cpu: Some(cpu),
            ..RawTracePointRunOptions::new()
        };
        options.args[0] = u64::from(package.0);
        self.run_on(PLACE, options)
    }

    /// How many seats there are.
    pub(crate) fn seat_count(&self) -> u32 {
        u32::try_from(self.seats.words().len() / SEAT_WORDS).unwrap_or(u32::MAX)
    }

    /// Where perf events are put, by counter.
    pub(crate) fn perf_events(&self) -> Vec<BorrowedFd<'_>> {
        self.perf_events.iter().map(|map| map.fd().as_fd()).collect()
    }

    /// Attaches one of the tracepoint programs.
    pub(crate) fn attach(&mut self, program: &'static str) -> Result<(), ProbeError> {
        // The link's id is not kept: it is detached when the object is dropped.
        tracepoint(&mut self.ebpf, program)?
            .attach()
            .map(|_link| ())
            .map_err(in_program(program))
    }

    /// The slots of all possible CPUs.
    pub(crate) fn slots(&self) -> Result<PerCpuValues<Slot>, ProbeError> {
        self.slots.get(&0, 0).map_err(in_map("slots"))
    }

    /// Softirqs of all possible CPUs.
    pub(crate) fn softirqs(&self) -> Result<PerCpuValues<Softirqs>, ProbeError> {
        self.softirqs.get(&0, 0).map_err(in_map("softirqs"))
    }

    /// How many readings of a hardware counter failed on each possible CPU.
    pub(crate) fn failed_readings(&self) -> Result<Vec<u64>, ProbeError> {
        let readings = self.readings.get(&0, 0).map_err(in_map("readings"))?;
        Ok(readings.iter().map(|reading| reading.failed).collect())
    }

    /// Charges what runs on `cpu` up to now, by an interrupt there. `false`: that CPU is not there any more.
    pub(crate) fn flush(&mut self, cpu: u32) -> Result<bool, ProbeError> {
        let options = RawTracePointRunOptions {
            cpu: Some(cpu),
            ..RawTracePointRunOptions::new()
        };
        self.run_on(FLUSH, options)
    }

    fn run_on(
        &mut self,
        program: &'static str,
        options: RawTracePointRunOptions,
    ) -> Result<bool, ProbeError> {
        match self.by_hand(program)?.test_run(options) {
            Ok(_) => Ok(true),
            // What smp_call_function_single says of a CPU that is offline.
            Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
                if io_error.raw_os_error() == Some(libc::ENXIO) =>
            {
                Ok(false)
            }
            Err(source) => Err(in_program(program)(source)),
        }
    }

    /// What the kernel counted while its statistics were on; programs that are not loaded are left out.
    pub(crate) fn cost(&self) -> Vec<ProgramCost> {
        cost_of(&self.ebpf, &PROGRAMS)
    }

    /// A program that is attached to nothing.
    fn by_hand(&mut self, program: &'static str) -> Result<&mut RawTracePoint, ProbeError> {
        self.ebpf
            .program_mut(program)
            .ok_or(ProbeError::Mismatch { what: program })?
            .try_into()
            .map_err(in_program(program))
    }
}

/// The kernel's types. To be had before anything is loaded: without them aya would skip the relocations in silence and
/// load wrong offsets.
pub(crate) fn kernel_types() -> Result<Btf, ProbeError> {
    Btf::from_sys_fs().map_err(|source| ProbeError::NoBtf {
        path: preflight::btf_path(),
        source,
    })
}

/// A program on a tracepoint with types.
pub(crate) fn tracepoint<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut BtfTracePoint, ProbeError> {
    ebpf.program_mut(name)
        .ok_or(ProbeError::Mismatch { what: name })?
        .try_into()
        .map_err(in_program(name))
}

/// Takes a map out of the object.
pub(crate) fn map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, ProbeError> {
    ebpf.take_map(name).ok_or(ProbeError::Mismatch { what: name })
}

/// Takes a hash out of the object.
pub(crate) fn hash<K: Pod + Default, V: Pod + Default>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<BatchMap<K, V>, ProbeError> {
    match map(ebpf, name)? {
        Map::HashMap(map) => BatchMap::new(map).map_err(in_map(name)),
        _ => Err(ProbeError::Mismatch { what: name }),
    }
}

/// Takes an array that is to be read in place out of the object.
pub(crate) fn mapped_array(
    ebpf: &mut Ebpf,
    name: &'static str,
    value_words: usize,
) -> Result<MappedArray, ProbeError> {
    match map(ebpf, name)? {
        Map::Array(map) => MappedArray::new(map, value_words).map_err(in_map(name)),
        _ => Err(ProbeError::Mismatch { what: name }),
    }
}

/// Takes a per-CPU array out of the object.
pub(crate) fn per_cpu_array<V: Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<PerCpuArray<MapData, V>, ProbeError> {
    PerCpuArray::try_from(map(ebpf, name)?).map_err(in_map(name))
}

fn slot_of(slots: &mut [Slot], cpu: u32) -> Option<&mut Slot> {
    slots.get_mut(usize::try_from(cpu).ok()?)
}

/// Tries names until one works; the error is the first one's, which newer kernels have.
fn first_that_is_there(
    names: &[&str],
    mut load: impl FnMut(&str) -> Result<(), ProbeError>,
) -> Result<(), ProbeError> {
    let mut first = None;
    for name in names {
        match load(name) {
            Ok(()) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), Err)
}
