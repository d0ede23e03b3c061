// SPDX-License-Identifier: Apache-2.0
//! Processes that a test starts, and that never outlive it.

use crate::daemon::bare;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// A child that ends with this.
pub struct Killed(pub Child);

impl Killed {
    /// Starts it, without an input.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("it starts"))
    }

    /// Burns CPU under the name of a virtual machine with this id.
    ///
    /// # Panics
    /// When there is no shell.
    #[must_use]
    pub fn machine(id: &str) -> Self {
        let mut command = bare("sh");
        command.arg0("/usr/libexec/qemu-kvm");
        command.args(["-c", "while :; do :; done", "-name", "guest=web", "-uuid", id]);
        Self::start(&mut command)
    }

    /// Its pid, as it stands in a snapshot.
    #[must_use]
    pub fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}
