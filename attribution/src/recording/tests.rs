// SPDX-License-Identifier: Apache-2.0
//! What is written comes back as it was; what is torn costs itself; what is hostile costs nothing.

use super::*;
use crate::engine::{Engine, FloorPolicy, IdleShare, Settings, SplitRules};
use crate::model::facts::SourceFacts;
use crate::model::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 4] = ["rapl-sysfs", "usage", "net_rx", ""];

fn name() -> impl Strategy<Value = &'static str> {
    (0..NAMES.len()).prop_map(|place| NAMES[place])
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé/-]{0,6}"
}

/// Few different ones, so that they come back in later reports; and some that go anywhere.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, 1_000_000..1_000_050_u64, any::<u64>()]
}

prop_compose! {
    fn row()(
        task in proptest::option::of((0..6_u32, 0..2_u64)),
        cgroup in 0..3_u64,
        package in 0..2_u16,
        cpu in number(),
        events in vec((0..Event::COUNT, number()), 0..4),
        comm in any::<[u8; 4]>(),
        kernel: bool,
        ended: bool,
    ) -> TaskUsage {
        let mut counts = EventCounts::ZERO;
        for (event, count) in events {
            counts = counts.with(Event::ALL[event], count);
        }
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&comm);
        bytes[15] = comm[0];
        TaskUsage {
            task: task.map(|(tgid, start_ticks)| TaskKey { tgid, start_ticks }),
            cgroup: CgroupId(cgroup),
            package: PackageId(package),
            cpu: CpuNanos::from_nanos(cpu),
            events: counts,
            comm: Comm(bytes),
            kind: if kernel { TaskKind::Kernel } else { TaskKind::User },
            ended,
        }
    }
}

prop_compose! {
    fn usage()(
        tasks in vec(row(), 0..12),
        cpus in vec((any::<u32>(), any::<u16>(), any::<bool>(), number(), number(), proptest::option::of(number())), 0..4),
        packages in vec((any::<u16>(), any::<u32>(), number(), number()), 0..3),
        softirqs in vec((any::<u16>(), name(), number(), number()), 0..3),
        lost in vec((name(), name(), number()), 0..3),
        counted in vec(0..Event::COUNT, 0..4),
    ) -> Usage {
        let nanos = CpuNanos::from_nanos;
        Usage {
            tasks,
            cpus: cpus.into_iter().map(|(cpu, package, online, busy, idle, steal)| CpuTime {
                cpu, package: PackageId(package), online, busy: nanos(busy), idle: nanos(idle), steal: steal.map(nanos),
            }).collect(),
            packages: packages.into_iter().map(|(package, cpus, busy, idle)| PackageTime {
                package: PackageId(package), cpus, busy: nanos(busy), idle: nanos(idle),
            }).collect(),
            softirqs: softirqs.into_iter().map(|(package, vector, count, time)| SoftirqTime {
                package: PackageId(package), vector, count, time: nanos(time),
            }).collect(),
            lost: lost.into_iter().map(|(probe, reason, count)| LostEvents { probe, reason, count }).collect(),
            counted: counted.into_iter().fold(EventSet::NONE, |set, event| set.with(Event::ALL[event])),
            ..Usage::default()
        }
    }
}

prop_compose! {
    fn owner()(
        path in text(), runtime in name(), unit in proptest::option::of(text()),
        ids in [proptest::option::of(text()), proptest::option::of(text()), proptest::option::of(text())],
        nested in vec(text(), 0..2), slice in proptest::option::of(text()),
    ) -> Arc<CgroupOwner> {
        let [container, pod, vm] = ids;
        Arc::new(CgroupOwner {
            path, runtime, unit, slice,
            container: container.as_deref().map(ContainerId::new),
            pod: pod.as_deref().map(PodUid::new),
            vm: vm.as_deref().map(VmId::new),
            nested: nested.iter().map(|id| ContainerId::new(id)).collect(),
        })
    }
}

