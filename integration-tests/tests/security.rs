// SPDX-License-Identifier: Apache-2.0
//! Who may read the figures: the real daemon with TLS, certificates of clients, passwords, tokens and a socket file, asked by curl;
//! a certificate renewed under load; and a start that is refused.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, PATIENCE, command, pause};
use integration_tests::{has_command, skip};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// bcrypt of "wonderland" at the cheapest cost, made by crypt(3) of the C library.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuujZkTwHUiJ9XdZPwKfcfDo7dMp5DjlTu";
const TOKEN: &str = "0123456789abcdef-token";
const NETWORK: &str = "127.0.0.1:0";

/// A folder with an authority and what it has signed.
struct Desk {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: String,
}

impl Desk {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of its own: OpenSSL calls a certificate self-signed whose names of subject and issuer are one.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate").pem();
        let desk = Self {
            folder: TempDir::new().expect("a folder"),
            issuer: Issuer::new(params, key),
            authority,
        };
        desk.write("ca.crt", &desk.authority);
        desk.renew("server");
        desk.renew("client");
        desk.write("tokens", &format!("{TOKEN}\n"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Whole, under another name first.
    fn write(&self, name: &str, text: &str) {
        let hidden = self.path(&format!(".{name}"));
        fs::write(&hidden, text).expect("our own folder");
        fs::rename(hidden, self.path(name)).expect("our own folder");
    }

    /// A new certificate and its key; gives the certificate.
    fn renew(&self, name: &str) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
        certificate.der().clone()
    }

    fn start(&self, web: &str, more: &[&str]) -> Daemon {
        self.write("web.yml", web);
        let web = format!("exporter.web_config={}", self.at("web.yml"));
        let basic = ["--tick", "200ms", "--set", "sources.cpu=estimator", "--set", &web];
        Daemon::start(&[&basic, more].concat())
    }
}

fn tls(lines: &str) -> String {
    format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{lines}")
}

/// What curl gets: the status, 0 where there is no answer, and the body.
fn curl(arguments: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(arguments)
        .output()
        .expect("curl starts");
    // Why there was no answer, for who reads a failure.
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
    (status.trim().parse().unwrap_or(0), body.to_owned())
}

#[test]
fn curl_comes_in_with_certificate_and_password_or_token_and_with_neither_it_does_not() {
    if !has_command("curl") {
        return skip("needs curl");
    }
    let desk = Desk::new();
    let mutual = tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n");
    let users = format!("basic_auth_users:\n  alice: {HASH}\n");
    let tokens = format!("exporter.bearer_token_file={}", desk.at("tokens"));
    let daemon = desk.start(&format!("{mutual}{users}"), &["--set", &tokens]);
    let port = daemon.address.port();
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let to = format!("localhost:{port}:127.0.0.1");
    let (ca, certificate, key) = (desk.at("ca.crt"), desk.at("client.crt"), desk.at("client.key"));
    let trusts = ["--cacert", &ca, "--resolve", &to];
    let shows = ["--cert", &certificate, "--key", &key];
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (metrics, probe) = (url("/metrics"), url("/livez"));
    let plain = metrics.replace("https", "http");
    let (metrics, probe, plain) = (metrics.as_str(), probe.as_str(), plain.as_str());
    let ask = |more: &[&str]| curl(&[&trusts, more].concat());
    for (what, arguments, expected) in [
        (
            "a password",
            [&shows[..], &["--user", "alice:wonderland", metrics]].concat(),
            200,
        ),
        (
            "a token",
            [&shows[..], &["--header", &bearer, metrics]].concat(),
            200,
        ),
        ("neither", [&shows[..], &[metrics]].concat(), 401),
        (
            "a wrong password",
            [&shows[..], &["--user", "alice:hatter", metrics]].concat(),
            401,
        ),
        (
            "nobody's name",
            [&shows[..], &["--user", "carol:wonderland", metrics]].concat(),
            401,
        ),
        ("a probe", [&shows[..], &[probe]].concat(), 200),
        ("no certificate", vec!["--user", "alice:wonderland", metrics], 0),
        ("a probe without certificate", vec![probe], 0),
        ("plain text", vec!["--user", "alice:wonderland", plain], 0),
    ] {
        let (status, body) = ask(&arguments);
        assert_eq!(status, expected, "{what}: {body}");
        assert_eq!(
            body.contains("kepler_node_"),
            expected == 200 && what != "a probe",
            "{what}"
        );
    }
    let (_, page) = ask(&[&shows[..], &["--header", &bearer, metrics]].concat());
    let counted = |series: &str| {
        page.lines()
            .any(|line| line.starts_with(series) && !line.ends_with(" 0"))
    };
    assert!(
        counted("kepler_exporter_requests_refused_total{reason=\"unauthorized\"}"),
        "{page}"
    );
    assert!(
        counted("kepler_exporter_connections_closed_total{reason=\"handshake\"}"),
        "{page}"
    );
    assert!(
        counted("kepler_exporter_certificate_expiry_timestamp_seconds"),
        "{page}"
    );
    // Nothing secret is in the log.
    let log = daemon.log().join("\n");
    assert!(
        !log.contains(TOKEN) && !log.contains("wonderland") && !log.contains(HASH),
        "{log}"
    );
    assert_eq!(daemon.stop(), Some(0));
}

/// One request over a connection of its own: the certificate that was shown, and the answer.
fn ask(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    path: &str,
) -> io::Result<(CertificateDer<'static>, String)> {
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(client, socket);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let shown = stream
        .conn
        .peer_certificates()
        .and_then(|chain| chain.first().cloned());
    let shown = shown.ok_or_else(|| io::Error::other("no certificate"))?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(answer));
    }
    Ok((shown.into_owned(), answer))
}

