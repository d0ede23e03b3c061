// SPDX-License-Identifier: Apache-2.0
//! The weight files of the Kepler model server: owns their schema and the way to a form. Loads them as they are.
//!
//! Schema and meaning: kepler 0.8, `pkg/model/estimator/local/regressor/model_weights.go`, and kepler-model-server,
//! `train/trainer/{scikit,curvefit,xgboost_interface}.py`. Three things are stricter here: a feature that the model needs
//! and nobody counts is refused and not 0, so is a machine that a categorical variable does not know, and a curve uses the
//! feature that it was fitted to (`main_feature` in `util/train_types.py`) and not the first one of a request.

use super::feature::{Feature, Supply};
use super::form::{Curve, Form, Input, MOST_FEATURES, Term};
use super::xgboost;
use attribution::model::Component;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// Largest weight, bias or scale. Cycles per second of a whole machine are below 1e13.
const LARGEST: f64 = 1e15;

/// A whole file.
#[derive(Debug, Deserialize)]
pub(super) struct WeightFile {
    model_name: Option<String>,
    machine_spec: Option<Spec>,
    package: Option<Model>,
    dram: Option<Model>,
    platform: Option<Model>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    #[serde(default)]
    cores: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Model {
    #[serde(rename = "All_Weights")]
    weights: Weights,
    /// Where the exporter's own test data has it.
    #[serde(rename = "XGBoost_Weights", alias = "XGboost_Weights", default)]
    booster: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Weights {
    #[serde(rename = "Bias_Weight", default)]
    bias: Option<f64>,
    #[serde(rename = "Categorical_Variables", default)]
    categorical: Ordered<Ordered<Category>>,
    #[serde(rename = "Numerical_Variables", default)]
    numerical: Ordered<Number>,
    #[serde(rename = "CurveFit_Weights", default)]
    curve: Vec<f64>,
    #[serde(rename = "XGboost_Weights", alias = "XGBoost_Weights", default)]
    booster: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Category {
    weight: f64,
}

#[derive(Debug, Deserialize)]
struct Number {
    scale: f64,
    #[serde(default)]
    weight: f64,
}

/// An object in the order of the file: a booster takes its features in it.
#[derive(Debug)]
struct Ordered<V>(Vec<(String, V)>);

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(InOrder(PhantomData))
    }
}

struct InOrder<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
    type Value = Ordered<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, V)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            if entries.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom(format!("{name:?} is there twice")));
            }
            if entries.len() >= MOST_FEATURES {
                return Err(A::Error::custom(format!("more than {MOST_FEATURES} entries")));
            }
            entries.push((name, value));
        }
        Ok(Ordered(entries))
    }
}

/// Which part of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `package`
    Package,
    /// `dram`
    Dram,
    /// `platform`
    Platform,
}

impl Part {
    /// As in files and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Dram => "dram",
            Self::Platform => "platform",
        }
    }

    pub(super) const fn component(self) -> Component {
        match self {
            Self::Package => Component::Package,
            Self::Dram => Component::Dram,
            Self::Platform => Component::Platform,
        }
    }
}

/// What a file says of one part.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) form: Form,
    /// Threads of the machine that it was trained on (`machine_spec.cores`, which counts threads).
    pub(super) trained_threads: Option<f64>,
}

