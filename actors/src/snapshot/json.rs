// SPDX-License-Identifier: Apache-2.0
//! A snapshot as one line of JSON, with the daemon's own field names and whole numbers.

use super::Picture;
use crate::client::{About, ComponentNow, Facts, Node, Others, Row, Source, Windows, Zone};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    schema: u8,
    from: &'a str,
    level: &'static str,
    now_ms: u64,
    began_ms: Option<u64>,
    node: &'a Node,
    components: &'a [ComponentNow],
    rows: &'a [Row],
    others: &'a Others,
    zones: &'a [Zone],
    sources: &'a [Source],
    facts: &'a Facts,
    windows: &'a Windows,
    about: &'a About,
}

/// The line, without its end.
pub(super) fn text(picture: &Picture) -> serde_json::Result<String> {
    let Picture {
        about,
        update,
        level,
        from,
    } = picture;
    serde_json::to_string(&Document {
        schema: 1,
        from,
        level: level.query(),
        now_ms: update.now_ms,
        began_ms: update.began_ms,
        node: &update.node,
        components: &update.components,
        rows: &update.rows,
        others: &update.others,
        zones: &update.zones,
        sources: &update.sources,
        facts: &update.facts,
        windows: &update.windows,
        about,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Sort;
    use super::super::tests::picture;
    use super::*;

    #[test]
    fn numbers_are_whole_and_names_are_as_they_came() {
        let line = text(&picture(Sort::Power, Some(1))).unwrap();
        assert!(!line.contains('\n') && !line.contains('\x1b'), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["node"]["dynamic_uw"], 9_000_000);
        assert_eq!(read["rows"][0]["name"], "evil\x1b[2J,\"\n=1+1");
        assert_eq!(read["others"]["rows"], 2);
        assert_eq!(read["about"]["currency"], "EUR");
    }
}
