// SPDX-License-Identifier: Apache-2.0
//! `[exporter.push]`: to whom snapshots are sent, and how. Owns the keys, their ranges, and what may not stand together.
//!
//! Secrets are in files, never in a value: a section is shown by `kepler config` and in logs.

use crate::config::{ExporterConfig, HumaneDuration, Schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest and longest time between two pushes. Below, nobody could tell the windows apart that are pushed (a tick is 100 ms at
/// least); above, Prometheus forgets a series between two of its samples (it looks back five minutes).
const INTERVAL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// Shortest and longest time for one request.
const TIMEOUT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(120)];
/// Shortest and longest time in the queue.
const AGE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(24 * 3600)];
/// Largest queue in MiB.
const MOST_MIB: u32 = 1024;
/// Most labels, attributes or headers: each label is in every series.
const MOST_ENTRIES: usize = 32;
/// Longest value of one of them, as of the labels of a page.
const LONGEST_VALUE: usize = 256;

/// `[exporter.push]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// Prometheus remote write.
    pub remote_write: RemoteWriteConfig,
    /// OTLP metrics over HTTP.
    pub otlp: OtlpConfig,
}

/// `[exporter.push.remote_write]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// Where to: `http://` or `https://`, with the path (`https://prometheus.example/api/v1/write`). Default: nowhere.
    pub url: Target,
    /// Version of the protocol: `1.0`, which every receiver knows, or `2.0`, which says since when counters count and what they
    /// are. Default: `1.0`.
    pub version: Version,
    /// Labels that every series gets where it has none of that name. `job` (`kepler`) and `instance` (the node's name) are
    /// added where they are not set here.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Time from one push to the next, 1 s to 5 min. Default: `15s`.
    pub interval: Interval,
    /// Schemas that are pushed, of those in `exporter.schemas`. Default: all of these.
    #[serde(deserialize_with = "crate::config::some_schemas")]
    pub schemas: Vec<Schema>,
    /// How requests are made.
    pub request: RequestConfig,
    /// What waits while the receiver does not take it.
    pub queue: QueueConfig,
}

/// `[exporter.push.otlp]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// Where to: `http://` or `https://`, with the path (`http://collector:4318/v1/metrics`). Default: nowhere.
    pub url: Target,
    /// Attributes of the resource. `service.name` (`kepler`), `service.instance.id` and `host.name` (the node's name) and
    /// `service.version` are added where they are not set here.
    #[serde(deserialize_with = "attributes")]
    pub attributes: BTreeMap<String, String>,
    /// Time from one push to the next, 1 s to 5 min. Default: `15s`.
    pub interval: Interval,
    /// Schemas that are pushed, of those in `exporter.schemas`. Default: all of these.
    #[serde(deserialize_with = "crate::config::some_schemas")]
    pub schemas: Vec<Schema>,
    /// How requests are made.
    pub request: RequestConfig,
    /// What waits while the receiver does not take it.
    pub queue: QueueConfig,
}

/// How requests are made, and how both sides prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestConfig {
    /// Longest time for one request with its answer, 100 ms to 2 min. Default: `10s`.
    pub timeout: Timeout,
    /// Further headers, such as `X-Scope-OrgID`; at most 32. Not for secrets: these are in files.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, String>,
    /// Name for basic auth. Default: none.
    pub username: String,
    /// The file whose first line is the password of that name. Read at each request.
    pub password_file: PathBuf,
    /// The file whose first line is a bearer token. Read at each request.
    pub token_file: PathBuf,
    /// Certificates (PEM) of which one must have signed the receiver's, instead of those that the system trusts.
    pub ca_file: PathBuf,
    /// Our own certificate (PEM), for a receiver that asks for one.
    pub cert_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
    /// Whether a password or a token may go over plain HTTP, where everybody on the way can read it. Default: no.
    pub plain_secrets: bool,
}

/// Bounds of what waits. Counters are totals, so what is dropped costs resolution and no energy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Size in MiB, 1 to 1024, compressed as it is sent. Default: 16, some five minutes of the largest node (a quarter of a
    /// MiB for each 10,000 series, every 15 s) and hours of a usual one.
    #[serde(deserialize_with = "mebibytes")]
    pub mib: u32,
    /// Longest wait, 10 s to 24 h. Default: `30m`: what is older than an hour Prometheus does not take any more.
    pub age: Age,
}

impl PushConfig {
    /// Whether anybody is told.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.remote_write.url.wanted().is_some() || self.otlp.url.wanted().is_some()
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            mib: 16,
            age: Age(HumaneDuration(Duration::from_secs(1800))),
        }
    }
}

/// A version of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    #[default]
    #[serde(rename = "1.0")]
    V1,
    /// `io.prometheus.write.v2.Request`.
    #[serde(rename = "2.0")]
    V2,
}

/// An address to send to, or nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Target(String);

impl Target {
    /// The address, where there is one.
    #[must_use]
    pub(crate) fn wanted(&self) -> Option<reqwest::Url> {
        reqwest::Url::parse(&self.0).ok()
    }

