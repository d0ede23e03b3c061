// SPDX-License-Identifier: Apache-2.0
//! `POST /-/reload`: hands the request to whoever reloads, and waits for what came of it.
//!
//! Off unless `exporter.reload` is on. Refuses whatever a browser sends: a page of another site could make one post here, and no
//! page of ours does.

use super::Context;
use super::answers::{text, with};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use warp::http::header::{ALLOW, HeaderName, HeaderValue, ORIGIN};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

pub(super) const PATH: &str = "/-/reload";

/// Longest wait for an answer. Loading probes and asking meters takes a few seconds; one that hangs goes on without us.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that wait. They are worked on one after the other, and each reads the configuration as it is by then.
const WAITING: usize = 4;

/// What browsers send along, and tools do not.
const OF_BROWSERS: [HeaderName; 2] = [ORIGIN, HeaderName::from_static("sec-fetch-site")];

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadAnswer {
    /// It is in force; what has changed.
    Done(String),
    /// The configuration is refused, and the one before is in force; why.
    Refused(String),
    /// It is right, but could not be taken over; why.
    Failed(String),
}

/// Where the answer goes.
pub type ReloadRequest = oneshot::Sender<ReloadAnswer>;

/// The way to whoever reloads; to nobody by default.
#[derive(Clone, Debug, Default)]
pub struct Reloader(Option<mpsc::Sender<ReloadRequest>>);

impl Reloader {
    /// A way, and its end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (requests, heard) = mpsc::channel(WAITING);
        (Self(Some(requests)), heard)
    }
}

/// The answer to one request.
pub(super) async fn respond(context: &Context, method: &Method, headers: &HeaderMap) -> Response {
    if *method != Method::POST {
        let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed\n");
        return with(refusal, ALLOW, HeaderValue::from_static("POST"));
    }
    let is_on = context.page().settings().reload;
    let Some(requests) = context.reloader.0.as_ref().filter(|_| is_on) else {
        return text(
            StatusCode::FORBIDDEN,
            "reloading by HTTP is off: set exporter.reload = true, or send SIGHUP\n",
        );
    };
    if OF_BROWSERS.iter().any(|name| headers.contains_key(name)) {
        return text(
            StatusCode::FORBIDDEN,
            "a browser may not reload; use curl or SIGHUP\n",
        );
    }
    let (answer, answered) = oneshot::channel();
    if requests.try_send(answer).is_err() {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "others wait for a reload already; try again\n",
        );
    }
    match timeout(PATIENCE, answered).await {
        Ok(Ok(ReloadAnswer::Done(words))) => text(StatusCode::OK, format!("{words}\n")),
        Ok(Ok(ReloadAnswer::Refused(words))) => text(StatusCode::BAD_REQUEST, format!("{words}\n")),
        Ok(Ok(ReloadAnswer::Failed(words))) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{words}\n")),
        Ok(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, "kepler is stopping\n"),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "still at it; the log and kepler_config_last_reload_successful will tell\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{Page, RenderSettings};
    use crate::{BuildInfo, ExporterConfig, sample};
    use std::sync::Arc;
    use tokio::sync::watch;

    fn context(reload: bool) -> (Context, mpsc::Receiver<ReloadRequest>) {
        let config = ExporterConfig {
            reload,
            ..ExporterConfig::default()
        };
        let settings = RenderSettings::new(&config, BuildInfo::default());
        let page = Page::new(Arc::new(sample::snapshot()), Arc::new(settings));
        let (reloader, requests) = Reloader::new();
        let context = Context {
            pages: watch::channel(Arc::new(page)).1,
            now: || sample::CLOSED,
            tick: Duration::from_secs(1),
            reloader,
        };
        (context, requests)
    }

    async fn ask(context: &Context, method: Method, header: Option<HeaderName>) -> StatusCode {
        let mut headers = HeaderMap::new();
        if let Some(name) = header {
            headers.insert(name, HeaderValue::from_static("same-origin"));
        }
        respond(context, &method, &headers).await.status()
    }

    #[tokio::test]
    async fn nobody_is_asked_unless_it_is_on_and_the_request_is_a_tools() {
        let (off, mut requests) = context(false);
        assert_eq!(ask(&off, Method::POST, None).await, StatusCode::FORBIDDEN);
        let (on, mut others) = context(true);
        for header in OF_BROWSERS {
            assert_eq!(ask(&on, Method::POST, Some(header)).await, StatusCode::FORBIDDEN);
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS] {
            let refusal = respond(&on, &method, &HeaderMap::new()).await;
            assert_eq!(refusal.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(refusal.headers()[ALLOW], "POST");
        }
        assert!(requests.try_recv().is_err() && others.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_came_of_it_is_the_answer() {
        let answers = [
            (ReloadAnswer::Done(String::new()), StatusCode::OK),
            (ReloadAnswer::Refused(String::new()), StatusCode::BAD_REQUEST),
            (
                ReloadAnswer::Failed(String::new()),
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
        ];
        for (answer, status) in answers {
            let (context, mut requests) = context(true);
            let reloads = async {
                let request = requests.recv().await.unwrap();
                request.send(answer).unwrap();
            };
            let (asked, ()) = tokio::join!(ask(&context, Method::POST, None), reloads);
            assert_eq!(asked, status);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_a_bounded_time_and_in_a_bounded_queue() {
        let (context, mut requests) = context(true);
        let asked = (0..=WAITING).map(|_| ask(&context, Method::POST, None));
        let mut statuses = futures_util::future::join_all(asked).await;
        statuses.sort();
        let mut expected = vec![StatusCode::INTERNAL_SERVER_ERROR; WAITING];
        expected.push(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(statuses, expected);
        requests.close();
        assert_eq!(
            ask(&context, Method::POST, None).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
