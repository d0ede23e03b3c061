// SPDX-License-Identifier: Apache-2.0
//! The platform: what it uses beside its components, and who pays for both.

use super::devices::{GPUS, account, bill, gpu};
use super::*;

const BMC: SourceId = SourceId("redfish");
const MODEL: SourceId = SourceId("trained_power_model");
const MS: u64 = 1_000_000;

/// The node of the other tests with a platform meter that answers when a test says so, about moments of its own.
struct Rack {
    node: Node,
    /// Of each reading: zone, total, moment in milliseconds.
    bmc: Vec<(Zone, u64, u64)>,
    provenance: Provenance,
}

fn bmc(name: &str) -> Zone {
    Zone {
        component: Component::Platform,
        place: Place::Named(Arc::from(name)),
    }
}

fn other(name: &str) -> Zone {
    Zone {
        component: Component::Other,
        ..bmc(name)
    }
}

fn reading(zone: &Zone, total: u64, at: MonotonicNanos) -> ZoneReading {
    ZoneReading {
        zone: zone.clone(),
        total: Microjoules::from_micro(total),
        idle: None,
        provenance: Provenance::Integrated,
        at,
        device: None,
    }
}

impl Rack {
    fn new(settings: Settings) -> Self {
        let mut node = Node::new(settings);
        node.zones.pop();
        node.engine.expect_source(BMC);
        let mut rack = Self {
            node,
            bmc: vec![(bmc("rack"), 0, 1_000)],
            provenance: Provenance::Integrated,
        };
        rack.window(true);
        rack
    }

    /// The platform has used so much by so many milliseconds.
    fn platform(&mut self, total: u64, millis: u64) {
        self.bmc[0].1 = total;
        self.bmc[0].2 = millis;
    }

    fn window(&mut self, heard: bool) -> Snapshot {
        self.window_without(heard, None)
    }

    /// A window in which one zone of the other meter does not answer.
    fn window_without(&mut self, heard: bool, without: Option<usize>) -> Snapshot {
        self.node.open();
        let (usage, energy) = (self.node.usage_report(), self.node.energy_report(without));
        self.node.engine.on_identity(self.node.identity_report());
        self.node.engine.on_usage(usage);
        self.node.engine.on_energy(METER, energy);
        if heard {
            let at = |millis| MonotonicNanos::from_nanos(millis * MS);
            let zones = self.bmc.iter().map(|(zone, total, millis)| ZoneReading {
                provenance: self.provenance,
                ..reading(zone, *total, at(*millis))
            });
            let body = Energy {
                zones: zones.collect(),
                errors: Vec::new(),
            };
            let report = self.node.report(BMC.0, body);
            self.node.engine.on_energy(BMC, report);
        }
        self.node.close()
    }
}

fn joules(snapshot: &Snapshot, zone: &Zone) -> u64 {
    let account = account(snapshot, zone);
    (account.dynamic + account.idle).as_micro()
}

#[test]
fn what_is_left_of_the_platform_is_a_zone_and_a_shortfall_is_carried() {
    // tick   platform   packages and memory   left   paid so far
    //   2       1,000                   700    300           300
    //   3       1,000                 1,200   -200           300
    //   4       1,000                   900   +100           300   100 of 200 are made good
    //   5       1,000                   400   +600           800
    let mut rack = Rack::new(settings());
    let steps = [(700, 300), (1_200, 300), (900, 300), (400, 800)];
    for (tick, (others, paid)) in (2..).zip(steps) {
        rack.node.spend(0, others / 2);
        rack.node.spend(1, others / 4);
        rack.node.spend(2, others - others / 2 - others / 4);
        rack.platform(1_000 * (tick - 1), 1_000 * tick);
        let snapshot = rack.window(true);
        assert_eq!(joules(&snapshot, &other("rack")), paid, "tick {tick}");
        assert_eq!(joules(&snapshot, &bmc("rack")), 1_000 * (tick - 1));
    }
}

