// SPDX-License-Identifier: Apache-2.0
//! From pages to requests.

use super::super::batch::{MOST_AHEAD, MOST_SAMPLES};
use super::*;
use crate::config::Schema;

#[test]
fn what_is_pushed_is_what_a_scrape_of_the_same_snapshot_shows_to_the_last_bit() {
    for toml in [
        "",
        "schemas = 'kepler-0.11'",
        "schemas = 'kepler, kepler-0.11'",
        "levels = 'node, pod'\npod_labels = 'app'\ndrop.pod = 'pod_id'\nnamespaces.deny = ['shop']",
        "created = false",
    ] {
        for way in WAYS {
            let settings = settings(toml);
            let page = page(sample::snapshot(), &settings);
            let shown = scraped(&page, way.1);
            let batches = gatherer(&way).take(whole(&page, way.1), AT);
            let arrived = way.2(&batches);
            assert_eq!(bits(&arrived), shown, "{toml}");
            assert!(shown.len() > 30, "{toml}: {}", shown.len());
            assert!(arrived.values().all(|got| got.at == AT));
        }
    }
}

#[test]
fn counters_say_since_when_they_count_where_the_protocol_can_and_the_page_does() {
    for (created, way) in [(true, WAYS[1]), (true, WAYS[2]), (false, WAYS[2])] {
        let settings = settings(&format!("created = {created}"));
        let page = page(sample::snapshot(), &settings);
        let arrived = way.2(&gatherer(&way).take(whole(&page, way.1), AT));
        let text = String::from_utf8(whole(&page, way.1).concat()).unwrap();
        let told = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next().unwrap().ends_with("_created"));
        let since = |name: &str| {
            arrived
                .iter()
                .find(|(series, _)| series.starts_with(name))
                .unwrap()
                .1
                .since
        };
        // Of the row, and of the daemon.
        let expected = created.then_some(1_700_000_010_000);
        assert_eq!(since("kepler_pod_joules_total "), expected);
        assert_eq!(
            since("kepler_windows_total "),
            created.then_some(1_700_000_000_000)
        );
        assert_eq!(since("kepler_node_package_watts "), None);
        let told = told.count();
        assert_eq!(told > 0, created);
        let counters = arrived.values().filter(|got| got.since.is_some()).count();
        assert!(counters >= told, "a histogram tells it for all of its parts");
    }
}

