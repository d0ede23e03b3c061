// SPDX-License-Identifier: Apache-2.0
//! What a page costs, as a table: `make bench-exporter`. A node with 10,000 processes with rows, 1,000 containers and 500 pods at
//! every level, two sockets with four zones each.
//!
//! Times are of a wall clock, so of many rounds the fastest counts on a machine with other load. Memory is what the page's
//! making held at most at once beyond what was there before, by an allocator that counts. Served means a `HEAD` on a connection
//! that is kept, over the loopback: the whole answer but the body's way. Nothing here fails for being slow.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program that prints a table"
)]

use attribution::model::snapshot::{
    Charge, ContainerKey, GroupRow, Ledger, Names, ProcessRow, UnitKey, ZoneAccount,
};
use attribution::model::{
    CgroupId, CgroupOwner, Comm, Component, ContainerFacts, ContainerId, CpuNanos, Event, EventCounts,
    EventSet, Feature, FloorOrigin, Microjoules, Microwatts, MonotonicNanos, PackageId, Place, PodFacts,
    PodUid, Provenance, Section, Snapshot, SourceId, TaskKey, TaskKind, TickId, Zone,
};
use exporter::{BuildInfo, Context, Entrance, ExporterConfig, Page, Reloader, RenderSettings, Schema};
use peak_alloc::PeakAlloc;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const PROCESSES: u32 = 10_000;
const CONTAINERS: u32 = 1_000;
const PODS: u32 = 500;
const ROUNDS: u32 = 15;

fn zone(component: Component, socket: u16) -> ZoneAccount {
    let energy = Microjoules::from_micro(1_234_567_890_123);
    ZoneAccount {
        zone: Zone {
            component,
            place: Place::socket(PackageId(socket)),
        },
        source: SourceId("rapl-sysfs"),
        provenance: Provenance::Counted,
        dynamic: energy,
        idle: energy,
        unattributed: Microjoules::ZERO,
        unreserved_idle: energy,
        power: Some(Microwatts::from_watts(100)),
        floor: None,
        floor_origin: FloorOrigin::Measured,
        floor_error: None,
        feature: Feature::CpuTime,
        fit: None,
        age: Duration::from_millis(10),
        up: true,
    }
}

/// Figures that differ from row to row and from window to window.
fn ledger(row: u32, window: u32, idle: bool) -> Ledger {
    let micro = u64::from(row) * 7_919_001 + u64::from(window) * 1_000_003;
    let charge = Charge {
        dynamic: Microjoules::from_micro(micro),
        idle: Microjoules::from_micro(if idle { micro / 3 } else { 0 }),
        ..Charge::default()
    };
    let mut events = EventCounts::ZERO;
    events.add(Event::PageCacheHits, micro / 17);
    events.add(Event::NetRxIrqs, u64::from(row));
    Ledger {
        charges: vec![charge; 8],
        cpu: CpuNanos::from_nanos(micro * 31),
        events,
    }
}

struct Node {
    owners: Vec<Arc<CgroupOwner>>,
    containers: Vec<Arc<ContainerFacts>>,
    pods: Vec<Arc<PodFacts>>,
}

fn uid(pod: u32) -> PodUid {
    PodUid::new(&format!("5d2c5b0e-41a5-4c0d-9c0a-{pod:012x}"))
}

impl Node {
    fn new() -> Self {
        let owner = |number: u32| {
            Arc::new(CgroupOwner {
                path: format!("/kubepods.slice/cri-containerd-{number:064x}.scope"),
                container: Some(ContainerId::new(&format!("{number:064x}"))),
                runtime: "containerd",
                pod: Some(uid(number % PODS)),
                ..CgroupOwner::default()
            })
        };
        let container = |number| {
            Arc::new(ContainerFacts {
                name: format!("container-{number}"),
                image: None,
            })
        };
        let pod = |number| {
            Arc::new(PodFacts {
                name: format!("deployment-7d4b9c6f5-{number:05}"),
                namespace: format!("team-{}", number % 20),
                labels: vec![("app.kubernetes.io/name".into(), format!("app-{}", number % 50))],
                ..PodFacts::default()
            })
        };
        Self {
            owners: (0..CONTAINERS).map(owner).collect(),
            containers: (0..CONTAINERS).map(container).collect(),
            pods: (0..PODS).map(pod).collect(),
        }
    }

