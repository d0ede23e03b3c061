// SPDX-License-Identifier: Apache-2.0
//! The model of a whole machine's power: owns its file format, what is asked of a machine ([`TERMS`]) and how watts come out. Trained by
//! `power-sources/train` on published results; what it is worth is in `docs/estimator-report.md`.
//!
//! A machine gets one curve: power when idle, and at ten loads up to full. Each point is a weighted sum of the machine's terms plus
//! something for its generation: `ln(full)`, `ln(idle / full)`, and the share of what is between the two at 10 % ... 90 %. Logarithms
//! make every figure positive, and doubling a machine multiplies it. What comes out is put in order once for each machine, so that no
//! load costs less than a smaller one, and terms are held inside of what the training has seen (and twice or half of it), so that no
//! description gives an absurd figure.

use super::complete::Spec;
use super::generations::{GENERATIONS, Generation, Made, Vendor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Loads of a curve: 0, 10 ... 100 %.
pub const LEVELS: usize = 11;
/// What is asked of a machine, in order.
pub const TERMS: [&str; 13] = [
    "one",
    "ln(tdp_watts_per_chip / 100)",
    "ln(chips)",
    "ln(cores / chips)",
    "ln(memory_gib / chips / 32)",
    "ln(base_mhz / 2500)",
    "ln(threads / cores)",
    "decades since 2013",
    "decades since 2013, squared",
    "more than two chips",
    "one chip",
    "client",
    "amd",
];
/// The terms that are held inside a range: those from here to [`LAST_BOUND`].
const FIRST_BOUND: usize = 1;
const LAST_BOUND: usize = 7;
/// Terms that are held inside a range.
pub const BOUND: usize = LAST_BOUND - FIRST_BOUND + 1;
const TDP: usize = 1;
const DECADES: usize = 7;
const SQUARED: usize = 8;

/// What comes out: `ln(full)`, `ln(idle / full)`, nine shares, and `ln(tdp / 100)` for who does not know it.
pub const OUTPUTS: usize = 12;
/// The file's first words.
pub const FORMAT: &str = "kepler platform model 1";

/// No machine draws less or more: `ln` of 50 mW and of 1.2 MW.
const FULL: (f64, f64) = (-3.0, 14.0);
/// Idle power is this share of full power at least and at most; published results have 0.1 to 0.8.
const IDLE: (f64, f64) = (0.02, 0.85);
/// `ln` of a TDP over 100 W: 1 W to 1 kW.
const GUESSED_TDP: (f64, f64) = (-4.7, 2.31);

/// The model as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformModel {
    /// [`FORMAT`].
    pub format: String,
    /// What it was fitted to.
    pub source: String,
    /// Results in the fit.
    pub results: u32,
    /// CPU models in the fit.
    pub cpu_models: u32,
    /// [`TERMS`].
    pub terms: Vec<String>,
    /// Least and most of the bound terms in the fit.
    pub range: [[f64; 2]; BOUND],
    /// By output, what each term weighs.
    pub outputs: [[f64; TERMS.len()]; OUTPUTS],
    /// By generation that was in the fit, what it adds to each output.
    pub generations: BTreeMap<String, [f64; OUTPUTS]>,
    /// How wrong it is.
    pub doubts: Doubts,
    /// CPUs by the canonical form of their names.
    pub cpus: BTreeMap<String, KnownCpu>,
}

/// How wrong the model is, by what is known of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doubts {
    /// TDP known, generation in the fit.
    pub known: Doubt,
    /// Generation in the fit, TDP guessed.
    pub tdp_guessed: Doubt,
    /// TDP known, no machine of that generation in the fit.
    pub generation_new: Doubt,
    /// Neither.
    pub both: Doubt,
    /// Nothing known of the CPU but how many cores and threads there are.
    pub cpu_unknown: Doubt,
}

/// Cross-validated errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doubt {
    /// By load, `ln(measured / predicted)` that one of ten cases was below of.
    pub p10: [f64; LEVELS],
    /// By load, `ln(measured / predicted)` that one of ten cases was above of.
    pub p90: [f64; LEVELS],
    /// `|predicted / measured - 1|` that nine of ten cases were below of, at the worst load, in thousandths.
    pub relative_error_permille: u32,
}