#[test]
fn a_slow_platform_is_met_at_its_own_moment_and_paid_by_all_that_was_charged_since() {
    // The packages use 100 a second in the first two seconds, 300 in the third and 100 in the fourth. The platform says in
    // the fourth what it had used half a second into the third: 100 + 100 + 150 are not its rest.
    let mut rack = Rack::new(settings());
    for (tick, (package, cgroup)) in (2..).zip([(100, 10), (100, 10), (300, 11)]) {
        rack.node.run(tick, cgroup, 0, 100 * MS);
        rack.node.spend(0, package);
        let snapshot = rack.window(true);
        assert_eq!(joules(&snapshot, &other("rack")), 0);
        assert!(
            account(&snapshot, &other("rack")).up,
            "it said again what it had said"
        );
    }
    rack.node.run(9, 12, 0, 100 * MS);
    rack.node.spend(0, 100);
    rack.platform(1_350, 3_500);
    let snapshot = rack.window(true);
    assert_eq!(joules(&snapshot, &other("rack")), 1_000);
    // In proportion to the packages' joules of all four windows: 2 and 3 in container a, 4 in b, 9 in a unit.
    let bill = |id| bill(&snapshot, id, &other("rack")).0;
    assert_eq!((bill("a"), bill("b"), bill("system")), (334, 500, 166));
    let zone = account(&snapshot, &other("rack"));
    assert_eq!(
        (zone.source, zone.provenance, zone.feature),
        (BMC, Provenance::Integrated, Feature::Energy)
    );
    assert_eq!(
        zone.power,
        Some(Microjoules::from_micro(1_000).mean_power(Duration::from_millis(2_500)))
    );
}

#[test]
fn a_component_that_comes_long_before_a_slow_platforms_next_reading_is_taken_out_from_its_first() {
    let mut rack = Rack::new(settings());
    let mut snapshot = Snapshot::default();
    for tick in 2..=200_u64 {
        rack.node.spend(0, 10);
        if tick == 20 {
            rack.node.zones.push((zone(Component::Dram, 1), 5_000));
        }
        if tick > 20 {
            rack.node.spend(3, 10);
        }
        rack.platform(15 * (tick - 1) + 1_800, 1_000 * tick);
        snapshot = rack.window(tick == 200);
    }
    // 4,785 of the platform, less 1,990 and 1,800.
    assert_eq!(joules(&snapshot, &other("rack")), 995);
}

/// Whatever is late, what the platform used is what its parts used: the rest comes to the truth.
#[test]
fn zones_that_are_late_by_turns_change_nothing_of_the_rest_in_the_end() {
    let mut rack = Rack::new(settings());
    let (mut before, mut last, mut truth) = (0, 0, 0);
    for tick in 2..=400_u64 {
        for (zone, micro) in [(0, tick * 7 % 31), (1, tick * 5 % 13), (2, 4)] {
            rack.node.spend(zone, micro * 1_000);
            truth += micro * 1_000;
        }
        truth += 50_000;
        rack.platform(truth, 1_000 * tick);
        let late = (tick < 390).then_some(usize::try_from(tick / 4 % 7).unwrap());
        let snapshot = rack.window_without(tick % 3 == 0 || tick >= 390, late);
        let Some(zone) = snapshot.zones.iter().find(|it| it.zone == other("rack")) else {
            continue;
        };
        last = (zone.dynamic + zone.idle).as_micro();
        assert!(last >= before);
        before = last;
    }
    let expected = 50_000 * 398;
    assert!(last.abs_diff(expected) <= 50_000 * 3, "{last} of {expected}");
}

#[test]
fn a_guess_beyond_the_last_reading_of_a_component_is_put_right_by_the_next() {
    // The platform's moments are 200 ms after the packages'. The package goes from 100 to 600 a second and back.
    let mut rack = Rack::new(settings());
    let mut package = 0;
    for tick in 2..20_u64 {
        let used = if tick == 10 { 600 } else { 100 };
        package += used;
        rack.node.spend(0, used);
        rack.platform(package + 100 * (tick - 1) + 20, 1_000 * tick + 200);
        rack.window(true);
    }
    rack.node.spend(0, 100);
    let last = rack.window(true);
    // 17 windows of 100 each since the first reading with a moment of its own, to within a guess.
    let paid = joules(&last, &other("rack"));
    assert!((1_700..=1_900).contains(&paid), "{paid}");
}

