// SPDX-License-Identifier: Apache-2.0
//! What a recording is made of: the calls that the engine got, in their order, between a beginning and an end.

use crate::model::{
    Energy, Identity, MonotonicNanos, NodeFacts, Report, ReporterId, SourceId, Tally, TickId, Usage,
};
use std::sync::Arc;
use std::time::Duration;

/// One entry of a recording.
#[derive(Clone, Debug)]
pub enum Entry {
    /// What was decided before the first call. Comes first, once.
    Begin(Arc<Beginning>),
    /// [`Engine::expect`](crate::engine::Engine::expect).
    Expect(ReporterId),
    /// [`Engine::expect_source`](crate::engine::Engine::expect_source).
    ExpectSource(SourceId),
    /// [`Engine::open`](crate::engine::Engine::open).
    Open {
        /// The tick.
        tick: TickId,
        /// When it was opened.
        at: MonotonicNanos,
        /// When it had to be closed at the latest.
        deadline: MonotonicNanos,
    },
    /// [`Engine::on_usage`](crate::engine::Engine::on_usage).
    Usage(Report<Arc<Usage>>),
    /// [`Engine::on_identity`](crate::engine::Engine::on_identity).
    Identity(Report<Arc<Identity>>),
    /// [`Engine::on_tallies`](crate::engine::Engine::on_tallies). Those that say what was said before are not written.
    Tallies(Vec<Tally>),
    /// [`Engine::on_sleep`](crate::engine::Engine::on_sleep).
    Slept {
        /// In all, since the engine was made.
        total: Duration,
    },
    /// [`Engine::describe`](crate::engine::Engine::describe). One that says what was said before is not written.
    Describe {
        /// The source.
        source: SourceId,
        /// What it reads.
        detail: Arc<str>,
    },
    /// [`Engine::on_energy`](crate::engine::Engine::on_energy).
    Energy {
        /// The source.
        source: SourceId,
        /// Its report.
        report: Report<Energy>,
    },
    /// [`Engine::close`](crate::engine::Engine::close).
    Close {
        /// When.
        at: MonotonicNanos,
        /// Messages that found a full queue until then, by queue: a part of the snapshot that the engine does not know.
        dropped: Vec<(&'static str, u64)>,
    },
    /// The recording could not keep up: this many entries are missing here. Totals are cumulative, so the reports after
    /// it make up for those before it; windows are missing.
    Gap {
        /// How many.
        missing: u64,
    },
    /// The recording was ended in order. Comes last, once.
    End,
}

/// What was decided before the first call.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// The program that wrote it, with its version.
    pub program: String,
    /// Period of the ticker.
    pub tick: Duration,
    /// Whether names were replaced by words that tell nothing.
    pub anonymous: bool,
    /// Settings that matter to the attribution: keys of the configuration, and their values as JSON.
    pub settings: Vec<(String, String)>,
    /// What the engine was given of earlier runs, by name, as its owner writes it.
    pub state: Vec<(String, Vec<u8>)>,
    /// Decisions of the start-up, with the machine's own facts.
    pub facts: NodeFacts,
}
