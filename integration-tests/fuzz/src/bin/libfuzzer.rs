// SPDX-License-Identifier: Apache-2.0
//! All targets under libFuzzer; `FUZZ_TARGET` says which. One program for all of them, because each would hold the whole daemon.
//! Built and run by `make fuzz`: on stable Rust, with the compiler's own pass for coverage.

#![no_main]

use fuzz::{Target, targets};
use std::sync::LazyLock;

#[expect(
    clippy::disallowed_methods,
    reason = "a libFuzzer program has no other way to be told what it is"
)]
static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    targets::named(&name).expect("FUZZ_TARGET names a target of fuzz::TARGETS")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
