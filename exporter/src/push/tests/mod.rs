// SPDX-License-Identifier: Apache-2.0
//! What is pushed against what is scraped, by a reader of the page that shares nothing with the one that pushes.

mod delivery;
mod requests;

use super::batch::{Batch, Choice, Encoder, Gatherer};
use super::messages::{otlp as proto, v1, v2};
use super::{otlp, remote_write};
use crate::config::ExporterConfig;
use crate::forms::Encoding;
use crate::page::{Page, RenderSettings};
use crate::sample;
use crate::text::writer::Format;
use attribution::model::Snapshot;
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// Series with sorted labels, and their values to the last bit.
pub(super) type Shown = BTreeMap<String, u64>;

/// The moment of all pushes here, in Unix milliseconds.
pub(super) const AT: i64 = 1_700_000_020_000;

pub(super) fn config(toml: &str) -> ExporterConfig {
    let section: serde_json::Value = toml::from_str(toml).unwrap();
    serde_json::from_value(section).unwrap()
}

/// Our own process changes from scrape to scrape, so it is not looked at.
pub(super) fn settings(toml: &str) -> Arc<RenderSettings> {
    Arc::new(sample::settings_of(&config(toml)).with_proc_root("/nonexistent".into()))
}

pub(super) fn page(snapshot: Snapshot, settings: &Arc<RenderSettings>) -> Page {
    Page::new(Arc::new(snapshot), Arc::clone(settings))
}

pub(super) fn whole(page: &Page, format: Format) -> Vec<Bytes> {
    page.scrape(format, Encoding::Identity).0
}

/// What whoever scrapes this page learns, `_created` left out.
pub(super) fn scraped(page: &Page, format: Format) -> Shown {
    let text = String::from_utf8(whole(page, format).concat()).unwrap();
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        if name.ends_with("_created") {
            continue;
        }
        let mut pairs = Vec::new();
        let mut rest = labels.strip_suffix('}').unwrap();
        while let Some((name, after)) = rest.split_once("=\"") {
            let (mut value, mut characters) = (String::new(), after.char_indices());
            let end = loop {
                match characters.next().unwrap() {
                    (_, '\\') => match characters.next().unwrap().1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (end, '"') => break end,
                    (_, plain) => value.push(plain),
                }
            };
            pairs.push((name.to_owned(), value));
            rest = after[end + 1..].trim_start_matches(',');
        }
        let value: f64 = value.parse().unwrap();
        let known = shown.insert(named(name, pairs), value.to_bits());
        assert_eq!(known, None, "{line} is there twice");
    }
    shown
}

/// A series' name and labels in one text, empty labels left out as whoever scrapes leaves them out.
pub(super) fn named(name: &str, mut pairs: Vec<(String, String)>) -> String {
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort();
    format!("{name} {pairs:?}")
}

pub(super) fn word(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) fn unsnapped(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).unwrap()
}

pub(super) fn of_v1(body: &[u8]) -> v1::WriteRequest {
    v1::WriteRequest::decode(&*unsnapped(body)).unwrap()
}

pub(super) fn of_otlp(body: &[u8]) -> proto::Request {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(body)
        .read_to_end(&mut bytes)
        .unwrap();
    proto::Request::decode(&*bytes).unwrap()
}

pub(super) fn metrics(body: &[u8]) -> Vec<proto::Metric> {
    let [resource] = &of_otlp(body).resources[..] else {
        panic!("one resource")
    };
    let [scope] = &resource.scopes[..] else {
        panic!("one scope")
    };
    scope.metrics.clone()
}

/// A sample as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) bits: u64,
    pub(super) at: i64,
    pub(super) since: Option<i64>,
}

/// What arrived, by series.
pub(super) type Arrived = BTreeMap<String, Got>;

fn put(arrived: &mut Arrived, series: String, got: Got) {
    assert_eq!(
        arrived.insert(series.clone(), got),
        None,
        "{series} was sent twice"
    );
}

pub(super) fn arrived_v1(batches: &[Batch]) -> Arrived {
    let mut arrived = Arrived::new();
    for series in batches.iter().flat_map(|batch| of_v1(&batch.body).series) {
        assert!(
            series.labels.is_sorted_by(|a, b| a.name < b.name),
            "{:?}",
            series.labels
        );
        let mut pairs: Vec<_> = series
            .labels
            .iter()
            .map(|label| (word(&label.name), word(&label.value)))
            .collect();
        assert!(pairs.iter().all(|(_, value)| !value.is_empty()));
        let name = pairs.remove(pairs.iter().position(|(name, _)| name == "__name__").unwrap());
        let [sample] = series.samples[..] else {
            panic!("one sample")
        };
        let (bits, at) = (sample.value.to_bits(), sample.at);
        put(
            &mut arrived,
            named(&name.1, pairs),
            Got {
                bits,
                at,
                since: None,
            },
        );
    }
    arrived
}

