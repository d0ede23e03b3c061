// SPDX-License-Identifier: Apache-2.0
//! All GPUs of one vendor as one [`PowerSource`]: owns which cards there are now, and brings meters and users together.
//! What makes a vendor is in its [`Family`].

use super::cards::{self, Card, Cards, Found};
use super::fdinfo::Client;
use super::gpu::{Gpu, Look, Plan};
use super::processes::Processes;
use super::usage::Ledger;
use crate::errors::ErrorLedger;
use crate::files::Fault;
use crate::moment::Slept;
use crate::sensors::channel::Plausible;
use crate::{Ask, PowerSource};
use attribution::model::{
    Component, DeviceUse, Energy, ErrorReason, Microwatts, MonotonicNanos, SourceId, Zone, ZoneReading,
};
use std::path::PathBuf;
use std::time::Duration;

/// How often cards are looked for that were not there before. One that is lost is looked for at once, and then with
/// back-off.
const NEWCOMERS: Duration = Duration::from_secs(60);
/// Most cards since the source was opened, those that never came back included. A machine has 16 GPUs at most.
const MOST_GPUS: usize = 256;

/// Where a card's energy is read, or why it is left out.
pub(crate) type Choose = Box<dyn Fn(&Card) -> Result<Plan, String> + Send>;

/// What tells one vendor's cards from another's.
pub(crate) struct Family {
    /// The `source` label.
    pub(crate) source: SourceId,
    /// Kernel drivers.
    pub(crate) drivers: &'static [&'static str],
    /// What to do when there is no card.
    pub(crate) remedy: &'static str,
    /// Where a card's energy is read, or why it is left out.
    pub(crate) choose: Choose,
    /// The file of the device that tells how many percent it is busy.
    pub(crate) busy_file: Option<&'static str>,
}

/// What a section says about all families alike.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `/sys/class/drm`.
    pub(crate) root: PathBuf,
    /// `/proc`.
    pub(crate) proc: PathBuf,
    /// Longest time between two looks at a process.
    pub(crate) scan: Duration,
    /// Highest plausible power of a card.
    pub(crate) max_watts: u32,
}

impl Settings {
    fn plausible(&self) -> Plausible {
        Plausible::up_to(Microwatts::from_watts(u64::from(self.max_watts)))
    }
}

/// The cards of one family.
pub(crate) struct Gpus {
    family: Family,
    settings: Settings,
    slept: Slept,
    /// Positions are for life: files of processes are known by them.
    gpus: Vec<Gpu>,
    left_out: Vec<String>,
    processes: Processes,
    ledger: Ledger,
    errors: ErrorLedger,
    searched: Option<MonotonicNanos>,
}

impl Cards for Vec<Gpu> {
    fn card(&self, client: &Client) -> Option<usize> {
        self.iter().position(|gpu| *gpu.card.address == *client.address)
    }

    fn sleeps(&self, card: usize) -> bool {
        self.get(card).is_some_and(|gpu| gpu.sleeps)
    }
}

impl Gpus {
    /// Looks for cards and opens their meters. The reason why not is for people.
    pub(crate) fn open(family: Family, settings: Settings, ask: &Ask<'_>) -> Result<Self, String> {
        let root = settings.root.display().to_string();
        if !ask.wanted.contains(&Component::Gpu) {
            return Err(format!("{root}: meters gpu only, which is not wanted"));
        }
        let found = match cards::find(&settings.root, family.drivers) {
            Ok(found) => found,
            Err(fault) if fault.reason == ErrorReason::Gone => {
                return Err(format!(
                    "{root} does not exist: no GPU driver is loaded; {}",
                    family.remedy
                ));
            }
            Err(fault) => return Err(fault.words),
        };
        if found.cards.is_empty() {
            return Err(no_cards(&root, &family, &found));
        }
        let mut all = Self {
            processes: Processes::new(settings.proc.clone(), settings.scan),
            family,
            settings,
            slept: ask.slept,
            gpus: Vec::new(),
            left_out: Vec::new(),
            ledger: Ledger::default(),
            errors: ErrorLedger::default(),
            searched: None,
        };
        all.note(None, &found.faults);
        let mut works = false;
        let mut reasons = Vec::new();
        for card in found.cards {
            match all.admit(card) {
                Ok(()) => works = true,
                Err(reason) => reasons.push(reason),
            }
        }
        if works {
            Ok(all)
        } else {
            Err(format!("{root}: {}", reasons.join("; ")))
        }
    }

    /// Takes a card in, unless it is left out. One that cannot be read stays, and is tried again.
    fn admit(&mut self, card: Card) -> Result<(), String> {
        let title = card.title();
        let plan = (self.family.choose)(&card).map_err(|reason| format!("{title}: {reason}"));
        let plan = match plan {
            Ok(plan) if self.gpus.len() < MOST_GPUS => plan,
            Ok(_) => return Err(format!("{title}: more than {MOST_GPUS} cards; ignored")),
            Err(reason) => {
                if !self.left_out.contains(&reason) && self.left_out.len() < MOST_GPUS {
                    self.left_out.push(reason.clone());
                }
                return Err(reason);
            }
        };
        let mut gpu = Gpu::new(
            card,
            plan,
            self.settings.plausible(),
            self.family.busy_file,
            self.slept,
        );
        let attached = gpu.attach();
        let zone = gpu.zone.clone();
        self.gpus.push(gpu);
        attached.map_err(|fault| {
            self.note(Some(&zone), std::slice::from_ref(&fault));
            format!("{title}: {}", fault.words)
        })
    }

