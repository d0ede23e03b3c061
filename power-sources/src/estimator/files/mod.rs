// SPDX-License-Identifier: Apache-2.0
//! Models that users bring as files: owns reading them, telling their formats apart and refusing them.
//!
//! Everything is decided when a file is opened: what is wrong is said with its place and what would be right, and a model that
//! was opened predicts a believable number at every load of this machine. Never opens what it is not told to, follows nothing
//! that a file names, and runs nothing out of it.

mod feature;
mod form;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod kind;
mod model;
pub(super) mod overlay;
#[cfg(test)]
mod tests;
mod trees;
mod weights;
mod xgboost;

pub use feature::Supply;
pub use model::FileModel;
pub use weights::Part;

use super::calibration::{Described, Model};
use super::{MachineConfig, MachineDescription};
use form::{Form, Input};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest file. A hundred trees of six levels, XGBoost's defaults, make 1.5 MB.
const MOST_BYTES: u64 = 32 << 20;

/// The `format` of what `kepler calibrate` writes (docs/calibrate.md).
const CALIBRATED: &str = "kepler-power-model";

/// Which files are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPaths {
    /// For packages.
    pub package: Option<PathBuf>,
    /// For memory.
    pub dram: Option<PathBuf>,
    /// For the whole machine.
    pub platform: Option<PathBuf>,
}

/// What a model must fit.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Hardware threads.
    pub threads: u32,
    /// Names of this CPU's kind, for `cpu_architecture`.
    pub kinds: Vec<String>,
    /// What can be counted.
    pub supply: Supply,
    /// This machine or, in a guest whose host is described, the host.
    pub machine: Described,
    /// Whether this is a guest.
    pub guest: bool,
    /// Threads of a guest's host, where it is described.
    pub host_threads: Option<u32>,
}

impl Here {
    /// This machine, and what is said of it or of its host.
    pub(super) fn of(machine: &MachineDescription, said: &MachineConfig) -> Self {
        // A host that is too small for its guest is not believed.
        let host_threads = (machine.guest && said.threads >= machine.all_threads()).then_some(said.threads);
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let memory_gib = (said.memory_gib > 0.0).then_some(said.memory_gib);
        let host = || Described {
            vendor: named(&said.vendor),
            cpu: named(&said.cpu).or_else(|| machine.model_name.clone()),
            chips: said.chips.max(1),
            threads: said.threads,
            memory_gib,
            ..Described::default()
        };
        // Names and sizes that somebody says are better than what firmware says; how many threads there are nobody knows better
        // than the kernel.
        let here = || {
            let read = Described::from(machine);
            Described {
                vendor: named(&said.vendor).or(read.vendor),
                cpu: named(&said.cpu).or(read.cpu),
                memory_gib: memory_gib.or(read.memory_gib),
                ..read
            }
        };
        Self {
            threads: machine.all_threads(),
            kinds: kind::kinds(machine.microarchitecture()),
            // Models are asked by how busy a socket is; nobody brings them events yet.
            supply: Supply::default(),
            machine: if host_threads.is_some() { host() } else { here() },
            guest: machine.guest,
            host_threads,
        }
    }
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`estimator.models.{}` = \"{}\": {problem}", .part.name(), .path.display())]
pub struct RefusedFile {
    /// For which figure it was configured.
    pub part: Part,
    /// The file.
    pub path: PathBuf,
    /// Where in it, what is there, and what is allowed.
    pub problem: String,
}

/// The models of all configured files.
#[derive(Clone, Debug, Default)]
pub struct FileModels {
    /// Of packages: all together.
    pub package: Option<FileModel>,
    /// Of memory.
    pub dram: Option<FileModel>,
    /// Of the machine.
    pub platform: Option<FileModel>,
}

impl FileModels {
    /// Opens every file that is configured.
    ///
    /// # Errors
    /// With every file that cannot be used.
    pub fn open(paths: &ModelPaths, here: &Here) -> Result<Self, Vec<RefusedFile>> {
        let mut refused = Vec::new();
        let mut open = |part: Part, path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            open_one(part, path, here)
                .map_err(|problem| {
                    let path = path.clone();
                    refused.push(RefusedFile { part, path, problem });
                })
                .ok()
        };
        let models = Self {
            package: open(Part::Package, &paths.package),
            dram: open(Part::Dram, &paths.dram),
            platform: open(Part::Platform, &paths.platform),
        };
        if refused.is_empty() {
            refused.extend(models.contradiction(paths, here));
        }
        match refused.is_empty() {
            true => Ok(models),
            false => Err(refused),
        }
    }

    /// Whether there is none at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.package.is_none() && self.dram.is_none() && self.platform.is_none()
    }

    /// A platform that is less than what it is made of: one of the files is of another machine.
    fn contradiction(&self, paths: &ModelPaths, here: &Here) -> Option<RefusedFile> {
        let platform = self.platform.as_ref()?;
        (0..=100_u32).find_map(|load| {
            let watts = |model: &FileModel| model.machine(here.threads.max(1), f64::from(load) / 100.0).total() / 1_000_000;
            let parts = [&self.package, &self.dram].into_iter().flatten();
            let (whole, parts) = (watts(platform), parts.map(watts).fold(0, u64::saturating_add));
            (whole < parts).then(|| RefusedFile {
                part: Part::Platform,
                path: paths.platform.clone().unwrap_or_default(),
                problem: format!(
                    "predicts {whole} W for the whole machine at {load} % load, and the files for package and dram {parts} W for parts of it; they \
                     cannot be of one machine"
                ),
            })
        })
    }
}

