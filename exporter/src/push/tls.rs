// SPDX-License-Identifier: Apache-2.0
//! The TLS settings of a request: whom we trust, and who we are. Owns what is read from `ca_file`, `cert_file` and `key_file`.

use super::config::RequestConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The settings; the reason why not is for people, and holds nothing of a key.
pub(super) fn client_config(request: &RequestConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if request.ca_file.as_os_str().is_empty() {
        Arc::new(
            rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
                .map_err(|error| format!("{error}; set request.ca_file"))?,
        )
    } else {
        let file = &request.ca_file;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca_file", file)? {
            roots
                .add(certificate)
                .map_err(|error| in_file("ca_file", file, &error))?;
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| in_file("ca_file", file, &error))?
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    if request.cert_file.as_os_str().is_empty() {
        return Ok(config.with_no_client_auth());
    }
    let chain = certificates("cert_file", &request.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&request.key_file)
        .map_err(|error| in_file("key_file", &request.key_file, &error))?;
    config
        .with_client_auth_cert(chain, key)
        .map_err(|error| in_file("key_file", &request.key_file, &error))
}

fn in_file(key: &str, file: &Path, problem: &dyn std::fmt::Display) -> String {
    format!("{key} {}: {problem}", file.display())
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| in_file(key, file, &error))?
        .collect();
    let all = all.map_err(|error| in_file(key, file, &error))?;
    if all.is_empty() {
        return Err(in_file(
            key,
            file,
            &"holds no certificate (PEM, BEGIN CERTIFICATE)",
        ));
    }
    Ok(all)
}
