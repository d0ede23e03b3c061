// SPDX-License-Identifier: Apache-2.0
//! Who comes in and who does not, over real sockets.

use super::file::parse;
use super::health::Health;
use super::passwords::{Answer, Passwords};
use super::rig::{Authority, Client, Identity};
use super::tls;
use super::users::Users;
use super::{Rules, Security};
use crate::config::ExporterConfig;
use crate::http::Limits;
use crate::http::origin::Origin;
use crate::http::rig::{Server, ask, is_pending};
use crate::sample;
use proptest::prelude::*;
use rcgen::SanType;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tempfile::TempDir;

/// bcrypt of "wonderland" at the cheapest cost, made by crypt(3) of the C library.
const ALICE: &str = "$2b$04$abcdefghijklmnopqrstuujZkTwHUiJ9XdZPwKfcfDo7dMp5DjlTu";

fn hash(password: &str) -> String {
    bcrypt::hash_with_salt(password, 4, *b"0123456789abcdef")
        .unwrap()
        .to_string()
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

/// A folder with a web configuration.
struct Desk {
    folder: TempDir,
    authority: Authority,
}

impl Desk {
    fn new(web: &str) -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
        };
        desk.authority.signs_server().write(desk.folder.path(), "server");
        fs::write(desk.path("ca.crt"), &desk.authority.certificate).unwrap();
        desk.write("web.yml", web);
        desk
    }

    /// With TLS, and these further lines of its section.
    fn tls(lines: &[&str]) -> Self {
        Self::new(&section(lines))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn config(&self) -> Value {
        json!({ "listen": "127.0.0.1:0", "web_config": self.path("web.yml") })
    }

    fn serve(&self) -> Server {
        Server::open(Limits::default(), Arc::new(sample::page()), &self.config())
    }

    fn open(&self) -> Result<Security, String> {
        let config: ExporterConfig = serde_json::from_value(self.config()).unwrap();
        Security::open(&config).map_err(|error| error.to_string())
    }
}

/// `tls_server_config` with the server's certificate and these further lines.
fn section(lines: &[&str]) -> String {
    let mut text = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n".to_owned();
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn is_in(client: &Client, address: SocketAddr) -> bool {
    client
        .get(address, "/livez", "")
        .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn with_tls_nothing_is_answered_in_plain_text() {
    let desk = Desk::tls(&[]);
    let server = desk.serve();
    assert!(is_in(&desk.authority.client(), server.addresses[0]));
    assert!(
        !is_in(&Authority::new().client(), server.addresses[0]),
        "a client that trusts somebody else"
    );
    let mut plain = server.connect();
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: k\r\n\r\n")
        .unwrap();
    let mut heard = Vec::new();
    drop(plain.read_to_end(&mut heard));
    assert!(!heard.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&heard));
    server.wait_for(
        "kepler_exporter_connections_closed_total{reason=\"handshake\"}",
        1,
    );
    server.stop().unwrap();
}

#[test]
fn inline_certificates_work_as_files_do() {
    let desk = Desk::new("");
    let Identity { certificate, key } = desk.authority.signs_server();
    let indent = |text: &str| {
        text.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let web = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}",
        indent(&certificate),
        indent(&key)
    );
    desk.write("web.yml", &web);
    let server = desk.serve();
    assert!(is_in(&desk.authority.client(), server.addresses[0]));
    server.stop().unwrap();
}

#[test]
fn each_client_auth_type_lets_in_whom_it_says() {
    let stranger = Authority::new();
    //                                  no certificate, somebody else's, ours
    for (asked, ca, expected) in [
        ("NoClientCert", false, [true, true, true]),
        ("RequestClientCert", false, [true, true, true]),
        ("RequireAnyClientCert", false, [false, true, true]),
        ("RequireClientCert", true, [false, true, true]),
        ("VerifyClientCertIfGiven", true, [true, false, true]),
        ("RequireAndVerifyClientCert", true, [false, false, true]),
    ] {
        let asks = format!("client_auth_type: {asked}");
        let mut lines = vec![asks.as_str()];
        if ca {
            lines.push("client_ca_file: ca.crt");
        }
        let desk = Desk::tls(&lines);
        let server = desk.serve();
        let client = desk.authority.client();
        let clients = [
            client.clone(),
            client.clone().with(&stranger.signs_server()),
            client.with(&desk.authority.signs_server()),
        ];
        // A client that is not told which authorities count sends what it has; one that is told may send nothing.
        let seen = clients.map(|client| is_in(&client, server.addresses[0]));
        assert_eq!(seen, expected, "{asked}");
        server.stop().unwrap();
    }
}

