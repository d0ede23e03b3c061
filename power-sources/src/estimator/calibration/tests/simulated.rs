// SPDX-License-Identifier: Apache-2.0
//! A machine with a known curve, and meters that see it as real ones do.

use super::super::{Watch, Watched};
use crate::integrate::Integrator;
use attribution::model::{
    Component, CpuNanos, Energy, Microjoules, Microwatts, MonotonicNanos, PackageId, PackageTime, Place,
    Provenance, Section, SourceId, Zone, ZoneReading,
};
use std::sync::Arc;
use std::time::Duration;

/// Tenths of a second: the machine's own step.
pub(super) const STEPS: u32 = 10;

/// Deterministic noise (xorshift64*, G. Marsaglia, "Xorshift RNGs", 2003).
#[derive(Clone)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Between 0 and 1.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// About normal, of variance 1: the sum of twelve.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Watts of the package: deep sleep is left with the first work, and the last tenth clocks up.
pub(super) fn package(busy: f64) -> f64 {
    14.0 + 9.0 * (1.0 - (-busy / 0.04).exp()) + 52.0 * busy.powf(0.85) + 18.0 * (busy - 0.8).max(0.0)
}

/// Watts of memory: nearly flat.
pub(super) fn dram(busy: f64) -> f64 {
    3.1 + 2.4 * busy
}

/// Watts at the wall: both, through a supply, and fans.
pub(super) fn wall(busy: f64) -> f64 {
    (package(busy) + dram(busy) + 22.0 + 6.0 * busy * busy) / 0.9
}

/// Loads that are walked, as they come out: the machine is never wholly at rest.
pub(super) const LOADS: [f64; 13] = [
    0.008, 0.993, 0.5005, 0.205, 0.796, 0.05725, 0.599, 0.1065, 0.8945, 0.3035, 0.6975, 0.0277, 0.402,
];

/// A walk through them, as `--stress` does, each for so many seconds.
pub(super) fn walk(seconds: u32, passes: u32) -> impl Fn(f64) -> f64 {
    move |at| {
        let stay = (at / f64::from(seconds)).floor();
        let place = (stay % 13.0).round();
        let level = LOADS
            .iter()
            .zip(0..)
            .find(|(_, index)| f64::from(*index) == place)
            .unwrap()
            .0;
        if stay < f64::from(13 * passes) {
            *level
        } else {
            0.008
        }
    }
}

/// A zone with its truth, and who tells of it.
pub(super) type Metered = (Zone, fn(f64) -> f64, Meter);

/// How a meter tells.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Meter {
    /// A counter in units of 2^-14 J, updated about each millisecond, read each second.
    Counter,
    /// Whole watts, the mean of the time since the reading before, once in so many seconds.
    Mean(u32),
    /// Whole watts of the moment, once in so many seconds.
    Moment(u32),
}

pub(super) struct Machine {
    pub(super) noise: Noise,
    /// Relative noise of the power that is forgotten at once, and noise that is remembered for so many seconds.
    pub(super) white: f64,
    pub(super) slow: (f64, f64),
    pub(super) threads: u32,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            noise: Noise::new(seed),
            white: 0.01,
            slow: (0.0, 1.0),
            threads: 8,
        }
    }

    /// What is watched for so many seconds under this load.
    pub(super) fn watch(&mut self, seconds: u32, load: impl Fn(f64) -> f64, meters: &[Metered]) -> Watched {
        let mut watch = Watch::default();
        let mut gauges: Vec<_> = meters.iter().map(|meter| Gauge::new(meter.clone())).collect();
        let (mut busy_seconds, mut drift) = (0.0, 0.0);
        let start = 5_000.0;
        for step in 0..=seconds * STEPS {
            let now = f64::from(step) / f64::from(STEPS);
            if step % STEPS == 0 {
                // The meter is asked at the beat, and who ran a few milliseconds later.
                for gauge in &mut gauges {
                    let reading = gauge.read(start + now, &mut self.noise);
                    watch.energy(
                        SourceId("meter"),
                        &Energy {
                            zones: vec![reading],
                            errors: Vec::new(),
                        },
                    );
                }
                let late = start + now + 0.002 + 0.003 * self.noise.unit();
                let busy = busy_seconds + (late - start - now) * load(now) * f64::from(self.threads);
                watch.usage(section(late), &[row(self.threads, busy)]);
            }
            let busy = (load(now) + 0.004 * self.noise.normal()).clamp(0.0, 1.0);
            busy_seconds += busy * f64::from(self.threads) / f64::from(STEPS);
            let (size, memory) = self.slow;
            let kept = (-1.0 / (memory * f64::from(STEPS))).exp();
            drift = drift * kept + size * (1.0 - kept * kept).sqrt() * self.noise.normal();
            let wrong = 1.0 + drift + self.white * self.noise.normal();
            gauges
                .iter_mut()
                .for_each(|gauge| gauge.run((gauge.truth)(busy) * wrong));
        }
        watch.finish()
    }
}

