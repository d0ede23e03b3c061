// SPDX-License-Identifier: Apache-2.0
//! Who is told: Prometheus text, JSON, a live page and HTTP routes over the newest snapshot.
//!
//! The crate owns how figures look and how they are fetched. It refuses to compute any: a figure that is not in the
//! snapshot is not exported, and the only arithmetic here is adding up what shares a label set. It keeps no state
//! between snapshots but its own scrape counters, the last fifteen minutes for people who look (`history`), and where
//! the counters stand that guests read (`passthrough`).

#![forbid(unsafe_code)]

mod config;
mod error;
mod gzip;
mod history;
mod http;
mod json;
mod live;
mod observer;
mod page;
pub mod passthrough;
#[cfg(test)]
mod sample;
mod text;

pub use config::{
    Amount, EndedConfig, ExporterConfig, HumaneDuration, Level, Listen, PageConfig, ProcessesConfig, Schema,
};
pub use error::ExporterError;
pub use http::{Context, bind, serve};
pub use page::{BuildInfo, Page, RenderSettings, Renders};
