// SPDX-License-Identifier: Apache-2.0
//! A Kubernetes API server over HTTPS as far as it speaks of pods (list, watch, bookmarks, versions that are forgotten, who
//! may ask), and a kubelet's `/pods` with it. A test teaches it to misbehave while it runs, and it writes down what it was
//! asked.

mod shapes;
mod wire;

pub use shapes::{Release, ids, mirror_pod, pod, status_of};

use crate::bmc::Certificate;
use crate::bmc::identity::identity;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What goes wrong with every request until the test says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Connections are closed as soon as they are made: the server restarts.
    Away,
    /// Requests are not answered.
    Silent,
    /// Lists are answered, watches are not.
    SilentWatch,
    /// Watches end after a bookmark.
    ShortWatch,
    /// No version can be watched from.
    AlwaysGone,
    /// Answers come byte by byte and have no end.
    Dribble,
    /// Too much to do, with so many seconds to wait.
    Busy(u64),
    /// Every answer is this status, without a body that makes sense.
    Status(u16),
    /// Every answer is a page of something else.
    Nonsense,
}

/// How a version that is forgotten is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// As the first event of a watch that begins well.
    #[default]
    Event,
    /// As the answer's status.
    Status,
}

/// One change of one pod.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    kind: &'static str,
    object: Value,
}

#[derive(Default)]
struct State {
    version: u64,
    pods: Vec<Value>,
    changes: Vec<Change>,
    /// Watches from before this version are told that it is gone.
    oldest: u64,
    gone: Gone,
    token: String,
    denied: Vec<&'static str>,
    fault: Fault,
    asked: Vec<String>,
    /// Rises when open watches are to end.
    broken: u64,
    /// Whether they end in the middle of a line.
    in_a_line: bool,
    watches: usize,
    /// Bytes of lists and of changes, without heads.
    told: usize,
    stopped: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

/// The server. It ends with this.
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca: String,
}

impl ApiServer {
    /// Starts one without pods that accepts this token.
    ///
    /// # Panics
    /// When the machine has no port for it.
    #[must_use]
    pub fn start(token: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (config, ca, _) = identity(Certificate::Signed);
        let shared = Arc::new(Shared::default());
        {
            let mut state = shared.lock();
            state.version = 1_000;
            token.clone_into(&mut state.token);
        }
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || wire::accept(&listener, &config, &serving));
        Self { shared, address, ca }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Its port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate (PEM) that signed its own.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Writes a folder as Kubernetes gives it to a pod: `token` and `ca.crt`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_service_account(&self, folder: &Path, token: &str) {
        std::fs::write(folder.join("token"), token).expect("a token");
        std::fs::write(folder.join("ca.crt"), &self.ca).expect("a certificate");
    }

    /// Writes a kubeconfig with a token file and a certificate file beside it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write_kubeconfig(&self, folder: &Path, token: &str) -> PathBuf {
        self.write_service_account(folder, token);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": self.url(), "certificate-authority": "ca.crt" } }],
            "users": [{ "name": "test", "user": { "tokenFile": "token" } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        let file = folder.join("kubeconfig");
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).expect("a kubeconfig");
        file
    }

    /// Makes a pod, or changes it.
    pub fn put(&self, mut pod: Value) {
        self.change(|state| {
            state.version += 1;
            pod["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let known = state.pods.iter_mut().find(|known| is_same(known, &pod));
            let kind = match known {
                Some(known) => {
                    *known = pod.clone();
                    "MODIFIED"
                }
                None => {
                    state.pods.push(pod.clone());
                    "ADDED"
                }
            };
            let version = state.version;
            state.changes.push(Change {
                version,
                kind,
                object: pod,
            });
        });
    }

    /// Deletes a pod.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn remove(&self, name: &str) {
        self.change(|state| {
            let at = state.pods.iter().position(|pod| pod["metadata"]["name"] == name);
            let mut pod = state.pods.remove(at.expect("a pod of that name"));
            state.version += 1;
            pod["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let version = state.version;
            state.changes.push(Change {
                version,
                kind: "DELETED",
                object: pod,
            });
        });
    }

    /// Other objects of the cluster change, and watches are told so by a bookmark.
    pub fn bookmark(&self) {
        self.change(|state| {
            state.version += 100;
            let version = state.version;
            let object = json!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
                "spec": { "containers": null }, "status": {},
            });
            state.changes.push(Change {
                version,
                kind: "BOOKMARK",
                object,
            });
        });
    }

    /// Forgets everything up to now but the pods themselves, and says so in this way.
    pub fn forget(&self, gone: Gone) {
        self.change(|state| {
            state.version += 100;
            state.oldest = state.version;
            state.changes.clear();
            state.gone = gone;
        });
    }

    /// Ends all open watches, between lines or in the middle of one.
    pub fn break_watches(&self, in_a_line: bool) {
        self.change(|state| {
            state.broken += 1;
            state.in_a_line = in_a_line;
        });
    }

    /// Accepts another token, and the one before no more. Open watches end.
    pub fn set_token(&self, token: &str) {
        self.change(|state| {
            token.clone_into(&mut state.token);
            state.broken += 1;
            state.in_a_line = false;
        });
    }

    /// Denies `list`, `watch` or both. Open watches end.
    pub fn deny(&self, verbs: &[&'static str]) {
        self.change(|state| {
            state.denied = verbs.to_vec();
            state.broken += 1;
            state.in_a_line = false;
        });
    }

    /// Goes wrong in this way from now on. Open watches end.
    pub fn set_fault(&self, fault: Fault) {
        self.change(|state| {
            state.fault = fault;
            state.broken += 1;
            state.in_a_line = false;
        });
    }

    /// Paths with queries that were asked for, with `401` or `403` before those that were refused.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    /// How often something with all of these words in it was asked.
    #[must_use]
    pub fn count(&self, words: &[&str]) -> usize {
        let state = self.lock();
        let asked = state.asked.iter();
        asked
            .filter(|asked| words.iter().all(|word| asked.contains(word)))
            .count()
    }

    /// Waits until that happened so often since the start.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for(&self, words: &[&str], times: usize) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.lock();
        let count = |state: &State| {
            let asked = state.asked.iter();
            asked
                .filter(|asked| words.iter().all(|word| asked.contains(word)))
                .count()
        };
        while count(&state) < times {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{words:?} were not asked {times} times: {:?}",
                state.asked
            );
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("no panic while held");
        }
    }

    /// Open watches.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.lock().watches
    }

    /// Bytes of pods that were told in lists and in watches so far, without what HTTP and TLS add.
    #[must_use]
    pub fn told(&self) -> usize {
        self.lock().told
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    let name = |pod: &Value| {
        (
            pod["metadata"]["namespace"].clone(),
            pod["metadata"]["name"].clone(),
        )
    };
    name(one) == name(other)
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.change(|state| state.stopped = true);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}
