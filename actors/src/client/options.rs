// SPDX-License-Identifier: Apache-2.0
//! How to reach a daemon, as flags. No secret is one: whoever lists processes reads command lines.

use super::endpoint::Endpoint;
use super::error::ClientError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use reqwest::header::HeaderValue;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest file of a password or token.
const LONGEST_SECRET: u64 = 16_384;

/// Where the daemon is, and how to get in.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The daemon to ask: http://HOST:PORT, https://HOST:PORT or unix:/PATH. Without it, this machine's own, where its
    /// configuration (exporter.listen) says that it listens.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<Endpoint>,
    /// Certificates (PEM) that may sign the daemon's; without it those that the system trusts.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate (PEM), where the daemon asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Name for basic authentication.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// File whose first line is a bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub bearer_token_file: Option<PathBuf>,
    /// Longest wait for an answer, from 100ms to 5m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience)]
    pub timeout: Duration,
}

fn patience(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(300);
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if allowed.contains(&time) {
        Ok(time)
    } else {
        Err("expected a duration from 100ms to 5m, such as 10s".to_owned())
    }
}

impl Connection {
    /// The header that lets us in, where one is wanted.
    pub(super) fn credentials(&self, to: &Endpoint) -> Result<Option<HeaderValue>, ClientError> {
        let header = match (&self.user, &self.password_file, &self.bearer_token_file) {
            (Some(user), Some(file), _) => {
                if user.contains(':') {
                    return Err(ClientError::Setup("--user: a name has no colon".to_owned()));
                }
                let pair = format!("{user}:{}", secret("--password-file", file)?);
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            (_, _, Some(file)) => format!("Bearer {}", secret("--bearer-token-file", file)?),
            _ => return Ok(None),
        };
        if !to.is_private() {
            let words = format!(
                "{to} is plain HTTP to another machine, where anybody on the way reads a password: use https://"
            );
            return Err(ClientError::Setup(words));
        }
        // The words of the error would have the secret in them.
        let mut header = HeaderValue::from_str(&header).map_err(|_has_the_secret| {
            ClientError::Setup(
                "the password or token has a character that no HTTP header can have".to_owned(),
            )
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

/// The first line of a file that holds nothing else.
fn secret(flag: &str, file: &Path) -> Result<String, ClientError> {
    let refuse = |why: &str| ClientError::Setup(format!("{flag} {}: {why}", file.display()));
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(LONGEST_SECRET).read_to_string(&mut text))
        .map_err(|error| refuse(&error.to_string()))?;
    match text.lines().next().unwrap_or_default() {
        "" => Err(refuse("its first line is empty")),
        line => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(connection: &Connection, to: &str) -> Result<String, String> {
        let to = to.parse().unwrap();
        let header = connection.credentials(&to).map_err(|error| error.to_string())?;
        Ok(header.map_or_else(String::new, |header| {
            assert!(header.is_sensitive());
            header.to_str().unwrap().to_owned()
        }))
    }

    #[test]
    fn secrets_come_out_of_the_first_line_of_a_file() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "open sesame\nsecond line\n").unwrap();
        let basic = Connection {
            user: Some("ali".to_owned()),
            password_file: Some(file.clone()),
            ..Connection::default()
        };
        let bearer = Connection {
            bearer_token_file: Some(file.clone()),
            ..Connection::default()
        };
        assert_eq!(header(&Connection::default(), "http://node7").unwrap(), "");
        assert_eq!(
            header(&basic, "https://node7").unwrap(),
            "Basic YWxpOm9wZW4gc2VzYW1l"
        );
        assert_eq!(header(&bearer, "unix:/run/k.sock").unwrap(), "Bearer open sesame");
        std::fs::write(&file, "\nlate").unwrap();
        assert!(
            header(&bearer, "unix:/x")
                .unwrap_err()
                .contains("first line is empty")
        );
        std::fs::write(&file, "caf\u{e9}\u{7f}").unwrap();
        let error = header(&bearer, "unix:/x").unwrap_err();
        assert!(!error.contains("caf"), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(header(&basic, "unix:/x").unwrap_err().contains("--password-file"));
    }

    #[test]
    fn no_secret_goes_over_a_wire_that_others_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "x").unwrap();
        let bearer = Connection {
            bearer_token_file: Some(file),
            ..Connection::default()
        };
        assert!(header(&bearer, "http://127.0.0.1").is_ok());
        assert!(
            header(&bearer, "http://node7")
                .unwrap_err()
                .contains("use https://")
        );
    }

    #[test]
    fn a_wait_is_neither_nothing_nor_for_ever() {
        assert_eq!(patience("100ms"), Ok(Duration::from_millis(100)));
        for wrong in ["0s", "99ms", "6m", "soon"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }
}
