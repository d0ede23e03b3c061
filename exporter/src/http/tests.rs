// SPDX-License-Identifier: Apache-2.0
//! Routes over a real loopback socket, on a current-thread runtime as an actix arbiter has it.

use super::connections::{Limits, serve_within};
use super::routes::respond;
use super::{Context, bind};
use crate::ExporterError;
use crate::forms::Renders;
use crate::page::Page;
use crate::sample;
use attribution::model::{MonotonicNanos, Snapshot};
use flate2::read::GzDecoder;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use warp::http::{HeaderMap, Method, StatusCode};

/// One second after the sample's window closed.
fn soon_after() -> MonotonicNanos {
    sample::CLOSED.after(Duration::from_secs(1))
}

fn exactly_three_ticks_after() -> MonotonicNanos {
    sample::CLOSED.after(Duration::from_secs(3))
}

fn long_after() -> MonotonicNanos {
    sample::CLOSED.after(Duration::from_millis(4_200))
}

fn context(page: Arc<Page>, now: fn() -> MonotonicNanos) -> Context {
    Context {
        // Without its sender the channel keeps the last value.
        pages: watch::channel(page).1,
        now,
        tick: Duration::from_secs(1),
        reloader: super::Reloader::default(),
    }
}

/// A server on its own thread.
struct Server {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<Result<(), ExporterError>>,
    thread: Option<JoinHandle<()>>,
}

/// No test waits longer than this for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    fn start(page: Arc<Page>) -> Self {
        Self::start_within(Limits::default(), page, &["127.0.0.1:0"])
    }

    fn start_within(limits: Limits, page: Arc<Page>, addresses: &[&str]) -> Self {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let listeners = bind(&addresses).unwrap();
        let addresses = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = mpsc::channel();
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
            let server = serve_within(limits, listeners, context(page, soon_after), shutdown);
            end.send(LocalSet::new().block_on(&runtime, server)).unwrap();
        });
        Self {
            addresses,
            stop: Some(stop),
            ended,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Status line and headers in lower case, and the body.
    fn ask(&self, request: &str, headers: &str) -> (String, Vec<u8>) {
        ask(self.connect(), request, headers)
    }

    fn stop(mut self) -> Result<(), ExporterError> {
        self.stop.take().unwrap().send(()).unwrap();
        let ended = self
            .ended
            .recv_timeout(PATIENCE)
            .expect("the server stops in time");
        self.thread.take().unwrap().join().unwrap();
        ended
    }
}

fn ask(mut stream: TcpStream, request: &str, headers: &str) -> (String, Vec<u8>) {
    let head = format!("{request} HTTP/1.1\r\nHost: kepler\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    answer(stream)
}

fn answer(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    (head, bytes[end + 4..].to_vec())
}

fn sample_page() -> Arc<Page> {
    Arc::new(sample::page())
}

#[test]
fn metrics_are_the_page_and_our_own_lines() {
    let page = sample_page();
    let server = Server::start(Arc::clone(&page));
    let (head, body) = server.ask("GET /metrics", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    let body = String::from_utf8(body).unwrap();
    let own = body
        .strip_prefix(&String::from_utf8(page.text().concat()).unwrap())
        .unwrap();
    assert!(own.contains("process_open_fds "), "{own}");
    assert!(own.contains("kepler_scrape_duration_seconds_count 0\n"), "{own}");
    let (_, again) = server.ask("GET /metrics", "");
    let again = String::from_utf8(again).unwrap();
    assert!(
        again.contains("kepler_scrape_duration_seconds_count 1\n"),
        "the first scrape counts"
    );
    server.stop().unwrap();
}

#[test]
fn gzip_is_the_same_text_for_those_who_ask() {
    let page = sample_page();
    let server = Server::start(Arc::clone(&page));
    let (head, body) = server.ask("GET /metrics", "Accept-Encoding: gzip\r\n");
    assert!(
        head.contains("content-encoding: gzip") && head.contains("vary: accept, accept-encoding"),
        "{head}"
    );
    let mut text = String::new();
    GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.as_bytes().starts_with(&page.text().concat()));
    assert!(text.contains("kepler_scrape_bytes "));
    server.stop().unwrap();
}

#[test]
fn openmetrics_and_zstd_are_for_those_who_ask() {
    let page = sample_page();
    let server = Server::start(Arc::clone(&page));
    let wishes = "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\nAccept-Encoding: zstd\r\n";
    let (head, body) = server.ask("GET /metrics", wishes);
    for expected in [
        "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8",
        "content-encoding: zstd",
    ] {
        assert!(head.contains(expected), "{head}");
    }
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    let text = String::from_utf8(zstd::decode_all(body.as_slice()).unwrap()).unwrap();
    assert!(text.as_bytes().starts_with(&page.openmetrics().concat()));
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    server.stop().unwrap();
}

#[test]
fn who_refuses_every_encoding_is_told_what_there_is() {
    let server = Server::start(sample_page());
    let (head, body) = server.ask("GET /metrics", "Accept-Encoding: br, *;q=0\r\n");
    assert!(head.starts_with("http/1.1 406"), "{head}");
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("gzip, zstd and identity")
    );
    server.stop().unwrap();
}