#[test]
fn a_certificate_without_its_key_lets_in_nobody() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let desk = Desk::tls(&["client_auth_type: RequireAnyClientCert"]);
        let server = desk.serve();
        let mut stolen = desk.authority.signs_server();
        stolen.key = desk.authority.signs_server().key;
        // rustls itself would refuse to use such a pair; whoever has stolen a certificate would not.
        let client = desk.authority.client();
        let connected =
            std::panic::catch_unwind(|| is_in(&client.clone().with(&stolen), server.addresses[0]));
        assert!(!matches!(connected, Ok(true)), "{version:?}");
        server.stop().unwrap();
    }
}

#[test]
fn names_of_clients_are_compared_whatever_their_kind() {
    let desk = Desk::tls(&[
        "client_auth_type: RequireAndVerifyClientCert",
        "client_ca_file: ca.crt",
        "client_allowed_sans: [prometheus.example, ops@example.org, 'spiffe://x/prometheus', 10.1.2.3, '2001:db8::1']",
    ]);
    let server = desk.serve();
    let address = |text: &str| SanType::IpAddress(text.parse::<IpAddr>().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    for (names, expected) in [
        (vec![dns("prometheus.example")], true),
        (
            vec![
                dns("other.example"),
                SanType::Rfc822Name("ops@example.org".try_into().unwrap()),
            ],
            true,
        ),
        (
            vec![SanType::URI("spiffe://x/prometheus".try_into().unwrap())],
            true,
        ),
        (vec![address("10.1.2.3")], true),
        (vec![address("2001:db8::1")], true),
        (vec![dns("prometheus.example.org"), address("10.1.2.4")], false),
        (vec![dns("PROMETHEUS.example")], false),
        (vec![], false),
    ] {
        let client = desk.authority.client().with(&desk.authority.signs(&names));
        assert_eq!(is_in(&client, server.addresses[0]), expected, "{names:?}");
    }
    server.stop().unwrap();
}

#[test]
fn versions_suites_and_curves_are_those_of_the_file() {
    let desk = Desk::tls(&[
        "min_version: TLS12",
        "max_version: TLS12",
        "cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]",
        "curve_preferences: [CurveP384]",
    ]);
    let server = desk.serve();
    let mut client = desk.authority.client();
    let stream = client.connect(server.addresses[0]).unwrap();
    let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(
        suite,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    );
    let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::secp384r1);
    client.versions = vec![&rustls::version::TLS13];
    assert!(!is_in(&client, server.addresses[0]));
    server.stop().unwrap();
    let desk = Desk::tls(&["min_version: TLS13"]);
    let server = desk.serve();
    let mut client = desk.authority.client();
    client.versions = vec![&rustls::version::TLS12];
    assert!(!is_in(&client, server.addresses[0]));
    server.stop().unwrap();
}

#[test]
fn passwords_and_tokens_open_everything_and_nothing_else_does() {
    let desk = Desk::new(&format!(
        "basic_auth_users:\n  alice: {}\n  bob: {}\n",
        hash("wonderland"),
        hash("builder")
    ));
    desk.write("tokens", "0123456789abcdef-token\n");
    let mut config = desk.config();
    config["bearer_token_file"] = json!(desk.path("tokens"));
    let server = Server::open(Limits::default(), Arc::new(sample::page()), &config);
    let bearer = "Authorization: bearer 0123456789abcdef-token\r\n".to_owned();
    let right = [
        basic("alice", "wonderland"),
        basic("bob", "builder"),
        bearer.clone(),
        basic("alice", "wonderland"),
    ];
    for path in [
        "/metrics",
        "/",
        "/api/v1/snapshot",
        "/api/v1/about",
        "/page/app.js",
    ] {
        for headers in &right {
            let (head, _) = server.ask(&format!("GET {path}"), headers);
            assert!(head.starts_with("http/1.1 200"), "{path} {headers}: {head}");
        }
    }
    let wrong = [
        String::new(),
        basic("alice", "builder"),
        basic("alice", ""),
        basic("carol", "wonderland"),
        basic("", ""),
        basic("alice", "wonderland\0"),
        "Authorization: Bearer 0123456789abcdef-toke\r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Basic !!!\r\n".to_owned(),
        "Authorization: Basic YWxpY2U=\r\n".to_owned(),
        "Authorization: Digest username=alice\r\n".to_owned(),
        bearer.clone() + &bearer,
    ];
    for headers in &wrong {
        for path in ["/metrics", "/", "/nowhere", "/api/v1/stream"] {
            let (head, body) = server.ask(&format!("GET {path}"), headers);
            assert!(head.starts_with("http/1.1 401"), "{path} {headers}: {head}");
            assert!(
                head.contains("www-authenticate: basic realm=\"kepler\"")
                    && head.contains("www-authenticate: bearer"),
                "{head}"
            );
            assert!(!String::from_utf8_lossy(&body).contains("kepler_"));
        }
        let (head, _) = server.ask("GET /livez", headers);
        assert!(head.starts_with("http/1.1 200"), "probes stay open: {head}");
    }
    let refused = u64::try_from(wrong.len() * 4).unwrap();
    assert_eq!(
        server.counted("kepler_exporter_requests_refused_total{reason=\"unauthorized\"}"),
        refused
    );
    server.stop().unwrap();
}

