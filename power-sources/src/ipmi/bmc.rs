// SPDX-License-Identifier: Apache-2.0
//! The way to a management controller: owns the open device and one exchange at a time. Knows no command.

use ipmi_rs::File;
use ipmi_rs::connection::{IpmiConnection as _, LogicalUnit, Message, NetFn, Request, RequestTargetAddress};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A line to a controller.
pub(super) trait Bmc: Send {
    /// One question and its answer: completion code, then data.
    ///
    /// # Errors
    /// There was no answer to this question. The line must not be used again: a late answer would be taken for that of the
    /// next question.
    fn exchange(&mut self, netfn: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>>;
}

/// Opens lines. A trait so that a test can script a controller.
pub(super) trait Driver: Send {
    /// # Errors
    /// The kernel's.
    fn open(&self) -> io::Result<Box<dyn Bmc>>;
}

/// The kernel's driver `ipmi_devintf`.
pub(super) struct Device {
    pub(super) path: PathBuf,
    /// Longest wait for one answer.
    pub(super) patience: Duration,
}

impl Driver for Device {
    fn open(&self) -> io::Result<Box<dyn Bmc>> {
        Ok(Box::new(File::new(&self.path, self.patience)?))
    }
}

impl Bmc for File {
    fn exchange(&mut self, netfn: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>> {
        let message = Message::new_request(NetFn::from(netfn), command, data.to_vec());
        let target = RequestTargetAddress::Bmc(LogicalUnit::Zero);
        // Checks the number of the question that an answer is for.
        let response = self.send_recv(&mut Request::new(message, target))?;
        if (response.netfn_raw(), response.cmd()) != (netfn | 1, command) {
            return Err(io::Error::other("an answer to another command"));
        }
        let mut answer = vec![response.cc()];
        answer.extend_from_slice(response.data());
        Ok(answer)
    }
}
