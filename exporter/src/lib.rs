// SPDX-License-Identifier: Apache-2.0
//! Who is told: Prometheus text, JSON and HTTP routes over the newest snapshot.
//!
//! The crate owns how figures look and how they are fetched. It refuses to compute any: a figure that is not in the
//! snapshot is not exported, and the only arithmetic here is adding up what shares a label set, and the power between two
//! readings. Between snapshots it keeps its own scrape counters, what rows are called, and sums of rows that the
//! configuration wants to be one.

#![forbid(unsafe_code)]

mod config;
mod cpuinfo;
mod error;
mod fold;
mod forms;
mod gzip;
mod http;
mod json;
mod naming;
mod observer;
mod page;
mod rows;
#[cfg(test)]
mod sample;
mod text;
mod view;
mod zstd;

pub use config::{
    DropConfig, EndedConfig, ExporterConfig, HumaneDuration, Level, Listen, NamespacesConfig, PodLabels,
    ProcessesConfig, Schema,
};
pub use error::ExporterError;
pub use forms::Renders;
pub use http::{Context, bind, serve};
pub use page::{BuildInfo, Page, RenderSettings};
pub use text::reference;