#[test]
fn probes_are_closed_where_that_is_wanted_and_a_socket_file_never_asks() {
    let desk = Desk::new(&format!("basic_auth_users:\n  alice: {}\n", hash("wonderland")));
    let socket = desk.path("k.sock");
    let mut config = desk.config();
    config["open_probes"] = json!(false);
    config["listen"] = json!(["127.0.0.1:0", format!("unix:{}", socket.display())]);
    let server = Server::open(Limits::default(), Arc::new(sample::page()), &config);
    for path in ["/livez", "/readyz"] {
        assert!(
            server
                .ask(&format!("GET {path}"), "")
                .0
                .starts_with("http/1.1 401")
        );
        assert!(
            server
                .ask(&format!("GET {path}"), &basic("alice", "wonderland"))
                .0
                .starts_with("http/1.1 200")
        );
    }
    let local = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert!(ask(local, "GET /metrics", "").0.starts_with("http/1.1 200"));
    server.stop().unwrap();
}

#[test]
fn a_socket_file_is_plain_where_the_network_has_tls() {
    let desk = Desk::tls(&[
        "client_auth_type: RequireAndVerifyClientCert",
        "client_ca_file: ca.crt",
    ]);
    let socket = desk.path("k.sock");
    let mut config = desk.config();
    config["listen"] = json!(format!("unix:{}", socket.display()));
    let server = Server::open(Limits::default(), Arc::new(sample::page()), &config);
    let local = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert!(ask(local, "GET /metrics", "").0.starts_with("http/1.1 200"));
    server.stop().unwrap();
}

#[test]
fn the_rate_holds_for_everybody_but_probes() {
    // The clock of the test stands still, so that the bucket is not filled again.
    let desk = Desk::new("rate_limit:\n  interval: 1s\n  burst: 2\n");
    let server = desk.serve();
    let status = |path: &str| server.ask(&format!("GET {path}"), "").0[9..12].to_owned();
    assert_eq!(
        ["/metrics", "/", "/metrics", "/", "/livez"].map(status),
        ["200", "200", "429", "429", "200"]
    );
    assert_eq!(
        server.counted("kepler_exporter_requests_refused_total{reason=\"rate_limited\"}"),
        2
    );
    server.stop().unwrap();
}

#[test]
fn those_who_have_shown_who_they_are_have_a_rate_of_their_own() {
    // The clock of the test stands still, so that no bucket is filled again.
    let desk = Desk::new(&format!(
        "basic_auth_users: {{ alice: '{ALICE}' }}\nrate_limit: {{ interval: 1s, burst: 2 }}\n"
    ));
    desk.write("tokens", "a-token-of-some-length\n");
    let mut config = desk.config();
    config["bearer_token_file"] = desk.path("tokens").to_str().unwrap().into();
    let server = Server::open(Limits::default(), Arc::new(sample::page()), &config);
    let status = |headers: &str| server.ask("GET /metrics", headers).0[9..12].to_owned();
    let (alice, token) = (
        basic("alice", "wonderland"),
        "Authorization: Bearer a-token-of-some-length\r\n",
    );
    // The first time nobody knows her, and she uses up what strangers have.
    assert_eq!(
        [&*alice, "", "", &*basic("alice", "x")].map(status),
        ["200", "401", "429", "429"]
    );
    assert_eq!(
        [&*alice, token, token, &*alice].map(status),
        ["200", "200", "429", "429"]
    );
    server.stop().unwrap();
}

