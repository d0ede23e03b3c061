// SPDX-License-Identifier: Apache-2.0
//! Devices in hard times: busy from the first second, gone, silent, full of ghosts.

use super::devices::*;
use super::*;

fn measured() -> Settings {
    Settings {
        floor: FloorPolicy::Measured,
        ..settings()
    }
}

/// A window in which the GPUs tell their energy, and not who used them.
fn silent(work: &mut Workstation) -> Snapshot {
    work.node.open();
    work.at = work.node.now();
    let mut report = work.report();
    report.body.zones.iter_mut().for_each(|zone| zone.device = None);
    work.node.engine.on_identity(work.node.identity_report());
    work.node.engine.on_usage(work.node.usage_report());
    work.node.engine.on_energy(GPUS, report);
    work.node.close()
}

/// Whether an account of this pid is still in memory.
fn knows(work: &Workstation, pid: u32) -> bool {
    let mut accounts = work.node.engine.accounts.iter();
    accounts.any(|(_, account)| account.task.is_some_and(|task| task.tgid == pid))
}

#[test]
fn a_gpu_that_was_busy_from_the_first_second_is_paid_by_who_used_it_and_not_called_idle() {
    let mut work = Workstation::new(measured());
    work.node.run(1, 10, 0, 100_000_000);
    work.busy(0, 0);
    work.window(true);
    let mut snapshot = Snapshot::default();
    for _ in 0..60 {
        work.node.run(1, 10, 0, 100_000_000);
        work.busy(0, SECOND);
        work.used(0, 1, SECOND);
        work.spend(0, 700_000_000);
        snapshot = work.window(true);
    }
    let (dynamic, ..) = bill(&snapshot, "a", &gpu(0));
    assert_eq!(dynamic, 60 * 700_000_000, "{:?}", account(&snapshot, &gpu(0)));
}

#[test]
fn a_gpu_that_does_a_little_all_the_time_does_not_make_a_floor_of_it() {
    let mut work = Workstation::new(measured());
    work.node.run(1, 10, 0, 100_000_000);
    work.busy(0, 0);
    work.window(true);
    let mut snapshot = Snapshot::default();
    for _ in 0..20 {
        work.busy(0, SECOND / 25);
        work.used(0, 1, SECOND / 25);
        work.spend(0, 200_000_000);
        snapshot = work.window(true);
    }
    assert_eq!(account(&snapshot, &gpu(0)).floor, None);
    assert_eq!(bill(&snapshot, "a", &gpu(0)).0, 20 * 8_000_000);
}

#[test]
fn a_window_whose_use_is_not_known_teaches_no_floor() {
    let mut work = Workstation::new(measured());
    work.node.run(1, 10, 0, 100_000_000);
    work.busy(0, 0);
    work.window(true);
    for _ in 0..10 {
        work.spend(0, 70_000_000);
        work.window(true);
    }
    // The driver does not answer who uses it.
    let mut snapshot = Snapshot::default();
    for _ in 0..10 {
        work.spend(0, 700_000_000);
        snapshot = silent(&mut work);
    }
    let zone = account(&snapshot, &gpu(0));
    assert_eq!(zone.floor, Some(Microwatts::from_watts(70)));
    assert_eq!(zone.unattributed.as_micro(), 10 * 630_000_000);
}

#[test]
fn a_gpu_of_which_no_use_was_ever_known_is_unattributed_and_not_idle() {
    let mut work = Workstation::new(measured());
    work.node.run(1, 10, 0, 100_000_000);
    silent(&mut work);
    let mut snapshot = Snapshot::default();
    for _ in 0..20 {
        work.spend(0, 30_000_000);
        snapshot = silent(&mut work);
    }
    assert_eq!(
        account(&snapshot, &gpu(0)).unattributed.as_micro(),
        20 * 30_000_000
    );
}

#[test]
fn a_container_that_used_a_gpu_ends_also_when_the_gpus_source_is_gone() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    work.window(true);
    work.node.end(1);
    let mut snapshot = Snapshot::default();
    for _ in 0..2 * 3_600 {
        snapshot = work.window(false);
    }
    assert!(!knows(&work, 1), "held for ever");
    let row = snapshot
        .containers
        .iter()
        .find(|row| row.key == ContainerKey::Container("a".into()));
    assert!(row.is_none(), "{row:?}");
}

#[test]
fn a_dead_process_that_the_driver_lists_for_ever_is_let_go() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    work.window(true);
    work.node.end(1);
    let mut snapshot = Snapshot::default();
    for _ in 0..400 {
        snapshot = work.window(true);
    }
    assert!(!knows(&work, 1), "held for ever");
    let row = snapshot
        .containers
        .iter()
        .find(|row| row.key == ContainerKey::Container("a".into()));
    assert!(row.is_none(), "{row:?}");
}

#[test]
fn a_device_that_begins_to_tell_who_used_it_brings_no_old_debts() {
    let mut work = Workstation::new(settings());
    for (pid, cgroup) in [(1, 10), (2, 11)] {
        work.node.run(pid, cgroup, 0, 100_000_000);
    }
    silent(&mut work);
    work.used(0, 1, 1_000 * SECOND);
    silent(&mut work);
    work.window(true);
    work.used(0, 2, SECOND);
    work.spend(0, 100);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (0, 0, 0));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (100, 0, SECOND));
}

#[test]
fn a_total_that_went_back_is_no_more_use_than_the_time_since() {
    let mut work = three_processes();
    work.used(0, 1, 1_000 * SECOND);
    work.window(true);
    // Two in one window: a total that fell a little, and an honest user of the whole second.
    work.gpus[0].1.users[0].used = DeviceNanos::from_nanos(999 * SECOND);
    work.used(0, 2, SECOND);
    work.spend(0, 100);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (50, 0, SECOND));
}

#[test]
fn users_beyond_the_bound_weigh_in_as_nobody_also_where_the_device_does_not_tell_how_busy_it_is() {
    let mut work = three_processes();
    for pid in 10_000..14_096 {
        work.used(0, pid, 0);
    }
    work.window(true);
    work.used(0, 20_000, 300_000_000);
    work.window(true);
    work.node.run(1, 10, 0, 1_000_000);
    work.used(0, 20_000, 300_000_000);
    work.used(0, 10_000, 100_000_000);
    work.node.run(10_000, 10, 0, 1_000_000);
    work.spend(0, 400);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)).0, 100);
    assert_eq!(account(&snapshot, &gpu(0)).unattributed.as_micro(), 300);
}

#[test]
fn a_process_that_lived_and_died_between_two_late_reports_of_the_gpu_is_paid() {
    let mut work = three_processes();
    work.node.run(9, 10, 0, 100_000_000);
    work.used(0, 9, 500_000_000);
    work.spend(0, 100);
    work.node.end(9);
    work.window(false);
    work.window(false);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (100, 0, 500_000_000));
}
