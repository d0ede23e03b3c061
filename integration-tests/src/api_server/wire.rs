// SPDX-License-Identifier: Apache-2.0
//! The API server's end of the wire: HTTP/1.1 with keep-alive and chunks, one thread per connection.

use super::{Fault, Gone, Shared, State};
use crate::bmc::wire::{header, request};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WATCH_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

pub(super) fn accept(listener: &TcpListener, config: &Arc<ServerConfig>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let state = shared.lock();
        if state.stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        if state.fault == Fault::Away {
            continue;
        }
        drop(state);
        let (shared, config) = (Arc::clone(shared), Arc::clone(config));
        std::thread::spawn(move || {
            let Ok(socket) = stream.try_clone() else { return };
            // A client that goes away, or that does not like the certificate, ends its connection and nothing else.
            drop(
                ServerConnection::new(config)
                    .map_err(io::Error::other)
                    .and_then(|tls| serve(StreamOwned::new(tls, stream), &shared)),
            );
            drop(socket.shutdown(Shutdown::Both));
        });
    }
}

/// What is asked for.
struct Asked {
    path: String,
    query: Vec<(String, String)>,
}

impl Asked {
    fn of(target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            path: path.to_owned(),
            query: pairs
                .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=")))
                .collect(),
        }
    }

    fn get(&self, name: &str) -> &str {
        let mut query = self.query.iter();
        query
            .find(|(of, _)| of == name)
            .map_or("", |(_, value)| value.as_str())
    }

    fn is_watch(&self) -> bool {
        self.get("watch") == "true"
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// Whether a pod is on the node that is asked for.
    fn selects(&self, pod: &Value) -> bool {
        match self.get("fieldSelector").strip_prefix("spec.nodeName=") {
            Some(node) => pod["spec"]["nodeName"] == node,
            None => true,
        }
    }
}