    fn names(&self, container: Option<u32>, pod: u32) -> Names {
        let at = |number: u32| usize::try_from(number).unwrap();
        Names {
            container: container.and_then(|number| self.containers.get(at(number)).cloned()),
            pod: self.pods.get(at(pod)).cloned(),
            ..Names::default()
        }
    }

    fn snapshot(&self, window: u32) -> Arc<Snapshot> {
        let components = [
            Component::Package,
            Component::Core,
            Component::Uncore,
            Component::Dram,
        ];
        let zones = [0, 1]
            .into_iter()
            .flat_map(|socket| components.map(|component| zone(component, socket)));
        let process = |pid: u32| ProcessRow {
            task: TaskKey {
                tgid: pid + 1,
                start_ticks: 1,
            },
            comm: Comm::from_bytes(format!("command-{}", pid % 300).as_bytes()),
            kind: TaskKind::User,
            cgroup: CgroupId(7),
            owner: self
                .owners
                .get(usize::try_from(pid % CONTAINERS).unwrap())
                .cloned(),
            ledger: ledger(pid, window, false),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let container = |number: u32| GroupRow {
            key: ContainerKey::Container(ContainerId::new(&format!("{number:064x}"))),
            owner: self.owners.get(usize::try_from(number).unwrap()).cloned(),
            names: self.names(Some(number), number % PODS),
            ledger: ledger(number, window, true),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let pod = |number: u32| GroupRow {
            key: uid(number),
            owner: None,
            names: self.names(None, number),
            ledger: ledger(number, window, true),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let unit = |number: u32| GroupRow {
            key: UnitKey {
                unit: format!("service-{number:03}.service"),
                slice: "system.slice".into(),
            },
            owner: None,
            names: Names::default(),
            ledger: ledger(number, window, false),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let end = MonotonicNanos::from_nanos(u64::from(window) * 1_000_000_000);
        Arc::new(Snapshot {
            tick: TickId(u64::from(window)),
            window: Section {
                began: end,
                ended: end,
            },
            zones: zones.collect(),
            counted: EventSet::NONE.with(Event::PageCacheHits).with(Event::NetRxIrqs),
            processes: (0..PROCESSES).map(process).collect(),
            containers: (0..CONTAINERS).map(container).collect(),
            pods: (0..PODS).map(pod).collect(),
            units: (0..100).map(unit).collect(),
            ..Snapshot::default()
        })
    }
}

/// The fastest of some rounds in milliseconds.
#[derive(Clone, Copy)]
struct Fastest(f64);

impl Fastest {
    fn take(&mut self, began: Instant) {
        self.0 = self.0.min(began.elapsed().as_secs_f64() * 1_000.0);
    }
}

fn settings(toml: &str, schemas: &[Schema]) -> Arc<RenderSettings> {
    let config = ExporterConfig {
        schemas: schemas.to_vec(),
        ..toml::from_str(toml).unwrap()
    };
    let build = BuildInfo::default();
    Arc::new(
        RenderSettings::new(&config, build)
            .with_start(Duration::from_secs(1_700_000_000), MonotonicNanos::ZERO),
    )
}

/// Writes one row of the first table.
fn render(name: &str, node: &Node, toml: &str, schemas: &[Schema], openmetrics: bool) {
    let settings = settings(toml, schemas);
    let (mut published, mut first, mut rendered) = (Fastest(f64::MAX), Fastest(f64::MAX), Fastest(f64::MAX));
    let (mut size, mut peak, mut samples) = (0, 0, 0);
    for window in 1..=ROUNDS {
        let snapshot = node.snapshot(window);
        let began = Instant::now();
        let page = Page::new(snapshot, Arc::clone(&settings));
        published.take(began);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let began = Instant::now();
        let pieces = if openmetrics {
            page.openmetrics()
        } else {
            page.text()
        };
        if window == 1 {
            first.take(began);
        } else {
            rendered.take(began);
            peak = peak.max(ALLOCATOR.peak_usage().saturating_sub(before));
        }
        size = pieces.iter().map(|piece| piece.len()).sum();
        samples = pieces
            .iter()
            .flat_map(|piece| piece.split(|byte| *byte == b'\n'))
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
            .count();
    }
    println!(
        "| {name} | {samples} | {:.1} MB | {:.2} ms | {:.1} ms | {:.1} ms | {:.0} ns | {:.2} |",
        size as f64 / 1e6,
        published.0,
        first.0,
        rendered.0,
        rendered.0 * 1e6 / samples as f64,
        peak as f64 / size as f64,
    );
}

static NOW: AtomicU64 = AtomicU64::new(0);

/// A server of one page on a thread of its own, as the daemon has it.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Server {
    fn start(page: Arc<Page>) -> Self {
        let entrance = Entrance::open(&toml::from_str("listen = '127.0.0.1:0'").unwrap()).unwrap();
        let address = entrance.addresses().first().unwrap().to_string().parse().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let context = Context {
                pages: watch::channel(page).1,
                now: || MonotonicNanos::from_nanos(NOW.load(Ordering::Relaxed)),
                tick: Duration::from_secs(1),
                reloader: Reloader::default(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let server = exporter::serve(entrance, context, async move { stopped.await.unwrap_or(()) });
            tokio::task::LocalSet::new().block_on(&runtime, server).unwrap();
        });
        Self {
            address,
            stop,
            thread,
        }
    }
}

/// Asks once and reads the whole answer; gives the size of its body.
fn ask(stream: &mut TcpStream, method: &str, headers: &str) -> usize {
    let request = format!("{method} /metrics HTTP/1.1\r\nHost: kepler\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 * 1024];
    let end = loop {
        let read = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(buffer.get(..read).unwrap());
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap()).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let length: usize = length.parse().unwrap();
    let mut left = if method == "HEAD" {
        0
    } else {
        length - (bytes.len() - end)
    };
    while left > 0 {
        left -= stream.read(&mut buffer).unwrap();
    }
    length
}

fn serve(node: &Node) {
    println!(
        "\n| encoding | bytes on the wire | first scrape | served from the cache | with its way over the loopback |"
    );
    println!("|---|---|---|---|---|");
    for (name, headers) in [
        ("none", ""),
        ("gzip", "Accept-Encoding: gzip\r\n"),
        ("zstd", "Accept-Encoding: zstd\r\n"),
    ] {
        let page = Arc::new(Page::new(node.snapshot(1), settings("", &[Schema::Kepler])));
        let server = Server::start(Arc::clone(&page));
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let began = Instant::now();
        ask(&mut stream, "HEAD", headers);
        let first = began.elapsed().as_secs_f64() * 1_000.0;
        let (mut cached, mut whole, mut size) = (Fastest(f64::MAX), Fastest(f64::MAX), 0);
        for _ in 0..100 {
            let began = Instant::now();
            size = ask(&mut stream, "HEAD", headers);
            cached.take(began);
            let began = Instant::now();
            ask(&mut stream, "GET", headers);
            whole.take(began);
        }
        println!(
            "| {name} | {size} | {first:.1} ms | {:.2} ms | {:.2} ms |",
            cached.0, whole.0
        );
        let renders = page.renders();
        assert_eq!(renders.text, 1, "rendered once for 201 scrapes");
        server.stop.send(()).unwrap();
        server.thread.join().unwrap();
    }
}

fn main() {
    let node = Node::new();
    println!("{PROCESSES} processes, {CONTAINERS} containers, {PODS} pods, 100 units; 8 zones, 2 events\n");
    println!(
        "| page | samples | text | published | first rendered | rendered | each sample | most memory, of the text |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    render("kepler", &node, "", &[Schema::Kepler], false);
    render("kepler, OpenMetrics", &node, "", &[Schema::Kepler], true);
    render("kepler-0.11", &node, "", &[Schema::Kepler011], false);
    render("both", &node, "", &[Schema::Kepler, Schema::Kepler011], false);
    let labelled = "pod_labels = ['app.kubernetes.io/name']\nnamespaces.deny = ['team-3']";
    render(
        "kepler, a namespace denied, a label of pods",
        &node,
        labelled,
        &[Schema::Kepler],
        false,
    );
    let by_command = "drop.process = ['pid', 'container_id', 'vm_id']";
    render(
        "kepler, processes by command",
        &node,
        by_command,
        &[Schema::Kepler],
        false,
    );
    serve(&node);
}
