// SPDX-License-Identifier: Apache-2.0
//! Whether a certificate is the BMC's: owns the four ways to decide that, and what is read from `ca_file`.

use super::config::Trust;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedCipherSuite,
};
use std::path::Path;
use std::sync::Arc;

/// The TLS settings of a client that trusts so. The reason why not is for people.
pub(super) fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::System => Arc::new(
            rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
                .map_err(|error| format!("{error}; set sources.redfish.ca_file or fingerprint"))?,
        ),
        Trust::Authority(file) => {
            let roots = Arc::new(authorities(file)?);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| format!("{}: {error}", file.display()))?
        }
        Trust::Pinned(digest) => Arc::new(Chosen {
            pinned: Some(*digest),
            provider: Arc::clone(&provider),
        }),
        Trust::Nobody => Arc::new(Chosen {
            pinned: None,
            provider: Arc::clone(&provider),
        }),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let words = |problem: &dyn std::fmt::Display| format!("ca_file {}: {problem}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| words(&error))? {
        let certificate = certificate.map_err(|error| words(&error))?;
        roots.add(certificate).map_err(|error| words(&error))?;
    }
    if roots.is_empty() {
        return Err(words(&"holds no certificate (PEM, BEGIN CERTIFICATE)"));
    }
    Ok(roots)
}

/// Accepts one certificate, or every one. What is proven in both cases is that the other side has the key of the certificate
/// that it shows.
#[derive(Debug)]
struct Chosen {
    pinned: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Chosen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(pinned) = self.pinned else {
            return Ok(ServerCertVerified::assertion());
        };
        let shown = sha256(certificate);
        if shown == pinned {
            return Ok(ServerCertVerified::assertion());
        }
        let digits: Vec<_> = shown.iter().map(|byte| format!("{byte:02X}")).collect();
        let words = "its certificate is not the one in sources.redfish.fingerprint; its SHA-256 is";
        Err(Error::General(format!("{words} {}", digits.join(":"))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// SHA-256, by the hash of a cipher suite that names it: TLS brings one along.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    if let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 {
        let hash = suite.common.hash_provider.hash(bytes);
        for (to, from) in digest.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, B.1.
        let digits: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            digits,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_file_without_certificates_is_told_by_its_name() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("ca.pem");
        let missing = client_config(&Trust::Authority(file.clone())).expect_err("not there");
        assert!(
            missing.contains("ca.pem") && missing.contains("No such file"),
            "{missing}"
        );
        std::fs::write(&file, "hello").expect("a file");
        let empty = client_config(&Trust::Authority(file.clone())).expect_err("no certificate");
        assert!(empty.contains("BEGIN CERTIFICATE"), "{empty}");
        std::fs::write(
            &file,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .expect("a file");
        let broken = client_config(&Trust::Authority(file)).expect_err("no certificate inside");
        assert!(broken.contains("ca.pem"), "{broken}");
    }
}
