// SPDX-License-Identifier: Apache-2.0
//! A server on its own thread, over a current-thread runtime as an actix arbiter has it, for the tests of this room.

use super::connections::serve_within;
use super::{Context, Entrance, Limits};
use crate::ExporterError;
use crate::config::Address;
use crate::page::Page;
use crate::sample;
use attribution::model::MonotonicNanos;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

/// One second after the sample's window closed.
pub(crate) fn soon_after() -> MonotonicNanos {
    sample::CLOSED.after(Duration::from_secs(1))
}

pub(crate) fn context(page: Arc<Page>, now: fn() -> MonotonicNanos) -> Context {
    Context {
        // Without its sender the channel keeps the last value.
        pages: watch::channel(page).1,
        now,
        tick: Duration::from_secs(1),
        reloader: super::Reloader::default(),
    }
}

/// A server on its own thread.
pub(crate) struct Server {
    /// Those of the network.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) page: Arc<Page>,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<Result<(), ExporterError>>,
    thread: Option<JoinHandle<()>>,
}

/// No test waits longer than this for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    pub(crate) fn start(page: Arc<Page>) -> Self {
        Self::start_within(Limits::default(), page)
    }

    pub(crate) fn start_within(limits: Limits, page: Arc<Page>) -> Self {
        Self::open(limits, page, &serde_json::json!({ "listen": "127.0.0.1:0" }))
    }

    /// With this `[exporter]` section.
    pub(crate) fn open(limits: Limits, page: Arc<Page>, config: &Value) -> Self {
        let config = serde_json::from_value(config.clone()).unwrap();
        let entrance = Entrance::open(&config).unwrap();
        let addresses = entrance
            .addresses()
            .into_iter()
            .filter_map(|address| match address {
                Address::Tcp(address) => Some(address),
                Address::Unix(_) => None,
            });
        let addresses = addresses.collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = mpsc::channel();
        let served = Arc::clone(&page);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let shutdown = async move {
                // This one cannot move between threads, like much that an arbiter waits for.
                let _not_send = std::rc::Rc::new(());
                stopped.await.unwrap_or(());
            };
            let server = serve_within(limits, entrance, context(served, soon_after), shutdown);
            end.send(LocalSet::new().block_on(&runtime, server)).unwrap();
        });
        Self {
            addresses,
            page,
            stop: Some(stop),
            ended,
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Status line and headers in lower case, and the body.
    pub(crate) fn ask(&self, request: &str, headers: &str) -> (String, Vec<u8>) {
        ask(self.connect(), request, headers)
    }

    /// A sample of what the doors count, by its whole name with labels.
    pub(crate) fn counted(&self, series: &str) -> u64 {
        let mut sheet = crate::text::writer::Sheet::new(crate::text::writer::Format::Text, None);
        self.page.observer().doors().write(&mut sheet);
        let text = String::from_utf8(sheet.into_pieces().concat()).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .parse()
            .unwrap()
    }

    /// Polls until that is counted.
    pub(crate) fn wait_for(&self, series: &str, at_least: u64) {
        let end = std::time::Instant::now() + PATIENCE;
        while self.counted(series) < at_least {
            assert!(
                std::time::Instant::now() < end,
                "{series} stays at {}",
                self.counted(series)
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn stop(mut self) -> Result<(), ExporterError> {
        self.stop.take().unwrap().send(()).unwrap();
        let ended = self
            .ended
            .recv_timeout(PATIENCE)
            .expect("the server stops in time");
        self.thread.take().unwrap().join().unwrap();
        ended
    }
}

/// Polls once, with nobody to wake.
pub(crate) async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

pub(crate) fn ask<S: Read + Write>(mut stream: S, request: &str, headers: &str) -> (String, Vec<u8>) {
    let head = format!("{request} HTTP/1.1\r\nHost: kepler\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    answer(stream)
}

pub(crate) fn answer<S: Read>(mut stream: S) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    (head, bytes[end + 4..].to_vec())
}
