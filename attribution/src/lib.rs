// SPDX-License-Identifier: Apache-2.0
//! Who pays: the vocabulary of the whole house ([`model`]) and the engine that splits energy over workloads ([`engine`]).
//!
//! This crate owns every number that ends up on a bill. It knows no clock, no file, no thread and no runtime: time and
//! readings are arguments, so the same input gives the same snapshot on every machine. Everybody may import
//! [`model`]; only `actors/` drives [`engine`].

#![forbid(unsafe_code)]

pub mod engine;
pub mod model;
pub mod recording;
