// SPDX-License-Identifier: Apache-2.0
//! Reads a file that it keeps open, once for each line of its standard input, and prints what the file held: a reader as PAPI is
//! one, for the guest of tests/passthrough.rs.

use std::fs::File;
use std::io::{Write as _, stdin, stdout};
use std::os::unix::fs::FileExt as _;

fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_default();
    let file = File::open(path)?;
    for line in stdin().lines() {
        line?;
        let mut bytes = [0; 64];
        let length = file.read_at(&mut bytes, 0)?;
        stdout().write_all(bytes.get(..length).unwrap_or_default())?;
    }
    Ok(())
}
