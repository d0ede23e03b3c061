// SPDX-License-Identifier: Apache-2.0
//! What holds for every file and header that the exporter reads, for `integration-tests/fuzz`. In no build of the daemon.

use crate::config::HumaneDuration;
use crate::http::negotiate;
use crate::{cpuinfo, security};
use warp::http::HeaderMap;
use warp::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderValue};

/// A `web.config.file`.
pub fn web_config(bytes: &[u8]) {
    security::fuzz::web_config(bytes);
}

/// A `bearer_token_file`.
pub fn tokens(bytes: &[u8]) {
    security::fuzz::tokens(bytes);
}

/// Headers of a request, and a duration as people write one.
pub fn headers(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        security::fuzz::credentials(&value);
        let both = [(ACCEPT, value.clone()), (ACCEPT_ENCODING, value)];
        negotiate::fuzz(&both.into_iter().collect::<HeaderMap>());
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(duration) = text.parse::<HumaneDuration>() {
        assert_eq!(
            duration.to_string().parse::<HumaneDuration>().ok(),
            Some(duration)
        );
    }
    assert!(cpuinfo::parse(&text).len() <= text.lines().count() + 1);
}
