// SPDX-License-Identifier: Apache-2.0
//! Methods, paths, headers and plain noise, in plain text and through TLS: whatever comes, the server answers or hangs up, does
//! not panic, and answers the next one. A failing case is printed with its seed by proptest.

use super::Limits;
use super::rig::Server;
use crate::sample;
use crate::security::rig::{Authority, Client};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

const CASES: u32 = 200;

fn method() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"GET".to_vec()),
        Just(b"HEAD".to_vec()),
        Just(b"POST".to_vec()),
        "[A-Z!#$%&'*+.^_`|~-]{1,30}".prop_map(String::into_bytes),
        noise(12),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "/metrics",
        "/livez",
        "/readyz",
        "/",
        "/api/v1/snapshot",
        "/api/v1/history",
        "/api/v1/about",
        "/page/app.js",
        "*",
    ]);
    let tail = prop_oneof![
        Just(String::new()),
        "\\?[a-z=&%0-9]{0,40}",
        "\\?level=(pod|node|%00|\u{e4}){0,3}&id=[^ ]{0,20}",
        "(/\\.\\.){1,5}[^ ]{0,20}",
        "#[a-z]{0,5}",
    ];
    prop_oneof![
        (known, tail).prop_map(|(path, tail)| format!("{path}{tail}").into_bytes()),
        Just(b"http://other.example/metrics".to_vec()),
        noise(60),
    ]
}

fn noise(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "Accept",
        "Accept-Encoding",
        "Authorization",
        "If-None-Match",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Upgrade",
        "Host",
        "Range",
        "X",
    ]);
    let value = prop_oneof![
        Just(b"Basic YTp4".to_vec()),
        Just(b"Bearer 0123456789abcdef".to_vec()),
        Just(b"chunked, chunked".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"gzip;q=nan, zstd;q=1e9, *;q=".to_vec()),
        Just(b"application/openmetrics-text;version=;q=0.1.1".to_vec()),
        Just(b"100-continue".to_vec()),
        Just(b"h2c".to_vec()),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        noise(40),
    ];
    (name, value).prop_map(|(name, value)| [name.as_bytes(), b": ", &value].concat())
}

/// What a client sends: a request more or less well made, one in many cut off, or noise.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let version = prop::sample::select(vec!["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "PTTH", ""]);
    let headers = prop::collection::vec(header(), 0..6);
    let request = (method(), path(), version, headers, noise(20), 0_usize..400);
    let request = request.prop_map(|(method, path, version, headers, body, cut)| {
        let mut bytes = [&method, &b" "[..], &path, b" ", version.as_bytes(), b"\r\n"].concat();
        for header in headers {
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        // A few are cut off somewhere.
        if cut < bytes.len() && cut % 7 == 0 {
            bytes.truncate(cut);
        }
        bytes
    });
    prop_oneof![9 => request, 1 => noise(300)]
}

/// Sends, hears what comes without waiting for what may never end, and hangs up.
fn throw(bytes: &[u8], mut stream: impl Read + Write, hang_up: impl FnOnce()) {
    drop(stream.write_all(bytes));
    drop(stream.flush());
    hang_up();
    let mut some = [0; 4096];
    // A stream of events would go on; a first piece is enough.
    drop(stream.read(&mut some));
}

fn run(seed_of: &str, test: impl Fn(&[u8])) {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&bytes(), |bytes| {
            test(&bytes);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{seed_of}: {error}"));
}

#[test]
fn nothing_that_comes_in_plain_text_makes_the_server_fall() {
    let server = Server::start_within(Limits::default(), Arc::new(sample::page()));
    run("plain", |bytes| {
        let stream = server.connect();
        let other = stream.try_clone().unwrap();
        throw(bytes, stream, || drop(other.shutdown(Shutdown::Write)));
        assert_eq!(server.ask("GET /livez", "").1, b"ok\n");
    });
    server.stop().unwrap();
}

/// A server with TLS, a password and a token, and a client that it trusts.
fn locked() -> (Server, Client, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.signs_server().write(folder.path(), "server");
    let hash = bcrypt::hash_with_salt("x", 4, *b"0123456789abcdef")
        .unwrap()
        .to_string();
    let web = folder.path().join("web.yml");
    let text = format!(
        "tls_server_config: {{ cert_file: server.crt, key_file: server.key }}\nbasic_auth_users:\n  a: {hash}\n"
    );
    std::fs::write(&web, text).unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
    let config =
        serde_json::json!({ "listen": "127.0.0.1:0", "web_config": web, "bearer_token_file": tokens });
    let server = Server::open(Limits::default(), Arc::new(sample::page()), &config);
    (server, authority.client(), folder)
}

#[test]
fn nothing_that_comes_through_tls_makes_the_server_fall() {
    let (server, client, _folder) = locked();
    run("TLS", |bytes| {
        let stream = client.connect(server.addresses[0]).unwrap();
        let socket = stream.sock.try_clone().unwrap();
        throw(bytes, stream, || drop(socket.shutdown(Shutdown::Write)));
        assert!(
            client
                .get(server.addresses[0], "/livez", "")
                .unwrap()
                .ends_with("ok\n")
        );
    });
    server.stop().unwrap();
}

#[test]
fn nothing_that_comes_instead_of_tls_makes_the_server_fall() {
    let (server, client, _folder) = locked();
    run("instead of TLS", |bytes| {
        // Every other one looks like the record of a handshake at first.
        let mut record = vec![0x16, 0x03, 0x01, 0x00, 0xf0, 0x01];
        record.extend_from_slice(bytes);
        for bytes in [bytes, &record] {
            let stream = server.connect();
            let other = stream.try_clone().unwrap();
            throw(bytes, stream, || drop(other.shutdown(Shutdown::Write)));
        }
    });
    assert!(
        client
            .get(server.addresses[0], "/livez", "")
            .unwrap()
            .ends_with("ok\n")
    );
    server.stop().unwrap();
}
