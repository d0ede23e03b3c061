// SPDX-License-Identifier: Apache-2.0
//! From the files of one channel to a total: owns what is open, what a reading may be, and how often it is asked for.
//! Finds nothing and knows no zone.
//!
//! | files                        | becomes                                                        | provenance |
//! |------------------------------|----------------------------------------------------------------|------------|
//! | `energyN_input`, µJ          | counted; a counter of 64 bits never wraps, one that fell was reset | counted |
//! | `powerN_average`, µW         | a mean over `powerN_average_interval`; read once in that time  | integrated |
//! | `powerN_input`, µW           | a sample; a straight line between two                          | integrated |
//! | `inN_input` mV x `currN_input` mA | the same                                                  | integrated |

use crate::backoff::Backoff;
use crate::counter::{CounterTrack, Step};
use crate::files::{Fault, OpenNumber, number_file};
use crate::integrate::{Integrator, Sampled};
use crate::moment::{Asked, Moment, Slept};
use attribution::model::{ErrorReason, Microjoules, Microwatts, MonotonicNanos, Provenance};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time between two readings that a straight line is drawn over: three of the longest ticks (60 s), so also over
/// one try of the longest back-off that failed.
const LONGEST_GAP: Duration = Duration::from_secs(180);
/// Longest averaging interval that is believed. Servers are sold with 5 minutes.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3_600);
/// Current below zero that is taken as none. A monitor shows an idle rail with its offset: 80 µV (INA3221 data sheet,
/// TI SBOS576) at a shunt of 1 mΩ.
const OFFSET_MILLIAMPS: i128 = 100;

/// Which files tell what a channel uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// A counter of microjoules.
    Energy(String),
    /// Microwatts.
    Power {
        /// The reading.
        watts: String,
        /// Milliseconds that the reading is a mean over.
        interval: Option<String>,
    },
    /// Millivolts and milliamperes.
    Product {
        /// The voltage.
        volts: String,
        /// The current.
        amps: String,
    },
}

impl Files {
    /// The file that a channel is called by.
    pub(crate) fn main(&self) -> &str {
        match self {
            Self::Energy(file) | Self::Power { watts: file, .. } | Self::Product { volts: file, .. } => file,
        }
    }

    /// `power1` of `power1_average`.
    pub(crate) fn stem(&self) -> &str {
        let file = self.main();
        file.split_once('_').map_or(file, |(stem, _)| stem)
    }
}

/// What a reading may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plausible {
    /// The least power; a counter may always stand still.
    pub(crate) least: Microwatts,
    /// The most power.
    pub(crate) most: Microwatts,
}

impl Plausible {
    /// Anything from nothing to `most`.
    pub(crate) const fn up_to(most: Microwatts) -> Self {
        Self {
            least: Microwatts::ZERO,
            most,
        }
    }

    /// The reading, or why it is none. All bits set is how firmware says "unknown": as microwatts, or as milliwatts that
    /// a driver turned into microwatts.
    pub(crate) fn check(self, microwatts: i128) -> Result<Microwatts, String> {
        let ones = u64::from(u32::MAX);
        let power = u64::try_from(microwatts).map_err(|_range| format!("{microwatts} uW is no power"))?;
        if power == ones || power == ones * 1_000 {
            return Err(format!("{power} uW is how firmware says that it does not know"));
        }
        let power = Microwatts::from_micro(power);
        if power < self.least || power > self.most {
            let (least, most) = (self.least.as_micro(), self.most.as_micro());
            return Err(format!("{microwatts} uW is not within {least} and {most}"));
        }
        Ok(power)
    }
}

/// What is open.
#[derive(Debug)]
enum Gauge {
    Energy(OpenNumber),
    Power(OpenNumber),
    Product { volts: OpenNumber, amps: OpenNumber },
}

impl Gauge {
    fn open(dir: &Path, files: &Files) -> Result<Self, Fault> {
        let open = |file: &str| OpenNumber::open(dir.join(file));
        Ok(match files {
            Files::Energy(file) => Self::Energy(open(file)?),
            Files::Power { watts, .. } => Self::Power(open(watts)?),
            Files::Product { volts, amps } => Self::Product {
                volts: open(volts)?,
                amps: open(amps)?,
            },
        })
    }

