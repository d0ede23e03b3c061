// SPDX-License-Identifier: Apache-2.0
//! Whatever is late, lost, reordered, dead or unknown: energy, CPU time and events are conserved and no total falls.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

/// What becomes of one report.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    InTime,
    AfterTheClose,
    Lost,
    TwiceAndOldOnceMore,
}

/// A slice of a process, or of softirqs under pid 0, with what was counted meanwhile.
#[derive(Clone, Debug)]
struct Slice {
    tgid: u32,
    cgroup: u64,
    socket: u16,
    nanos: u64,
    events: Vec<(usize, u64)>,
}

#[derive(Clone, Debug)]
struct Step {
    runs: Vec<Slice>,
    ends: Option<u32>,
    spends: Vec<(usize, u64)>,
    fates: [Fate; 3],
    missing_zone: Option<usize>,
    names: Option<u64>,
    /// Who has reserved how much from now on, where that changes.
    reserves: Option<(usize, Option<Reservation>)>,
    /// CPUs of the first socket, where that changes.
    cpus: Option<u32>,
    pause: u64,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::InTime),
        1 => Just(Fate::AfterTheClose),
        1 => Just(Fate::Lost),
        1 => Just(Fate::TwiceAndOldOnceMore),
    ]
}

fn slice() -> impl Strategy<Value = Slice> {
    let cgroup = prop_oneof![Just(1_u64), Just(10), Just(11), Just(12), 20..24_u64];
    let nanos = prop_oneof![4 => 0..900_000_000_u64, 1 => Just(0)];
    let events = prop::collection::vec((0..Event::COUNT, 0..5_000_u64), 0..3);
    (0..8_u32, cgroup, 0..2_u16, nanos, events).prop_map(|(tgid, cgroup, socket, nanos, events)| Slice {
        tgid,
        // Softirqs belong to no cgroup but the root.
        cgroup: if tgid == 0 { 1 } else { cgroup },
        socket,
        nanos,
        events,
    })
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop::collection::vec(slice(), 0..6),
        prop::option::of(1..8_u32),
        prop::collection::vec((0..4_usize, 0..200_000_000_u64), 0..5),
        [fate(), fate(), fate()],
        prop::option::weighted(0.2, 0..4_usize),
        prop::option::of(20..24_u64),
        (
            prop::option::of(reserves()),
            prop::option::weighted(0.1, 0..9_u32),
        ),
        prop_oneof![9 => Just(0_u64), 1 => 0..400_u64],
    )
        .prop_map(
            |(runs, ends, spends, fates, missing_zone, names, (reserves, cpus), pause)| Step {
                runs,
                ends,
                spends,
                fates,
                missing_zone,
                names,
                reserves,
                cpus,
                pause,
            },
        )
}

/// Containers that are there, late or never, and the machine that is process 5.
fn tenants() -> [Tenant; 6] {
    let container = |id: &str| Tenant::Container(ContainerId::new(id));
    let names = ["a", "b", "late20", "late21", "never"].map(container);
    let [a, b, late, later, never] = names;
    [a, b, late, later, never, Tenant::Vm(VmId::new("vm"))]
}

fn reserves() -> impl Strategy<Value = (usize, Option<Reservation>)> {
    let amount = || prop_oneof![Just(0), 1..12_000_u64, Just(u64::MAX)];
    let reservation = (amount(), amount()).prop_map(|(millicpus, memory)| Reservation { millicpus, memory });
    (0..tenants().len(), prop::option::weighted(0.9, reservation))
}

fn split() -> impl Strategy<Value = SplitRules> {
    let smt = prop_oneof![
        Just(SmtRule::Learned),
        (500..=1_000_u32).prop_map(|weight| SmtRule::Fixed(Permille(weight)))
    ];
    let other = prop_oneof![
        Just(OtherRule::Energy),
        Just(OtherRule::CpuTime),
        Just(OtherRule::Node)
    ];
    (any::<bool>(), smt, any::<bool>(), other).prop_map(|(by_time_alone, smt, learned, other)| SplitRules {
        by_time_alone,
        smt,
        learned,
        other,
    })
}

fn rules() -> impl Strategy<Value = Settings> {
    let floor = prop_oneof![
        Just(FloorPolicy::Measured),
        Just(FloorPolicy::BusyRatio),
        Just(FloorPolicy::None),
        Just(FloorPolicy::Fixed(vec![(
            Component::Package,
            Microwatts::from_watts(20)
        )])),
    ];
    let share = prop_oneof![
        Just(IdleShare::Reserved),
        Just(IdleShare::Equal),
        Just(IdleShare::Usage),
        Just(IdleShare::Node)
    ];
    (
        floor,
        share,
        0..4_usize,
        prop_oneof![Just(0), Just(3), Just(10_000_u64)],
        split(),
    )
        .prop_map(|(floor, idle_share, processes_max, keep, split)| Settings {
            floor,
            idle_share,
            split,
            processes_max,
            ended_keep: Duration::from_secs(keep),
        })
}