/// Reads a file. `stem` is its name without the ending, which stands for `model_name` where the file has none: the model
/// server names its files by the trainer.
///
/// # Errors
/// With the place in the file, what is there, and what is allowed.
pub(super) fn parse(
    bytes: &[u8],
    part: Part,
    stem: &str,
    supply: Supply,
    kinds: &[String],
) -> Result<Weighed, String> {
    let file: WeightFile = serde_json::from_slice(bytes)
        .map_err(|error| format!("is no weight file of the Kepler model server: {error}"))?;
    let models = [
        (Part::Package, &file.package),
        (Part::Dram, &file.dram),
        (Part::Platform, &file.platform),
    ];
    let filled = |model: &&Model| !model.is_empty();
    let model = models
        .iter()
        .find(|(of, _)| *of == part)
        .and_then(|(_, model)| model.as_ref());
    let Some(model) = model.filter(filled) else {
        let others = models
            .iter()
            .filter(|(_, model)| model.as_ref().is_some_and(|model| !model.is_empty()));
        let names: Vec<_> = others.map(|(part, _)| part.name()).collect();
        let there = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(format!("has no weights for {}; there are: {there}", part.name()));
    };
    let name = file.model_name.as_deref().unwrap_or(stem);
    let form = model.form(part, Trainer::of(name), supply, kinds);
    let cores = file.machine_spec.and_then(|spec| spec.cores);
    Ok(Weighed {
        form: form.map_err(|problem| format!("{}.All_Weights{problem}", part.name()))?,
        trained_threads: cores.filter(|cores| cores.is_finite() && *cores >= 1.0),
    })
}

/// Who made the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trainer {
    Exponential,
    Logarithmic,
    Logistic,
    /// A line, also for names that nobody knows, as in the exporter.
    Other,
}

impl Trainer {
    /// From `TRAINER_NUMBER`.
    fn of(name: &str) -> Self {
        match name.rsplit_once('_').map_or(name, |(trainer, _)| trainer) {
            "ExponentialRegressionTrainer" => Self::Exponential,
            "LogarithmicRegressionTrainer" => Self::Logarithmic,
            "LogisticRegressionTrainer" => Self::Logistic,
            _ => Self::Other,
        }
    }
}

impl Model {
    /// `{"All_Weights": {}}` is how an untrained component looks.
    const fn is_empty(&self) -> bool {
        let Weights {
            bias,
            categorical,
            numerical,
            curve,
            booster,
        } = &self.weights;
        bias.is_none()
            && categorical.0.is_empty()
            && numerical.0.is_empty()
            && curve.is_empty()
            && booster.is_none()
            && self.booster.is_none()
    }

    fn form(&self, part: Part, trainer: Trainer, supply: Supply, kinds: &[String]) -> Result<Form, String> {
        let weights = &self.weights;
        let booster = weights.booster.as_ref().or(self.booster.as_ref());
        if let Some(text) = booster.filter(|text| !text.is_empty()) {
            return weights.boosted(text, supply);
        }
        let base = weights.base(kinds)?;
        let curve = match (trainer, weights.curve.as_slice()) {
            (Trainer::Other, []) => return weights.line(base, supply),
            (Trainer::Exponential, [a, b, c]) => Curve::Exponential { a: *a, b: *b, c: *c },
            (Trainer::Logarithmic, [a, b, c]) => Curve::Logarithmic { a: *a, b: *b, c: *c },
            (Trainer::Logistic, [height, middle, rise, floor]) => Curve::Logistic {
                height: *height,
                middle: *middle,
                rise: *rise,
                floor: *floor,
            },
            (_, curve) => {
                return Err(format!(
                    ".CurveFit_Weights has {} numbers and model_name says {trainer:?}; allowed are 3 with \
                     ExponentialRegressionTrainer_N or LogarithmicRegressionTrainer_N, 4 with LogisticRegressionTrainer_N, none \
                     with others",
                    curve.len()
                ));
            }
        };
        for number in &weights.curve {
            sane(".CurveFit_Weights", *number)?;
        }
        let (name, number) = weights.main(part)?;
        let input = number.input(name, supply)?;
        Ok(Form::Curve { base, input, curve })
    }
}

