// SPDX-License-Identifier: Apache-2.0
//! What certificates of clients are held against: an authority, where that is asked for, and the names that may come in. That
//! a client has the key of its certificate is checked in any case.

use super::file::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// See the module's head.
#[derive(Debug)]
struct Verifier {
    /// The authorities; `None` where any certificate will do.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    is_mandatory: bool,
    /// Names of which a certificate has to have one; `None` where any may come.
    names: Option<Vec<String>>,
    /// Authorities to tell clients of, so that they choose the right certificate.
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who holds certificates against what `asked` says.
///
/// # Errors
///
/// Where the authorities cannot be used.
pub(super) fn verifier(
    asked: ClientAuth,
    roots: RootCertStore,
    names: Option<Vec<String>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let hints = roots.subjects();
    let chain = if asked.verifies() {
        let roots = Arc::new(roots);
        Some(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?)
    } else {
        None
    };
    Ok(Arc::new(Verifier {
        chain,
        is_mandatory: asked.is_mandatory(),
        names,
        hints,
        algorithms: provider.signature_verification_algorithms,
    }))
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        match &self.names {
            Some(names) if !has_one_of(end_entity, names) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether one of the certificate's subject alternative names (DNS, e-mail, URI, IP) is, to the letter, one of `names`.
fn has_one_of(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return false;
    };
    let is_listed = |name: &str| names.iter().any(|listed| listed == name);
    extension.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            is_listed(name)
        }
        GeneralName::IPAddress(bytes) => {
            address(bytes).is_some_and(|address| is_listed(&address.to_string()))
        }
        _ => false,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
