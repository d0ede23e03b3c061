// SPDX-License-Identifier: Apache-2.0
//! What the source asks of NVIDIA's driver, as plain values: owns the border between the state machine and the library,
//! and does nothing itself. Tests stand on this side, `thread.rs` and `calls.rs` on the other.

use crate::files::Fault;
use attribution::model::Microwatts;
use std::sync::Arc;

/// A way to the library.
pub(super) trait Driver: Send {
    /// Loads and initialises it and lists the GPUs. Bounded in time.
    fn connect(&mut self) -> Result<Connected, Fault>;
}

/// A library that is initialised. Dropping it shuts it down.
pub(super) trait Session: Send {
    /// Asks each GPU once; answers in the same order. Bounded in time.
    fn look(&mut self, questions: &[Question]) -> Result<Vec<Result<Look, Fault>>, Broken>;
}

/// What connecting gives.
pub(super) struct Connected {
    pub(super) session: Box<dyn Session>,
    pub(super) listing: Listing,
}

/// Which GPUs the library has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Those that told who they are.
    pub(super) gpus: Vec<Member>,
    /// One for each that did not.
    pub(super) faults: Vec<Fault>,
}

/// One GPU that told who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The one name that stays the same.
    pub(super) uuid: Arc<str>,
    /// What it is, for people.
    pub(super) name: String,
    /// The highest limit that its board can be set to.
    pub(super) limit: Option<Microwatts>,
}

/// What one GPU is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Which.
    pub(super) uuid: Arc<str>,
    /// Which samples are news.
    pub(super) since: Since,
}

/// Moments of the newest samples that are known, in microseconds of the driver's own clock; 0 asks for all it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Since {
    /// Of processes.
    pub(super) processes: u64,
    /// Of the device.
    pub(super) device: u64,
}

/// Why a session has no answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It still works on the last questions; it may be asked again.
    Late(Fault),
    /// It is of no use any more.
    Dead(Fault),
    /// GPUs came or went; connecting again lists them.
    Changed,
}

/// What one GPU answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) meter: Meter,
    pub(super) load: Load,
    /// What else went wrong: the energy is known, who used it is not.
    pub(super) faults: Vec<Fault>,
}

/// What one GPU tells about energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meter {
    /// Millijoules since the driver was loaded.
    Energy(u64),
    /// Milliwatts now.
    Power(u32),
}

/// Who uses one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// A GPU in one piece.
    Whole(Whole),
    /// A GPU in instances (MIG).
    Sliced(Vec<Instance>),
    /// Not known at this read.
    Unknown,
}

/// A GPU in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    /// Percent of the last sampling period in which it ran anything.
    pub(super) busy: Option<u32>,
    /// The same for each period since the last look, as `(moment, percent)`; empty where it keeps no such samples.
    pub(super) periods: Vec<(u64, u32)>,
    /// Samples of its processes; `None` where it cannot tell them apart.
    pub(super) samples: Option<Vec<Sample>>,
    /// Processes that have a context on it.
    pub(super) running: Vec<u32>,
}

/// The use of one process as the driver sampled it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) pid: u32,
    /// Microseconds of the driver's own clock.
    pub(super) at: u64,
    /// Percent of each engine: shaders, memory, encoder, decoder.
    pub(super) engines: [u32; 4],
}

/// One MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instance {
    /// Its slices of shaders.
    pub(super) slices: u32,
    /// Those of the whole GPU.
    pub(super) of: u32,
    /// How much of its shaders worked since the last look, in millionths, where the GPU measures that.
    pub(super) active: Option<u32>,
    /// Its processes.
    pub(super) running: Vec<u32>,
}
