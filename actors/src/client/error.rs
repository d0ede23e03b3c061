// SPDX-License-Identifier: Apache-2.0
//! Why a daemon gave no answer: what, where, and what to do.

use crate::exit;
use std::error::Error as StdError;
use std::time::Duration;
use thiserror::Error;

/// See the module's head.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    /// An option that cannot be used; nobody was asked.
    #[error("{0}")]
    Setup(String),
    /// Nobody answers there.
    #[error("no daemon answers on {at}: {why}; {advice}")]
    Nobody {
        /// Where.
        at: String,
        /// The reason, of the system or of TLS.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody is there and says nothing in time.
    #[error(
        "{at} gave no whole answer within {limit:?}; is the machine overloaded, or is it no kepler? --timeout allows more"
    )]
    Slow {
        /// Where.
        at: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It answered, and refused.
    #[error("{at} answered {status}{advice}")]
    Refused {
        /// Where.
        at: String,
        /// The status with its words.
        status: String,
        /// What to do, with what the daemon said.
        advice: String,
    },
    /// It answered what is no answer.
    #[error("{at} does not answer as kepler does: {why}")]
    Garbled {
        /// Where.
        at: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// The process's exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Setup(_) => exit::USAGE,
            Self::Nobody { .. } | Self::Slow { .. } => exit::NOBODY,
            Self::Refused { .. } | Self::Garbled { .. } => exit::REFUSED,
        }
    }
}

/// What to do about a connection that failed for this reason.
pub(super) fn advice(why: &str, is_here: bool) -> &'static str {
    let why = why.to_ascii_lowercase();
    if why.contains("certificate") {
        "give the authority that signed its certificate with --ca-file, and the name that stands in it"
    } else if why.contains("permission denied") {
        "the socket's owner decides who may ask: be in its group, or root"
    } else if why.contains("corrupt") || why.contains("invalid http") || why.contains("tls") {
        "http:// and https:// are not the same here: try the other one with --from"
    } else if is_here {
        "start `kepler`, or say with --from where it listens (exporter.listen)"
    } else {
        "check that it runs and listens there (exporter.listen), and what lies between"
    }
}

/// The cause of an error, without the layers above it: which library called which is nothing to people.
pub(super) fn cause(error: &dyn StdError) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let words = deepest.to_string();
    // rustls adds the address of its manual to some.
    words
        .split(": https://docs.rs/")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_goes_with_the_reason() {
        assert!(advice("invalid peer certificate: UnknownIssuer", false).contains("--ca-file"));
        assert!(advice("Permission denied (os error 13)", true).contains("owner"));
        assert!(advice("received corrupt message of type InvalidContentType", false).contains("https://"));
        assert!(advice("Connection refused", true).contains("start `kepler`"));
        assert!(!advice("Connection refused", false).contains("start `kepler`"));
    }
}
