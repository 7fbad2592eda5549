//! TLS towards the server: who is trusted, and who we are. Before enrollment trust comes from a file or from a
//! fingerprint in the token; never from the first answer.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{0} holds no certificate")]
    NoCertificate(&'static str),
    #[error("the private key cannot be read")]
    BadKey,
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Whose certificates the server may show.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Signed by one of these authorities.
    Authorities(RootCertStore),
    /// Signed by the authority whose certificate (DER) has this SHA-256; the server must send it along.
    Fingerprint([u8; 32]),
}

impl Trust {
    /// Trusts the authorities in this PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "the CA file")? {
            roots.add(certificate)?;
        }
        Ok(Self::Authorities(roots))
    }
}

/// The settings of a connection. `identity` is our certificate chain and key, both PEM.
pub fn client_config(
    trust: Trust,
    identity: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder =
        match trust {
            Trust::Authorities(roots) => builder.with_root_certificates(roots),
            Trust::Fingerprint(fingerprint) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(FingerprintVerifier {
                    fingerprint,
                    provider,
                })),
        };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain, "the agent's certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::BadKey)?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// All certificates of a PEM text, at least one. `what` names the text in the error.
pub fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or(TlsError::NoCertificate(what))
}

/// Accepts a chain that holds the certificate with the fingerprint and verifies against it.
#[derive(Debug)]
struct FingerprintVerifier {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl FingerprintVerifier {
    fn authority<'a>(&self, shown: &'a [CertificateDer<'a>]) -> Option<&'a CertificateDer<'a>> {
        shown
            .iter()
            .find(|certificate| Sha256::digest(certificate).as_slice() == self.fingerprint)
    }
}

impl ServerCertVerifier for FingerprintVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = self.authority(intermediates) else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(issuer: &CertifiedIssuer<'static, KeyPair>) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["fleet.test".to_owned()]).unwrap();
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    fn verify(
        fingerprint: [u8; 32],
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &str,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = FingerprintVerifier {
            fingerprint,
            provider,
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now =
            UnixTime::since_unix_epoch(std::time::Duration::from_millis(crate::clock::unix_ms()));
        verifier.verify_server_cert(end_entity, others, &name, &[], now)
    }

    #[test]
    fn only_a_chain_that_ends_in_the_pinned_authority_is_accepted() {
        let (ours, theirs) = (authority(), authority());
        let pin: [u8; 32] = Sha256::digest(ours.der()).into();
        let good = leaf(&ours);
        let ours_der = ours.der().clone();
        assert!(verify(pin, &good, std::slice::from_ref(&ours_der), "fleet.test").is_ok());
        assert!(
            verify(pin, &good, &[], "fleet.test").is_err(),
            "the authority was not shown"
        );
        assert!(
            verify(pin, &good, std::slice::from_ref(&ours_der), "other.test").is_err(),
            "another name"
        );
        // Showing the pinned certificate is no proof: the leaf must be signed by it.
        let forged = leaf(&theirs);
        let shown = [theirs.der().clone(), ours_der];
        assert!(
            verify(pin, &forged, &shown, "fleet.test").is_err(),
            "signed by another authority"
        );
        let other_pin: [u8; 32] = Sha256::digest(theirs.der()).into();
        assert!(verify(other_pin, &good, &shown, "fleet.test").is_err());
    }
}
