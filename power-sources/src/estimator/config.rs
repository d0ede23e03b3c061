// SPDX-License-Identifier: Apache-2.0
//! The section `sources.estimator`: owns its keys. There are none yet; the built-in model takes everything
//! from the machine.

use serde::{Deserialize, Serialize};

/// Section `sources.estimator`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EstimatorConfig {}
