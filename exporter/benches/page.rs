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

mod node;

use attribution::model::MonotonicNanos;
use exporter::{BuildInfo, Context, Entrance, ExporterConfig, Page, Reloader, RenderSettings, Schema};
use node::Node;
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
const ROUNDS: u32 = 15;

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
    let node = Node::new(PROCESSES);
    println!(
        "{PROCESSES} processes, {} containers, {} pods, 100 units; 8 zones, 2 events\n",
        node.containers(),
        node.pods()
    );
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
