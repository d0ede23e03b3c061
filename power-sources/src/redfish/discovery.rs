// SPDX-License-Identifier: Apache-2.0
//! Which chassis there are and where each shows its power: owns the walk through a Redfish tree and the order of
//! preference. Does no I/O: it says which path it wants next and is given what came.
//!
//! Order for one chassis (DSP0268, Redfish Data Model), each taken only if it has a usable figure now:
//!
//! 1. `EnvironmentMetrics`: `EnergyJoules`, then `EnergykWh`, if its figure shows steps that are small enough: counted by
//!    the hardware, so nothing between two readings is missed.
//! 2. `EnvironmentMetrics`: `PowerWatts`: by its definition the total of the chassis.
//! 3. `Power`: `PowerControl/0/PowerConsumedWatts`. The first member alone: BMCs that have more show sub-systems (CPU,
//!    memory) of the first in them, so a sum would count twice.
//! 4. `PowerSubsystem`: the sum of the supplies' `Metrics`/`InputPowerWatts`; then `Power`: the sum of
//!    `PowerSupplies/*/PowerInputWatts`, then of `LastPowerOutputWatts`, which lacks what the supplies lose (5 to 15 %).
//! 5. `Sensors`: one for the whole chassis, of type `EnergyJoules` or `EnergykWh` if its steps are small enough, else of type
//!    `Power`.
//! 6. An energy counter that was too coarse for 1: right in the long run, and better than nothing.

use super::chassis::{Chassis, MOST_MEMBERS, Stage, link, members};
use super::config::MOST_CHASSIS;
use super::failure::{Failure, Kind as FailureKind};
use super::figure::{Fault, cut};
use super::meter::Meter;
use super::policy::Policy;
use attribution::model::ErrorReason;
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The service's root (DSP0266, 6.6).
pub(super) const ROOT: &str = "/redfish/v1/";
/// Where sessions are made if the root does not say (DSP0266, 13.3.4).
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// Most requests of one walk: 64 chassis with a hundred resources each would be more than any machine has.
const MOST_REQUESTS: usize = 2_048;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Root,
    Collection,
    Chassis,
    /// A resource of the chassis that is being searched.
    Resource,
}

/// A chassis with its meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: Arc<str>,
    pub(super) meter: Meter,
}

/// A walk through one BMC's tree.
#[derive(Debug)]
pub(super) struct Discovery {
    policy: Arc<Policy>,
    /// Bounded by [`MOST_REQUESTS`], as everything that comes in is counted.
    todo: VecDeque<(What, Arc<str>)>,
    asked: usize,
    chassis: Vec<Chassis>,
    /// Indices into `chassis`, the outermost first; empty until all are known.
    order: VecDeque<usize>,
    sessions: Option<Arc<str>>,
    /// Counters that were found to be too coarse.
    coarse: BTreeSet<Arc<str>>,
    /// Whether an answer that may be better another time ends the walk. If not, what it was asked for is left out.
    strict: bool,
    faults: Vec<Fault>,
}

impl Discovery {
    pub(super) fn new(policy: &Arc<Policy>, coarse: BTreeSet<Arc<str>>, strict: bool) -> Self {
        Self {
            policy: Arc::clone(policy),
            todo: VecDeque::from([(What::Root, Arc::from(ROOT))]),
            asked: 0,
            chassis: Vec::new(),
            order: VecDeque::new(),
            sessions: None,
            coarse,
            strict,
            faults: Vec::new(),
        }
    }

    /// The path that is wanted next; `None` at the end.
    pub(super) fn next(&self) -> Option<Arc<str>> {
        self.todo.front().map(|(_, path)| Arc::clone(path))
    }

    /// Where sessions are made, once the root said so.
    pub(super) fn sessions(&self) -> Option<Arc<str>> {
        self.sessions.clone()
    }

    /// Takes what came for [`Self::next`]. An error ends the walk.
    pub(super) fn take(&mut self, answer: Result<&Value, &Failure>) -> Result<(), Fault> {
        let Some((what, path)) = self.todo.pop_front() else {
            return Ok(());
        };
        self.asked = self.asked.saturating_add(1);
        match answer {
            Ok(document) => self.document(what, &path, document)?,
            Err(failure) => self.failure(what, failure)?,
        }
        if self.asked.saturating_add(self.todo.len()) > MOST_REQUESTS {
            let words = format!("the tree has more than {MOST_REQUESTS} resources; name the chassis to use");
            return Err(Fault::new(ErrorReason::Implausible, words));
        }
        self.go_on();
        Ok(())
    }

    /// What was found, and what stood in the way of more.
    pub(super) fn finish(self) -> (Vec<Found>, Vec<Fault>) {
        let mut faults = self.faults;
        for id in &self.policy.chassis {
            if !self.chassis.iter().any(|chassis| *chassis.id == **id) {
                let there: Vec<_> = self.chassis.iter().map(|chassis| &*chassis.id).collect();
                let words = format!(
                    "there is no chassis {:?}; there are: {}",
                    cut(id),
                    there.join(", ")
                );
                faults.push(Fault::new(ErrorReason::Gone, words));
            }
        }
        let found: Vec<_> = self
            .chassis
            .into_iter()
            .filter_map(|chassis| {
                Some(Found {
                    id: chassis.id,
                    meter: chassis.meter?,
                })
            })
            .collect();
        (found, faults)
    }