#[test]
fn a_certificate_is_renewed_under_load_without_a_failed_request_and_a_bad_one_is_not_taken() {
    let desk = Desk::new();
    let daemon = desk.start(&tls(""), &[]);
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(desk.authority.as_bytes()).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each one a whole handshake, so that each sees the certificate that is served.
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for path in ["/metrics", "/livez"] {
            let (config, done, asked, address) = (&config, &done, &asked, daemon.address);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    ask(address, config, path).expect("no request fails");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever fails here ends the others, too.
        let _ends = Ends(&done);
        let wait_for = |what: &str, is_so: &dyn Fn(&CertificateDer<'_>, &str) -> bool| {
            let end = Instant::now() + PATIENCE;
            loop {
                let (shown, page) = ask(daemon.address, &config, "/metrics").expect("no request fails");
                if is_so(&shown, &page) {
                    return shown;
                }
                assert!(Instant::now() < end, "never: {what}\n{}", daemon.log().join("\n"));
                pause();
            }
        };
        let (first, _) = ask(daemon.address, &config, "/metrics").expect("an answer");
        for _ in 0..3 {
            let renewed = desk.renew("server");
            wait_for("the new certificate", &|shown, _| *shown == renewed);
        }
        desk.write("server.key", "no key");
        let refused = "kepler_exporter_web_config_last_reload_successful 0\n";
        let shown = wait_for("a refusal", &|_, page| page.contains(refused));
        assert_ne!(shown, first, "the last good one stays");
        let renewed = desk.renew("server");
        let good = "kepler_exporter_web_config_last_reload_successful 1\n";
        wait_for("healed", &|shown, page| *shown == renewed && page.contains(good));
    });
    assert!(asked.load(Ordering::Relaxed) > 20);
    let log = daemon.log().join("\n");
    assert!(
        log.contains("server.key") && log.contains("the old one stays"),
        "{log}"
    );
    assert_eq!(daemon.stop(), Some(0));
}

/// Ends those who ask, also when a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Exit code and words of a start that has to fail.
fn refused(listen: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command()
        .args(["--listen", listen, "--set", "sources.cpu=estimator"])
        .args(arguments)
        .output()
        .expect("kepler starts");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn what_cannot_be_served_securely_is_not_served_at_all() {
    let desk = Desk::new();
    desk.write("web.yml", &tls(""));
    let web = format!("exporter.web_config={}", desk.at("web.yml"));
    fs::copy(desk.path("client.key"), desk.path("server.key")).expect("our own folder");
    let (code, said) = refused(NETWORK, &["--set", &web]);
    assert_eq!(code, Some(2), "{said}");
    for part in [
        "exporter.web_config",
        "web.yml",
        "key_file",
        "server.key",
        "not the key of the certificate",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("listening"), "{said}");
    desk.write(
        "web.yml",
        "tls_server_config:\n  cert_file: server.crt\n  keyfile: server.key\n",
    );
    let (code, said) = refused(NETWORK, &["--set", &web]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("tls_server_config.keyfile: unknown key; did you mean key_file?"),
        "{said}"
    );
    let (code, said) = refused(
        NETWORK,
        &["--set", "exporter.bearer_token_file=/nonexistent/token"],
    );
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("exporter.bearer_token_file") && said.contains("/nonexistent/token"),
        "{said}"
    );
    // And `kepler check` says the same.
    let output = command()
        .arg("check")
        .args(["--set", &web])
        .output()
        .expect("kepler starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("did you mean key_file?") && output.status.code() == Some(1),
        "{told}"
    );
}

/// What a socket file answers to `GET path`.
fn ask_socket(path: &Path, what: &str) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(path).expect("a socket that answers");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    write!(
        stream,
        "GET {what} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_socket_file_is_served_replaced_after_a_death_and_removed_at_the_stop() {
    let desk = Desk::new();
    let path = desk.path("kepler.sock");
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    let arguments = ["--listen", &listen, "--set", "exporter.socket_mode=0600"];
    let start = || {
        let mut daemon = command();
        daemon.args([
            "--tick",
            "200ms",
            "--set",
            "sources.cpu=estimator",
            "--set",
            "log.format=json",
        ]);
        daemon.args(arguments);
        Daemon::spawn(daemon)
    };
    let mut daemon = start();
    assert!(ask_socket(&path, "/livez").ends_with("ok\n"));
    let of = fs::symlink_metadata(&path).expect("it is there");
    assert!(of.file_type().is_socket());
    assert_eq!(of.permissions().mode() & 0o777, 0o600);
    let (code, said) = refused(&listen, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("unix:{} is in use", path.display())),
        "{said}"
    );
    assert!(
        ask_socket(&path, "/livez").ends_with("ok\n"),
        "the living one keeps its file"
    );
    daemon.signal(Signal::KILL);
    daemon.wait();
    assert!(path.exists(), "nobody was there to remove it");
    let daemon = start();
    assert!(ask_socket(&path, "/readyz").starts_with("HTTP/1.1 "));
    if has_command("curl") {
        let (status, body) = curl(&[
            "--unix-socket",
            &path.display().to_string(),
            "http://localhost/metrics",
        ]);
        assert!(
            status == 200 && body.contains("kepler_exporter_build_info"),
            "{status} {body}"
        );
    }
    assert_eq!(daemon.stop(), Some(0));
    assert!(!path.exists());
}
