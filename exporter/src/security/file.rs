// SPDX-License-Identifier: Apache-2.0
//! The `web.config.file` of Prometheus' exporters (exporter-toolkit, docs/web-configuration.md): bytes in, what is wanted
//! out. Opens no file. What we cannot honour is refused with a word; what is unknown, too, with what was probably meant.

use super::reader::{Problems, Table, refused};
use super::users::Users;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use warp::http::header::{HeaderName, HeaderValue};

const SECTIONS: [&str; 4] = [
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
];
const TLS: [&str; 13] = [
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_auth_type",
    "client_ca_file",
    "client_ca",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

/// Headers that may be set, and what their values may be where that is fixed.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];

/// Names of client certificates that may be listed: compared one by one at each handshake.
pub(super) const MOST_NAMES: usize = 1_000;

/// Where something in PEM form is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    File(PathBuf),
    Inline(String),
}

/// What is asked of clients (Go's `tls.ClientAuthType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    const NAMES: [(&str, Self); 6] = [
        ("NoClientCert", Self::None),
        ("RequestClientCert", Self::Request),
        ("RequireAnyClientCert", Self::RequireAny),
        ("VerifyClientCertIfGiven", Self::VerifyIfGiven),
        ("RequireAndVerifyClientCert", Self::RequireAndVerify),
        // An older name, which the toolkit still takes.
        ("RequireClientCert", Self::RequireAny),
    ];

    /// Whether nobody comes in without a certificate.
    pub(super) const fn is_mandatory(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    /// Whether a certificate has to be of one of our authorities.
    pub(super) const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    const NAMES: [(&str, Self); 2] = [("TLS12", Self::Tls12), ("TLS13", Self::Tls13)];
}

/// `tls_server_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsSection {
    pub(super) cert: Pem,
    pub(super) key: Pem,
    pub(super) clients: ClientAuth,
    pub(super) client_ca: Option<Pem>,
    /// Names of which a client's certificate has to have one; `None` where any may come.
    pub(super) client_names: Option<Vec<String>>,
    pub(super) oldest: Version,
    pub(super) newest: Version,
    /// Go's names, in order; `None` where all that we have are taken.
    pub(super) suites: Option<Vec<String>>,
    pub(super) curves: Option<Vec<String>>,
    pub(super) prefers_own_suites: bool,
}

/// `rate_limit`: a bucket of `burst` requests that gets one more each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WebFile {
    pub(super) tls: Option<TlsSection>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: Users,
    pub(super) rate: Option<Rate>,
}

/// Names of cipher suites and curves that there are.
pub(super) struct Known {
    pub(super) suites: Vec<&'static str>,
    pub(super) curves: Vec<&'static str>,
}

/// Reads it. Paths in it are relative to `folder`.
///
/// # Errors
///
/// All that is wrong, a line each.
pub(super) fn parse(bytes: &[u8], folder: &Path, known: &Known) -> Result<WebFile, String> {
    let document = document(bytes)?;
    if document.is_null() {
        // A disk that was full, or a map of another key: whoever names a file wants to be protected by it.
        return Err(format!(
            "holds nothing, so nothing would be protected; write one of {}, or take exporter.web_config away",
            SECTIONS.join(", ")
        ));
    }
    let mut problems = Problems::default();
    let root = Table::root(&document, &SECTIONS, &mut problems);
    let tls = root
        .has("tls_server_config")
        .then(|| tls(&root, folder, known, &mut problems))
        .flatten();
    let file = WebFile {
        tls,
        headers: http(&root, &mut problems),
        users: users(&root, &mut problems),
        rate: rate(&root, &mut problems),
    };
    problems.told().map_or(Ok(file), Err)
}

fn document(bytes: &[u8]) -> Result<Value, String> {
    // No excerpt of the file in an error: it may hold a key.
    let options = serde_saphyr::options! { with_snippet: false };
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| match error.location() {
        Some(place) => format!(
            "line {}, column {}: this is no YAML that can be read",
            place.line(),
            place.column()
        ),
        None => "this is no YAML that can be read".to_owned(),
    })
}

fn tls(root: &Table<'_>, folder: &Path, known: &Known, problems: &mut Problems) -> Option<TlsSection> {
    let table = root.table("tls_server_config", &TLS, problems);
    let cert = pem(&table, "cert_file", "cert", folder, problems);
    let key = pem(&table, "key_file", "key", folder, problems);
    for (found, file, inline) in [(&cert, "cert_file", "cert"), (&key, "key_file", "key")] {
        if found.is_none() {
            let advice =
                format!("missing; set it, or {inline}, or take tls_server_config away to serve without TLS");
            problems.say(&table.at(file), &advice);
        }
    }
    let mut version = |key, default| table.choice(key, &Version::NAMES, problems).unwrap_or(default);
    let (oldest, newest) = (
        version("min_version", Version::Tls12),
        version("max_version", Version::Tls13),
    );
    if oldest > newest {
        problems.say(
            &table.at("min_version"),
            "newer than max_version; no version is left",
        );
    }
    let (clients, client_ca, client_names) = clients(&table, folder, problems);
    let suites = names(&table, "cipher_suites", &known.suites, problems);
    let curves = names(&table, "curve_preferences", &known.curves, problems);
    let prefers_own_suites = table
        .flag("prefer_server_cipher_suites", problems)
        .unwrap_or(true);
    Some(TlsSection {
        cert: cert?,
        key: key?,
        clients,
        client_ca,
        client_names,
        oldest,
        newest,
        suites,
        curves,
        prefers_own_suites,
    })
}

