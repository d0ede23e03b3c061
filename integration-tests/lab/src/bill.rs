// SPDX-License-Identifier: Apache-2.0
//! What a rule has charged so far, in the one form in which rules are compared.

/// Joules by part of the machine: packages, memories, GPU.
pub type Parts = [f64; 3];

/// Totals of one rule in joules. Cumulative: a stretch of time is the difference of two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bill {
    /// Dynamic energy by workload, in the order of [`crate::node::Node::workloads`].
    pub dynamic: Vec<Parts>,
    /// Dynamic energy that the rule says is nobody's.
    pub unattributed: Parts,
    /// Idle energy, whoever pays it.
    pub idle: f64,
}

impl Bill {
    /// Nothing yet, for so many workloads.
    #[must_use]
    pub fn new(workloads: usize) -> Self {
        Self {
            dynamic: vec![[0.0; 3]; workloads],
            ..Self::default()
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.dynamic
            .iter()
            .chain([&self.unattributed])
            .flatten()
            .sum::<f64>()
            + self.idle
    }

    /// What came since `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        Self {
            dynamic: self
                .dynamic
                .iter()
                .zip(&then.dynamic)
                .map(|(now, then)| minus(now, then))
                .collect(),
            unattributed: minus(&self.unattributed, &then.unattributed),
            idle: self.idle - then.idle,
        }
    }
}

/// What `now` has more than `then`.
#[must_use]
pub fn minus(now: &Parts, then: &Parts) -> Parts {
    std::array::from_fn(|part| now[part] - then[part])
}
