// SPDX-License-Identifier: Apache-2.0
//! What a scraper wants: format by `Accept`, encoding by `Accept-Encoding` (RFC 9110, 12.5), with their weights.
//!
//! Headers come from outside: what cannot be read in one is as if it were not there.

use crate::forms::Encoding;
use crate::text::writer::Format;
use warp::http::HeaderMap;
use warp::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// The media type of each format.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A weight in thousandths: `0`, `0.5`, `1.000`; `None` for what is no weight.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_one = match whole {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (is_one, thousandths) {
        (true, 0) => Some(1_000),
        (true, _) => None,
        (false, thousandths) => Some(thousandths),
    }
}

/// The items of a list header, in lower case: name, parameters, weight.
fn items(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, Vec<String>, u16)> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let items = lines.flat_map(|line| line.split(',')).filter_map(|item| {
        let item = item.to_ascii_lowercase();
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
        let (mut parameters, mut of_item) = (Vec::new(), 1_000);
        for parameter in parts {
            match parameter.strip_prefix("q=") {
                Some(text) => of_item = weight(text.trim())?,
                None => parameters.push(
                    parameter
                        .chars()
                        .filter(|c| !c.is_whitespace() && *c != '"')
                        .collect(),
                ),
            }
        }
        Some((name, parameters, of_item))
    });
    items.collect()
}

/// OpenMetrics for those who name it and do not like text more; text for everybody else, also for those who asked for
/// neither: no scraper is helped by a refusal.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut text, mut openmetrics) = (0, 0);
    for (name, parameters, weight) in items(headers, &ACCEPT) {
        let version = parameters
            .iter()
            .find_map(|parameter| parameter.strip_prefix("version="));
        let best = match (name.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => &mut openmetrics,
            ("text/plain", None | Some("0.0.4")) => &mut text,
            ("text/*" | "*/*", _) => &mut text,
            _ => continue,
        };
        *best = weight.max(*best);
    }
    if openmetrics > 0 && openmetrics >= text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// Whether gzip is welcome, by name or by `*`.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let items = items(headers, &ACCEPT_ENCODING);
    named(&items, &["gzip", "x-gzip"])
        .or_else(|| named(&items, &["*"]))
        .is_some_and(|weight| weight > 0)
}

/// The weight of the first item that has one of these names.
fn named(items: &[(String, Vec<String>, u16)], names: &[&str]) -> Option<u16> {
    let mut found = items.iter().filter(|(name, ..)| names.contains(&name.as_str()));
    found.next().map(|(.., weight)| *weight)
}

/// The encoding that is liked most; of those that are liked the same zstd, then gzip, which both cost less than the network.
/// Who only says `*` gets gzip, which everybody knows. `None` where everything that there is was refused.
pub(super) fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let items = items(headers, &ACCEPT_ENCODING);
    let any = named(&items, &["*"]);
    let (gzip, zstd) = (
        named(&items, &["gzip", "x-gzip"]).or(any),
        named(&items, &["zstd"]),
    );
    let identity = named(&items, &["identity"]);
    let candidates = [
        (Encoding::Zstd, zstd),
        (Encoding::Gzip, gzip),
        (Encoding::Zstd, any.filter(|_| zstd.is_none())),
        (Encoding::Identity, identity),
    ];
    let mut best: Option<(Encoding, u16)> = None;
    for (encoding, weight) in candidates {
        let weight = weight.filter(|weight| *weight > 0);
        if let Some(weight) = weight
            && best.is_none_or(|(_, most)| weight > most)
        {
            best = Some((encoding, weight));
        }
    }
    // Not encoded is always allowed, unless it was refused by name or with everything else.
    let is_refused = identity.or(any) == Some(0);
    best.map(|(encoding, _)| encoding)
        .or_else(|| (!is_refused).then_some(Encoding::Identity))
}

