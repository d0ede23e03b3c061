// SPDX-License-Identifier: Apache-2.0
//! How answers are put together, for every route.

use std::fmt::Display;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

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
