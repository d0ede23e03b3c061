// SPDX-License-Identifier: Apache-2.0
//! Where a daemon is: an address over HTTP or HTTPS, or a unix socket.

use reqwest::Url;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Port of a daemon where none is named.
const DEFAULT_PORT: u16 = 28282;

/// Where a daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://HOST:PORT` or `https://HOST:PORT`, perhaps with a path before the daemon's own.
    Http(Url),
    /// `unix:/path/of/the/socket`.
    Unix(PathBuf),
}

impl Endpoint {
    /// A daemon on this machine that listens on `address`. Where that is every address, the loopback is one of them.
    #[must_use]
    pub fn listening(address: SocketAddr) -> Option<Self> {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let address = SocketAddr::new(host, address.port());
        Url::parse(&format!("http://{address}/")).ok().map(Self::Http)
    }

    /// Whether what is sent there can be read by this machine alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Http(url) => url.scheme() == "https" || self.is_here(),
        }
    }

    /// Whether it is on this machine for sure.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let Self::Http(url) = self else {
            return true;
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The address of one of its paths.
    pub(super) fn url(&self, path: &str) -> Option<Url> {
        match self {
            Self::Http(base) => base.join(path.trim_start_matches('/')).ok(),
            // Nobody looks at the host but the daemon's log.
            Self::Unix(_) => Url::parse("http://localhost/").ok()?.join(path).ok(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str =
            "expected http://HOST:PORT, https://HOST:PORT or unix:/PATH, such as https://node7:28282";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(format!("the path of a socket is absolute: {ALLOWED}"))
            };
        }
        let mut url = Url::parse(text).map_err(|error| format!("{error}: {ALLOWED}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(ALLOWED.to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "names and passwords are no part of an address: use --user and --password-file".to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("nothing with ? or # behind it: {ALLOWED}"));
        }
        // Whoever types no port means the daemon's; a path in front is a proxy's, which has the scheme's own.
        if url.port().is_none() && url.path() == "/" && !names_a_port(text) {
            url.set_port(Some(DEFAULT_PORT))
                .map_err(|()| ALLOWED.to_owned())?;
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self::Http(url))
    }
}

/// Whether the text itself has a port, which a URL forgets where it is the scheme's own.
fn names_a_port(text: &str) -> bool {
    let after = text.split_once("://").map_or("", |(_, after)| after);
    let host = after.split('/').next().unwrap_or_default();
    host.rsplit_once(']').map_or(host, |(_, port)| port).contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Endpoint>()
            .map_or_else(|error| error, |endpoint| endpoint.to_string())
    }

    #[test]
    fn an_address_is_read_with_the_ports_that_people_mean() {
        for (text, meant) in [
            ("http://node7:9100", "http://node7:9100"),
            ("https://node7", "https://node7:28282"),
            ("http://[::1]", "http://[::1]:28282"),
            ("http://node7:80", "http://node7"),
            ("https://proxy/nodes/7", "https://proxy/nodes/7"),
            ("unix:/run/kepler/kepler.sock", "unix:/run/kepler/kepler.sock"),
            ("unix:///run/k.sock", "unix:/run/k.sock"),
        ] {
            assert_eq!(shown(text), meant, "{text}");
        }
        let proxy: Endpoint = "https://proxy/nodes/7".parse().unwrap();
        assert_eq!(
            proxy.url("/api/v1/about").unwrap().as_str(),
            "https://proxy/nodes/7/api/v1/about"
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_one_is() {
        for (text, words) in [
            ("node7:28282", "expected http://HOST:PORT"),
            ("ftp://node7", "expected http://HOST:PORT"),
            ("", "expected http://HOST:PORT"),
            ("unix:run/k.sock", "absolute"),
            ("http://me:secret@node7", "--password-file"),
            ("http://node7/?a=b", "nothing with ?"),
        ] {
            assert!(shown(text).contains(words), "{text}: {}", shown(text));
        }
        assert!(!shown("http://me:secret@node7").contains("secret"));
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_on_the_loopback() {
        let at = |text: &str| Endpoint::listening(text.parse().unwrap()).unwrap();
        assert_eq!(at("0.0.0.0:1").to_string(), "http://127.0.0.1:1");
        assert_eq!(at("[::]:28282").to_string(), "http://[::1]:28282");
        assert_eq!(at("10.0.0.7:2").to_string(), "http://10.0.0.7:2");
        assert!(at("[::]:1").is_here() && !at("10.0.0.7:2").is_here());
    }

    #[test]
    fn only_tls_and_this_machine_keep_a_secret() {
        for (text, private) in [
            ("http://127.0.0.1:1", true),
            ("http://localhost:1", true),
            ("https://node7", true),
            ("unix:/x", true),
            ("http://node7", false),
            ("http://10.0.0.1", false),
            ("http://localhost.evil.example", false),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().is_private(), private, "{text}");
        }
    }
}
