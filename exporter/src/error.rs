// SPDX-License-Identifier: Apache-2.0
//! What can go wrong while telling: listening, and writing JSON. Rendering text cannot fail.

use std::io;
use std::net::SocketAddr;

/// An error of the exporter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// Somebody else listens there.
    #[error("address {address} is in use; set exporter.listen or KEPLER_EXPORTER__LISTEN")]
    AddressInUse {
        /// As configured.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel does not let us listen there.
    #[error(
        "cannot listen on {address}; set exporter.listen or KEPLER_EXPORTER__LISTEN to an address of this machine that we may use"
    )]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A listener could not be handed to the runtime.
    #[error("cannot accept connections on a bound address")]
    Listener(#[source] io::Error),
    /// An accept loop ended before it was told to.
    #[error("the http server ended before it was told to")]
    Ended(#[source] Option<tokio::task::JoinError>),
    /// The snapshot did not become JSON.
    #[error("cannot write the snapshot as json")]
    Json(#[source] serde_json::Error),
}
