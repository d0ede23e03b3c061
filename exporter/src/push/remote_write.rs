// SPDX-License-Identifier: Apache-2.0
//! Samples as requests of Prometheus remote write: owns what a series looks like there. Series that ended get a staleness marker.

use super::batch::{Batch, Encoder, Moment};
use super::messages::{v1, v2};
use super::points::{FamilyHead, Point};
use crate::text::metric::Kind;
use bytes::Bytes;
use foldhash::fast::FixedState;
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// The NaN that says that a series has ended (section "Stale Markers" of the specification).
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// `MetricType` of both versions.
const fn number_of(kind: Option<Kind>) -> i32 {
    match kind {
        None => 0,
        Some(Kind::Counter) => 1,
        Some(Kind::Gauge) => 2,
        Some(Kind::Histogram) => 3,
    }
}

fn value(point: &Point<'_>, moment: Moment) -> f64 {
    match moment {
        Moment::Of(_) => point.value(),
        Moment::End(_) => f64::from_bits(STALE),
    }
}

/// The labels of a series: its name, its own, and those of the configuration that it does not have, sorted by name.
fn labels(point: &Point<'_>, everywhere: &[v1::Label]) -> Vec<v1::Label> {
    let mut labels = vec![v1::Label {
        name: Bytes::from_static(b"__name__"),
        value: point.share(point.name),
    }];
    labels.extend(point.pairs().map(|(name, value)| v1::Label { name, value }));
    let own = labels.len();
    for label in everywhere {
        if labels.iter().take(own).all(|own| own.name != label.name) {
            labels.push(label.clone());
        }
    }
    labels.sort_unstable();
    labels
}

pub(super) fn everywhere(labels: &BTreeMap<String, String>) -> Vec<v1::Label> {
    let label = |(name, value): (&String, &String)| v1::Label {
        name: Bytes::from(name.clone()),
        value: Bytes::from(value.clone()),
    };
    labels.iter().map(label).collect()
}

/// Snappy's block format, which both versions want.
fn packed(message: &impl Message) -> Bytes {
    let bytes = message.encode_to_vec();
    // It fails beyond 4 GiB only, a thousand times what a batch may have.
    let packed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap_or_default();
    Bytes::from(packed)
}

/// Version 1.0.
#[derive(Debug)]
pub(super) struct Version1 {
    everywhere: Vec<v1::Label>,
    request: v1::WriteRequest,
}

impl Version1 {
    pub(super) fn new(everywhere: Vec<v1::Label>) -> Self {
        Self {
            everywhere,
            request: v1::WriteRequest::default(),
        }
    }

    /// What families are, which this version says in requests of their own.
    pub(super) fn heads(families: Vec<FamilyHead>) -> Batch {
        let metadata = families.into_iter().map(|family| v1::Metadata {
            kind: number_of(family.kind),
            family: family.name,
            help: family.help,
            unit: family.unit,
        });
        let request = v1::WriteRequest {
            series: Vec::new(),
            metadata: metadata.collect(),
        };
        Batch {
            body: packed(&request),
            samples: 0,
        }
    }
}

impl Encoder for Version1 {
    fn add(&mut self, point: &Point<'_>, moment: Moment) {
        self.request.series.push(v1::TimeSeries {
            labels: labels(point, &self.everywhere),
            samples: vec![v1::Sample {
                value: value(point, moment),
                at: moment.millis(),
            }],
        });
    }

    fn samples(&self) -> usize {
        self.request.series.len()
    }

    fn finish(&mut self) -> Bytes {
        packed(&std::mem::take(&mut self.request))
    }
}

/// Version 2.0.
#[derive(Debug)]
pub(super) struct Version2 {
    everywhere: Vec<v1::Label>,
    request: v2::Request,
    places: HashMap<Bytes, u32, FixedState>,
}

impl Version2 {
    pub(super) fn new(everywhere: Vec<v1::Label>) -> Self {
        Self {
            everywhere,
            request: v2::Request::default(),
            places: HashMap::default(),
        }
    }

    /// The place of a text among the symbols, of which the first is empty.
    fn symbol(&mut self, text: Bytes) -> u32 {
        let symbols = &mut self.request.symbols;
        if symbols.is_empty() {
            symbols.push(Bytes::new());
            self.places.insert(Bytes::new(), 0);
        }
        // A batch has some ten thousand of them at most.
        let next = u32::try_from(symbols.len()).unwrap_or(0);
        *self.places.entry(text).or_insert_with_key(|text| {
            symbols.push(text.clone());
            next
        })
    }
}

impl Encoder for Version2 {
    fn add(&mut self, point: &Point<'_>, moment: Moment) {
        let mut places = Vec::new();
        for label in labels(point, &self.everywhere) {
            places.push(self.symbol(label.name));
            places.push(self.symbol(label.value));
        }
        let metadata = v2::Metadata {
            kind: number_of(point.family.kind),
            help: self.symbol(point.family.help.clone()),
            unit: self.symbol(point.family.unit.clone()),
        };
        let since = point.since_before(moment.millis()).unwrap_or(0);
        self.request.series.push(v2::TimeSeries {
            labels: places,
            samples: vec![v2::Sample {
                value: value(point, moment),
                at: moment.millis(),
                since,
            }],
            metadata: Some(metadata),
            since,
        });
    }

    fn samples(&self) -> usize {
        self.request.series.len()
    }

    fn finish(&mut self) -> Bytes {
        self.places.clear();
        packed(&std::mem::take(&mut self.request))
    }
}
