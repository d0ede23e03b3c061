// SPDX-License-Identifier: Apache-2.0
//! Whether we may ask: owns when credentials are read, when a session is made, and how long a refused password waits. Holds no
//! password itself.
//!
//! A password that was refused is not tried again soon, because BMCs lock an account after a few failures; it is tried at once
//! when its file has other content.

use super::discovery::{ROOT, SESSIONS};
use super::policy::Step;
use crate::backoff::Backoff;
use attribution::model::MonotonicNanos;
use std::sync::Arc;
use std::time::Duration;

/// How requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// There is no account.
    Open,
    Basic,
    Session,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    None,
    /// No request was answered with it yet.
    Fresh,
    Proven,
}

/// What a 401 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The session has ended: log in, ask again.
    Again,
    /// Name and password are not accepted.
    Refused,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Access {
    mode: Mode,
    /// Whether the credentials were read.
    known: bool,
    token: Token,
    /// Whether even the root asks for a login, against DSP0266 (13.3.2).
    closed_root: bool,
    sessions: Arc<str>,
    /// Waits after a refusal.
    backoff: Backoff,
    refused: bool,
}

impl Access {
    pub(super) fn new(mode: Mode, first: Duration, longest: Duration) -> Self {
        Self {
            mode,
            known: false,
            token: Token::None,
            closed_root: false,
            sessions: Arc::from(SESSIONS),
            backoff: Backoff::between(first, longest),
            refused: false,
        }
    }

    /// What has to be done before `path` can be asked for.
    pub(super) fn before(&self, path: &str) -> Option<Step> {
        match self.mode {
            Mode::Open => None,
            Mode::Basic | Mode::Session if !self.known => Some(Step::Credentials),
            Mode::Session if self.token == Token::None && (path != ROOT || self.closed_root) => {
                Some(Step::LogIn(Arc::clone(&self.sessions)))
            }
            Mode::Basic | Mode::Session => None,
        }
    }

    pub(super) fn sessions_are_at(&mut self, path: Arc<str>) {
        self.sessions = path;
    }

    /// The credentials were read. Says whether a refusal is over, because they are others now.
    pub(super) fn credentials(&mut self, changed: bool) -> bool {
        self.known = true;
        let over = self.refused && changed;
        if over {
            self.refused = false;
            self.backoff.succeeded();
        }
        over
    }

    /// Whether credentials were refused and no others came yet.
    pub(super) const fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn logged_in(&mut self) {
        self.token = Token::Fresh;
    }

    /// A document came.
    pub(super) fn answered(&mut self, path: &str) {
        if path == ROOT && !self.closed_root {
            // It is there for everybody and proves nothing.
            return;
        }
        if self.token == Token::Fresh {
            self.token = Token::Proven;
        }
        self.refused = false;
        self.backoff.succeeded();
    }

    /// 401 for a document.
    pub(super) fn unauthorized(&mut self, path: &str) -> Verdict {
        let first_at_root = path == ROOT && self.mode == Mode::Session && !self.closed_root;
        if first_at_root {
            self.closed_root = true;
        }
        let ended = self.token == Token::Proven || first_at_root;
        self.token = Token::None;
        // A session that ended may have ended because the password was changed.
        self.known = false;
        if ended { Verdict::Again } else { Verdict::Refused }
    }

    /// Name and password were refused at `now`: until when nothing is tried.
    pub(super) fn refuse(&mut self, now: MonotonicNanos, random: u64) -> MonotonicNanos {
        self.token = Token::None;
        self.known = false;
        self.refused = true;
        self.backoff.failed_jittered(now, random);
        self.backoff.due().unwrap_or(now)
    }

    /// What to do about a refusal.
    pub(super) const fn advice(&self) -> &'static str {
        match self.mode {
            Mode::Open => "it asks for a login; set username and password_file",
            Mode::Basic | Mode::Session => {
                "it does not accept username and password, or they may not read this; what is in password_file is tried as soon as it changes, else after minutes, so that the account is not locked"
            }
        }
    }
}
