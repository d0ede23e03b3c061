// SPDX-License-Identifier: Apache-2.0
//! What a server of a test shows for itself: certificates made for that test.

use super::Certificate;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedCipherSuite};
use std::sync::Arc;

/// A server's TLS settings, who signed its certificate (PEM), and its fingerprint.
pub(crate) fn identity(certificate: Certificate) -> (Arc<ServerConfig>, String, String) {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let (leaf, ca) = if certificate == Certificate::SelfSigned {
        let leaf = params.self_signed(&key).expect("a certificate");
        let ca = leaf.pem();
        (leaf, ca)
    } else {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name = DistinguishedName::new();
        authority
            .distinguished_name
            .push(DnType::CommonName, "the authority of a test");
        let authority_key = KeyPair::generate().expect("a key");
        let ca = authority
            .self_signed(&authority_key)
            .expect("a certificate")
            .pem();
        let issuer = Issuer::new(authority, authority_key);
        (params.signed_by(&key, &issuer).expect("a certificate"), ca)
    };
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    (Arc::new(config), ca, fingerprint(leaf.der()))
}

fn fingerprint(certificate: &[u8]) -> String {
    let SupportedCipherSuite::Tls13(suite) = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
    else {
        panic!("a suite of TLS 1.3 is of TLS 1.3");
    };
    let digest = suite.common.hash_provider.hash(certificate);
    let digits: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(":")
}