#[test]
fn a_head_request_gets_the_length_and_no_body() {
    let server = Server::start(sample_page());
    for path in ["/metrics", "/livez", "/readyz", "/api/v1/snapshot", "/"] {
        let (head, body) = server.ask(&format!("HEAD {path}"), "");
        assert!(
            head.starts_with("http/1.1 200") && head.contains("content-length: "),
            "{path}: {head}"
        );
        assert!(body.is_empty(), "{path}");
    }
    server.stop().unwrap();
}

#[test]
fn the_other_routes_answer_in_their_types() {
    let server = Server::start(sample_page());
    for (path, kind, part) in [
        ("/livez", "text/plain", "ok"),
        ("/api/v1/snapshot", "application/json", "\"schema\":1"),
        ("/", "text/html", "<main>"),
        ("/page/app.js", "text/javascript", "import"),
        ("/api/v1/about", "application/json", "\"tick_ms\":1000"),
        (
            "/api/v1/history?level=pod",
            "application/json",
            "\"level\":\"pod\"",
        ),
    ] {
        let (head, body) = server.ask(&format!("GET {path}"), "");
        assert!(
            head.starts_with("http/1.1 200") && head.contains(&format!("content-type: {kind}")),
            "{head}"
        );
        assert!(String::from_utf8(body).unwrap().contains(part), "{path}");
    }
    server.stop().unwrap();
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_allowed_405() {
    let server = Server::start(sample_page());
    for path in ["/metric", "/metrics/", "/api/v1", "/favicon.ico"] {
        let (head, body) = server.ask(&format!("GET {path}"), "");
        assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
        assert!(body.len() < 100);
    }
    for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
        let (head, _) = server.ask(&format!("{method} /metrics"), "Content-Length: 0\r\n");
        assert!(
            head.starts_with("http/1.1 405") && head.contains("allow: get, head"),
            "{method}: {head}"
        );
    }
    server.stop().unwrap();
}

#[test]
fn fifty_scrapers_at_once_share_one_rendering() {
    let page = sample_page();
    let server = Server::start(Arc::clone(&page));
    std::thread::scope(|scope| {
        for number in 0..50_usize {
            let wishes = [
                "",
                "Accept-Encoding: gzip\r\n",
                "Accept-Encoding: zstd\r\n",
                "Accept: application/openmetrics-text\r\n",
                "Accept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n",
            ];
            let encoding = wishes[number % wishes.len()];
            let stream = server.connect();
            scope.spawn(move || {
                let (head, _) = ask(stream, "GET /metrics", encoding);
                assert!(head.starts_with("http/1.1 200"), "{head}");
            });
        }
    });
    let once = Renders {
        text: 1,
        openmetrics: 1,
        gzip: 2,
        zstd: 1,
        json: 0,
    };
    assert_eq!(page.renders(), once);
    server.stop().unwrap();
}

#[test]
fn every_address_is_served() {
    let server = Server::start_within(Limits::default(), sample_page(), &["127.0.0.1:0", "127.0.0.1:0"]);
    for address in &server.addresses {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
            .unwrap();
        assert_eq!(answer(stream).1, b"ok\n");
    }
    server.stop().unwrap();
}

/// Connects and sends half a request; served for certain once a later connection was answered.
fn half_a_request(server: &Server) -> TcpStream {
    let mut half = server.connect();
    half.write_all(b"GET /metrics HT").unwrap();
    half
}

#[test]
fn a_request_that_never_ends_does_not_hold_the_stop() {
    let server = Server::start(sample_page());
    let mut half = half_a_request(&server);
    assert_eq!(server.ask("GET /livez", "").1, b"ok\n");
    // `stop` fails the test where this takes longer than patience; the head time-out is far beyond it.
    server.stop().unwrap();
    let mut rest = Vec::new();
    // Closed or reset, but not open any more.
    let left = half.read_to_end(&mut rest);
    assert!(left.is_err() || rest.is_empty());
}

