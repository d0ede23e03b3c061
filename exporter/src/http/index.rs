// SPDX-License-Identifier: Apache-2.0
//! The page at `/`: where things are, the node's power now, and who accounts CPU time. One document without scripts or further requests.

use crate::text::writer::Decimal;
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Accounting, Microwatts, Snapshot};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Kepler</title>\
<meta name=\"viewport\" content=\"width=device-width\"><style>body{font:1rem/1.5 sans-serif;margin:2rem}\
td,th{padding:0 1rem 0 0;text-align:left}td.n{text-align:right}</style></head><body>\n<h1>Kepler</h1>\n";

const LINKS: &str = "<ul>\n<li><a href=\"/metrics\">/metrics</a> Prometheus text</li>\n\
<li><a href=\"/api/v1/snapshot\">/api/v1/snapshot</a> the newest snapshot as JSON</li>\n\
<li><a href=\"/livez\">/livez</a> <a href=\"/readyz\">/readyz</a> health</li>\n</ul>\n</body></html>\n";

/// The whole document.
pub(super) fn html(snapshot: &Snapshot) -> String {
    let mut out = String::from(HEAD);
    let counted = snapshot
        .zones
        .iter()
        .filter(|zone| zone.zone.component.counts_into_total());
    let powers: Vec<Microwatts> = counted.filter_map(power_now).collect();
    if powers.is_empty() {
        out.push_str("<p>No power reading yet.</p>\n");
    } else {
        out.push_str("<p>Node power now: <strong>");
        watts(&mut out, powers.into_iter().sum());
        out.push_str("</strong> (packages, memory, accelerators and other parts)</p>\n");
    }
    if !snapshot.zones.is_empty() {
        table(&mut out, &snapshot.zones);
    }
    accountant(&mut out, &snapshot.facts.accounting);
    out.push_str(LINKS);
    out
}

/// Power of a zone that still answers.
fn power_now(zone: &ZoneAccount) -> Option<Microwatts> {
    zone.power.filter(|_| zone.up)
}

fn table(out: &mut String, zones: &[ZoneAccount]) {
    out.push_str(
        "<table>\n<tr><th>Component</th><th>Place</th><th>Power</th><th>Source</th><th>How</th></tr>\n",
    );
    for zone in zones {
        out.push_str("<tr><td>");
        out.push_str(zone.zone.component.name());
        out.push_str("</td><td>");
        escape(out, &zone.zone.place.to_string());
        out.push_str("</td><td class=\"n\">");
        match power_now(zone) {
            Some(power) => watts(out, power),
            None => out.push_str("no reading"),
        }
        out.push_str("</td><td>");
        escape(out, zone.source.0);
        out.push_str("</td><td>");
        out.push_str(zone.provenance.name());
        out.push_str("</td></tr>\n");
    }
    out.push_str("</table>\n");
}

/// Who accounts CPU time, once that is decided.
fn accountant(out: &mut String, accounting: &Accounting) {
    if accounting.chosen.is_empty() {
        return;
    }
    out.push_str("<p>CPU time by <strong>");
    escape(out, accounting.chosen);
    out.push_str("</strong>: ");
    escape(out, &accounting.reason);
    out.push_str("</p>\n");
}

/// Watts for people: whole milliwatts.
fn watts(out: &mut String, power: Microwatts) {
    Decimal::milli(power.as_micro() / 1_000).write(out);
    out.push_str(" W");
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use attribution::model::Place;

    #[test]
    fn power_now_is_the_sum_of_what_answers_and_counts_nothing_twice() {
        // Socket 0, memory and GPU with 12.5 W each; socket 1 is down, the platform would count twice.
        let page = html(&sample::snapshot());
        assert!(page.contains("<strong>37.5 W</strong>"), "{page}");
        assert!(page.contains("<td>socket1</td><td class=\"n\">no reading</td>"));
        for link in [
            "\"/metrics\"",
            "\"/api/v1/snapshot\"",
            "\"/livez\"",
            "\"/readyz\"",
        ] {
            assert!(page.contains(link), "{link}");
        }
        assert!(!page.contains("http"), "nothing may be fetched from elsewhere");
    }

    #[test]
    fn a_name_from_outside_cannot_become_markup() {
        let mut snapshot = sample::snapshot();
        snapshot.zones[0].zone.place = Place::Named("<script>\"&'".into());
        let page = html(&snapshot);
        assert!(page.contains("<td>&lt;script&gt;&quot;&amp;&#39;</td>"));
        assert!(!page.contains("<script>"));
    }

    #[test]
    fn the_accountant_of_cpu_time_is_named_with_its_reason() {
        let page = html(&sample::snapshot());
        assert!(
            page.contains("<p>CPU time by <strong>proc</strong>: kernel has no &quot;BTF&quot;</p>\n"),
            "{page}"
        );
        assert!(
            !html(&Snapshot::default()).contains("CPU time"),
            "nothing is decided yet"
        );
    }

    #[test]
    fn before_the_first_reading_the_page_says_so() {
        assert!(html(&Snapshot::default()).contains("No power reading yet"));
    }
}