#[test]
fn headers_of_the_file_are_on_every_answer() {
    let desk = Desk::new(
        "http_server_config:\n  http2: false\n  headers:\n    Strict-Transport-Security: max-age=63072000\n    \
         X-Frame-Options: deny\n    Content-Security-Policy: default-src 'self'\n",
    );
    let server = desk.serve();
    for path in ["/metrics", "/", "/nowhere", "/livez"] {
        let (head, _) = server.ask(&format!("GET {path}"), "");
        assert!(
            head.contains("strict-transport-security: max-age=63072000"),
            "{path}: {head}"
        );
        assert!(head.contains("x-frame-options: deny"), "{path}: {head}");
        // Also where a route has its own: once.
        assert_eq!(
            head.matches("content-security-policy: default-src 'self'")
                .count(),
            1,
            "{head}"
        );
        assert_eq!(head.matches("content-security-policy:").count(), 1, "{head}");
    }
    server.stop().unwrap();
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let chapter = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md")).unwrap();
    let (_, rest) = chapter.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let file = parse(example.as_bytes(), Path::new("/etc/kepler"), &tls::known()).unwrap();
    assert!(file.tls.is_some() && !file.users.is_empty() && file.headers.len() == 1 && file.rate.is_some());
}

#[test]
fn what_is_wrong_in_the_file_is_told_with_what_is_allowed() {
    let users = "basic_auth_users:\n";
    for (web, hint) in [
        (
            "tls_server_confg: {}",
            "tls_server_confg: unknown key; did you mean tls_server_config?",
        ),
        (
            "bananas: 1",
            "bananas: unknown key; allowed: tls_server_config, http_server_config",
        ),
        (
            "tls_server_config:\n  cert_fil: x",
            "tls_server_config.cert_fil: unknown key; did you mean cert_file?",
        ),
        ("tls_server_config: {}", "tls_server_config.cert_file: missing"),
        ("tls_server_config:", "tls_server_config.key_file: missing"),
        (
            "tls_server_config: [1]",
            "tls_server_config: found a list; allowed: a table",
        ),
        ("- a", "the file: found a list"),
        (
            &section(&["cert: x"]),
            "tls_server_config.cert: cert_file is set, too",
        ),
        (
            &section(&["client_auth_type: RequireAndVerify"]),
            "allowed: NoClientCert, RequestClientCert",
        ),
        (
            &section(&["client_auth_type: RequireAndVerifyClientCert"]),
            "client_ca_file: missing",
        ),
        (
            &section(&["client_ca_file: ca.crt"]),
            "an authority without a question",
        ),
        (&section(&["client_allowed_sans: [a]"]), "needs client_auth_type"),
        (
            &section(&[
                "client_auth_type: RequireAnyClientCert",
                "client_allowed_sans: []",
            ]),
            "1 to 1000 names",
        ),
        (
            &section(&["min_version: TLS10"]),
            "found \"TLS10\"; did you mean TLS12?; allowed: TLS12, TLS13",
        ),
        (
            &section(&["min_version: TLS13", "max_version: TLS12"]),
            "newer than max_version",
        ),
        (
            &section(&["cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"]),
            "allowed: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            &section(&["curve_preferences: [CurveP521]"]),
            "did you mean CurveP256?",
        ),
        (
            &section(&["prefer_server_cipher_suites: 1"]),
            "allowed: true, false",
        ),
        (
            "http_server_config:\n  http2: true",
            "http_server_config.http2: HTTP/2 is not spoken here",
        ),
        (
            "http_server_config:\n  headers:\n    Server: x",
            "http_server_config.headers.Server: unknown key",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: no",
            "http_server_config.headers.X-Frame-Options: ",
        ),
        ("basic_auth_users: {}", "basic_auth_users: nobody is in it"),
        (
            &format!("{users}  alice: hunter2"),
            "alice: the password is no bcrypt hash",
        ),
        (&format!("{users}  'a:b': {ALICE}"), "names without colons"),
        (
            &format!("{users}  alice: 5"),
            "basic_auth_users.alice: found a number",
        ),
        (
            &format!("{users}  alice: {}", hash("x").replace("$04$", "$16$")),
            "cost 16; allowed: 4 to 15",
        ),
        (
            &format!("{users}  alice: {}", hash("x").replace("$04$", "$03$")),
            "cost 3; allowed: 4 to 15",
        ),
        ("rate_limit:\n  interval: 1s", "rate_limit.burst: allowed: from 1"),
        (
            "rate_limit:\n  interval: 5\n  burst: 1",
            "rate_limit.interval: allowed: a duration",
        ),
        (
            "rate_limit:\n  burst: -1",
            "rate_limit.burst: allowed: an integer",
        ),
        ("a: [", "line 1"),
        ("rate_limit: {}\nrate_limit: {}", "no YAML"),
    ] {
        let error = Desk::new(web).open().unwrap_err();
        assert!(
            error.contains(hint) && error.contains("web.yml"),
            "{web}:\n{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
    let both = Desk::new("x: 1\ny: 2").open().unwrap_err();
    assert!(
        both.contains("x: unknown") && both.contains("y: unknown"),
        "{both}"
    );
}

#[test]
fn a_file_that_cannot_be_used_stops_the_start_and_is_named() {
    let desk = Desk::tls(&[]);
    let other = Authority::new().signs_server();
    for (name, text, hints) in [
        (
            "server.key",
            other.key.as_str(),
            ["tls_server_config.key_file", "not the key of the certificate"],
        ),
        (
            "server.key",
            "",
            ["tls_server_config.key_file", "no private key in it"],
        ),
        (
            "server.crt",
            "",
            ["tls_server_config.cert_file", "no certificate in it"],
        ),
        (
            "server.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ["tls_server_config.cert_file", "server.crt"],
        ),
    ] {
        let good = fs::read_to_string(desk.path(name)).unwrap();
        desk.write(name, text);
        let error = desk.open().unwrap_err();
        assert!(
            error.contains(name) && hints.iter().all(|hint| error.contains(hint)),
            "{error}"
        );
        desk.write(name, &good);
    }
    fs::remove_file(desk.path("server.key")).unwrap();
    let error = desk.open().unwrap_err();
    assert!(
        error.contains("server.key") && error.contains("No such file"),
        "{error}"
    );
    fs::remove_file(desk.path("web.yml")).unwrap();
    assert!(desk.open().unwrap_err().contains("exporter.web_config: "));
    let config = json!({ "listen": "127.0.0.1:0", "bearer_token_file": desk.path("no") });
    let config: ExporterConfig = serde_json::from_value(config).unwrap();
    let error = Security::open(&config).unwrap_err().to_string();
    assert!(
        error.contains("exporter.bearer_token_file") && error.contains("No such file"),
        "{error}"
    );
}

/// Looks until the change was seen twice.
fn look_twice(security: &Security, health: &Health) {
    security.look(health);
    security.look(health);
}

fn count(health: &Health, series: &str) -> String {
    let mut sheet = crate::text::writer::Sheet::new(crate::text::writer::Format::Text, None);
    health.write(&mut sheet);
    let text = String::from_utf8(sheet.into_pieces().concat()).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series))
        .unwrap_or_default();
    line.trim().to_owned()
}