impl Weights {
    /// Bias and what the machine's kind adds.
    fn base(&self, kinds: &[String]) -> Result<f64, String> {
        let mut base = sane(".Bias_Weight", self.bias.unwrap_or(0.0))?;
        // A curve's offset is among its numbers, and the exporter adds no bias to it.
        if !self.curve.is_empty() {
            base = 0.0;
        }
        for (name, categories) in &self.categorical.0 {
            let at = format!(".Categorical_Variables.{name}");
            if categories.0.iter().all(|(_, category)| category.weight == 0.0) {
                continue;
            }
            if name != "cpu_architecture" {
                return Err(format!("{at}: this machine can supply cpu_architecture only"));
            }
            let known = categories
                .0
                .iter()
                .find(|(kind, _)| kinds.iter().any(|ours| same(ours, kind)));
            let Some((_, category)) = known else {
                let names: Vec<_> = categories.0.iter().map(|(kind, _)| kind.as_str()).collect();
                let ours = if kinds.is_empty() {
                    "of an unknown kind".to_owned()
                } else {
                    kinds.join(" or ")
                };
                return Err(format!("{at} knows {}; this machine is {ours}", names.join(", ")));
            };
            base += sane(&at, category.weight)?;
        }
        Ok(base)
    }

    fn line(&self, base: f64, supply: Supply) -> Result<Form, String> {
        let mut terms = Vec::new();
        for (name, number) in &self.numerical.0 {
            // What weighs nothing is not needed; files of the model server list `bpf_page_cache_hit` like this.
            if number.weight != 0.0 {
                let at = format!(".Numerical_Variables.{name}.weight");
                terms.push(Term {
                    weight: sane(&at, number.weight)?,
                    input: number.input(name, supply)?,
                });
            }
        }
        Ok(Form::Linear { base, terms })
    }

    /// The feature that a curve was fitted to.
    fn main(&self, part: Part) -> Result<(&str, &Number), String> {
        let preferred: &[&str] = match part {
            Part::Dram => &["cache_miss", "bpf_page_cache_hit"],
            Part::Package | Part::Platform => &["cpu_instructions", "bpf_cpu_time_ms"],
        };
        let listed = &self.numerical.0;
        let main = preferred
            .iter()
            .find_map(|name| listed.iter().find(|(listed, _)| listed == name))
            .or_else(|| listed.first());
        main.map(|(name, number)| (name.as_str(), number))
            .ok_or_else(|| ".Numerical_Variables is empty; a curve needs one".to_owned())
    }

    fn boosted(&self, text: &str, supply: Supply) -> Result<Form, String> {
        const AT: &str = ".XGboost_Weights";
        let json = STANDARD
            .decode(text)
            .map_err(|error| format!("{AT} is no base64: {error}"))?;
        let booster = xgboost::parse(&json).map_err(|problem| format!("{AT} {problem}"))?;
        let listed = self.numerical.0.len();
        if listed != booster.features {
            return Err(format!(
                "{AT} was trained with {} features and Numerical_Variables lists {listed}",
                booster.features
            ));
        }
        let inputs = self
            .numerical
            .0
            .iter()
            .map(|(name, number)| number.input(name, supply));
        Ok(Form::Trees {
            inputs: inputs.collect::<Result<_, _>>()?,
            forest: booster.forest,
        })
    }
}

impl Number {
    fn input(&self, name: &str, supply: Supply) -> Result<Input, String> {
        let at = format!(".Numerical_Variables.{name}");
        let feature: Feature = supply
            .feature(name)
            .map_err(|problem| format!("{at} {problem}"))?;
        if !(self.scale > 0.0 && self.scale <= LARGEST) {
            return Err(format!(
                "{at}.scale is {}, allowed is more than 0 up to {LARGEST:e}",
                self.scale
            ));
        }
        Ok(Input {
            feature,
            scale: self.scale,
        })
    }
}

/// A number that a power model can have.
fn sane(at: &str, number: f64) -> Result<f64, String> {
    match number.abs() <= LARGEST {
        true => Ok(number),
        false => Err(format!(
            "{at} is {number:e}, allowed are -{LARGEST:e} to {LARGEST:e}"
        )),
    }
}

/// Whether two names of a kind of CPU are the same: "Sky Lake", "Skylake" and "skylake" are.
fn same(one: &str, other: &str) -> bool {
    let letters = |name: &str| -> String {
        let letters = name.chars().filter(|sign| sign.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    letters(one) == letters(other)
}