fn moment(seconds: f64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_secs_f64(seconds))
}

fn section(at: f64) -> Section {
    Section {
        began: moment(at),
        ended: moment(at),
    }
}

fn row(cpus: u32, busy: f64) -> PackageTime {
    let busy = Duration::from_secs_f64(busy).as_nanos();
    PackageTime {
        package: PackageId(0),
        cpus,
        busy: CpuNanos::from_nanos(u64::try_from(busy).unwrap()),
        idle: CpuNanos::ZERO,
    }
}

struct Gauge {
    zone: Zone,
    truth: fn(f64) -> f64,
    meter: Meter,
    joules: f64,
    /// Watts of the newest step.
    watts: f64,
    integrator: Integrator,
    said: Option<(f64, f64)>,
}

impl Gauge {
    fn new((zone, truth, meter): Metered) -> Self {
        Self {
            zone,
            truth,
            meter,
            joules: 0.0,
            watts: truth(0.0),
            integrator: Integrator::new(Duration::from_secs(300)),
            said: None,
        }
    }

    fn run(&mut self, watts: f64) {
        self.joules += watts / f64::from(STEPS);
        self.watts = watts;
    }

    fn read(&mut self, now: f64, noise: &mut Noise) -> ZoneReading {
        let (total, at, provenance) = match self.meter {
            Meter::Counter => {
                // The newest update was up to 1.3 ms ago.
                let seen = (self.joules - self.watts * 0.0013 * noise.unit()).max(0.0);
                let micro = Duration::from_secs_f64((seen * 16_384.0).floor() / 16_384.0).as_micros();
                (
                    Microjoules::from_micro(u64::try_from(micro).unwrap()),
                    now,
                    Provenance::Counted,
                )
            }
            Meter::Mean(every) | Meter::Moment(every) => {
                let (before, joules) = *self.said.get_or_insert((now, self.joules));
                let due = now - before >= f64::from(every) - 0.01;
                if due || before == now {
                    self.said = Some((now, self.joules));
                    let mean = if due {
                        (self.joules - joules) / (now - before)
                    } else {
                        self.watts
                    };
                    let (said, covers) = match self.meter {
                        Meter::Mean(_) => (mean, Duration::from_secs(every.into())),
                        _ => (self.watts, Duration::ZERO),
                    };
                    let whole = Duration::from_secs_f64(said.round()).as_secs();
                    self.integrator
                        .sample_mean(moment(now), Microwatts::from_watts(whole), covers);
                }
                (
                    self.integrator.total(),
                    self.said.unwrap().0,
                    Provenance::Integrated,
                )
            }
        };
        ZoneReading {
            zone: self.zone.clone(),
            total,
            idle: None,
            provenance,
            at: moment(at),
            device: None,
        }
    }
}

pub(super) fn on_socket(component: Component) -> Zone {
    Zone {
        component,
        place: Place::socket(PackageId(0)),
    }
}

pub(super) fn at_the_wall() -> Zone {
    Zone {
        component: Component::Platform,
        place: Place::Named(Arc::from("bmc")),
    }
}
