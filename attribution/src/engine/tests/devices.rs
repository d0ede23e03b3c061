// SPDX-License-Identifier: Apache-2.0
//! Devices: energy goes to who used that device, to nobody else, and to nobody where nobody is known.

use super::*;
use proptest::prelude::*;

pub(super) const GPUS: SourceId = SourceId("nvml");
pub(super) const SECOND: u64 = 1_000_000_000;

/// The node of the other tests with two GPUs, whose meter a test moves by hand.
pub(super) struct Workstation {
    pub(super) node: Node,
    pub(super) gpus: [(u64, DeviceUse); 2],
    /// When the meter was read last.
    pub(super) at: MonotonicNanos,
}

pub(super) fn gpu(index: usize) -> Zone {
    Zone {
        component: Component::Gpu,
        place: Place::Named(Arc::from(["GPU-a", "GPU-b"][index])),
    }
}

impl Workstation {
    pub(super) fn new(settings: Settings) -> Self {
        let mut node = Node::new(settings);
        node.engine.expect_source(GPUS);
        Self {
            node,
            gpus: Default::default(),
            at: MonotonicNanos::ZERO,
        }
    }

    /// `pid` used a GPU for `nanos`.
    pub(super) fn used(&mut self, index: usize, pid: u32, nanos: u64) {
        let users = &mut self.gpus[index].1.users;
        let step = DeviceNanos::from_nanos(nanos);
        match users.iter_mut().find(|user| user.pid == pid) {
            Some(user) => user.used += step,
            None => users.push(DeviceUser { pid, used: step }),
        }
    }

    /// A GPU counted `micro` microjoules.
    pub(super) fn spend(&mut self, index: usize, micro: u64) {
        self.gpus[index].0 += micro;
    }

    /// A GPU was in use for `nanos`, whoever it was.
    pub(super) fn busy(&mut self, index: usize, nanos: u64) {
        let busy = self.gpus[index].1.busy.get_or_insert(DeviceNanos::ZERO);
        *busy += DeviceNanos::from_nanos(nanos);
    }

    pub(super) fn report(&self) -> Report<Energy> {
        let zones = self
            .gpus
            .iter()
            .enumerate()
            .map(|(index, (total, used))| ZoneReading {
                zone: gpu(index),
                total: Microjoules::from_micro(*total),
                idle: None,
                provenance: Provenance::Counted,
                at: self.at,
                device: Some(used.clone()),
            });
        let body = Energy {
            zones: zones.collect(),
            errors: Vec::new(),
        };
        self.node.report(GPUS.0, body)
    }

    /// One window. `heard`: whether the report of the GPUs comes.
    pub(super) fn window(&mut self, heard: bool) -> Snapshot {
        self.node.open();
        self.at = self.node.now();
        let (usage, energy) = (self.node.usage_report(), self.node.energy_report(None));
        self.node.engine.on_identity(self.node.identity_report());
        self.node.engine.on_usage(usage);
        self.node.engine.on_energy(METER, energy);
        if heard {
            self.node.engine.on_energy(GPUS, self.report());
        }
        self.node.close()
    }
}

/// What zone `wanted` has, by container: dynamic, idle, used.
pub(super) fn bill(snapshot: &Snapshot, id: &str, wanted: &Zone) -> (u64, u64, u64) {
    let zone = snapshot.zones.iter().position(|zone| zone.zone == *wanted);
    let charge = zone.and_then(|zone| container(snapshot, id).charges.get(zone).copied());
    let charge = charge.unwrap_or_default();
    (
        charge.dynamic.as_micro(),
        charge.idle.as_micro(),
        charge.used.as_nanos(),
    )
}

pub(super) fn account<'a>(snapshot: &'a Snapshot, wanted: &Zone) -> &'a snapshot::ZoneAccount {
    let found = snapshot.zones.iter().find(|zone| zone.zone == *wanted);
    found.expect("no such zone")
}

/// Processes 1 in container a, 2 in container b, 3 in a unit; everybody runs on the CPU in every window.
pub(super) fn three_processes() -> Workstation {
    let mut work = Workstation::new(settings());
    for (pid, cgroup) in [(1, 10), (2, 11), (3, 12)] {
        work.node.run(pid, cgroup, 0, 100_000_000);
    }
    work.window(true);
    work
}