    /// Microjoules or microwatts.
    fn read(&self) -> Result<i128, Fault> {
        match self {
            Self::Energy(file) => file.read().map(i128::from),
            Self::Power(file) => file.read_signed(),
            Self::Product { volts, amps } => Ok(product(volts.read_signed()?, amps.read_signed()?)),
        }
    }
}

/// Millivolts times milliamperes are microwatts.
fn product(millivolts: i128, milliamps: i128) -> i128 {
    let flows_back = if (-OFFSET_MILLIAMPS..0).contains(&milliamps) {
        0
    } else {
        milliamps
    };
    millivolts.saturating_mul(flows_back)
}

/// What has been used.
#[derive(Clone, Debug)]
enum Tally {
    Counted(CounterTrack),
    Integrated(Integrator),
}

/// What came of a look at a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it is gone, or it is not time to try again.
    Silent,
    /// Its total is current as of its moment. There may be something to say about the step to it.
    Good(Option<Fault>),
    /// It did not answer, or not with a reading.
    Bad(Fault),
}

/// When to ask a meter that has a pace of its own.
///
/// Ticks are not exact: one that comes a little early (a twentieth of the wait) still counts, or every other one would be
/// passed over where tick and wait are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Least time between two readings.
    pub(crate) wait: Duration,
}

impl Pace {
    /// Whether a reading made at `last` is still the one to show.
    pub(crate) fn holds(self, last: Option<MonotonicNanos>, now: MonotonicNanos) -> bool {
        last.is_some_and(|last| now.since(last) < self.wait.saturating_sub(self.wait / 20))
    }
}

/// One channel since it was first opened.
#[derive(Debug)]
pub(crate) struct Channel {
    files: Files,
    plausible: Plausible,
    /// `None` leaves it to the meter how often it is read.
    pace: Option<Pace>,
    dir: PathBuf,
    /// `None` while it is gone.
    gauge: Option<Gauge>,
    /// What one reading is a mean over.
    covers: Duration,
    tally: Tally,
    backoff: Backoff,
    at: Option<MonotonicNanos>,
    slept: Slept,
}

impl Channel {
    /// A channel with nothing open: [`Self::attach`] comes first.
    pub(crate) fn new(files: Files, plausible: Plausible, pace: Option<Pace>, slept: Slept) -> Self {
        let tally = match files {
            Files::Energy(_) => Tally::Counted(CounterTrack::new(u64::MAX, plausible.most)),
            _ => Tally::Integrated(Integrator::new(LONGEST_GAP)),
        };
        Self {
            files,
            plausible,
            pace,
            dir: PathBuf::new(),
            gauge: None,
            covers: Duration::ZERO,
            tally,
            backoff: Backoff::default(),
            at: None,
            slept,
        }
    }

    /// Opens its files in `dir`. The total goes on from where it is. The averaging interval is asked for here only (it
    /// can cost a call of the firmware): one that somebody changes later is known at the next attach.
    pub(crate) fn attach(&mut self, dir: &Path) -> Result<(), Fault> {
        self.dir = dir.to_path_buf();
        let gauge = Gauge::open(dir, &self.files)?;
        // There is no time yet to count it from: only tried, so that what never answers with a reading is known at once.
        let raw = gauge.read()?;
        if let Tally::Integrated(_) = self.tally {
            self.plausible
                .check(raw)
                .map_err(|words| implausible(&self.path(), &words))?;
        }
        self.covers = match &self.files {
            Files::Power {
                interval: Some(file), ..
            } => interval(&dir.join(file)),
            _ => Duration::ZERO,
        };
        self.gauge = Some(gauge);
        Ok(())
    }

    /// Energy since it was opened.
    pub(crate) const fn total(&self) -> Microjoules {
        match &self.tally {
            Tally::Counted(track) => track.total(),
            Tally::Integrated(integrator) => integrator.total(),
        }
    }

    /// The moment that the total is about; `None` before the first reading.
    pub(crate) const fn at(&self) -> Option<MonotonicNanos> {
        self.at
    }

    /// How the total comes about.
    pub(crate) const fn provenance(&self) -> Provenance {
        match &self.tally {
            Tally::Counted(_) => Provenance::Counted,
            Tally::Integrated(_) => Provenance::Integrated,
        }
    }