prop_compose! {
    fn identity()(
        cgroups in btree_map(0..4_u64, owner(), 0..4),
        tasks in btree_map(0..4_u32, owner(), 0..3),
        containers in btree_map("[ab]", (text(), proptest::option::of(text())), 0..3),
        pods in btree_map("[ab]", (text(), proptest::option::of((text(), text())), vec((text(), text()), 0..2)), 0..3),
        vms in btree_map("[ab]", (text(), name()), 0..3),
        reserved in btree_map("[ab]", (any::<bool>(), number(), number()), 0..3),
        awaited in (vec("[ab]", 0..2), vec("[ab]", 0..2)),
        probes in vec((name(), any::<bool>(), text()), 0..2),
    ) -> Identity {
        Identity {
            cgroups: cgroups.into_iter().map(|(id, owner)| (CgroupId(id), owner)).collect(),
            tasks: tasks.into_iter().map(|(tgid, owner)| (TaskKey { tgid, start_ticks: 1 }, owner)).collect(),
            containers: containers.into_iter().map(|(id, (name, image))| (ContainerId::new(&id), Arc::new(ContainerFacts { name, image }))).collect(),
            pods: pods.into_iter().map(|(uid, (name, made_by, labels))| (PodUid::new(&uid), Arc::new(PodFacts {
                namespace: name.clone(), qos: name.clone(), name, made_by, labels,
            }))).collect(),
            vms: vms.into_iter().map(|(id, (name, hypervisor))| (VmId::new(&id), Arc::new(VmFacts { name, hypervisor }))).collect(),
            reserved: reserved.into_iter().map(|(id, (vm, millicpus, memory))| {
                let tenant = if vm { Tenant::Vm(VmId::new(&id)) } else { Tenant::Container(ContainerId::new(&id)) };
                (tenant, Reservation { millicpus, memory })
            }).collect(),
            awaited: Awaited {
                containers: awaited.0.iter().map(|id| ContainerId::new(id)).collect(),
                pods: awaited.1.iter().map(|id| PodUid::new(id)).collect(),
            },
            probes: probes.into_iter().map(|(probe, up, reason)| ProbeState { probe, up, reason }).collect(),
        }
    }
}

fn zone() -> impl Strategy<Value = Zone> {
    let place = prop_oneof![
        (0..2_u16).prop_map(|id| Place::socket(PackageId(id))),
        (0..2_u16).prop_map(|id| Place::Socket {
            package: PackageId(0),
            die: Some(id)
        }),
        text().prop_map(|name| Place::Named(Arc::from(name))),
    ];
    (0..Component::ALL.len(), place).prop_map(|(component, place)| Zone {
        component: Component::ALL[component],
        place,
    })
}

prop_compose! {
    fn reading()(
        zone in zone(), total in number(), idle in proptest::option::of(number()),
        provenance in prop_oneof![
            Just(Provenance::Counted),
            Just(Provenance::Integrated),
            any::<u32>().prop_map(|error| Provenance::Estimated { relative_error_p90: Permille(error) }),
        ],
        at in number(),
        device in proptest::option::of((proptest::option::of(number()), vec((any::<u32>(), number()), 0..3))),
    ) -> ZoneReading {
        ZoneReading {
            zone, provenance,
            total: Microjoules::from_micro(total),
            idle: idle.map(Microjoules::from_micro),
            at: MonotonicNanos::from_nanos(at),
            device: device.map(|(busy, users)| DeviceUse {
                busy: busy.map(DeviceNanos::from_nanos),
                users: users.into_iter().map(|(pid, used)| DeviceUser { pid, used: DeviceNanos::from_nanos(used) }).collect(),
            }),
        }
    }
}

prop_compose! {
    fn energy()(
        zones in vec(reading(), 0..4),
        errors in vec((proptest::option::of(zone()), 0..7_usize, number(), text()), 0..2),
    ) -> Energy {
        use ErrorReason::*;
        let reasons = [Io, Parse, Implausible, Timeout, Auth, Reset, Gone];
        Energy {
            zones,
            errors: errors.into_iter().map(|(zone, reason, count, latest)| SourceError {
                zone, reason: reasons[reason], count, latest: Arc::from(latest),
            }).collect(),
        }
    }
}

fn report<T>(body: T, head: (u64, u64, u64)) -> Report<T> {
    by("usage", body, head)
}

fn by<T>(reporter: &str, body: T, (tick, began, ended): (u64, u64, u64)) -> Report<T> {
    Report {
        tick: TickId(tick),
        reporter: ReporterId::new(reporter),
        section: Section {
            began: MonotonicNanos::from_nanos(began),
            ended: MonotonicNanos::from_nanos(ended),
        },
        body,
    }
}