#[test]
fn each_gpu_is_paid_by_those_who_used_that_gpu_in_proportion_to_their_use() {
    let mut work = three_processes();
    for (pid, cgroup) in [(1, 10), (2, 11), (3, 12)] {
        work.node.run(pid, cgroup, 0, 100_000_000);
    }
    // GPU a: 3 : 1 between a and b. GPU b: b alone. Process 3 only has CPU time.
    work.used(0, 1, 600_000_000);
    work.used(0, 2, 200_000_000);
    work.used(1, 2, 500_000_000);
    work.spend(0, 400);
    work.spend(1, 50);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (300, 0, 600_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (100, 0, 200_000_000));
    assert_eq!(bill(&snapshot, "a", &gpu(1)), (0, 0, 0));
    assert_eq!(bill(&snapshot, "b", &gpu(1)), (50, 0, 500_000_000));
    assert_eq!(bill(&snapshot, "system", &gpu(0)), (0, 0, 0));
    assert_eq!(account(&snapshot, &gpu(0)).unattributed, Microjoules::ZERO);
}

#[test]
fn a_busy_gpu_without_a_known_user_is_unattributed_and_never_spread() {
    let mut work = three_processes();
    work.busy(0, 0);
    work.busy(1, 0);
    work.window(true);
    work.node.run(1, 10, 0, 900_000_000);
    // Busy for 800 ms, of which process 1 has 200 and a process that no probe knows has 200.
    work.busy(0, 800_000_000);
    work.used(0, 1, 200_000_000);
    work.used(0, 4_000, 200_000_000);
    work.spend(0, 800);
    // GPU b is busy with nobody at all.
    work.busy(1, 500_000_000);
    work.spend(1, 90);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (200, 0, 200_000_000));
    assert_eq!(account(&snapshot, &gpu(0)).unattributed.as_micro(), 600);
    assert_eq!(account(&snapshot, &gpu(1)).unattributed.as_micro(), 90);
    assert_eq!(bill(&snapshot, "b", &gpu(1)), (0, 0, 0));
}

#[test]
fn a_gpu_that_tells_no_use_is_nobodys() {
    let mut work = three_processes();
    let silent = |micro: u64, work: &mut Workstation| {
        work.node.run(1, 10, 0, 100_000_000);
        work.spend(0, micro);
        work.node.open();
        work.at = work.node.now();
        let mut report = work.report();
        report.body.zones.iter_mut().for_each(|zone| zone.device = None);
        work.node.engine.on_usage(work.node.usage_report());
        work.node.engine.on_energy(GPUS, report);
        work.node.close()
    };
    let snapshot = silent(500, &mut work);
    assert_eq!(account(&snapshot, &gpu(0)).unattributed.as_micro(), 500);
}

#[test]
fn the_idle_floor_of_a_gpu_is_learned_while_nobody_uses_it_and_is_idle_under_load() {
    let measured = Settings {
        floor: FloorPolicy::Measured,
        ..settings()
    };
    let mut work = Workstation::new(measured);
    work.node.run(1, 10, 0, 100_000_000);
    work.busy(0, 0);
    work.window(true);
    for _ in 0..10 {
        // The CPUs are busy all the time; the GPU is not.
        work.node.run(1, 10, 0, 4 * SECOND);
        work.spend(0, 70_000_000);
        work.window(true);
    }
    work.busy(0, SECOND);
    work.used(0, 1, SECOND);
    work.spend(0, 400_000_000);
    let snapshot = work.window(true);
    assert_eq!(
        account(&snapshot, &gpu(0)).floor,
        Some(Microwatts::from_watts(70)),
        "{:?}",
        account(&snapshot, &gpu(0))
    );
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (330_000_000, 0, SECOND));
    assert_eq!(
        account(&snapshot, &gpu(0)).unreserved_idle.as_micro(),
        770_000_000
    );
}

#[test]
fn equal_shares_of_a_gpus_idle_energy_go_to_its_users_only() {
    let mut work = Workstation::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Gpu, Microwatts::from_micro(60))]),
        idle_share: IdleShare::Equal,
        ..settings()
    });
    for (pid, cgroup) in [(1, 10), (2, 11), (3, 12)] {
        work.node.run(pid, cgroup, 0, 100_000_000);
    }
    work.window(true);
    work.used(0, 1, 300_000_000);
    work.used(0, 2, 100_000_000);
    work.spend(0, 100);
    work.spend(1, 50);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (30, 30, 300_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (10, 30, 100_000_000));
    assert_eq!(bill(&snapshot, "system", &gpu(0)), (0, 0, 0));
    assert_eq!(account(&snapshot, &gpu(1)).unreserved_idle.as_micro(), 50);
}

