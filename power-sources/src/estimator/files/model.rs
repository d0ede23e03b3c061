// SPDX-License-Identifier: Apache-2.0
//! One model of a file, tried before it is used: owns what can be believed of a prediction. Knows no file format.
//!
//! # What is believed
//! From idle to fully busy a prediction is a number, not negative, and at most so much per hardware thread: 60 W of package or
//! of memory, 250 W of platform. That is twice the hottest CPUs that were sold (AMD FX-9590: 220 W, 8 threads), and ten times
//! what servers of today use. A model of a large machine that is loaded on a small one is found by it: 144 W of package on two
//! threads are no measurement of anything.
//!
//! # A machine of another size
//! Where the file says on how many threads it was trained, idle power is scaled by `threads here / threads there`, at most 1
//! (Kepler's core ratio, `pkg/model/estimator/local/regressor/regressor.go`). Dynamic power, what a load adds to idle, is not: its
//! features are amounts and not shares. Kepler scaled the idle figure alone and left the total as it was, so that what it took
//! from idle was charged as dynamic; here the total is the sum of both.

use super::super::calibration::{Estimate, Model};
use super::feature::Rates;
use super::form::Form;
use super::overlay::UNKNOWN_ERROR;
use super::weights::Part;
use attribution::model::{Microwatts, Permille};
use std::path::Path;

/// At how many loads between idle and full a model is tried.
const STEPS: u32 = 100;

/// Most watts per thread of `part`.
const fn most_per_thread(part: Part) -> f64 {
    match part {
        Part::Package | Part::Dram => 60.0,
        Part::Platform => 250.0,
    }
}

/// A model for this machine.
#[derive(Clone, Debug)]
pub struct FileModel {
    part: Part,
    kind: Kind,
    described: String,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Somebody's formula or trees.
    Tried(Tried),
    /// What a machine of this kind showed.
    Calibrated {
        model: Box<Model>,
        /// Threads of the host, in a guest: it pays for its own of these.
        host_threads: Option<u32>,
    },
}

/// A form that was tried on this machine.
#[derive(Clone, Debug)]
struct Tried {
    form: Form,
    threads: u32,
    /// What its idle power is multiplied by.
    ratio: f64,
    /// Watts at idle, as the form has them.
    idle: f64,
    /// Most watts that are believed.
    most: f64,
}

/// Which socket is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// Its place among those of the machine.
    pub(super) index: usize,
    /// Its threads.
    pub(super) threads: u32,
    /// Those of all sockets.
    pub(super) of: u32,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FilePower {
    /// With nobody running.
    pub(super) idle: Microwatts,
    /// What the load adds.
    pub(super) dynamic: Microwatts,
    /// Why the model's own answer could not be used as it was. The caller counts it.
    pub(super) mended: Option<&'static str>,
    /// How wrong it may be at this load, where that is known.
    pub(super) error: Option<Permille>,
}

impl FileModel {
    /// A model that was tried at every load of a machine of so many threads.
    ///
    /// # Errors
    /// With the load, what it predicts there, and what is allowed.
    pub(super) fn new(
        part: Part,
        form: Form,
        threads: u32,
        trained_threads: Option<f64>,
    ) -> Result<Self, String> {
        let threads = threads.max(1);
        let ratio = trained_threads.map_or(1.0, |trained| (f64::from(threads) / trained).min(1.0));
        let idle = form.watts(&Rates::default());
        let most = most_per_thread(part) * f64::from(threads);
        let mut highest = 0.0_f64;
        for step in 0..=STEPS {
            let share = f64::from(step) / f64::from(STEPS);
            let watts = form.watts(&Rates::at(threads, share)) - idle * (1.0 - ratio);
            if !(0.0..=most).contains(&watts) {
                return Err(format!(
                    "predicts {watts:.1} W of {} at {step} % load of the {threads} thread(s) of this machine; allowed are 0 to {most} W \
                     (up to {} W per thread); was it trained on a machine of another size, or for another figure?",
                    part.name(),
                    most_per_thread(part),
                ));
            }
            highest = highest.max(watts);
        }
        if highest <= 0.0 {
            return Err(format!("predicts 0 W of {} at every load", part.name()));
        }
        let scaled = match trained_threads {
            Some(trained) => format!(", idle times {ratio:.3} (trained on {trained} threads)"),
            None => String::new(),
        };
        let described = format!(
            "{}: {:.1} W idle to {highest:.1} W on {threads} threads{scaled}",
            form.name(),
            idle * ratio
        );
        let kind = Kind::Tried(Tried {
            form,
            threads,
            ratio,
            idle,
            most,
        });
        Ok(Self {
            part,
            kind,
            described,
        })
    }

