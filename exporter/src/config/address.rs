// SPDX-License-Identifier: Apache-2.0
//! One address of `exporter.listen`, and the mode of a socket file. Says what may be written; binds nothing.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What stands before the path of a unix socket.
const UNIX: &str = "unix:";

/// Longest path of a socket in bytes: the kernel takes 107 (`sun_path` of unix(7)), and the socket is made under a longer
/// name beside it.
const LONGEST: usize = 90;

/// What `exporter.listen` takes, in the words of its errors.
pub(super) const ADDRESSES: &str = "at least one IP address with its port, such as 0.0.0.0:28282 or [::]:28282, or unix:/run/kepler/kepler.sock";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A socket file: an absolute path of at most 90 bytes.
    Unix(PathBuf),
}

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().ok().map(Self::Tcp);
        };
        let usable = Path::new(path).is_absolute() && path.len() <= LONGEST && !path.contains('\0');
        let named = !path.ends_with('/') && Path::new(path).file_name().is_some();
        (usable && named).then(|| Self::Unix(PathBuf::from(path)))
    }
}

/// As the configuration has it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The permissions of a socket file, written as chmod(1) takes them: `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u16);

impl Default for SocketMode {
    /// Owner and group: figures of other people's workloads are nobody else's business.
    fn default() -> Self {
        Self(0o660)
    }
}

impl Serialize for SocketMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number would have lost whether it was octal.
        let text = String::deserialize(deserializer)?;
        let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u16::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        match mode.filter(|_| digits) {
            Some(mode) => Ok(Self(mode)),
            None => Err(D::Error::invalid_value(
                Unexpected::Str(&text),
                &"three octal digits in quotes, such as \"0660\"",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["127.0.0.1:1", "[::1]:28282", "unix:/run/kepler/kepler.sock"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        let long = format!("unix:/{}", "a".repeat(LONGEST));
        for text in [
            "unix:",
            "unix:/",
            "unix:run/k",
            "unix:/run/",
            "unix:/a\0b",
            "/run/k.sock",
            "localhost:1",
            &long,
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_mode_is_octal_or_refused() {
        let read = |text: &str| serde_json::from_str::<SocketMode>(text).map_err(|error| error.to_string());
        assert_eq!(read("\"0600\""), Ok(SocketMode(0o600)));
        assert_eq!(read("\"777\""), Ok(SocketMode(0o777)));
        assert_eq!(serde_json::to_string(&SocketMode::default()).unwrap(), "\"0660\"");
        for wrong in ["\"\"", "\"66\"", "\"0880\"", "\"1777\"", "\"+66\"", "660"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
