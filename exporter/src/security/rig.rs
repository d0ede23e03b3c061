// SPDX-License-Identifier: Apache-2.0
//! Certificates and clients for the tests: an authority, what it signs, and a client that trusts it.

use crate::http::rig::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: String,
}

/// A certificate and its key in PEM form.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn signs(&self, names: &[SanType]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// For `localhost`.
    pub(crate) fn signs_server(&self) -> Identity {
        self.signs(&[SanType::DnsName("localhost".try_into().unwrap())])
    }

    /// A client that trusts this authority and no other.
    pub(crate) fn client(&self) -> Client {
        Client {
            roots: self.certificate.clone(),
            identity: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
        }
    }
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`, each whole under another name first, as tools that renew do.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        for (ending, text) in [("crt", &self.certificate), ("key", &self.key)] {
            let hidden = folder.join(format!(".{name}.{ending}"));
            std::fs::write(&hidden, text).unwrap();
            std::fs::rename(hidden, folder.join(format!("{name}.{ending}"))).unwrap();
        }
    }
}

/// A client.
#[derive(Clone)]
pub(crate) struct Client {
    roots: String,
    pub(crate) identity: Option<Identity>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
}

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    pub(crate) fn with(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// A connection whose handshake is done, as far as the client can tell.
    pub(crate) fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.roots.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        while client.is_handshaking() {
            client.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(client, socket))
    }

    /// The answer to `GET path`, or why there is none.
    pub(crate) fn get(&self, address: SocketAddr, path: &str, headers: &str) -> std::io::Result<String> {
        use std::io::{Read, Write};
        let mut stream = self.connect(address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n{headers}\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
