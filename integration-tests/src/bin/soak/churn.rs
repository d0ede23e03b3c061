// SPDX-License-Identifier: Apache-2.0
//! Who comes and goes: processes, containers in cgroups as the kubelet makes them, and scrapers of every page.

use integration_tests::cgroup::{self, Cgroup};
use integration_tests::daemon::{bare, pause};
use integration_tests::http;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

const PAGES: [(&str, &str, &str); 6] = [
    ("/metrics", "text/plain", "identity"),
    ("/metrics", "application/openmetrics-text;version=1.0.0", "gzip"),
    ("/metrics", "text/plain", "zstd"),
    ("/api/v1/snapshot", "*/*", "identity"),
    ("/api/v1/history?level=container", "*/*", "gzip"),
    ("/", "text/html", "identity"),
];

/// How much of it there was.
#[derive(Default)]
struct Counts {
    processes: AtomicU64,
    containers: AtomicU64,
    scrapes: AtomicU64,
}

/// Threads that make it.
pub(crate) struct Churn {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// What it was, in words.
pub(crate) struct Told(Arc<Counts>);

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let Counts {
            processes,
            containers,
            scrapes,
        } = &*self.0;
        write!(
            formatter,
            "{} processes and {} containers came and went, {} scrapes of every page in every form",
            count(processes),
            count(containers),
            count(scrapes)
        )
    }
}

impl Churn {
    pub(crate) fn start(daemon: SocketAddr) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let mut threads = Vec::new();
        let mut thread = |mut step: Box<dyn FnMut(&Counts) + Send>| {
            let (halts, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            threads.push(std::thread::spawn(move || {
                while !halts.load(Ordering::Relaxed) {
                    step(&counts);
                    pause();
                }
            }));
        };
        thread(Box::new(processes));
        if cgroup::is_here() {
            let mut number = 0;
            thread(Box::new(move |counts| {
                number += 1;
                container(number, counts);
            }));
        }
        for page in 0..PAGES.len() {
            thread(Box::new(move |counts| scrape(daemon, page, counts)));
        }
        Self {
            stop,
            counts,
            threads,
        }
    }

    pub(crate) fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no step fails");
        }
        Told(self.counts)
    }
}

/// Ten that end at once, and one that works for some milliseconds.
fn processes(counts: &Counts) {
    let script = "for one in 1 2 3 4 5 6 7 8 9 10; do sh -c :; done; sleep 0.1";
    drop(bare("sh").args(["-c", script]).status());
    counts.processes.fetch_add(12, Ordering::Relaxed);
}

/// One of a pod of its own, with a process that ends soon.
fn container(number: u64, counts: &Counts) {
    let path = format!("kubepods/burstable/pod{number:08x}-50ac-4000-8000-000000000000/{number:064x}");
    let Ok(group) = Cgroup::create(&path) else { return };
    let script = format!("{}; for one in 1 2 3; do sh -c :; done; sleep 0.3", group.enter());
    drop(bare("sh").args(["-c", &script]).status());
    counts.containers.fetch_add(1, Ordering::Relaxed);
    counts.processes.fetch_add(5, Ordering::Relaxed);
}

fn scrape(daemon: SocketAddr, page: usize, counts: &Counts) {
    let Some((path, accept, encoding)) = PAGES.get(page) else {
        return;
    };
    let headers = [("Accept", *accept), ("Accept-Encoding", *encoding)];
    let answer = http::get(daemon, path, &headers).expect("the daemon answers");
    assert_eq!(answer.status, 200, "{path}");
    counts.scrapes.fetch_add(1, Ordering::Relaxed);
    for _ in 0..10 {
        pause();
    }
}