#[test]
fn a_process_that_died_while_the_gpus_report_was_late_is_paid_by_the_next_one() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 100);
    work.window(true);
    work.used(0, 1, 300_000_000);
    work.spend(0, 600);
    work.node.end(1);
    work.window(false);
    // The probe has forgotten it by now.
    work.window(false);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (700, 0, 400_000_000));
    // It is listed no more, and its account is forgotten.
    work.gpus[0].1.users.clear();
    work.window(true);
    work.window(true);
    let mut accounts = work.node.engine.accounts.iter();
    assert!(accounts.all(|(_, account)| account.task.is_none_or(|task| task.tgid != 1)));
}

#[test]
fn a_pid_that_comes_again_is_billed_to_the_new_process() {
    let mut work = three_processes();
    work.used(0, 1, 500_000_000);
    work.spend(0, 100);
    work.window(true);
    work.node.end(1);
    work.gpus[0].1.users.clear();
    work.window(true);
    // Pid 1 again, in container b this time, after less use than the first one had.
    work.node.run(1, 11, 0, 100_000_000);
    work.used(0, 1, 200_000_000);
    work.spend(0, 40);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (100, 0, 500_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (40, 0, 200_000_000));
}

#[test]
fn a_user_that_moved_pays_where_it_runs_now() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    work.window(true);
    work.node.run(1, 11, 0, 50_000_000);
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    let snapshot = work.window(true);
    assert_eq!(bill(&snapshot, "a", &gpu(0)), (10, 0, 100_000_000));
    assert_eq!(bill(&snapshot, "b", &gpu(0)), (10, 0, 100_000_000));
}

#[test]
fn a_reading_that_is_said_again_pays_nothing_and_grows_old() {
    let mut work = three_processes();
    work.used(0, 1, 100_000_000);
    work.spend(0, 10);
    let read_at = work.node.now().after(Duration::from_secs(1));
    work.window(true);
    for waits in 1..4_u64 {
        work.node.open();
        assert_eq!(work.at, read_at);
        work.node.engine.on_usage(work.node.usage_report());
        work.node.engine.on_energy(GPUS, work.report());
        let snapshot = work.node.close();
        assert_eq!(
            account(&snapshot, &gpu(0)).age,
            Duration::from_millis(800 + 1_000 * waits)
        );
        let source = snapshot.sources.iter().find(|source| source.source == GPUS);
        assert_eq!(
            source.and_then(|source| source.age),
            Some(account(&snapshot, &gpu(0)).age)
        );
        assert_eq!(bill(&snapshot, "a", &gpu(0)), (10, 0, 100_000_000));
    }
}

#[derive(Clone, Debug)]
struct Step {
    runs: Vec<(u32, u64)>,
    uses: Vec<(usize, u32, u64)>,
    spends: [u64; 2],
    busy: Option<(usize, u64)>,
    ends: Option<u32>,
    leaves: bool,
    heard: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop::collection::vec((1..6_u32, prop_oneof![Just(10_u64), Just(11), Just(12)]), 0..5),
        prop::collection::vec((0..2_usize, 1..8_u32, 0..SECOND), 0..5),
        [0..400_000_000_u64, 0..400_000_000_u64],
        prop::option::of((0..2_usize, 0..2 * SECOND)),
        prop::option::weighted(0.2, 1..6_u32),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.7),
    )
        .prop_map(|(runs, uses, spends, busy, ends, leaves, heard)| Step {
            runs,
            uses,
            spends,
            busy,
            ends,
            leaves,
            heard,
        })
}

proptest! {
    /// `close` checks conservation after each window.
    #[test]
    fn energy_of_gpus_is_conserved_and_no_total_falls_whoever_comes_leaves_or_is_unknown(
        steps in prop::collection::vec(step(), 1..30),
        share in prop::sample::select(vec![
            IdleShare::Reserved, IdleShare::Equal, IdleShare::Usage, IdleShare::Node,
        ]),
    ) {
        let mut work = Workstation::new(Settings {
            idle_share: share,
            floor: FloorPolicy::Measured,
            ..settings()
        });
        work.window(true);
        let mut spent = [0, 0];
        let mut before = Snapshot::default();
        for step in steps {
            step.runs.iter().for_each(|(pid, cgroup)| work.node.run(*pid, *cgroup, 0, 10_000_000));
            for (index, spend) in step.spends.iter().enumerate() {
                work.spend(index, *spend);
                spent[index] += spend;
            }
            step.uses.iter().for_each(|(index, pid, nanos)| work.used(*index, *pid, *nanos));
            if let Some((index, nanos)) = step.busy {
                work.busy(index, nanos);
            }
            if let Some(pid) = step.ends {
                work.node.end(pid);
            }
            if step.leaves {
                work.gpus[0].1.users.clear();
            }
            let snapshot = work.window(step.heard);
            if step.heard {
                for (index, spent) in spent.iter().enumerate() {
                    let zone = account(&snapshot, &gpu(index));
                    prop_assert_eq!((zone.dynamic + zone.idle).as_micro(), *spent);
                }
            }
            for row in &before.containers {
                let now = snapshot.containers.iter().find(|now| now.key == row.key);
                for (index, charge) in row.ledger.charges.iter().enumerate() {
                    let now = now.and_then(|now| now.ledger.charges.get(index)).copied().unwrap_or_default();
                    prop_assert!(now.dynamic >= charge.dynamic && now.idle >= charge.idle && now.used >= charge.used);
                }
            }
            before = snapshot;
        }
    }
}

