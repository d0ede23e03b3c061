// SPDX-License-Identifier: Apache-2.0
//! A server that gives the same answers to everybody, over TCP, TLS or a unix socket: for clients of the daemon's own
//! routes. Keeps what it was asked.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// A status and a body for each path.
pub type Answers = Vec<(&'static str, u16, String)>;

/// See the module's head. Its thread ends with the test.
pub struct Canned {
    /// Where it listens; the port is 0 for a unix socket.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    /// Over plain TCP, or TLS with these settings, on the loopback.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn tcp(answers: Answers, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::default();
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                match &tls {
                    None => answer(stream, &answers, &kept),
                    Some(config) => {
                        let session =
                            ServerConnection::new(Arc::clone(config)).expect("settings that can be used");
                        answer(StreamOwned::new(session, stream), &answers, &kept);
                    }
                }
            }
        });
        Self { address, heads }
    }

    /// Over a unix socket.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn unix(answers: Answers, path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let heads = Arc::default();
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &answers, &kept);
            }
        });
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            heads,
        }
    }

    /// The heads of all requests so far.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic while held").clone()
    }
}

/// One request a connection. A client that goes away in between has seen enough.
fn answer(stream: impl Read + Write, answers: &Answers, heads: &Mutex<Vec<String>>) {
    let _gone = try_answer(stream, answers, heads);
}

fn try_answer(stream: impl Read + Write, answers: &Answers, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().expect("no panic while held").push(head);
    let path = path.split('?').next().unwrap_or_default();
    let found = answers.iter().find(|(of, ..)| *of == path);
    let (status, body) = found.map_or((404, "not found\n"), |(_, status, body)| (*status, body.as_str()));
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} Canned\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}
