// SPDX-License-Identifier: Apache-2.0
//! `[attribution]` and `[attribution.smt]`: by what dynamic energy is split.

use attribution::engine::{OtherRule, SmtRule, SplitRules};
use attribution::model::Permille;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[attribution]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Split {
    /// What zones are split by.
    pub features: Features,
    /// How features become weights.
    pub weights: Weights,
    /// Who pays for what the platform uses beside package, memory and accelerators.
    pub other: Other,
}

/// `attribution.features`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// For each component the counter that is right for it, where the machine counts it; else CPU time.
    #[default]
    Counters,
    /// CPU time alone, also where siblings share a core: for comparison.
    CpuTime,
}

/// `attribution.weights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// One feature for each component.
    #[default]
    Plain,
    /// Several at once, weighed as this node's own meters say; the plain one wherever that is not better.
    Learned,
}

/// `attribution.other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Other {
    /// See [`OtherRule::Energy`].
    #[default]
    Energy,
    /// See [`OtherRule::CpuTime`].
    CpuTime,
    /// See [`OtherRule::Node`].
    Node,
}

/// `[attribution.smt]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smt {
    /// What time beside a busy sibling weighs: 0.5 to 1.0, or `learned`.
    pub weight: SmtSetting,
}

/// A share of lone time, or `learned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmtSetting(pub SmtRule);

impl Serialize for SmtSetting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            SmtRule::Learned => to.serialize_str("learned"),
            SmtRule::Fixed(weight) => to.serialize_f64(f64::from(weight.0) / 1e3),
        }
    }
}

impl<'de> Deserialize<'de> for SmtSetting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Weight(f64),
            Word(String),
        }
        const ALLOWED: &str =
            "0.5 (two busy siblings cost as much as one) to 1.0 (as much as two cores), or \"learned\"";
        match Given::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))? {
            Given::Word(word) if word == "learned" => Ok(Self(SmtRule::Learned)),
            Given::Weight(weight) if (0.5..=1.0).contains(&weight) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "500 to 1000"
                )]
                let permille = (weight * 1e3).round() as u32;
                Ok(Self(SmtRule::Fixed(Permille(permille))))
            }
            _ => Err(D::Error::custom(ALLOWED)),
        }
    }
}

impl Split {
    /// The engine's rules; `smt` is from its own section.
    #[must_use]
    pub fn rules(&self, smt: &Smt) -> SplitRules {
        SplitRules {
            by_time_alone: self.features == Features::CpuTime,
            learned: self.weights == Weights::Learned,
            other: match self.other {
                Other::Energy => OtherRule::Energy,
                Other::CpuTime => OtherRule::CpuTime,
                Other::Node => OtherRule::Node,
            },
            smt: smt.weight.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(split: Value, smt: Value) -> SplitRules {
        let split: Split = serde_json::from_value(split).expect("allowed");
        split.rules(&serde_json::from_value(smt).expect("allowed"))
    }

    #[test]
    fn every_key_reaches_the_rule_that_it_names() {
        assert_eq!(rules(json!({}), json!({})), SplitRules::default());
        let written = json!({"features": "cpu-time", "weights": "learned", "other": "node"});
        let expected = SplitRules {
            by_time_alone: true,
            learned: true,
            other: OtherRule::Node,
            smt: SmtRule::Learned,
        };
        assert_eq!(rules(written, json!({"weight": "learned"})), expected);
        let by_time = rules(json!({"other": "cpu-time"}), json!({"weight": 1.0}));
        assert_eq!(
            (by_time.other, by_time.smt),
            (OtherRule::CpuTime, SmtRule::Fixed(Permille(1_000)))
        );
    }

    #[test]
    fn a_weight_of_siblings_is_in_its_range_or_learned_and_survives_being_written_down() {
        for (written, rule) in [
            (json!(0.575), SmtRule::default()),
            (json!(0.5), SmtRule::Fixed(Permille(500))),
            (json!("learned"), SmtRule::Learned),
        ] {
            let setting: SmtSetting = serde_json::from_value(written.clone()).expect("allowed");
            assert_eq!(setting.0, rule);
            assert_eq!(serde_json::to_value(setting).expect("writes"), written);
        }
        for wrong in [json!(0.49), json!(1.01), json!("half"), json!(true), json!(null)] {
            let error = serde_json::from_value::<SmtSetting>(wrong)
                .expect_err("refused")
                .to_string();
            assert!(error.contains("0.5 (two busy siblings"), "{error}");
        }
    }
}