fn head() -> impl Strategy<Value = (u64, u64, u64)> {
    (number(), number(), number())
}

fn beginning() -> Beginning {
    Beginning {
        program: "kepler 0.1.0".to_owned(),
        tick: Duration::from_secs(1),
        anonymous: false,
        settings: vec![("attribution.idle.share".to_owned(), "\"usage\"".to_owned())],
        state: vec![("floors".to_owned(), vec![0, 255])],
        facts: NodeFacts {
            memory: Some(1 << 34),
            selections: vec![Selection {
                key: "cpu",
                chosen: vec!["rapl".to_owned()],
                passed_over: vec![PassedOver {
                    name: "hwmon".to_owned(),
                    reason: "not needed".to_owned(),
                }],
            }],
            probes: vec![ProbeState {
                probe: "sched_switch",
                up: true,
                reason: String::new(),
            }],
            accounting: Accounting {
                chosen: "switch",
                reason: "cheaper".to_owned(),
            },
            sources: vec![SourceFacts {
                source: SourceId("rapl-sysfs"),
                components: vec![Component::Package, Component::Dram],
                detail: "/sys/class/powercap".to_owned(),
            }],
        },
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let moment = MonotonicNanos::from_nanos;
    prop_oneof![
        Just(Entry::Begin(Arc::new(beginning()))),
        name().prop_map(|name| Entry::Expect(ReporterId::new(name))),
        name().prop_map(|name| Entry::ExpectSource(SourceId(name))),
        head().prop_map(move |(tick, at, deadline)| Entry::Open {
            tick: TickId(tick),
            at: moment(at),
            deadline: moment(deadline)
        }),
        (usage(), head()).prop_map(|(usage, head)| Entry::Usage(report(Arc::new(usage), head))),
        (usage(), head()).prop_map(|(usage, head)| Entry::Usage(report(Arc::new(usage), head))),
        (identity(), head()).prop_map(|(body, head)| Entry::Identity(report(Arc::new(body), head))),
        (name(), energy(), head()).prop_map(|(name, body, head)| Entry::Energy {
            source: SourceId(name),
            report: report(body, head)
        }),
        (number(), vec((name(), number()), 0..2)).prop_map(move |(at, dropped)| Entry::Close {
            at: moment(at),
            dropped
        }),
        number().prop_map(|missing| Entry::Gap { missing }),
        number().prop_map(|nanos| Entry::Slept {
            total: Duration::from_nanos(nanos)
        }),
    ]
}

#[test]
fn what_says_the_same_again_is_written_once() {
    let tallies = |count| {
        Entry::Tallies(vec![Tally {
            probe: "resolver",
            what: "walks",
            kind: TallyKind::Done,
            count,
        }])
    };
    let describe = |detail: &str| Entry::Describe {
        source: SourceId("nvml"),
        detail: Arc::from(detail),
    };
    let said = [
        tallies(1),
        describe("a"),
        tallies(1),
        describe("a"),
        tallies(2),
        describe("b"),
        tallies(2),
    ];
    let heard = [tallies(1), describe("a"), tallies(2), describe("b")];
    let (entries, _) = read(&written(&said, said.len()));
    assert_eq!(all(&entries), all(&heard));
}

/// Every field of an entry, in an order of its own.
fn fields(entry: &Entry) -> String {
    fn sorted<T: std::fmt::Debug>(items: impl Iterator<Item = T>) -> Vec<String> {
        let mut lines: Vec<_> = items.map(|item| format!("{item:?}")).collect();
        lines.sort_unstable();
        lines
    }
    let Entry::Identity(report) = entry else {
        return format!("{entry:?}");
    };
    let Identity {
        cgroups,
        tasks,
        containers,
        pods,
        vms,
        reserved,
        awaited,
        probes,
    } = report.body.as_ref();
    let maps = [
        sorted(cgroups.iter()),
        sorted(tasks.iter()),
        sorted(containers.iter()),
        sorted(pods.iter()),
        sorted(vms.iter()),
        sorted(reserved.iter()),
        sorted(awaited.containers.iter()),
        sorted(awaited.pods.iter()),
    ];
    format!("{:?} {:?} {maps:?} {probes:?}", report.tick, report.section)
}

/// Bytes of a recording with one frame for every `frame` entries.
fn written(entries: &[Entry], frame: usize) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut bytes = Encoder::head();
    for entries in entries.chunks(frame) {
        for entry in entries {
            encoder.write(entry).expect("small enough");
        }
        encoder.finish_frame(&mut bytes).expect("small enough");
    }
    bytes
}