/// A CPU that is known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownCpu {
    /// Cores of a chip.
    pub cores: u32,
    /// Nominal clock.
    pub base_mhz: u32,
    /// Thermal design power; 0: not known.
    pub tdp_watts: f64,
}

impl KnownCpu {
    /// Its TDP, where it is known.
    #[must_use]
    pub fn tdp(&self) -> Option<f64> {
        (self.tdp_watts > 0.0).then_some(self.tdp_watts)
    }
}

/// Why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It is not of this shape.
    #[error("it is no platform model of ours")]
    Shape(#[source] serde_json::Error),
    /// A value in it cannot be.
    #[error("{0}")]
    Value(String),
}

/// Power of one machine by load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Watts at 0, 10 ... 100 %; positive and in order.
    pub watts: [f64; LEVELS],
    /// TDP of one chip, said or guessed.
    pub tdp_watts_per_chip: f64,
    /// How wrong this may be.
    pub doubt: Doubt,
}

static BUILTIN: LazyLock<PlatformModel> = LazyLock::new(|| {
    PlatformModel::parse(include_str!("builtin.json"))
        .expect("the committed model file is valid: a test reads it")
});

impl PlatformModel {
    /// The model that is part of this program.
    #[must_use]
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let model: Self = serde_json::from_str(text).map_err(ModelError::Shape)?;
        model.validate().map_err(ModelError::Value)?;
        Ok(model)
    }

    fn validate(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "its format is {:?}; this program reads {FORMAT:?}",
                self.format
            ));
        }
        if self.terms != TERMS {
            return Err("its terms are not those of this program; train it again".to_owned());
        }
        // Weights are of logarithms and shares: far above what any fit gives.
        let believable = |number: &f64| number.is_finite() && number.abs() <= 1_000.0;
        let weights = self.outputs.iter().flatten();
        if !weights
            .chain(self.generations.values().flatten())
            .chain(self.range.iter().flatten())
            .all(believable)
        {
            return Err("a weight is not finite, or beyond 1000".to_owned());
        }
        if self.range.iter().any(|[least, most]| least > most) {
            return Err("the range of a term ends before it begins".to_owned());
        }
        if let Some(name) = self
            .generations
            .keys()
            .find(|name| GENERATIONS.iter().all(|known| known.name != **name))
        {
            return Err(format!("there is no generation {name:?}"));
        }
        let Doubts {
            known,
            tdp_guessed,
            generation_new,
            both,
            cpu_unknown,
        } = &self.doubts;
        for doubt in [known, tdp_guessed, generation_new, both, cpu_unknown] {
            let low = doubt.p10.iter().all(|share| (-5.0..=0.0).contains(share));
            let high = doubt.p90.iter().all(|share| (0.0..=5.0).contains(share));
            if !low || !high || !(1..=10_000).contains(&doubt.relative_error_permille) {
                return Err("an error is not between nothing and ten times".to_owned());
            }
        }
        let sane = |cpu: &KnownCpu| {
            (1..=1_024).contains(&cpu.cores)
                && (100..=10_000).contains(&cpu.base_mhz)
                && (0.0..=5_000.0).contains(&cpu.tdp_watts)
        };
        match self.cpus.iter().find(|(_, cpu)| !sane(cpu)) {
            Some((name, _)) => Err(format!("the CPU {name:?} cannot be")),
            None => Ok(()),
        }
    }

    /// The CPU with this canonical name.
    pub(super) fn cpu(&self, canonical: &str) -> Option<&KnownCpu> {
        self.cpus.get(canonical)
    }

    /// The power of a machine by load.
    #[must_use]
    pub fn curve(&self, spec: &Spec) -> Curve {
        let effects = spec
            .generation
            .and_then(|generation| self.generations.get(generation.name));
        let mut terms = terms(spec);
        self.hold(&mut terms);
        let tdp = spec
            .tdp_watts_per_chip
            .unwrap_or_else(|| match (effects, spec.generation) {
                // Of what the fit has not seen the vendor's data sheets know more.
                (None, Some(generation)) => usual_tdp(spec, generation),
                _ => {
                    let guessed = self.output(OUTPUTS - 1, &terms, effects);
                    100.0 * guessed.clamp(GUESSED_TDP.0, GUESSED_TDP.1).exp()
                }
            });
        if let Some(term) = terms.get_mut(TDP) {
            *term = (tdp / 100.0).ln();
        }
        self.hold(&mut terms);
        let full = self.output(0, &terms, effects).clamp(FULL.0, FULL.1).exp();
        let idle = full * self.output(1, &terms, effects).exp().clamp(IDLE.0, IDLE.1);
        let mut watts = [idle; LEVELS];
        let mut share = 0.0_f64;
        for (level, point) in watts.iter_mut().enumerate() {
            share = match level {
                0 => 0.0,
                10 => 1.0,
                _ => self.output(level + 1, &terms, effects).clamp(share, 1.0),
            };
            *point = idle + (full - idle) * share;
        }
        Curve {
            watts,
            tdp_watts_per_chip: tdp,
            doubt: *self.doubt(spec, effects.is_some()),
        }
    }

    fn output(&self, output: usize, terms: &[f64; TERMS.len()], effects: Option<&[f64; OUTPUTS]>) -> f64 {
        let weights = self.outputs.get(output).map_or(&[][..], |weights| weights);
        let sum: f64 = weights
            .iter()
            .zip(terms)
            .map(|(weight, term)| weight * term)
            .sum();
        sum + effects
            .and_then(|effects| effects.get(output))
            .copied()
            .unwrap_or_default()
    }

    /// Holds the bound terms inside of what the fit has seen; sizes within half and twice of it.
    fn hold(&self, terms: &mut [f64; TERMS.len()]) {
        let margin = |term: usize| {
            if term == DECADES {
                0.0
            } else {
                std::f64::consts::LN_2
            }
        };
        for (term, [least, most]) in (FIRST_BOUND..).zip(&self.range) {
            if let Some(value) = terms.get_mut(term) {
                *value = value.clamp(least - margin(term), most + margin(term));
            }
        }
        terms[SQUARED] = terms[DECADES] * terms[DECADES];
    }

    const fn doubt(&self, spec: &Spec, seen: bool) -> &Doubt {
        if spec.generation.is_none() {
            return &self.doubts.cpu_unknown;
        }
        match (spec.tdp_watts_per_chip.is_some(), seen) {
            (true, true) => &self.doubts.known,
            (false, true) => &self.doubts.tdp_guessed,
            (true, false) => &self.doubts.generation_new,
            (false, false) => &self.doubts.both,
        }
    }
}

