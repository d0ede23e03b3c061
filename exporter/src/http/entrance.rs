// SPDX-License-Identifier: Apache-2.0
//! Takes the addresses and reads the rules of the doors, before anything else starts: an occupied port, a stale socket file that
//! is not stale, or a certificate that cannot be read is a start-up error.

use super::socket_file::SocketFile;
use crate::config::{Address, ExporterConfig};
use crate::error::ExporterError;
use crate::security::Security;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

/// Connections that the kernel keeps for us until we take them.
const BACKLOG: i32 = 1024;

/// One bound address.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Bound {
    fn tcp(wanted: SocketAddr, all: &[Address]) -> io::Result<Self> {
        let family = match wanted {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        // A daemon that restarts finds its port, although connections of the one before are not forgotten yet.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if family == AddressFamily::INET6 && beside_ipv4(wanted, all) {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        rustix::net::bind(&socket, &wanted)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self::Tcp(socket.into()))
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener, file) => Ok(Self::Unix(listener.try_clone()?, file.clone())),
        }
    }
}

/// Whether `[::]` has to leave IPv4 alone, because `0.0.0.0` with its port is wanted, too. Alone it takes both, as the
/// kernel has it.
fn beside_ipv4(wanted: SocketAddr, all: &[Address]) -> bool {
    let is_all = wanted.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let ports = all.iter().filter_map(|address| match address {
        Address::Tcp(SocketAddr::V4(address)) => Some(address.port()),
        Address::Tcp(SocketAddr::V6(_)) | Address::Unix(_) => None,
    });
    is_all && ports.into_iter().any(|port| port == wanted.port())
}

/// What the rules of a configuration come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What holds for who comes over the network, in one line.
    pub security: String,
    /// When the certificate that is served ends, in seconds of Unix time; `None` where there is none.
    pub certificate_ends: Option<u64>,
}

/// Where people come in, and what holds there.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    pub(super) bound: Arc<Vec<Bound>>,
    /// `None` where nobody comes in.
    pub(super) security: Option<Arc<Security>>,
}

impl Entrance {
    /// Reads the rules and takes the addresses.
    ///
    /// # Errors
    ///
    /// The first address that cannot be had, by name; a file of the rules that cannot be used, with the reason.
    pub fn open(config: &ExporterConfig) -> Result<Self, ExporterError> {
        let security = Security::open(config)?;
        let all = config.listen.addresses();
        let mode = config.socket_mode.0;
        let bound = all.iter().map(|address| {
            let bound = match address {
                Address::Tcp(wanted) => Bound::tcp(*wanted, all),
                Address::Unix(path) => {
                    SocketFile::bind(path, mode).map(|(listener, file)| Bound::Unix(listener, file))
                }
            };
            bound.map_err(|source| refused(address.clone(), source))
        });
        Ok(Self {
            bound: Arc::new(bound.collect::<Result<_, _>>()?),
            security: Some(Arc::new(security)),
        })
    }

    /// Whether the rules of the configuration can be used, without taking an address.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, with the reason.
    pub fn check(config: &ExporterConfig) -> Result<Checked, ExporterError> {
        let security = Security::open(config)?;
        Ok(Checked {
            security: security.describe(),
            certificate_ends: security.certificate_ends(),
        })
    }

    /// Nobody comes in.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// Whether nobody comes in.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.bound.is_empty()
    }

    /// The addresses, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        let address = |bound: &Bound| match bound {
            Bound::Tcp(listener) => listener.local_addr().ok().map(Address::Tcp),
            Bound::Unix(_, file) => Some(Address::Unix(file.path().to_owned())),
        };
        self.bound.iter().filter_map(address).collect()
    }

    /// Files that are read again when they change: certificates, keys, users, tokens.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.security
            .as_ref()
            .map(|security| security.files())
            .unwrap_or_default()
    }

    /// What holds for who comes over the network, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        self.security
            .as_ref()
            .map(|security| security.describe())
            .unwrap_or_default()
    }

    /// What an operator should know although it works.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        self.security.as_ref()?.warning()
    }

    /// The listeners once more, for the server.
    pub(super) fn listeners(&self) -> io::Result<Vec<Bound>> {
        self.bound.iter().map(Bound::try_clone).collect()
    }
}

fn refused(address: Address, source: io::Error) -> ExporterError {
    match source.kind() {
        ErrorKind::AddrInUse => ExporterError::AddressInUse { address, source },
        ErrorKind::AlreadyExists => ExporterError::NoSocket { address },
        _ => ExporterError::Bind { address, source },
    }
}