#[test]
fn a_new_certificate_is_taken_once_it_has_settled_and_a_bad_one_never() {
    const TAKEN: &str = "kepler_exporter_web_config_reloads_total{result=\"taken\"}";
    const KEPT: &str = "kepler_exporter_web_config_reloads_total{result=\"kept_old\"}";
    const GOOD: &str = "kepler_exporter_web_config_last_reload_successful";
    let desk = Desk::tls(&[]);
    let security = desk.open().unwrap();
    let health = Health::default();
    health.begins(security.rules().certificate_ends());
    let first = security.tls().unwrap();
    look_twice(&security, &health);
    assert!(
        Arc::ptr_eq(&first, &security.tls().unwrap()),
        "nothing has changed"
    );
    assert_eq!(count(&health, TAKEN), "0");
    // A certificate whose key has not come yet.
    let next = desk.authority.signs_server();
    desk.write("server.crt", &next.certificate);
    security.look(&health);
    assert!(
        Arc::ptr_eq(&first, &security.tls().unwrap()) && count(&health, KEPT) == "0",
        "seen once"
    );
    desk.write("server.key", &next.key);
    security.look(&health);
    assert_eq!(
        (count(&health, KEPT), count(&health, TAKEN)),
        ("0".into(), "0".into()),
        "still changing"
    );
    security.look(&health);
    let second = security.tls().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(
        (count(&health, TAKEN), count(&health, GOOD)),
        ("1".into(), "1".into())
    );
    // A bad one: told once, the old one stays, and a good one heals it.
    desk.write("server.key", "no key");
    for _ in 0..4 {
        look_twice(&security, &health);
    }
    assert!(Arc::ptr_eq(&second, &security.tls().unwrap()));
    assert_eq!(
        (count(&health, KEPT), count(&health, GOOD)),
        ("1".into(), "0".into())
    );
    desk.authority.signs_server().write(desk.folder.path(), "server");
    look_twice(&security, &health);
    assert!(!Arc::ptr_eq(&second, &security.tls().unwrap()));
    assert_eq!(
        (count(&health, TAKEN), count(&health, GOOD)),
        ("2".into(), "1".into())
    );
    assert!(
        count(&health, "kepler_exporter_certificate_expiry_timestamp_seconds")
            .parse::<u64>()
            .unwrap()
            > 0
    );
}

