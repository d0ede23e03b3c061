// SPDX-License-Identifier: Apache-2.0
//! Samples as requests of OTLP metrics: owns what a family looks like there.
//!
//! Names stay as they are. Units are told where a receiver that makes Prometheus names of them adds nothing to a name that ends in
//! the unit already: `J` to `..._joules_total`, but no `ms` to `..._ms_total`, which would become `..._ms_milliseconds_total`.

use super::batch::{Encoder, Moment};
use super::messages::otlp::{
    Buckets, CUMULATIVE, Histogram, KeyValue, Metric, NO_RECORDED_VALUE, Number, Request, Resource,
    ResourceMetrics, Scope, ScopeMetrics, Sum, Text,
};
use super::points::{FamilyHead, Point};
use crate::text::metric::Kind;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use std::collections::BTreeMap;
use std::io::Write;

/// The unit of a family by what its name ends in, as UCUM writes it.
fn unit(family: &FamilyHead) -> &'static [u8] {
    match &*family.unit {
        b"joules" => b"J",
        b"watts" => b"W",
        b"seconds" => b"s",
        b"bytes" => b"By",
        b"ratio" if family.kind == Some(Kind::Gauge) => b"1",
        _ => b"",
    }
}

fn attribute((key, text): (Bytes, Bytes)) -> KeyValue {
    KeyValue {
        key,
        value: Some(Text { text: Some(text) }),
    }
}

/// Attributes of the resource.
pub(super) fn resource(attributes: &BTreeMap<String, String>) -> Resource {
    let of =
        |(key, value): (&String, &String)| attribute((Bytes::from(key.clone()), Bytes::from(value.clone())));
    Resource {
        attributes: attributes.iter().map(of).collect(),
    }
}

/// Unix milliseconds as nanoseconds.
fn nanos(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or(0).saturating_mul(1_000_000)
}

/// A count that is written as a whole number.
fn whole(point: &Point<'_>) -> u64 {
    point.text.parse().unwrap_or(0)
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Otlp {
    resource: Resource,
    version: &'static str,
    metrics: Vec<Metric>,
    samples: usize,
    /// A histogram whose lines are still coming.
    open: Option<Buckets>,
    /// Its buckets so far, together.
    below: u64,
}

impl Otlp {
    pub(super) const fn new(resource: Resource, version: &'static str) -> Self {
        Self {
            resource,
            version,
            metrics: Vec::new(),
            samples: 0,
            open: None,
            below: 0,
        }
    }

    /// The family's metric, the last one if it is its.
    fn metric(&mut self, family: &FamilyHead) -> Option<&mut Metric> {
        if self.metrics.last().is_none_or(|last| last.name != family.name) {
            self.metrics.push(Metric {
                name: family.name.clone(),
                description: family.help.clone(),
                unit: Bytes::from_static(unit(family)),
                ..Metric::default()
            });
        }
        self.metrics.last_mut()
    }

    fn number(&mut self, point: &Point<'_>, moment: Moment) {
        let number = Number {
            since: point.since_before(moment.millis()).map_or(0, nanos),
            at: nanos(moment.millis()),
            value: (!moment.is_end()).then(|| point.value()),
            attributes: point.pairs().map(attribute).collect(),
            flags: if moment.is_end() { NO_RECORDED_VALUE } else { 0 },
        };
        let is_counter = point.family.kind == Some(Kind::Counter);
        let Some(metric) = self.metric(point.family) else {
            return;
        };
        if is_counter {
            let sum = metric.sum.get_or_insert_with(|| Sum {
                points: Vec::new(),
                temporality: CUMULATIVE,
                monotonic: true,
            });
            sum.points.push(number);
        } else {
            metric.gauge.get_or_insert_default().points.push(number);
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// One line of a histogram: buckets that hold those before them, the sum, and the count, which is the last one.
    fn part(&mut self, point: &Point<'_>, moment: Moment) {
        let suffix = point
            .name
            .strip_prefix(std::str::from_utf8(&point.family.name).unwrap_or_default());
        let open = self.open.get_or_insert_default();
        match suffix {
            Some("_bucket") => {
                let bound = point
                    .pairs()
                    .find(|(name, _)| &**name == b"le")
                    .map(|(_, bound)| bound);
                let bound = bound.and_then(|bound| std::str::from_utf8(&bound).ok()?.parse::<f64>().ok());
                if let Some(bound) = bound.filter(|bound| bound.is_finite()) {
                    open.bounds.push(bound);
                }
                let together = whole(point);
                open.counts.push(together.saturating_sub(self.below));
                self.below = together;
            }
            Some("_sum") => open.sum = Some(point.value()),
            Some("_count") => {
                let mut whole_one = std::mem::take(open);
                (self.open, self.below) = (None, 0);
                whole_one.count = whole(point);
                whole_one.since = point.since_before(moment.millis()).map_or(0, nanos);
                whole_one.at = nanos(moment.millis());
                whole_one.attributes = point.pairs().map(attribute).collect();
                if moment.is_end() {
                    // With a sum, whatever it is: receivers end the series of a sum only where there is one.
                    (whole_one.flags, whole_one.sum, whole_one.count) = (NO_RECORDED_VALUE, Some(0.0), 0);
                    whole_one.counts.fill(0);
                }
                let Some(metric) = self.metric(point.family) else {
                    return;
                };
                let histogram = metric.histogram.get_or_insert_with(|| Histogram {
                    points: Vec::new(),
                    temporality: CUMULATIVE,
                });
                histogram.points.push(whole_one);
                self.samples = self.samples.saturating_add(1);
            }
            _ => {}
        }
    }
}

impl Encoder for Otlp {
    fn add(&mut self, point: &Point<'_>, moment: Moment) {
        match point.family.kind {
            Some(Kind::Histogram) => self.part(point, moment),
            Some(Kind::Counter | Kind::Gauge) | None => self.number(point, moment),
        }
    }

    fn samples(&self) -> usize {
        self.samples
    }

    fn is_whole(&self) -> bool {
        self.open.is_none()
    }

    fn finish(&mut self) -> Bytes {
        self.samples = 0;
        let scope = Scope {
            name: Bytes::from_static(b"kepler"),
            version: Bytes::from_static(self.version.as_bytes()),
        };
        let request = Request {
            resources: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scopes: vec![ScopeMetrics {
                    scope: Some(scope),
                    metrics: std::mem::take(&mut self.metrics),
                }],
            }],
        };
        // Writing into memory does not fail; if it ever did, the receiver would refuse the rest and say so.
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let _: std::io::Result<()> = packed.write_all(&request.encode_to_vec());
        Bytes::from(packed.finish().unwrap_or_default())
    }
}
