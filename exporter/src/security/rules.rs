// SPDX-License-Identifier: Apache-2.0
//! What holds at the doors now: made whole out of the files, or not at all.

use super::file::{ClientAuth, Rate, WebFile, parse};
use super::shelf::Shelf;
use super::tls::{self, Tls};
use super::tokens::Tokens;
use super::users::Users;
use crate::error::ExporterError;
use std::path::{Path, PathBuf};
use warp::http::header::{HeaderName, HeaderValue};

/// Where the rules are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// `exporter.web_config`; empty for none.
    pub(super) web_config: PathBuf,
    /// `exporter.bearer_token_file`; empty for none.
    pub(super) tokens: PathBuf,
}

/// Rules that come of one file and what it names. Each part is looked at by itself, so that one that is broken hides no change of
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Web,
    Tokens,
}

impl Part {
    pub(super) const ALL: [Self; 2] = [Self::Web, Self::Tokens];
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) tls: Option<Tls>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: Users,
    pub(super) tokens: Tokens,
    pub(super) rate: Option<Rate>,
}

impl Rules {
    /// These with one part read anew; what was read is on `shelf`, also where it fails.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, with the reason.
    pub(super) fn read(&self, part: Part, files: &Files, shelf: &mut Shelf) -> Result<Self, ExporterError> {
        match part {
            Part::Web if !files.web_config.as_os_str().is_empty() => self.read_web(&files.web_config, shelf),
            Part::Tokens if !files.tokens.as_os_str().is_empty() => self.read_tokens(&files.tokens, shelf),
            Part::Web | Part::Tokens => Ok(self.clone()),
        }
    }

    fn read_web(&self, path: &Path, shelf: &mut Shelf) -> Result<Self, ExporterError> {
        let refused = |reason| ExporterError::WebConfig {
            path: path.to_owned(),
            reason,
        };
        let bytes = shelf.read(path).map_err(|error| refused(error.to_string()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let WebFile {
            tls,
            headers,
            users,
            rate,
        } = parse(&bytes, folder, &tls::known()).map_err(refused)?;
        let tls = tls.map(|section| tls::build(&section, shelf)).transpose();
        Ok(Self {
            tls: tls.map_err(refused)?,
            headers,
            users,
            rate,
            tokens: self.tokens.clone(),
        })
    }

    fn read_tokens(&self, path: &Path, shelf: &mut Shelf) -> Result<Self, ExporterError> {
        let refused = |reason| ExporterError::Tokens {
            path: path.to_owned(),
            reason,
        };
        let bytes = shelf.read(path).map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            tokens: Tokens::parse(&bytes).map_err(refused)?,
            ..self.clone()
        })
    }

    /// Whether a request has to show who it is of.
    pub(super) fn asks_who(&self) -> bool {
        !self.users.is_empty() || !self.tokens.is_empty()
    }

    /// Unix time in seconds at which the certificate ends; 0 where there is none.
    pub(super) fn certificate_ends(&self) -> i64 {
        self.tls.as_ref().map_or(0, |tls| tls.ends)
    }

    /// Why `next` may not take our place while we serve. A file that is being written looks, for a moment, like one that
    /// asks for less; and nobody expects plain text where TLS was.
    pub(super) fn refuse(&self, next: &Self) -> Option<&'static str> {
        let clients = |rules: &Self| rules.tls.as_ref().map_or(ClientAuth::None, |tls| tls.clients);
        if self.tls.is_some() != next.tls.is_some() {
            return Some("TLS is not turned on or off while serving; restart to do that");
        }
        if clients(self).is_mandatory() && !clients(next).is_mandatory() {
            return Some(
                "clients had to have a certificate, and would not have to any more; restart to do that",
            );
        }
        if clients(self).verifies() && !clients(next).verifies() {
            return Some(
                "certificates of clients were verified, and would not be any more; restart to do that",
            );
        }
        let names = |rules: &Self| rules.tls.as_ref().is_some_and(|tls| tls.names);
        if names(self) && !names(next) {
            return Some(
                "certificates of clients had to have one of some names, and would not have to any more; restart to do that",
            );
        }
        if !self.users.is_empty() && next.users.is_empty() {
            return Some("there would be no user any more; restart to do that");
        }
        None
    }

    /// One line for the log.
    pub(super) fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.push(match &self.tls {
            None => "plain text",
            Some(tls) if tls.clients.is_mandatory() => "TLS with certificates of clients",
            Some(_) => "TLS",
        });
        if !self.users.is_empty() {
            parts.push("basic auth");
        }
        if !self.tokens.is_empty() {
            parts.push("bearer tokens");
        }
        if self.rate.is_some() {
            parts.push("rate limit");
        }
        parts.join(", ")
    }

    /// What an operator should know although it works.
    pub(super) fn warning(&self) -> Option<&'static str> {
        (self.tls.is_none() && self.asks_who())
            .then_some("passwords and tokens come in plain text: whoever sees the network has them; add tls_server_config")
    }
}
