// SPDX-License-Identifier: Apache-2.0
//! The pure part of the accountant `scheduler`, out of the crate's own files, which are formatted there.

#[path = "../../src/scheduler/abi.rs"]
#[rustfmt::skip]
pub(crate) mod abi;
#[path = "../../src/scheduler/processes.rs"]
#[rustfmt::skip]
pub(crate) mod processes;
#[path = "../../src/scheduler/threads.rs"]
#[rustfmt::skip]
pub(crate) mod threads;
