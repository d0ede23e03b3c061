// SPDX-License-Identifier: Apache-2.0
//! Calibration: what a machine with a meter shows, as a model for machines of its kind without one.
//!
//! Owns the way from usage and energy reports to a curve of watts over busy share for each zone, its error by
//! level, and the model file that says both. Pure: reports, bytes and moments come in, and nobody here opens a
//! file or knows the time.
//!
//! * [`Watch`] puts each meter's readings beside the load of just the time that they cover ([`Sample`]).
//! * [`calibrate`] fits a curve that never falls and is never negative, and holds it against blocks of time that it has not
//!   seen.
//! * [`Model`] is what goes into the file and comes out of it.
//!
//! Refuses to make a model of too little ([`Refusal`]), to take an estimate for a meter, and to go beyond the load that
//! was seen without saying so.

mod curve;
mod fit;
mod machine;
mod model;
mod parse;
mod real;
mod samples;
mod score;
mod solve;
mod table;
#[cfg(test)]
mod tests;
mod timeline;
mod validate;
mod watch;

pub use curve::{Curve, Figure};
pub use machine::{Described, Mismatch};
pub use model::{Estimate, Making, Model, ZoneModel};
pub use parse::{LARGEST, ModelFault};
pub use samples::{Sample, ZoneSamples};
pub use score::{ErrorTable, Level};
pub use validate::{Calibration, Refusal, calibrate};
pub use watch::{Tally, Watch, Watched};
