// SPDX-License-Identifier: Apache-2.0
//! What each path answers.

use super::{Context, negotiate, reload};
use crate::live::{self, Live};
use crate::page::Page;
use crate::text::writer::Format;
use bytes::Bytes;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use warp::Filter;
use warp::http::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, VARY,
};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::{Reply, Response};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Ticks after which a snapshot is too old to be ready.
const READY_TICKS: u32 = 3;

/// All routes as one filter.
pub(super) fn filter(
    context: Arc<Context>,
    live: Arc<Live>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .then(
            move |method: Method, path: warp::path::FullPath, query: String, headers: HeaderMap| {
                let (context, live) = (Arc::clone(&context), Arc::clone(&live));
                async move {
                    if path.as_str() == reload::PATH {
                        return reload::respond(&context, &method, &headers).await;
                    }
                    live::respond(&live, &method, path.as_str(), &query, &headers)
                        .unwrap_or_else(|| respond(&context, &method, path.as_str(), &headers))
                }
            },
        )
}

/// The answer to one request. A `HEAD` gets the answer to its `GET`; hyper leaves the body away.
pub(super) fn respond(context: &Context, method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let route: fn(&Context, &HeaderMap) -> Response = match path {
        "/metrics" => metrics,
        "/livez" => |_, _| text(StatusCode::OK, "ok\n"),
        "/readyz" => |context, _| ready(context),
        "/api/v1/snapshot" => |context, _| snapshot(&context.page()),
        _ => return text(StatusCode::NOT_FOUND, "not found; / lists what there is\n"),
    };
    if *method != Method::GET && *method != Method::HEAD {
        let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n");
        return with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    route(context, headers)
}

fn metrics(context: &Context, headers: &HeaderMap) -> Response {
    const VARIES: HeaderValue = HeaderValue::from_static("accept, accept-encoding");
    let began = (context.now)();
    let Some(encoding) = negotiate::encoding(headers) else {
        let refusal = "there are gzip, zstd and identity, and Accept-Encoding refuses them all\n";
        return with(text(StatusCode::NOT_ACCEPTABLE, refusal), VARY, VARIES);
    };
    let format = negotiate::format(headers);
    let page = context.page();
    let (parts, encoding) = page.scrape(format, encoding);
    let mut response = body(parts);
    page.observer().scraped((context.now)().since(began));
    if let Some(name) = encoding.name() {
        response = with(response, CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    let kind = match format {
        Format::Text => negotiate::TEXT,
        Format::OpenMetrics => negotiate::OPENMETRICS,
    };
    with(
        with(response, VARY, VARIES),
        CONTENT_TYPE,
        HeaderValue::from_static(kind),
    )
}

fn ready(context: &Context) -> Response {
    let page = context.page();
    let snapshot = page.snapshot();
    if snapshot.tick.0 == 0 {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "no snapshot yet: the first window has not closed\n",
        );
    }
    let age = (context.now)().since(snapshot.window.ended);
    let tick = page.settings().tick.unwrap_or(context.tick);
    let limit = tick.saturating_mul(READY_TICKS);
    if age > limit {
        let reason = format!("the newest snapshot is {age:.1?} old; {READY_TICKS} ticks are {limit:.1?}\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    let mut reason = String::from("ok\n");
    for reporter in &snapshot.windows.stale {
        // A dead meter is no reason to take the node's pods out of service; who asks shall know.
        writeln!(reason, "stale: {reporter}").expect("writing into a string does not fail");
    }
    text(StatusCode::OK, reason)
}

fn snapshot(page: &Page) -> Response {
    match page.json() {
        Ok(json) => with(json_reply(json), CONTENT_TYPE, JSON),
        Err(error) => {
            tracing::error!(%error, "snapshot");
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        }
    }
}

fn json_reply(json: Bytes) -> Response {
    Response::new(json.into())
}

pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let mut response = with(Response::new(body.into().into()), CONTENT_TYPE, TEXT);
    *response.status_mut() = status;
    response
}

pub(super) fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// A body of parts that are sent behind each other and never copied together: with many scrapers at once the page
/// is in memory once.
fn body(parts: Vec<Bytes>) -> Response {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let response = warp::reply::stream(Parts(parts.into_iter())).into_response();
    with(response, CONTENT_LENGTH, HeaderValue::from(length))
}

struct Parts(std::vec::IntoIter<Bytes>);

impl warp::Stream for Parts {
    type Item = Result<Bytes, Box<dyn Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}
