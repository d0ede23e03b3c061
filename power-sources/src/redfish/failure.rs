// SPDX-License-Identifier: Apache-2.0
//! Why a request got no document: owns what each way to fail is called, and whether asking again can help.

use attribution::model::ErrorReason;
use serde_json::Value;

/// Ways to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No connection, or none that can be trusted. Nothing else of this BMC can be had either.
    Unreachable,
    /// No whole answer in time.
    Timeout,
    /// The connection broke within the answer.
    Broken,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404, 410.
    Missing,
    /// Another status that will not change by asking again: 405, 501.
    Unsupported,
    /// 400. As the answer to a login some BMCs mean a wrong password by it.
    BadRequest,
    /// Another status: 429, 500, 503.
    Failing,
    /// An answer that is no document: not JSON, too long, a redirect to elsewhere.
    Garbled,
}

/// A request that got no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// For people; holds no secret.
    pub(super) words: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, words: impl Into<String>) -> Self {
        Self {
            kind,
            words: words.into(),
        }
    }

    /// For the metric.
    pub(super) const fn reason(&self) -> ErrorReason {
        match self.kind {
            Kind::Unreachable | Kind::Broken | Kind::Unsupported | Kind::BadRequest | Kind::Failing => {
                ErrorReason::Io
            }
            Kind::Timeout => ErrorReason::Timeout,
            Kind::Unauthorized | Kind::Forbidden => ErrorReason::Auth,
            Kind::Missing => ErrorReason::Gone,
            Kind::Garbled => ErrorReason::Parse,
        }
    }

    /// Whether the same question may be answered another time.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(
            self.kind,
            Kind::Unreachable
                | Kind::Timeout
                | Kind::Broken
                | Kind::BadRequest
                | Kind::Failing
                | Kind::Garbled
        )
    }
}

/// What the status of an answer means; `None` when its body is what was asked for.
pub(super) const fn of_status(status: u16) -> Option<Kind> {
    match status {
        200..=299 => None,
        400 => Some(Kind::BadRequest),
        401 => Some(Kind::Unauthorized),
        403 => Some(Kind::Forbidden),
        404 | 410 => Some(Kind::Missing),
        405 | 501 => Some(Kind::Unsupported),
        // A redirect that was not followed leads elsewhere.
        300..=399 => Some(Kind::Garbled),
        _ => Some(Kind::Failing),
    }
}

/// A body as a document.
pub(super) fn document(path: &str, body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if body.trim_ascii_start().starts_with(b"<") {
            "HTML or XML; does the address lead to the BMC itself?".to_owned()
        } else {
            format!("no whole JSON document: {error}")
        };
        Failure::new(Kind::Garbled, format!("{path}: the answer is {kind}"))
    })
}
