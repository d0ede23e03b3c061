// SPDX-License-Identifier: Apache-2.0
//! The fault matrix: one test a row, each with the real daemon. `make test-faults` runs them and writes docs/faults.md of what
//! they saw; what every row has to hold beside its own promise is in `integration_tests::trial`. Rows that change the whole machine are in `guest`.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod boards;
mod disks;
mod gear;
mod guest;
mod machine;
mod meters;
mod mounts;
mod names;
mod probes;
