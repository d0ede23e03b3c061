// SPDX-License-Identifier: Apache-2.0
//! Whether a certificate is the daemon's, and which one is ours.

use super::error::ClientError;
use super::options::Connection;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// TLS as the flags want it. Where no TLS is spoken (`speaks` is false), the system is not asked whom it trusts.
pub(super) fn config(connection: &Connection, speaks: bool) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    let builder = match &connection.ca_file {
        Some(file) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(file)?), provider)
                    .build()
                    .map_err(|error| refused("--ca-file", file, &error))?;
            builder.with_webpki_verifier(verifier)
        }
        None if speaks => {
            let verifier: Arc<dyn ServerCertVerifier> = Arc::new(
                rustls_platform_verifier::Verifier::new(provider).map_err(|error| {
                    ClientError::Setup(format!("{error}; name whom to trust with --ca-file"))
                })?,
            );
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    ours(connection, builder)
}

fn ours(
    connection: &Connection,
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
) -> Result<ClientConfig, ClientError> {
    let (Some(certificate), Some(key)) = (&connection.cert_file, &connection.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("--cert-file", certificate)?;
    // Words about a key never repeat it.
    let key_of = PrivateKeyDer::from_pem_file(key).map_err(|error| refused("--key-file", key, &error))?;
    builder
        .with_client_auth_cert(chain, key_of)
        .map_err(|error| refused("--key-file", key, &error))
}

fn authorities(file: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ca-file", file)? {
        roots
            .add(certificate)
            .map_err(|error| refused("--ca-file", file, &error))?;
    }
    Ok(roots)
}

fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let refuse = |problem: &dyn Display| refused(flag, file, problem);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| refuse(&error))?
        .collect();
    match found.map_err(|error| refuse(&error))? {
        none if none.is_empty() => Err(refuse(&"holds no certificate (PEM, BEGIN CERTIFICATE)")),
        found => Ok(found),
    }
}

fn refused(flag: &str, file: &Path, problem: &dyn Display) -> ClientError {
    ClientError::Setup(format!("{flag} {}: {problem}", file.display()))
}
