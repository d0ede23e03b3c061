// SPDX-License-Identifier: Apache-2.0
//! The section `sources.redfish`: owns its keys, defaults and ranges, and sees to it that a password is never shown.

use super::NAME;
use crate::SourceOpenError;
use crate::lasting::Lasting;
use reqwest::Url;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest and longest polling interval. A BMC computes a reading every second or so at best; after more than five
/// minutes a straight line between two readings says little.
const INTERVAL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// Shortest and longest time for one request.
const TIMEOUT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
/// Highest `max_watts`: ten racks.
const HIGHEST: u32 = 1_000_000;
/// Most chassis that may be named; as many as are looked at (see `discovery`).
pub(super) const MOST_CHASSIS: usize = 64;

/// Section `sources.redfish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedfishConfig {
    /// The BMC: `https://`, a host, a port if it is not 443, and nothing else. Empty: there is none.
    pub url: String,
    /// The account; empty for a service that asks for none. Read-only rights ("Login") are enough.
    pub username: String,
    /// Its password, if it is not in a file.
    pub password: Secret,
    /// A file whose first line is the password. Read again at each login.
    pub password_file: PathBuf,
    /// How to log in.
    pub auth: AuthMethod,
    /// Certificates (PEM) of which one must have signed the BMC's, instead of those that the system trusts.
    pub ca_file: PathBuf,
    /// SHA-256 of the BMC's own certificate, in hexadecimal digits with or without colons. Then that certificate and no
    /// other is accepted, whoever signed it, whatever its name and its dates.
    pub fingerprint: String,
    /// Whether any certificate is accepted, and plain HTTP too. Whoever can reach the network between can then read the
    /// password and invent the figures.
    pub insecure: bool,
    /// Time from one reading to the next, 1 s to 5 min.
    pub interval: Lasting,
    /// Longest wait for one answer, 100 ms to 60 s.
    pub timeout: Lasting,
    /// Ids of the chassis to use; empty for all that are this machine, none twice.
    pub chassis: Ids,
    /// Which kind of figure.
    pub reading: Preference,
    /// Highest plausible power of one chassis in watts.
    pub max_watts: u32,
}

impl Default for RedfishConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: String::new(),
            password: Secret::default(),
            password_file: PathBuf::new(),
            auth: AuthMethod::Basic,
            ca_file: PathBuf::new(),
            fingerprint: String::new(),
            insecure: false,
            interval: Lasting(Duration::from_secs(10)),
            timeout: Lasting(Duration::from_secs(5)),
            chassis: Ids::default(),
            reading: Preference::Auto,
            // The largest servers draw 10 to 15 kW. 65535 W and 4.29 MW, the sentinels of 16 and 32 bits, are beyond.
            max_watts: 20_000,
        }
    }
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMethod {
    /// Name and password with each request.
    Basic,
    /// Once, for a token; the session is deleted at the end.
    Session,
}

/// Which kind of figure is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// An energy counter that is fine enough, else power.
    Auto,
    /// Energy counters only, however coarse.
    Energy,
    /// Power only.
    Power,
}

/// A text that is used and never shown: not by `Debug`, not when it is written out, not in an error.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for whom it is meant.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// From a file's content: its first line, which ends with the file or a line's end.
    #[must_use]
    pub(super) fn first_line(text: &str) -> Self {
        Self(text.lines().next().unwrap_or_default().to_owned())
    }

    const fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// Takes text only, and says nothing about what else it got: serde's own words would hold the value.
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }
        }
        from.deserialize_any(Text).map_err(|_holds_the_value| {
            D::Error::custom("the password is no text; put it into quotes, or into password_file")
        })
    }
}

/// Ids of chassis: a list, or text with commas, because the environment has no lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ids(pub Vec<String>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            List(Vec<String>),
            Text(String),
        }
        let given = Given::deserialize(from).map_err(|_other_type| {
            D::Error::custom("no list of chassis ids, expected one such as [\"1U\"] or \"1U, 2U\"")
        })?;
        Ok(Self(match given {
            Given::List(ids) => ids,
            Given::Text(text) if text.trim().is_empty() => Vec::new(),
            Given::Text(text) => text.split(',').map(|id| id.trim().to_owned()).collect(),
        }))
    }
}

/// How the BMC has to prove who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// A certificate signed by whom the system trusts.
    System,
    /// A certificate signed by one of those in this file.
    Authority(PathBuf),
    /// The certificate with this SHA-256.
    Pinned([u8; 32]),
    /// Not at all.
    Nobody,
}

/// A section that can be used, in the types of those who use it.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// Scheme, host and port.
    pub(super) base: Url,
    pub(super) trust: Trust,
    pub(super) section: RedfishConfig,
}

