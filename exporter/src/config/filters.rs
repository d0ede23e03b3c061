// SPDX-License-Identifier: Apache-2.0
//! What of the workloads becomes series: labels that are left out, labels of pods that are added, namespaces that have rows.
//!
//! All three only choose how rows are called and which of them are written together. What is left out is summed elsewhere,
//! never lost.

use super::{Level, lists};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;

/// Most labels of pods: each is in every series of its pod, and `kubernetes.labels` has the same bound.
const MOST_POD_LABELS: usize = 32;

/// `[exporter.drop]`: labels that are left out, by level; `mode` and `source` say what a figure is and stay. Rows that then have the same labels are one series with their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropConfig {
    /// Of containers: `container_id`, `container_name`, `pod_name`, `container_namespace`. Default: none.
    #[serde(deserialize_with = "of_containers")]
    pub container: Vec<String>,
    /// Of pods: `pod_id`, `pod_name`, `pod_namespace`. Default: none.
    #[serde(deserialize_with = "of_pods")]
    pub pod: Vec<String>,
    /// Of virtual machines: `vm_id`, `vm_name`, `hypervisor`. Default: none.
    #[serde(deserialize_with = "of_vms")]
    pub vm: Vec<String>,
    /// Of systemd units: `unit`, `slice`. Default: none.
    #[serde(deserialize_with = "of_units")]
    pub unit: Vec<String>,
    /// Of processes: `pid`, `command`, `container_id`, `vm_id`. Default: none.
    #[serde(deserialize_with = "of_processes")]
    pub process: Vec<String>,
}

fn of_containers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    labels(deserializer, Level::Container)
}

fn of_pods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    labels(deserializer, Level::Pod)
}

fn of_vms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    labels(deserializer, Level::Vm)
}

fn of_units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    labels(deserializer, Level::Unit)
}

fn of_processes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    labels(deserializer, Level::Process)
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D, level: Level) -> Result<Vec<String>, D::Error> {
    let allowed = level.labels();
    let words = lists::words(deserializer)?;
    match words.iter().find(|word| !allowed.contains(&word.as_str())) {
        Some(unknown) => Err(D::Error::unknown_variant(unknown, allowed)),
        None => Ok(words),
    }
}

/// `[exporter.namespaces]`: Kubernetes namespaces whose containers, pods and processes have rows of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamespacesConfig {
    /// Only these, where there are any. What is in no namespace is always shown. Default: all.
    #[serde(deserialize_with = "namespaces")]
    pub allow: Vec<String>,
    /// Never these, also where `allow` has them. Default: none.
    #[serde(deserialize_with = "namespaces")]
    pub deny: Vec<String>,
}

impl NamespacesConfig {
    /// Whether rows of this namespace are summed up.
    #[must_use]
    pub fn denies(&self, namespace: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name == namespace);
        !namespace.is_empty() && (is_in(&self.deny) || !(self.allow.is_empty() || is_in(&self.allow)))
    }

    /// Whether there is anything to sum up.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

fn namespaces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words = lists::words(deserializer)?;
    let is_wrong = |word: &&String| {
        let of_a_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        word.len() > 63 || !word.chars().all(of_a_label)
    };
    match words.iter().find(is_wrong) {
        Some(wrong) => Err(D::Error::invalid_value(
            Unexpected::Str(wrong),
            &"names of Kubernetes namespaces (lower-case letters, digits and -, at most 63)",
        )),
        None => Ok(words),
    }
}

/// `exporter.pod_labels`: labels of pods that containers and pods have as labels of their series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLabels(Vec<PodLabel>);

/// A label of pods, as Kubernetes and as Prometheus call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodLabel {
    /// `app.kubernetes.io/name`.
    pub(crate) of_pod: String,
    /// `label_app_kubernetes_io_name`.
    pub(crate) name: String,
}