/// All entries, and how it ended.
fn read(bytes: &[u8]) -> (Vec<Entry>, Ending) {
    let mut reader = Reader::new(bytes).expect("a recording");
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().expect("memory has no errors") {
        entries.push(entry);
    }
    (entries, reader.ending().expect("the end"))
}

fn all(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(fields).collect()
}

/// A small recording with everything in it.
fn sample() -> Vec<Entry> {
    let task = |tgid, cpu| TaskUsage {
        task: Some(TaskKey { tgid, start_ticks: 7 }),
        cgroup: CgroupId(10),
        package: PackageId(0),
        cpu: CpuNanos::from_nanos(cpu),
        events: EventCounts::ZERO.with(Event::CpuCycles, cpu * 3),
        comm: Comm::from_bytes(b"work"),
        kind: TaskKind::User,
        ended: false,
    };
    let usage = |cpu| Usage {
        tasks: vec![task(1, cpu), task(2, 5)],
        counted: EventSet::NONE.with(Event::CpuCycles),
        ..Usage::default()
    };
    let mut owners = Identity::default();
    owners.cgroups.insert(
        CgroupId(10),
        Arc::new(CgroupOwner {
            path: "/system.slice/ssh.service".to_owned(),
            unit: Some("ssh.service".to_owned()),
            slice: Some("system.slice".to_owned()),
            ..CgroupOwner::default()
        }),
    );
    let owners = Arc::new(owners);
    let energy = |total, at| Energy {
        zones: vec![ZoneReading {
            zone: Zone {
                component: Component::Package,
                place: Place::socket(PackageId(0)),
            },
            total: Microjoules::from_micro(total),
            idle: None,
            provenance: Provenance::Counted,
            at: MonotonicNanos::from_nanos(at),
            device: None,
        }],
        errors: Vec::new(),
    };
    let mut entries = vec![
        Entry::Begin(Arc::new(beginning())),
        Entry::Expect(ReporterId::new("usage")),
        Entry::Expect(ReporterId::new("resolver")),
        Entry::ExpectSource(SourceId("rapl-sysfs")),
    ];
    for tick in 1..=3 {
        let at = tick * 1_000_000_000;
        let head = (tick, at + 10, at + 20);
        let moment = MonotonicNanos::from_nanos;
        entries.extend([
            Entry::Open {
                tick: TickId(tick),
                at: moment(at),
                deadline: moment(at + 800_000_000),
            },
            Entry::Usage(report(Arc::new(usage(tick * 1_000)), head)),
            Entry::Identity(by("resolver", Arc::clone(&owners), head)),
            Entry::Energy {
                source: SourceId("rapl-sysfs"),
                report: by("rapl-sysfs", energy(tick * 500, at + 10), head),
            },
            Entry::Close {
                at: moment(at + 30),
                dropped: vec![("attribution", 0)],
            },
        ]);
    }
    entries.push(Entry::End);
    entries
}

#[test]
fn a_window_in_which_nothing_changed_costs_few_bytes() {
    let rows = 1_000;
    let usage = |cpu: u64| {
        let row = |tgid| TaskUsage {
            task: Some(TaskKey { tgid, start_ticks: 7 }),
            cgroup: CgroupId(u64::from(tgid)),
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(if tgid < 10 { cpu } else { 5 }),
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(b"work"),
            kind: TaskKind::User,
            ended: false,
        };
        let tasks = (0..rows).map(row).collect();
        Entry::Usage(report(
            Arc::new(Usage {
                tasks,
                ..Usage::default()
            }),
            (1, 2, 3),
        ))
    };
    let size = |entries: &[Entry]| written(entries, 1).len();
    let (one, quiet) = (usage(1_000), usage(1_000));
    let busy = usage(11_000);
    let first = size(std::slice::from_ref(&one));
    assert!(first > 10_000, "{first}");
    // The frame, the head of the report, the length of each list, and "a thousand as they were".
    let second = size(&[one.clone(), quiet]) - first;
    assert!(second <= 24, "{second}");
    // Ten that ran: what they did, and for how long.
    let second = size(&[one, busy]) - first;
    assert!(second <= 24 + 10 * 5, "{second}");
}

