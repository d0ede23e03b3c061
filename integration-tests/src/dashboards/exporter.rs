// SPDX-License-Identifier: Apache-2.0
//! Kepler's own health: whether its figures can be trusted, and what it costs itself.

use super::panel::Panel;
use super::query::{OF_PARTS, sum, watts};
use super::{About, Choice, Dashboard, Section, board, choice};

/// The daemons of the board.
const ALL: &str = "job=\"$job\", instance=~\"$instance\"";

pub(super) fn exporter() -> Dashboard {
    let about = About {
        uid: "kepler-health",
        title: "Kepler / Its own health",
        description: "Whether Kepler's figures can be trusted: its meters, probes and windows, and what it costs itself.",
        variables: vec![choice(
            "instance",
            "Node",
            "label_values(kepler_exporter_build_info{job=\"$job\"}, instance)",
            Choice::Several,
            "The nodes, by their label instance.",
        )],
    };
    let section = |title, panels| Section { title, panels };
    board(
        about,
        vec![
            section("In short", short()),
            section("Meters and models", sources()),
            section("Who ran", probes()),
            section("Windows", windows()),
            section("What it costs", costs()),
        ],
    )
}

fn short() -> Vec<Panel> {
    let nobody = sum(
        "",
        "kepler_node_unattributed_joules_total",
        &format!("{ALL}, {OF_PARTS}"),
    );
    let dynamic = sum(
        "",
        "kepler_node_joules_total",
        &format!("{ALL}, mode=\"dynamic\""),
    );
    vec![
        Panel::number("Answering", "Share of the chosen daemons that answered the last scrape.", "percentunit")
            .query(&format!("avg(up{{{ALL}}})"), "answering"),
        Panel::number("Sources down", "Meters whose last reading failed, on all chosen nodes. Their energy is missing until they come back.", "short")
            .query(&format!("count(kepler_source_up{{{ALL}}} == 0) or vector(0)"), "down")
            .steps(1.0, 5.0),
        Panel::number(
            "CPU time covered, worst",
            "CPU time that was charged to somebody over the time that CPUs were busy, on the worst node. Below 90 %, who pays is not sure.",
            "percentunit",
        )
        .query(&format!("min(kepler_cpu_time_coverage_ratio{{{ALL}}})"), "covered"),
        Panel::number("Unattributed share", "Share of the dynamic energy that no workload is charged for.", "percentunit")
            .query(&format!("{nobody} / {dynamic}"), "unattributed")
            .steps(0.05, 0.2),
        Panel::number("Windows late", "Share of the windows that closed without somebody's report. The energy is not lost; it is paid a window later.", "percentunit")
            .query(&format!("{} / {}", late(""), sum("", "kepler_windows_total", ALL)), "late")
            .steps(0.01, 0.05),
        Panel::number("Versions", "How many different builds run.", "short")
            .query(&format!("count(count by (version, revision) (kepler_exporter_build_info{{{ALL}}}))"), "versions"),
    ]
}

/// The worst reporter of a node, summed over nodes.
fn late(by: &str) -> String {
    sum(by, "kepler_windows_late_total", ALL)
}

fn sources() -> Vec<Panel> {
    vec![
        Panel::table("Sources", "Each node's sources: 1 is up. estimated is a model and no meter.")
            .column(
                "Up",
                "short",
                &format!(
                    "min by (instance, component, source, provenance) (kepler_source_up{{{ALL}}} * on (job, instance, source, component) \
                     group_left (provenance) kepler_source_info{{{ALL}}})"
                ),
            ),
        Panel::lines("Age of the newest reading", "How old the newest reading of a source is. A BMC is asked every ten seconds only; everything else should be as young as a tick.", "s")
            .query(&format!("max by (instance, source) (kepler_source_reading_age_seconds{{{ALL}}})"), "{{instance}} {{source}}"),
        Panel::lines("Failed readings", "Readings that failed, a second, by reason. reset: a counter began anew, and that interval is left out. Empty while none ever failed.", "cps")
            .query(&sum("source, reason", "kepler_source_errors_total", ALL), "{{source}}: {{reason}}"),
        Panel::lines("Expected error of estimates", "Relative error that nine of ten machines stay below, by component.", "percentunit")
            .query(&format!("max by (instance, component) (kepler_estimate_relative_error{{{ALL}}})"), "{{instance}} {{component}}, estimated"),
    ]
}