    /// Whether it is sent without TLS.
    fn is_plain(&self) -> bool {
        self.wanted().is_some_and(|url| url.scheme() == "http")
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Target {
    /// Never shows the address in an error: it may hold a password where none belongs.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str =
            "expected one such as \"https://prometheus.example/api/v1/write\", or \"\" for none";
        let refuse = |what: &str| Err(D::Error::custom(format!("{what}; {ALLOWED}")));
        let Ok(text) = String::deserialize(from) else {
            return refuse("no address");
        };
        if text.is_empty() {
            return Ok(Self(text));
        }
        let Ok(url) = reqwest::Url::parse(&text) else {
            return refuse("no address");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "the address holds a name or a password; use request.username and request.password_file, which are kept out of logs",
            );
        }
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return refuse("the address is neither http:// nor https:// with a host");
        }
        Ok(Self(text))
    }
}

/// A duration with its range, one type for each so that a wrong one is named with what is allowed.
macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident, $range:expr, $default:expr, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub HumaneDuration);

        impl Default for $name {
            fn default() -> Self {
                Self(HumaneDuration($default))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let given = HumaneDuration::deserialize(from)?;
                let [least, most] = $range;
                if given.0 < least || given.0 > most {
                    let found = given.to_string();
                    return Err(D::Error::invalid_value(Unexpected::Str(&found), &$allowed));
                }
                Ok(Self(given))
            }
        }
    };
}

ranged!(
    /// Time from one push to the next.
    Interval,
    INTERVAL,
    Duration::from_secs(15),
    "a duration from 1s to 5m"
);
ranged!(
    /// Longest time for one request.
    Timeout,
    TIMEOUT,
    Duration::from_secs(10),
    "a duration from 100ms to 2m"
);
ranged!(
    /// Longest time in the queue.
    Age,
    AGE,
    Duration::from_secs(1800),
    "a duration from 10s to 24h"
);

fn mebibytes<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    struct Mebibytes;
    impl Visitor<'_> for Mebibytes {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an integer from 1 to {MOST_MIB}")
        }

        fn visit_u64<E: Error>(self, given: u64) -> Result<u32, E> {
            u32::try_from(given)
                .ok()
                .filter(|mib| (1..=MOST_MIB).contains(mib))
                .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(given), &self))
        }

        fn visit_i64<E: Error>(self, given: i64) -> Result<u32, E> {
            match u64::try_from(given) {
                Ok(given) => self.visit_u64(given),
                Err(_negative) => Err(E::invalid_value(Unexpected::Signed(given), &self)),
            }
        }
    }
    from.deserialize_u64(Mebibytes)
}

type Entries = BTreeMap<String, String>;

/// Reads a table of texts whose names and values are allowed.
fn entries<'de, D: Deserializer<'de>>(
    from: D,
    allowed: &str,
    is_allowed: impl Fn(&str, &str) -> bool,
) -> Result<Entries, D::Error> {
    let given = Entries::deserialize(from)?;
    if given.len() > MOST_ENTRIES {
        let words = format!("{} entries, expected at most {MOST_ENTRIES}", given.len());
        return Err(D::Error::custom(words));
    }
    let wrong = |(name, value): &(&String, &String)| {
        value.chars().count() > LONGEST_VALUE
            || value.chars().any(char::is_control)
            || !is_allowed(name, value)
    };
    match given.iter().find(wrong) {
        // Its value may be a secret that does not belong here.
        Some((name, _)) => Err(D::Error::custom(format!(
            "{name:?} cannot be used; expected {allowed}"
        ))),
        None => Ok(given),
    }
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Entries, D::Error> {
    let allowed = "names of letters, digits and _ that do not begin with a digit or with __, and values of 1 to 256 characters";
    entries(from, allowed, |name, value| {
        let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begins = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
        begins && name.chars().all(is_in) && !name.starts_with("__") && !value.is_empty()
    })
}

fn attributes<'de, D: Deserializer<'de>>(from: D) -> Result<Entries, D::Error> {
    let allowed = "names and values of 1 to 256 characters";
    entries(from, allowed, |name, value| {
        let is_name = !name.is_empty() && name.len() <= LONGEST_VALUE && !name.chars().any(char::is_control);
        is_name && !value.is_empty()
    })
}

/// Headers that requests have of their own, or whose values are secret.
const OWN_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "x-prometheus-remote-write-version",
];

fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<Entries, D::Error> {
    let allowed = "names and values as RFC 9110 has them, none that we set ourselves; a password or a token goes into password_file or token_file";
    entries(from, allowed, |name, value| {
        let is_ours = OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str());
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes());
        !is_ours && name.is_ok() && reqwest::header::HeaderValue::from_str(value).is_ok()
    })
}