/// Lets one report meet its fate; what comes after the close is returned.
fn deliver<T: Clone>(fate: Fate, report: Report<T>, mut to: impl FnMut(Report<T>)) -> Option<Report<T>> {
    match fate {
        Fate::InTime => to(report),
        Fate::Lost => {}
        Fate::AfterTheClose => return Some(report),
        Fate::TwiceAndOldOnceMore => {
            let mut old = report.clone();
            old.tick = TickId(old.tick.0.saturating_sub(2));
            to(report.clone());
            to(report);
            to(old);
        }
    }
    None
}

fn drive(node: &mut Node, step: &Step) -> Snapshot {
    node.tick += step.pause;
    for slice in &step.runs {
        node.run(slice.tgid, slice.cgroup, slice.socket, slice.nanos);
        for (event, count) in &slice.events {
            node.happen(slice.tgid, slice.cgroup, slice.socket, Event::ALL[*event], *count);
        }
    }
    step.ends.into_iter().for_each(|tgid| node.end(tgid));
    step.spends
        .iter()
        .for_each(|(zone, micro)| node.spend(*zone, *micro));
    if let Some((tenant, reservation)) = step.reserves {
        let tenant = tenants()[tenant].clone();
        match reservation {
            Some(reservation) => node.owners.reserved.insert(tenant, reservation),
            None => node.owners.reserved.remove(&tenant),
        };
    }
    node.cpus[0] = step.cpus.unwrap_or(node.cpus[0]);
    if let Some(id) = step.names {
        let name = format!("late{id}");
        node.owners
            .cgroups
            .insert(CgroupId(id), owner("/docker/late", Some(&name), Some("q")));
    }
    node.open();
    let (usage, identity) = (node.usage_report(), node.identity_report());
    let energy = node.energy_report(step.missing_zone);
    let [usage_fate, identity_fate, energy_fate] = step.fates;
    let identity = deliver(identity_fate, identity, |report| node.engine.on_identity(report));
    let usage = deliver(usage_fate, usage, |report| node.engine.on_usage(report));
    let energy = deliver(energy_fate, energy, |report| node.engine.on_energy(METER, report));
    let snapshot = node.close();
    identity
        .into_iter()
        .for_each(|report| node.engine.on_identity(report));
    usage.into_iter().for_each(|report| node.engine.on_usage(report));
    energy
        .into_iter()
        .for_each(|report| node.engine.on_energy(METER, report));
    snapshot
}

/// Every counter that a snapshot exports, by a name.
fn counters(snapshot: &Snapshot) -> HashMap<String, u64> {
    let mut all = HashMap::new();
    let mut enter = |name: String, ledger: &Ledger| {
        all.insert(format!("{name} cpu"), ledger.cpu.as_nanos());
        for event in Event::ALL {
            all.insert(format!("{name} {}", event.name()), ledger.events.get(event));
        }
        for (zone, charge) in ledger.charges.iter().enumerate() {
            all.insert(format!("{name} {zone} dynamic"), charge.dynamic.as_micro());
            all.insert(format!("{name} {zone} idle"), charge.idle.as_micro());
        }
    };
    snapshot
        .containers
        .iter()
        .for_each(|row| enter(format!("{:?}", row.key), &row.ledger));
    snapshot
        .pods
        .iter()
        .for_each(|row| enter(format!("pod {}", row.key), &row.ledger));
    snapshot
        .vms
        .iter()
        .for_each(|row| enter(format!("vm {}", row.key), &row.ledger));
    snapshot
        .units
        .iter()
        .for_each(|row| enter(format!("{:?}", row.key), &row.ledger));
    snapshot
        .processes
        .iter()
        .for_each(|row| enter(format!("{:?}", row.task), &row.ledger));
    enter("other".to_owned(), &snapshot.other_processes);
    for zone in &snapshot.zones {
        all.insert(format!("{} dynamic", zone.zone), zone.dynamic.as_micro());
        all.insert(format!("{} idle", zone.zone), zone.idle.as_micro());
        all.insert(
            format!("{} unattributed", zone.zone),
            zone.unattributed.as_micro(),
        );
        all.insert(
            format!("{} unreserved", zone.zone),
            zone.unreserved_idle.as_micro(),
        );
    }
    all
}