#[test]
fn an_identity_that_is_the_same_is_the_same_when_it_is_read() {
    let (entries, ending) = read(&written(&sample(), 5));
    assert_eq!(ending, Ending::Complete);
    let identities: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Identity(report) => Some(&report.body),
            _ => None,
        })
        .collect();
    assert_eq!(identities.len(), 3);
    assert!(identities.windows(2).all(|two| Arc::ptr_eq(two[0], two[1])));
}

#[test]
fn a_file_cut_at_any_byte_gives_all_whole_frames_before_the_cut() {
    let entries = sample();
    let bytes = written(&entries, 5);
    let whole = all(&entries);
    let mut most = 0;
    for end in 0..bytes.len() {
        let Ok(mut reader) = Reader::new(&bytes[..end]) else {
            assert!(end < MAGIC.len() + 1);
            continue;
        };
        let mut got = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            got.push(fields(&entry));
        }
        assert_eq!(got, whole[..got.len()]);
        assert!(got.len() % 5 == 0 && got.len() >= most, "{end}: {}", got.len());
        most = got.len();
        let Some(Ending::Torn { used, lost, .. }) = reader.ending() else {
            panic!("{end}: {:?}", reader.ending());
        };
        assert_eq!(usize::try_from(used + lost).unwrap(), end);
    }
    // The last frame is whole with the last byte only.
    assert_eq!(most, whole.len() - 5);
}

#[test]
fn a_byte_that_was_changed_costs_its_frame_and_what_comes_after_it() {
    let entries = sample();
    let bytes = written(&entries, 5);
    let whole = all(&entries);
    for place in MAGIC.len() + 1..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x40;
        let (got, ending) = read(&wrong);
        assert_eq!(all(&got), whole[..got.len()]);
        assert!(matches!(ending, Ending::Torn { .. }), "{place}");
    }
}

#[test]
fn what_is_no_recording_or_a_newer_one_is_told_in_words() {
    let error = |bytes: &[u8]| Reader::new(bytes).expect_err("refused").to_string();
    assert_eq!(error(b""), "is no recording of `kepler record`");
    assert_eq!(
        error(b"tick = \"1s\"\n and more"),
        "is no recording of `kepler record`"
    );
    let mut newer = Encoder::head();
    *newer.last_mut().unwrap() = VERSION + 1;
    let words = error(&newer);
    assert!(
        words.contains("format 2") && words.contains("use the kepler that wrote it"),
        "{words}"
    );
}

#[test]
fn more_rows_than_a_recording_holds_are_refused_by_who_writes() {
    let Entry::Usage(first) = &sample()[5] else {
        panic!()
    };
    let tasks = vec![first.body.tasks[0]; usage::MOST_ROWS + 1];
    let entry = Entry::Usage(report(
        Arc::new(Usage {
            tasks,
            ..Usage::default()
        }),
        (1, 1, 1),
    ));
    assert_eq!(Encoder::new().write(&entry), Err(TooMuch));
}

#[test]
fn a_small_file_cannot_become_large_in_memory() {
    // A report of the most rows, out of one row that is named again and again.
    let mut out = wire::Out::default();
    out.byte(kind::USAGE);
    out.bytes.extend([0; 5]);
    out.count(usage::MOST_ROWS + 1);
    let mut bytes = Encoder::head();
    frame::wrap(&out.bytes, &mut bytes).unwrap();
    let (entries, ending) = read(&bytes);
    assert!(entries.is_empty());
    assert!(
        matches!(ending, Ending::Torn { why, .. } if why.contains("more rows")),
        "{ending:?}"
    );
}

#[test]
fn rows_that_are_named_in_three_bytes_cost_their_memory() {
    let Entry::Usage(one) = &sample()[5] else { panic!() };
    let tasks = vec![one.body.tasks[0]; 10_000];
    let one = 10_000 * size_of::<TaskUsage>();
    let usage = Usage {
        tasks,
        ..Usage::default()
    };
    let entry = Entry::Usage(report(Arc::new(usage), (1, 1, 1)));
    let fit = (64 << 20) / one;
    let reports = vec![entry; fit + 2];
    let (entries, ending) = read(&written(&reports, reports.len()));
    assert_eq!(entries.len(), fit, "what fits is used");
    assert!(
        matches!(ending, Ending::Torn { why, .. } if why.contains("more in one frame")),
        "{ending:?}"
    );
}