/// What cannot stand together, each with its key below `exporter`.
#[must_use]
pub fn contradictions(exporter: &ExporterConfig) -> Vec<(String, String)> {
    let PushConfig { remote_write, otlp } = &exporter.push;
    let mut found = Vec::new();
    for (of, url, schemas, request) in [
        (
            "remote_write",
            &remote_write.url,
            &remote_write.schemas,
            &remote_write.request,
        ),
        ("otlp", &otlp.url, &otlp.schemas, &otlp.request),
    ] {
        let mut say = |key: &str, words: &str| found.push((format!("push.{of}.{key}"), words.to_owned()));
        if schemas.iter().any(|schema| !exporter.schemas.contains(schema)) {
            say(
                "schemas",
                "only what exporter.schemas has can be pushed; add the schema there, too",
            );
        }
        let has = |path: &PathBuf| !path.as_os_str().is_empty();
        let (password, token) = (has(&request.password_file), has(&request.token_file));
        if request.username.is_empty() == password {
            say(
                "request.username",
                "a name and a password_file belong together: set both, or neither",
            );
        }
        if password && token {
            say("request.token_file", "either a password or a token, not both");
        }
        if has(&request.cert_file) != has(&request.key_file) {
            say(
                "request.cert_file",
                "a certificate and its key_file belong together: set both, or neither",
            );
        }
        if (password || token) && url.is_plain() && !request.plain_secrets {
            say(
                "url",
                "is http, and everybody on the way could read the password or the token; use https, or write request.plain_secrets = true",
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<ExporterConfig, String> {
        let section: serde_json::Value = toml::from_str(toml).unwrap();
        serde_json::from_value(section).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_pushed_until_an_address_is_named_and_a_section_is_written_back_the_same() {
        let off = read("").unwrap().push;
        assert_eq!(
            (off.remote_write.url.wanted(), off.otlp.url.wanted()),
            (None, None)
        );
        let config = read(
            "[push.remote_write]\nurl = 'https://p.example/api/v1/write'\nversion = '2.0'\ninterval = '1s'\n\
             labels = { cluster = 'eu', job = 'x' }\nschemas = 'kepler'\n\
             [push.remote_write.request]\nheaders = { 'X-Scope-OrgID' = 'a' }\nusername = 'u'\npassword_file = '/p'\n\
             [push.remote_write.queue]\nmib = 1\nage = '10s'\n\
             [push.otlp]\nurl = 'http://c:4318/v1/metrics'\nattributes = { 'k8s.cluster.name' = 'eu' }",
        )
        .unwrap();
        assert_eq!(contradictions(&config), []);
        assert_eq!(config.push.remote_write.version, Version::V2);
        assert!(config.push.otlp.url.is_plain());
        let again: ExporterConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_allowed_and_without_what_may_be_secret() {
        for (key, value, hint) in [
            ("url", "'ftp://x/'", "neither http:// nor https://"),
            ("url", "'prometheus:9090'", "neither http:// nor https://"),
            ("url", "'/write'", "no address"),
            ("url", "'http://joe:hunter2@x/'", "password_file"),
            ("version", "'3.0'", "expected `1.0` or `2.0`"),
            ("interval", "'6m'", "a duration from 1s to 5m"),
            ("interval", "15", "\"3m\""),
            ("labels", "{ '9a' = 'x' }", "begin with a digit"),
            ("labels", "{ __name__ = 'x' }", "begin with a digit"),
            ("labels", "{ a = '' }", "1 to 256"),
            ("schemas", "'kepler-9'", "expected `kepler` or `kepler-0.11`"),
            ("request.timeout", "'3m'", "a duration from 100ms to 2m"),
            ("request.headers", "{ Authorization = 'hunter2' }", "token_file"),
            ("request.headers", "{ 'a b' = 'hunter2' }", "RFC 9110"),
            ("queue.mib", "0", "an integer from 1 to 1024"),
            ("queue.mib", "-1", "an integer from 1 to 1024"),
            ("queue.age", "'25h'", "a duration from 10s to 24h"),
            ("que", "1", "unknown field"),
        ] {
            let error = read(&format!("push.remote_write.{key} = {value}")).unwrap_err();
            assert!(error.contains(hint), "{key} = {value}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = read("push.otlp.attributes = { '' = 'x' }").unwrap_err();
        assert!(error.contains("names and values"), "{error}");
        assert!(
            read("push.otlp.version = '1.0'")
                .unwrap_err()
                .contains("unknown field")
        );
    }

    #[test]
    fn what_cannot_stand_together_is_named_with_its_key() {
        for (toml, key, hint) in [
            ("schemas = 'kepler-0.11'", "schemas", "exporter.schemas"),
            ("request.username = 'u'", "request.username", "both"),
            ("request.password_file = '/p'", "request.username", "both"),
            (
                "request = { username = 'u', password_file = '/p', token_file = '/t' }",
                "request.token_file",
                "not both",
            ),
            ("request.key_file = '/k'", "request.cert_file", "key_file"),
            (
                "url = 'http://c/'\nrequest.token_file = '/t'",
                "url",
                "plain_secrets = true",
            ),
        ] {
            let found = contradictions(&read(&format!("[push.otlp]\n{toml}")).unwrap());
            assert_eq!(found.len(), 1, "{toml}: {found:?}");
            assert_eq!(found[0].0, format!("push.otlp.{key}"));
            assert!(found[0].1.contains(hint), "{found:?}");
        }
        let allowed = "[push.otlp]\nurl = 'http://c/'\nrequest = { token_file = '/t', plain_secrets = true }";
        assert_eq!(contradictions(&read(allowed).unwrap()), []);
    }
}
