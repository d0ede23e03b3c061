// SPDX-License-Identifier: Apache-2.0
//! What can go wrong while telling: listening, and writing JSON. Rendering text cannot fail.

use crate::config::Address;
use std::io;
use std::path::PathBuf;

/// An error of the exporter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// Somebody else listens there.
    #[error("address {address} is in use; set exporter.listen or KEPLER_EXPORTER__LISTEN")]
    AddressInUse {
        /// As configured.
        address: Address,
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
        address: Address,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// There is a file where the socket should be, and it is no socket.
    #[error(
        "cannot listen on {address}: there is a file that is no socket; remove it, or set exporter.listen to another path"
    )]
    NoSocket {
        /// As configured.
        address: Address,
    },
    /// A listener could not be handed to the runtime.
    #[error("cannot accept connections on a bound address")]
    Listener(#[source] io::Error),
    /// The web configuration, or a file that it names, cannot be used.
    #[error("exporter.web_config: {}: {reason}", path.display())]
    WebConfig {
        /// The web configuration.
        path: PathBuf,
        /// What is wrong, what is allowed and what to do; a line each.
        reason: String,
    },
    /// The bearer tokens cannot be used.
    #[error("exporter.bearer_token_file: {}: {reason}", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// An accept loop ended before it was told to.
    #[error("the http server ended before it was told to")]
    Ended(#[source] Option<tokio::task::JoinError>),
    /// The snapshot did not become JSON.
    #[error("cannot write the snapshot as json")]
    Json(#[source] serde_json::Error),
}
