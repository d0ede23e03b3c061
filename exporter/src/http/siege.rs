// SPDX-License-Identifier: Apache-2.0
//! Connections that mean no good: silent, slow, half open, endless, and very many. Whoever comes with a plain question is answered
//! meanwhile, and everything is counted.

use super::Limits;
use super::rig::{PATIENCE, Server, answer, ask};
use crate::page::Page;
use crate::sample;
use crate::security::rig::Authority;
use rustix::net::{AddressFamily, SocketType, ipproto};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const OPEN: &str = "kepler_exporter_connections";
const MADE_ROOM: &str = "kepler_exporter_connections_closed_total{reason=\"made_room\"}";
const TURNED_AWAY: &str = "kepler_exporter_connections_closed_total{reason=\"turned_away\"}";

fn closed(reason: &str) -> String {
    format!("kepler_exporter_connections_closed_total{{reason=\"{reason}\"}}")
}

fn serve(limits: Limits) -> Server {
    Server::start_within(limits, Arc::new(sample::page()))
}

/// Bounds under which nobody is asked to leave for doing nothing as long as the test runs.
fn patient() -> Limits {
    Limits {
        rest: PATIENCE * 10,
        stuck: PATIENCE * 10,
        slow: PATIENCE * 10,
        arrival: PATIENCE * 10,
        ..Limits::default()
    }
}