#[test]
fn a_series_that_ended_is_marked_once_and_the_end_marks_them_all() {
    for way in WAYS {
        let settings = settings("");
        let first = page(sample::snapshot(), &settings);
        let mut later = sample::snapshot();
        later.pods.clear();
        let second = page(later, &settings);
        let (before, after) = (scraped(&first, way.1), scraped(&second, way.1));
        let mut gatherer = gatherer(&way);
        drop(gatherer.take(whole(&first, way.1), AT));
        let arrived = way.2(&gatherer.take(whole(&second, way.1), AT + 1000));
        let stale = way.3;
        let ended: Vec<_> = before
            .keys()
            .filter(|series| !after.contains_key(*series))
            .collect();
        assert!(ended.len() >= 3 && ended.iter().all(|series| series.starts_with("kepler_pod_")));
        for series in &ended {
            assert_eq!(
                (arrived[*series].bits, arrived[*series].at),
                (stale, AT + 1000),
                "{series}"
            );
        }
        let living: Shown = bits(&arrived)
            .into_iter()
            .filter(|(_, bits)| *bits != stale)
            .collect();
        assert_eq!(living, after);
        let again = way.2(&gatherer.take(whole(&second, way.1), AT + 2000));
        assert_eq!(bits(&again), after, "marked once");
        let end = way.2(&gatherer.end(AT + 3000));
        assert!(end.values().all(|got| (got.bits, got.at) == (stale, AT + 3000)));
        assert_eq!(end.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        assert!(gatherer.end(AT + 4000).is_empty());
    }
}

#[test]
fn of_two_schemas_one_can_be_pushed_and_the_daemon_speaks_of_itself_in_both() {
    let mut snapshot = sample::snapshot();
    snapshot.zones[1].up = true;
    for (schema, name) in [(Schema::Kepler, "kepler"), (Schema::Kepler011, "kepler-0.11")] {
        let (both, alone) = (
            settings("schemas = 'kepler, kepler-0.11'"),
            settings(&format!("schemas = '{name}'")),
        );
        let (both, alone) = (page(snapshot.clone(), &both), page(snapshot.clone(), &alone));
        let way = WAYS[0];
        let mut gatherer = Gatherer::new(way.0(), Choice::of(&[schema]), false);
        let mut pushed = bits(&way.2(&gatherer.take(whole(&both, way.1), AT)));
        let mut shown = scraped(&alone, way.1);
        // The size of the page is that of the page.
        let size = |shown: &mut Shown| shown.remove("kepler_scrape_bytes []");
        assert!(size(&mut pushed).is_some() && size(&mut shown).is_some());
        assert_eq!(pushed, shown, "{name}");
    }
}

#[test]
fn labels_of_the_configuration_are_in_every_series_and_displace_none() {
    let everywhere =
        BTreeMap::from([("a", "1"), ("mode", "mine"), ("z", "2")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let encoder = remote_write::Version1::new(remote_write::everywhere(&everywhere));
    let mut gatherer = Gatherer::new(Box::new(encoder), Choice::default(), false);
    let page = page(sample::snapshot(), &settings(""));
    let arrived = arrived_v1(&gatherer.take(whole(&page, Format::Text), AT));
    let has = |series: &str| arrived.keys().any(|key| key == series);
    assert!(has(
        "kepler_node_joules_total [(\"a\", \"1\"), (\"mode\", \"idle\"), (\"z\", \"2\")]"
    ));
    assert!(has(
        "kepler_windows_total [(\"a\", \"1\"), (\"mode\", \"mine\"), (\"z\", \"2\")]"
    ));
}

#[test]
fn a_request_has_no_more_samples_than_receivers_are_made_for_and_no_more_text() {
    let text = |value: &str, count: usize| {
        let lines: String = (0..count)
            .map(|n| format!("a{{n=\"{n}\",v=\"{value}\"}} {n}\n"))
            .collect();
        vec![Bytes::from(format!("# HELP a A.\n# TYPE a gauge\n{lines}"))]
    };
    for way in WAYS {
        let counts = |page| {
            let batches = gatherer(&way).take(page, AT);
            way.2(&batches);
            batches.iter().map(|batch| batch.samples).collect::<Vec<_>>()
        };
        assert_eq!(counts(text("x", 5_000)), [MOST_SAMPLES, MOST_SAMPLES, 1_000]);
        assert_eq!(counts(text("x", MOST_SAMPLES)), [MOST_SAMPLES]);
        let long = counts(text(&"x".repeat(2_000), 1_000));
        assert_eq!((long.len(), long.iter().sum::<usize>()), (2, 1_000), "{long:?}");
    }
}

#[test]
fn a_histogram_is_not_torn_apart_where_a_request_is_full() {
    let mut text = String::from("# HELP a A.\n# TYPE a gauge\n");
    (1..MOST_SAMPLES).for_each(|n| text.push_str(&format!("a{{n=\"{n}\"}} {n}\n")));
    text.push_str("# HELP h H.\n# TYPE h histogram\n");
    for n in 0..2 {
        text.push_str(&format!(
            "h_bucket{{le=\"0.5\",n=\"{n}\"}} 3\nh_bucket{{le=\"+Inf\",n=\"{n}\"}} 5\nh_sum{{n=\"{n}\"}} 2.5\nh_count{{n=\"{n}\"}} 5\n"
        ));
    }
    let batches = gatherer(&WAYS[2]).take(vec![Bytes::from(text)], AT);
    assert_eq!(
        batches.iter().map(|batch| batch.samples).collect::<Vec<_>>(),
        [MOST_SAMPLES, 1]
    );
    let of = |batch: &Batch| metrics(&batch.body).pop().unwrap().histogram.unwrap().points;
    for batch in &batches {
        let [point] = &of(batch)[..] else {
            panic!("one histogram each")
        };
        assert_eq!((&point.counts[..], &point.bounds[..]), (&[3, 2][..], &[0.5][..]));
        assert_eq!((point.count, point.sum), (5, Some(2.5)));
    }
}

#[test]
fn a_clock_that_is_set_back_a_little_is_not_followed_and_one_that_is_set_back_far_is() {
    let page = page(sample::snapshot(), &settings("levels = 'node'"));
    let mut gatherer = gatherer(&WAYS[0]);
    let mut at = |at| {
        let arrived = arrived_v1(&gatherer.take(whole(&page, Format::Text), at));
        (arrived.values().next().unwrap().at, gatherer.has_gone_back())
    };
    assert_eq!(at(AT), (AT, false));
    assert_eq!(at(AT - MOST_AHEAD), (AT + 1, false));
    assert_eq!(at(AT + 1), (AT + 2, false), "no moment twice");
    assert_eq!(at(AT + 60_000), (AT + 60_000, false));
    let back = AT + 60_000 - MOST_AHEAD - 1;
    assert_eq!(at(back), (back, true));
    assert_eq!(at(back + 1_000), (back + 1_000, false), "and on with it");
    assert_eq!(at(back), (back + 1_001, false));
}

#[test]
fn whoever_follows_a_clock_back_says_what_families_are_and_nothing_of_beginnings_that_are_yet_to_come() {
    let page = page(sample::snapshot(), &settings(""));
    let mut told = Gatherer::new(WAYS[0].0(), Choice::default(), true);
    for at in [AT, AT - 3_600_000] {
        let batches = told.take(whole(&page, Format::Text), at);
        let heads = batches.iter().map(|batch| of_v1(&batch.body).metadata.len());
        assert!(heads.max().unwrap() > 0, "{at}");
    }
    for way in &WAYS[1..] {
        let since = |at| {
            let arrived = way.2(&gatherer(way).take(whole(&page, way.1), at));
            arrived.values().filter_map(|got| got.since).count()
        };
        assert!(since(AT) > 0);
        assert_eq!(since(AT - 3_600_000), 0);
    }
}

#[test]
fn version_1_says_once_a_minute_what_families_are_and_the_others_say_it_with_each() {
    let page = page(sample::snapshot(), &settings(""));
    let mut gatherer = Gatherer::new(WAYS[0].0(), Choice::default(), true);
    let mut heads = |at| {
        let batches = gatherer.take(whole(&page, Format::Text), at);
        let requests = batches.iter().map(|batch| of_v1(&batch.body));
        let with_heads: Vec<_> = requests.filter(|request| !request.metadata.is_empty()).collect();
        assert!(with_heads.iter().all(|request| request.series.is_empty()));
        with_heads
            .into_iter()
            .flat_map(|request| request.metadata)
            .collect::<Vec<_>>()
    };
    let told = heads(AT);
    let of = |name: &str| told.iter().find(|head| word(&head.family) == name).unwrap();
    assert_eq!(of("kepler_node_joules_total").kind, 1);
    assert_eq!(of("kepler_windows_total").help, "Closed windows.");
    assert_eq!(of("kepler_window_lateness_seconds").kind, 3);
    assert!(heads(AT + 59_999).is_empty() && !heads(AT + 60_000).is_empty());

    let bodies = super::gatherer(&WAYS[1]).take(whole(&page, Format::OpenMetrics), AT);
    let request = v2::Request::decode(&*unsnapped(&bodies[0].body)).unwrap();
    let symbol = |place: u32| word(&request.symbols[usize::try_from(place).unwrap()]);
    let watts = request.series.iter().find(|series| {
        series
            .labels
            .iter()
            .any(|l| symbol(*l) == "kepler_node_package_watts")
    });
    let about = watts.unwrap().metadata.unwrap();
    assert_eq!((about.kind, symbol(about.unit)), (2, "watts".to_owned()));
    assert!(symbol(about.help).starts_with("Mean power"));
}

#[test]
fn otlp_tells_units_only_where_no_receiver_makes_another_name_of_them() {
    let page = page(sample::snapshot(), &settings("schemas = 'kepler, kepler-0.11'"));
    let batches = gatherer(&WAYS[2]).take(whole(&page, Format::OpenMetrics), AT);
    let told: BTreeMap<_, _> = batches
        .iter()
        .flat_map(|batch| metrics(&batch.body))
        .map(|metric| (word(&metric.name), word(&metric.unit)))
        .collect();
    for (name, unit) in [
        ("kepler_node_joules_total", "J"),
        ("kepler_node_package_watts", "W"),
        ("kepler_window_lateness_seconds", "s"),
        ("kepler_scrape_bytes", "By"),
        ("kepler_cpu_time_coverage_ratio", "1"),
        ("kepler_container_bpf_cpu_time_ms_total", ""),
        ("kepler_node_info", ""),
    ] {
        assert_eq!(told[name], unit, "{name}");
    }
    // What <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/> appends is there already.
    let words = [
        ("J", "joules"),
        ("W", "watts"),
        ("s", "seconds"),
        ("By", "bytes"),
        ("1", "ratio"),
    ];
    for (name, unit) in &told {
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let word = words
            .iter()
            .find(|(of, _)| of == unit)
            .map_or("", |(_, word)| word);
        assert!(stem.ends_with(word), "{name} in {unit:?}");
    }
}
