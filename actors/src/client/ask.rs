// SPDX-License-Identifier: Apache-2.0
//! The wire: sends one request at a time, waits for so long and no longer, reads so much and no more.

use super::endpoint::Endpoint;
use super::error::{ClientError, advice, cause};
use super::events::{Event, Events};
use super::options::Connection;
use super::tls;
use super::types::{About, Level, NodeHistory, SnapshotFacts, Update, WorkloadHistory};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// Longest answer: a snapshot of ten thousand processes has some 6 MB, and a hundred thousand may be asked for.
const LONGEST_ANSWER: usize = 128 << 20;
/// Longest words of a refusal that are repeated.
const LONGEST_WORDS: usize = 200;
/// Longest silence in a stream; the daemon says every ten seconds that it is alive.
const LONGEST_SILENCE: Duration = Duration::from_secs(25);

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    credentials: Option<HeaderValue>,
    patience: Duration,
}

impl Client {
    /// A client for `endpoint`. Nobody is asked yet.
    ///
    /// # Errors
    /// When a file of the connection cannot be read or used.
    pub fn open(connection: &Connection, endpoint: Endpoint) -> Result<Self, ClientError> {
        let speaks_tls = matches!(&endpoint, Endpoint::Http(url) if url.scheme() == "https");
        // What is sent to a daemon is meant for it: no redirect, no proxy of the environment.
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(connection, speaks_tls)?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("kepler/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(1);
        if let Endpoint::Unix(path) = &endpoint {
            builder = builder.unix_socket(path.clone());
        }
        Ok(Self {
            http: builder
                .build()
                .map_err(|error| ClientError::Setup(cause(&error)))?,
            credentials: connection.credentials(&endpoint)?,
            endpoint,
            patience: connection.timeout,
        })
    }

    /// Where it asks.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the daemon is, and what it knows of price and carbon.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn about(&self) -> Result<About, ClientError> {
        self.json("/api/v1/about", &[]).await
    }

    /// The node's last minutes.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn history(&self) -> Result<NodeHistory, ClientError> {
        self.json("/api/v1/history", &[]).await
    }

    /// The last minutes of one workload; `None` where the daemon keeps none of it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn workload(&self, level: Level, id: &str) -> Result<Option<WorkloadHistory>, ClientError> {
        let query = [("level", level.query()), ("id", id)];
        match self.get("/api/v1/history", &query).await {
            Ok(answer) => self.read(answer).await.map(Some),
            Err(ClientError::Refused { status, .. }) if status.starts_with("404") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The processes of the newest snapshot.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn snapshot(&self) -> Result<SnapshotFacts, ClientError> {
        self.json("/api/v1/snapshot", &[]).await
    }

    /// Updates about the workloads of one level.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn stream(&self, level: Level) -> Result<Stream, ClientError> {
        let response = self.get("/api/v1/stream", &[("level", level.query())]).await?;
        Ok(Stream {
            response,
            events: Events::default(),
            waiting: VecDeque::new(),
            client: self.clone(),
        })
    }

    async fn json<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        let answer = self.get(path, query).await?;
        self.read(answer).await
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, ClientError> {
        let url = self.url(path, query)?;
        let mut request = self
            .http
            .get(url)
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(credentials) = &self.credentials {
            request = request.header(AUTHORIZATION, credentials.clone());
        }
        let response = match timeout(self.patience, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unanswered(error)),
            Err(_elapsed) => return Err(self.slow()),
        };
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, ClientError> {
        let mut url = self.endpoint.url(path).ok_or_else(|| {
            ClientError::Setup(format!(
                "{} is no address that {path} can be put behind",
                self.endpoint
            ))
        })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, ClientError> {
        let body = match timeout(self.patience, self.body(answer, LONGEST_ANSWER)).await {
            Ok(body) => body?,
            Err(_elapsed) => return Err(self.slow()),
        };
        serde_json::from_slice(&body).map_err(|error| self.garbled(&error.to_string()))
    }

    async fn body(&self, mut answer: Response, most: usize) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unanswered(error))? {
            if body.len().saturating_add(piece.len()) > most {
                return Err(self.garbled(&format!("its answer is longer than {most} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    async fn refusal(&self, answer: Response) -> ClientError {
        let status = answer.status();
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "; it wants to know who asks: --user with --password-file, --bearer-token-file, or --cert-file with --key-file"
            }
            StatusCode::NOT_FOUND => "; is it a kepler, and one that has the live page?",
            StatusCode::BAD_REQUEST => "; it may want TLS: try https://",
            _ => "",
        };
        let said = timeout(self.patience, self.body(answer, 1 << 16)).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().next().unwrap_or_default();
        // Pages of proxies are no words for people.
        let line = if line.trim_start().starts_with('<') {
            ""
        } else {
            line
        };
        let line = crate::words::cut(line, LONGEST_WORDS);
        ClientError::Refused {
            at: self.endpoint.to_string(),
            status: status.to_string(),
            advice: if line.is_empty() {
                advice.to_owned()
            } else {
                format!(": {line}{advice}")
            },
        }
    }

    fn unanswered(&self, error: reqwest::Error) -> ClientError {
        let why = cause(&error.without_url());
        ClientError::Nobody {
            at: self.endpoint.to_string(),
            advice: advice(&why, self.endpoint.is_here()),
            why,
        }
    }

    fn slow(&self) -> ClientError {
        ClientError::Slow {
            at: self.endpoint.to_string(),
            limit: self.patience,
        }
    }

    fn garbled(&self, why: &str) -> ClientError {
        ClientError::Garbled {
            at: self.endpoint.to_string(),
            why: crate::words::cut(why, LONGEST_WORDS),
        }
    }
}

/// Updates, as they come.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    events: Events,
    waiting: VecDeque<Event>,
    client: Client,
}

impl Stream {
    /// The next update; `None` when the daemon has ended the stream, as it does after ten minutes.
    ///
    /// # Errors
    /// When nothing is heard of it for longer than it is ever silent, or what comes is no update.
    pub async fn next(&mut self) -> Result<Option<Update>, ClientError> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                if event.name == "update" {
                    let update = serde_json::from_str(&event.data);
                    return update
                        .map(Some)
                        .map_err(|error| self.client.garbled(&error.to_string()));
                }
            }
            let piece = match timeout(LONGEST_SILENCE, self.response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(self.client.unanswered(error)),
                Err(_elapsed) => {
                    return Err(ClientError::Slow {
                        at: self.client.endpoint.to_string(),
                        limit: LONGEST_SILENCE,
                    });
                }
            };
            let events = self.events.feed(&piece);
            let too_long = || self.client.garbled("an event without an end");
            self.waiting.extend(events.ok_or_else(too_long)?);
        }
    }

    /// The first update, within the time for an answer.
    ///
    /// # Errors
    /// When there is none by then.
    pub async fn first(&mut self) -> Result<Update, ClientError> {
        match timeout(self.client.patience, self.next()).await {
            Ok(Ok(Some(update))) => Ok(update),
            Ok(Ok(None)) => Err(self.client.garbled("it ended before its first update")),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(self.client.slow()),
        }
    }
}
