// SPDX-License-Identifier: Apache-2.0
//! A running daemon as `kepler snapshot`, `top` and `run` ask it: where it is, how to get in, what it says.
//!
//! Owns the connection (HTTP, HTTPS, a unix socket) and its errors. Reads the routes of docs/page.md and
//! `/api/v1/snapshot`; fields that it does not know are skipped, so that an older client reads a newer daemon. Answers are
//! bounded in size and time. Secrets come out of files, go to that daemon only, and never over a wire that others can read.

mod ask;
mod endpoint;
mod error;
mod events;
mod options;
mod tls;
mod types;

pub use ask::{Client, Stream};
pub use endpoint::Endpoint;
pub use error::ClientError;
pub use events::{Event, Events};
pub use options::Connection;
pub use types::{
    About, Accounting, Columns, ComponentNow, Facts, Level, Node, NodeHistory, Others, Package, Power, Probe,
    Process, ProcessCharge, Row, Slots, SnapshotFacts, Source, SourceFacts, SourceFailure, Update, Window,
    Windows, WorkloadHistory, WorkloadSlots, Zone,
};
