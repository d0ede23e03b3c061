// SPDX-License-Identifier: Apache-2.0
//! Looks at one process: `/proc/PID/cmdline` and, where the command line is silent, `/proc/PID/exe`.

use super::command::{Command, Program, arguments, base_name};
use crate::procfs::ProcFs;
use attribution::model::{Comm, TaskKey};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The first read of a command line: one page, which tells a hypervisor from all others.
const FIRST: u64 = 4_096;

/// Most that is read of a hypervisor's. libvirt's longest, with hundreds of devices, have some 100 KiB, and begin with
/// the name.
const LIMIT: u64 = 256 * 1_024;

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A virtual machine, and the real user whose process it is, where that can be known.
    Machine(Command, Option<u32>),
    /// Something else.
    Other,
    /// Nothing: the process is gone, a zombie, or another one of the same pid.
    Gone,
    /// Nothing: it is not for us to look at.
    Refused,
}

impl From<io::Error> for Seen {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Refused,
            _ => Self::Gone,
        }
    }
}

/// Looks at processes below a proc mount.
#[derive(Debug)]
pub(super) struct Looker {
    root: PathBuf,
    proc: ProcFs,
    buffer: Vec<u8>,
}

impl Looker {
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            root: proc.to_owned(),
            proc: ProcFs::new(proc),
            buffer: Vec::new(),
        }
    }

    /// Looks at exactly this process. The start time of a machine's is read **after** its command line: if it is still
    /// ours then, the pid was ours all along.
    pub(super) fn look(&mut self, task: TaskKey, comm: Comm) -> Seen {
        let folder = self.root.join(task.tgid.to_string());
        let mut file = match File::open(folder.join("cmdline")) {
            Ok(file) => file,
            Err(error) => return error.into(),
        };
        match self.read(&mut file, FIRST) {
            Ok(0) => return Seen::Gone,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
        let Some(program) = self.program(&folder, comm) else {
            return Seen::Other;
        };
        let full = |buffer: &Vec<u8>| u64::try_from(buffer.len()).is_ok_and(|len| len >= LIMIT);
        if let Err(error) = self.more(&mut file) {
            return error.into();
        }
        let mut arguments = arguments(&self.buffer);
        if full(&self.buffer) {
            // Perhaps half of one.
            arguments.pop();
        }
        let command = program.parse(arguments.get(1..).unwrap_or_default());
        let user = self.proc.user(task.tgid).ok().flatten();
        match (command, self.proc.stat(task.tgid)) {
            (Some(command), Ok(Some(stat))) if stat.key() == task => Seen::Machine(command, user),
            (Some(_), _) => Seen::Gone,
            (None, _) => Seen::Other,
        }
    }

    /// The paths of all cgroups of a process; empty where it does not tell.
    pub(super) fn cgroups(&mut self, task: TaskKey) -> Vec<String> {
        let lines = self.proc.cgroups(task.tgid).ok().flatten().unwrap_or_default();
        lines.into_iter().map(|line| line.path).collect()
    }

    fn read(&mut self, file: &mut File, most: u64) -> io::Result<usize> {
        self.buffer.clear();
        file.take(most).read_to_end(&mut self.buffer)
    }

    fn more(&mut self, file: &mut File) -> io::Result<usize> {
        file.take(LIMIT - FIRST).read_to_end(&mut self.buffer)
    }

    /// The program by the name that it was started under, or its file. A process may call itself what it likes, so the file
    /// is asked too: `exec -a web qemu-system-x86_64`. The command name counts only where we may not see the file: that of a
    /// script is the script's (`kvm`, written in shell around the real one), and it runs no machine.
    fn program(&self, folder: &Path, comm: Comm) -> Option<Program> {
        let started = self.buffer.split(|byte| *byte == 0).next().unwrap_or_default();
        Program::of(base_name(started)).or_else(|| match fs::read_link(folder.join("exe")) {
            Ok(file) => {
                let file = file.as_os_str().as_bytes();
                // An upgrade replaces the file under a machine that runs on.
                Program::of(base_name(file.strip_suffix(b" (deleted)").unwrap_or(file)))
            }
            Err(_) => Program::of(comm.to_text().as_bytes()),
        })
    }
}
