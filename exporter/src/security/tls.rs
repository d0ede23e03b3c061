// SPDX-License-Identifier: Apache-2.0
//! From `tls_server_config` to what rustls serves with. Cryptography is ring's, as of the clients in this program; TLS 1.2
//! and 1.3. Whatever is wrong is an error: there is no way from here to a server without TLS.

use super::clients;
use super::file::{ClientAuth, Known, Pem, TlsSection, Version};
use super::shelf::Shelf;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use std::fmt;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Go's names of the suites, which the file has, and ours. Those of TLS 1.3 cannot be chosen, in Go neither.
fn suites() -> [(&'static str, SupportedCipherSuite); 9] {
    use ring::cipher_suite as ours;
    [
        (
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            ours::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            ours::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            ours::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        (
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ours::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ours::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            ours::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        ("TLS_AES_128_GCM_SHA256", ours::TLS13_AES_128_GCM_SHA256),
        ("TLS_AES_256_GCM_SHA384", ours::TLS13_AES_256_GCM_SHA384),
        (
            "TLS_CHACHA20_POLY1305_SHA256",
            ours::TLS13_CHACHA20_POLY1305_SHA256,
        ),
    ]
}

fn curves() -> [(&'static str, &'static dyn SupportedKxGroup); 3] {
    [
        ("X25519", ring::kx_group::X25519),
        ("CurveP256", ring::kx_group::SECP256R1),
        ("CurveP384", ring::kx_group::SECP384R1),
    ]
}

/// Names of suites, and of curves, that may be written.
pub(super) fn known() -> Known {
    Known {
        suites: suites().map(|(name, _)| name).to_vec(),
        curves: curves().map(|(name, _)| name).to_vec(),
    }
}

/// What is served with.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: ClientAuth,
    /// Whether a client's certificate has to have one of some names.
    pub(super) names: bool,
    /// Unix time in seconds at which the certificate ends.
    pub(super) ends: i64,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("clients", &self.clients)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// # Errors
///
/// The key to blame, the file, and why it cannot be used.
pub(super) fn build(section: &TlsSection, shelf: &mut Shelf) -> Result<Tls, String> {
    let chain = certificates("cert", &section.cert, shelf)?;
    let first = chain.first().ok_or_else(|| "cert: empty".to_owned())?;
    let of = place("cert", &section.cert);
    let (_, certificate) = X509Certificate::from_der(first).map_err(|error| format!("{of}: {error}"))?;
    let ends = certificate.validity().not_after.timestamp();
    let key = private_key(&section.key, shelf)?;
    let provider = Arc::new(provider(section));
    let verifier = match section.clients {
        ClientAuth::None => None,
        asked => {
            let roots = authorities(section.client_ca.as_ref(), shelf)?;
            let names = section.client_names.clone();
            let verifier = clients::verifier(asked, roots, names, &provider);
            Some(verifier.map_err(|error| format!("tls_server_config.client_ca_file: {error}"))?)
        }
    };
    let wanted = |error: rustls::Error| format!("tls_server_config: {error}");
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(section))
        .map_err(wanted)?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let (key, cert) = (place("key", &section.key), place("cert", &section.cert));
                format!("{key}: not the key of the certificate in {cert}")
            }
            error => format!("{}: {error}", place("key", &section.key)),
        })?;
    if section.clients.verifies() {
        // A resumed session is not verified again: whose certificate has run out would come in until the next change here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.ignore_client_order = section.prefers_own_suites;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls {
        config: Arc::new(config),
        clients: section.clients,
        names: section.client_names.is_some(),
        ends,
    })
}

fn provider(section: &TlsSection) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(wanted) = &section.suites {
        let newest = provider
            .cipher_suites
            .iter()
            .copied()
            .filter(|suite| suite.tls13().is_some());
        let named = wanted.iter().filter_map(|name| find(&suites(), name));
        provider.cipher_suites = newest
            .chain(named.filter(|suite| suite.tls13().is_none()))
            .collect();
    }
    if let Some(wanted) = &section.curves {
        provider.kx_groups = wanted.iter().filter_map(|name| find(&curves(), name)).collect();
    }
    provider
}

fn find<T: Copy>(table: &[(&str, T)], wanted: &str) -> Option<T> {
    table
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, found)| *found)
}

fn versions(section: &TlsSection) -> Vec<&'static SupportedProtocolVersion> {
    let all = [
        (Version::Tls13, &rustls::version::TLS13),
        (Version::Tls12, &rustls::version::TLS12),
    ];
    let wanted = all
        .into_iter()
        .filter(|(version, _)| (section.oldest..=section.newest).contains(version));
    wanted.map(|(_, version)| version).collect()
}

/// Where something is, as the file has it.
fn place(key: &str, pem: &Pem) -> String {
    match pem {
        Pem::File(path) => format!("tls_server_config.{key}_file: {}", path.display()),
        Pem::Inline(_) => format!("tls_server_config.{key}"),
    }
}

fn bytes(key: &str, pem: &Pem, shelf: &mut Shelf) -> Result<Vec<u8>, String> {
    match pem {
        Pem::File(path) => shelf
            .read(path)
            .map_err(|error| format!("{}: {error}", place(key, pem))),
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
    }
}

fn certificates(key: &str, pem: &Pem, shelf: &mut Shelf) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes(key, pem, shelf)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let wrong = |why: &str| {
        format!(
            "{}: {why}; a certificate in PEM form begins with -----BEGIN CERTIFICATE-----",
            place(key, pem)
        )
    };
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong("there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

fn private_key(pem: &Pem, shelf: &mut Shelf) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = bytes("key", pem, shelf)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            rustls::pki_types::pem::Error::NoItemsFound => "there is no private key in it".to_owned(),
            error => error.to_string(),
        };
        // Encrypted ones are of that kind, too: nobody is there who could be asked for the passphrase.
        format!(
            "{}: {why}; a key without passphrase in PEM form begins with -----BEGIN PRIVATE KEY-----",
            place("key", pem)
        )
    })
}

fn authorities(pem: Option<&Pem>, shelf: &mut Shelf) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        return Ok(roots);
    };
    for certificate in certificates("client_ca", pem, shelf)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", place("client_ca", pem)))?;
    }
    Ok(roots)
}
