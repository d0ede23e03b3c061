// SPDX-License-Identifier: Apache-2.0
//! The calls into NVIDIA's management library (nvml-wrapper): owns finding and loading it, its handles, and the names of
//! its errors; decides nothing about energy or use.
//!
//! The documentation that is followed is NVIDIA's "NVML API Reference Guide" and the comments in its nvml.h.

use super::driver::{Broken, Instance, Listing, Load, Look, Member, Meter, Question, Sample, Since, Whole};
use super::load::WHOLE;
use crate::files::Fault;
use attribution::model::{ErrorReason, Microwatts};
use nvml_wrapper::enum_wrappers::device::Sampling;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, GpmSample, Nvml};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the library is looked for, in this order.
pub(super) const LIBRARIES: [&str; 6] = [
    // Where the loader finds it: installed by the driver's package, or mounted by NVIDIA's container runtime.
    "libnvidia-ml.so.1",
    // Mounted by GKE's device plugin and by the first nvidia-docker, without an entry in the loader's cache.
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    // The root of the GPU operator's driver container, mounted from the host.
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.1",
    // The driver of Windows, lent to WSL 2.
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
];

/// What to do when there is no library.
const NO_LIBRARY: &str = "install NVIDIA's driver; in a container, use NVIDIA's runtime (runtimeClassName: nvidia, \
                          NVIDIA_VISIBLE_DEVICES=all, NVIDIA_DRIVER_CAPABILITIES=utility) or mount the driver's \
                          libraries and name the file in `sources.nvml.library`";

/// Most GPUs and instances that are asked for. Machines have 16 GPUs; a GPU has 7 instances.
const MOST_GPUS: u32 = 64;
const MOST_INSTANCES: u32 = 16;

/// Loads and initialises the library at `library`, or wherever it is when that is empty.
pub(super) fn initialise(library: &Path) -> Result<Nvml, Fault> {
    if !library.as_os_str().is_empty() {
        return load(library).map_err(|error| fault(&library.display().to_string(), &error));
    }
    let mut first = None;
    for candidate in LIBRARIES {
        match load(Path::new(candidate)) {
            Ok(nvml) => return Ok(nvml),
            Err(NvmlError::LibloadingError(error)) => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(fault(candidate, &error)),
        }
    }
    let why = first.map_or_else(String::new, |error| error.to_string());
    Err(Fault {
        reason: ErrorReason::Gone,
        words: format!("NVIDIA's management library was not found ({why}): {NO_LIBRARY}"),
    })
}

fn load(library: &Path) -> Result<Nvml, NvmlError> {
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init()?;
    if nvml.lib().nvmlShutdown.is_err() {
        // Dropping it would call what is not there, and panic.
        std::mem::forget(nvml);
        return Err(NvmlError::FailedToLoadSymbol("nvmlShutdown".to_owned()));
    }
    Ok(nvml)
}

/// One GPU's handle.
struct Handle<'nvml> {
    uuid: Arc<str>,
    device: Device<'nvml>,
    /// Whether it counts energy; not asked again once it said no.
    counts: bool,
    /// Whether its counters of performance can be read per instance (Hopper and later).
    has_gpm: bool,
}

/// All that borrows from the library.
pub(super) struct Devices<'nvml> {
    nvml: &'nvml Nvml,
    handles: Vec<Handle<'nvml>>,
    count: u32,
    root: PathBuf,
    entries: Option<Vec<OsString>>,
    /// The last sample of each GPU's instances, to compare the next one with.
    samples: BTreeMap<(Arc<str>, u32), GpmSample<'nvml>>,
}

impl<'nvml> Devices<'nvml> {
    /// Lists the GPUs.
    pub(super) fn list(nvml: &'nvml Nvml, root: PathBuf) -> Result<(Self, Listing), Fault> {
        let entries = entries(&root);
        let count = nvml
            .device_count()
            .map_err(|error| fault("number of GPUs", &error))?;
        let mut listing = Listing::default();
        let mut handles = Vec::new();
        for index in 0..count.min(MOST_GPUS) {
            match open(nvml, index) {
                Ok((handle, member)) => {
                    handles.push(handle);
                    listing.gpus.push(member);
                }
                Err(error) if is_fatal(&error) => return Err(fault("list of GPUs", &error)),
                Err(error) => listing.faults.push(fault(&format!("GPU {index}"), &error)),
            }
        }
        let devices = Self {
            nvml,
            handles,
            count,
            root,
            entries,
            samples: BTreeMap::new(),
        };
        Ok((devices, listing))
    }

