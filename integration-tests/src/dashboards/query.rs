// SPDX-License-Identifier: Apache-2.0
//! PromQL that more than one board asks. Power is always the rate of a counter of joules: a gauge of watts misses what
//! happened between two scrapes. No sum here mixes levels (a container's energy is in its pod's and its node's), nor a part with its whole (core and uncore are in
//! package, all of them in platform).

/// The components that add up to a machine, by their names in metrics and for people.
pub(super) const PARTS: [(&str, &str); 4] = [
    ("package", "CPU packages"),
    ("dram", "memory"),
    ("gpu", "GPUs"),
    ("other", "other parts"),
];

/// The same as a matcher of `component`.
pub(super) const OF_PARTS: &str = "component=~\"package|dram|gpu|other\"";

/// Joules in a kilowatt-hour.
const KWH: &str = "3.6e6";

/// Watts: the rate of a counter of joules with these matchers.
pub(super) fn watts(counter: &str, matchers: &str) -> String {
    format!("rate({counter}{{{matchers}}}[$__rate_interval])")
}

/// Watts, summed by labels; by none of them when empty.
pub(super) fn sum(by: &str, counter: &str, matchers: &str) -> String {
    let by = if by.is_empty() {
        String::new()
    } else {
        format!(" by ({by}) ")
    };
    format!("sum{by}({})", watts(counter, matchers))
}

/// Kilowatt-hours over the time that is shown, summed by labels.
pub(super) fn kwh(by: &str, counter: &str, matchers: &str) -> String {
    let by = if by.is_empty() {
        String::new()
    } else {
        format!(" by ({by}) ")
    };
    format!("sum{by}(increase({counter}{{{matchers}}}[$__range])) / {KWH}")
}

/// What they cost.
pub(super) fn cost(by: &str, counter: &str, matchers: &str) -> String {
    format!("{} * $price", kwh(by, counter, matchers))
}

/// Their CO2e in kilograms.
pub(super) fn carbon(by: &str, counter: &str, matchers: &str) -> String {
    format!("{} * $intensity / 1000", kwh(by, counter, matchers))
}

/// The ten largest.
pub(super) fn top(expression: &str) -> String {
    format!("topk(10, {expression})")
}

/// A component of nodes by how its figure came about: counted, integrated or estimated. The name of a source says it
/// for most of them, and `kepler_source_info` for all, those included that a host feeds its guest.
pub(super) fn by_provenance(by: &str, component: &str, matchers: &str) -> String {
    // Schema kepler-0.11 has some of the same names, without a source.
    let watts = watts(
        &format!("kepler_node_{component}_joules_total"),
        &format!("{matchers}, source!=\"\""),
    );
    format!(
        "sum by ({by}) ({watts} * on (job, instance, source) group_left (provenance) \
         kepler_source_info{{{matchers}, component=\"{component}\"}})"
    )
}

/// Watts of a component where they are estimated, times one plus or minus (`sign`) the expected relative error.
pub(super) fn estimated(component: &str, matchers: &str, sign: Option<char>) -> String {
    let watts = format!(
        "sum by (job, instance) ({} * on (job, instance, source) group_left () \
         kepler_source_info{{{matchers}, component=\"{component}\", provenance=\"estimated\"}})",
        watts(
            &format!("kepler_node_{component}_joules_total"),
            &format!("{matchers}, source!=\"\"")
        )
    );
    match sign {
        None => watts,
        Some(sign) => format!(
            "{watts} * on (job, instance) clamp_min(1 {sign} kepler_estimate_relative_error{{{matchers}, component=\"{component}\"}}, 0)"
        ),
    }
}
