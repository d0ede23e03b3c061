// SPDX-License-Identifier: Apache-2.0
//! The BMC's end of the wire: HTTP/1.1 with keep-alive, one thread per connection.

use super::{Asked, Login, Reply, SESSIONS, Shared, State};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn accept(listener: &TcpListener, config: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        let config = config.map(Arc::clone);
        std::thread::spawn(move || {
            let Ok(socket) = stream.try_clone() else { return };
            // A client that goes away, or that does not like the certificate, ends its connection and nothing else.
            drop(match config {
                Some(config) => ServerConnection::new(config)
                    .map_err(io::Error::other)
                    .and_then(|tls| serve(StreamOwned::new(tls, stream), &socket, &shared)),
                None => serve(stream, &socket, &shared),
            });
            drop(socket.shutdown(Shutdown::Both));
        });
    }
}

/// Answers the requests of one connection, one after the other.
fn serve(mut stream: impl Read + Write, socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some((head, body)) = request(&mut stream, &mut buffer)? else {
            return Ok(());
        };
        let mut words = head.split([' ', '\r']);
        let asked = Asked {
            method: words.next().unwrap_or_default().to_owned(),
            path: words.next().unwrap_or_default().to_owned(),
            head,
        };
        let mut state = shared.lock();
        if state.stopped {
            return Ok(());
        }
        state.asked.push(asked.clone());
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        let (reply, headers) = answer(&mut state, &asked, &body);
        drop(state);
        shared.changed.notify_all();
        let goes_on = write_reply(&mut stream, socket, shared, &reply, &headers);
        shared.lock().in_flight -= 1;
        shared.changed.notify_all();
        if !goes_on? {
            return Ok(());
        }
    }
}

/// The next request's head and body; `None` at the end of the connection.
pub(crate) fn request(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut chunk = [0_u8; 4_096];
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                .unwrap_or(0);
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Ok(Some((head, body)));
            }
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// What a request gets, and further lines of the answer's head.
fn answer(state: &mut State, asked: &Asked, body: &[u8]) -> (Reply, String) {
    let none = String::new();
    if let Some(reply) = &state.all {
        return (reply.clone(), none);
    }
    let (is_root, is_login) = (
        asked.path == "/redfish/v1/",
        asked.method == "POST" && asked.path == SESSIONS,
    );
    match state.login.clone() {
        Login::Session(user, password) if is_login => {
            let given: Value = serde_json::from_slice(body).unwrap_or_default();
            if given != json!({ "UserName": user, "Password": password }) {
                return (Reply::Status(401), none);
            }
            state.num_sessions += 1;
            let token = format!("token-{}", state.num_sessions);
            let headers = format!(
                "X-Auth-Token: {token}\r\nLocation: {SESSIONS}/{}\r\n",
                state.num_sessions
            );
            state.sessions.insert(token);
            return (Reply::Json(json!({ "UserName": user })), headers);
        }
        Login::Session(..) if !is_root => {
            let token = header(&asked.head, "x-auth-token");
            if !state.sessions.contains(token) {
                return (Reply::Status(401), none);
            }
            if asked.method == "DELETE" {
                state.sessions.remove(token);
                return (Reply::Json(json!({})), none);
            }
        }
        Login::Basic(user, password) if !is_root => {
            let expected = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
            if header(&asked.head, "authorization") != expected {
                return (Reply::Status(401), none);
            }
        }
        Login::Open | Login::Basic(..) | Login::Session(..) => {}
    }
    let reply = state.tree.get(&asked.path).cloned();
    (reply.unwrap_or(Reply::Status(404)), none)
}

/// A header's value, empty when it is not there.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(of, _)| of.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

/// RFC 4648, section 4.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .enumerate()
            .fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..4 {
            if digit <= three.len() {
                text.push(char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Whether the connection goes on.
fn write_reply(
    stream: &mut impl Write,
    socket: &TcpStream,
    shared: &Shared,
    reply: &Reply,
    headers: &str,
) -> io::Result<bool> {
    let (status, body) = match reply {
        Reply::Json(document) if headers.is_empty() => (200, document.to_string().into_bytes()),
        Reply::Json(document) => (201, document.to_string().into_bytes()),
        Reply::Bytes(bytes) => (200, bytes.clone()),
        Reply::Status(status) => (*status, Vec::new()),
        Reply::Redirect(to) => {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            stream.flush()?;
            return Ok(true);
        }
        Reply::Hang => {
            wait_for_release(socket, shared);
            return Ok(false);
        }
        Reply::HangUp => return Ok(false),
        Reply::BreakOff(document) | Reply::Stall(document) => {
            let body = document.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body.as_bytes()[..body.len() / 2])?;
            stream.flush()?;
            if matches!(reply, Reply::Stall(_)) {
                wait_for_release(socket, shared);
            }
            return Ok(false);
        }
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} \r\n{headers}Content-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes())?;
    stream.write_all(&body)?;
    stream.flush()?;
    Ok(true)
}

/// Until the test lets go, or the other side is gone: it sends nothing while it waits, so whatever comes is its good-bye.
fn wait_for_release(socket: &TcpStream, shared: &Shared) {
    let before = shared.lock().released;
    drop(socket.set_read_timeout(Some(Duration::from_millis(20))));
    loop {
        let state = shared.lock();
        if state.stopped || state.released != before {
            return;
        }
        drop(state);
        match socket.peek(&mut [0]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            _ => return,
        }
    }
}
