// SPDX-License-Identifier: Apache-2.0
//! `kepler calibrate`: a machine with a meter, watched under load, as a model file for machines of its kind without one.
//!
//! Live it is what `kepler record` is, with another listener: the meters and the probe that the daemon would use, and its
//! attribution beside them. Out of a recording it needs nothing of this machine. What the readings are worth is decided
//! in `power_sources::estimator::calibration`; here are the clock, the threads, the load and the file.

mod attend;
mod draft;
mod gauge;
mod listener;
mod stress;

use crate::clock;
use crate::node;
use crate::pipeline::Parts;
use crate::run::{self, Outcome, announce, parts, stop_signal};
use anyhow::Context as _;
use attend::Attendance;
use attribution::model::{Component, SourceId};
use attribution::recording::{Ending, Reader};
use config::Loaded;
use draft::Draft;
use exporter::Entrance;
use listener::{Ear, Listener};
use power_sources::estimator::COMPONENTS;
use power_sources::estimator::calibration::{
    Calibration, Described, Making, Model, Watched, calibrate as fit,
};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long is watched where nothing else is said, and the load is not walked.
const USUAL: Duration = Duration::from_secs(600);

/// What is asked of a live calibration.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the model goes.
    pub out: &'a Path,
    /// The longest time that is watched.
    pub lasts: Option<Duration>,
    /// Who makes the load.
    pub load: Load,
}

/// Who makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Whoever works on this machine.
    Found,
    /// We do, level by level.
    Walked,
}

/// A model that was made and written.
#[derive(Debug)]
pub struct Calibrated {
    /// How the watch ended.
    pub outcome: Outcome,
    /// What was made of it.
    calibration: Calibration,
    model: Model,
    out: PathBuf,
    /// What a person should know of it.
    pub remarks: Vec<String>,
}

/// Watches this machine and writes its model.
///
/// # Errors
/// When there is no meter, too little was seen, or nothing can be written.
pub fn live(loaded: &Loaded, wanted: &Wanted<'_>) -> anyhow::Result<Calibrated> {
    let draft = Draft::create(wanted.out)?;
    let machine = node::machine();
    let (listener, tap) = Listener::start()?;
    let seen = listener.seen();
    let (tell, told) = tokio::sync::oneshot::channel();
    let lasts = match (wanted.lasts, wanted.load) {
        (None, Load::Found) => Some(USUAL),
        (lasts, _) => lasts,
    };
    let stop = || {
        let signal = stop_signal()?;
        Ok(async move {
            let attending = async {
                // Told once the meters are open; not at all when that failed, and then everything ends.
                if let Ok(attendance) = told.await {
                    Attendance::attend(attendance, &seen).await;
                }
            };
            tokio::select! {
                () = signal => {}
                () = attending => {}
            }
        })
    };
    let mut has_gpu = false;
    let (outcome, _) = run::run_to_the_last_page(stop, || {
        let mut parts = parts(loaded, &machine, Entrance::closed())?;
        // Nothing is learned of a model.
        parts.estimator = None;
        let awaited = meters(&parts)?;
        has_gpu = parts
            .meters
            .iter()
            .any(|meter| meter.components().contains(&Component::Gpu));
        parts.tap = Some(tap);
        announce(&parts);
        let threads = machine.threads();
        // Nobody listens when the signal came first.
        let _ = tell.send(Attendance::new(lasts, wanted.load, awaited, threads)?);
        Ok(parts)
    })?;
    let (watched, missing) = listener.finish()?;
    let mut remarks = Vec::new();
    if missing > 0 {
        remarks.push(format!(
            "{missing} reports were missed, because the machine was too busy to take them"
        ));
    }
    if has_gpu {
        remarks.push("a GPU's power is in the platform's, and the model takes it for the CPU's".to_owned());
    }
    let described = Described::from(&node::describe(&machine));
    finish(
        Stage {
            draft,
            remarks,
            outcome,
        },
        &watched,
        described,
        wanted.load,
    )
}