    fn note(&mut self, zone: Option<&Zone>, faults: &[Fault]) {
        for fault in faults {
            self.errors
                .note(self.family.source, zone, fault.reason, &fault.words);
        }
    }

    /// Looks for cards that are lost, and at times for new ones. Answers which positions have meters now that had none.
    fn search(&mut self, now: MonotonicNanos) -> Vec<usize> {
        let since = *self.searched.get_or_insert(now);
        if !self.gpus.iter().any(|gpu| gpu.is_lost(now)) && now.since(since) < NEWCOMERS {
            return Vec::new();
        }
        self.searched = Some(now);
        let found = match cards::find(&self.settings.root, self.family.drivers) {
            Ok(found) => found.cards,
            Err(fault) => {
                for gpu in &mut self.gpus {
                    gpu.stays_lost(now);
                }
                self.note(None, &[fault]);
                return Vec::new();
            }
        };
        let mut attached = self.find_again(now, &found);
        for card in found {
            if !self.gpus.iter().any(|gpu| gpu.card.place == card.place) {
                let position = self.gpus.len();
                // Why not is among those left out, or among the errors of its zone.
                if self.admit(card).is_ok() {
                    attached.push(position);
                }
            }
        }
        attached
    }

    /// Opens lost cards where a search has them now. Answers which.
    fn find_again(&mut self, now: MonotonicNanos, found: &[Card]) -> Vec<usize> {
        let mut again = Vec::new();
        let mut faults = Vec::new();
        for (position, gpu) in self.gpus.iter_mut().enumerate() {
            if !gpu.is_lost(now) {
                continue;
            }
            // By its place and never by its node: that may be another card's after a driver was loaded again.
            let here = found.iter().find(|card| card.place == gpu.card.place);
            let answer = match here {
                None => Err(gpu.vanished(&self.settings.root)),
                Some(card) => match (self.family.choose)(card) {
                    Ok(plan) => gpu.found_again(card.clone(), plan),
                    Err(words) => Err(Fault {
                        reason: ErrorReason::Gone,
                        words: format!("{}: {words}", card.title()),
                    }),
                },
            };
            match answer {
                Ok(()) => again.push(position),
                Err(fault) => {
                    gpu.stays_lost(now);
                    faults.push((gpu.zone.clone(), fault));
                }
            }
        }
        for (zone, fault) in faults {
            self.note(Some(&zone), &[fault]);
        }
        again
    }

    /// Who used which card up to now.
    fn settle(&mut self, now: MonotonicNanos) {
        let (sightings, faults) = self.processes.sightings(now, &self.gpus);
        self.note(None, &faults);
        let settled = self.ledger.settle(now, sightings);
        let complaint = |count: u64, what: &str| {
            (count > 0).then(|| Fault {
                reason: ErrorReason::Implausible,
                words: format!("{}: {count} {what}", self.settings.proc.display()),
            })
        };
        let faults = [
            complaint(
                settled.implausible,
                "counters of GPU files rose by more than engines can; those steps are dropped",
            ),
            complaint(
                settled.too_many,
                "GPU files are more than can be followed; their use is not known",
            ),
        ];
        for fault in faults.into_iter().flatten() {
            self.note(None, &[fault]);
        }
    }
}

impl PowerSource for Gpus {
    fn id(&self) -> SourceId {
        self.family.source
    }

    fn components(&self) -> Vec<Component> {
        vec![Component::Gpu]
    }

    fn detail(&self) -> String {
        let cards: Vec<_> = self.gpus.iter().map(Gpu::detail).collect();
        let left_out: Vec<_> = self
            .left_out
            .iter()
            .map(|reason| format!("; left out: {reason}"))
            .collect();
        let root = self.settings.root.display();
        format!("{root}: {}{}", cards.join(", "), left_out.concat())
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut looks: Vec<Look> = self.gpus.iter_mut().map(|gpu| gpu.read(now)).collect();
        let attached = self.search(now);
        looks.resize_with(self.gpus.len(), Look::default);
        for position in attached {
            if let (Some(look), Some(gpu)) = (looks.get_mut(position), self.gpus.get_mut(position)) {
                let mut again = gpu.read(now);
                again.faults.append(&mut look.faults);
                *look = again;
            }
        }
        self.settle(now);
        let mut zones = Vec::with_capacity(looks.len());
        for (position, look) in looks.into_iter().enumerate() {
            let Some(gpu) = self.gpus.get(position) else {
                continue;
            };
            let (zone, busy) = (gpu.zone.clone(), gpu.busy());
            self.note(Some(&zone), &look.faults);
            let Some((total, provenance, at)) = look.reading else {
                continue;
            };
            zones.push(ZoneReading {
                zone,
                total,
                idle: None,
                provenance,
                at,
                // A card that does not tell how busy it is, with users that may be hidden: nobody knows whether it rests.
                device: (busy.is_some() || !self.processes.hide_users(now)).then(|| DeviceUse {
                    busy,
                    users: self.ledger.users(position),
                }),
            });
        }
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }
}

/// Why there is nothing to open.
fn no_cards(root: &str, family: &Family, found: &Found) -> String {
    let drivers = family.drivers.join(" or ");
    if let Some(fault) = found.faults.first() {
        return fault.words.clone();
    }
    if found.others.is_empty() {
        return format!("{root}: no cards at all; {}", family.remedy);
    }
    format!(
        "{root}: no card is driven by {drivers}, only {}; {}",
        found.others.join(", "),
        family.remedy
    )
}