fn probes() -> Vec<Panel> {
    vec![
        Panel::table("Probes", "What sees who ran, 1 is on, and why the others are not. One that is off by configuration, or not needed, is nothing to worry about.")
            .column("On", "short", &format!("min by (instance, probe, reason) (kepler_probe_up{{{ALL}}})")),
        Panel::lines("CPU time covered", "CPU time that was charged to somebody over the busy time of the node, in the last window.", "percentunit")
            .query(&format!("kepler_cpu_time_coverage_ratio{{{ALL}}}"), "{{instance}}"),
        Panel::lines(
            "Lost events",
            "What probes dropped or folded into an aggregate, a second. A few tasks that vanished while they were looked at are usual.",
            "cps",
        )
        .query(&format!("{} > 0", sum("probe, reason", "kepler_probe_lost_events_total", ALL)), "{{probe}}: {{reason}}"),
        Panel::lines("Unattributed", "Dynamic energy that no workload is charged for, by component.", "watt")
            .query(&sum("component", "kepler_node_unattributed_joules_total", ALL), "{{component}}"),
    ]
}

fn windows() -> Vec<Panel> {
    let share = format!(
        "{} / on (instance) group_left () {}",
        late("instance, reporter"),
        sum("instance", "kepler_windows_total", ALL)
    );
    let lateness = |quantile: &str| {
        let buckets = sum("le", "kepler_window_lateness_seconds_bucket", ALL);
        format!("histogram_quantile({quantile}, {buckets})")
    };
    vec![
        Panel::lines("Windows a second", "One a tick. Fewer: the daemon does not keep up, or its node is paused.", "cps")
            .query(&watts("kepler_windows_total", ALL), "{{instance}}"),
        Panel::lines("Late reporters", "Share of the windows that closed without this reporter.", "percentunit").query(&share, "{{instance}} {{reporter}}"),
        Panel::lines("Lateness", "How late windows closed after their deadline: half of them below the lower line, 99 of 100 below the upper.", "s")
            .query(&lateness("0.5"), "half")
            .query(&lateness("0.99"), "99 %"),
        Panel::lines("Dropped messages", "Messages that found a full queue, a second. Totals are cumulative, so nothing is lost but resolution.", "cps")
            .query(&sum("instance, queue", "kepler_dropped_messages_total", ALL), "{{instance}} {{queue}}"),
    ]
}

fn costs() -> Vec<Panel> {
    let third = |panel: Panel| panel.size(8, 8);
    let scrape = |quantile: &str| {
        let buckets = sum("le", "kepler_scrape_duration_seconds_bucket", ALL);
        format!("histogram_quantile({quantile}, {buckets})")
    };
    vec![
        third(
            Panel::lines("CPU", "CPU that the daemon uses, as a share of one CPU.", "percentunit")
                .query(&watts("process_cpu_seconds_total", ALL), "{{instance}}"),
        ),
        third(Panel::lines("Memory", "Resident memory of the daemon.", "bytes").query(&format!("process_resident_memory_bytes{{{ALL}}}"), "{{instance}}")),
        third(
            Panel::lines("Open files", "File descriptors that the daemon holds. Rising for hours is a leak.", "short")
                .query(&format!("process_open_fds{{{ALL}}}"), "{{instance}}"),
        ),
        third(
            Panel::lines("Time to answer a scrape", "From the request to the whole body.", "s")
                .query(&scrape("0.5"), "half")
                .query(&scrape("0.99"), "99 %"),
        ),
        third(Panel::lines("Size of a page", "The newest page as text.", "bytes").query(&format!("kepler_scrape_bytes{{{ALL}}}"), "{{instance}}")),
        third(
            Panel::lines("Series", "Samples that Prometheus takes from each daemon. exporter.levels and exporter.processes.max make them fewer.", "short")
                .query(&format!("scrape_samples_scraped{{{ALL}}}"), "{{instance}}"),
        ),
    ]
}