#[test]
fn a_file_that_holds_nothing_protects_nothing_and_is_refused() {
    for nothing in ["", "\n\n", "# tls_server_config:\n"] {
        let words = parse(nothing.as_bytes(), Path::new("/etc/kepler"), &tls::known()).unwrap_err();
        assert!(words.starts_with("holds nothing"), "{nothing:?}: {words}");
    }
}

#[test]
fn whose_certificate_is_verified_is_verified_at_each_connection() {
    let verified = Desk::tls(&[
        "client_auth_type: RequireAndVerifyClientCert",
        "client_ca_file: ca.crt",
    ]);
    let of = |desk: &Desk| desk.open().unwrap().tls().unwrap().send_tls13_tickets;
    assert_eq!(of(&verified), 0);
    assert!(of(&Desk::tls(&[])) > 0);
}

#[test]
fn nothing_that_protects_is_taken_away_while_serving() {
    let mtls = [
        "client_auth_type: RequireAndVerifyClientCert",
        "client_ca_file: ca.crt",
    ];
    let users = format!("basic_auth_users:\n  alice: {}\n", hash("wonderland"));
    for (before, after) in [
        (section(&[]), String::new()),
        (section(&mtls), section(&[])),
        (
            section(&mtls),
            section(&["client_auth_type: RequireAnyClientCert"]),
        ),
        (
            section(&mtls),
            section(&[
                "client_auth_type: VerifyClientCertIfGiven",
                "client_ca_file: ca.crt",
            ]),
        ),
        (
            section(&[&mtls[..], &["client_allowed_sans: [scraper]"]].concat()),
            section(&mtls),
        ),
        (users.clone(), String::new()),
        (users.clone(), section(&[]) + &users),
    ] {
        let desk = Desk::new(&before);
        let security = desk.open().unwrap();
        let (was, health) = (security.rules(), Health::default());
        desk.write("web.yml", &after);
        look_twice(&security, &health);
        assert!(Arc::ptr_eq(&was, &security.rules()), "{before}\n->\n{after}");
        // A user more is welcome.
        desk.write(
            "web.yml",
            &format!(
                "{before}{}",
                if before.contains("alice") {
                    format!("  bob: {ALICE}\n")
                } else {
                    String::new()
                }
            ),
        );
        look_twice(&security, &health);
        assert!(!Arc::ptr_eq(&was, &security.rules()), "{before}");
    }
}

#[test]
fn files_that_are_not_there_for_a_while_come_back() {
    let desk = Desk::tls(&[]);
    let (security, health) = (desk.open().unwrap(), Health::default());
    let was = security.rules();
    fs::rename(desk.path("web.yml"), desk.path("away")).unwrap();
    look_twice(&security, &health);
    assert!(Arc::ptr_eq(&was, &security.rules()));
    fs::rename(desk.path("away"), desk.path("web.yml")).unwrap();
    look_twice(&security, &health);
    assert!(!Arc::ptr_eq(&was, &security.rules()));
    // Nor does a file that names another one, which comes later.
    let next = desk.authority.signs_server();
    desk.write("web.yml", &section(&[]).replace("server.", "other."));
    look_twice(&security, &health);
    let was = security.rules();
    next.write(desk.folder.path(), "other");
    look_twice(&security, &health);
    assert!(!Arc::ptr_eq(&was, &security.rules()));
}

#[test]
fn what_could_not_be_read_is_tried_again_although_no_file_has_changed() {
    const TAKEN: &str = "kepler_exporter_web_config_reloads_total{result=\"taken\"}";
    const KEPT: &str = "kepler_exporter_web_config_reloads_total{result=\"kept_old\"}";
    const GOOD: &str = "kepler_exporter_web_config_last_reload_successful";
    let desk = Desk::new("rate_limit: { interval: 1s, burst: 2 }\n");
    let (security, health) = (desk.open().unwrap(), Health::default());
    health.begins(security.rules().certificate_ends());
    let counts = || [KEPT, TAKEN, GOOD].map(|series| count(&health, series));
    desk.write("web.yml", &section(&[]));
    for _ in 0..3 {
        look_twice(&security, &health);
        assert_eq!(counts(), ["1", "0", "0"], "once, however often it is tried");
    }
    // What kept it from being taken was no file, as it is where there are no descriptors left.
    let served = Arc::new(Rules {
        tls: Desk::tls(&[]).open().unwrap().rules().tls.clone(),
        ..Rules::default()
    });
    *security.rules.write().unwrap() = Arc::clone(&served);
    security.look(&health);
    assert!(!Arc::ptr_eq(&served, &security.rules()));
    assert_eq!(counts(), ["1", "1", "1"]);
}

