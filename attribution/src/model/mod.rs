// SPDX-License-Identifier: Apache-2.0
//! The words that all crates share: units, ids, what reporters say, and what a snapshot holds.
//!
//! Types here carry meaning and nothing else: no arithmetic that could invent or lose energy, no formatting for a
//! particular output, no floating-point joules (those exist only where text is written).

pub mod events;
pub mod facts;
pub mod ids;
pub mod report;
pub mod snapshot;
pub mod units;
pub mod zone;

pub use events::{Event, EventCounts, EventSet};
pub use facts::{Accounting, NodeFacts, PassedOver, ProbeState, Selection};
pub use ids::{CgroupId, Comm, ContainerId, PackageId, PodUid, ReporterId, SourceId, TaskKey, TickId, VmId};
pub use report::{
    Awaited, CgroupOwner, ContainerFacts, CpuTime, DeviceUse, DeviceUser, Energy, ErrorReason, Identity,
    LostEvents, PackageTime, PodFacts, Report, Reservation, Section, SoftirqTime, SourceError, Tally,
    TallyKind, TaskKind, TaskUsage, Tenant, Usage, VmFacts, ZoneReading,
};
pub use snapshot::Snapshot;
pub use units::{CpuNanos, DeviceNanos, Microjoules, Microwatts, MonotonicNanos};
pub use zone::{Component, Feature, FloorOrigin, Permille, Place, Provenance, Zone};