/// Since when every row counts, by its name.
fn begins(snapshot: &Snapshot) -> Vec<(String, MonotonicNanos)> {
    let processes = snapshot.processes.iter();
    let mut all: Vec<_> = processes
        .map(|row| (format!("{:?}", row.task), row.began))
        .collect();
    let containers = snapshot.containers.iter();
    all.extend(containers.map(|row| (format!("{:?}", row.key), row.began)));
    let pods = snapshot.pods.iter();
    all.extend(pods.map(|row| (format!("pod {}", row.key), row.began)));
    let units = snapshot.units.iter();
    all.extend(units.map(|row| (format!("{:?}", row.key), row.began)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everything_is_conserved_and_no_counter_falls(
        rules in rules(),
        mut steps in prop::collection::vec(step(), 1..25),
    ) {
        // A machine's kernel thread is in its row and in the kernel's, and would be in both sums below.
        for slice in steps.iter_mut().flat_map(|step| &mut step.runs) {
            if slice.tgid == 5 && slice.cgroup == 1 {
                slice.cgroup = 12;
            }
        }
        let keeps_all = rules.ended_keep > Duration::from_secs(5_000);
        let mut node = Node::new(rules).with_memory(10_000);
        let task = TaskKey { tgid: 5, start_ticks: 0 };
        let machine = CgroupOwner { vm: Some(VmId::new("vm")), ..CgroupOwner::default() };
        node.owners.tasks.insert(task, Arc::new(machine));
        let first = node.window();
        let base: Vec<u64> = node.zones.iter().map(|(_, total)| *total).collect();
        let mut seen = counters(&first);
        let mut since: HashMap<String, MonotonicNanos> = begins(&first).into_iter().collect();
        for step in &steps {
            let snapshot = drive(&mut node, step);
            for (name, began) in begins(&snapshot) {
                prop_assert!(began < snapshot.window.ended, "{name}");
                let before = since.insert(name.clone(), began).unwrap_or(began);
                prop_assert!(began <= before, "{name} counts since {before:?} and then since {began:?}");
            }
            for (name, value) in counters(&snapshot) {
                let before = seen.insert(name.clone(), value).unwrap_or(0);
                prop_assert!(value >= before, "{name} fell from {before} to {value}");
            }
            if keeps_all {
                let system = snapshot.containers.iter().find(|row| row.key == ContainerKey::System);
                let system = system.map(|row| row.ledger.clone()).unwrap_or_default();
                // Outside of containers is what is in units and in machines, zone by zone.
                let mut parts = unit_total(&snapshot);
                snapshot.vms.iter().for_each(|row| parts.absorb(&row.ledger));
                prop_assert_eq!(parts, system);
                let [pods, inside] = pod_totals(&snapshot);
                prop_assert_eq!(pods, inside);
            }
        }
        // Two undisturbed windows later everything that the meters counted is paid, and all CPU time and events are booked.
        node.window();
        let last = node.window();
        for zone in &last.zones {
            let paid = (zone.dynamic + zone.idle).as_micro();
            match node.zones.iter().position(|(metered, _)| *metered == zone.zone) {
                Some(index) => prop_assert_eq!(paid, node.zones[index].1 - base[index], "{}", zone.zone),
                None => {
                    // No meter counts it, and it is never more than the platform.
                    prop_assert_eq!(zone.zone.component, Component::Other);
                    prop_assert!(paid <= node.zones[3].1);
                }
            }
        }
        let booked = last.containers.iter().map(|row| row.ledger.cpu).sum::<CpuNanos>() + last.retired.containers.cpu;
        prop_assert_eq!(booked.as_nanos(), node.busy.iter().sum::<u64>());
        let mut counted = last.retired.containers.events;
        last.containers.iter().for_each(|row| counted.absorb(&row.ledger.events));
        prop_assert_eq!(counted, node.happened);
        prop_assert_eq!(last.counted, node.counted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weights_that_were_learned_conserve_everything_like_any_other(
        rules in rules(),
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let split = SplitRules { by_time_alone: false, learned: true, ..rules.split };
        let mut node = Node::new(Settings { split, ..rules });
        node.window();
        let mut used = HashSet::new();
        features::spinner_and_streamer(&mut node, 60, |_, snapshot| {
            used.insert(snapshot.zones.first().map(|zone| zone.feature));
        });
        let is_floorless = matches!(node.engine.settings.floor, FloorPolicy::None);
        prop_assert!(!is_floorless || used.contains(&Some(Feature::Learned)));
        let mut seen = HashMap::new();
        // Conservation is checked at the close of each window.
        for step in &steps {
            let snapshot = drive(&mut node, step);
            for (name, value) in counters(&snapshot) {
                let before = seen.insert(name.clone(), value).unwrap_or(0);
                prop_assert!(value >= before, "{name} fell from {before} to {value}");
            }
        }
    }
}
