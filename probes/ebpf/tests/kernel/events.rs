// SPDX-License-Identifier: Apache-2.0
//! What is counted beside time: perf counters (software events stand in for a PMU), the overlap of hardware threads,
//! softirqs, pages of the page cache.

use crate::support::{
    Cgroup, Consumer, burner_on, guest, machine, nanos, pause, permille, pin, settings, storm_of, task_of,
};
use attribution::model::{Event, PackageId, TaskKey, TaskUsage};
use probe_ebpf::counters::{self, Counter};
use probe_ebpf::{PerfEvent, Probe, Settings};
use rustix::thread::disable_transparent_huge_pages;
use std::net::UdpSocket;
use std::time::Instant;

/// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_CPU_CLOCK`: nanoseconds of a CPU, counted by the kernel's perf core.
pub(crate) const CPU_CLOCK: PerfEvent = PerfEvent { kind: 1, config: 0 };
/// `PERF_COUNT_SW_PAGE_FAULTS`.
const PAGE_FAULTS: PerfEvent = PerfEvent { kind: 1, config: 2 };

fn sum(rows: &[TaskUsage], of: impl Fn(&TaskUsage) -> u64) -> u64 {
    rows.iter().map(of).sum()
}

/// Page faults of this process so far, by the kernel's own count (`minflt` and `majflt`, proc_pid_stat(5)).
fn own_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[7].parse::<u64>().unwrap() + fields[9].parse::<u64>().unwrap()
}

/// Touches fresh memory page by page. So much of it (32 MiB are glibc's DEFAULT_MMAP_THRESHOLD_MAX) is mapped for each call
/// and goes back at its end, so that the next call faults again.
fn fault() {
    let mut fresh = vec![0_u8; 33 << 20];
    for page in fresh.chunks_mut(4096) {
        page[0] = 1;
        std::hint::black_box(page);
    }
}

#[test]
fn a_perf_event_read_in_the_probe_is_counted_for_who_caused_it() {
    let Some(_machine) = machine() else { return };
    let stand_in = |event, source| Counter { event, source };
    // Before the first count, so that all of them are in it.
    let began = Instant::now();
    let mut consumer = Consumer::with(&Settings {
        counters: vec![
            stand_in(Event::CpuCycles, CPU_CLOCK),
            stand_in(Event::Instructions, PAGE_FAULTS),
        ],
        ..settings(16_384)
    });
    let state = state_of(&consumer.probe, "hw_counters");
    assert!(state.0, "{}", state.1);
    assert!(consumer.probe.entries() == 0);
    consumer.drain();
    let of = |consumer: &Consumer, event| {
        let rows: Vec<TaskUsage> = consumer.rows_of(task_of(std::process::id())).copied().collect();
        sum(&rows, |row| row.events.get(event))
    };
    // Or it is a fault for 512 pages.
    disable_transparent_huge_pages(true).unwrap();
    let (faults, counted) = (own_faults(), of(&consumer, Event::Instructions));
    // Somebody else on the same CPU, between whose slices ours are.
    let burner = burner_on(0);
    for _ in 0..10 {
        fault();
        pause(20);
        consumer.drain();
    }
    let elapsed = began.elapsed();
    drop(burner);
    let (faults, counted) = (
        own_faults() - faults,
        of(&consumer, Event::Instructions) - counted,
    );
    let ratio = counted * 10_000 / faults;
    eprintln!("{counted} of {faults} page faults");
    assert!(faults > 80_000, "{faults} page faults");
    assert!((9_950..=10_050).contains(&ratio), "{counted} of {faults}");

    let known = consumer.usage.counted;
    assert!(known.has(Event::CpuCycles) && known.has(Event::Instructions) && !known.has(Event::RefCycles));
    // The clock of a CPU runs on while the CPU is stolen, the scheduler's figures do not: it is no less than those, and no
    // more than all time that no CPU was idle.
    let whole = |of: &dyn Fn(&TaskUsage) -> u64| sum(&consumer.usage.tasks, of);
    let clock = u128::from(whole(&|row| row.events.get(Event::CpuCycles)));
    let charged = u128::from(whole(&|row| row.cpu.as_nanos()));
    let awake = consumer.usage.packages.iter().map(|package| {
        (elapsed.as_nanos() * u128::from(package.cpus)).saturating_sub(u128::from(package.idle.as_nanos()))
    });
    let awake = awake.sum::<u128>();
    eprintln!("all tasks: {clock} ns, charged {charged}, awake {awake}");
    assert!(clock * 1_000 >= charged * 980, "{clock} of {charged}");
    assert!(clock * 1_000 <= awake * 1_050, "{clock} of {awake}");
}

#[test]
fn the_dead_leave_the_hash_of_hardware_counts_too() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("counted");
    let mut consumer = Consumer::with(&Settings {
        counters: vec![Counter {
            event: Event::CpuCycles,
            source: CPU_CLOCK,
        }],
        ..settings(16_384)
    });
    let processes = storm_of(300);
    consumer.weather(&cgroup, processes);
    assert!(consumer.tasks_in(cgroup.id()) >= usize::try_from(processes).unwrap());
    let (counted, all) = (consumer.probe.hardware_entries(), consumer.probe.entries());
    eprintln!("{counted} rows of hardware counts, {all} of tasks");
    assert!(counted > 0 && counted <= all + 20, "{counted} of {all}");
    assert_eq!(consumer.lost(), []);
}