#[test]
fn a_broken_web_configuration_hides_no_new_token() {
    const GOOD: &str = "kepler_exporter_web_config_last_reload_successful";
    let desk = Desk::tls(&[]);
    desk.write("tokens", "the-token-of-before\n");
    let mut config = desk.config();
    config["bearer_token_file"] = desk.path("tokens").to_str().unwrap().into();
    let config: ExporterConfig = serde_json::from_value(config).unwrap();
    let (security, health) = (Security::open(&config).unwrap(), Health::default());
    health.begins(security.rules().certificate_ends());
    desk.write("web.yml", "tls_server_config: [");
    look_twice(&security, &health);
    desk.write("tokens", "the-token-of-after\n");
    look_twice(&security, &health);
    let holds = |token: &[u8]| security.rules().tokens.hold(token);
    assert!(holds(b"the-token-of-after") && !holds(b"the-token-of-before"));
    assert!(security.tls().is_some());
    assert_eq!(count(&health, GOOD), "0", "one of the files is still refused");
    desk.write("web.yml", &section(&[]));
    look_twice(&security, &health);
    assert_eq!(count(&health, GOOD), "1");
    assert!(holds(b"the-token-of-after"));
}

fn people(names: &[(&str, &str)]) -> Users {
    let mut users = Users::default();
    for (name, password) in names {
        users.add(name, &hash(password)).unwrap();
    }
    users
}

#[test]
fn hashes_of_other_programs_are_taken_whatever_they_call_their_bcrypt() {
    for prefix in ["$2a$", "$2b$", "$2y$"] {
        let mut users = Users::default();
        users.add("alice", &ALICE.replace("$2b$", prefix)).unwrap();
        assert!(users.claim(b"alice").holds(b"wonderland"), "{prefix}");
        assert!(!users.claim(b"alice").holds(b"Wonderland"), "{prefix}");
    }
}

#[test]
fn a_name_that_nobody_has_costs_the_same_and_never_holds() {
    let mut users = people(&[("alice", "wonderland")]);
    let dear = bcrypt::hash_with_salt("builder", 5, *b"0123456789abcdef")
        .unwrap()
        .to_string();
    users.add("bob", &dear).unwrap();
    let claim = users.claim(b"carol");
    assert!(!claim.exists && claim.hash == dear, "the dearest hash stands in");
    assert!(!claim.holds(b"builder") && !users.claim(b"\xff").holds(b"builder"));
    assert!(users.claim(b"bob").holds(b"builder"));
}

