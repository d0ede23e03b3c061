// SPDX-License-Identifier: Apache-2.0
//! Routes without a socket, and viewers on a runtime of their own.

use super::*;
use crate::http::rig::is_pending;
use crate::sample;
use attribution::model::{Microjoules, Snapshot, TickId};
use serde_json::Value;
use std::pin::Pin;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::hyper::body::Body;
use warp::reply::Response;

fn soon_after() -> MonotonicNanos {
    sample::CLOSED.after(Duration::from_secs(60))
}

struct Bench {
    live: Arc<Live>,
    stop: watch::Sender<bool>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let (stop, stopped) = watch::channel(false);
        let page = Arc::new(sample::page());
        let live = Live::new(
            watch::channel(page).1,
            soon_after,
            Duration::from_secs(1),
            stopped,
            Scribe::default(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        Self {
            live: Arc::new(live),
            stop,
            runtime,
        }
    }

    /// Publishes the window of this tick, in which every row and zone has used `tick` joules more.
    fn tick(&self, tick: u64) {
        let mut snapshot: Snapshot = sample::snapshot();
        snapshot.tick = TickId(tick);
        snapshot.windows.closed = tick;
        snapshot.window.began = sample::CLOSED.after(Duration::from_secs(tick - 1));
        snapshot.window.ended = sample::CLOSED.after(Duration::from_secs(tick));
        for zone in &mut snapshot.zones {
            zone.dynamic += Microjoules::from_micro(tick * 1_000_000);
        }
        for pod in &mut snapshot.pods {
            pod.ledger.charges[0].dynamic += Microjoules::from_micro(tick * 1_000_000);
        }
        let settings = Arc::new(sample::settings());
        self.live.take(Arc::new(Page::new(Arc::new(snapshot), settings)));
    }

    fn ask(&self, path: &str, query: &str) -> Response {
        self.ask_with(path, query, &HeaderMap::new())
    }

    fn ask_with(&self, path: &str, query: &str, headers: &HeaderMap) -> Response {
        let answer = respond(&self.live, &Method::GET, path, query, headers);
        self.runtime.block_on(answer).expect("one of ours")
    }

    fn text(&self, response: Response) -> String {
        let mut body = std::pin::pin!(response.into_body());
        let mut text = Vec::new();
        self.runtime.block_on(async {
            while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
                text.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
        });
        String::from_utf8(text).unwrap()
    }

    fn json(&self, path: &str, query: &str) -> Value {
        let response = self.ask(path, query);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_str(&self.text(response)).unwrap()
    }

    /// The next event of a stream.
    fn next<B: Body<Data: Into<Bytes>, Error: std::fmt::Debug>>(
        &self,
        mut body: Pin<&mut B>,
    ) -> Option<String> {
        let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context));
        let data = self.runtime.block_on(frame)?.unwrap().into_data().ok().unwrap();
        Some(String::from_utf8(data.into().to_vec()).unwrap())
    }
}

fn data(event: &str) -> Value {
    let line = event
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    serde_json::from_str(line).unwrap()
}

#[test]
fn the_page_is_its_own_world_and_revalidated_by_its_tag() {
    let bench = Bench::new();
    let response = bench.ask("/", "");
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("require-trusted-types-for 'script'"));
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(bench.text(response).contains("<main>"));
    let mut known = HeaderMap::new();
    known.insert("if-none-match", headers["etag"].clone());
    let again = bench.ask_with("/", "", &known);
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(bench.text(again).is_empty());
    let other = bench.ask_with("/page/app.js", "", &known);
    assert_eq!(other.status(), StatusCode::OK, "another file has another tag");
}

#[test]
fn files_are_compressed_for_those_who_ask() {
    use std::io::Read;
    let bench = Bench::new();
    let mut headers = HeaderMap::new();
    headers.insert("accept-encoding", "gzip".parse().unwrap());
    let response = bench.ask_with("/page/vendor/uPlot.esm.js", "", &headers);
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let asset = assets::find("/page/vendor/uPlot.esm.js").unwrap();
    let packed = asset.packed();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed.as_ref())
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, asset.bytes);
    assert!(packed.len() < plain.len() / 2);
}

