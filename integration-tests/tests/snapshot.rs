// SPDX-License-Identifier: Apache-2.0
//! `kepler snapshot` as scripts use it: forms, levels and limits before the real daemon; TLS, secrets, unix sockets, and
//! what is said when nobody answers.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::canned::{Answers, Canned};
use integration_tests::daemon::{Daemon, PATIENCE, command, pause};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

fn snapshot(arguments: &[&str]) -> Output {
    command()
        .arg("snapshot")
        .args(arguments)
        .output()
        .expect("it runs")
}

/// Its output, when it says that it is well.
fn printed(arguments: &[&str]) -> String {
    let output = snapshot(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Its exit code and words, when it is not.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = snapshot(arguments);
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_daemon_is_printed_in_three_forms_at_every_level_as_often_as_asked_for() {
    let daemon = Daemon::start(&[
        "--tick",
        "100ms",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.platform=",
    ]);
    let from = format!("http://{}", daemon.address);
    let end = Instant::now() + PATIENCE;
    // A slot of the daemon's history has a second, and there is no power before the first.
    while printed(&["--from", &from, "--json"]).contains("\"node\":{\"dynamic_uw\":null") {
        assert!(Instant::now() < end, "never any power");
        pause();
    }
    let table = printed(&["--from", &from]);
    assert!(
        table.starts_with("Node ≈") && table.contains("\nCONTAINERS"),
        "{table}"
    );
    assert!(
        table.contains("estimated ±") && table.contains("host processes"),
        "{table}"
    );

    let text = printed(&[
        "--from",
        &from,
        "--json",
        "--level",
        "processes",
        "--sort",
        "energy",
        "--limit",
        "3",
    ]);
    let read: Value = serde_json::from_str(&text).expect("JSON");
    let rows = read["rows"].as_array().expect("rows");
    assert_eq!((&read["level"], rows.len()), (&Value::from("process"), 3));
    assert!(read["others"]["rows"].as_u64().expect("a number") > 0);
    let energy =
        |row: &Value| row["dynamic_uj"].as_u64().expect("energy") + row["idle_uj"].as_u64().expect("energy");
    assert!(
        rows.is_sorted_by(|one, other| energy(one) >= energy(other)),
        "{text}"
    );

    for level in ["pods", "containers", "processes", "vms", "units", "pod"] {
        let text = printed(&["--from", &from, "--csv", "--level", level]);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some(
                "level,id,name,group,detail,ended,dynamic_watts,idle_watts,dynamic_joules,idle_joules,estimated_ratio"
            )
        );
        assert!(
            lines
                .next()
                .is_some_and(|line| line.starts_with("node,,,,,false,")),
            "{text}"
        );
    }
    // Without an address it asks where the configuration says that the daemon listens.
    let own = printed(&["--listen", &daemon.address.to_string(), "--json"]);
    assert!(own.contains(&from), "{own}");
}

#[test]
fn nobody_a_wrong_address_and_a_wrong_option_are_told_apart_by_code_and_words() {
    let (code, words) = refused(&["--from", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(3));
    assert!(
        words.contains("http://127.0.0.1:1") && words.contains("start `kepler`"),
        "{words}"
    );
    let (code, words) = refused(&["--from", "unix:/no/such/socket"]);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("unix:/no/such/socket"), "{words}");
    for wrong in [
        &["--from", "node7"][..],
        &["--from", "http://me:pw@node7"],
        &["--json", "--csv"],
        &["--user", "me"],
        &["--password", "secret"],
        &["--level", "nodes"],
        &["--timeout", "0s"],
        &["--from", "https://127.0.0.1:1", "--ca-file", "/no/such/file"],
    ] {
        assert_eq!(refused(wrong).0, Some(2), "{wrong:?}");
    }
    let elsewhere = Canned::tcp(vec![("/api/v1/about", 200, "<html>".to_owned())], None);
    let (code, words) = refused(&["--from", &format!("http://{}", elsewhere.address)]);
    assert_eq!(code, Some(4));
    assert!(words.contains("does not answer as kepler does"), "{words}");
    let full = vec![
        ("/api/v1/about", 200, "{}".to_owned()),
        (
            "/api/v1/stream",
            503,
            "too many live viewers; close another window\n".to_owned(),
        ),
    ];
    let full = Canned::tcp(full, None);
    let (code, words) = refused(&["--from", &format!("http://{}", full.address)]);
    assert_eq!(code, Some(4));
    assert!(
        words.contains("503") && words.contains("too many live viewers"),
        "{words}"
    );
}

#[test]
fn whoever_never_answers_is_given_up() {
    // Nobody accepts: the kernel takes the connection, and that is all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let from = format!("http://{}", silent.local_addr().expect("an address"));
    let (code, words) = refused(&["--from", &from, "--timeout", "200ms"]);
    assert_eq!(code, Some(3));
    assert!(words.contains("200ms") && words.contains("--timeout"), "{words}");
}

/// What a daemon with one container says; its name means harm.
fn answers() -> Answers {
    let row = r#"{"id":"1","name":"evil\u001b[2J\u202e,\"x\"","group":"shop","detail":"","ended":false,"dynamic_uw":1500000,"idle_uw":500000,"dynamic_uj":7,"idle_uj":1,"estimated_permille":1000,"error_permille":150,"history":true,"new":1}"#;
    let update = format!(
        r#"{{"schema":1,"slot":9,"now_ms":5000,"began_ms":1000,"node":{{"dynamic_uw":1500000,"idle_uw":500000,"error_permille":150,"estimated_permille":1000}},"level":"container","rows":[{row}],"others":{{}},"later":{{}}}}"#
    );
    vec![
        (
            "/api/v1/about",
            200,
            r#"{"version":"9.9.9","new":[1]}"#.to_owned(),
        ),
        (
            "/api/v1/stream",
            200,
            format!("retry: 2000\n\nevent: update\nid: 9\ndata: {update}\n\n"),
        ),
    ]
}

#[test]
fn a_unix_socket_is_asked_as_well_and_names_that_mean_harm_do_none() {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("kepler.sock");
    let token = folder.path().join("token");
    fs::write(&token, "open sesame\n").expect("a file");
    let server = Canned::unix(answers(), &socket);
    let from = format!("unix:{}", socket.display());
    let table = printed(&[
        "--from",
        &from,
        "--bearer-token-file",
        token.to_str().expect("text"),
    ]);
    assert!(
        table.contains("evil\u{fffd}[2J\u{fffd}") && table.contains("≈2.00"),
        "{table}"
    );
    assert!(
        !table.contains('\x1b') && !table.contains('\u{202e}'),
        "{table:?}"
    );
    let heads = server.heads();
    assert_eq!(heads.len(), 2);
    assert!(
        heads
            .iter()
            .all(|head| head.to_lowercase().contains("authorization: bearer open sesame")),
        "{heads:?}"
    );
    let csv = printed(&["--from", &from, "--csv"]);
    assert!(
        csv.contains("\"evil\u{fffd}[2J\u{fffd},\"\"x\"\"\",shop"),
        "{csv}"
    );
}

/// An authority, and two keys that it has signed: the daemon's and ours.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self {
            folder: TempDir::new().expect("a folder"),
        };
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&authority_key).expect("signed");
        keys.write("ca.pem", &certificate.pem());
        let issuer = Issuer::new(authority, authority_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let signed = CertificateParams::new(names)
                .expect("parameters")
                .signed_by(&key, &issuer);
            keys.write(&format!("{name}.pem"), &signed.expect("signed").pem());
            keys.write(&format!("{name}.key"), &key.serialize_pem());
        }
        keys
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    /// A server's settings; where `mutual`, it wants a certificate of the authority, too.
    fn server(&self, mutual: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("protocols");
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots
                .add(certificate(&self.path("ca.pem")))
                .expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).expect("a key");
        let chain = vec![certificate(&self.path("server.pem"))];
        Arc::new(builder.with_single_cert(chain, key).expect("a certificate"))
    }
}

fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).expect("a certificate")
}

#[test]
fn tls_is_believed_only_with_its_authority_and_passwords_travel_in_it() {
    let keys = Keys::new();
    let server = Canned::tcp(answers(), Some(keys.server(false)));
    let from = format!("https://{}", server.address);
    let (code, words) = refused(&["--from", &from]);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("--ca-file"), "{words}");
    assert!(
        server.heads().is_empty(),
        "nothing was said to whom nobody trusts"
    );
    keys.write("password", "open sesame\n");
    let table = printed(&[
        "--from",
        &from,
        "--ca-file",
        &keys.text("ca.pem"),
        "--user",
        "ali",
        "--password-file",
        &keys.text("password"),
    ]);
    assert!(table.contains("≈2.00"), "{table}");
    let heads = server.heads();
    assert!(heads[0].contains("Basic YWxpOm9wZW4gc2VzYW1l"), "{heads:?}");
    // The other way round: plain HTTP to whoever speaks TLS.
    let (code, _) = refused(&["--from", &format!("http://{}", server.address)]);
    assert_eq!(code, Some(3));
}

#[test]
fn a_daemon_that_asks_for_a_certificate_gets_ours_or_says_no() {
    let keys = Keys::new();
    let server = Canned::tcp(answers(), Some(keys.server(true)));
    let from = format!("https://{}", server.address);
    let authority = keys.text("ca.pem");
    let with = |more: &[&str]| {
        let mut arguments = vec!["--from", &from, "--ca-file", &authority];
        arguments.extend(more);
        snapshot(&arguments).status.code()
    };
    assert_eq!(with(&[]), Some(3));
    assert_eq!(
        with(&[
            "--cert-file",
            &keys.text("client.pem"),
            "--key-file",
            &keys.text("client.key")
        ]),
        Some(0)
    );
    assert_eq!(
        with(&[
            "--cert-file",
            &keys.text("client.pem"),
            "--key-file",
            &keys.text("server.key")
        ]),
        Some(2)
    );
}
