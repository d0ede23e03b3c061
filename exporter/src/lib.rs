// SPDX-License-Identifier: Apache-2.0
//! Who is told: Prometheus text, JSON, a live page and HTTP routes over the newest snapshot.
//!
//! The crate owns how figures look and how they are fetched. It refuses to compute any: a figure that is not in the
//! snapshot is not exported, and the only arithmetic here is adding up what shares a label set, and the power between two
//! readings. Between snapshots it keeps its own scrape counters, what rows are called, sums of rows that the configuration
//! wants to be one, the last fifteen minutes for people who look (`history`), where the counters stand that guests
//! read (`passthrough`), and who may come in (`security`).

#![forbid(unsafe_code)]

mod clocks;
mod config;
mod cpuinfo;
mod error;
mod fold;
mod forms;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod gzip;
mod history;
mod http;
mod json;
mod kept;
mod live;
mod naming;
mod observer;
mod page;
pub mod passthrough;
pub mod push;
mod reloads;
mod rows;
#[cfg(test)]
mod sample;
mod security;
mod text;
mod view;
mod zstd;

pub use clocks::Clocks;
pub use config::{
    Address, Amount, DropConfig, EndedConfig, ExporterConfig, HumaneDuration, Level, Listen,
    NamespacesConfig, PageConfig, PodLabels, ProcessesConfig, Schema, SocketMode,
};
pub use error::ExporterError;
pub use forms::Renders;
pub use http::{Checked, Context, Entrance, ReloadAnswer, ReloadRequest, Reloader, serve};
pub use kept::{Kept, KeptError};
pub use page::{BuildInfo, Page, RenderSettings};
pub use reloads::Reloads;
pub use text::reference;