    /// Asks every GPU of `questions`: first all for their energy, which is quick, so that these belong to one moment.
    pub(super) fn look(&mut self, questions: &[Question]) -> Result<Vec<Result<Look, Fault>>, Broken> {
        let count = self.nvml.device_count();
        if count.map_err(|error| Broken::Dead(fault("number of GPUs", &error)))? != self.count
            || entries(&self.root).is_some_and(|now| self.entries.as_ref() != Some(&now))
        {
            return Err(Broken::Changed);
        }
        let mut meters = Vec::with_capacity(questions.len());
        for question in questions {
            let handle = self
                .handles
                .iter_mut()
                .find(|handle| handle.uuid == question.uuid);
            let meter = handle.map_or(Err(NvmlError::NotFound), Handle::meter);
            match meter {
                Err(error) if is_fatal(&error) => return Err(Broken::Dead(fault(&question.uuid, &error))),
                meter => meters.push(meter.map_err(|error| fault(&question.uuid, &error))),
            }
        }
        let answers = questions.iter().zip(meters).map(|(question, meter)| {
            let mut faults = Vec::new();
            let load = if meter.is_ok() {
                self.load(question, &mut faults)
            } else {
                Load::Unknown
            };
            meter.map(|meter| Look { meter, load, faults })
        });
        Ok(answers.collect())
    }

    fn load(&mut self, question: &Question, faults: &mut Vec<Fault>) -> Load {
        let Some(handle) = self.handles.iter().find(|handle| handle.uuid == question.uuid) else {
            return Load::Unknown;
        };
        let mut calls = Calls {
            uuid: &handle.uuid,
            faults,
        };
        // A GPU from before MIG does not know the question.
        let mode = calls.known("MIG mode", handle.device.mig_mode());
        if mode.is_some_and(|mode| mode.current != 0) {
            let instances = calls.instances(self.nvml, handle, &mut self.samples);
            return instances.map_or(Load::Unknown, Load::Sliced);
        }
        calls.whole(&handle.device, question.since)
    }
}

impl Handle<'_> {
    fn meter(&mut self) -> Result<Meter, NvmlError> {
        if self.counts {
            match self.device.total_energy_consumption() {
                Err(error) if is_unsupported(&error) => self.counts = false,
                answer => return answer.map(Meter::Energy),
            }
        }
        self.device.power_usage().map(Meter::Power)
    }
}

/// The calls about who uses one GPU. What it does not support is no fault.
struct Calls<'a> {
    uuid: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl Calls<'_> {
    fn known<T>(&mut self, what: &str, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                if !is_unsupported(&error) {
                    self.faults.push(fault(&format!("{}: {what}", self.uuid), &error));
                }
                None
            }
        }
    }

    fn whole(&mut self, device: &Device<'_>, since: Since) -> Load {
        let samples = match device.process_utilization_stats(since.processes) {
            Ok(samples) => Some(samples),
            // "No samples later than that"; and more of them than a moment ago, which the next read gets all the same.
            Err(NvmlError::NotFound | NvmlError::InsufficientSize(_)) => Some(Vec::new()),
            Err(error) if is_unsupported(&error) => None,
            Err(error) => {
                self.faults
                    .push(fault(&format!("{}: use by process", self.uuid), &error));
                return Load::Unknown;
            }
        };
        let rates = self.known("utilisation", device.utilization_rates());
        let sample = |sample: nvml_wrapper::struct_wrappers::device::ProcessUtilizationSample| Sample {
            pid: sample.pid,
            at: sample.timestamp,
            engines: [sample.sm_util, sample.mem_util, sample.enc_util, sample.dec_util],
        };
        Load::Whole(Whole {
            busy: rates.map(|rates| rates.gpu),
            periods: self.periods(device, since.device),
            samples: samples.map(|samples| samples.into_iter().map(sample).collect()),
            running: self
                .running(device)
                .into_iter()
                .map(|process| process.pid)
                .collect(),
        })
    }

    fn periods(&mut self, device: &Device<'_>, since: u64) -> Vec<(u64, u32)> {
        let samples = match device.samples(Sampling::GpuUtilization, since) {
            Err(NvmlError::NotFound | NvmlError::InsufficientSize(_)) => return Vec::new(),
            answer => self.known("samples of utilisation", answer).unwrap_or_default(),
        };
        let period = |sample: nvml_wrapper::struct_wrappers::device::Sample| match sample.value {
            SampleValue::U32(percent) => Some((sample.timestamp, percent)),
            _ => None,
        };
        samples.into_iter().filter_map(period).collect()
    }

    /// Processes with a context on a GPU or an instance.
    fn running(&mut self, device: &Device<'_>) -> Vec<ProcessInfo> {
        let compute = self.known("compute processes", device.running_compute_processes());
        let graphics = self.known("graphics processes", device.running_graphics_processes());
        compute.into_iter().chain(graphics).flatten().collect()
    }

    /// `None` when one of them is not known: the others would have to pay for it.
    fn instances<'nvml>(
        &mut self,
        nvml: &'nvml Nvml,
        handle: &Handle<'nvml>,
        samples: &mut BTreeMap<(Arc<str>, u32), GpmSample<'nvml>>,
    ) -> Option<Vec<Instance>> {
        // The most that it can have, which is the number of its slices.
        let of = self.known("number of MIG instances", handle.device.mig_device_count())?;
        let mut found = Vec::new();
        let mut fresh = BTreeMap::new();
        for index in 0..of.min(MOST_INSTANCES) {
            let instance = match handle.device.mig_device_by_index(index) {
                Err(NvmlError::NotFound | NvmlError::InvalidArg) => continue,
                answer => self.known("MIG instance", answer),
            };
            let instance = instance?;
            let attributes = self.known("attributes of a MIG instance", instance.attributes())?;
            let running = self.running(&instance);
            // Only a process tells the number that counters of performance go by; without one there is no use.
            let number = running.iter().find_map(|process| process.gpu_instance_id);
            let active = number.filter(|_| handle.has_gpm).and_then(|number| {
                let key = (Arc::clone(&handle.uuid), number);
                let sample = self.known("GPM sample", handle.device.gpm_mig_sample(number))?;
                let active = samples.get(&key).and_then(|last| active(nvml, last, &sample));
                fresh.insert(key, sample);
                active
            });
            found.push(Instance {
                slices: attributes.compute_instance_slice_count,
                of,
                active,
                running: running.into_iter().map(|process| process.pid).collect(),
            });
        }
        samples.retain(|(uuid, _), _| *uuid != handle.uuid);
        samples.append(&mut fresh);
        Some(found)
    }
}