#[test]
fn a_viewer_does_not_hold_the_stop() {
    let limits = Limits {
        // Waiting for it would outlast the patience.
        grace: PATIENCE * 10,
        ..Limits::default()
    };
    let server = Server::start_within(limits, sample_page(), &["127.0.0.1:0"]);
    let mut viewer = server.connect();
    viewer
        .write_all(b"GET /api/v1/stream?level=pod HTTP/1.1\r\nHost: k\r\n\r\n")
        .unwrap();
    // The page that was there before anybody looked is taken in, and told at once: long before a first sign of life.
    let mut heard = String::new();
    while !heard.contains("event: update\n") {
        let mut some = [0; 64];
        let length = viewer.read(&mut some).unwrap();
        assert!(length > 0 && !heard.contains("event: alive"), "{heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
    }
    server.stop().unwrap();
    viewer.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn an_idle_connection_is_closed_at_the_stop_without_waiting_for_the_grace() {
    let limits = Limits {
        // Waiting for it would outlast the patience.
        grace: PATIENCE * 10,
        ..Limits::default()
    };
    let server = Server::start_within(limits, sample_page(), &["127.0.0.1:0"]);
    let mut idle = server.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop().unwrap();
}

#[test]
fn a_head_that_takes_too_long_is_cut_off() {
    let limits = Limits {
        head: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start_within(limits, sample_page(), &["127.0.0.1:0"]);
    let mut rest = Vec::new();
    // Ends only because the server ends it.
    half_a_request(&server).read_to_end(&mut rest).unwrap();
    server.stop().unwrap();
}

#[test]
fn a_connection_ends_when_it_is_too_old() {
    let limits = Limits {
        age: Duration::from_millis(50),
        grace: Duration::ZERO,
        ..Limits::default()
    };
    let server = Server::start_within(limits, sample_page(), &["127.0.0.1:0"]);
    let mut rest = Vec::new();
    server.connect().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    server.stop().unwrap();
}

#[test]
fn a_connection_too_many_waits_until_another_one_ends() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Server::start_within(limits, sample_page(), &["127.0.0.1:0"]);
    let held = [half_a_request(&server), half_a_request(&server)];
    let mut waiting = server.connect();
    waiting
        .write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
        .unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(waiting.read(&mut [0; 1]).is_err(), "served beyond the bound");
    drop(held);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(answer(waiting).1, b"ok\n");
    server.stop().unwrap();
}

#[test]
fn an_occupied_port_is_named_with_what_to_do() {
    let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = taken[0].local_addr().unwrap();
    let error = bind(&[address]).unwrap_err();
    assert!(matches!(error, ExporterError::AddressInUse { .. }));
    assert_eq!(
        error.to_string(),
        format!("address {address} is in use; set exporter.listen or KEPLER_EXPORTER__LISTEN")
    );
}

#[test]
fn an_address_of_another_machine_is_named_too() {
    // TEST-NET-1 (RFC 5737) belongs to no machine.
    let error = bind(&["192.0.2.1:28282".parse().unwrap()]).unwrap_err();
    assert!(
        error.to_string().contains("cannot listen on 192.0.2.1:28282"),
        "{error}"
    );
}

/// Status and body of `/readyz` without a socket.
fn ready(page: Page, now: fn() -> MonotonicNanos) -> (StatusCode, String) {
    let context = context(Arc::new(page), now);
    let response = respond(&context, &Method::GET, "/readyz", &HeaderMap::new());
    let status = response.status();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(body_of(response));
    (status, String::from_utf8(body).unwrap())
}

/// Reads a body frame by frame.
async fn body_of(response: warp::reply::Response) -> Vec<u8> {
    use warp::hyper::body::Body;
    let mut body = std::pin::pin!(response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    bytes
}

#[test]
fn ready_means_a_snapshot_of_at_most_three_ticks() {
    let (status, body) = ready(sample::page(), exactly_three_ticks_after);
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\nstale: resolver\n"));
    let (status, body) = ready(sample::page(), long_after);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "the newest snapshot is 4.2s old; 3 ticks are 3.0s\n");
}

#[test]
fn before_the_first_window_nothing_is_ready_and_the_reason_is_told() {
    let empty = Page::new(Arc::new(Snapshot::default()), Arc::new(sample::settings()));
    let (status, body) = ready(empty, soon_after);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("no snapshot yet"), "{body}");
}