#[test]
fn counters_that_a_machine_lacks_are_absent_with_a_reason() {
    let Some(_machine) = machine() else { return };
    let mut consumer = Consumer::with(&Settings {
        counters: counters::GENERIC.to_vec(),
        ..settings(1_024)
    });
    consumer.drain();
    let (up, reason) = state_of(&consumer.probe, "hw_counters");
    for counter in counters::GENERIC {
        let counted = consumer.usage.counted.has(counter.event);
        let named = reason.contains(counter.event.name());
        assert!(counted != named, "{:?}: {reason}", counter.event);
    }
    assert_eq!(
        up,
        counters::GENERIC
            .iter()
            .any(|c| consumer.usage.counted.has(c.event))
    );
    eprintln!("hw_counters: {up} {reason}");
}

#[test]
fn time_beside_a_busy_sibling_is_overlap_and_time_alone_is_not() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    let [one, two, ..] = cpus[..] else {
        eprintln!("skipped: needs two CPUs");
        return;
    };
    pin(two);
    // Whatever they are, here they are taken for siblings.
    let mut consumer = Consumer::with(&Settings {
        siblings: vec![(one, two)],
        ..settings(16_384)
    });
    let burner = burner_on(one);
    let task = task_of(burner.pid());
    // A drain reads the rows before the CPUs, and runs on the sibling: so much of its busy time is missing in what is
    // measured of it. On a real machine that is less than a millisecond. An emulator translates what runs for the first
    // time, so the first drain may take 50 of them; there its own length is allowed.
    let late = |consumer: &Consumer<Probe>| {
        let drain = nanos(consumer.section.ended.since(consumer.section.began));
        if guest() { drain } else { 0 }
    };
    let measure = |consumer: &mut Consumer<Probe>| {
        consumer.drain();
        let late = late(consumer);
        let before = overlap(consumer, task);
        let other = busy_of(consumer, two);
        for _ in 0..10 {
            pause(150);
            consumer.drain();
        }
        let after = overlap(consumer, task);
        // Time, its overlap, and how long the sibling was busy.
        (
            after.0 - before.0,
            after.1 - before.1,
            busy_of(consumer, two) - other + late,
        )
    };
    pause(200);
    let (alone, overlapped, other) = measure(&mut consumer);
    eprintln!("alone: {overlapped} of {alone} ns overlap, the sibling was busy for {other} ns");
    assert!(overlapped <= other + 5_000_000, "{overlapped} ns of {other} ns");
    let sibling = burner_on(two);
    pause(200);
    let (both, overlapped, other) = measure(&mut consumer);
    drop(sibling);
    eprintln!("both: {overlapped} of {both} ns overlap, the sibling was busy for {other} ns");
    let ratio = permille(overlapped, both.min(other));
    assert!((950..=1_010).contains(&ratio), "{ratio} per mille");
    assert!(overlapped <= both);
}

fn overlap(consumer: &Consumer<Probe>, task: TaskKey) -> (u64, u64) {
    let rows: Vec<TaskUsage> = consumer.rows_of(task).copied().collect();
    (
        sum(&rows, |row| row.cpu.as_nanos()),
        sum(&rows, |row| row.events.get(Event::SmtOverlap)),
    )
}

fn busy_of(consumer: &Consumer<Probe>, cpu: u32) -> u64 {
    let row = consumer.usage.cpus.iter().find(|row| row.cpu == cpu);
    row.unwrap().busy.as_nanos()
}

fn softirq_row(consumer: &Consumer<Probe>) -> u64 {
    let rows: Vec<TaskUsage> = consumer.rows_of(TaskKey::SOFTIRQ).copied().collect();
    sum(&rows, |row| row.cpu.as_nanos())
}

fn softirq_time(consumer: &Consumer<Probe>) -> u64 {
    consumer
        .usage
        .softirqs
        .iter()
        .map(|row| row.time.as_nanos())
        .sum()
}

