// SPDX-License-Identifier: Apache-2.0
//! How answers are put together, for every route.

use bytes::Bytes;
use std::error::Error;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};
use warp::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Lines for people.
pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let mut response = with(Response::new(body.into().into()), CONTENT_TYPE, TEXT);
    *response.status_mut() = status;
    response
}

/// One line for people.
pub(crate) fn line(status: StatusCode, reason: impl Display) -> Response {
    text(status, format!("{reason}\n"))
}

pub(crate) fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// The refusal of a method that does not only look; `None` for those that do.
pub(crate) fn only_get(method: &Method) -> Option<Response> {
    if *method == Method::GET || *method == Method::HEAD {
        return None;
    }
    let refusal = line(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed");
    Some(with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD")))
}

/// A body of parts that are sent behind each other and never copied together: with many scrapers at once the page is in memory
/// once. Whatever may be longer than a connection's buffer goes this way: hyper drops a body of one known piece as soon as it has
/// taken it, long before it is sent, and whoever reads it slowly would look idle.
pub(crate) fn body(parts: Vec<Bytes>) -> Response {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let response = warp::reply::stream(Parts(parts.into_iter())).into_response();
    with(response, CONTENT_LENGTH, HeaderValue::from(length))
}

struct Parts(std::vec::IntoIter<Bytes>);

impl warp::Stream for Parts {
    type Item = Result<Bytes, Box<dyn Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}
