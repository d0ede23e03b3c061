// SPDX-License-Identifier: Apache-2.0
//! One request and its answer: owns the client, what proves who we are, and how long anything may take.
//!
//! Goes to the configured address and nowhere else: no redirect is followed, no proxy of the environment used. No word that leaves
//! this module holds a secret.

use super::config::RequestConfig;
use super::health::Failure;
use super::tls;
use super::verdict::{Answer, Protocol};
use bytes::Bytes;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Client, Method, RequestBuilder, Url, redirect};
use std::error::Error as StdError;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Longest answer that is read: it is a line of words, or a count.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Longest file with a secret.
const LONGEST_SECRET: u64 = 16 * 1024;
/// How long a connection may rest. Longer than the usual interval, shorter than the minute after which many load balancers forget one.
const IDLE: Duration = Duration::from_secs(55);
/// Where a receiver of remote write 2.0 says how many samples it wrote.
const WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// Why there was no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// For people.
    pub(super) words: String,
}

impl NoAnswer {
    fn credentials(words: String) -> Self {
        Self {
            failure: Failure::Credentials,
            words,
        }
    }
}

/// What proves who we are.
enum Proof {
    Nothing,
    Password(String),
    Token(String),
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Wire {
    url: Url,
    request: RequestConfig,
    headers: HeaderMap,
    /// Built at the first request and again after a connection failed, so that new certificates are read.
    client: Option<Client>,
}

impl Wire {
    pub(super) fn new(protocol: Protocol, url: Url, request: RequestConfig, version: &str) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            // The configuration was checked.
            let header = HeaderName::from_bytes(name.as_bytes()).ok();
            if let (Some(name), Ok(value)) = (header, HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        let mut own = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        let (kind, encoding, of_protocol) = match protocol {
            Protocol::RemoteWrite1 => ("application/x-protobuf", "snappy", Some("0.1.0")),
            Protocol::RemoteWrite2 => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "snappy",
                Some("2.0.0"),
            ),
            Protocol::Otlp => ("application/x-protobuf", "gzip", None),
        };
        own(CONTENT_TYPE, kind);
        own(CONTENT_ENCODING, encoding);
        own(USER_AGENT, &format!("kepler/{version}"));
        if let Some(of_protocol) = of_protocol {
            own(
                HeaderName::from_static("x-prometheus-remote-write-version"),
                of_protocol,
            );
        }
        Self {
            url,
            request,
            headers,
            client: None,
        }
    }

    /// Scheme, host and port, for people: a path or a query may hold a key.
    pub(super) fn address(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// A request that proves who we are.
    fn begin(&mut self, method: Method) -> Result<RequestBuilder, NoAnswer> {
        let proof = self.proof()?;
        let url = self.url.clone();
        let name = self.request.username.clone();
        let request = self.client()?.request(method, url);
        Ok(match proof {
            Proof::Nothing => request,
            Proof::Password(password) => request.basic_auth(name, Some(password)),
            Proof::Token(token) => request.bearer_auth(token),
        })
    }

    /// The status of an answer to a request for nothing: somebody is there, and TLS and files are right.
    pub(super) async fn knock(&mut self) -> Result<u16, NoAnswer> {
        match self.begin(Method::HEAD)?.send().await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(self.unanswered(error)),
        }
    }

    /// Sends one body and takes its answer, within the configured time.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Answer, NoAnswer> {
        let headers = self.headers.clone();
        let request = self.begin(Method::POST)?.headers(headers).body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                if !error.is_timeout() {
                    self.client = None;
                }
                return Err(self.unanswered(error));
            }
        };
        let text = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            retry_after: text(RETRY_AFTER.as_str()),
            written: text(WRITTEN),
            body: Vec::new(),
        };
        // To its end, so that the connection can be used again; but not for ever.
        while answer.body.len() < LONGEST_ANSWER {
            match response.chunk().await {
                Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(self.unanswered(error)),
            }
        }
        Ok(answer)
    }

    fn client(&mut self) -> Result<&Client, NoAnswer> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.build().map_err(NoAnswer::credentials)?,
        };
        Ok(self.client.insert(client))
    }

    fn build(&self) -> Result<Client, String> {
        let timeout = self.request.timeout.0.0;
        Client::builder()
            .tls_backend_preconfigured(tls::client_config(&self.request)?)
            .https_only(self.url.scheme() == "https")
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| chain(&error))
    }

    fn proof(&self) -> Result<Proof, NoAnswer> {
        let request = &self.request;
        if !request.token_file.as_os_str().is_empty() {
            return secret("token_file", &request.token_file).map(Proof::Token);
        }
        if !request.password_file.as_os_str().is_empty() {
            return secret("password_file", &request.password_file).map(Proof::Password);
        }
        Ok(Proof::Nothing)
    }

    fn unanswered(&self, error: reqwest::Error) -> NoAnswer {
        if error.is_timeout() {
            let words = format!("no whole answer within {}", self.request.timeout.0);
            return NoAnswer {
                failure: Failure::Timeout,
                words,
            };
        }
        NoAnswer {
            failure: Failure::Connection,
            words: chain(&error.without_url()),
        }
    }
}

/// The first line of a file. The error is the kernel's, and repeats nothing of what is in it.
fn secret(key: &str, file: &Path) -> Result<String, NoAnswer> {
    let words = |problem: &dyn std::fmt::Display| {
        NoAnswer::credentials(format!("{key} {}: {problem}", file.display()))
    };
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text))
        .map_err(|error| words(&error))?;
    match text.lines().next().map(str::trim) {
        Some("") | None => Err(words(&"its first line is empty")),
        Some(line) if line.chars().any(char::is_control) => {
            Err(words(&"its first line has control characters"))
        }
        Some(line) => Ok(line.to_owned()),
    }
}

/// An error with its causes.
fn chain(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        next = cause.source();
    }
    words
}
