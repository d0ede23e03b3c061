// SPDX-License-Identifier: Apache-2.0
//! A BMC with a Redfish tree over HTTPS (or HTTP), which a test teaches to misbehave while it runs, and which writes down what
//! it was asked.

pub(crate) mod identity;
pub(crate) mod wire;

pub use wire::base64;

use identity::identity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where sessions are made.
pub const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// What a path answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A document.
    Json(Value),
    /// Any bytes, called JSON.
    Bytes(Vec<u8>),
    /// A status without a document.
    Status(u16),
    /// 302 to there.
    Redirect(String),
    /// Nothing, until the other side goes away or the test says otherwise.
    Hang,
    /// The first bytes of this, of which the length was announced, and then the end of the connection.
    BreakOff(Value),
    /// Head and first bytes, and then no more, with the connection left open.
    Stall(Value),
    /// The end of the connection instead of an answer.
    HangUp,
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub enum Login {
    /// Everybody.
    #[default]
    Open,
    /// With name and password.
    Basic(&'static str, String),
    /// With a token, got for name and password.
    Session(&'static str, String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// GET, POST, DELETE.
    pub method: String,
    /// The path.
    pub path: String,
    /// The head's lines, as they came.
    pub head: String,
}

#[derive(Default)]
struct State {
    tree: BTreeMap<String, Reply>,
    /// What every path answers, if set.
    all: Option<Reply>,
    login: Login,
    sessions: BTreeSet<String>,
    num_sessions: u64,
    asked: Vec<Asked>,
    in_flight: usize,
    most_in_flight: usize,
    /// Rises when something hung is to be let go.
    released: u64,
    stopped: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a BMC shows for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by [`Bmc::ca`].
    Signed,
    /// Signed by itself.
    SelfSigned,
    /// None: HTTP.
    None,
}

/// The BMC. It ends with this.
pub struct Bmc {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    ca: String,
    fingerprint: String,
}

impl Bmc {
    /// Starts one that has an empty tree and lets everybody in.
    ///
    /// # Panics
    /// When the machine has no port for it.
    #[must_use]
    pub fn start(certificate: Certificate) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let identity = (certificate != Certificate::None).then(|| identity(certificate));
        let (config, ca, fingerprint) = match identity {
            Some((config, ca, fingerprint)) => (Some(config), ca, fingerprint),
            None => (None, String::new(), String::new()),
        };
        let serving = Arc::clone(&shared);
        let scheme = if config.is_some() { "https" } else { "http" };
        std::thread::spawn(move || wire::accept(&listener, config.as_ref(), &serving));
        Self {
            shared,
            address,
            scheme,
            ca,
            fingerprint,
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The certificate (PEM) that signed its own.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// SHA-256 of its certificate, as `openssl x509 -fingerprint` writes it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Sets what a path answers.
    pub fn set(&self, path: &str, reply: Reply) {
        self.change(|state| {
            state.tree.insert(path.to_owned(), reply);
        });
    }

    /// Takes a path away: 404.
    pub fn remove(&self, path: &str) {
        self.change(|state| {
            state.tree.remove(path);
        });
    }

    /// Sets what every path answers; `None` gives the tree back. What hangs is let go.
    pub fn set_all(&self, reply: Option<Reply>) {
        self.change(|state| {
            state.all = reply;
            state.released += 1;
        });
    }

    /// Sets who may ask. Open sessions stay.
    pub fn set_login(&self, login: Login) {
        self.change(|state| state.login = login);
    }

    /// Ends all sessions, as a BMC does that restarts or runs out of them.
    pub fn end_sessions(&self) {
        self.change(|state| state.sessions.clear());
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Most requests that were ever being worked on at the same time.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    /// Waits until so many requests for `path` came since the start.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_for(&self, path: &str, times: usize) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while state.asked.iter().filter(|asked| asked.path == path).count() < times {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{path} was not asked for {times} times: {:?}",
                state.asked
            );
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("no panic while held");
        }
    }

    /// Serves a folder as DMTF publishes them: each `index.json` at its folder's path, below `/redfish/v1`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn serve_folder(&self, folder: &Path) -> io::Result<()> {
        self.serve_below(folder, "/redfish/v1")
    }

    fn serve_below(&self, folder: &Path, path: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                self.serve_below(&entry.path(), &format!("{path}/{name}"))?;
            } else if name == "index.json" {
                let bytes = std::fs::read(entry.path())?;
                let path = if path == "/redfish/v1" {
                    "/redfish/v1/"
                } else {
                    path
                };
                self.set(path, Reply::Bytes(bytes));
            }
        }
        Ok(())
    }

    /// Gives it the tree of a small server: one chassis `1U` whose `EnvironmentMetrics` shows so many watts.
    pub fn serve_one(&self, watts: f64) {
        let link = |path: &str| json!({ "@odata.id": path });
        let root = json!({
            "RedfishVersion": "1.15.0",
            "Chassis": link("/redfish/v1/Chassis"),
            "Links": { "Sessions": link(SESSIONS) },
        });
        self.set("/redfish/v1/", Reply::Json(root));
        let members = json!({ "Members": [link("/redfish/v1/Chassis/1U")] });
        self.set("/redfish/v1/Chassis", Reply::Json(members));
        let chassis = json!({
            "Id": "1U",
            "ChassisType": "RackMount",
            "EnvironmentMetrics": link("/redfish/v1/Chassis/1U/EnvironmentMetrics"),
        });
        self.set("/redfish/v1/Chassis/1U", Reply::Json(chassis));
        self.set_watts(json!(watts));
    }

    /// Sets what `1U` of [`Self::serve_one`] shows, whatever it is.
    pub fn set_watts(&self, watts: Value) {
        let environment = json!({ "PowerWatts": { "Reading": watts } });
        self.set(
            "/redfish/v1/Chassis/1U/EnvironmentMetrics",
            Reply::Json(environment),
        );
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.change(|state| state.stopped = true);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}
