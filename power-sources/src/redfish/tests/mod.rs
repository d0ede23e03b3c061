// SPDX-License-Identifier: Apache-2.0
//! Redfish from the section to the total: the pure parts against answers in a table, the whole against a BMC of our own over
//! HTTPS.

use super::access::Mode;
use super::config::Preference;
use super::policy::Policy;
use attribution::model::Microwatts;
use std::time::Duration;

/// What the default section says.
pub(super) fn policy() -> Policy {
    Policy {
        chassis: Vec::new(),
        reading: Preference::Auto,
        most: Microwatts::from_watts(20_000),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        mode: Mode::Open,
        first_wait: Duration::from_secs(1),
        first_refusal: Duration::from_secs(300),
    }
}