/// How much of an instance's shaders worked between two samples, in millionths; `None` where it is not measured.
fn active<'nvml>(nvml: &'nvml Nvml, last: &GpmSample<'nvml>, next: &GpmSample<'nvml>) -> Option<u32> {
    let metrics = gpm_metrics_get(nvml, last, next, &[GpmMetricId::SmUtil]).ok()?;
    let percent = metrics.into_iter().next()?.ok()?.value;
    if !(0.0..=100.0).contains(&percent) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a million, as the line above says"
    )]
    let millionths = (percent / 100.0 * f64::from(WHOLE)) as u32;
    Some(millionths)
}

fn open(nvml: &Nvml, index: u32) -> Result<(Handle<'_>, Member), NvmlError> {
    let device = nvml.device_by_index(index)?;
    let uuid: Arc<str> = Arc::from(device.uuid()?);
    let limits = device.power_management_limit_constraints().ok();
    let member = Member {
        uuid: Arc::clone(&uuid),
        name: device.name().unwrap_or_default(),
        limit: limits.map(|limits| Microwatts::from_micro(u64::from(limits.max_limit).saturating_mul(1_000))),
    };
    let has_gpm = device.gpm_support().unwrap_or(false);
    let handle = Handle {
        uuid,
        device,
        counts: true,
        has_gpm,
    };
    Ok((handle, member))
}

/// What the driver lists; `None` where that cannot be told just now, as when the process has no descriptor left: that is no news of
/// any GPU.
fn entries(root: &Path) -> Option<Vec<OsString>> {
    let names = match std::fs::read_dir(root) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>, std::io::Error>>(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut names = names.ok()?;
    names.sort();
    Some(names)
}

/// Errors after which only a new session helps: the driver was restarted, replaced or unloaded under this one.
const fn is_fatal(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::LibRmVersionMismatch
            | NvmlError::LibraryNotFound
    )
}

/// Errors that say that there is no such thing here, in this GPU or in this version of the library.
const fn is_unsupported(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_)
    )
}

/// The name of an error in the metrics, and its words.
fn fault(what: &str, error: &NvmlError) -> Fault {
    let (reason, hint) = match error {
        NvmlError::GpuLost => (
            ErrorReason::Gone,
            "; see the kernel log for its Xid, reset the GPU or reboot",
        ),
        NvmlError::ResetRequired => (
            ErrorReason::Gone,
            "; reset the GPU (nvidia-smi --gpu-reset) or reboot",
        ),
        NvmlError::NotFound | NvmlError::InvalidArg => (ErrorReason::Gone, ""),
        NvmlError::DriverNotLoaded => (ErrorReason::Gone, "; load it: `modprobe nvidia`"),
        NvmlError::LibRmVersionMismatch => (
            ErrorReason::Io,
            "; the driver was updated: reload its kernel modules or reboot",
        ),
        NvmlError::NoPermission | NvmlError::OperatingSystem => (
            ErrorReason::Auth,
            "; needs /dev/nvidiactl and /dev/nvidia0.. and a device cgroup that allows them",
        ),
        NvmlError::Timeout => (ErrorReason::Timeout, ""),
        NvmlError::Utf8Error(_) | NvmlError::UnexpectedVariant(_) => (ErrorReason::Parse, ""),
        _ => (ErrorReason::Io, ""),
    };
    Fault {
        reason,
        words: format!("{what}: {error}{hint}"),
    }
}
