// SPDX-License-Identifier: Apache-2.0
//! The wire: owns how the API server or a kubelet is reached and proven, how much of an answer is read and for how long,
//! and the words for what went wrong. Decides nothing.
//!
//! Token and certificates are read anew with each client; kube itself reads a token's file again each minute, and whoever
//! calls makes a new client after a failure, so that a token that was rotated costs one question at most. An answer is read
//! here and not by kube, which would hold the words of a refusal however long they are, and drop what stands in its head.

use super::plan::Access;
use super::shape;
use futures_util::TryStreamExt as _;
use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _};
use http::header::RETRY_AFTER;
use http_body_util::BodyExt as _;
use kube::api::{ListParams, WatchParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config, Error};
use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// Longest list: 500 pods of 128 KiB.
const LONGEST_LIST: usize = 64 << 20;
/// Longest line of a watch: one object; etcd takes none above 1.5 MiB by default, and JSON is wordier than what is there.
const LONGEST_LINE: usize = 8 << 20;
/// Longest refusal that is read: a `Status`, or the page of a proxy.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Longest that a server may ask to be left alone.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Longest detail in words.
const LONGEST_WORDS: usize = 300;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a connection.
    pub(super) connect: Duration,
    /// For an answer, or for more of it.
    pub(super) answer: Duration,
    /// For a whole list.
    pub(super) list: Duration,
    /// How long the server is asked to keep a watch open.
    pub(super) watch: Duration,
    /// How long after that a silent connection counts as dead.
    pub(super) grace: Duration,
    /// How long a watch has to stay open to count as one.
    pub(super) settle: Duration,
    /// And how long for the next wait to be a short one again.
    pub(super) steady: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [connect, answer, list, watch, grace, settle, steady] =
            [5, 30, 120, 300, 30, 1, 30].map(Duration::from_secs);
        Self {
            connect,
            answer,
            list,
            watch,
            grace,
            settle,
            steady,
        }
    }
}

/// What went wrong, for those who decide, and as the reason that the metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody there.
    Unreachable,
    /// Somebody else there.
    Untrusted,
    /// No answer in time.
    Slow,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 410: the version that was asked for is no longer remembered.
    Expired,
    /// 429.
    Busy,
    /// Any other status.
    Refused,
    /// No answer that makes sense.
    Malformed,
    /// Our own side: no token, no certificate, no kubeconfig.
    Setup,
}

/// A failure with its words.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// What exactly, for the log.
    pub(super) detail: String,
    /// How long the server asks to be left alone.
    pub(super) retry: Option<Duration>,
}

impl Failure {
    pub(super) fn new(kind: Kind, detail: impl ToString) -> Self {
        let detail = detail.to_string().chars().take(LONGEST_WORDS).collect();
        Self {
            kind,
            detail,
            retry: None,
        }
    }

    fn of_code(code: u16, words: &str) -> Self {
        let kind = match code {
            401 => Kind::Unauthorized,
            403 => Kind::Forbidden,
            410 => Kind::Expired,
            429 => Kind::Busy,
            _ => Kind::Refused,
        };
        Self::new(kind, format!("{code}: {words}"))
    }

    /// What a watch's line says went wrong.
    pub(super) fn of_event(code: u16, words: &str) -> Self {
        Self::of_code(code, words)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Auth(_) | Error::InferKubeconfig(_) | Error::RustlsTls(_) | Error::TlsRequired => {
                Self::new(Kind::Setup, in_words(&error))
            }
            Error::Service(cause) if is_auth(cause.as_ref()) => Self::new(Kind::Setup, in_words(&error)),
            _ => {
                let words = in_words(&error);
                // rustls's own words, whoever wraps them.
                let kind = if words.contains("certificate") {
                    Kind::Untrusted
                } else {
                    Kind::Unreachable
                };
                Self::new(kind, words)
            }
        }
    }
}

fn is_auth(cause: &(dyn StdError + 'static)) -> bool {
    cause.is::<kube::client::AuthError>()
}

/// An error with its causes; one that repeats its cause says it once.
fn in_words(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = next.source();
    }
    words
}

/// Makes a client. Reads files, asks nobody.
pub(super) async fn client(access: &Access, patience: Patience) -> Result<Client, Failure> {
    let mut config = match access {
        Access::Kubeconfig(file) => {
            let setup = |error: kube::config::KubeconfigError| Failure::new(Kind::Setup, in_words(&error));
            let kubeconfig = Kubeconfig::read_from(file).map_err(setup)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(setup)?
        }
        Access::Token { url, token, ca } => {
            let url = url
                .parse()
                .map_err(|error| Failure::new(Kind::Setup, format!("{url} is no URL: {error}")))?;
            let mut config = Config::new(url);
            config.root_cert_file = Some(ca.clone());
            config.auth_info.token_file = Some(token.display().to_string());
            config
        }
    };
    config.connect_timeout = Some(patience.connect);
    config.write_timeout = Some(patience.answer);
    // Whoever calls waits longer each time.
    config.default_retry = false;
    Client::try_from(config).map_err(Failure::from)
}

/// Asks for all pods at `path`, on one node where a node is given. Any version of them will do, so the API server answers
/// from its memory instead of asking etcd for every pod of the cluster.
pub(super) async fn list(
    client: &Client,
    path: &str,
    node: Option<&str>,
    patience: Patience,
) -> Result<Vec<u8>, Failure> {
    let params = ListParams {
        resource_version: node.map(|_| "0".to_owned()),
        field_selector: node.map(of_node),
        ..ListParams::default()
    };
    let request = Request::new(path).list(&params).map_err(setup)?;
    let list = async {
        let mut answer = ask(client, request, patience.answer).await?;
        answer.all(LONGEST_LIST, patience.answer).await
    };
    // A byte now and then is no list either.
    let list = tokio::time::timeout(patience.list, list).await;
    list.unwrap_or_else(|_| Err(slow(patience.list)))
}

