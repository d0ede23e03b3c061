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

/// Process 1 and its container have left everything.
fn is_forgotten(work: &Workstation, snapshot: &Snapshot) {
    assert!(!knows(work, 1), "held for ever");
    let row = snapshot
        .containers
        .iter()
        .find(|row| row.key == ContainerKey::Container(ContainerId::new("a")));
    assert!(row.is_none(), "{row:?}");
}

#[test]
fn a_container_that_used_a_gpu_ends_also_when_the_gpus_source_is_gone() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    work.window(true);
    work.node.run(1, 10, 0, 1_000_000);
    work.window(false);
    work.node.end(1);
    let mut snapshot = Snapshot::default();
    for _ in 0..600 {
        snapshot = work.window(false);
    }
    is_forgotten(&work, &snapshot);
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
    is_forgotten(&work, &snapshot);
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
    // It has an account, and no place.
    work.node.run(20_000, 11, 0, 1_000_000);
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

#[test]
fn what_was_used_before_the_first_reading_is_nobodys_debt() {
    let mut work = Workstation::new(settings());
    work.node.run(1, 10, 0, 100_000_000);
    work.used(0, 1, 1_000 * SECOND);
    work.busy(0, 2_000 * SECOND);
    work.window(true);
    work.used(0, 1, SECOND);
    work.busy(0, SECOND);
    work.spend(0, 100);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (100, 0, SECOND));
    assert_eq!(account(&snapshot, &gpu(0)).unattributed, Microjoules::ZERO);
}

/// A window in which the report of usage is lost.
fn unheard(work: &mut Workstation) -> Snapshot {
    work.node.open();
    work.at = work.node.now();
    let energy = work.node.energy_report(None);
    work.node.engine.on_energy(METER, energy);
    work.node.engine.on_energy(GPUS, work.report());
    work.node.close()
}

#[test]
fn use_before_the_reading_from_which_energy_is_counted_is_forgiven() {
    let mut work = Workstation::new(settings());
    for (pid, cgroup) in [(1, 10), (2, 11)] {
        work.node.run(pid, cgroup, 0, 100_000_000);
    }
    unheard(&mut work);
    work.used(0, 2, SECOND);
    work.window(true);
    work.used(0, 1, SECOND / 10);
    work.spend(0, 100);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (100, 0, SECOND / 10));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (0, 0, 0));
}

#[test]
fn use_of_windows_without_usage_adds_up_until_it_is_paid() {
    let mut work = three_processes();
    work.busy(0, 0);
    work.window(true);
    work.used(0, 1, 300_000_000);
    work.busy(0, 600_000_000);
    work.spend(0, 600);
    unheard(&mut work);
    work.used(0, 1, 100_000_000);
    work.used(0, 2, 200_000_000);
    work.busy(0, 400_000_000);
    work.spend(0, 400);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (400, 0, 400_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (200, 0, 200_000_000));
    assert_eq!(account(&snapshot, &gpu(0)).unattributed.as_micro(), 400);
}

#[test]
fn a_pid_that_was_not_listed_begins_at_zero_also_when_it_used_more_than_before() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 100);
    work.window(true);
    work.gpus[0].1.users.clear();
    work.window(true);
    work.used(0, 1, 400_000_000);
    work.used(0, 2, 400_000_000);
    work.spend(0, 100);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (150, 0, 500_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (50, 0, 400_000_000));
}

#[test]
fn a_user_that_moves_within_a_window_pays_where_it_ran_most_and_stays_there_while_it_sleeps() {
    let mut work = three_processes();
    work.node.run(1, 10, 0, 50_000_000);
    work.node.run(1, 11, 0, 10_000_000);
    // A user that no probe knows, so that accounts are looked for in every window.
    for used in [100_000_000, 200_000_000] {
        work.used(0, 1, 100_000_000);
        work.used(0, 4_000, 0);
        work.spend(0, 10);
        let snapshot = work.window(true);
        assert_eq!(bill(&snapshot, "a", &gpu(0)), (used / 10_000_000, 0, used));
        assert_eq!(bill(&snapshot, "b", &gpu(0)), (0, 0, 0));
    }
}

#[test]
fn a_user_whose_newer_account_is_gone_pays_where_it_lives() {
    let mut work = three_processes();
    work.node.run(1, 11, 0, 10_000_000);
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    work.window(true);
    // It is in container a again, and sleeps.
    work.node
        .usage
        .retain(|(pid, cgroup, _), _| (*pid, *cgroup) != (1, 11));
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (10, 0, 100_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (10, 0, 100_000_000));
}

