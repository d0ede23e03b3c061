// SPDX-License-Identifier: Apache-2.0
//! The wire: owns the HTTPS client, the password, the token and the session. Does what a step says and nothing by itself.
//!
//! Credentials go to the configured origin (scheme, host, port) and nowhere else: paths of the BMC's are resolved against it and
//! checked, and a redirect that leaves it is not followed. Proxies of the environment are not used. No word that leaves this
//! module holds a secret, not even one that the BMC repeats.

use super::config::{Checked, Secret};
use super::failure::{Failure, Kind, of_status};
use super::figure::cut;
use super::policy::{Outcome, Step};
use super::tls;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use serde_json::json;
use std::error::Error as StdError;
use std::io::Read as _;
use std::time::Duration;

/// Longest document: the largest collections have some hundred members of a hundred bytes each.
const LONGEST_BODY: usize = 1 << 20;
/// Most redirects for one request. `/redfish` to `/redfish/v1/` is one.
const MOST_REDIRECTS: usize = 3;
/// Longest password file.
const LONGEST_PASSWORD: u64 = 4_096;
/// Longest wait for the end of a session. The BMC ends it by itself too, only later.
const LOG_OUT: Duration = Duration::from_secs(2);
const TOKEN: &str = "x-auth-token";

/// See the module's head.
pub(super) struct Bmc {
    checked: Checked,
    /// Built at the first request and again after a failed connection, so that a new `ca_file` is read.
    client: Option<Client>,
    password: Option<Secret>,
    token: Option<HeaderValue>,
    session: Option<Url>,
}

impl Bmc {
    pub(super) const fn new(checked: Checked) -> Self {
        Self {
            checked,
            client: None,
            password: None,
            token: None,
            session: None,
        }
    }

    /// Scheme, host and port, for people.
    pub(super) fn base(&self) -> &str {
        self.checked.base.as_str().trim_end_matches('/')
    }

    /// Takes one step.
    pub(super) async fn perform(&mut self, step: &Step) -> Outcome {
        let done = match step {
            Step::Credentials => self.credentials(),
            Step::LogIn(path) => self.log_in(path).await,
            Step::Get(path) => self.get(path).await.map(Outcome::Body),
            Step::Wait(_) => return Outcome::Credentials { changed: false },
        };
        done.unwrap_or_else(|failure| Outcome::Failed(self.scrubbed(failure)))
    }

    /// Ends the session, if there is one. Best effort: a BMC ends it by itself after some time without requests.
    pub(super) async fn log_out(&mut self) {
        let (Some(session), Some(token)) = (self.session.take(), self.token.take()) else {
            return;
        };
        // Another one where the last connection failed.
        let Ok(client) = self.client() else {
            return;
        };
        let request = client.delete(session).header(TOKEN, token).timeout(LOG_OUT);
        if let Err(error) = request.send().await {
            tracing::debug!(detail = chain(&error.without_url()), "session was not deleted");
        }
    }

    fn credentials(&mut self) -> Result<Outcome, Failure> {
        let section = &self.checked.section;
        let password = if section.password_file.as_os_str().is_empty() {
            section.password.clone()
        } else {
            let file = &section.password_file;
            let mut text = String::new();
            let read = std::fs::File::open(file)
                .and_then(|file| file.take(LONGEST_PASSWORD).read_to_string(&mut text));
            // The error is the kernel's, or says that it is no UTF-8; neither repeats what is in the file.
            read.map_err(|error| {
                let words = format!("password_file {}: {error}", file.display());
                Failure::new(Kind::Failing, words)
            })?;
            let password = Secret::first_line(&text);
            if password.reveal().is_empty() {
                // Written soon, perhaps. Asking with it would be a failed login, and BMCs lock accounts after a few.
                let words = format!("password_file {}: its first line is empty", file.display());
                return Err(Failure::new(Kind::Failing, words));
            }
            password
        };
        let changed = self.password.as_ref() != Some(&password);
        self.password = Some(password);
        Ok(Outcome::Credentials { changed })
    }

    async fn log_in(&mut self, path: &str) -> Result<Outcome, Failure> {
        // One that was refused after its login is still in the BMC's table, which holds a handful.
        self.log_out().await;
        let url = self.url(path)?;
        let password = self.password.as_ref().map_or("", Secret::reveal);
        let body = json!({ "UserName": self.checked.section.username, "Password": password }).to_string();
        let request = self
            .client()?
            .post(url.clone())
            .header("content-type", "application/json")
            .body(body);
        let (headers, _body) = self
            .send(request, &url)
            .await
            .map_err(|failure| match failure.kind {
                // Some BMCs call a wrong password a bad request.
                Kind::BadRequest => Failure::new(Kind::Unauthorized, failure.words),
                _ => failure,
            })?;
        let Some(token) = headers.get(TOKEN) else {
            let words = format!(
                "{}: no X-Auth-Token in the answer; try auth = \"basic\"",
                shown(&url)
            );
            return Err(Failure::new(Kind::Garbled, words));
        };
        let mut token = token.clone();
        token.set_sensitive(true);
        self.token = Some(token);
        self.session = headers
            .get(LOCATION)
            .and_then(|place| place.to_str().ok())
            .and_then(|place| self.url(place).ok());
        Ok(Outcome::LoggedIn)
    }

    async fn get(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        let url = self.url(path)?;
        let mut request = self.client()?.get(url.clone());
        let section = &self.checked.section;
        if let Some(token) = &self.token {
            request = request.header(TOKEN, token.clone());
        } else if let (super::config::AuthMethod::Basic, Some(password)) = (section.auth, &self.password) {
            request = request.basic_auth(&section.username, Some(password.reveal()));
        }
        let (_headers, body) = self.send(request, &url).await?;
        Ok(body)
    }

