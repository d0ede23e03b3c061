// SPDX-License-Identifier: Apache-2.0
//! Where a chassis shows its power: owns which property of which resource is read, and how a document becomes a figure.
//!
//! Pure: parsed documents come in. What is preferred to what is decided in `discovery`.

use super::figure::{self, EnergyUnit, Fault};
use attribution::model::{ErrorReason, Microjoules, Microwatts};
use serde_json::Value;
use std::sync::Arc;

/// What the figures of a meter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An energy counter.
    Energy(EnergyUnit),
    /// Power at a moment, or over a short time before it.
    Power,
}

/// How one document is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extract {
    /// The value at a JSON pointer (RFC 6901).
    At(&'static str),
    /// The sum of this property over the supplies of a `Power` resource.
    Supplies(&'static str),
}

/// One document of a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Path of the resource, beginning with one `/`.
    pub(super) path: Arc<str>,
    pub(super) extract: Extract,
}

/// Where a chassis shows its power or its energy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    pub(super) kind: Kind,
    /// Read one after the other and added up; never empty, and more than one only for power supplies.
    pub(super) parts: Vec<Part>,
    /// In the words of the specification, for people.
    pub(super) name: &'static str,
}

/// A figure of a meter, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Energy(Microjoules),
    Power(Microwatts),
}

impl Meter {
    pub(super) fn single(kind: Kind, path: &Arc<str>, extract: Extract, name: &'static str) -> Self {
        let path = Arc::clone(path);
        Self {
            kind,
            parts: vec![Part { path, extract }],
            name,
        }
    }
}

impl Part {
    /// The figure of one document.
    pub(super) fn read(&self, document: &Value, kind: Kind, most: Microwatts) -> Result<Figure, Fault> {
        match (self.extract, kind) {
            (Extract::At(pointer), Kind::Power) => in_words(
                pointer,
                figure::power(document.pointer(pointer), most).map(Figure::Power),
            ),
            (Extract::At(pointer), Kind::Energy(unit)) => in_words(
                pointer,
                figure::energy(document.pointer(pointer), unit).map(Figure::Energy),
            ),
            (Extract::Supplies(property), _) => supplies(document, property, most).map(Figure::Power),
        }
    }
}

/// The sum of what the parts said. Of one chassis it is never nothing: the machine that asks is running.
pub(super) fn sum(figures: &[Figure], most: Microwatts) -> Result<Figure, Fault> {
    let energy: Microjoules = figures
        .iter()
        .filter_map(|figure| match figure {
            Figure::Energy(energy) => Some(*energy),
            Figure::Power(_) => None,
        })
        .sum();
    let power: Microwatts = figures
        .iter()
        .filter_map(|figure| match figure {
            Figure::Power(power) => Some(*power),
            Figure::Energy(_) => None,
        })
        .sum();
    match figures.first() {
        Some(Figure::Energy(_)) => Ok(Figure::Energy(energy)),
        Some(Figure::Power(_)) if power.is_zero() => Err(Fault::new(
            ErrorReason::Implausible,
            "is 0 W, but the machine is running",
        )),
        Some(Figure::Power(_)) if power <= most => Ok(Figure::Power(power)),
        Some(Figure::Power(_)) => {
            let (power, most) = (power.as_micro() / 1_000_000, most.as_micro() / 1_000_000);
            let words = format!("is {power} W in all; max_watts is {most}");
            Err(Fault::new(ErrorReason::Implausible, words))
        }
        None => Err(Fault::new(ErrorReason::Parse, "has no figures")),
    }
}

/// Adds a property up over the supplies that are there. One of them without a figure makes the sum wrong, so there is none.
fn supplies(document: &Value, property: &str, most: Microwatts) -> Result<Microwatts, Fault> {
    let all = document
        .pointer("/PowerSupplies")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut sum = None;
    for (index, supply) in all.iter().enumerate().filter(|(_, supply)| !is_absent(supply)) {
        let place = format!("/PowerSupplies/{index}/{property}");
        let power = in_words(&place, figure::power(supply.get(property), most))?;
        sum = Some(sum.unwrap_or(Microwatts::ZERO) + power);
    }
    sum.ok_or_else(|| Fault::new(ErrorReason::Parse, "/PowerSupplies: is missing or empty"))
}

/// Whether a resource says that what it stands for is not plugged in.
pub(super) fn is_absent(resource: &Value) -> bool {
    resource.pointer("/Status/State").and_then(Value::as_str) == Some("Absent")
}

fn in_words<T>(place: &str, figure: Result<T, Fault>) -> Result<T, Fault> {
    figure.map_err(|fault| Fault::new(fault.reason, format!("{place}: {}", fault.words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MOST: Microwatts = Microwatts::from_watts(1_000);

    fn read(extract: Extract, kind: Kind, document: &Value) -> Result<Figure, String> {
        let part = Part {
            path: Arc::from("/x"),
            extract,
        };
        part.read(document, kind, MOST).map_err(|fault| fault.words)
    }

    #[test]
    fn a_supply_that_is_absent_does_not_count_and_one_without_a_figure_spoils_the_sum() {
        let document = json!({ "PowerSupplies": [
            { "PowerInputWatts": 100.5, "LastPowerOutputWatts": 90 },
            { "PowerInputWatts": 0, "LastPowerOutputWatts": null },
            { "Status": { "State": "Absent" } },
        ]});
        let sum = read(Extract::Supplies("PowerInputWatts"), Kind::Power, &document);
        assert_eq!(sum, Ok(Figure::Power(Microwatts::from_micro(100_500_000))));
        let words = read(Extract::Supplies("LastPowerOutputWatts"), Kind::Power, &document)
            .expect_err("one has none");
        assert_eq!(
            words,
            "/PowerSupplies/1/LastPowerOutputWatts: is null, expected a number"
        );
        for none in [
            json!({}),
            json!({ "PowerSupplies": [] }),
            json!({ "PowerSupplies": 3 }),
        ] {
            assert!(read(Extract::Supplies("PowerInputWatts"), Kind::Power, &none).is_err());
        }
    }

    #[test]
    fn a_whole_machine_never_uses_nothing_and_a_sum_has_the_limit_of_one() {
        let watts = |watts| Figure::Power(Microwatts::from_watts(watts));
        assert_eq!(sum(&[watts(400), watts(0)], MOST), Ok(watts(400)));
        for refused in [&[watts(0)][..], &[watts(600), watts(600)]] {
            let fault = sum(refused, MOST).expect_err("refused");
            assert_eq!(fault.reason, ErrorReason::Implausible);
        }
        assert!(sum(&[], MOST).is_err());
        let energy = Figure::Energy(Microjoules::ZERO);
        assert_eq!(sum(&[energy], MOST), Ok(energy));
    }

    #[test]
    fn a_fault_names_the_property() {
        let words = read(
            Extract::At("/PowerWatts/Reading"),
            Kind::Power,
            &json!({ "PowerWatts": {} }),
        );
        assert_eq!(words, Err("/PowerWatts/Reading: is missing".to_owned()));
    }
}
