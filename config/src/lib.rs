// SPDX-License-Identifier: Apache-2.0
//! How it is set: layers of configuration, strict, with the origin of every value.
//!
//! Owns the four layers (built-in defaults, then a TOML or YAML file, then `KEPLER_...` variables, then flags), the
//! refusal of unknown keys, the report of every problem at once, and the answer to "where does this value come from".
//!
//! Knows no key of its own and no other crate of the workspace: each owner defines its section as a serde struct
//! (`Default`, `Serialize`, `Deserialize`, `deny_unknown_fields`), and the composition root registers it by its path.
//! Never reads the process's environment or arguments: they are arguments here, so that a test can be any machine.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Exporter {
//!     listen: Vec<String>,
//! }
//!
//! impl Default for Exporter {
//!     fn default() -> Self {
//!         Self { listen: vec!["0.0.0.0:28282".to_owned()] }
//!     }
//! }
//!
//! let mut schema = config::Schema::new();
//! schema.section::<Exporter>("exporter");
//! let loaded = schema.load(config::Layers {
//!     environment: vec![("KEPLER_EXPORTER__LISTEN".into(), "127.0.0.1:28282".into())],
//!     ..config::Layers::default()
//! })?;
//! let exporter: Exporter = loaded.section("exporter")?;
//! assert_eq!(exporter.listen, ["127.0.0.1:28282"]);
//! assert_eq!(
//!     config::render_effective(&loaded.effective()),
//!     "exporter.listen = [\"127.0.0.1:28282\"]  # environment KEPLER_EXPORTER__LISTEN\n"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod check;
mod environment;
mod file;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod layers;
mod links;
mod load;
mod loaded;
mod locate;
mod nearest;
mod path;
mod problem;
mod refusal;
mod schema;
mod secrets;
mod shape;
mod show;
mod text;

pub use load::{ConfigFile, Flag, Layers};
pub use loaded::{Effective, Loaded};
pub use nearest::nearest;
pub use problem::{Fault, Origin, Problem, Problems};
pub use schema::{Schema, Section};
pub use show::render_effective;

/// What can go wrong when a loaded section is asked for. What people can set wrong is [`Problems`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody registered a section under this path.
    #[error("no section is registered as {path:?}")]
    NoSuchSection {
        /// The path that was asked for.
        path: String,
    },
    /// The section is not of the type that was asked for, which is another than the registered one.
    #[error("section {path:?} is of another type")]
    OtherType {
        /// The section's path.
        path: String,
        /// What the type objects to.
        #[source]
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests;