fn open_one(part: Part, path: &Path, here: &Here) -> Result<FileModel, String> {
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy())
        .unwrap_or_default();
    let model = parse(&read(path)?, part, &stem, here)?;
    Ok(model.named(path))
}

/// The bytes of a plain file that is not too large.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let facts = std::fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        return Err("is no file".to_owned());
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MOST_BYTES) {
        return Ok(bytes);
    }
    Err(format!(
        "has more than {} MiB; allowed are models up to that size",
        MOST_BYTES >> 20
    ))
}

/// What tells the formats apart.
#[derive(Deserialize)]
struct Shape {
    format: Option<String>,
    learner: Option<IgnoredAny>,
    package: Option<IgnoredAny>,
    dram: Option<IgnoredAny>,
    platform: Option<IgnoredAny>,
}

/// A model out of a file's bytes. One arm per format.
pub(super) fn parse(bytes: &[u8], part: Part, stem: &str, here: &Here) -> Result<FileModel, String> {
    if let Some(name) = known_but_not_json(bytes) {
        return Err(name.to_owned());
    }
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|error| format!("is no JSON object: {error}"))?;
    let weighed = match shape {
        Shape {
            format: Some(format), ..
        } if format == CALIBRATED => return calibrated(bytes, part, here),
        Shape {
            format: Some(format), ..
        } => {
            return Err(format!(
                "has \"format\": {format:?}, which this version does not read; allowed are models of kepler calibrate ({CALIBRATED:?}), weight files of the Kepler model server and \
                 XGBoost's own JSON"
            ));
        }
        Shape { learner: Some(_), .. } => weights::Weighed {
            form: trees(bytes, here.supply)?,
            trained_threads: None,
        },
        Shape {
            package: None,
            dram: None,
            platform: None,
            ..
        } => {
            return Err("has neither \"package\", \"dram\" nor \"platform\" (a weight file of the Kepler model server) nor \"learner\" \
                        (XGBoost's own JSON)"
                .to_owned());
        }
        Shape { .. } => weights::parse(bytes, part, stem, here.supply, &here.kinds)?,
    };
    FileModel::new(part, weighed.form, here.threads, weighed.trained_threads)
}

/// What `kepler calibrate` made: for machines of the same kind, and with a known error.
fn calibrated(bytes: &[u8], part: Part, here: &Here) -> Result<FileModel, String> {
    let model = Model::parse(bytes).map_err(|fault| fault.to_string())?;
    if !model.has(part.component()) {
        let there: Vec<_> = [Part::Package, Part::Dram, Part::Platform]
            .into_iter()
            .filter(|part| model.has(part.component()))
            .map(Part::name)
            .collect();
        return Err(format!(
            "has no zone of {}; there are: {}",
            part.name(),
            there.join(", ")
        ));
    }
    if let Some(socket) = model.missing(part.component()) {
        return Err(format!(
            "has zones of {} for some sockets of {} and none for the {}; calibrate again where each can be read",
            part.name(),
            model.machine.chips,
            match socket {
                0 => "first".to_owned(),
                socket => format!("one with number {socket}, counted from 0"),
            }
        ));
    }
    let remark = model
        .fits(&here.machine, here.guest)
        .map_err(|mismatch| mismatch.to_string())?;
    Ok(FileModel::calibrated(part, model, here.host_threads, remark))
}

/// XGBoost's own file: its features must have names, or nobody knows what they are.
fn trees(bytes: &[u8], supply: Supply) -> Result<Form, String> {
    let booster = xgboost::parse(bytes)?;
    if booster.names.len() != booster.features {
        return Err(format!(
            "learner.feature_names has {} names for {} features; train with names (xgboost.DMatrix(x, y, feature_names=[\"bpf_cpu_time_ms\"]) or \
             a data frame)",
            booster.names.len(),
            booster.features
        ));
    }
    let inputs = booster.names.iter().map(|name| {
        let feature = supply
            .feature(name)
            .map_err(|problem| format!("learner.feature_names: {problem}"))?;
        Ok::<_, String>(Input { feature, scale: 1.0 })
    });
    Ok(Form::Trees {
        inputs: inputs.collect::<Result<_, _>>()?,
        forest: booster.forest,
    })
}

/// Formats that users may have in their hands, by their first bytes, with what to do about them.
fn known_but_not_json(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("is empty"),
        // A key's length and not a quotation mark follows the brace.
        [b'{', b'L' | b'l' | b'I' | b'i' | b'U' | b'$' | b'#', ..] => {
            Some("is XGBoost's binary UBJSON; write JSON: booster.save_model(\"model.json\")")
        }
        [b'b', b'i', b'n', b'f', ..] => Some(
            "is XGBoost's old binary format; load it with XGBoost before 3.1 and write JSON: booster.save_model(\"model.json\")",
        ),
        [0x80, ..] => {
            Some("is a Python pickle, which is a program and is not run; export the weights as JSON")
        }
        [b'P', b'K', ..] => Some("is a zip archive; name the JSON file inside, unpacked"),
        [0x1f, 0x8b, ..] => Some("is compressed with gzip; unpack it first"),
        _ => None,
    }
}