pub(super) fn arrived_v2(batches: &[Batch]) -> Arrived {
    let mut arrived = Arrived::new();
    for batch in batches {
        let request = v2::Request::decode(&*unsnapped(&batch.body)).unwrap();
        assert!(request.symbols[0].is_empty());
        let symbol = |place: u32| word(&request.symbols[usize::try_from(place).unwrap()]);
        for series in &request.series {
            let pair = |pair: &[u32]| (symbol(pair[0]), symbol(pair[1]));
            let mut pairs: Vec<_> = series.labels.chunks(2).map(pair).collect();
            assert!(pairs.is_sorted());
            let name = pairs.remove(pairs.iter().position(|(name, _)| name == "__name__").unwrap());
            let [sample] = series.samples[..] else {
                panic!("one sample")
            };
            assert_eq!(sample.since, series.since);
            let since = (series.since != 0).then_some(series.since);
            let (bits, at) = (sample.value.to_bits(), sample.at);
            put(&mut arrived, named(&name.1, pairs), Got { bits, at, since });
        }
    }
    arrived
}

/// Data points as the samples that a Prometheus makes of them.
pub(super) fn arrived_otlp(batches: &[Batch]) -> Arrived {
    let mut arrived = Arrived::new();
    let pairs = |attributes: &[proto::KeyValue]| -> Vec<_> {
        let text = |of: &proto::KeyValue| word(of.value.as_ref().unwrap().text.as_ref().unwrap());
        attributes.iter().map(|of| (word(&of.key), text(of))).collect()
    };
    let millis = |nanos: u64| i64::try_from(nanos / 1_000_000).unwrap();
    let since = |nanos: u64| (nanos != 0).then(|| millis(nanos));
    for metric in batches.iter().flat_map(|batch| metrics(&batch.body)) {
        let name = word(&metric.name);
        let numbers = match (&metric.gauge, &metric.sum) {
            (Some(gauge), None) => gauge.points.clone(),
            (None, Some(sum)) => {
                assert_eq!((sum.temporality, sum.monotonic), (proto::CUMULATIVE, true));
                sum.points.clone()
            }
            _ => Vec::new(),
        };
        for number in numbers {
            let stale = number.flags == proto::NO_RECORDED_VALUE;
            assert_eq!(number.value.is_none(), stale);
            let got = Got {
                bits: number.value.unwrap_or(f64::NAN).to_bits(),
                at: millis(number.at),
                since: since(number.since),
            };
            put(&mut arrived, named(&name, pairs(&number.attributes)), got);
        }
        for buckets in metric.histogram.iter().flat_map(|histogram| &histogram.points) {
            let stale = buckets.flags == proto::NO_RECORDED_VALUE;
            assert!(buckets.sum.is_some(), "its series could not be ended");
            let mut put = |suffix: &str, le: Option<String>, value: f64| {
                let mut pairs = pairs(&buckets.attributes);
                pairs.extend(le.map(|le| ("le".to_owned(), le)));
                let bits = if stale {
                    f64::NAN.to_bits()
                } else {
                    value.to_bits()
                };
                let (at, since) = (millis(buckets.at), since(buckets.since));
                put(
                    &mut arrived,
                    named(&format!("{name}{suffix}"), pairs),
                    Got { bits, at, since },
                );
            };
            let bounds = buckets.bounds.iter().map(|bound| format!("{bound:?}"));
            let mut together = 0_u32;
            for (count, le) in buckets.counts.iter().zip(bounds.chain(["+Inf".to_owned()])) {
                together += u32::try_from(*count).unwrap();
                put("_bucket", Some(le), f64::from(together));
            }
            put("_sum", None, buckets.sum.unwrap_or(0.0));
            put("_count", None, f64::from(u32::try_from(buckets.count).unwrap()));
        }
    }
    arrived
}

/// The marker of remote write, as its specification has it.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A way to push: who encodes, which form of the page that is, how it is read, and what the end of a series looks like.
pub(super) type Way = (
    fn() -> Box<dyn Encoder + Send>,
    Format,
    fn(&[Batch]) -> Arrived,
    u64,
);

pub(super) const WAYS: [Way; 3] = [
    (
        || Box::new(remote_write::Version1::new(Vec::new())),
        Format::Text,
        arrived_v1,
        STALE,
    ),
    (
        || Box::new(remote_write::Version2::new(Vec::new())),
        Format::OpenMetrics,
        arrived_v2,
        STALE,
    ),
    (
        || Box::new(otlp::Otlp::new(proto::Resource::default(), "0.1.0")),
        Format::OpenMetrics,
        arrived_otlp,
        f64::NAN.to_bits(),
    ),
];

pub(super) fn gatherer(way: &Way) -> Gatherer {
    Gatherer::new(way.0(), Choice::default(), false)
}

pub(super) fn bits(arrived: &Arrived) -> Shown {
    let of = |(series, got): (&String, &Got)| (series.clone(), got.bits);
    arrived.iter().map(of).collect()
}
