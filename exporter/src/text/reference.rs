// SPDX-License-Identifier: Apache-2.0
//! docs/metrics.md, written from the families themselves.

use super::metric::Metric;
use super::{names, today};
use crate::{clocks, kept, observer, passthrough, push, reloads, security};
use std::fmt::Write;

const HEAD: &str = "<!-- SPDX-License-Identifier: Apache-2.0 -->
# Every metric

Written by `UPDATE_GOLDEN=1 cargo nextest run -p exporter`; a test holds it to the code. How workloads come to be rows, and what the
figures mean, is in [exporter/README.md](../exporter/README.md).

Counters of energy are joules since the daemon began to count the row, exact to the microjoule. A family without samples is not on the
page: what nobody meters or counts is absent, not 0. In OpenMetrics a counter's family is called as its samples without `_total`, has the
unit beside it as `# UNIT`, and each of its samples has a `_created` (`exporter.created`). Labels that `exporter.drop` leaves out are
missing, and those of `exporter.pod_labels` are added to containers and pods.
";

/// The whole page.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n## Schema `kepler`\n");
    for (heading, metrics) in names::all() {
        section(&mut out, heading, &metrics);
    }
    section(
        &mut out,
        "Our own process, and the scrape itself",
        &observer::metrics(),
    );
    section(&mut out, "The machine's clocks", &clocks::metrics());
    section(&mut out, "The configuration", &reloads::metrics());
    section(
        &mut out,
        "What is kept from run to run, where `state.dir` is set and there is a meter",
        &kept::metrics(),
    );
    section(
        &mut out,
        "Who comes in, docs/security.md; the last three where a web configuration or bearer tokens are set",
        &security::health::metrics(),
    );
    section(
        &mut out,
        "Guests that are fed, where `vm_passthrough.dir` is set",
        &passthrough::metrics(),
    );
    section(
        &mut out,
        "Pushing, where `exporter.push` names a receiver",
        &push::metrics(),
    );
    out.push_str(
        "\nFrom *Our own process* on, all are on every page, whatever the schemas are.\n\n## Schema `kepler-0.11`\n\n\
         Names, labels and types of today's Kepler. Names that are in schema `kepler`, too, are one family with the samples of both where \
         both are on; `node_name!=\"\"` chooses those of this one.\n",
    );
    for (heading, metrics) in today::all() {
        section(&mut out, heading, &metrics);
    }
    out
}

fn section(out: &mut String, heading: &str, metrics: &[Metric]) {
    let _: std::fmt::Result = write!(
        out,
        "\n### {heading}\n\n| name | type | unit | labels | |\n|---|---|---|---|---|\n"
    );
    for metric in metrics {
        let [first, second] = metric.labels;
        let labels: Vec<&str> = first.iter().chain(second).copied().collect();
        let _: std::fmt::Result = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            metric.unit().unwrap_or("-"),
            if labels.is_empty() {
                "-".to_owned()
            } else {
                labels.join(", ")
            },
            metric.help
        );
    }
}
