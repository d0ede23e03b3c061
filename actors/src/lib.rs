// SPDX-License-Identifier: Apache-2.0
//! When: the actors of the pipeline, the messages between them, their wiring, and the `kepler` command.
//!
//! The only crate that names actix. A shell owns a core from another crate and some addresses; its handlers call the core
//! and send the answer on. Nothing here decides about energy. What blocks (files, eBPF maps) runs on a thread of its
//! own behind a channel of one ([`worker`]), so that a meter that hangs holds up nobody else.
//!
//! Beside the daemon stand the commands that ask one ([`client`], [`snapshot`], [`top`]) and those that run the same
//! pipeline for a while ([`recorder`], [`calibrate`], [`measure`]).

#![forbid(unsafe_code)]

pub mod accountants;
pub mod bridge;
pub mod calibrate;
pub mod check;
pub mod choice;
pub mod cli;
pub mod client;
pub mod clock;
mod cpu_lines;
pub mod driven;
pub mod estimate;
pub mod exit;
pub mod harden;
pub mod logging;
pub mod measure;
pub mod messages;
pub mod node;
pub mod pace;
pub mod pipeline;
pub mod recorder;
pub mod reload;
pub mod remote;
pub mod replay;
pub mod run;
pub mod settings;
pub mod shell;
pub mod shells;
pub mod snapshot;
pub mod splice;
pub mod state;
pub mod top;
pub mod words;

pub use bridge::{health, slot, worker};