#[test]
fn softirqs_are_counted_by_vector_and_no_task_pays_their_time() {
    let Some(_machine) = machine() else { return };
    let mut consumer = Consumer::with(&Settings {
        softirqs: true,
        ..settings(16_384)
    });
    assert_eq!(state_of(&consumer.probe, "softirq"), (true, String::new()));
    consumer.drain();
    let (charged, busy) = (consumer.charged(|_| true), consumer.busy());
    let before = kernels_count("NET_RX");
    let first = net_rx(&consumer);
    let (rows_before, vectors_before) = (softirq_row(&consumer), softirq_time(&consumer));
    let late = |consumer: &Consumer<Probe>| nanos(consumer.section.ended.since(consumer.section.began));
    let late_before = late(&consumer);
    send_to_ourselves(20_000);
    consumer.drain();
    let (ours, kernels) = (net_rx(&consumer).0 - first.0, kernels_count("NET_RX") - before);
    eprintln!(
        "net_rx: {ours} here, {kernels} in /proc/softirqs, {} ns",
        net_rx(&consumer).1
    );
    assert!(ours >= 10_000, "{ours}");
    assert!(
        (980..=1_020).contains(&permille(ours, kernels)),
        "{ours} of {kernels}"
    );

    let row = consumer.rows_of(TaskKey::SOFTIRQ).copied().next().unwrap();
    assert_eq!(
        (row.package, row.comm.to_text().as_str()),
        (PackageId(0), "softirq")
    );
    // Rows are read a moment before vectors and CPUs, which is much of a tenth of a second when somebody else runs in it. What
    // a slice that still runs was interrupted for after its flush comes with the next drain. So it was at the drain before.
    let late = late(&consumer);
    let taken = softirq_row(&consumer) - rows_before;
    let all = softirq_time(&consumer) - vectors_before;
    eprintln!("softirqs: {taken} of {all} ns are in the row, which was read {late} ns before");
    assert!(
        taken + late >= all / 100 * 99 && taken <= all / 100 * 101 + late_before,
        "the row holds {taken} of {all} ns of softirqs"
    );
    // Rows, that one included, are the busy time: nothing is paid twice.
    let (charged, busy) = (consumer.charged(|_| true) - charged, consumer.busy() - busy);
    assert!(
        charged + late >= busy / 100 * 99 && charged <= busy / 100 * 101 + late_before,
        "rows hold {charged} of {busy} ns"
    );
    // Whoever was hit: this process for most of them, as loopback delivers on the sender's CPU.
    let hit = sum(&consumer.usage.tasks, |row| row.events.get(Event::NetRxIrqs));
    assert!(hit >= ours * 99 / 100, "{hit} of {ours} hit somebody");
    let us: Vec<TaskUsage> = consumer.rows_of(task_of(std::process::id())).copied().collect();
    assert!(sum(&us, |row| row.events.get(Event::NetRxIrqs)) >= ours / 2);
}

/// Count and time of softirqs for received packets.
fn net_rx(consumer: &Consumer<Probe>) -> (u64, u64) {
    let rows = consumer
        .usage
        .softirqs
        .iter()
        .filter(|row| row.vector == "net_rx");
    rows.fold((0, 0), |(count, time), row| {
        (count + row.count, time + row.time.as_nanos())
    })
}

/// A row of /proc/softirqs, all CPUs together.
fn kernels_count(vector: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/softirqs").unwrap();
    let row = text
        .lines()
        .find(|line| line.trim_start().starts_with(vector))
        .unwrap();
    let counts = row.split_whitespace().skip(1);
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

fn send_to_ourselves(packets: u32) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut byte = [0];
    for _ in 0..packets {
        sender.send_to(&byte, receiver.local_addr().unwrap()).unwrap();
        receiver.recv(&mut byte).unwrap();
    }
}

#[test]
fn pages_that_are_read_from_the_page_cache_are_counted_for_who_read_them() {
    let Some(_machine) = machine() else { return };
    let mut consumer = Consumer::with(&Settings {
        page_cache: true,
        ..settings(16_384)
    });
    let (up, reason) = state_of(&consumer.probe, "page_cache");
    if !up {
        // A kernel without trampolines cannot be hooked at a function.
        assert!(!reason.is_empty());
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("pages");
    std::fs::write(&file, vec![1_u8; 4 << 20]).unwrap();
    let us = task_of(std::process::id());
    consumer.drain();
    let pages = |consumer: &Consumer<Probe>| {
        let rows: Vec<TaskUsage> = consumer.rows_of(us).copied().collect();
        sum(&rows, |row| row.events.get(Event::PageCacheHits))
    };
    let before = pages(&consumer);
    for _ in 0..10 {
        assert_eq!(std::fs::read(&file).unwrap().len(), 4 << 20);
    }
    consumer.drain();
    let hits = pages(&consumer) - before;
    eprintln!("{hits} hits for 10 x 4 MiB");
    // Folios may be as large as the file system likes; each is marked at least once a pass.
    assert!(hits >= 10, "{hits}");
    assert!(consumer.usage.counted.has(Event::PageCacheHits));
}

#[test]
fn what_is_switched_off_says_so_and_is_not_counted() {
    let Some(_machine) = machine() else { return };
    let mut consumer = Consumer::with(&settings(1_024));
    pause(50);
    consumer.drain();
    for probe in ["softirq", "page_cache", "hw_counters"] {
        let (up, reason) = state_of(&consumer.probe, probe);
        assert!(!up && reason.contains("configuration"), "{probe}: {reason}");
    }
    let counted: Vec<Event> = consumer.usage.counted.iter().collect();
    assert_eq!(counted, [Event::Switches]);
    assert!(sum(&consumer.usage.tasks, |row| row.events.get(Event::Switches)) > 0);
}

fn state_of(probe: &Probe, name: &str) -> (bool, String) {
    let states = probe.states();
    let state = states.iter().find(|state| state.probe == name).unwrap();
    (state.up, state.reason.clone())
}