#[test]
fn who_is_on_a_gpu_and_does_not_use_it_has_no_equal_share_of_its_idle_energy() {
    let mut work = Workstation::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Gpu, Microwatts::from_micro(60))]),
        idle_share: IdleShare::Equal,
        ..settings()
    });
    for (pid, cgroup) in [(1, 10), (2, 11)] {
        work.node.run(pid, cgroup, 0, 100_000_000);
    }
    work.window(true);
    work.used(0, 1, 300_000_000);
    work.used(0, 2, 0);
    work.spend(0, 100);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (40, 60, 300_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (0, 0, 0));
}

#[test]
fn idle_energy_by_use_has_nobodys_part_too() {
    let mut work = Workstation::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Gpu, Microwatts::from_micro(400))]),
        idle_share: IdleShare::Usage,
        ..settings()
    });
    work.node.run(1, 10, 0, 100_000_000);
    work.busy(0, 0);
    work.window(true);
    work.busy(0, 800_000_000);
    work.used(0, 1, 200_000_000);
    work.spend(0, 800);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (100, 100, 200_000_000));
    assert_eq!(account(&snapshot, &gpu(0)).unreserved_idle.as_micro(), 300);
}

#[test]
fn users_that_add_up_to_more_than_the_time_do_not_hide_the_rest_that_follows() {
    let mut work = Workstation::new(measured());
    work.node.run(1, 10, 0, 100_000_000);
    work.window(true);
    for _ in 0..10 {
        // On engines of their own.
        work.used(0, 1, SECOND);
        work.used(0, 2, SECOND);
        work.spend(0, 300_000_000);
        work.window(true);
    }
    let mut snapshot = Snapshot::default();
    for _ in 0..5 {
        work.spend(0, 70_000_000);
        snapshot = work.window(true);
    }
    let floor = account(&snapshot, &gpu(0)).floor;
    assert_eq!(floor, Some(Microwatts::from_watts(70)));
}

#[test]
fn a_device_that_was_silent_once_teaches_again() {
    let mut work = Workstation::new(measured());
    work.busy(0, 0);
    work.window(true);
    silent(&mut work);
    let mut snapshot = Snapshot::default();
    for _ in 0..6 {
        work.spend(0, 70_000_000);
        snapshot = work.window(true);
    }
    let floor = account(&snapshot, &gpu(0)).floor;
    assert_eq!(floor, Some(Microwatts::from_watts(70)));
}

#[test]
fn the_last_use_of_a_process_that_is_gone_is_paid_by_it_and_what_comes_much_later_is_not() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.window(true);
    work.node.end(1);
    let mut paid = Vec::new();
    for _ in 0..5 {
        work.used(0, 1, 100_000_000);
        work.spend(0, 10);
        paid.push(bill(&work.window(true), "a", &gpu(0)).0);
    }
    // Ended, gone, gone; then it is nobody's.
    assert_eq!(paid, [10, 20, 30, 30, 30]);
}

#[test]
fn the_dead_that_are_remembered_for_a_late_device_are_bounded() {
    let mut work = three_processes();
    let one = work.node.usage[&(1, 10, 0)];
    for tgid in 10_000..27_000 {
        let dead = TaskUsage {
            task: Some(TaskKey { tgid, start_ticks: 0 }),
            ended: true,
            ..one
        };
        work.node.usage.insert((tgid, 10, 0), dead);
    }
    work.window(false);
    work.window(false);
    assert_eq!(work.node.engine.accounts.iter().count(), 16_384 + 3);
}

#[test]
fn a_total_that_breaks_its_word_and_falls_is_not_paid_twice() {
    let mut work = three_processes();
    work.spend(0, 100);
    work.window(true);
    work.gpus[0].0 -= 50;
    work.window(true);
    work.spend(0, 70);
    let snapshot = work.window(true);
    assert_eq!(account(&snapshot, &gpu(0)).dynamic.as_micro(), 120);
}

#[test]
fn a_container_that_comes_back_goes_on_with_its_use_of_a_gpu() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    work.window(true);
    work.node.end(1);
    work.gpus[0].1.users.clear();
    for _ in 0..200 {
        work.window(true);
    }
    work.node.run(9, 10, 0, 1_000_000);
    work.used(0, 9, 50_000_000);
    work.spend(0, 5);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (15, 0, 150_000_000));
}