/// For `crate::fuzz`: whatever is asked for, something that is not refused is given.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(headers: &HeaderMap) {
    let _format = format(headers);
    let chosen = encoding(headers);
    let items = items(headers, &ACCEPT_ENCODING);
    let identity = named(&items, &["identity"]).or_else(|| named(&items, &["*"]));
    assert!(chosen.is_some() || identity == Some(0));
    if chosen == Some(Encoding::Gzip) {
        assert!(takes_gzip(headers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| (name.clone(), line.parse().unwrap()));
        lines.collect()
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it_and_do_not_like_text_more() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for yes in [
            prometheus,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8",
            "text/plain;q=0.9, application/openmetrics-text; version=1.0.0",
            "*/*;q=0.8,application/openmetrics-text;version=1.0.0;q=0.8",
        ] {
            assert_eq!(format(&headers(ACCEPT, &[yes])), Format::OpenMetrics, "{yes}");
        }
        for no in [
            "",
            "*/*",
            "text/html",
            "application/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;version=1.0.0;q=0",
            "application/openmetrics-text;version=1.0.0;q=0.3,text/plain;q=0.4",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=0.1234",
            "application/openmetrics-textual",
            ",;,;q=,",
        ] {
            assert_eq!(format(&headers(ACCEPT, &[no])), Format::Text, "{no}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
        let two = ["text/plain;q=0.1", "application/openmetrics-text;q=0.2"];
        assert_eq!(format(&headers(ACCEPT, &two)), Format::OpenMetrics);
    }

    #[test]
    fn the_encoding_that_is_liked_most_is_sent() {
        for (line, expected) in [
            ("", Some(Encoding::Identity)),
            ("gzip", Some(Encoding::Gzip)),
            ("x-gzip", Some(Encoding::Gzip)),
            ("GZIP ; q=1", Some(Encoding::Gzip)),
            ("deflate, gzip;q=0.8", Some(Encoding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Encoding::Zstd)),
            ("zstd;q=0.5, gzip", Some(Encoding::Gzip)),
            ("zstd;q=0.5, gzip;q=0.4", Some(Encoding::Zstd)),
            ("*", Some(Encoding::Gzip)),
            ("br;q=1.0, *;q=0.1", Some(Encoding::Gzip)),
            ("gzip;q=0, *", Some(Encoding::Zstd)),
            ("gzip;q=0.000, zstd;q=0, *", Some(Encoding::Identity)),
            ("identity", Some(Encoding::Identity)),
            ("identity;q=1, gzip;q=0.5", Some(Encoding::Identity)),
            ("gzip;q=0", Some(Encoding::Identity)),
            ("br", Some(Encoding::Identity)),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, gzip", Some(Encoding::Gzip)),
            ("br, identity;q=0, *;q=0", None),
            ("*;q=0, identity", Some(Encoding::Identity)),
            ("*;q=0, zstd;q=0.001", Some(Encoding::Zstd)),
            ("xgzip", Some(Encoding::Identity)),
            ("gzip;q=nan", Some(Encoding::Identity)),
        ] {
            assert_eq!(encoding(&headers(ACCEPT_ENCODING, &[line])), expected, "{line}");
        }
        let two = ["br", "gzip"];
        assert_eq!(encoding(&headers(ACCEPT_ENCODING, &two)), Some(Encoding::Gzip));
    }

    #[test]
    fn no_header_makes_it_panic() {
        let mut state = 1_u64;
        let mut next = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % most
        };
        let words = [
            "gzip", "*", "q=", "0.", "1", ";", ",", " ", "\"", "version=", "/", "é", "identity", "=",
        ];
        for _ in 0..20_000 {
            let line: String = (0..next(12))
                .map(|_| words[usize::try_from(next(14)).unwrap()])
                .collect();
            let Ok(value) = warp::http::HeaderValue::from_bytes(line.as_bytes()) else {
                continue;
            };
            let mut map = HeaderMap::new();
            map.append(ACCEPT, value.clone());
            map.append(ACCEPT_ENCODING, value);
            let refused = encoding(&map).is_none();
            assert!(!refused || line.contains("0"), "{line}");
            format(&map);
        }
    }
}