#[test]
fn what_comes_after_the_end_is_counted_and_not_used() {
    let mut bytes = written(
        &[
            Entry::Begin(Arc::new(beginning())),
            Entry::End,
            Entry::Gap { missing: 1 },
        ],
        3,
    );
    bytes.extend(b"more");
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    while reader.next_entry().unwrap().is_some() {}
    assert_eq!(
        (reader.ending(), reader.after_the_end()),
        (Some(Ending::Complete), 2 + 4)
    );
}

#[test]
fn no_name_is_left_in_an_anonymous_recording_and_the_same_name_stays_the_same() {
    let mut mask = Mask::new(RandomState::new());
    let masked: Vec<_> = sample().into_iter().map(|entry| mask.entry(entry)).collect();
    let bytes = written(&masked, 5);
    let text = String::from_utf8_lossy(&bytes);
    for name in ["work", "ssh", "system.slice", "powercap", "not needed", "cheaper"] {
        assert!(!text.contains(name), "{name}");
    }
    assert!(text.contains(".service") && text.contains("rapl-sysfs"));
    let comms: Vec<_> = masked
        .iter()
        .filter_map(|entry| match entry {
            Entry::Usage(report) => Some(report.body.tasks.iter().map(|row| row.comm)),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(comms.len() == 6 && comms.iter().all(|comm| *comm == comms[0]));
    let other = Mask::new(RandomState::new()).entry(sample().swap_remove(5));
    let Entry::Usage(other) = other else { panic!() };
    assert_ne!(
        other.body.tasks[0].comm, comms[0],
        "another recording, another key"
    );
    let Entry::Begin(beginning) = &masked[0] else {
        panic!()
    };
    assert!(beginning.anonymous);
}

/// A hash that shows what it was given, for the test of everything.
#[derive(Clone, Default)]
struct Sum(u64);

impl Hasher for Sum {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
    }
}

impl BuildHasher for Sum {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        self.clone()
    }
}

#[test]
fn every_name_of_an_identity_is_masked() {
    let secret = || "geheim".to_owned();
    let id = "geheim";
    let owner = CgroupOwner {
        path: secret(),
        container: Some(ContainerId::new(id)),
        runtime: "docker",
        nested: vec![ContainerId::new(id)],
        pod: Some(PodUid::new(id)),
        vm: Some(VmId::new(id)),
        unit: Some(secret()),
        slice: Some(secret()),
    };
    let mut identity = Identity::default();
    identity.cgroups.insert(CgroupId(1), Arc::new(owner.clone()));
    let task = TaskKey {
        tgid: 1,
        start_ticks: 1,
    };
    identity.tasks.insert(task, Arc::new(owner));
    identity.containers.insert(
        ContainerId::new(id),
        Arc::new(ContainerFacts {
            name: secret(),
            image: Some(secret()),
        }),
    );
    let pod = PodFacts {
        name: secret(),
        namespace: secret(),
        made_by: Some((secret(), secret())),
        qos: "Burstable".to_owned(),
        labels: vec![(secret(), secret())],
    };
    let ours = PodFacts {
        made_by: Some(("StatefulSet".to_owned(), secret())),
        ..pod.clone()
    };
    identity.pods.insert(PodUid::new(id), Arc::new(pod));
    identity.pods.insert(PodUid::new("other"), Arc::new(ours));
    let vm = VmFacts {
        name: secret(),
        hypervisor: "qemu",
    };
    identity.vms.insert(VmId::new(id), Arc::new(vm));
    for tenant in [Tenant::Vm(VmId::new(id)), Tenant::Container(ContainerId::new(id))] {
        identity.reserved.insert(tenant, Reservation::default());
    }
    identity.awaited.containers.insert(ContainerId::new(id));
    identity.awaited.pods.insert(PodUid::new(id));
    identity.probes.push(ProbeState {
        probe: "kubelet",
        up: false,
        reason: secret(),
    });
    let entry = Entry::Identity(report(Arc::new(identity), (1, 1, 1)));
    let masked = fields(&Mask::new(Sum::default()).entry(entry));
    assert!(!masked.contains("geheim"), "{masked}");
    assert!(masked.contains("docker") && masked.contains("qemu") && masked.contains("Burstable"));
    assert!(masked.contains("StatefulSet"), "{masked}");
}

