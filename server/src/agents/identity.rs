//! Who an agent is: its client certificate, verified in the TLS handshake to be signed by our authority, and read here.
//! The handshake does not look at the dates, because an expired certificate may still renew; whoever uses the identity
//! decides with `generations`.

use std::str::FromStr as _;
use std::sync::Arc;

use fleetwright_protocol::HostId;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::csr::digest_of;
use super::generations::Presented;
use crate::hosts::host::Issued;

const URN: &str = "urn:fleetwright:host:";

/// What a verified client certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentCertificate {
    pub host_id: HostId,
    pub presented: Presented,
}

impl AgentCertificate {
    /// `None` if it is not one of the form that the authority signs for hosts.
    pub fn parse(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let (host_id, generation) = named_host(&parsed)?;
        let not_after_us = parsed
            .validity()
            .not_after
            .timestamp()
            .checked_mul(1_000_000)?;
        Some(Self {
            host_id,
            presented: Presented {
                issued: Issued {
                    generation,
                    key: digest_of(parsed.public_key().raw),
                },
                not_after_us,
            },
        })
    }
}

/// The name under which a certificate is issued.
pub(super) fn urn(host: HostId, generation: i64) -> String {
    format!("{URN}{host}:{generation}")
}

/// A certificate's public key (SubjectPublicKeyInfo as DER).
pub(super) fn public_key_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.public_key().raw.to_vec())
}

/// Verifies agents' certificates against the authority. A client may also come without one, to enroll.
#[derive(Debug)]
pub struct AgentVerifier {
    chain: Arc<dyn ClientCertVerifier>,
}

impl AgentVerifier {
    pub fn new(
        authority: &CertificateDer<'static>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { chain })
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|_| bad())?;
        let issued_at =
            u64::try_from(parsed.validity().not_before.timestamp()).map_err(|_| bad())?;
        let issued_at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(issued_at));
        // Everything but the dates: as it was when the certificate became valid.
        self.chain
            .verify_client_cert(end_entity, intermediates, issued_at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn named_host(certificate: &X509Certificate<'_>) -> Option<(HostId, i64)> {
    let names = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        return None;
    };
    let (host, generation) = uri.strip_prefix(URN)?.split_once(':')?;
    let host = HostId::from_str(host).ok()?;
    let generation = generation
        .parse()
        .ok()
        .filter(|generation| *generation > 0)?;
    // Exactly the one text form, so that nothing else can stand for this host.
    (urn(host, generation) == *uri).then_some((host, generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::authority::Authority;
    use crate::agents::authority::tests::{NOW, csr};
    use rcgen::{CertificateParams, KeyPair, SanType};
    use rustls_pki_types::pem::PemObject as _;
    use std::time::Duration;
    use uuid::Uuid;

    fn with_names(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().clone()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn only_the_one_text_form_names_a_host() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        let good = format!("{URN}{id}:3");
        let read = AgentCertificate::parse(&with_names(vec![uri(&good)])).unwrap();
        assert_eq!(read.host_id.to_string(), id);
        assert_eq!(read.presented.issued.generation, 3);
        let upper = format!("{URN}{}:3", id.to_uppercase());
        for bad in [
            format!("{URN}{id}"),
            format!("{URN}{id}:0"),
            format!("{URN}{id}:-1"),
            format!("{URN}{id}:+3"),
            format!("{URN}{id}:03"),
            format!("{URN}{id}:3:4"),
            format!("{URN}x:3"),
            format!("urn:other:host:{id}:3"),
            upper,
        ] {
            assert_eq!(
                AgentCertificate::parse(&with_names(vec![uri(&bad)])),
                None,
                "{bad}"
            );
        }
        assert_eq!(AgentCertificate::parse(&with_names(vec![])), None);
        let two = with_names(vec![uri(&good), uri(&good.replace(":3", ":4"))]);
        assert_eq!(AgentCertificate::parse(&two), None);
    }

    #[test]
    fn our_certificates_verify_even_when_expired_and_foreign_ones_never() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [ours, theirs] = folders
            .each_ref()
            .map(|folder| Authority::open(folder.path(), NOW).unwrap());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = AgentVerifier::new(ours.certificate(), provider).unwrap();
        let host = HostId(Uuid::from_u128(1));
        let (_, csr) = csr();
        let years_later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(4_000_000_000));
        let verify = |authority: &Authority| {
            let pem = authority
                .sign_client(&csr, host, 1, NOW, Duration::from_secs(3600))
                .unwrap();
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            verifier.verify_client_cert(&der, &[], years_later).is_ok()
        };
        assert!(verify(&ours));
        assert!(!verify(&theirs));
        // The agent port's own certificate is no client certificate.
        let server = ours.server_certificate(&[], NOW).unwrap();
        assert!(
            verifier
                .verify_client_cert(&server.cert[0], &[], years_later)
                .is_err()
        );
    }
}