/// Makes a model of a recording, of a machine with this processor.
///
/// # Errors
/// When it cannot be read, too little is in it, or nothing can be written.
pub fn recorded(file: &Path, out: &Path, cpu: Option<&str>) -> anyhow::Result<Calibrated> {
    let draft = Draft::create(out)?;
    let place = || file.display().to_string();
    let opened = File::open(file).with_context(place)?;
    let mut reader = Reader::new(BufReader::new(opened)).with_context(place)?;
    let beginning = reader.beginning().with_context(place)?;
    let mut ear = Ear::default();
    while let Some(entry) = reader.next_entry().with_context(place)? {
        ear.hear(&entry);
    }
    let torn = match reader.ending() {
        Some(torn @ Ending::Torn { .. }) => Some(format!("{}: {torn}", file.display())),
        _ => None,
    };
    let missing = ear.missing();
    let gap = (missing > 0).then(|| format!("{}: {missing} entries are missing", file.display()));
    let unnamed = cpu.is_none().then(|| {
        "a recording does not say which processor it was made on, so the model is taken for any with as many chips and threads; --cpu \"NAME\" says it".to_owned()
    });
    let watched = ear.finish();
    let threads = watched.packages.iter().map(|(_, threads)| *threads);
    let machine = Described {
        cpu: cpu.map(str::to_owned),
        chips: u32::try_from(watched.packages.len()).unwrap_or(u32::MAX),
        threads: threads.fold(0, u32::saturating_add),
        memory_gib: beginning.facts.memory.map(gib),
        ..Described::default()
    };
    let stage = Stage {
        draft,
        remarks: [torn, gap, unnamed].into_iter().flatten().collect(),
        outcome: Outcome::Stopped,
    };
    finish(stage, &watched, machine, Load::Found)
}

/// What a calibration has before its model.
struct Stage {
    draft: Draft,
    remarks: Vec<String>,
    outcome: Outcome,
}

fn finish(stage: Stage, watched: &Watched, machine: Described, load: Load) -> anyhow::Result<Calibrated> {
    let Stage {
        draft,
        mut remarks,
        outcome,
    } = stage;
    let calibration = match (fit(watched), &outcome) {
        (Err(refusal), Outcome::Died(name)) => {
            return Err(anyhow::Error::from(refusal).context(format!("{name} died, which is a bug")));
        }
        (fitted, _) => fitted?,
    };
    let tally = calibration.tally;
    if tally.overflow > 0 {
        remarks.push(format!(
            "{} readings were beyond what is kept, and were not used",
            tally.overflow
        ));
    }
    let made = Making {
        program: format!("kepler {}", run::build_info().version),
        date: date(clock::unix_seconds()),
        stress: load == Load::Walked,
    };
    let model = Model::new(&calibration, machine, made);
    let out = draft.commit(model.to_json().as_bytes())?;
    Ok(Calibrated {
        outcome,
        calibration,
        model,
        out,
        remarks,
    })
}

/// Seconds since 1970 as RFC 3339 says them.
fn date(unix_seconds: u64) -> String {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds);
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// The meters that a model can be made of, or why there are none.
fn meters(parts: &Parts) -> anyhow::Result<Vec<SourceId>> {
    let is_of_use = |component: &Component| COMPONENTS.contains(component);
    let useful = parts
        .meters
        .iter()
        .filter(|meter| meter.components().iter().any(is_of_use));
    let sources: Vec<_> = useful.map(|meter| meter.id()).collect();
    if sources.contains(&power_sources::replay::SOURCE) {
        anyhow::bail!(
            "`replay` shows the watts of a recording, and the load would be today's; `kepler calibrate --from FILE` takes both out of it"
        );
    }
    if !sources.is_empty() {
        return Ok(sources);
    }
    let mut words = "there is no meter for package, memory or platform to learn from:".to_owned();
    let keys = parts
        .facts
        .selections
        .iter()
        .filter(|selection| selection.key != "gpu");
    for selection in keys {
        let passed = selection
            .passed_over
            .iter()
            .filter(|passed| passed.name != crate::settings::ESTIMATOR);
        for passed in passed {
            words.push_str(&format!(
                "\n  {}: {}: {}",
                selection.key, passed.name, passed.reason
            ));
        }
    }
    anyhow::bail!(
        "{words}\ncalibrate on a machine of the same kind that has one, or from a recording of it (--from)"
    )
}

/// Bytes in GiB.
fn gib(bytes: u64) -> f64 {
    // MiB fit 32 bits up to 4 PiB.
    f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX)) / 1024.0
}

impl fmt::Display for Calibrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self
            .model
            .machine
            .to_string()
            .replace(char::is_control, "\u{fffd}");
        writeln!(f, "{machine}")?;
        write!(f, "{}", self.calibration)?;
        writeln!(f, "written to {}", self.out.display())
    }
}
