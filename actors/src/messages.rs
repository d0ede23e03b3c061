// SPDX-License-Identifier: Apache-2.0
//! What actors say to each other: immutable data with a tick and cumulative totals, big parts shared.
//!
//! Everything is one-way; only the two messages of the shutdown are awaited.

use actix::Message;
use attribution::model::{
    Energy, Identity, MonotonicNanos, Report, Snapshot, SourceId, Tally, TickId, Usage,
};
use std::sync::Arc;

/// The ticker's beat: open a window, read your meter.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Its number.
    pub id: TickId,
    /// When it was sent.
    pub at: MonotonicNanos,
    /// When the window closes at the latest.
    pub deadline: MonotonicNanos,
    /// When it would have closed at the latest, had the beat come in time: how late a window was counts from here.
    pub due: MonotonicNanos,
}

/// Who ran.
#[derive(Clone, Debug)]
pub struct UsageReady(pub Report<Arc<Usage>>);

/// Who is who, and what those who found it out count of themselves.
#[derive(Clone, Debug)]
pub struct IdentityReady(pub Report<Arc<Identity>>, pub Vec<Tally>);

/// What it cost.
#[derive(Clone, Debug)]
pub struct EnergyReady {
    /// The meter.
    pub source: SourceId,
    /// Its zones.
    pub report: Report<Energy>,
    /// What it reads by now, for people: some meters know only after their first answer. `None` says nothing new.
    pub detail: Option<Arc<str>>,
}

/// A window has closed.
#[derive(Clone, Debug)]
pub struct Publish(pub Arc<Snapshot>);

/// Everything up to this tick is paid: tasks that had ended by then may be forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Paid(pub TickId);

/// A tick is wanted now, and not only when its time has come.
#[derive(Clone, Copy, Debug)]
pub struct Beat;

/// Shutdown: close the window that is open and publish it.
#[derive(Clone, Copy, Debug)]
pub struct CloseNow;

/// Shutdown: stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

macro_rules! one_way {
    ($($message:ty),*) => { $(impl Message for $message { type Result = (); })* };
}
one_way!(
    Tick,
    UsageReady,
    IdentityReady,
    EnergyReady,
    Publish,
    Paid,
    Beat,
    CloseNow,
    Stop
);