    /// A model that `kepler calibrate` made, of this machine's kind or, in a guest, of its host's, which has so many threads.
    pub(super) fn calibrated(
        part: Part,
        model: Model,
        host_threads: Option<u32>,
        remark: Option<String>,
    ) -> Self {
        let watts = |busy: f64| {
            let all = model.machine(part.component(), busy);
            all.map_or(0.0, |all| whole_watts(all.idle) + whole_watts(all.dynamic))
        };
        let remark = remark.map(|remark| format!(", {remark}")).unwrap_or_default();
        let described = format!(
            "calibrated by {} at {}: {:.1} W idle to {:.1} W on {} threads{remark}",
            model.made.program,
            model.made.date,
            watts(0.0),
            watts(1.0),
            model.machine.threads
        );
        let kind = Kind::Calibrated {
            model: Box::new(model),
            host_threads,
        };
        Self {
            part,
            kind,
            described,
        }
    }

    /// With the file that it came from.
    pub(super) fn named(mut self, path: &Path) -> Self {
        self.described = format!("{} ({})", path.display(), self.described);
        self
    }

    /// For which figure it is.
    #[must_use]
    pub const fn part(&self) -> Part {
        self.part
    }

    /// What kind of model it is and what it predicts, for people.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.described
    }

    /// What is exported as its error.
    pub(super) fn error(&self) -> Permille {
        match &self.kind {
            Kind::Tried(_) => UNKNOWN_ERROR,
            Kind::Calibrated { model, .. } => model.error(self.part.component()).unwrap_or(UNKNOWN_ERROR),
        }
    }

    /// The part of one socket that is busy for `load` of the time, 0 to 1.
    pub(super) fn socket(&self, socket: Socket, load: f64) -> FilePower {
        let Socket { index, threads, of } = socket;
        match (&self.kind, self.part) {
            // What was calibrated socket by socket.
            (
                Kind::Calibrated {
                    model,
                    host_threads: None,
                },
                Part::Package | Part::Dram,
            ) => answer(model.estimate(self.part.component(), index, load)),
            _ => self.machine(of, load).share(threads, of),
        }
    }

    /// All of this machine, which has so many threads, when each is busy for `load` of the time.
    pub(super) fn machine(&self, threads: u32, load: f64) -> FilePower {
        match &self.kind {
            Kind::Tried(tried) => tried.power(&Rates {
                cpu_time_ms: 1e3 * f64::from(threads) * load,
                ..Rates::default()
            }),
            Kind::Calibrated { model, host_threads } => {
                let all = answer(model.machine(self.part.component(), load));
                match host_threads {
                    Some(host) => all.share(threads, *host),
                    None => all,
                }
            }
        }
    }

    /// Power under a load, of a form.
    #[cfg(test)]
    pub(super) fn power(&self, rates: &Rates) -> FilePower {
        match &self.kind {
            Kind::Tried(tried) => tried.power(rates),
            Kind::Calibrated { .. } => FilePower::default(),
        }
    }
}

impl FilePower {
    /// Both together.
    pub(super) fn total(&self) -> u64 {
        self.idle.as_micro().saturating_add(self.dynamic.as_micro())
    }

    fn share(self, part: u32, of: u32) -> Self {
        let share = |power: Microwatts| {
            let product = u128::from(power.as_micro()) * u128::from(part);
            Microwatts::from_micro(u64::try_from(product / u128::from(of.max(1))).unwrap_or(u64::MAX))
        };
        Self {
            idle: share(self.idle),
            dynamic: share(self.dynamic),
            ..self
        }
    }
}

/// A calibrated figure.
fn answer(estimate: Option<Estimate>) -> FilePower {
    estimate.map_or_else(FilePower::default, |estimate| FilePower {
        idle: estimate.idle,
        dynamic: estimate.dynamic,
        mended: None,
        error: Some(estimate.within),
    })
}

impl Tried {
    /// Power under a load. Always a believable figure: what the form has none for is idle power, what is below it is idle
    /// power too, and what is above the most that is believed is that.
    fn power(&self, rates: &Rates) -> FilePower {
        // CPU time is credited in slices, so one interval can hold more than it is long.
        let rates = Rates {
            cpu_time_ms: rates.cpu_time_ms.clamp(0.0, 1e3 * f64::from(self.threads)),
            ..*rates
        };
        let idle = self.idle * self.ratio;
        let added = self.form.watts(&rates) - self.idle;
        let (added, mended) = match added {
            added if !added.is_finite() => (0.0, Some("prediction that is no number; counted as idle")),
            added if added + self.idle < 0.0 => (0.0, Some("negative prediction; counted as idle")),
            added if added + idle > self.most => {
                (self.most - idle, Some("prediction above what is possible; cut"))
            }
            added => (added.max(0.0), None),
        };
        FilePower {
            idle: microwatts(idle),
            dynamic: microwatts(added),
            mended,
            error: None,
        }
    }
}

/// For people.
fn whole_watts(power: Microwatts) -> f64 {
    // Milliwatts: below 2^32 up to 4 MW.
    f64::from(u32::try_from(power.as_micro() / 1_000).unwrap_or(u32::MAX)) / 1e3
}

/// A finite, bounded number of watts; what is not is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from f64 saturates, NaN is 0, and both ends are checked before"
)]
fn microwatts(watts: f64) -> Microwatts {
    Microwatts::from_micro((watts * 1e6).round().clamp(0.0, 1e18) as u64)
}
