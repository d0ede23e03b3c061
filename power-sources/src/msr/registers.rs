// SPDX-License-Identifier: Apache-2.0
//! The way to a register: owns the open files of `/dev/cpu/N/msr`, and knows no meaning of any number. Only ever reads.

use crate::files::Fault;
use attribution::model::ErrorReason;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Reads registers. A trait so that a table can be the test's machine.
pub(super) trait Registers: Send {
    /// The register `number` of a CPU.
    ///
    /// # Errors
    /// `Gone` where the CPU is offline or the driver is not loaded; `Io` where the CPU has no such register.
    fn read(&mut self, cpu: u32, number: u32) -> Result<u64, Fault>;
}

/// The kernel's driver `msr` (Linux, arch/x86/kernel/msr.c): 8 bytes at the offset that is the register's number.
pub(super) struct DevCpu {
    root: PathBuf,
    /// One for each CPU that is read, and that is one for each package or die: a CPU that fails loses its file.
    open: BTreeMap<u32, File>,
}

impl DevCpu {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self {
            root,
            open: BTreeMap::new(),
        }
    }

    fn try_read(&mut self, cpu: u32, number: u32, path: &PathBuf) -> io::Result<u64> {
        let mut bytes = [0_u8; 8];
        let file = match self.open.remove(&cpu) {
            Some(file) => file,
            None => File::open(path)?,
        };
        file.read_exact_at(&mut bytes, u64::from(number))?;
        self.open.insert(cpu, file);
        Ok(u64::from_le_bytes(bytes))
    }
}

impl Registers for DevCpu {
    fn read(&mut self, cpu: u32, number: u32) -> Result<u64, Fault> {
        let path = self.root.join(format!("{cpu}/msr"));
        self.try_read(cpu, number, &path)
            .map_err(|error| fault(&path, number, &error))
    }
}

fn fault(path: &std::path::Path, number: u32, error: &io::Error) -> Fault {
    let reason = Fault::io(path, error).reason;
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; needs root with CAP_SYS_RAWIO",
        io::ErrorKind::NotFound => "; try `modprobe msr`",
        _ if reason == ErrorReason::Gone => "; the CPU is offline",
        _ => "",
    };
    Fault {
        reason,
        words: format!("{} at {number:#x}: {error}{hint}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn registers_are_the_eight_bytes_at_their_number() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::create_dir(dir.path().join("3")).unwrap();
        let file = File::create(dir.path().join("3/msr")).unwrap();
        for (number, value) in [(0x606, 0xa0e03_u64), (0x611, 0x1234_5678_9abc_def0), (0x619, 7)] {
            file.write_all_at(&value.to_le_bytes(), number).unwrap();
        }
        let mut registers = DevCpu::new(dir.path().to_owned());
        assert_eq!(registers.read(3, 0x606), Ok(0xa0e03));
        assert_eq!(registers.read(3, 0x611), Ok(0x1234_5678_9abc_def0));
        assert_eq!(registers.read(3, 0x619), Ok(7));
        // The file stays open, and a read that fails gives it up.
        assert_eq!(registers.open.len(), 1);
        let beyond = registers.read(3, 0x619 + 1).unwrap_err();
        assert_eq!(beyond.reason, ErrorReason::Io);
        assert!(beyond.words.contains("3/msr at 0x61a: "), "{}", beyond.words);
        assert!(registers.open.is_empty());
        let gone = registers.read(4, 0x606).unwrap_err();
        assert_eq!(gone.reason, ErrorReason::Gone);
        assert!(gone.words.ends_with("; try `modprobe msr`"), "{}", gone.words);
    }

    #[test]
    fn failures_say_what_to_do() {
        let words = |number| {
            fault(
                Path::new("/dev/cpu/0/msr"),
                0x611,
                &io::Error::from_raw_os_error(number),
            )
        };
        let (denied, offline, none) = (words(1), words(6), words(5));
        assert!(
            denied.words.ends_with("; needs root with CAP_SYS_RAWIO"),
            "{}",
            denied.words
        );
        assert_eq!(offline.reason, ErrorReason::Gone);
        assert!(
            offline.words.ends_with("; the CPU is offline"),
            "{}",
            offline.words
        );
        assert_eq!(none.reason, ErrorReason::Io);
        assert!(
            none.words.starts_with("/dev/cpu/0/msr at 0x611: "),
            "{}",
            none.words
        );
    }
}