    fn document(&mut self, what: What, path: &Arc<str>, document: &Value) -> Result<(), Fault> {
        match what {
            What::Root => {
                self.sessions = link(document, "/Links/Sessions");
                let Some(collection) = link(document, "/Chassis") else {
                    let words = format!("{path}: has no /Chassis, so this is no Redfish service");
                    return Err(Fault::new(ErrorReason::Parse, words));
                };
                self.todo.push_back((What::Collection, collection));
            }
            What::Collection => {
                let (paths, next) = members(document);
                self.todo
                    .extend(paths.into_iter().map(|path| (What::Chassis, path)));
                self.todo.extend(next.map(|path| (What::Collection, path)));
            }
            What::Chassis => self.add(path, document),
            What::Resource => {
                let policy = Arc::clone(&self.policy);
                if let Some(chassis) = self.current() {
                    let more = chassis.take(path, document, &policy);
                    if chassis.meter.is_some() {
                        // Of many sensors one was it; the chassis's other resources are all that is left here.
                        self.todo.clear();
                    }
                    // In front: a stage is finished before the next one begins.
                    for path in more.into_iter().rev().take(MOST_MEMBERS) {
                        self.todo.push_front((What::Resource, path));
                    }
                }
            }
        }
        Ok(())
    }

    fn failure(&mut self, what: What, failure: &Failure) -> Result<(), Fault> {
        let fault = Fault::new(failure.reason(), failure.words.clone());
        let whole = matches!(what, What::Root | What::Collection)
            || matches!(failure.kind, FailureKind::Unreachable | FailureKind::Unauthorized);
        if whole || (self.strict && failure.may_pass()) {
            return Err(fault);
        }
        if let (What::Resource, Some(chassis)) = (what, self.current()) {
            chassis.resource_failed();
        }
        // What a BMC of its kind just does not have is no news.
        if failure.kind != FailureKind::Missing || what != What::Resource {
            self.faults.push(fault);
        }
        Ok(())
    }

    fn add(&mut self, path: &Arc<str>, document: &Value) {
        let named = &self.policy.chassis;
        let mut chassis = Chassis::new(path, document);
        chassis.coarse = self.coarse.contains(&chassis.id);
        chassis.counts = if named.is_empty() {
            chassis.is_a_machine()
        } else {
            named.iter().any(|id| **id == *chassis.id)
        };
        if self.chassis.iter().any(|other| other.id == chassis.id) {
            return;
        }
        // Those that do not count cost a little memory and no reading.
        let num_counted = self.chassis.iter().filter(|other| other.counts).count();
        let (num, most) = if chassis.counts {
            (num_counted, MOST_CHASSIS)
        } else {
            (self.chassis.len().saturating_sub(num_counted), MOST_MEMBERS)
        };
        if num >= most {
            let words = format!("there are more than {most} chassis; name those to use in `chassis`");
            if !self.faults.iter().any(|fault| fault.words == words) {
                self.faults.push(Fault::new(ErrorReason::Implausible, words));
            }
            return;
        }
        self.chassis.push(chassis);
    }

    fn current(&mut self) -> Option<&mut Chassis> {
        let index = *self.order.front()?;
        self.chassis.get_mut(index)
    }

    /// Finds the next thing to ask for when nothing is left of the last one.
    fn go_on(&mut self) {
        while self.todo.is_empty() {
            if self.chassis.iter().all(|chassis| chassis.stage == Stage::Begin) && self.order.is_empty() {
                self.order = self.outermost_first();
            }
            let Some(index) = self.order.front().copied() else {
                return;
            };
            let covered = self.is_covered(index);
            let policy = Arc::clone(&self.policy);
            let Some(chassis) = self.chassis.get_mut(index) else {
                return;
            };
            let wanted = if covered {
                None
            } else {
                chassis.next_stage(&policy)
            };
            match wanted {
                Some(path) => self.todo.push_back((What::Resource, path)),
                None => {
                    chassis.stage = Stage::End;
                    self.order.pop_front();
                }
            }
        }
    }

    /// Those that count, by the number of chassis around them.
    fn outermost_first(&self) -> VecDeque<usize> {
        let mut order: Vec<_> = (0..self.chassis.len())
            .filter(|index| self.chassis.get(*index).is_some_and(|chassis| chassis.counts))
            .map(|index| (self.around(index).len(), index))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether a chassis around this one has a meter, which then sees this one too.
    fn is_covered(&self, index: usize) -> bool {
        self.around(index).iter().any(|outer| {
            self.chassis
                .get(*outer)
                .is_some_and(|outer| outer.meter.is_some())
        })
    }

    /// The chassis that contain this one, however many levels up. BMCs set one or both of `ContainedBy` and `Contains`.
    fn around(&self, index: usize) -> BTreeSet<usize> {
        let mut around = BTreeSet::new();
        let mut look = vec![index];
        while let Some(inner) = look.pop().and_then(|inner| self.chassis.get(inner)) {
            for (outer_index, outer) in self.chassis.iter().enumerate() {
                let holds = inner.contained_by.contains(&outer.path) || outer.contains.contains(&inner.path);
                if holds && outer_index != index && around.insert(outer_index) {
                    look.push(outer_index);
                }
            }
        }
        around
    }
}
