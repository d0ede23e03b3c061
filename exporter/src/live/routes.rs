// SPDX-License-Identifier: Apache-2.0
//! What the paths of the live page answer.

use super::{Live, assets, events, view};
use crate::config::Level;
use crate::history::WORKLOADS;
use crate::http::answers::{JSON, body, line, only_get, with};
use crate::http::negotiate;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::{Reply, Response};

/// Scripts, styles and figures come from here and nowhere else; nothing that is written inline runs; text cannot become
/// markup; nobody may frame the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

/// A browser may keep files, but asks each time whether they are still those of the running daemon.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const NEVER_KEEP: HeaderValue = HeaderValue::from_static("no-store");
pub(crate) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Seconds after which a viewer too many may ask again.
const AGAIN: HeaderValue = HeaderValue::from_static("10");

/// The answer, or `None` where the path is none of ours.
pub(crate) async fn respond(
    live: &Arc<Live>,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
) -> Option<Response> {
    let is_ours = matches!(path, "/api/v1/history" | "/api/v1/stream" | "/api/v1/about");
    let asset = assets::find(path);
    if !is_ours && asset.is_none() {
        return None;
    }
    if let Some(refusal) = only_get(method) {
        return Some(refusal);
    }
    if let Some(asset) = asset {
        return Some(file(asset, headers));
    }
    Some(match path {
        "/api/v1/stream" => stream(live, query),
        "/api/v1/about" => written(live, about).await,
        _ => match Question::read(query) {
            Ok(question) => written(live, move |live| history(live, &question)).await,
            Err(reason) => line(StatusCode::BAD_REQUEST, &reason),
        },
    })
}

/// An answer that is written away from the thread that answers; also because the history is locked while somebody writes of it.
async fn written(live: &Arc<Live>, write: impl FnOnce(&Live) -> Response + Send + 'static) -> Response {
    let asked = Arc::clone(live);
    let response = live.scribe.run(move || write(&asked)).await;
    response.unwrap_or_else(|| {
        line(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
        )
    })
}

fn file(asset: &'static assets::Asset, headers: &HeaderMap) -> Response {
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|line| line.to_str().ok());
    let fresh = known.any(|line| line == "*" || line.contains(asset.tag()));
    let packed = negotiate::takes_gzip(headers);
    let mut response = match (fresh, packed) {
        (true, _) => {
            let mut response = Response::new(Bytes::new().into());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        (false, true) => with(
            body(vec![asset.packed()]),
            CONTENT_ENCODING,
            HeaderValue::from_static("gzip"),
        ),
        (false, false) => body(vec![Bytes::from_static(asset.bytes)]),
    };
    if let Ok(tag) = HeaderValue::from_str(asset.tag()) {
        response = with(response, ETAG, tag);
    }
    for (name, value) in [
        (CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (CACHE_CONTROL, REVALIDATE),
        (VARY, HeaderValue::from_static("accept-encoding")),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ] {
        response = with(response, name, value);
    }
    response
}

/// What a query may ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Question {
    level: Option<Level>,
    id: Option<String>,
}

impl Question {
    fn read(query: &str) -> Result<Self, String> {
        let mut question = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "level" => {
                    let mut levels = WORKLOADS.into_iter();
                    let level = levels.find(|level| view::level(*level) == value);
                    question.level = Some(level.ok_or_else(|| {
                        format!("level is none of {}", WORKLOADS.map(view::level).join(", "))
                    })?);
                }
                "id" => question.id = Some(value.into_owned()),
                _ => return Err("only level and id can be asked for".to_owned()),
            }
        }
        if question.id.is_some() && question.level.is_none() {
            return Err("id needs a level beside it, such as level=pod".to_owned());
        }
        Ok(question)
    }
}

fn history(live: &Live, question: &Question) -> Response {
    let history = live.history();
    let now = (live.now)();
    match (question.level, &question.id) {
        (None, _) => json(&view::node_history(&history, now)),
        (Some(level), None) => json(&view::level_history(&history, level, now)),
        (Some(level), Some(id)) => match view::workload_history(&history, level, id, now) {
            Some(view) => json(&view),
            None => line(
                StatusCode::NOT_FOUND,
                "this workload has no history here: it is kept for the largest of each level only",
            ),
        },
    }
}

fn about(live: &Live) -> Response {
    let page = Arc::clone(&live.pages.borrow());
    let slot = live.history().slot_length();
    json(&view::about(
        page.settings(),
        page.settings().tick.unwrap_or(live.tick),
        slot,
    ))
}

fn stream(live: &Arc<Live>, query: &str) -> Response {
    let level = match Question::read(query) {
        Ok(Question { level, id: None }) => level.unwrap_or(Level::Container),
        Ok(_) => return line(StatusCode::BAD_REQUEST, "a stream has no id"),
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(place) = Arc::clone(&live.viewers).try_acquire_owned() else {
        live.counters.refused.fetch_add(1, Ordering::Relaxed);
        let refusal = line(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many live viewers; close another window",
        );
        return with(refusal, RETRY_AFTER, AGAIN);
    };
    let events = events::stream(Arc::clone(live), level, place);
    let response = warp::reply::stream(events).into_response();
    let response = with(response, CONTENT_TYPE, EVENTS);
    let response = with(response, CACHE_CONTROL, NEVER_KEEP);
    // nginx would collect events until it has a buffer of them (X-Accel-Buffering in its documentation).
    with(
        response,
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    )
}

fn json(view: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(view) {
        Ok(bytes) => {
            let response = with(body(vec![bytes.into()]), CONTENT_TYPE, JSON);
            with(response, CACHE_CONTROL, NEVER_KEEP)
        }
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