#[test]
fn the_energy_of_a_gpus_job_is_not_spread_over_those_who_use_the_cpu() {
    let mut rack = Rack::new(settings());
    rack.node.engine.expect_source(GPUS);
    let mut used = DeviceUse::default();
    let mut window = |rack: &mut Rack, micro, nanos| {
        used.users = vec![DeviceUser {
            pid: 1,
            used: DeviceNanos::from_nanos(nanos),
        }];
        let tick = rack.node.tick + 1;
        let reading = ZoneReading {
            device: Some(used.clone()),
            ..reading(&gpu(0), micro, MonotonicNanos::from_nanos(tick * 1_000 * MS))
        };
        rack.node.open();
        let body = Energy {
            zones: vec![reading],
            errors: Vec::new(),
        };
        let report = rack.node.report(GPUS.0, body);
        rack.node.engine.on_energy(GPUS, report);
        rack.node.tick -= 1;
        rack.window(true)
    };
    rack.node.run(1, 10, 0, 1);
    rack.platform(0, 2_000);
    window(&mut rack, 0, 0);
    // Process 1 has the GPU and a thousandth of the CPU, process 2 the CPU.
    rack.node.run(1, 10, 0, MS);
    rack.node.run(2, 11, 0, 999 * MS);
    rack.node.spend(0, 100);
    rack.platform(1_200, 3_000);
    let snapshot = window(&mut rack, 900, 800 * MS);
    assert_eq!(joules(&snapshot, &other("rack")), 200);
    let bills = |id| [other("rack"), bmc("rack")].map(|zone| bill(&snapshot, id, &zone).0);
    assert_eq!(bills("a"), [180, 1_080]);
    assert_eq!(bills("b"), [20, 120]);
}

#[test]
fn a_platform_alone_is_split_by_cpu_time_and_has_no_rest() {
    let mut rack = Rack::new(settings());
    rack.node.zones.clear();
    let mut rack = Rack {
        node: Node::new(settings()),
        ..rack
    };
    rack.node.zones.clear();
    rack.node.engine.expect_source(BMC);
    rack.window(true);
    rack.node.run(1, 10, 0, 300 * MS);
    rack.node.run(2, 11, 1, 100 * MS);
    rack.platform(400, 2_000);
    let snapshot = rack.window(true);
    assert_eq!(snapshot.zones.len(), 1);
    assert_eq!(bill(&snapshot, "a", &bmc("rack")).0, 300);
    assert_eq!(account(&snapshot, &bmc("rack")).feature, Feature::CpuTime);
}

#[test]
fn the_rest_goes_by_energy_or_by_cpu_time_or_stays_on_the_node() {
    let run = |other_rule, by_time_alone| {
        let split = SplitRules {
            other: other_rule,
            by_time_alone,
            ..SplitRules::default()
        };
        let mut rack = Rack::new(Settings { split, ..settings() });
        rack.node.run(1, 10, 0, 100 * MS);
        rack.node.run(2, 11, 1, 300 * MS);
        rack.node.spend(0, 900);
        rack.node.spend(1, 100);
        rack.platform(2_000, 2_000);
        let snapshot = rack.window(true);
        let zone = other("rack");
        let stays = account(&snapshot, &zone).unattributed.as_micro();
        [
            bill(&snapshot, "a", &zone).0,
            bill(&snapshot, "b", &zone).0,
            stays,
        ]
    };
    assert_eq!(run(OtherRule::Energy, false), [900, 100, 0]);
    assert_eq!(run(OtherRule::CpuTime, false), [250, 750, 0]);
    assert_eq!(run(OtherRule::Energy, true), [250, 750, 0]);
    assert_eq!(run(OtherRule::Node, false), [0, 0, 1_000]);
}

#[test]
fn what_nobody_was_charged_for_in_the_components_is_nobodys_in_the_rest() {
    let mut rack = Rack::new(settings());
    // Socket 1 used energy and nobody ran there.
    rack.node.run(1, 10, 0, 100 * MS);
    rack.node.spend(0, 100);
    rack.node.spend(1, 300);
    rack.platform(800, 2_000);
    let snapshot = rack.window(true);
    assert_eq!(bill(&snapshot, "a", &other("rack")).0, 100);
    assert_eq!(account(&snapshot, &other("rack")).unattributed.as_micro(), 300);
    // And it is so for its own window.
    rack.node.run(1, 10, 0, 100 * MS);
    rack.node.spend(0, 100);
    rack.platform(1_000, 3_000);
    let snapshot = rack.window(true);
    assert_eq!(account(&snapshot, &other("rack")).unattributed.as_micro(), 300);
    assert_eq!(bill(&snapshot, "a", &other("rack")).0, 200);
}