#[test]
fn what_is_not_ours_is_left_to_the_other_routes() {
    let bench = Bench::new();
    for path in ["/metrics", "/page/none.js", "/page", "/api/v1/snapshot"] {
        assert!(
            bench
                .runtime
                .block_on(respond(&bench.live, &Method::GET, path, "", &HeaderMap::new()))
                .is_none(),
            "{path}"
        );
    }
    for path in ["/", "/page/app.js", "/api/v1/history", "/api/v1/stream"] {
        let headers = HeaderMap::new();
        let answer = respond(&bench.live, &Method::POST, path, "", &headers);
        let refused = bench.runtime.block_on(answer).unwrap();
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[test]
fn history_of_the_node_is_told_by_component_and_slot() {
    let bench = Bench::new();
    for tick in 1..=3 {
        bench.tick(tick);
    }
    let history = bench.json("/api/v1/history", "");
    assert_eq!(history["slots"]["number"], serde_json::json!([1, 2, 3]));
    assert_eq!(history["slots"]["span_us"][1], 1_000_000);
    // Two sockets and a joule more than in the tick before; socket 1 is down and pays all the same.
    assert_eq!(
        history["slots"]["components"]["package"]["dynamic_uj"][2],
        2_000_000
    );
    assert_eq!(
        history["slots"]["components"]["package"]["error_permille"][2],
        Value::Null
    );
    assert_eq!(
        history["slots"]["components"]["platform"]["error_permille"][2],
        150
    );
    let now = history["now_ms"].as_u64().unwrap();
    assert_eq!(now - history["slots"]["ended_ms"][2].as_u64().unwrap(), 57_000);
}

#[test]
fn history_of_workloads_is_listed_by_level_and_told_by_id() {
    let bench = Bench::new();
    for tick in 1..=3 {
        bench.tick(tick);
    }
    let pods = bench.json("/api/v1/history", "level=pod");
    assert_eq!(pods["workloads"].as_array().unwrap().len(), 1);
    let id = pods["workloads"][0]["id"].as_str().unwrap().to_owned();
    let pod = bench.json("/api/v1/history", &format!("level=pod&id={id}"));
    assert_eq!(pod["name"], "web-7d4b9");
    assert_eq!(pod["slots"]["number"], serde_json::json!([1, 2, 3]));
    assert_eq!(pod["slots"]["dynamic_uj"][2], 1_000_000);
    let unit = bench.json("/api/v1/history", "level=unit");
    let id: String =
        form_urlencoded::byte_serialize(unit["workloads"][0]["id"].as_str().unwrap().as_bytes()).collect();
    assert!(bench.json("/api/v1/history", &format!("level=unit&id={id}"))["slots"].is_object());
}

#[test]
fn a_question_that_cannot_be_answered_gets_a_reason() {
    let bench = Bench::new();
    for (path, query, status, reason) in [
        (
            "/api/v1/history",
            "level=host",
            400,
            "pod, container, vm, unit, process",
        ),
        ("/api/v1/history", "id=1", 400, "needs a level"),
        ("/api/v1/history", "since=1", 400, "only level and id"),
        (
            "/api/v1/history",
            "level=pod&id=%FF%00<b>",
            404,
            "no history here",
        ),
        ("/api/v1/stream", "level=pod&id=1", 400, "no id"),
        ("/api/v1/stream", "level=", 400, "level is none of"),
    ] {
        let response = bench.ask(path, query);
        assert_eq!(response.status().as_u16(), status, "{path}?{query}");
        assert!(bench.text(response).contains(reason), "{path}?{query}");
    }
}

#[test]
fn a_viewer_gets_the_newest_update_at_once_and_each_that_follows() {
    let bench = Bench::new();
    bench.tick(1);
    let stream = bench.ask("/api/v1/stream", "level=pod");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut body = std::pin::pin!(stream.into_body());
    assert_eq!(bench.next(body.as_mut()).unwrap(), "retry: 2000\n\n");
    let first = bench.next(body.as_mut()).unwrap();
    assert!(first.starts_with("event: update\nid: 1\ndata: {") && first.ends_with("}\n\n"));
    let update = data(&first);
    assert_eq!((&update["level"], &update["slot"]), (&"pod".into(), &1.into()));
    assert_eq!(update["rows"][0]["name"], "web-7d4b9");
    bench.tick(2);
    let second = data(&bench.next(body.as_mut()).unwrap());
    // What was used since the record began, over two seconds.
    assert_eq!(second["rows"][0]["history"], true);
    assert_eq!(second["components"][0]["power"]["dynamic_uw"], 2_000_000);
    assert_eq!(second["traffic"]["viewers"], 1);
}

#[test]
fn an_update_is_written_once_for_all_who_look_at_a_level() {
    let bench = Bench::new();
    bench.tick(1);
    let update = bench.live.newest.borrow().clone().unwrap();
    let written = |level| {
        bench
            .runtime
            .block_on(bench.live.written(&update, level))
            .unwrap()
    };
    let [one, again] = [0, 1].map(|_| written(Level::Pod));
    assert_eq!(one.as_ptr(), again.as_ptr());
    assert_ne!(one, written(Level::Unit));
}

#[test]
fn what_grows_with_the_node_is_written_where_pages_are() {
    let bench = Bench::new();
    bench.tick(1);
    let mut body = std::pin::pin!(bench.ask("/api/v1/stream", "").into_body());
    bench.next(body.as_mut());
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let headers = HeaderMap::new();
    bench.runtime.block_on(async {
        let mut busy = std::pin::pin!(bench.live.scribe.run(move || wait.recv()));
        assert!(is_pending(busy.as_mut()).await);
        for path in ["/api/v1/history", "/api/v1/about"] {
            let mut answer = std::pin::pin!(respond(&bench.live, &Method::GET, path, "", &headers));
            assert!(is_pending(answer.as_mut()).await, "{path}");
        }
        let mut event = std::pin::pin!(std::future::poll_fn(|context| body.as_mut().poll_frame(context)));
        assert!(is_pending(event.as_mut()).await);
        // Nor does what is not written wait for it.
        let mut page = std::pin::pin!(respond(&bench.live, &Method::GET, "/", "", &headers));
        assert!(!is_pending(page.as_mut()).await);
        go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert!(event.await.unwrap().is_ok());
    });
    // Nor is a page taken into the history there.
    let bench = Bench::new();
    bench.runtime.block_on(async {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut busy = std::pin::pin!(bench.live.scribe.run(move || wait.recv()));
        assert!(is_pending(busy.as_mut()).await);
        let mut record = std::pin::pin!(Arc::clone(&bench.live).record());
        assert!(is_pending(record.as_mut()).await);
        assert!(bench.live.newest.borrow().is_none());
        drop(go);
        let mut newest = bench.live.newest.subscribe();
        let taken = newest.wait_for(Option::is_some);
        tokio::select! {
            () = record => panic!("it ends with the server"),
            taken = taken => assert!(taken.is_ok()),
        }
        assert!(busy.await.unwrap().is_err());
    });
}

#[test]
fn a_slow_viewer_gets_the_newest_and_what_it_missed_is_counted() {
    let bench = Bench::new();
    bench.tick(1);
    let mut body = std::pin::pin!(bench.ask("/api/v1/stream", "").into_body());
    bench.next(body.as_mut());
    bench.next(body.as_mut());
    for tick in 2..=5 {
        bench.tick(tick);
    }
    let update = data(&bench.next(body.as_mut()).unwrap());
    assert_eq!(update["slot"], 5);
    assert_eq!(
        update["slots"]["number"],
        serde_json::json!([1, 2, 3, 4, 5]),
        "with what it missed"
    );
    assert_eq!(update["traffic"]["skipped"], 3);
}

#[test]
fn silence_is_broken_by_a_sign_of_life() {
    let bench = Bench::new();
    let mut body = std::pin::pin!(bench.ask("/api/v1/stream", "").into_body());
    bench.next(body.as_mut());
    assert_eq!(bench.next(body.as_mut()).unwrap(), "event: alive\ndata: {}\n\n");
}

#[test]
fn a_stream_ends_when_the_server_stops() {
    let bench = Bench::new();
    let mut body = std::pin::pin!(bench.ask("/api/v1/stream", "").into_body());
    bench.next(body.as_mut());
    bench.stop.send_replace(true);
    assert_eq!(bench.next(body.as_mut()), None);
}

#[test]
fn a_viewer_too_many_is_turned_away_and_counted_until_another_leaves() {
    let bench = Bench::new();
    let mut held: Vec<Response> = (0..MOST_VIEWERS)
        .map(|_| bench.ask("/api/v1/stream", ""))
        .collect();
    let refused = bench.ask("/api/v1/stream", "");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "10");
    assert_eq!(bench.live.traffic().refused, 1);
    held.pop();
    assert_eq!(bench.ask("/api/v1/stream", "").status(), StatusCode::OK);
}

#[test]
fn what_the_configuration_says_of_money_is_told() {
    let about = Bench::new().json("/api/v1/about", "");
    assert_eq!(
        (&about["tick_ms"], &about["span_ms"]),
        (&1_000.into(), &900_000.into())
    );
    assert_eq!(about["price_per_kwh"], Value::Null);
    assert_eq!(about["currency"], "");
}

#[test]
fn rows_beyond_the_bound_are_one_sum() {
    let mut snapshot = sample::snapshot();
    let row = snapshot.processes[0].clone();
    snapshot.processes = (0..600)
        .map(|number| {
            let mut row = row.clone();
            row.task.tgid = number;
            row
        })
        .collect();
    let mut history = History::new(Duration::from_secs(1));
    history.record(&snapshot);
    let traffic = Bench::new().live.traffic();
    let json = update::json(&snapshot, &history, Level::Process, soon_after(), traffic);
    let update: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(update["rows"].as_array().unwrap().len(), 500);
    assert_eq!(
        (&update["others"]["rows"], &update["others"]["dynamic_uj"]),
        (&100.into(), &3_000_001_000_u64.into())
    );
    assert_eq!(update["rows_by_level"]["process"], 600);
}

#[test]
fn a_name_cannot_end_an_event() {
    let mut snapshot = sample::snapshot();
    snapshot.processes[0].comm = attribution::model::Comm::from_bytes(b"\n\ndata: x\n");
    let mut history = History::new(Duration::from_secs(1));
    history.record(&snapshot);
    let traffic = Bench::new().live.traffic();
    let json = update::json(&snapshot, &history, Level::Process, soon_after(), traffic);
    assert!(!json.contains('\n'));
    let event = events::update(1, &json);
    assert_eq!(event.iter().filter(|byte| **byte == b'\n').count(), 4);
}