fn pem(table: &Table<'_>, file: &str, inline: &str, folder: &Path, problems: &mut Problems) -> Option<Pem> {
    let path = table.text(file, problems);
    let text = table.text(inline, problems);
    if path.is_some() && text.is_some() {
        problems.say(
            &table.at(inline),
            &format!("{file} is set, too; take one of them away"),
        );
    }
    match (path, text) {
        (Some(path), _) => Some(Pem::File(folder.join(path))),
        (None, Some(text)) => Some(Pem::Inline(text.to_owned())),
        (None, None) => None,
    }
}

fn clients(
    table: &Table<'_>,
    folder: &Path,
    problems: &mut Problems,
) -> (ClientAuth, Option<Pem>, Option<Vec<String>>) {
    let clients = table.choice("client_auth_type", &ClientAuth::NAMES, problems);
    let clients = clients.unwrap_or(ClientAuth::None);
    let authorities = pem(table, "client_ca_file", "client_ca", folder, problems);
    if clients.verifies() && authorities.is_none() {
        let advice = "missing; who verifies clients needs the authority that signed for them";
        problems.say(&table.at("client_ca_file"), advice);
    }
    if clients == ClientAuth::None && authorities.is_some() {
        let advice = "an authority without a question: set it to RequireAndVerifyClientCert, or take client_ca_file away";
        problems.say(&table.at("client_auth_type"), advice);
    }
    let sans = table.list("client_allowed_sans", problems);
    if sans.is_some() && !clients.is_mandatory() {
        let advice = "needs client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert: who may come without a \
                      certificate has no name to compare";
        problems.say(&table.at("client_allowed_sans"), advice);
    }
    if sans
        .as_ref()
        .is_some_and(|sans| sans.is_empty() || sans.len() > MOST_NAMES)
    {
        problems.say(
            &table.at("client_allowed_sans"),
            &format!("allowed: 1 to {MOST_NAMES} names"),
        );
    }
    let sans = sans.map(|sans| sans.into_iter().map(str::to_owned).collect());
    (clients, authorities, sans)
}

/// Names of a list, each of which has to be known.
fn names(table: &Table<'_>, key: &str, known: &[&str], problems: &mut Problems) -> Option<Vec<String>> {
    let names = table.list(key, problems)?;
    for name in &names {
        if !known.contains(name) {
            problems.say(&table.at(key), &refused(name, known));
        }
    }
    // An empty list is the default, as the toolkit has it.
    (!names.is_empty()).then(|| names.into_iter().map(str::to_owned).collect())
}

fn http(root: &Table<'_>, problems: &mut Problems) -> Vec<(HeaderName, HeaderValue)> {
    let table = root.table("http_server_config", &["http2", "headers"], problems);
    if table.flag("http2", problems) == Some(true) {
        problems.say(
            &table.at("http2"),
            "HTTP/2 is not spoken here; write false, or take the line away",
        );
    }
    let table = table.table("headers", &HEADERS.map(|(name, _)| name), problems);
    let mut headers = Vec::new();
    for (name, values) in HEADERS {
        let Some(text) = table.text(name, problems) else {
            continue;
        };
        if !values.is_empty() && !values.contains(&text) {
            problems.say(&table.at(name), &refused(text, values));
        }
        match (HeaderName::try_from(name), HeaderValue::try_from(text)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => problems.say(&table.at(name), "allowed: visible characters in one line"),
        }
    }
    headers
}

fn users(root: &Table<'_>, problems: &mut Problems) -> Users {
    let table = root.people("basic_auth_users", problems);
    let mut users = Users::default();
    for (name, hash) in table.texts(problems) {
        if let Err(reason) = users.add(name, hash) {
            problems.say("basic_auth_users", &reason);
        }
    }
    if root.has("basic_auth_users") && users.is_empty() {
        problems.say(
            "basic_auth_users",
            "nobody is in it; name somebody, or take it away to let in everybody",
        );
    }
    users
}

fn rate(root: &Table<'_>, problems: &mut Problems) -> Option<Rate> {
    let table = root.table("rate_limit", &["interval", "burst"], problems);
    let interval = table.duration("interval", problems).unwrap_or(Duration::ZERO);
    let burst = table.number("burst", problems).unwrap_or(0);
    if interval.is_zero() {
        return None;
    }
    if burst == 0 {
        problems.say(&table.at("burst"), "allowed: from 1; 0 lets nobody in");
    }
    Some(Rate { interval, burst })
}
