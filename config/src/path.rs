// SPDX-License-Identifier: Apache-2.0
//! Keys as paths: how they are split, joined, written for people and written as environment variables.
//!
//! A path is kept in segments, because a quoted key may hold a dot (`"state.dir" = 1`) and is then another key.

/// What every variable of ours begins with.
pub(crate) const PREFIX: &str = "KEPLER_";

/// Characters of a foreign key or value that a message repeats; the rest is cut, so that a megabyte of key does not
/// become a megabyte of log.
const SHOWN: usize = 80;

/// Splits a registered path (`sources.rapl`); the empty path is the root.
pub(crate) fn split(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A path as TOML writes a dotted key: segments that are no bare keys are quoted.
pub(crate) fn join(path: &[String]) -> String {
    path.iter()
        .map(|segment| segment_text(segment))
        .collect::<Vec<_>>()
        .join(".")
}

fn segment_text(segment: &str) -> String {
    // TOML 1.0, "Keys": bare keys are ASCII letters, digits, underscores and dashes.
    let bare = !segment.is_empty()
        && segment
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { cut(segment) } else { quoted(segment) }
}

/// A text in double quotes, with control characters escaped and its end cut off when it is long.
pub(crate) fn quoted(text: &str) -> String {
    toml_string(&cut(text))
}

/// A TOML basic string on one line. JSON's escapes are a subset of TOML's; only DEL needs one more.
pub(crate) fn toml_string(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// At most [`SHOWN`] characters of a text.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A text for a terminal or a log line: control characters become escapes.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// The variable of a key: `exporter.processes.max` is `KEPLER_EXPORTER__PROCESSES__MAX`. A dash becomes an
/// underscore, because no shell can name a variable with a dash.
pub(crate) fn variable(path: &[String]) -> String {
    let name = path
        .iter()
        .map(|segment| segment.to_ascii_uppercase().replace('-', "_"))
        .collect::<Vec<_>>()
        .join("__");
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_dot_in_it_is_not_the_dotted_key() {
        assert_eq!(join(&split("state.dir")), "state.dir");
        assert_eq!(join(&["state.dir".to_owned()]), "\"state.dir\"");
    }

    #[test]
    fn a_foreign_key_can_neither_flood_nor_break_a_line() {
        assert_eq!(join(&["a\nb\u{7f}".to_owned()]), "\"a\\nb\\u007f\"");
        assert_eq!(join(&["k".repeat(1 << 20)]), format!("{}...", "k".repeat(80)));
        assert_eq!(plain("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }

    #[test]
    fn a_variable_joins_segments_with_two_underscores() {
        assert_eq!(
            variable(&split("sources.intel-gpu.root")),
            "KEPLER_SOURCES__INTEL_GPU__ROOT"
        );
        assert_eq!(variable(&split("tick")), "KEPLER_TICK");
    }
}
