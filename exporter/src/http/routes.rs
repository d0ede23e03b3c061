// SPDX-License-Identifier: Apache-2.0
//! What each path answers.

use super::answers::{JSON, body, only_get, text, with};
use super::crowd::Guest;
use super::scribe::Scribe;
use super::{Context, negotiate, reload};
use crate::live::{self, Live};
use crate::page::Page;
use crate::security::health::{Health, Refused};
use crate::security::{Admitted, Security};
use crate::text::writer::Format;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use warp::Filter;
use warp::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

/// Ticks after which a snapshot is too old to be ready.
const READY_TICKS: u32 = 3;

/// What a connection's requests are answered with.
#[derive(Clone)]
pub(super) struct Visit {
    pub(super) guest: Arc<Guest>,
    pub(super) security: Arc<Security>,
    pub(super) health: Arc<Health>,
    pub(super) scribe: Scribe,
    pub(super) context: Context,
    pub(super) live: Arc<Live>,
}

/// All routes as one filter.
pub(super) fn filter(
    visit: Visit,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let visit = Arc::new(visit);
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .then(
            move |method: Method, path: warp::path::FullPath, query: String, headers: HeaderMap| {
                let visit = Arc::clone(&visit);
                async move { visit.answer(&method, path.as_str(), &query, &headers).await }
            },
        )
}

impl Visit {
    /// Who may not come in learns nothing of what there is; who may is answered.
    async fn answer(&self, method: &Method, path: &str, query: &str, headers: &HeaderMap) -> Response {
        let now = (self.context.now)();
        let admitted = self.security.admit(self.guest.origin(), path, headers, now).await;
        let response = match admitted {
            Err(why) => {
                self.health.refused(why);
                refusal(why, &self.security)
            }
            Ok(admitted) => {
                if admitted == Admitted::Known {
                    self.guest.is_known();
                }
                if path == reload::PATH {
                    return self.dressed(reload::respond(&self.context, method, headers).await);
                }
                match live::respond(&self.live, method, path, query, headers).await {
                    Some(response) => response,
                    None => respond(&self.context, &self.scribe, method, path, headers).await,
                }
            }
        };
        self.dressed(response)
    }

    /// With the headers that the operator wants. Last, so that they hold for every answer.
    fn dressed(&self, mut response: Response) -> Response {
        for (name, value) in self.security.headers() {
            response = with(response, name, value);
        }
        response
    }
}

fn refusal(why: Refused, security: &Security) -> Response {
    match why {
        Refused::Unauthorized => {
            let mut response = text(StatusCode::UNAUTHORIZED, "a password or a token is needed\n");
            for challenge in security.challenges() {
                response.headers_mut().append(WWW_AUTHENTICATE, challenge);
            }
            response
        }
        Refused::RateLimited => text(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; see rate_limit\n",
        ),
        Refused::Busy => {
            let response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many passwords are being checked\n",
            );
            with(response, RETRY_AFTER, HeaderValue::from_static("1"))
        }
    }
}

/// The answer to one request. A `HEAD` gets the answer to its `GET`; hyper leaves the body away.
pub(super) async fn respond(
    context: &Context,
    scribe: &Scribe,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Response {
    if !matches!(path, "/metrics" | "/livez" | "/readyz" | "/api/v1/snapshot") {
        return text(StatusCode::NOT_FOUND, "not found; / lists what there is\n");
    }
    if let Some(refusal) = only_get(method) {
        return refusal;
    }
    match path {
        "/metrics" => metrics(context, scribe, headers).await,
        "/readyz" => ready(context),
        "/api/v1/snapshot" => snapshot(context.page(), scribe).await,
        _ => text(StatusCode::OK, "ok\n"),
    }
}

async fn metrics(context: &Context, scribe: &Scribe, headers: &HeaderMap) -> Response {
    const VARIES: HeaderValue = HeaderValue::from_static("accept, accept-encoding");
    let began = (context.now)();
    let Some(encoding) = negotiate::encoding(headers) else {
        let refusal = "there are gzip, zstd and identity, and Accept-Encoding refuses them all\n";
        return with(text(StatusCode::NOT_ACCEPTABLE, refusal), VARY, VARIES);
    };
    let format = negotiate::format(headers);
    let page = context.page();
    let Some((parts, encoding)) = scribe.scrape(Arc::clone(&page), format, encoding).await else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the page could not be written\n",
        );
    };
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

async fn snapshot(page: Arc<Page>, scribe: &Scribe) -> Response {
    match scribe.json(page).await {
        Some(Ok(json)) => with(body(vec![json]), CONTENT_TYPE, JSON),
        failed => {
            let error = failed
                .and_then(Result::err)
                .unwrap_or_else(|| "the snapshot could not be written".to_owned());
            tracing::error!(error, "snapshot");
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        }
    }
}