#[test]
fn who_ran_before_a_zone_became_a_device_does_not_wait_for_its_bill() {
    let mut node = Node::new(settings());
    node.run(1, 10, 0, 1_000);
    node.window();
    node.run(1, 10, 0, 1_000);
    let late = |node: &mut Node, device: Option<DeviceUse>| {
        node.open();
        let (usage, identity, mut energy) = (
            node.usage_report(),
            node.identity_report(),
            node.energy_report(device.is_none().then_some(0)),
        );
        if let Some(reading) = energy.body.zones.first_mut().filter(|_| device.is_some()) {
            reading.device = device;
        }
        node.engine.on_usage(usage);
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        node.close()
    };
    late(&mut node, None);
    node.end(1);
    late(&mut node, None);
    late(&mut node, None);
    assert_eq!(node.engine.held().accounts, 1, "its zone is late");
    node.spend(0, 500);
    for _ in 0..4 {
        late(&mut node, Some(DeviceUse::default()));
    }
    assert_eq!(node.engine.held().accounts, 0);
    let snapshot = late(&mut node, Some(DeviceUse::default()));
    assert_eq!(snapshot.zones[0].unattributed.as_micro(), 500);
}

#[test]
fn zones_are_bounded_and_what_finds_no_room_is_counted() {
    let mut node = Node::new(settings());
    let room = meters::MOST - node.zones.len();
    node.engine.expect_source(GPUS);
    for (first, lost) in [(0, 0), (room, 3), (room, 6)] {
        let named = |number: usize| Zone {
            component: Component::Gpu,
            place: Place::Named(Arc::from(format!("GPU-{number}"))),
        };
        node.open();
        let now = node.now();
        let numbers = if first == 0 { 0..room } else { first..first + 3 };
        let zones = numbers.map(|number| ZoneReading {
            zone: named(number),
            total: Microjoules::ZERO,
            idle: None,
            provenance: Provenance::Counted,
            at: now,
            device: None,
        });
        let body = Energy {
            zones: zones.collect(),
            errors: Vec::new(),
        };
        let (energy, usage) = (node.energy_report(None), node.usage_report());
        node.engine.on_energy(METER, energy);
        node.engine.on_usage(usage);
        let report = node.report(GPUS.0, body);
        node.engine.on_energy(GPUS, report);
        let snapshot = node.close();
        assert!(snapshot.zones.len() <= meters::MOST + 1);
        let counted: u64 = snapshot.lost.iter().map(|lost| lost.count).sum();
        assert_eq!(counted, lost);
    }
}

/// It stands for its neighbours that sleep as it does, and what they pay is not its own although it gets a row by the GPU's
/// energy in the same window.
#[test]
fn a_sleeper_that_earns_a_row_by_a_gpu_does_not_pay_idle_energy_for_others_in_it() {
    let floor = FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(1_000_000))]);
    let mut work = Workstation::new(Settings { floor, ..settings() });
    work.node
        .reserve(Tenant::Container(ContainerId::new("a")), 4_000, 0);
    for pid in [1, 4, 5] {
        work.node.run(pid, 10, 0, 1_000_000);
    }
    work.used(0, 1, 0);
    work.window(true);
    work.used(0, 1, SECOND / 2);
    work.spend(0, 400);
    work.node.spend(0, 3_000);
    let snapshot = work.window(true);
    let rows: Vec<_> = snapshot.processes.iter().map(|row| &row.ledger).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(idle(rows[0]).iter().sum::<u64>(), 0);
    assert_eq!(idle(&snapshot.other_processes).first(), Some(&1_500));
}