#[test]
fn of_several_platforms_the_one_that_holds_the_others_counts() {
    let mut rack = Rack::new(settings());
    rack.bmc = vec![(bmc("sled"), 0, 2_000), (bmc("rack"), 0, 2_000)];
    rack.node.zones.truncate(2);
    let mut last = None;
    for tick in 2..=5 {
        rack.node.spend(0, 100);
        rack.bmc[0] = (bmc("sled"), 300 * (tick - 1), 1_000 * tick);
        rack.bmc[1] = (bmc("rack"), 700 * (tick - 1), 1_000 * tick);
        last = Some(rack.window(true));
    }
    let last = last.expect("windows");
    let rests: Vec<_> = last
        .zones
        .iter()
        .filter(|zone| zone.zone.component == Component::Other)
        .collect();
    assert_eq!(rests.len(), 1);
    assert_eq!(rests[0].zone, other("rack"));
}

#[test]
fn what_one_platform_was_short_of_is_not_taken_out_of_another() {
    let mut rack = Rack::new(settings());
    for tick in 2..=11 {
        rack.node.spend(0, 400);
        rack.platform(100 * (tick - 1), 1_000 * tick);
        rack.window(true);
    }
    // It says no more, and another one does, a quarter of an hour later.
    rack.node.tick += 1_000;
    rack.bmc[0] = (bmc("sled"), 0, 0);
    for used in [0, 500, 1_000] {
        rack.node.spend(0, 400);
        rack.platform(used, 1_000 * (rack.node.tick + 1));
        rack.window(true);
    }
    let snapshot = rack.window(false);
    assert_eq!(joules(&snapshot, &other("sled")), 200);
}

/// Platforms that rose by so many microjoules in the last second, and the package by 400.
fn seconds(rack: &mut Rack, count: u64, platforms: &[(&str, u64)]) -> Snapshot {
    for (name, _) in platforms {
        if !rack.bmc.iter().any(|(zone, ..)| *zone == bmc(name)) {
            rack.bmc.push((bmc(name), 0, 0));
        }
    }
    let mut last = Snapshot::default();
    for _ in 0..count {
        rack.node.spend(0, 400);
        let now = 1_000 * (rack.node.tick + 1);
        for (zone, total, millis) in &mut rack.bmc {
            if let Some((_, rise)) = platforms.iter().find(|(name, _)| *zone == bmc(name)) {
                *total += rise;
                *millis = now;
            }
        }
        last = rack.window(true);
    }
    last
}

#[test]
fn a_platform_that_comes_later_counts_if_it_draws_more_and_each_has_a_rest_of_its_own() {
    let mut rack = Rack::new(settings());
    seconds(&mut rack, 5, &[("rack", 500)]);
    // A second meter of the same, a little above and below by turns, and a part of it: none takes its place.
    for turn in [600, 400, 600, 400] {
        seconds(
            &mut rack,
            1,
            &[("rack", 500), ("twin", 500 + turn - 600), ("part", 50)],
        );
    }
    let twins = seconds(&mut rack, 20, &[("rack", 500), ("twin", 700), ("part", 50)]);
    assert!(!twins.zones.iter().any(|zone| zone.zone == other("twin")));
    let before = joules(&twins, &other("rack"));
    // The one that holds them all.
    let last = seconds(&mut rack, 5, &[("rack", 500), ("twin", 500), ("whole", 900)]);
    // Its first window tells its power, its second begins its rest.
    assert_eq!(joules(&last, &other("whole")), 3 * 500 - 500);
    assert!(account(&last, &other("whole")).up && !account(&last, &other("rack")).up);
    assert_eq!(joules(&last, &other("rack")), before + 200);
    // It goes, and comes back.
    rack.node.tick += 1_000;
    let alone = seconds(&mut rack, 3, &[("rack", 500)]);
    assert!(account(&alone, &other("rack")).up);
    let first = seconds(&mut rack, 1, &[("rack", 500), ("whole", 900)]);
    let power = account(&first, &other("whole")).power;
    assert_ne!(
        power,
        Some(Microwatts::ZERO),
        "it stood still, and was not at 0 W"
    );
    let back = seconds(&mut rack, 2, &[("rack", 500), ("whole", 900)]);
    assert!(account(&back, &other("whole")).up);
    assert!(joules(&back, &other("rack")) >= joules(&alone, &other("rack")));
    assert!(joules(&back, &other("whole")) > joules(&last, &other("whole")));
}