/// The TDP of a usual chip of a generation, for one with other cores: they share the uncore, and more of them run slower.
fn usual_tdp(spec: &Spec, generation: &Generation) -> f64 {
    let cores = f64::from(spec.cores) / f64::from(spec.chips);
    f64::from(generation.tdp_watts) * (cores / f64::from(generation.cores)).sqrt()
}

/// What is asked of a machine. A TDP that is not known counts as 100 W here.
#[must_use]
pub fn terms(spec: &Spec) -> [f64; TERMS.len()] {
    let flag = |set: bool| f64::from(u8::from(set));
    let ratio = |of: f64, to: f64| (of / to).ln();
    let (chips, cores) = (f64::from(spec.chips), f64::from(spec.cores));
    let decades = (f64::from(spec.year) - 2013.0) / 10.0;
    [
        1.0,
        ratio(spec.tdp_watts_per_chip.unwrap_or(100.0), 100.0),
        chips.ln(),
        ratio(cores, chips),
        ratio(spec.memory_gib / chips, 32.0),
        ratio(f64::from(spec.base_mhz), 2_500.0),
        ratio(f64::from(spec.threads), cores),
        decades,
        decades * decades,
        flag(spec.chips > 2),
        flag(spec.chips == 1),
        flag(spec.made == Made::Client),
        flag(spec.vendor == Vendor::Amd),
    ]
}

