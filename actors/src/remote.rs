// SPDX-License-Identifier: Apache-2.0
//! From flags to a client: which daemon is meant where nobody names one. Asks nobody yet.

use crate::cli::{self, Options};
use crate::client::{Client, ClientError, Connection, Endpoint};
use config::Loaded;
use exporter::{Address, ExporterConfig};
use std::ffi::OsString;

/// A client for the daemon that `--from` names, or for this machine's own, where its configuration says that it listens.
///
/// # Errors
/// When an option cannot be used, or the configuration is wrong.
pub fn client(
    connection: &Connection,
    options: &Options,
    environment: Vec<(OsString, OsString)>,
) -> Result<Client, ClientError> {
    let endpoint = match &connection.from {
        Some(endpoint) => endpoint.clone(),
        None => {
            let loaded = cli::load(options, environment);
            own(&loaded.map_err(|problems| ClientError::Setup(problems.to_string()))?)?
        }
    };
    Client::open(connection, endpoint)
}

/// Where this machine's daemon listens.
///
/// # Errors
/// When its configuration names no address.
pub fn own(loaded: &Loaded) -> Result<Endpoint, ClientError> {
    let exporter: ExporterConfig = loaded
        .section("exporter")
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    let addresses = exporter.listen.addresses();
    // A socket file asks for no password, and belongs to this machine for sure.
    let file = addresses.iter().find_map(|address| match address {
        Address::Unix(path) => Some(Endpoint::Unix(path.clone())),
        Address::Tcp(_) => None,
    });
    let endpoint = file.or_else(|| match addresses.first()? {
        Address::Tcp(address) => Endpoint::listening(*address),
        Address::Unix(_) => None,
    });
    endpoint.ok_or_else(|| {
        ClientError::Setup("exporter.listen names no address; say where with --from".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_address_this_machines_own_daemon_is_asked_where_it_is_told_to_listen() {
        let at = |listen: &str| {
            let options = Options {
                listen: Some(listen.to_owned()),
                ..Options::default()
            };
            let client = client(&Connection::default(), &options, Vec::new());
            client.map(|client| client.endpoint().to_string())
        };
        assert_eq!(at("0.0.0.0:9100,10.0.0.1:1").unwrap(), "http://127.0.0.1:9100");
        assert_eq!(
            at("0.0.0.0:9100,unix:/run/kepler/kepler.sock").unwrap(),
            "unix:/run/kepler/kepler.sock"
        );
        assert!(matches!(at("nowhere"), Err(ClientError::Setup(words)) if words.contains("exporter.listen")));
    }
}
