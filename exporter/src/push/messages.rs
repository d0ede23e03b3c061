// SPDX-License-Identifier: Apache-2.0
//! The messages of remote write 1.0 and 2.0 and of OTLP metrics, as far as we send or read them. Owns field numbers and types.
//!
//! Declared by hand, because the crates that have them whole bring an API, an SDK and gRPC along, and own each text as a `String`:
//! a field of `bytes` looks the same on the wire as one of `string`, and shares the page that it was cut out of.
//!
//! Sources: <https://prometheus.io/docs/specs/prw/remote_write_spec/>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>,
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto>.

pub(super) mod v1 {
    use bytes::Bytes;

    /// `prometheus.WriteRequest`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) series: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
    }

    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
    pub(in super::super) struct Label {
        #[prost(bytes = "bytes", tag = "1")]
        pub(in super::super) name: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(in super::super) value: Bytes,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Sample {
        #[prost(double, tag = "1")]
        pub(in super::super) value: f64,
        /// Unix milliseconds.
        #[prost(int64, tag = "2")]
        pub(in super::super) at: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(in super::super) kind: i32,
        #[prost(bytes = "bytes", tag = "2")]
        pub(in super::super) family: Bytes,
        #[prost(bytes = "bytes", tag = "4")]
        pub(in super::super) help: Bytes,
        #[prost(bytes = "bytes", tag = "5")]
        pub(in super::super) unit: Bytes,
    }
}

pub(super) mod v2 {
    use bytes::Bytes;

    /// `io.prometheus.write.v2.Request`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Request {
        /// The first one is empty.
        #[prost(bytes = "bytes", repeated, tag = "4")]
        pub(in super::super) symbols: Vec<Bytes>,
        #[prost(message, repeated, tag = "5")]
        pub(in super::super) series: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        /// Names and values in turn.
        #[prost(uint32, repeated, tag = "1")]
        pub(in super::super) labels: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
        #[prost(message, optional, tag = "5")]
        pub(in super::super) metadata: Option<Metadata>,
        /// Where drafts of 2.0 up to the third had it, and with them receivers that still run.
        #[prost(int64, tag = "6")]
        pub(in super::super) since: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Sample {
        #[prost(double, tag = "1")]
        pub(in super::super) value: f64,
        /// Unix milliseconds.
        #[prost(int64, tag = "2")]
        pub(in super::super) at: i64,
        /// Since when it counts.
        #[prost(int64, tag = "3")]
        pub(in super::super) since: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(in super::super) kind: i32,
        #[prost(uint32, tag = "3")]
        pub(in super::super) help: u32,
        #[prost(uint32, tag = "4")]
        pub(in super::super) unit: u32,
    }
}

pub(super) mod otlp {
    use bytes::Bytes;

    /// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`: the series has ended.
    pub(in super::super) const NO_RECORDED_VALUE: u32 = 1;
    /// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
    pub(in super::super) const CUMULATIVE: i32 = 2;

    /// `ExportMetricsServiceRequest`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) resources: Vec<ResourceMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        pub(in super::super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) scopes: Vec<ScopeMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct ScopeMetrics {
        #[prost(message, optional, tag = "1")]
        pub(in super::super) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Scope {
        #[prost(bytes = "bytes", tag = "1")]
        pub(in super::super) name: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(in super::super) version: Bytes,
    }

    /// Exactly one of the three kinds of data.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Metric {
        #[prost(bytes = "bytes", tag = "1")]
        pub(in super::super) name: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(in super::super) description: Bytes,
        #[prost(bytes = "bytes", tag = "3")]
        pub(in super::super) unit: Bytes,
        #[prost(message, optional, tag = "5")]
        pub(in super::super) gauge: Option<Gauge>,
        #[prost(message, optional, tag = "7")]
        pub(in super::super) sum: Option<Sum>,
        #[prost(message, optional, tag = "9")]
        pub(in super::super) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Gauge {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) points: Vec<Number>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Sum {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) points: Vec<Number>,
        #[prost(int32, tag = "2")]
        pub(in super::super) temporality: i32,
        #[prost(bool, tag = "3")]
        pub(in super::super) monotonic: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Histogram {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) points: Vec<Buckets>,
        #[prost(int32, tag = "2")]
        pub(in super::super) temporality: i32,
    }

    /// `NumberDataPoint`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Number {
        /// Unix nanoseconds.
        #[prost(fixed64, tag = "2")]
        pub(in super::super) since: u64,
        /// Unix nanoseconds.
        #[prost(fixed64, tag = "3")]
        pub(in super::super) at: u64,
        #[prost(double, optional, tag = "4")]
        pub(in super::super) value: Option<f64>,
        #[prost(message, repeated, tag = "7")]
        pub(in super::super) attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "8")]
        pub(in super::super) flags: u32,
    }

    /// `HistogramDataPoint`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Buckets {
        /// Unix nanoseconds.
        #[prost(fixed64, tag = "2")]
        pub(in super::super) since: u64,
        /// Unix nanoseconds.
        #[prost(fixed64, tag = "3")]
        pub(in super::super) at: u64,
        #[prost(fixed64, tag = "4")]
        pub(in super::super) count: u64,
        #[prost(double, optional, tag = "5")]
        pub(in super::super) sum: Option<f64>,
        /// Of each bucket alone; one more than there are bounds.
        #[prost(fixed64, repeated, tag = "6")]
        pub(in super::super) counts: Vec<u64>,
        #[prost(double, repeated, tag = "7")]
        pub(in super::super) bounds: Vec<f64>,
        #[prost(message, repeated, tag = "9")]
        pub(in super::super) attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "10")]
        pub(in super::super) flags: u32,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(in super::super) struct KeyValue {
        #[prost(bytes = "bytes", tag = "1")]
        pub(in super::super) key: Bytes,
        #[prost(message, optional, tag = "2")]
        pub(in super::super) value: Option<Text>,
    }

    /// `AnyValue` that is a string.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(in super::super) struct Text {
        #[prost(bytes = "bytes", optional, tag = "1")]
        pub(in super::super) text: Option<Bytes>,
    }

    /// `ExportMetricsServiceResponse`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Response {
        #[prost(message, optional, tag = "1")]
        pub(in super::super) partial: Option<Partial>,
    }

    /// `ExportMetricsPartialSuccess`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Partial {
        #[prost(int64, tag = "1")]
        pub(in super::super) rejected: i64,
        #[prost(string, tag = "2")]
        pub(in super::super) words: String,
    }
}