/// `points` at 0, 10 ... 100 %, and straight lines between them.
#[must_use]
pub fn between(points: &[f64; LEVELS], busy: f64) -> f64 {
    let mut low = (0.0_f64, points[0]);
    for (at, point) in (0_u8..).zip(points) {
        let at = f64::from(at) / 10.0;
        if busy <= at {
            let step = at - low.0;
            let share = if step > 0.0 { (busy - low.0) / step } else { 1.0 };
            return low.1 + (point - low.1) * share.clamp(0.0, 1.0);
        }
        low = (at, *point);
    }
    low.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn file() -> Value {
        serde_json::from_str(include_str!("builtin.json")).unwrap()
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> String {
        let mut file = file();
        change(&mut file);
        match PlatformModel::parse(&file.to_string()) {
            Ok(_) => "taken".to_owned(),
            Err(ModelError::Shape(error)) => error.to_string(),
            Err(ModelError::Value(words)) => words,
        }
    }

    #[test]
    fn the_committed_model_can_be_read_and_names_its_source() {
        let model = PlatformModel::parse(include_str!("builtin.json")).unwrap();
        assert_eq!(&model, PlatformModel::builtin());
        assert!(model.source.contains("SPECpower_ssj2008"));
        assert!(model.results > 400 && model.cpu_models > 100);
        // The aim on CPUs that were not seen; the 90th percentile at the worst load is more.
        assert!(model.doubts.known.relative_error_permille < 500);
        let Doubts {
            known,
            tdp_guessed,
            generation_new,
            both,
            cpu_unknown,
        } = model.doubts;
        let of = |doubt: Doubt| doubt.relative_error_permille;
        assert!(of(known) < of(tdp_guessed) && of(tdp_guessed) < of(both) && of(both) < of(cpu_unknown));
        assert!(of(known) < of(generation_new) && of(generation_new) < of(cpu_unknown));
    }

    #[test]
    fn a_model_that_cannot_be_is_refused_with_the_reason() {
        assert!(refusal(|file| file["formt"] = json!(1)).contains("unknown field `formt`"));
        assert!(
            refusal(|file| file["format"] = json!("kepler platform model 2"))
                .contains("this program reads \"kepler platform model 1\"")
        );
        assert!(refusal(|file| file["terms"][1] = json!("ln(tdp)")).contains("train it again"));
        assert!(refusal(|file| file["outputs"][3][2] = json!(1e9)).contains("beyond 1000"));
        assert!(refusal(|file| file["outputs"] = json!([[1.0]])).contains("invalid length"));
        assert!(refusal(|file| file["range"][0] = json!([2.0, 1.0])).contains("ends before it begins"));
        assert!(
            refusal(|file| file["generations"]["Zen 99"] = file["generations"]["Zen 3"].clone())
                .contains("no generation \"Zen 99\"")
        );
        assert!(refusal(|file| file["doubts"]["known"]["p10"][0] = json!(0.1)).contains("an error is not"));
        assert!(refusal(|file| file["doubts"]["both"]["p90"][0] = json!(-0.1)).contains("an error is not"));
        assert!(
            refusal(|file| file["doubts"]["known"]["relative_error_permille"] = json!(0))
                .contains("an error is not")
        );
        assert!(
            refusal(|file| file["cpus"]["epyc7763"]["cores"] = json!(0))
                .contains("the CPU \"epyc7763\" cannot be")
        );
        assert_eq!(refusal(|_| {}), "taken");
    }

    #[test]
    fn between_two_points_lies_a_straight_line() {
        let points: [f64; LEVELS] =
            std::array::from_fn(|level| f64::from(u32::try_from(level * level).unwrap()));
        assert_eq!(between(&points, 0.0), 0.0);
        assert!((between(&points, 0.05) - 0.5).abs() < 1e-9);
        assert!((between(&points, 0.3) - 9.0).abs() < 1e-9);
        assert!((between(&points, 0.95) - 90.5).abs() < 1e-9);
        assert_eq!(between(&points, 1.0), 100.0);
        assert_eq!(between(&points, 7.0), 100.0);
        assert_eq!(between(&points, -7.0), 0.0);
    }

    #[test]
    fn a_machine_beyond_all_that_was_seen_counts_as_twice_the_largest() {
        let model = PlatformModel::builtin();
        let spec = |memory_gib: f64| Spec {
            generation: None,
            vendor: Vendor::Intel,
            made: Made::Server,
            year: 2019,
            chips: 2,
            cores: 64,
            threads: 128,
            base_mhz: 2_400,
            memory_gib,
            tdp_watts_per_chip: Some(200.0),
        };
        // Per chip, and twice of it.
        let most = model.range[3][1].exp() * 32.0 * 2.0 * 2.0;
        let watts = |gib: f64| model.curve(&spec(gib)).watts;
        assert_eq!(watts(most * 1.01), watts(most * 200.0));
        assert!(watts(most / 2.0)[10] < watts(most)[10]);
    }
}
