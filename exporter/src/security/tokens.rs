// SPDX-License-Identifier: Apache-2.0
//! The bearer tokens of `exporter.bearer_token_file`: one a line, so that a new one can be given out before the old one is
//! taken away.

use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// Tokens at most: each is compared with, at every request.
const MOST: usize = 16;

/// Shortest token: 16 characters of base64 are 96 bits, which nobody guesses over a network.
const SHORTEST: usize = 16;

/// Longest token: beyond it the head of a request would not hold it.
const LONGEST: usize = 4 * 1024;

/// See the module's head.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Tokens(Vec<String>);

impl Tokens {
    /// Reads a file. Blank lines and what stands before and behind a token is left out.
    ///
    /// # Errors
    ///
    /// The line, what is allowed and what to do; never the token.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("this is no text: {error}"))?;
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let token = line.trim();
            if token.is_empty() {
                continue;
            }
            if !(SHORTEST..=LONGEST).contains(&token.len()) || !is_token(token) {
                return Err(format!(
                    "line {}: allowed: {SHORTEST} to {LONGEST} letters, digits and -._~+/, which may end in = (RFC 6750); \
                     openssl rand -base64 32 makes one",
                    number + 1
                ));
            }
            tokens.push(token.to_owned());
        }
        match tokens.len() {
            0 => Err("there is no token in it; openssl rand -base64 32 makes one".to_owned()),
            number if number > MOST => Err(format!("{number} tokens; allowed: at most {MOST}")),
            _ => Ok(Self(tokens)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them. Looks at all of all of them, so that time tells nothing but lengths.
    pub(super) fn hold(&self, said: &[u8]) -> bool {
        let found = self.0.iter().map(|token| token.as_bytes().ct_eq(said));
        found.fold(Choice::from(0), |any, one| any | one).into()
    }
}

/// `b64token` of RFC 6750, 2.1.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(allowed)
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_several_tokens_lets_in_and_nothing_else_does() {
        let tokens = Tokens::parse(b"\n  first-token-of-two  \r\nsecond/token+of~two==\n").unwrap();
        for (said, is_right) in [
            ("first-token-of-two", true),
            ("second/token+of~two==", true),
            ("first-token-of-tw", false),
            ("first-token-of-two ", false),
            ("FIRST-TOKEN-OF-TWO", false),
            ("", false),
        ] {
            assert_eq!(tokens.hold(said.as_bytes()), is_right, "{said:?}");
        }
        assert!(!Tokens::default().hold(b""));
    }

    #[test]
    fn a_file_without_usable_tokens_is_refused_without_repeating_them() {
        let many = "abcdefghijklmnop\n".repeat(MOST + 1);
        let long = "x".repeat(LONGEST + 1);
        for (text, hint) in [
            ("", "no token"),
            ("\n \n", "no token"),
            ("hunter2", "line 1"),
            ("abcdefghijklmnop\nwith a blank inside", "line 2"),
            ("================", "line 1"),
            ("=bcdefghijklmnopq", "line 1"),
            (many.as_str(), "at most 16"),
            (long.as_str(), "line 1"),
        ] {
            let error = Tokens::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("blank"), "{error}");
        }
        assert!(Tokens::parse(b"\xff\xfe").is_err());
    }
}
