// SPDX-License-Identifier: Apache-2.0
//! Who may come in: TLS, passwords, tokens and a rate, out of Prometheus' `web.config.file` and a file of tokens.
//!
//! Owns the rules that hold now, and takes new ones when the files change; files that cannot be used change nothing. Stands
//! before every route. Refuses to serve anything in plain text where TLS was asked for.

mod bucket;
mod clients;
mod file;
mod follow;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
pub(crate) mod health;
mod passwords;
mod queue;
mod reader;
mod recent;
#[cfg(test)]
pub(crate) mod rig;
mod rules;
mod shelf;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod users;

use crate::config::ExporterConfig;
use crate::error::ExporterError;
use crate::http::origin::Origin;
use attribution::model::MonotonicNanos;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bucket::Bucket;
use follow::Follower;
use health::Refused;
use passwords::{Answer, Passwords};
use rules::{Files, Part, Rules};
use rustls::ServerConfig;
use shelf::Shelf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Paths that stay open where `exporter.open_probes` is on. They tell whether there are figures, and no figure.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// Who came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Anybody; nobody was asked.
    Stranger,
    /// Somebody with a password or a token.
    Known,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Security {
    rules: RwLock<Arc<Rules>>,
    files: Files,
    open_probes: bool,
    followers: Mutex<Vec<Follower>>,
    passwords: Arc<Passwords>,
    /// Of those who have not shown who they are.
    strangers: Mutex<Bucket>,
    /// And of those who have, so that the others cannot use it up.
    known: Mutex<Bucket>,
}

impl Security {
    /// What the configuration asks for.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, with the reason.
    pub(crate) fn open(config: &ExporterConfig) -> Result<Self, ExporterError> {
        let files = Files {
            web_config: config.web_config.clone(),
            tokens: config.bearer_token_file.clone(),
        };
        let (mut rules, mut followers) = (Rules::default(), Vec::new());
        for part in Part::ALL {
            let mut shelf = Shelf::default();
            rules = rules.read(part, &files, &mut shelf)?;
            followers.push(Follower::new(part, shelf));
        }
        Ok(Self {
            rules: RwLock::new(Arc::new(rules)),
            files,
            open_probes: config.open_probes,
            followers: Mutex::new(followers),
            passwords: Arc::new(Passwords::new()),
            strangers: Mutex::default(),
            known: Mutex::default(),
        })
    }

    fn rules(&self) -> Arc<Rules> {
        // It holds a pointer, which is always whole.
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What TLS is served with now; `None` where it is plain text.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.rules().tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Whether a certificate of the client was verified before anything else was said.
    pub(crate) fn knows_clients(&self) -> bool {
        let rules = self.rules();
        rules
            .tls
            .as_ref()
            .is_some_and(|tls| tls.clients.verifies() && tls.clients.is_mandatory())
    }

    /// Unix time in seconds at which the certificate ends.
    pub(crate) fn certificate_ends(&self) -> Option<u64> {
        let ends = self.rules().certificate_ends();
        u64::try_from(ends).ok().filter(|ends| *ends > 0)
    }

    /// One line for the log.
    pub(crate) fn describe(&self) -> String {
        self.rules().describe()
    }

    /// What an operator should know although it works.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        self.rules().warning()
    }

    /// Headers that every answer has.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.rules().headers.clone()
    }

    /// Whether this request may go on. Before anything looks at what it asks for.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(crate) async fn admit(
        &self,
        origin: Origin,
        path: &str,
        headers: &HeaderMap,
        now: MonotonicNanos,
    ) -> Result<Admitted, Refused> {
        let rules = self.rules();
        // The mode of a socket file is its lock. A probe that is refused takes the pod out of service.
        if origin == Origin::Local || (self.open_probes && PROBES.contains(&path)) {
            return Ok(Admitted::Stranger);
        }
        let shown = Credentials::of(headers).filter(|_| rules.asks_who());
        let is_known = match &shown {
            Some(Credentials::Token(token)) => rules.tokens.hold(token),
            Some(Credentials::Password { name, password }) => {
                self.passwords.knows(&rules.users, origin, name, password)
            }
            None => false,
        };
        if let Some(rate) = rules.rate {
            let bucket = if is_known { &self.known } else { &self.strangers };
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            if !bucket.takes(rate, now) {
                return Err(Refused::RateLimited);
            }
        }
        if is_known {
            return Ok(Admitted::Known);
        }
        if !rules.asks_who() {
            return Ok(Admitted::Stranger);
        }
        match shown {
            Some(Credentials::Password { name, password }) if !rules.users.is_empty() => {
                match self.passwords.check(&rules.users, origin, &name, &password).await {
                    Answer::Right => Ok(Admitted::Known),
                    Answer::Wrong => Err(Refused::Unauthorized),
                    Answer::Busy => Err(Refused::Busy),
                }
            }
            _ => Err(Refused::Unauthorized),
        }
    }

    /// What may be shown, for `WWW-Authenticate`.
    pub(crate) fn challenges(&self) -> Vec<HeaderValue> {
        let rules = self.rules();
        let basic = (!rules.users.is_empty()).then_some("Basic realm=\"kepler\", charset=\"UTF-8\"");
        let bearer = (!rules.tokens.is_empty()).then_some("Bearer realm=\"kepler\"");
        basic
            .into_iter()
            .chain(bearer)
            .map(HeaderValue::from_static)
            .collect()
    }
}

/// What a request shows.
enum Credentials<'a> {
    Password { name: Vec<u8>, password: Vec<u8> },
    Token(&'a [u8]),
}

impl<'a> Credentials<'a> {
    /// `None` also where there are two: who reads the first and who reads the last would not agree.
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let line = lines.next()?.as_bytes();
        if lines.next().is_some() {
            return None;
        }
        let blank = line.iter().position(|byte| *byte == b' ')?;
        let (scheme, said) = line.split_at_checked(blank)?;
        let said = said.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Some(Self::Token(said));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let mut name = STANDARD.decode(said).ok()?;
        let colon = name.iter().position(|byte| *byte == b':')?;
        let password = name.get(colon + 1..)?.to_vec();
        name.truncate(colon);
        Some(Self::Password { name, password })
    }
}