/// Answers the requests of one connection, one after the other.
fn serve(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some((head, _)) = request(&mut stream, &mut buffer)? {
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = Asked::of(&target);
        let mut state = shared.lock();
        if state.stopped {
            return Ok(());
        }
        let refusal = refusal(&state, &asked, &head);
        let code = refusal.as_ref().map(|(code, _)| format!("{code} "));
        state.asked.push(format!("{}{target}", code.unwrap_or_default()));
        // From here on a break is meant for this one, too.
        let (fault, broken) = (state.fault, state.broken);
        drop(state);
        shared.changed.notify_all();
        match (fault, refusal) {
            (Fault::Away, _) => return Ok(()),
            (Fault::Silent, _) => return silence(shared, fault),
            (Fault::SilentWatch, _) if asked.is_watch() => return silence(shared, fault),
            (Fault::ShortWatch, None) if asked.is_watch() => return short_watch(&mut stream, shared),
            (Fault::Dribble, _) => return dribble(&mut stream, shared),
            (Fault::Busy(seconds), _) => {
                let header = format!("Retry-After: {seconds}\r\n");
                answer_with(
                    &mut stream,
                    429,
                    &header,
                    b"Too many requests, please try again later.",
                )?;
            }
            (Fault::Status(code), _) => answer(&mut stream, code, b"upstream connect error")?,
            (Fault::Nonsense, _) => answer(&mut stream, 200, b"<html>log in</html>")?,
            (_, Some((code, status))) => answer(&mut stream, code, status.to_string().as_bytes())?,
            (_, None) if asked.is_watch() => {
                return watch(&mut stream, shared, &asked, broken);
            }
            (_, None) => {
                let list = list(&shared.lock(), &asked).to_string();
                shared.lock().told += list.len();
                answer(&mut stream, 200, list.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Why a request is refused, as Kubernetes says it.
fn refusal(state: &State, asked: &Asked, head: &str) -> Option<(u16, Value)> {
    if header(head, "authorization") != format!("Bearer {}", state.token) {
        return Some((401, status(401, "Unauthorized", "Unauthorized")));
    }
    if !matches!(asked.path.as_str(), "/api/v1/pods" | "/pods") {
        return Some((
            404,
            status(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ),
        ));
    }
    let is_watch = asked.is_watch();
    let verb = if is_watch { "watch" } else { "list" };
    if state.denied.contains(&verb) {
        let words = format!(
            "pods is forbidden: User \"system:serviceaccount:kepler:kepler\" cannot {verb} resource \"pods\" in API group \"\" at the cluster scope"
        );
        return Some((403, status(403, "Forbidden", &words)));
    }
    (is_watch && is_gone(state, asked) && state.gone == Gone::Status).then(|| (410, too_old(state, asked)))
}

fn is_gone(state: &State, asked: &Asked) -> bool {
    asked.number("resourceVersion") < state.oldest || state.fault == Fault::AlwaysGone
}

fn too_old(state: &State, asked: &Asked) -> Value {
    let words = format!(
        "too old resource version: {} ({})",
        asked.number("resourceVersion"),
        state.oldest
    );
    status(410, "Expired", &words)
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn list(state: &State, asked: &Asked) -> Value {
    let items: Vec<_> = state.pods.iter().filter(|pod| asked.selects(pod)).collect();
    // A kubelet's list has no version.
    let metadata = match asked.path.as_str() {
        "/pods" => json!({}),
        _ => json!({ "resourceVersion": state.version.to_string() }),
    };
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items })
}

/// Nothing, until the fault is another.
fn silence(shared: &Shared, fault: Fault) -> io::Result<()> {
    let mut state = shared.lock();
    while state.fault == fault && !state.stopped {
        state = shared.changed.wait(state).expect("no panic while held");
    }
    Ok(())
}

/// A blank from time to time, until the fault is another.
fn dribble(stream: &mut impl Write, shared: &Shared) -> io::Result<()> {
    stream.write_all(WATCH_HEAD)?;
    let mut state = shared.lock();
    while state.fault == Fault::Dribble && !state.stopped {
        drop(state);
        chunk(stream, b" ")?;
        let wait = Duration::from_millis(50);
        let waited = shared.changed.wait_timeout(shared.lock(), wait);
        (state, _) = waited.expect("no panic while held");
    }
    Ok(())
}

fn short_watch(stream: &mut impl Write, shared: &Shared) -> io::Result<()> {
    let version = shared.lock().version.to_string();
    let object = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "resourceVersion": version } });
    let line = json!({ "type": "BOOKMARK", "object": object });
    stream.write_all(WATCH_HEAD)?;
    chunk(stream, format!("{line}\n").as_bytes())?;
    chunk(stream, b"")
}

fn answer(stream: &mut impl Write, code: u16, body: &[u8]) -> io::Result<()> {
    answer_with(stream, code, "", body)
}

fn answer_with(stream: &mut impl Write, code: u16, header: &str, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {code} \r\n{header}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Sends what changes, line by line, until its time is over or the test ends it.
fn watch(stream: &mut impl Write, shared: &Shared, asked: &Asked, broken: u64) -> io::Result<()> {
    stream.write_all(WATCH_HEAD)?;
    stream.flush()?;
    let end = Instant::now() + Duration::from_secs(asked.number("timeoutSeconds").max(1));
    let mut sent = asked.number("resourceVersion");
    let mut state = shared.lock();
    if is_gone(&state, asked) {
        let line = json!({ "type": "ERROR", "object": too_old(&state, asked) }).to_string();
        drop(state);
        chunk(stream, format!("{line}\n").as_bytes())?;
        return chunk(stream, b"");
    }
    state.watches += 1;
    let breaks_off = loop {
        // What happened before an end is told before it.
        let lines = news(&state, asked, sent);
        sent = state.version.max(sent);
        if lines.is_empty() {
            if state.stopped || state.broken != broken || Instant::now() >= end {
                break Ok(state.in_a_line && state.broken != broken);
            }
            let wait = end.saturating_duration_since(Instant::now());
            (state, _) = shared
                .changed
                .wait_timeout(state, wait)
                .expect("no panic while held");
            continue;
        }
        drop(state);
        let written: io::Result<()> = lines.iter().try_for_each(|line| chunk(stream, line.as_bytes()));
        state = shared.lock();
        state.told += lines.iter().map(String::len).sum::<usize>();
        if let Err(error) = written {
            break Err(error);
        }
    };
    state.watches -= 1;
    drop(state);
    shared.changed.notify_all();
    if breaks_off? {
        // Half a line, and the end of the connection instead of the last chunk.
        return chunk(
            stream,
            b"{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Pod\",\"meta",
        );
    }
    chunk(stream, b"")
}

fn news(state: &State, asked: &Asked, sent: u64) -> Vec<String> {
    let new = state.changes.iter().filter(|change| change.version > sent);
    new.filter(|change| match change.kind {
        "BOOKMARK" => asked.get("allowWatchBookmarks") == "true",
        _ => asked.selects(&change.object),
    })
    .map(|change| format!("{}\n", json!({ "type": change.kind, "object": change.object })))
    .collect()
}

/// One chunk, in two writes: a client has to put lines together itself. An empty one is the end.
fn chunk(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    stream.write_all(first)?;
    stream.flush()?;
    stream.write_all(second)?;
    stream.write_all(b"\r\n")?;
    stream.flush()
}
