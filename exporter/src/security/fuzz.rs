// SPDX-License-Identifier: Apache-2.0
//! What holds for every web configuration, token file and `Authorization` header, for `integration-tests/fuzz`. In no build of
//! the daemon.

use super::file::{MOST_NAMES, parse};
use super::tls::known;
use super::tokens::Tokens;
use super::{AUTHORIZATION, Credentials, HeaderMap, HeaderValue};
use std::path::Path;

/// A web configuration: a refusal is short and repeats no secret line of it; what is taken is bounded.
pub(crate) fn web_config(bytes: &[u8]) {
    match parse(bytes, Path::new("/etc/kepler"), &known()) {
        Ok(file) => {
            let names = file.tls.and_then(|tls| tls.client_names).unwrap_or_default();
            assert!(names.len() <= MOST_NAMES);
            assert!(file.rate.is_none_or(|rate| rate.burst > 0));
        }
        Err(words) => assert!(!words.is_empty() && words.len() < 65_536, "{} bytes", words.len()),
    }
}

/// A file of tokens: each of its own lines lets in, and nothing that is in none of them.
pub(crate) fn tokens(bytes: &[u8]) {
    match Tokens::parse(bytes) {
        Ok(tokens) => {
            let lines = std::str::from_utf8(bytes).unwrap_or_default().lines();
            for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
                assert!(tokens.hold(line.as_bytes()));
                assert!(!tokens.hold(format!("{line}x!").as_bytes()));
            }
            assert!(!tokens.is_empty() && !tokens.hold(b""));
        }
        Err(words) => assert!(!words.is_empty() && words.len() < 512),
    }
}

/// An `Authorization` header: what is shown is part of what was sent.
pub(crate) fn credentials(value: &HeaderValue) {
    let headers: HeaderMap = [(AUTHORIZATION, value.clone())].into_iter().collect();
    match Credentials::of(&headers) {
        Some(Credentials::Token(token)) => assert!(token.len() <= value.len()),
        Some(Credentials::Password { name, password }) => {
            assert!(name.len() + password.len() < value.len() && !name.contains(&b':'));
        }
        None => {}
    }
}