impl PodLabels {
    /// Names that Prometheus takes: everything but letters, digits and `_` becomes `_` behind `label_`. Where that makes two
    /// of them one, all of these are numbered (`_conflict1`, `_conflict2`), as kube-state-metrics does, in the order of
    /// their own names, so that the order in the configuration does not matter.
    fn new(mut words: Vec<String>) -> Self {
        words.sort_unstable();
        words.dedup();
        let plain: Vec<String> = words.iter().map(|word| sanitised(word)).collect();
        let mut taken: BTreeSet<String> = plain.iter().cloned().collect();
        let labels = words.iter().zip(&plain).map(|(word, name)| {
            let shared = plain.iter().filter(|other| *other == name).count() > 1;
            let numbered = || (1_u32..).map(|n| format!("{name}_conflict{n}"));
            let name = if shared {
                numbered().find(|name| taken.insert(name.clone()))
            } else {
                None
            }
            .unwrap_or_else(|| name.clone());
            PodLabel {
                of_pod: word.clone(),
                name,
            }
        });
        Self(labels.collect())
    }

    /// As Kubernetes calls them.
    pub fn of_pods(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|label| label.of_pod.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PodLabel> {
        self.0.iter()
    }
}

fn sanitised(label: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("label_{}", label.chars().map(safe).collect::<String>())
}

impl Serialize for PodLabels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.of_pods())
    }
}

impl<'de> Deserialize<'de> for PodLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "at most 32 names of labels such as app.kubernetes.io/name";
        let words = lists::words(deserializer)?;
        if words.len() > MOST_POD_LABELS {
            return Err(D::Error::invalid_length(words.len(), &EXPECTED));
        }
        match words.iter().find(|word| !is_a_label(word)) {
            Some(wrong) => Err(D::Error::invalid_value(Unexpected::Str(wrong), &EXPECTED)),
            None => Ok(Self::new(words)),
        }
    }
}

/// Whether Kubernetes lets a label have this name: a domain and a slash, if any, and at most 63 letters, digits, `-`, `_`, `.`
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
fn is_a_label(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("a", text));
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = |part: &str, most| !part.is_empty() && part.len() <= most && part.chars().all(of_a_name);
    fits(prefix, 253) && fits(name, 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let labels = PodLabels::new(words.iter().map(|&word| word.to_owned()).collect());
        labels.iter().map(|label| label.name.clone()).collect()
    }

    #[test]
    fn a_label_of_a_pod_gets_a_name_that_prometheus_takes() {
        assert_eq!(
            names(&["team", "app.kubernetes.io/name"]),
            ["label_app_kubernetes_io_name", "label_team"]
        );
    }

    #[test]
    fn two_labels_that_would_have_one_name_are_numbered_whatever_their_order() {
        let expected = [
            "label_a_b_conflict2",
            "label_a_b_conflict3",
            "label_a_b_conflict1",
        ];
        for order in [["a.b", "a_b", "a.b_conflict1"], ["a.b_conflict1", "a_b", "a.b"]] {
            let sorted = PodLabels::new(order.map(str::to_owned).to_vec());
            let of = |label: &str| sorted.iter().find(|l| l.of_pod == label).unwrap().name.clone();
            assert_eq!([of("a.b"), of("a_b"), of("a.b_conflict1")], expected);
        }
    }

    #[test]
    fn a_denied_namespace_is_denied_also_where_it_is_allowed() {
        let lists = |allow: &[&str], deny: &[&str]| NamespacesConfig {
            allow: allow.iter().map(|&name| name.to_owned()).collect(),
            deny: deny.iter().map(|&name| name.to_owned()).collect(),
        };
        for (allow, deny, namespace, denied) in [
            (&[][..], &[][..], "shop", false),
            (&[], &["shop"], "shop", true),
            (&[], &["shop"], "sho", false),
            (&["shop"], &[], "shop", false),
            (&["shop"], &[], "kube-system", true),
            (&["shop"], &["shop"], "shop", true),
            (&["shop"], &["shop"], "", false),
        ] {
            assert_eq!(
                lists(allow, deny).denies(namespace),
                denied,
                "{allow:?} {deny:?} {namespace}"
            );
        }
    }
}
