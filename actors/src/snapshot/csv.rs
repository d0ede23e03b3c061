// SPDX-License-Identifier: Apache-2.0
//! A snapshot as CSV (RFC 4180): one line a workload, the node's and the sum of the others among them.
//!
//! Units stand in the head. A name is harmless in a terminal (control characters are replaced) and in a spreadsheet: what
//! one would take for a formula begins with an apostrophe (OWASP, CSV Injection).

use super::Picture;
use crate::words;
use std::io::Write;

const HEAD: [&str; 11] = [
    "level",
    "id",
    "name",
    "group",
    "detail",
    "ended",
    "dynamic_watts",
    "idle_watts",
    "dynamic_joules",
    "idle_joules",
    "estimated_ratio",
];

/// Writes it.
pub(super) fn write(picture: &Picture, to: &mut impl Write) -> csv::Result<()> {
    let Picture { update, level, .. } = picture;
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(HEAD)?;
    let node = &update.node;
    writer.write_record([
        "node",
        "",
        "",
        "",
        "",
        "false",
        &micro(node.dynamic_uw),
        &micro(node.idle_uw),
        &micro(Some(node.dynamic_uj)),
        &micro(Some(node.idle_uj)),
        &permille(node.estimated_permille),
    ])?;
    for row in &update.rows {
        writer.write_record([
            level.query(),
            &plain(&row.id),
            &plain(&row.name),
            &plain(&row.group),
            &plain(&row.detail),
            &row.ended.to_string(),
            &micro(row.dynamic_uw),
            &micro(row.idle_uw),
            &micro(Some(row.dynamic_uj)),
            &micro(Some(row.idle_uj)),
            &permille(row.estimated_permille),
        ])?;
    }
    let others = &update.others;
    if others.rows > 0 {
        writer.write_record([
            level.query(),
            "",
            "(others)",
            "",
            &format!("{} rows", others.rows),
            "",
            &micro(Some(others.dynamic_uw)),
            &micro(Some(others.idle_uw)),
            &micro(Some(others.dynamic_uj)),
            &micro(Some(others.idle_uj)),
            "",
        ])?;
    }
    Ok(writer.flush()?)
}

fn plain(text: &str) -> String {
    let tame = words::tame(text);
    if tame.starts_with(['=', '+', '-', '@']) {
        format!("'{tame}")
    } else {
        tame
    }
}

/// Millionths with all their digits; nothing where nothing is known.
fn micro(count: Option<u64>) -> String {
    count.map_or_else(String::new, |count| {
        format!("{}.{:06}", count / 1_000_000, count % 1_000_000)
    })
}

fn permille(count: u64) -> String {
    format!("{}.{:03}", count / 1_000, count % 1_000)
}

#[cfg(test)]
mod tests {
    use super::super::Sort;
    use super::super::tests::picture;
    use super::*;

    #[test]
    fn a_reader_of_csv_gets_back_what_was_written_with_units_in_the_head() {
        let mut text = Vec::new();
        write(&picture(Sort::Power, Some(2)), &mut text).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), HEAD);
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        let cells = |row: usize| rows[row].iter().collect::<Vec<_>>();
        assert_eq!(
            cells(0),
            [
                "node",
                "",
                "",
                "",
                "",
                "false",
                "9.000000",
                "21.000000",
                "3600.000000",
                "7200.000000",
                "0.500"
            ]
        );
        assert_eq!(rows[1][2], *"evil\u{fffd}[2J,\"\u{fffd}=1+1");
        assert_eq!(rows[1][6], *"5.000000");
        assert_eq!(rows[2][2], *"東京");
        assert_eq!(
            (&rows[3][2], &rows[3][4], &rows[3][8]),
            ("(others)", "1 rows", "900.000000")
        );
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        let starts = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)"].map(plain);
        assert!(starts.iter().all(|cell| cell.starts_with('\'')), "{starts:?}");
        assert_eq!(plain("web-1"), "web-1");
        assert_eq!(
            (micro(None), micro(Some(1))),
            (String::new(), "0.000001".to_owned())
        );
    }
}
