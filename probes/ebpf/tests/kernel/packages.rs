// SPDX-License-Identifier: Apache-2.0
//! CPUs that nobody told us of at the start, as those that come online later: they count to the package that the kernel
//! says. That is written down for each test, so that this machine has two, whatever it has. A CPU that is really plugged is
//! for machine.rs.

use crate::support::{Consumer, Drained, burner_on, machine, pause, permille, schedstat, settings, task_of};
use attribution::model::PackageId;
use probe_ebpf::Settings;
use std::fs;
use std::path::Path;

/// The first CPU is on package 0, and the last one on package 1.
pub(crate) struct Machine {
    first: u32,
    last: u32,
    folder: tempfile::TempDir,
}

impl Machine {
    /// `None`, with a word on stderr, where there is one CPU.
    pub(crate) fn of_two_packages() -> Option<Self> {
        let cpus = aya::util::online_cpus().unwrap();
        let [first, .., last] = cpus[..] else {
            eprintln!("skipped: needs two CPUs");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        for cpu in cpus {
            is_on(folder.path(), cpu, u32::from(cpu != first));
        }
        Some(Self { first, last, folder })
    }

    /// Lists the first CPU only.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            packages_of_cpu: vec![(self.first, PackageId(0))],
            cpus: self.folder.path().to_owned(),
            ..settings(16_384)
        }
    }
}

fn is_on(folder: &Path, cpu: u32, package: u32) {
    let topology = folder.join(format!("cpu{cpu}/topology"));
    fs::create_dir_all(&topology).unwrap();
    fs::write(topology.join("physical_package_id"), format!("{package}\n")).unwrap();
}

/// How often a package is unknown, of all that was lost.
pub(crate) fn unknown<P: Drained>(consumer: &Consumer<P>) -> u64 {
    let lost = consumer.usage.lost.iter();
    lost.filter(|lost| lost.reason == "unknown_package")
        .map(|lost| lost.count)
        .sum()
}

/// Who runs on the last CPU is charged on `package`.
pub(crate) fn the_last_cpu_is_on<P: Drained>(
    consumer: &mut Consumer<P>,
    machine: &Machine,
    package: PackageId,
) {
    let burner = burner_on(machine.last);
    let task = task_of(burner.pid());
    let mut read = || {
        pause(300);
        consumer.drain();
        let charged = |on: PackageId| consumer.charged(|name| name.0 == Some(task) && name.2 == on);
        (
            charged(package),
            consumer.charged_to(task),
            schedstat(burner.pid()),
        )
    };
    read();
    let (before, after) = (read(), read());
    let (there, all, truth) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    eprintln!("{there} ns on {package:?}, {all} ns in all, {truth} ns by the scheduler");
    assert_eq!(there, all, "and nothing on another");
    // The scheduler's figure is read after the drain; that the other accountant's is a tick old is the same each time.
    assert!((900..=1_100).contains(&permille(all, truth)), "{all} of {truth}");
}

fn a_cpu_counts_where_the_kernel_says<P: Drained>(mut consumer: Consumer<P>, machine: &Machine) {
    the_last_cpu_is_on(&mut consumer, machine, PackageId(1));
    let cpus: Vec<_> = consumer
        .usage
        .packages
        .iter()
        .map(|row| (row.package.0, row.cpus))
        .collect();
    let others = u32::try_from(aya::util::online_cpus().unwrap().len() - 1).unwrap();
    assert_eq!(cpus, [(0, 1), (1, others)]);
    assert_eq!(unknown(&consumer), 0);
}

#[test]
fn a_cpu_that_was_not_listed_counts_to_the_package_that_the_kernel_says() {
    let Some(_machine) = machine() else { return };
    let Some(machine) = Machine::of_two_packages() else {
        return;
    };
    let consumer = Consumer::with(&machine.settings());
    a_cpu_counts_where_the_kernel_says(consumer, &machine);
}

#[test]
fn a_cpu_that_was_not_listed_counts_to_the_package_that_the_kernel_says_by_the_scheduler() {
    let Some(_machine) = machine() else { return };
    let Some(machine) = Machine::of_two_packages() else {
        return;
    };
    let consumer = Consumer::with_scheduler(&machine.settings());
    a_cpu_counts_where_the_kernel_says(consumer, &machine);
}

/// Of two packages, where nobody says of the last CPU on which it is.
fn a_cpu_of_which_nobody_knows<P: Drained>(open: impl Fn(&Settings) -> Consumer<P>, machine: &Machine) {
    let mut settings = machine.settings();
    settings.packages_of_cpu.push((machine.last + 1, PackageId(1)));
    fs::remove_dir_all(machine.folder.path().join(format!("cpu{}", machine.last))).unwrap();
    let mut consumer = open(&settings);
    the_last_cpu_is_on(&mut consumer, machine, PackageId(0));
    assert_eq!(unknown(&consumer), 1, "named once");
}

#[test]
fn a_cpu_of_which_nobody_knows_the_package_is_named_and_counts_to_the_first() {
    let Some(_machine) = machine() else { return };
    let Some(machine) = Machine::of_two_packages() else {
        return;
    };
    a_cpu_of_which_nobody_knows(Consumer::with, &machine);
}

#[test]
fn a_cpu_of_which_nobody_knows_the_package_is_named_and_counts_to_the_first_by_the_scheduler() {
    let Some(_machine) = machine() else { return };
    let Some(machine) = Machine::of_two_packages() else {
        return;
    };
    a_cpu_of_which_nobody_knows(Consumer::with_scheduler, &machine);
}
