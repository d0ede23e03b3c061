// SPDX-License-Identifier: Apache-2.0
//! The way to an event: owns `perf_event_open` and what a read of it says. Knows no scale and no zone.

use perf_event::events::Software;
use perf_event::{Builder, Counter};
use std::io;
use std::time::Duration;

/// What an open event says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Counts since it was opened. The driver makes 64 bits out of the hardware's 32, by a timer of its own.
    pub(super) value: u64,
    /// How long it has been counting. Stands still once its CPU is offline and the kernel has moved it nowhere.
    pub(super) running: Duration,
}

/// An open event.
pub(super) trait Event: Send {
    /// # Errors
    /// The kernel's.
    fn read(&mut self) -> io::Result<Count>;
}

/// Opens events. A trait so that a test can script what no machine does on demand: a CPU that goes offline.
pub(super) trait Kernel: Send {
    /// Opens an event of every process on one CPU; it counts at once.
    ///
    /// # Errors
    /// The kernel's.
    fn open(&self, kind: u32, config: u64, cpu: u32) -> io::Result<Box<dyn Event>>;
}

/// This machine's kernel.
pub(super) struct Perf;

impl Kernel for Perf {
    fn open(&self, kind: u32, config: u64, cpu: u32) -> io::Result<Box<dyn Event>> {
        let cpu = usize::try_from(cpu).map_err(io::Error::other)?;
        Ok(Box::new(builder(kind, config, cpu).build()?))
    }
}

/// What is asked of the kernel.
fn builder(kind: u32, config: u64, cpu: usize) -> Builder<'static> {
    // Any event: type and config are set below.
    let mut builder = Builder::new(Software::DUMMY);
    let attributes = builder.attrs_mut();
    attributes.type_ = kind;
    attributes.config = config;
    // The PMU refuses filters (PERF_PMU_CAP_NO_EXCLUDE): energy has no privilege level.
    builder
        .any_pid()
        .one_cpu(cpu)
        .include_kernel()
        .include_hv()
        .enabled(true);
    builder
}

impl Event for Counter {
    fn read(&mut self) -> io::Result<Count> {
        let data = self.read_full()?;
        let running = data.time_running();
        Ok(Count {
            value: data.count(),
            running: running.ok_or_else(|| io::Error::other("the kernel told no running time"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_for_the_event_as_it_is_without_any_filter() {
        let builder = builder(21, 2, 0);
        let attributes = builder.attrs();
        assert_eq!((attributes.type_, attributes.config), (21, 2));
        let filters = [
            attributes.exclude_kernel(),
            attributes.exclude_hv(),
            attributes.exclude_user(),
            attributes.exclude_idle(),
            attributes.disabled(),
        ];
        assert_eq!(filters, [0; 5]);
    }
}