#[test]
fn the_rest_of_a_platform_whose_meter_hangs_is_down_with_it_and_the_others_are_not() {
    let mut rack = Rack::new(settings());
    let up = |snapshot: &Snapshot| {
        let row = |zone: &Zone| {
            let account = account(snapshot, zone);
            (account.up, account.power.is_some())
        };
        [
            row(&bmc("rack")),
            row(&other("rack")),
            row(&zone(Component::Package, 0)),
        ]
    };
    let before = seconds(&mut rack, 5, &[("rack", 500)]);
    assert_eq!(up(&before), [(true, true); 3]);
    let mut hangs = before.clone();
    for _ in 0..10 {
        rack.node.spend(0, 100);
        hangs = rack.window(false);
    }
    assert_eq!(up(&hangs), [(false, false), (false, false), (true, true)]);
    for zone in [bmc("rack"), other("rack")] {
        assert_eq!(joules(&hangs, &zone), joules(&before, &zone));
    }
    let back = seconds(&mut rack, 2, &[("rack", 500)]);
    assert_eq!(up(&back), [(true, true); 3]);
}

#[test]
fn nobody_waits_for_the_rest_of_a_platform_that_does_not_count_any_more() {
    let mut rack = Rack::new(settings());
    let one = [("rack", 500)];
    let both = [("rack", 500), ("whole", 900)];
    seconds(&mut rack, 5, &one);
    let before = rack.node.engine.held().accounts;
    let mut last = Snapshot::default();
    for _ in 0..5 {
        rack.node.run(7, 10, 0, 1_000_000);
        last = seconds(&mut rack, 1, &both);
    }
    assert!(account(&last, &other("whole")).up);
    assert_eq!(account(&last, &other("rack")).power, None, "it stands still");
    rack.node.end(7);
    seconds(&mut rack, 2, &both);
    assert_eq!(rack.node.engine.held().accounts, before);
}

#[test]
fn a_platform_that_was_silent_for_long_and_is_the_only_one_is_paid_to_the_end() {
    let mut rack = Rack::new(settings());
    seconds(&mut rack, 3, &[("rack", 500)]);
    rack.node.tick += 1_000;
    seconds(&mut rack, 2, &[]);
    let last = seconds(&mut rack, 1, &[("rack", 10_000)]);
    // 2 seconds of 100 after the first reading, 10,000 less the three windows' packages.
    assert_eq!(joules(&last, &other("rack")), 3 * 100 + 10_000 - 3 * 400);
}

#[test]
fn a_platform_that_became_a_models_figure_does_not_count_any_more() {
    let mut rack = Rack::new(settings());
    seconds(&mut rack, 5, &[("rack", 500)]);
    rack.provenance = Provenance::Estimated {
        relative_error_p90: Permille(200),
    };
    let before = joules(&seconds(&mut rack, 1, &[("rack", 500)]), &other("rack"));
    let modelled = seconds(&mut rack, 5, &[("rack", 500)]);
    assert_eq!(joules(&modelled, &other("rack")), before);
    assert!(!account(&modelled, &other("rack")).up);
    rack.provenance = Provenance::Integrated;
    let again = seconds(&mut rack, 5, &[("rack", 500)]);
    assert_eq!(joules(&again, &other("rack")), before + 4 * 100);
}

#[test]
fn each_platforms_rest_has_a_floor_of_its_own() {
    let mut rack = Rack::new(Settings {
        floor: FloorPolicy::Measured,
        ..settings()
    });
    let first = seconds(&mut rack, 30, &[("rack", 500)]);
    assert!(account(&first, &other("rack")).floor.is_some());
    rack.node.tick += 1_000;
    let second = seconds(&mut rack, 3, &[("sled", 4_000_000)]);
    assert_eq!(
        account(&second, &other("sled")).floor,
        None,
        "nothing is known of it"
    );
    let learned = rack.node.engine.learned_floors();
    let zones: Vec<_> = learned.iter().map(|zone| zone.zone.as_str()).collect();
    assert!(
        zones.contains(&"other/rack") && !zones.contains(&"other/sled"),
        "{zones:?}"
    );
}

