// SPDX-License-Identifier: Apache-2.0

use super::guest::{Guest, Zone};
use super::judge::{Errors, Judge, Row, Span};
use super::page::{Judged, render};
use super::truth::Truth;

/// Two samples, 10 s and 200 J apart; the first is about 2 s, the second about 12 s.
const LOG: &str = "@kernel 6.12.1\r
@begin check rapl\r
  cpu: rapl        yes  /sys/class/powercap: package/socket0\r
@end 0 1 2\r
@begin sample one\r
@json\r
{\"window\":{\"ended_ns\":2100000000},\"zones\":[{\"component\":\"package\",\"place\":\"socket0\",\"source\":\"rapl-sysfs\",\"age_ns\":100000000}]}\r
@metrics\r
# HELP a b\r
kepler_node_package_joules_total{package=\"socket0\",mode=\"dynamic\",source=\"rapl-sysfs\"} 10.5\r
kepler_node_package_joules_total{package=\"socket0\",mode=\"idle\",source=\"rapl-sysfs\"} 20\r
kepler_node_package_watts{package=\"socket0\",source=\"rapl-sysfs\"} 19.9\r
kepler_node_unattributed_joules_total{component=\"package\"} 0.5\r
kepler_node_unreserved_idle_joules_total{component=\"package\"} 20\r
kepler_process_package_joules_total{pid=\"7\",mode=\"dynamic\",source=\"rapl-sysfs\"} 10\r
kepler_container_package_joules_total{container_id=\"x\",mode=\"dynamic\",source=\"rapl-sysfs\"} 10\r
kepler_source_errors_total{source=\"rapl-sysfs\",reason=\"io\"} 3\r
kepler_source_up{source=\"rapl-sysfs\",component=\"package\"} 1\r
@end 0 2 3\r
@begin sample two\r
@json\r
{\"window\":{\"ended_ns\":12500000000},\"zones\":[{\"component\":\"package\",\"place\":\"socket0\",\"source\":\"rapl-sysfs\",\"age_ns\":500000000}]}\r
@metrics\r
kepler_node_package_joules_total{package=\"socket0\",mode=\"dynamic\",source=\"rapl-sysfs\"} 210.5\r
kepler_node_package_joules_total{package=\"socket0\",mode=\"idle\",source=\"rapl-sysfs\"} 20\r
kepler_node_unreserved_idle_joules_total{component=\"package\"} 20\r
kepler_process_package_joules_total{pid=\"7\",mode=\"dynamic\",source=\"rapl-sysfs\"} 210.5\r
kepler_container_package_joules_total{container_id=\"x\",mode=\"dynamic\",source=\"rapl-sysfs\"} 210.499999\r
@end 0 3 4\r
@begin stop rapl\r
@end 0 4 5\r
@begin truth\r
raw before 77\r
rapl 1000000000 0 5000000 1 2 3\r
rapl 3000000000 0 45000000 1 2 3\r
task 500\r
rapl 11000000000 0 204000000 1 2 3\r
rapl 13000000000 0 248000000 1 2 3\r
@end 0 5 6\r
@done\r
";

const ZONE: Zone<'static> = Zone {
    component: "package",
    place: "socket0",
    source: "rapl-sysfs",
};

const SPAN: Span<'static> = Span {
    from: "one",
    to: "two",
};

fn guest() -> Guest {
    Guest::parse("intel", "vmlinuz, host's load 0.1 of 2\n", LOG)
}

/// The only row of what `ask` asks for.
fn row(ask: impl FnOnce(&mut Judge<'_>)) -> Row {
    let guest = guest();
    let mut judge = Judge::new(&guest);
    ask(&mut judge);
    judge.rows().pop().expect("a row")
}

#[test]
fn joules_are_compared_between_the_moments_that_the_readings_are_about() {
    // At 2 s the meter was at 25 J, at 12 s at 226 J.
    let row = row(|judge| judge.energy("package", ZONE, "package 0", SPAN));
    assert_eq!(row.truth, "201.000 J (20.100 W over 10.000 s)");
    assert_eq!(row.shown, "200.000 J (20.000 W over 10.000 s)");
    assert_eq!((row.off_ppm, row.good), (Some(4_975), true));
}

#[test]
fn a_figure_that_is_more_than_a_hundredth_off_is_not_good() {
    for (milliwatts, good) in [
        (20_000, true),
        (20_200, true),
        (20_210, false),
        (19_800, false),
        (0, false),
    ] {
        let row = row(|judge| judge.power("package", ZONE, milliwatts, SPAN));
        assert_eq!(row.good, good, "{milliwatts}: {row:?}");
    }
    for (milliwatts, good) in [(20_000, true), (20_200, false)] {
        let row = row(|judge| judge.watts("package", ZONE, milliwatts, "one"));
        assert_eq!(row.good, good, "{milliwatts}: {row:?}");
    }
}

#[test]
fn what_was_not_sampled_or_not_logged_is_a_row_that_failed_with_the_reason() {
    let absent = Zone {
        component: "dram",
        ..ZONE
    };
    let never = Span { to: "three", ..SPAN };
    let cases = [
        (ZONE, "package 0", never, "no sample three"),
        (
            absent,
            "dram 0",
            SPAN,
            "kepler_node_dram_joules_total has no socket0",
        ),
        (ZONE, "package 1", SPAN, "does not say what package 1 was"),
    ];
    for (zone, truth, span, words) in cases {
        let row = row(|judge| judge.energy("it", zone, truth, span));
        assert!(!row.good && row.shown.contains(words), "{row:?}");
    }
}

#[test]
fn a_level_that_does_not_add_up_is_named_with_its_sample() {
    let row = row(|judge| judge.conserves());
    assert!(!row.good);
    assert!(row.shown.starts_with("two: package dynamic:"), "{}", row.shown);
    assert!(
        !row.shown.contains("one:") && !row.shown.contains("process level"),
        "{}",
        row.shown
    );
}

#[test]
fn errors_are_some_or_none_and_ups_are_what_they_should_be() {
    let errors =
        |reason, at, wanted| row(|judge| judge.errors("it", ("rapl-sysfs", reason), at, wanted)).good;
    assert!(errors("io", "one", Errors::Some) && !errors("io", "one", Errors::None));
    assert!(errors("reset", "one", Errors::None) && !errors("reset", "one", Errors::Some));
    assert!(
        !errors("reset", "three", Errors::None),
        "what was not seen is not good"
    );
    let up = |up| row(|judge| judge.up("it", ("rapl-sysfs", "package"), "one", up)).good;
    assert!(up(1.0) && !up(0.0));
}

#[test]
fn sections_are_asked_for_their_end_and_their_words() {
    assert!(row(|judge| judge.ended("it", "stop rapl")).good);
    assert!(!row(|judge| judge.ended("it", "stop acpi")).good);
    let says = |words: &[&str]| row(|judge| judge.says("it", "check rapl", words));
    assert!(says(&["cpu: rapl", "yes"]).good);
    assert_eq!(
        says(&["cpu: rapl"]).shown,
        "cpu: rapl yes /sys/class/powercap: package/socket0"
    );
    assert!(!says(&["cpu: rapl", "no such"]).good);
    let guest = Guest::parse("", "", &LOG.replace("/sys/class", &"far/".repeat(50)));
    let mut judge = Judge::new(&guest);
    judge.says("a long line is cut short", "check rapl", &["cpu: rapl"]);
    let row = judge.rows().pop().expect("a row");
    assert!(
        row.good && row.shown.len() < 170 && row.shown.ends_with(" ..."),
        "{}",
        row.shown
    );
}

#[test]
fn a_meter_that_began_anew_and_a_log_with_a_gap_tell_no_total() {
    let lines: Vec<_> = [
        "rapl 1000000000 1 100 0 0 0",
        "rapl 2000000000 1 300 0 0 0",
        "rapl 2500000000 1 5 0 0 0",
        "rapl 9000000000 1 7 0 0 0",
        "no line of ours",
        "task 5",
    ]
    .map(str::to_owned)
    .into();
    let truth = Truth::parse(&lines);
    assert_eq!(truth.total("package 1", 1_500_000_000), Ok(200));
    assert_eq!(truth.total("package 1", 2_000_000_000), Ok(300));
    for at in [0, 1_000_000_000 - 1, 2_250_000_000, 5_000_000_000, 9_000_000_001] {
        assert!(truth.total("package 1", at).is_err(), "{at}");
    }
    assert!(truth.total("package 2", 1_500_000_000).is_err());
}

#[test]
fn the_page_has_every_row_and_a_guest_that_stopped_is_a_complaint() {
    let judged = Judged::new(guest()).expect("a scene");
    let page = render(std::slice::from_ref(&judged));
    assert!(page.contains("## intel: "), "{page}");
    assert_eq!(
        page.matches(" ok |\n").count() + page.matches(" **failed** |\n").count(),
        judged.rows.len()
    );
    assert!(judged.complaints().iter().any(|words| words.contains("acpi-1")));
    let (half, _) = LOG.split_once("@done").expect("an end");
    let stopped = Judged::new(Guest::parse("intel", "", half)).expect("a scene");
    let last = "intel: the guest did not come to its end".to_owned();
    assert_eq!(stopped.complaints().pop(), Some(last));
    assert!(Judged::new(Guest::parse("vax", "", LOG)).is_none());
}
