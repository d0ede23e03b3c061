// SPDX-License-Identifier: Apache-2.0
//! Calibration held against machines whose truth is known.

mod files;
mod recovers;
mod refusals;
mod simulated;
mod unseen;