/// Asks for something; what is no success is a failure with the server's words.
async fn ask(client: &Client, request: http::Request<Vec<u8>>, patience: Duration) -> Result<Lines, Failure> {
    let answer = in_time(client.send(request.map(Body::from)), patience).await?;
    let (code, retry) = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
    let body = answer
        .into_body()
        .into_data_stream()
        .map_err(std::io::Error::other);
    let mut lines = Lines::new(body.into_async_read());
    if code.is_success() {
        return Ok(lines);
    }
    // What it says of itself is a bonus: the code decides.
    let words = tokio::time::timeout(patience, lines.all(LONGEST_REFUSAL, patience)).await;
    let words = words.map(Result::unwrap_or_default).unwrap_or_default();
    let refusal = shape::refusal(&words);
    let retry = retry.as_ref().and_then(|retry| retry.to_str().ok());
    Err(Failure {
        retry: time_to_wait(retry, refusal.retry),
        ..Failure::of_code(code.as_u16(), &refusal.words)
    })
}

/// Begins to watch the pods of a node from a version on.
pub(super) async fn watch(
    client: &Client,
    node: &str,
    version: &str,
    lasts: Duration,
    patience: Patience,
) -> Result<Lines, Failure> {
    let params = WatchParams {
        timeout: u32::try_from(lasts.as_secs()).ok(),
        ..WatchParams::default().fields(&of_node(node))
    };
    let request = Request::new("/api/v1/pods")
        .watch(&params, version)
        .map_err(setup)?;
    ask(client, request, patience.answer).await
}

/// How long a server asks to be left alone: in the head of its answer (in seconds; a date is not read), else in its body.
fn time_to_wait(head: Option<&str>, body: Option<u64>) -> Option<Duration> {
    let seconds = head.and_then(|head| head.trim().parse().ok()).or(body);
    seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY))
}

fn of_node(node: &str) -> String {
    format!("spec.nodeName={node}")
}

fn setup(error: impl StdError) -> Failure {
    Failure::new(Kind::Setup, in_words(&error))
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Error>>, patience: Duration) -> Result<T, Failure> {
    match tokio::time::timeout(patience, asked).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(slow(patience)),
    }
}

fn slow(patience: Duration) -> Failure {
    let patience = humantime::format_duration(patience);
    Failure::new(Kind::Slow, format!("no answer within {patience}"))
}

/// An answer that is read line by line. What was read stays when a wait for more is given up.
pub(super) struct Lines {
    answer: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
}

impl Lines {
    fn new(answer: impl AsyncBufRead + Send + 'static) -> Self {
        Self {
            answer: Box::pin(answer),
            line: Vec::new(),
        }
    }

    /// The next line without its end; `None` at the end of the answer. A last line without an end is no line: the server
    /// broke off in it.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let piece = tokio::time::timeout_at(until, self.answer.fill_buf());
            let Ok(piece) = piece.await else {
                return Err(Failure::new(Kind::Slow, "a watch fell silent"));
            };
            let piece = piece.map_err(|error| Failure::new(Kind::Unreachable, in_words(&error)))?;
            if piece.is_empty() {
                return Ok(None);
            }
            let (taken, is_whole) = match piece.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (piece.len(), false),
            };
            self.line
                .extend_from_slice(piece.get(..taken).unwrap_or_default());
            self.answer.consume_unpin(taken);
            if self.line.len() > LONGEST_LINE {
                return Err(Failure::new(Kind::Malformed, "a line of a watch does not end"));
            }
            if is_whole {
                self.line.pop();
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }

    /// Whether a line was begun.
    pub(super) const fn has_rest(&self) -> bool {
        !self.line.is_empty()
    }

    /// Everything up to the end.
    async fn all(&mut self, most: usize, patience: Duration) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let Ok(piece) = tokio::time::timeout(patience, self.answer.fill_buf()).await else {
                return Err(slow(patience));
            };
            let piece = piece.map_err(|error| Failure::new(Kind::Unreachable, in_words(&error)))?;
            let length = piece.len();
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(piece);
            self.answer.consume_unpin(length);
            if body.len() > most {
                return Err(Failure::new(Kind::Malformed, "an answer does not end"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::io::Cursor;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn an_answer_and_a_line_have_an_end_or_are_given_up() {
        let patience = Duration::from_secs(60);
        let all = |bytes: usize| block_on(Lines::new(Cursor::new(vec![b'x'; bytes])).all(10, patience));
        assert_eq!(all(10).unwrap().len(), 10);
        assert_eq!(all(11).unwrap_err().kind, Kind::Malformed);
        let next = |bytes: usize| {
            let mut line = vec![b'x'; bytes];
            line.push(b'\n');
            block_on(async {
                Lines::new(Cursor::new(line))
                    .next(Instant::now() + patience)
                    .await
            })
        };
        assert_eq!(next(3).unwrap().unwrap(), b"xxx");
        assert_eq!(next(LONGEST_LINE).unwrap_err().kind, Kind::Malformed);
    }

    #[test]
    fn the_time_to_wait_is_in_the_head_or_in_the_body_and_five_minutes_at_most() {
        let seconds = |head, body| time_to_wait(head, body).map(|wait| wait.as_secs());
        for (head, body, wait) in [
            (None, None, None),
            (Some("7"), Some(9), Some(7)),
            (None, Some(9), Some(9)),
            (Some("Fri, 31 Dec 2026 23:59:59 GMT"), Some(9), Some(9)),
            (Some("86400"), None, Some(300)),
        ] {
            assert_eq!(seconds(head, body), wait, "{head:?} {body:?}");
        }
    }
}
