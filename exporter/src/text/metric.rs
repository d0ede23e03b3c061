// SPDX-License-Identifier: Apache-2.0
//! What a metric family is: its name, type, help and labels. The pages and their reference are written from the same values.

use std::borrow::Cow;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// By its name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Counter, Self::Gauge, Self::Histogram]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Words at the end of a name that are units. OpenMetrics wants a unit to be exactly that.
const UNITS: [&str; 6] = ["joules", "watts", "seconds", "bytes", "ratio", "ms"];

/// A metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// As the text format has it: counters end in `_total`.
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// One line without quotes and backslashes.
    pub(crate) help: Cow<'static, str>,
    /// Every label that its samples have, in two lists because many families share the first.
    pub(crate) labels: [&'static [&'static str]; 2],
}

impl Metric {
    pub(crate) fn new(
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            help: help.into(),
            labels: [&[], &[]],
        }
    }

    pub(crate) const fn with(mut self, labels: &'static [&'static str]) -> Self {
        self.labels[0] = labels;
        self
    }

    pub(crate) const fn and(mut self, labels: &'static [&'static str]) -> Self {
        self.labels[1] = labels;
        self
    }

    /// As OpenMetrics calls the family: a counter without its `_total`.
    pub(crate) fn stem(&self) -> &str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(&self.name),
            Kind::Gauge | Kind::Histogram => &self.name,
        }
    }

    /// The unit that the name ends in; `None` for counts and states.
    pub(crate) fn unit(&self) -> Option<&'static str> {
        let (_, last) = self.stem().rsplit_once('_')?;
        UNITS.into_iter().find(|unit| *unit == last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_what_the_name_ends_in() {
        for (kind, name, unit) in [
            (Kind::Counter, "kepler_pod_joules_total", Some("joules")),
            (Kind::Gauge, "kepler_node_package_watts", Some("watts")),
            (Kind::Counter, "kepler_pod_bpf_cpu_time_ms_total", Some("ms")),
            (Kind::Counter, "kepler_windows_total", None),
            (Kind::Gauge, "process_open_fds", None),
        ] {
            assert_eq!(Metric::new(kind, name, "").unit(), unit, "{name}");
        }
    }
}
