// SPDX-License-Identifier: Apache-2.0
//! A BMC's power by Redfish (`redfish`): the whole machine, as its management controller sees it.
//!
//! Owns the way from a configured URL to one platform zone per chassis. A BMC is slow, reboots, and is on another network, so
//! it is asked on a thread of its own; a read takes what is known and never waits. Refuses to guess: a chassis that does not
//! answer is down after `Policy::longest_gap`, its last watts are not held on to, and its return is not billed for
//! the time between (unless it has a counter).
//!
//! Pure: `figure` (value to watts), `meter` (document to figure), `chassis` and `discovery` (which document), `round`, `account`
//! (total), `access` (login) and `machine` (what next). Thin: `tls` and `client` (the wire), `poller` (the thread).

mod access;
mod account;
mod chassis;
mod client;
mod config;
mod discovery;
mod failure;
mod figure;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod machine;
mod meter;
mod policy;
mod poller;
mod round;
mod tls;

#[cfg(test)]
mod tests;

pub use config::{AuthMethod, Ids, Preference, RedfishConfig, Secret};

use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{Component, Energy, MonotonicNanos, SourceId};
use client::Bmc;
use config::Checked;
use machine::Machine;
use policy::Policy;
use poller::{Clocks, Poller};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The name in the configuration.
pub const NAME: &str = "redfish";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("redfish");
/// A BMC meters the whole machine.
pub const COMPONENTS: &[Component] = &[SOURCE_COMPONENT];

const SOURCE_COMPONENT: Component = Component::Platform;

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(RedfishConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<RedfishConfig>(NAME, section)?.check().map(drop)
}

/// Opens the BMC that is configured. It is not asked anything before the first read, and whether it answers then decides
/// nothing: a BMC that reboots while the daemon starts would else leave the machine to another meter for good.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: RedfishConfig = crate::section(NAME, ask.section)?;
    let Some(checked) = config.check()? else {
        let reason =
            "sources.redfish.url is not set: no BMC to ask; set it to \"https://\" and the BMC's address";
        return Ok(Opened::Absent {
            reason: reason.to_owned(),
        });
    };
    if !ask.wanted.contains(&SOURCE_COMPONENT) {
        let reason = "a BMC meters the platform only, which is not wanted of it".to_owned();
        return Ok(Opened::Absent { reason });
    }
    let policy = Policy::new(&checked);
    Ok(match Redfish::start(checked, policy, (ask.clock, ask.slept)) {
        Ok(redfish) => Opened::Source(Box::new(redfish)),
        Err(error) => Opened::Absent {
            reason: format!("the thread that asks the BMC cannot be started: {error}"),
        },
    })
}

/// A BMC.
struct Redfish {
    base: String,
    longest_gap: Duration,
    poller: Poller,
}

impl Redfish {
    fn start(checked: Checked, policy: Policy, clocks: Clocks) -> std::io::Result<Self> {
        let longest_gap = policy.longest_gap();
        let bmc = Bmc::new(checked);
        let base = bmc.base().to_owned();
        // Keyed by the kernel's random numbers, so that no two nodes have the same jitter.
        let seed = RandomState::new().hash_one(0_u8);
        Ok(Self {
            base,
            longest_gap,
            poller: Poller::spawn(Machine::new(policy, seed), bmc, clocks)?,
        })
    }
}

impl PowerSource for Redfish {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        COMPONENTS.to_vec()
    }

    fn detail(&self) -> String {
        let chosen = self.poller.peek().chosen;
        if chosen.is_empty() {
            return format!("{}: not asked yet, or without an answer", self.base);
        }
        format!("{}: {chosen}", self.base)
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let known = self.poller.known();
        let fresh = |answered: MonotonicNanos| now.since(answered) < self.longest_gap;
        Energy {
            zones: known
                .readings
                .into_iter()
                .filter(|(_, answered)| fresh(*answered))
                .map(|(reading, _)| reading)
                .collect(),
            errors: known.errors,
        }
    }
}