    /// The file that it is called by.
    pub(crate) fn main_file(&self) -> &str {
        self.files.main()
    }

    /// The folder and file that it is read from, for people.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(self.files.main())
    }

    /// Whether it is time to look where it is now.
    pub(crate) fn is_lost(&self, now: MonotonicNanos) -> bool {
        self.gauge.is_none() && self.backoff.is_due(now)
    }

    /// A look for it at `now` did not find it.
    pub(crate) fn stays_lost(&mut self, now: MonotonicNanos) {
        self.backoff.failed(now);
    }

    /// Reads it, unless it was read less than its pace ago or failed less than its back-off ago.
    pub(crate) fn read(&mut self, now: MonotonicNanos) -> Answer {
        let Some(gauge) = self.gauge.as_ref().filter(|_| self.backoff.is_due(now)) else {
            return Answer::Silent;
        };
        let pace = self.pace.unwrap_or(Pace { wait: self.covers });
        if pace.holds(self.at, now) {
            return Answer::Good(None);
        }
        let asked = Asked::begin(now, self.slept);
        match gauge.read() {
            // Looked for at once: a driver that was loaded again is no failure.
            Err(fault) if fault.reason == ErrorReason::Gone => {
                self.gauge = None;
                Answer::Silent
            }
            Err(fault) => self.bad(fault, now),
            Ok(raw) => self.take(raw, asked.answered()),
        }
    }

    /// Its device sleeps and is not asked, because that would wake it up. Its power is taken as none up to now; a counter
    /// goes on with its next reading.
    pub(crate) fn slept(&mut self, now: MonotonicNanos) {
        if let Tally::Integrated(integrator) = &mut self.tally {
            integrator.sample(now, Microwatts::ZERO);
            self.at = Some(now);
        }
    }

    fn bad(&mut self, fault: Fault, now: MonotonicNanos) -> Answer {
        self.backoff.failed(now);
        Answer::Bad(fault)
    }

    fn take(&mut self, raw: i128, when: Moment) -> Answer {
        let path = self.path();
        let now = when.at;
        let taken = match &mut self.tally {
            Tally::Counted(track) => count(track, raw, when, &path),
            Tally::Integrated(integrator) => match self.plausible.check(raw) {
                Ok(power) => Ok(gap(integrator.sample_mean(now, power, self.covers), &path)),
                Err(words) => Err(implausible(&path, &words)),
            },
        };
        match taken {
            Ok(complaint) => {
                self.backoff.succeeded();
                self.at = Some(now);
                Answer::Good(complaint)
            }
            Err(fault) => self.bad(fault, now),
        }
    }
}

fn implausible(path: &Path, words: &str) -> Fault {
    Fault {
        reason: ErrorReason::Implausible,
        words: format!("{}: {words}", path.display()),
    }
}

/// Advances a counter; what is no value of it at all is no reading.
fn count(track: &mut CounterTrack, raw: i128, now: Moment, path: &Path) -> Result<Option<Fault>, Fault> {
    // A counter is read without a sign.
    let raw = u64::try_from(raw).unwrap_or(u64::MAX);
    let step = track.advance(raw, now);
    let complaint = step
        .complaint(&path.display(), raw)
        .map(|(reason, words)| Fault { reason, words });
    match (step, complaint) {
        (Step::OutOfRange, Some(fault)) => Err(fault),
        (_, complaint) => Ok(complaint),
    }
}

/// What there is to say about the time that was just integrated over.
fn gap(sampled: Sampled, path: &Path) -> Option<Fault> {
    let Sampled::GapTooLong(gap) = sampled else {
        return None;
    };
    Some(Fault {
        reason: ErrorReason::Timeout,
        words: format!(
            "{}: no reading for {} s; that time is not billed",
            path.display(),
            gap.as_secs()
        ),
    })
}

/// A meter's averaging interval. One that is missing or absurd is none: its readings are then taken as samples.
fn interval(path: &Path) -> Duration {
    number_file(path)
        .map(Duration::from_millis)
        .ok()
        .filter(|interval| *interval <= LONGEST_INTERVAL)
        .unwrap_or_default()
}
