// SPDX-License-Identifier: Apache-2.0
//! What happens on the node. Seeds are fixed, so every run is the same.

mod faults;
mod few;
mod life;
mod many;
mod stage;

use crate::node::Node;
use crate::rng::Rng;
use crate::tasks::{MS, Nanos, S};

/// A scenario.
pub struct Scenario {
    /// Short name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// The node at its beginning, and all that will happen on it.
    pub build: fn() -> Node,
    /// First moment that is judged; before it the rules may learn. A multiple of 15 s, at which all of them read.
    pub from: Nanos,
    /// Last moment that is judged. A multiple of 15 s.
    pub to: Nanos,
    /// When the reporters read.
    pub timing: Timing,
}

/// How the daemon's reporters keep time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Usage within 1.5 ms of the tick, meters within 3 ms.
    Prompt,
    /// Usage and meters each up to 40 ms late, independently: a node whose threads wait for CPUs.
    Skewed,
    /// Meters come after the deadline every third time, usage every tenth.
    Late,
}

impl Timing {
    /// From the tick to the reading of usage.
    #[must_use]
    pub fn usage(self, rng: &mut Rng) -> Nanos {
        match self {
            Self::Late if rng.below(10) == 0 => 850 * MS + rng.below(100 * MS),
            Self::Prompt | Self::Late => rng.below(1_500_000),
            Self::Skewed => rng.below(40 * MS),
        }
    }

    /// From the tick to the reading of RAPL.
    #[must_use]
    pub fn meter(self, rng: &mut Rng) -> Nanos {
        match self {
            Self::Late if rng.below(3) == 0 => 850 * MS + rng.below(100 * MS),
            Self::Prompt | Self::Late => rng.below(3 * MS),
            Self::Skewed => rng.below(40 * MS),
        }
    }
}

/// Every scenario, in the order of the tables.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [few::all(), many::all(), life::all(), faults::all()]
        .into_iter()
        .flatten()
        .collect()
}

/// One by its name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

/// Thirty seconds to learn on a node that only keeps house, then a minute that is judged.
const fn plain(name: &'static str, about: &'static str, build: fn() -> Node) -> Scenario {
    Scenario {
        name,
        about,
        build,
        from: 30 * S,
        to: 90 * S,
        timing: Timing::Prompt,
    }
}