#[test]
fn a_kernel_thread_keeps_its_name_where_nobody_elses_is_in_it() {
    let Entry::Usage(one) = &sample()[5] else { panic!() };
    let row = one.body.tasks[0];
    let masked = |name: &str| {
        let kernel = TaskUsage {
            comm: Comm::from_bytes(name.as_bytes()),
            kind: TaskKind::Kernel,
            ..row
        };
        let usage = Usage {
            tasks: vec![kernel],
            ..Usage::default()
        };
        let entry = Entry::Usage(report(Arc::new(usage), (1, 1, 1)));
        match Mask::new(Sum::default()).entry(entry) {
            Entry::Usage(report) => report.body.tasks[0].comm.to_text().to_string(),
            entry => panic!("{entry:?}"),
        }
    };
    for kept in [
        "kworker/0:1H",
        "ksoftirqd/3",
        "rcu_preempt",
        "kswapd0",
        "irq/24",
        "",
    ] {
        assert_eq!(masked(kept), kept);
    }
    assert_eq!(masked("kworker/R-geheim"), "kworker/R");
    assert_eq!(masked("irq/24-geheim"), "irq/24");
    for named in ["192.168.10.20-m", "drbd_r_geheim", "jbd2/sda-8", "kthreads_of_us"] {
        let hash = masked(named);
        assert!(
            hash.len() == 15 && hash.chars().all(|sign| sign.is_ascii_hexdigit()),
            "{named}: {hash}"
        );
    }
}

/// Every snapshot that an engine makes of these calls.
fn snapshots(entries: Vec<Entry>) -> Vec<String> {
    let settings = Settings {
        floor: FloorPolicy::Measured,
        idle_share: IdleShare::Usage,
        split: SplitRules::default(),
        processes_max: 3,
        ended_keep: Duration::from_secs(1),
    };
    let mut engine = Engine::new(settings, Arc::default());
    let closed = entries.into_iter().filter_map(|entry| engine.call(entry));
    closed.map(|closed| format!("{:?}", closed.snapshot)).collect()
}

#[test]
fn an_engine_makes_of_a_recording_what_it_made_of_the_calls() {
    let (entries, _) = read(&written(&sample(), 5));
    let made = snapshots(entries);
    assert_eq!(made.len(), 3);
    assert!(made[2].contains("Microjoules(1000)"), "{}", made[2]);
    assert_eq!(made, snapshots(sample()));
}

proptest! {
    #[test]
    fn what_is_written_comes_back(entries in vec(entry(), 0..12), frame in 1..5_usize) {
        // One description that repeats the one before is not written, and nobody misses it.
        let (got, ending) = read(&written(&entries, frame));
        prop_assert_eq!(all(&got), all(&entries));
        let torn_at_the_end = matches!(ending, Ending::Torn { lost: 0, why: "cut off", .. });
        prop_assert!(torn_at_the_end);
    }

    #[test]
    fn arbitrary_entries_in_a_frame_with_a_right_checksum_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let mut file = Encoder::head();
        frame::wrap(&bytes, &mut file).unwrap();
        read(&file);
    }

    #[test]
    fn mutated_entries_with_a_right_checksum_never_panic(
        entries in vec(entry(), 1..8), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut encoder = Encoder::new();
        let mut file = Vec::new();
        entries.iter().for_each(|entry| encoder.write(entry).unwrap());
        encoder.finish_frame(&mut file).unwrap();
        let mut bytes = file.split_off(8);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let mut file = Encoder::head();
        frame::wrap(&bytes, &mut file).unwrap();
        read(&file);
    }

    #[test]
    fn arbitrary_bytes_after_the_head_never_panic(bytes in vec(any::<u8>(), 0..100)) {
        read(&[Encoder::head(), bytes].concat());
    }

    #[test]
    fn the_same_identity_gives_the_same_bytes(identity in identity()) {
        let again = Identity { cgroups: identity.cgroups.clone().into_iter().collect(), ..identity.clone() };
        let entry = |identity| Entry::Identity(report(Arc::new(identity), (1, 1, 1)));
        prop_assert_eq!(written(&[entry(identity)], 1), written(&[entry(again)], 1));
    }
}