/// A runtime, and passwords whose checker is busy with something else as long as the permit lives.
fn at_work<T>(test: impl AsyncFnOnce(Arc<Passwords>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(test(Arc::new(Passwords::new())))
}

const HOME: Origin = Origin::V4(std::net::Ipv4Addr::LOCALHOST);
const AWAY: Origin = Origin::V4(std::net::Ipv4Addr::BROADCAST);

#[test]
fn right_passwords_are_remembered_and_wrong_ones_are_not() {
    let users = people(&[("alice", "wonderland"), ("bob", "builder")]);
    at_work(async |passwords| {
        assert_eq!(
            passwords.check(&users, HOME, b"alice", b"wonderland").await,
            Answer::Right
        );
        assert_eq!(
            passwords.check(&users, HOME, b"alice", b"builder").await,
            Answer::Wrong
        );
        let busy = Arc::clone(&passwords.one).acquire_owned().await.unwrap();
        assert_eq!(
            passwords.check(&users, HOME, b"alice", b"wonderland").await,
            Answer::Right,
            "no hash"
        );
        for (name, password) in [
            ("alice", "builder"),
            ("bob", "wonderland"),
            ("bob", "builder"),
            ("carol", "wonderland"),
        ] {
            let mut check = pin!(passwords.check(&users, HOME, name.as_bytes(), password.as_bytes()));
            assert!(is_pending(check.as_mut()).await, "{name} {password}");
        }
        // A password that was changed is not remembered.
        let changed = people(&[("alice", "looking-glass")]);
        let mut check = pin!(passwords.check(&changed, HOME, b"alice", b"wonderland"));
        assert!(is_pending(check.as_mut()).await);
        drop(busy);
        assert_eq!(check.await, Answer::Wrong);
    });
}

#[test]
fn whoever_tries_many_passwords_does_not_keep_others_from_theirs() {
    let users = people(&[("alice", "wonderland")]);
    at_work(async |passwords| {
        let busy = Arc::clone(&passwords.one).acquire_owned().await.unwrap();
        let mut tries = Vec::new();
        for number in 0..20_u8 {
            let (passwords, users) = (Arc::clone(&passwords), &users);
            let mut check = Box::pin(async move { passwords.check(users, AWAY, b"alice", &[number]).await });
            if is_pending(check.as_mut()).await {
                tries.push(check);
            }
        }
        assert_eq!(tries.len(), 4, "the others were told at once that it is too busy");
        let mut honest = pin!(passwords.check(&users, HOME, b"alice", b"wonderland"));
        assert!(is_pending(honest.as_mut()).await, "waits its turn");
        let mut many = Vec::new();
        for number in 0..40_u8 {
            let (passwords, users, origin) = (Arc::clone(&passwords), &users, Origin::V6([number; 8]));
            let mut check = Box::pin(async move { passwords.check(users, origin, b"alice", b"x").await });
            if is_pending(check.as_mut()).await {
                many.push(check);
            }
        }
        assert_eq!(
            many.len(),
            10,
            "twelve in all, and places of the one that had four"
        );
        // Who hangs up makes room.
        drop((tries, many));
        drop(busy);
        assert_eq!(honest.await, Answer::Right);
    });
}

#[test]
fn four_addresses_that_try_passwords_do_not_lock_out_an_honest_one() {
    let users = people(&[("alice", "wonderland")]);
    at_work(async |passwords| {
        let busy = Arc::clone(&passwords.one).acquire_owned().await.unwrap();
        let mut tries = Vec::new();
        for number in 0..40_u8 {
            let (passwords, users, origin) = (Arc::clone(&passwords), &users, Origin::V6([number % 4; 8]));
            let mut check = Box::pin(async move { passwords.check(users, origin, b"alice", b"x").await });
            if is_pending(check.as_mut()).await {
                tries.push(check);
            }
        }
        assert_eq!(
            tries.len(),
            12,
            "the rest is for those who have shown a right one"
        );
        let mut honest = pin!(passwords.check(&users, HOME, b"alice", b"wonderland"));
        assert!(is_pending(honest.as_mut()).await, "waits its turn");
        let told = futures_util::future::join_all(tries);
        let ((), told, honest) = tokio::join!(async { drop(busy) }, told, honest);
        assert_eq!(honest, Answer::Right);
        let count = |answer| told.iter().filter(|one| **one == answer).count();
        assert_eq!(
            (count(Answer::Wrong), count(Answer::Busy)),
            (11, 1),
            "one had to make room"
        );
    });
}

#[test]
fn whoever_hangs_up_while_its_password_is_checked_is_known_for_it() {
    let users = people(&[("alice", "wonderland")]);
    at_work(async |passwords| {
        let check = async |password: &[u8]| passwords.check(&users, AWAY, b"alice", password).await;
        let mut gone = Box::pin(check(b"x"));
        assert!(is_pending(gone.as_mut()).await);
        drop(gone);
        // It goes on, and holds this until it ends.
        let busy = Arc::clone(&passwords.one).acquire_owned().await.unwrap();
        let mut tries = [b"y", b"z"].map(|password| Box::pin(check(password)));
        let [first, second] = &mut tries;
        assert!(is_pending(first.as_mut()).await);
        assert!(
            !is_pending(second.as_mut()).await,
            "one at a time of such an address"
        );
        drop((tries, busy));
    });
}

proptest! {
    #[test]
    fn no_file_whatever_is_in_it_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, Path::new("/"), &tls::known());
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(at in 0_usize..2_000, piece in "\\PC{0,12}", cut in 0_usize..40) {
        let mut text = section(&[
            "client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file: ca.crt",
            "client_allowed_sans: [a, b]",
            "cipher_suites: [TLS_AES_128_GCM_SHA256]",
        ]) + &format!("http_server_config:\n  headers:\n    X-Frame-Options: deny\nbasic_auth_users: &a\n  alice: {ALICE}\nrate_limit: {{ interval: 1s, burst: 2 }}\n");
        let place = text.char_indices().map(|(place, _)| place).nth(at % text.len()).unwrap_or(0);
        let end = (place + cut).min(text.len());
        text.replace_range(place..end, &piece);
        let _ = parse(text.as_bytes(), Path::new("/"), &tls::known());
    }
}
