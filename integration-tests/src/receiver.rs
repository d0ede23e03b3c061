// SPDX-License-Identifier: Apache-2.0
//! A receiver of pushes over HTTP or HTTPS, which a test teaches to misbehave while it runs, and which keeps what it was sent.

use crate::bmc::wire::request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, further lines of the head (each with its line's end), and a body.
    Status(u16, String, Vec<u8>),
    /// Nothing, until the test is over.
    Hang,
    /// 200, one byte after the other with 20 ms between them.
    Drip,
    /// The end of the connection instead of an answer.
    HangUp,
}

impl Reply {
    /// A status alone.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status(status, String::new(), Vec::new())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its first line and headers.
    pub head: String,
    /// Its body, compressed as it came.
    pub body: Vec<u8>,
    /// The status that it got, 0 for none.
    pub status: u16,
}

impl Sent {
    /// A header's value, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut of = lines.filter(|(of, _)| of.eq_ignore_ascii_case(name));
        of.next().map_or("", |(_, value)| value.trim())
    }
}

struct State {
    script: VecDeque<Reply>,
    usual: Reply,
    sent: Vec<Sent>,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What both sides of a connection show each other, as PEM.
#[derive(Clone, Debug)]
pub struct Papers {
    /// Who signed both.
    pub ca: String,
    /// A client's certificate.
    pub client: String,
    /// Its key.
    pub client_key: String,
}

/// The receiver. It ends with this.
pub struct Receiver {
    shared: Arc<Shared>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Receiver {
    /// Starts one that takes everything with 200.
    ///
    /// # Panics
    /// When the machine has no port for it.
    #[must_use]
    pub fn start() -> Self {
        Self::serving(None)
    }

    /// Starts one with TLS that wants a certificate of its clients.
    ///
    /// # Panics
    /// When the machine has no port for it.
    #[must_use]
    pub fn start_with_tls() -> (Self, Papers) {
        let (config, papers) = identity();
        (Self::serving(Some(config)), papers)
    }

    fn serving(config: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                script: VecDeque::new(),
                usual: Reply::status(200),
                sent: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, config.as_ref(), &serving));
        Self { shared, address }
    }

    /// What the next requests get, one after the other, before the usual one.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.lock().script.extend(replies);
    }

    /// What every further request gets. What hangs goes on hanging.
    pub fn usually(&self, reply: Reply) {
        self.shared.lock().usual = reply;
    }

    /// Everything that was sent so far.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.lock().sent.clone()
    }

    /// Waits until `enough` says so of what was sent, and gives it.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_until(&self, what: &str, enough: impl Fn(&[Sent]) -> bool) -> Vec<Sent> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while !enough(&state.sent) {
            let left = end.saturating_duration_since(Instant::now());
            let statuses: Vec<_> = state.sent.iter().map(|sent| sent.status).collect();
            assert!(!left.is_zero(), "never: {what}; answered so far: {statuses:?}");
            let waited = self.shared.changed.wait_timeout(state, left);
            (state, _) = waited.expect("no panic while held");
        }
        state.sent.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

fn accept(listener: &TcpListener, config: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        let config = config.map(Arc::clone);
        std::thread::spawn(move || {
            let Ok(socket) = stream.try_clone() else { return };
            drop(match config {
                Some(config) => ServerConnection::new(config)
                    .map_err(io::Error::other)
                    .and_then(|tls| serve(StreamOwned::new(tls, stream), &shared)),
                None => serve(stream, &shared),
            });
            drop(socket.shutdown(Shutdown::Both));
        });
    }
}

fn serve(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut buffer)? {
        let mut state = shared.lock();
        let reply = state.script.pop_front().unwrap_or_else(|| state.usual.clone());
        let status = match reply {
            Reply::Status(status, ..) => status,
            Reply::Drip => 200,
            Reply::Hang | Reply::HangUp => 0,
        };
        state.sent.push(Sent { head, body, status });
        drop(state);
        shared.changed.notify_all();
        match reply {
            Reply::Status(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} said\r\n{headers}Content-Length: {length}\r\n\r\n");
                stream.write_all(&[head.as_bytes(), &body].concat())?;
            }
            Reply::Hang => {
                let state = shared.lock();
                drop(shared.changed.wait_while(state, |state| !state.stopped));
                return Ok(());
            }
            Reply::Drip => {
                for byte in b"HTTP/1.1 200 said\r\nContent-Length: 1000\r\n\r\n" {
                    stream.write_all(&[*byte])?;
                    crate::daemon::pause();
                }
                for _ in 0..1000 {
                    stream.write_all(b"x")?;
                    crate::daemon::pause();
                }
            }
            Reply::HangUp => return Ok(()),
        }
        stream.flush()?;
    }
    Ok(())
}

/// Settings of a server for 127.0.0.1 that lets in whom the same authority signed.
fn identity() -> (Arc<ServerConfig>, Papers) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&authority_key).expect("a certificate");
    let (ca, ca_der) = (ca.pem(), CertificateDer::from(ca.der().to_vec()));
    let issuer = Issuer::new(authority, authority_key);
    let signed = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &issuer).expect("a certificate"), key)
    };
    let (server, server_key) = signed("127.0.0.1");
    let (client, client_key) = signed("kepler");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca_der).expect("a certificate");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .expect("a verifier");
    let chain = vec![CertificateDer::from(server.der().to_vec())];
    let key = PrivateKeyDer::try_from(server_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    let papers = Papers {
        ca,
        client: client.pem(),
        client_key: client_key.serialize_pem(),
    };
    (Arc::new(config), papers)
}