/// A connection from 127.0.0.`from`.
fn connect_from(from: u8, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP)).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, from), 0)).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the other side has ended it.
fn has_ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn hundreds_of_silent_connections_from_one_address_lock_out_nobody() {
    let server = serve(patient());
    let places = Limits::default().places;
    let held: Vec<_> = (0..places + 100)
        .map(|_| connect_from(9, server.addresses[0]))
        .collect();
    server.wait_for(MADE_ROOM, 100);
    for (from, path) in [(1, "/livez"), (2, "/metrics"), (1, "/readyz")] {
        let (head, _) = ask(
            connect_from(from, server.addresses[0]),
            &format!("GET {path}"),
            "",
        );
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
    assert!(server.counted(MADE_ROOM) > 100);
    assert!(server.counted(OPEN) <= u64::try_from(places).unwrap());
    drop(held);
    server.stop().unwrap();
}

#[test]
fn silent_connections_from_everywhere_lock_out_nobody() {
    let limits = Limits {
        places: 8,
        rest: Duration::from_millis(100),
        ..patient()
    };
    let server = serve(limits);
    let mut held: Vec<_> = (10..18)
        .map(|from| connect_from(from, server.addresses[0]))
        .collect();
    server.wait_for("kepler_exporter_connections_accepted_total", 8);
    let (head, _) = ask(connect_from(1, server.addresses[0]), "GET /metrics", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!((server.counted(MADE_ROOM), server.counted(TURNED_AWAY)), (1, 0));
    // The one that came first had been silent for longest.
    assert_eq!(
        held.iter_mut().map(has_ended).collect::<Vec<_>>(),
        [true, false, false, false, false, false, false, false]
    );
    server.stop().unwrap();
}

#[test]
fn whoever_has_filled_all_places_alone_still_gets_in_instead_of_one_that_rests() {
    let server = serve(Limits {
        places: 4,
        ..patient()
    });
    let held: Vec<_> = (0..10).map(|_| connect_from(1, server.addresses[0])).collect();
    for _ in 0..10 {
        let (head, _) = ask(connect_from(1, server.addresses[0]), "GET /metrics", "");
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
    assert_eq!(server.counted(TURNED_AWAY), 0);
    drop(held);
    server.stop().unwrap();
}

#[test]
fn whoever_has_shown_a_password_keeps_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web.yml");
    let hash = bcrypt::hash_with_salt("x", 4, *b"0123456789abcdef")
        .unwrap()
        .to_string();
    std::fs::write(&web, format!("basic_auth_users:\n  a: {hash}\n")).unwrap();
    let limits = Limits {
        places: 4,
        rest: Duration::from_millis(20),
        ..patient()
    };
    let config = serde_json::json!({ "listen": "127.0.0.1:0", "web_config": web });
    let server = Server::open(limits, Arc::new(sample::page()), &config);
    let mut known = connect_from(1, server.addresses[0]);
    let request = b"GET /metrics HTTP/1.1\r\nHost: k\r\nAuthorization: Basic YTp4\r\n\r\n";
    known.write_all(request).unwrap();
    let mut first = [0; 12];
    known.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // Many times more than there are places, each waiting until another has been silent for long enough.
    let others: Vec<_> = (10..30)
        .map(|from| connect_from(from, server.addresses[0]))
        .collect();
    server.wait_for(MADE_ROOM, 17);
    known
        .write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut rest = String::new();
    known.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200 OK") && rest.ends_with("ok\n"));
    drop(others);
    server.stop().unwrap();
}

#[test]
fn who_is_on_this_machine_comes_in_by_the_socket_file_while_the_network_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.sock");
    let config = serde_json::json!({ "listen": ["127.0.0.1:0", format!("unix:{}", path.display())] });
    let limits = Limits {
        places: 2,
        ..patient()
    };
    let server = Server::open(limits, Arc::new(sample::page()), &config);
    let held: Vec<_> = (10..14)
        .map(|from| connect_from(from, server.addresses[0]))
        .collect();
    server.wait_for("kepler_exporter_connections_accepted_total", 3);
    let (head, _) = ask(UnixStream::connect(&path).unwrap(), "GET /metrics", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    drop(held);
    server.stop().unwrap();
}

#[test]
fn handshakes_that_never_end_hold_nobody_and_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.signs_server().write(folder.path(), "server");
    let web = folder.path().join("web.yml");
    std::fs::write(
        &web,
        "tls_server_config: { cert_file: server.crt, key_file: server.key }\n",
    )
    .unwrap();
    let config = serde_json::json!({ "listen": "127.0.0.1:0", "web_config": web });
    let limits = Limits {
        handshake: PATIENCE * 10,
        ..patient()
    };
    let server = Server::open(limits, Arc::new(sample::page()), &config);
    let mut held: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut held {
        // The beginning of a record of a handshake, whose rest does not come.
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    }
    let answer = authority
        .client()
        .get(server.addresses[0], "/metrics", "")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().unwrap();
    let limits = Limits {
        handshake: Duration::from_millis(50),
        ..patient()
    };
    let server = Server::open(limits, Arc::new(sample::page()), &config);
    let mut silent = server.connect();
    silent.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(server.counted(&closed("handshake_timeout")), 1);
    server.stop().unwrap();
}

#[test]
fn a_first_request_that_never_ends_is_cut_off() {
    let server = serve(Limits {
        arrival: Duration::from_millis(50),
        ..patient()
    });
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nX-a: b\r\n").unwrap();
    let mut heard = Vec::new();
    drop(slow.read_to_end(&mut heard));
    assert!(heard.is_empty());
    assert_eq!(server.counted(&closed("silent")), 1);
    // One that has asked keeps its connection beyond that time: the head's own bound is another.
    let mut polite = server.connect();
    polite
        .write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\n\r\n")
        .unwrap();
    polite.read_exact(&mut [0; 12]).unwrap();
    let mut slow = server.connect();
    drop(slow.read_to_end(&mut heard));
    assert_eq!(server.counted(&closed("silent")), 2);
    polite
        .write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut rest = String::new();
    polite.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200 OK"), "{rest}");
    server.stop().unwrap();
}

#[test]
fn a_later_request_that_never_ends_is_cut_off_and_counted() {
    let server = serve(Limits {
        head: Duration::from_millis(50),
        ..patient()
    });
    let mut slow = server.connect();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\n\r\nGET /livez HT")
        .unwrap();
    drop(slow.read_to_end(&mut Vec::new()));
    server.wait_for(&closed("head_timeout"), 1);
    server.stop().unwrap();
}

#[test]
fn heads_and_paths_beyond_the_bound_are_refused_and_counted() {
    let server = serve(Limits::default());
    let long = "x".repeat(20_000);
    let many = "X-a: b\r\n".repeat(200);
    for (head, statuses) in [
        (
            format!("GET /livez HTTP/1.1\r\nHost: k\r\nX-long: {long}\r\n\r\n"),
            ["431", "431"],
        ),
        (
            format!("GET /livez HTTP/1.1\r\nHost: k\r\n{many}\r\n"),
            ["431", "400"],
        ),
        (format!("GET /{long} HTTP/1.1\r\nHost: k\r\n\r\n"), ["431", "414"]),
    ] {
        let mut stream = server.connect();
        // The answer may come, and the connection end, before all of it was taken.
        drop(stream.write_all(head.as_bytes()));
        let mut heard = Vec::new();
        drop(stream.read_to_end(&mut heard));
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(
            statuses
                .iter()
                .any(|status| heard.starts_with(&format!("HTTP/1.1 {status}"))),
            "{heard}"
        );
    }
    server.wait_for(&closed("protocol"), 3);
    assert_eq!(server.ask("GET /livez", "").1, b"ok\n");
    server.stop().unwrap();
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let server = serve(Limits {
        stall: Duration::from_millis(100),
        ..patient()
    });
    let mut deaf = server.connect();
    let asks = "GET /metrics HTTP/1.1\r\nHost: k\r\n\r\n".repeat(200);
    // More than both kernels' buffers hold; when nothing is taken any more, the server does not read on either.
    deaf.set_nonblocking(true).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while server.counted(&closed("answer_timeout")) == 0 {
        drop(deaf.write(asks.as_bytes()));
        assert!(std::time::Instant::now() < end, "an answer is kept for ever");
        std::thread::yield_now();
    }
    server.stop().unwrap();
}

#[test]
fn who_reads_a_large_answer_slowly_is_not_idle() {
    let mut snapshot = sample::snapshot();
    let row = snapshot.processes[0].clone();
    snapshot.processes = (0..20_000)
        .map(|number| {
            let mut row = row.clone();
            row.task.tgid = number;
            row
        })
        .collect();
    let page = Page::new(Arc::new(snapshot), Arc::new(sample::settings()));
    let length = page.json().unwrap().len();
    assert!(length > 6 << 20, "{length}: more than kernels hold back for us");
    let limits = Limits {
        places: 2,
        rest: Duration::ZERO,
        ..patient()
    };
    let server = Server::start_within(limits, Arc::new(page));
    let mut slow = connect_from(1, server.addresses[0]);
    slow.write_all(b"GET /api/v1/snapshot HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // All places are taken now, and whoever comes next needs that of one who is idle.
    let mut idle = connect_from(2, server.addresses[0]);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\n\r\n").unwrap();
    idle.read_exact(&mut first).unwrap();
    let (head, _) = ask(connect_from(3, server.addresses[0]), "GET /livez", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (_, body) = answer(slow);
    assert_eq!(body.len(), length);
    assert_eq!(server.counted(MADE_ROOM), 1);
    server.stop().unwrap();
}

#[test]
fn connections_that_ended_are_not_there_any_more() {
    let server = serve(Limits::default());
    for _ in 0..50 {
        assert_eq!(server.ask("GET /livez", "").1, b"ok\n");
    }
    assert_eq!(server.counted("kepler_exporter_connections_accepted_total"), 50);
    let end = std::time::Instant::now() + PATIENCE;
    while server.counted(OPEN) > 0 {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
    server.stop().unwrap();
}