    /// Sends one request and takes its answer whole.
    async fn send(&mut self, request: RequestBuilder, url: &Url) -> Result<(HeaderMap, Vec<u8>), Failure> {
        let request = request
            .header("accept", "application/json")
            .header("odata-version", "4.0");
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let failure = self.unanswered(error, url);
                if failure.kind == Kind::Unreachable {
                    self.client = None;
                }
                return Err(failure);
            }
        };
        let status = response.status();
        if let Some(kind) = of_status(status.as_u16()) {
            return Err(Failure::new(kind, refusal(&response, url)));
        }
        let headers = response.headers().clone();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= LONGEST_BODY => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let words = format!("{}: the answer is longer than {LONGEST_BODY} bytes", shown(url));
                    return Err(Failure::new(Kind::Garbled, words));
                }
                Ok(None) => return Ok((headers, body)),
                Err(error) => return Err(self.unanswered(error, url)),
            }
        }
    }

    fn unanswered(&self, error: reqwest::Error, url: &Url) -> Failure {
        let kind = if error.is_timeout() {
            Kind::Timeout
        } else if error.is_connect() {
            Kind::Unreachable
        } else {
            Kind::Broken
        };
        let words = chain(&error.without_url());
        if kind == Kind::Timeout {
            let limit = humantime::format_duration(self.checked.section.timeout.0);
            return Failure::new(kind, format!("{}: no whole answer within {limit}", shown(url)));
        }
        let advice = if words.contains("certificate") {
            "; set sources.redfish.ca_file or fingerprint to what the BMC has"
        } else {
            ""
        };
        Failure::new(kind, format!("{}: {words}{advice}", shown(url)))
    }

    fn client(&mut self) -> Result<&Client, Failure> {
        if self.client.is_none() {
            self.client = Some(
                self.build()
                    .map_err(|words| Failure::new(Kind::Unreachable, words))?,
            );
        }
        self.client
            .as_ref()
            .ok_or_else(|| Failure::new(Kind::Unreachable, "no client"))
    }

    fn build(&self) -> Result<Client, String> {
        let origin = self.checked.base.origin();
        let stay = redirect::Policy::custom(move |attempt| {
            if attempt.url().origin() == origin && attempt.previous().len() <= MOST_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let timeout = self.checked.section.timeout.0;
        Client::builder()
            .tls_backend_preconfigured(tls::client_config(&self.checked.trust)?)
            .https_only(self.checked.base.scheme() == "https")
            .redirect(stay)
            .no_proxy()
            .referer(false)
            .user_agent("kepler")
            .timeout(timeout)
            .connect_timeout(timeout)
            // One request at a time needs one connection.
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| chain(&error))
    }

    /// A path of the BMC's, or a whole URL, as long as it leads to the BMC.
    fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = &self.checked.base;
        match base.join(path) {
            Ok(url) if url.origin() == base.origin() && url.username().is_empty() => Ok(url),
            _ => {
                let words = format!("\"{}\" leads away from {}", cut(path), shown(base));
                Err(Failure::new(Kind::Garbled, words))
            }
        }
    }

    /// Takes our secrets out of words that may repeat what a BMC said.
    fn scrubbed(&self, failure: Failure) -> Failure {
        let token = self.token.as_ref().and_then(|token| token.to_str().ok());
        let password = self.password.as_ref().map(Secret::reveal);
        let configured = Some(self.checked.section.password.reveal());
        let mut words = failure.words;
        for secret in [token, password, configured].into_iter().flatten() {
            if !secret.is_empty() && words.contains(secret) {
                words = words.replace(secret, "***");
            }
        }
        Failure { words, ..failure }
    }
}

/// What a status that is no success says.
fn refusal(response: &Response, url: &Url) -> String {
    let status = response.status();
    let to = response
        .headers()
        .get(LOCATION)
        .and_then(|place| place.to_str().ok())
        .and_then(|place| url.join(place).ok());
    match to {
        Some(to) if status.is_redirection() => {
            let host = to.host_str().unwrap_or_default();
            format!(
                "{}: redirects to host {}, too often or to elsewhere; not followed",
                shown(url),
                cut(host)
            )
        }
        _ => format!("{}: the BMC answered {status}", shown(url)),
    }
}

/// A URL for people: ours never hold a user or a password, but neither are they shown with a query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// An error with its causes, each once.
fn chain(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // rustls adds the address of its manual to some.
        let text = text.split(": https://docs.rs/").next().unwrap_or(&text);
        if !words.contains(text) {
            words = format!("{words}: {text}");
        }
        next = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redfish::config::RedfishConfig;

    #[test]
    fn what_leads_away_from_the_bmc_is_no_address() {
        let config = RedfishConfig {
            url: "https://bmc.example:8443".to_owned(),
            ..RedfishConfig::default()
        };
        let bmc = Bmc::new(config.check().expect("usable").expect("with a URL"));
        for (path, url) in [
            ("/redfish/v1/", "https://bmc.example:8443/redfish/v1/"),
            ("/x?$skip=1", "https://bmc.example:8443/x?$skip=1"),
            ("https://bmc.example:8443/s/1", "https://bmc.example:8443/s/1"),
        ] {
            assert_eq!(bmc.url(path).expect("the BMC's").as_str(), url);
        }
        for path in [
            "https://evil.example:8443/",
            "https://bmc.example/",
            "http://bmc.example:8443/",
            "//evil.example/",
            "/\\evil.example/",
            "https://a:b@bmc.example:8443/",
            "file:///etc/passwd",
        ] {
            assert_eq!(bmc.url(path).expect_err(path).kind, Kind::Garbled);
        }
    }
}
