// SPDX-License-Identifier: Apache-2.0
//! Who pays: the vocabulary of the whole house ([`model`]), the engine that splits energy over workloads ([`engine`]), and
//! what the engine was told as bytes ([`recording`]).
//!
//! This crate owns every number that ends up on a bill. It knows no clock, no file, no thread and no runtime: time and
//! readings are arguments, so the same input gives the same snapshot on every machine. Everybody may import
//! [`model`] and read a [`recording`]; only `actors/` drives [`engine`].

#![forbid(unsafe_code)]

pub mod engine;
pub mod model;
pub mod recording;