#[test]
fn what_an_estimate_was_taken_out_of_is_an_estimate_and_a_modelled_platform_has_no_rest() {
    let run = |dram, platform| {
        let mut rack = Rack::new(settings());
        rack.node.zones.truncate(1);
        let mut node = Node::new(settings());
        node.zones.truncate(1);
        node.engine.expect_source(MODEL);
        node.engine.expect_source(BMC);
        let mut last = None;
        for tick in 1..=3_u64 {
            node.spend(0, 100);
            node.open();
            let (usage, energy, now) = (node.usage_report(), node.energy_report(None), node.now());
            node.engine.on_usage(usage);
            node.engine.on_energy(METER, energy);
            let model = ZoneReading {
                provenance: dram,
                ..reading(&zone(Component::Dram, 0), 50 * tick, now)
            };
            let model = node.report(
                MODEL.0,
                Energy {
                    zones: vec![model],
                    errors: Vec::new(),
                },
            );
            node.engine.on_energy(MODEL, model);
            let whole = ZoneReading {
                provenance: platform,
                ..reading(&bmc("rack"), 250 * tick, now)
            };
            let whole = node.report(
                BMC.0,
                Energy {
                    zones: vec![whole],
                    errors: Vec::new(),
                },
            );
            node.engine.on_energy(BMC, whole);
            last = Some(node.close());
        }
        let last = last.expect("windows");
        let rest = last
            .zones
            .iter()
            .find(|zone| zone.zone.component == Component::Other);
        rest.map(|zone| {
            (
                zone.source,
                zone.provenance,
                (zone.dynamic + zone.idle).as_micro(),
            )
        })
    };
    let (counted, estimated) = (
        Provenance::Counted,
        Provenance::Estimated {
            relative_error_p90: Permille(300),
        },
    );
    assert_eq!(run(counted, counted), Some((BMC, Provenance::Integrated, 200)));
    // 300 of a thousand of 50 are not sure, of 100 that are left.
    let unsure = Provenance::Estimated {
        relative_error_p90: Permille(150),
    };
    assert_eq!(run(estimated, counted), Some((MODEL, unsure, 200)));
    assert_eq!(run(counted, estimated), None);
}

#[test]
fn what_is_derived_is_not_down_because_its_source_does_not_list_it() {
    let mut rack = Rack::new(settings());
    seconds(&mut rack, 2, &[("rack", 500)]);
    rack.node.open();
    let now = rack.node.now();
    let body = Energy {
        zones: vec![reading(&bmc("rack"), 2_000, now)],
        errors: Vec::new(),
    };
    let report = rack.node.report(BMC.0, body);
    rack.node.engine.on_energy(BMC, report);
    // Nobody tells who ran, so nothing is derived anew.
    assert!(account(&rack.node.close(), &other("rack")).up);
}

/// In the window in which siblings are believed the package was split by the usual weight, and so is the rest.
#[test]
fn what_siblings_weigh_is_the_same_for_all_zones_of_a_window() {
    let split = SplitRules {
        smt: SmtRule::Learned,
        other: OtherRule::CpuTime,
        ..SplitRules::default()
    };
    let mut rack = Rack::new(Settings { split, ..settings() });
    let (mut platform, mut before) = (0, [0; 2]);
    for window in 0..200_u64 {
        let (alone, beside) = (window * 61 % 97 * 10 * MS, window * 53 % 97 * 10 * MS);
        rack.node.run(1, 10, 0, alone);
        rack.node.run(2, 11, 0, beside);
        rack.node.happen(2, 11, 0, Event::SmtOverlap, beside);
        // 10 W alone, 7 W beside a sibling, and as much beside the package.
        let used = alone / 100 + beside * 7 / 1_000;
        rack.node.spend(0, used);
        platform += 2 * used;
        let now = 1_000 * (rack.node.tick + 1);
        rack.platform(platform, now);
        let snapshot = rack.window(true);
        let bills = [zone(Component::Package, 0), other("rack")].map(|zone| bill(&snapshot, "a", &zone).0);
        let [package, rest] = [bills[0] - before[0], bills[1] - before[1]];
        assert!(
            package.abs_diff(rest) <= 1 || window == 0,
            "window {window}: {package} and {rest}"
        );
        before = bills;
        if snapshot.smt_weight != Some(Permille(575)) {
            return;
        }
    }
    panic!("nothing was learned");
}