impl RedfishConfig {
    /// Checks what types cannot. `None` when no BMC is configured; the other keys are checked all the same.
    pub(super) fn check(&self) -> Result<Option<Checked>, SourceOpenError> {
        let base = self.base()?;
        let trust = self.trust()?;
        self.check_access()?;
        self.interval.within(INTERVAL, NAME, "interval")?;
        self.timeout.within(TIMEOUT, NAME, "timeout")?;
        if self.max_watts == 0 || self.max_watts > HIGHEST {
            return refuse(
                "max_watts",
                format!("is {}; allowed are 1 to {HIGHEST}", self.max_watts),
            );
        }
        if self.chassis.0.len() > MOST_CHASSIS || self.chassis.0.iter().any(String::is_empty) {
            return refuse(
                "chassis",
                format!("has an empty id or more than {MOST_CHASSIS}; leave it empty to use all"),
            );
        }
        Ok(base.map(|base| Checked {
            base,
            trust,
            section: self.clone(),
        }))
    }

    /// Never shows the URL in an error: it may hold a password where none belongs.
    fn base(&self) -> Result<Option<Url>, SourceOpenError> {
        const EXAMPLE: &str = "expected one such as \"https://bmc.example\" or \"https://192.0.2.7:8443\"";
        if self.url.is_empty() {
            return Ok(None);
        }
        let Ok(url) = Url::parse(&self.url) else {
            return refuse("url", format!("is no URL; {EXAMPLE}"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            let advice = "use `username` and `password_file`, which are kept out of logs";
            return refuse("url", format!("holds a user name or a password; {advice}"));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.insecure => {}
            "http" => {
                let advice = "anyone on the network between could read the password; use https, or write `insecure = true`";
                return refuse("url", format!("is http; {advice}"));
            }
            _ => return refuse("url", format!("is neither https nor http; {EXAMPLE}")),
        }
        let whole_host = url.has_host() && url.query().is_none() && url.fragment().is_none();
        if !whole_host || !matches!(url.path(), "" | "/" | "/redfish/v1" | "/redfish/v1/") {
            return refuse(
                "url",
                format!("names more or less than a host and a port; {EXAMPLE}"),
            );
        }
        Ok(url.join("/").ok())
    }

    fn trust(&self) -> Result<Trust, SourceOpenError> {
        let pinned = !self.fingerprint.is_empty();
        let signed = !self.ca_file.as_os_str().is_empty();
        if usize::from(pinned) + usize::from(signed) + usize::from(self.insecure) > 1 {
            return refuse(
                "insecure",
                "together with another of ca_file, fingerprint and insecure; one says whom to trust"
                    .to_owned(),
            );
        }
        if self.insecure {
            return Ok(Trust::Nobody);
        }
        if signed {
            return Ok(Trust::Authority(self.ca_file.clone()));
        }
        if !pinned {
            return Ok(Trust::System);
        }
        match fingerprint(&self.fingerprint) {
            Some(digest) => Ok(Trust::Pinned(digest)),
            None => refuse(
                "fingerprint",
                "is no SHA-256, expected 64 hexadecimal digits as from `openssl x509 -noout -fingerprint -sha256`"
                    .to_owned(),
            ),
        }
    }

    fn check_access(&self) -> Result<(), SourceOpenError> {
        let in_file = !self.password_file.as_os_str().is_empty();
        let here = !self.password.reveal().is_empty();
        if in_file && here {
            return refuse(
                "password_file",
                "is set, and password too; use one of them".to_owned(),
            );
        }
        if !self.username.is_empty() && !in_file && !here {
            let advice = "set password_file, or KEPLER_SOURCES__REDFISH__PASSWORD";
            return refuse("username", format!("is set without a password; {advice}"));
        }
        if self.username.is_empty() && (in_file || here || self.auth == AuthMethod::Session) {
            return refuse(
                "username",
                "is not set, but a password or auth = \"session\" is".to_owned(),
            );
        }
        // RFC 7617, 2: the name in basic authentication ends at the first colon.
        if self.auth == AuthMethod::Basic && self.username.contains(':') {
            return refuse(
                "username",
                "has a colon; only auth = \"session\" can send that".to_owned(),
            );
        }
        Ok(())
    }
}

fn refuse<T>(key: &'static str, problem: String) -> Result<T, SourceOpenError> {
    Err(SourceOpenError::Value {
        name: NAME,
        key,
        problem,
    })
}

/// 64 hexadecimal digits, in any case, with or without colons between the pairs.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|char| *char != ':')
        .map(|char| char.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}
