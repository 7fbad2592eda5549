//! Reads certificate signing requests: of one, only the public key is taken, after proof that its sender holds the
//! private key. Names and extensions in it are ignored; the server sets its own.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::hosts::host::KeyDigest;

/// An RSA-4096 request is under 2 KiB; the rest is room for names.
pub const CSR_BYTES_MAX: usize = 16 * 1024;
/// The range of RSA keys that TLS peers accept and that are cheap to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// A request whose signature has been verified.
#[derive(Debug)]
pub struct Csr {
    public_key_der: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("is not a PEM certificate signing request")]
    Garbage,
    #[error("is not signed by its own key")]
    BadSignature,
    #[error("asks for a CA certificate")]
    Authority,
    #[error(
        "has a key that is not accepted: use ECDSA P-256 or P-384, Ed25519 or RSA of 2048 to 4096 bits"
    )]
    WeakKey,
}

impl Csr {
    pub fn parse(pem: &str) -> Result<Self, CsrError> {
        if pem.len() > CSR_BYTES_MAX {
            return Err(CsrError::Garbage);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CsrError::Garbage)?;
        let (rest, csr) =
            X509CertificationRequest::from_der(&der).map_err(|_| CsrError::Garbage)?;
        if !rest.is_empty() {
            return Err(CsrError::Garbage);
        }
        let key = &csr.certification_request_info.subject_pki;
        // Before the signature: a weak key's signature proves nothing.
        if !is_accepted(key) {
            return Err(CsrError::WeakKey);
        }
        csr.verify_signature().map_err(|_| CsrError::BadSignature)?;
        let asks_for_ca = csr.requested_extensions().is_some_and(|mut extensions| {
            extensions.any(|extension| {
                matches!(extension, ParsedExtension::BasicConstraints(constraints) if constraints.ca)
            })
        });
        if asks_for_ca {
            return Err(CsrError::Authority);
        }
        Ok(Self {
            public_key_der: key.raw.to_vec(),
        })
    }

    /// The public key as DER (SubjectPublicKeyInfo).
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    pub fn key_digest(&self) -> KeyDigest {
        digest_of(&self.public_key_der)
    }
}

pub(super) fn digest_of(public_key_der: &[u8]) -> KeyDigest {
    KeyDigest(Sha256::digest(public_key_der).into())
}

fn is_accepted(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref();
        return curve
            .and_then(|parameters| parameters.as_oid().ok())
            .is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return match key.parsed() {
            Ok(PublicKey::RSA(key)) => RSA_BITS.contains(&key.key_size()),
            // Any other shape under the RSA name is malformed.
            Ok(_) | Err(_) => false,
        };
    }
    *algorithm == OID_SIG_ED25519
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};

    /// A self-signed request of a 512-bit RSA key, made with a general-purpose TLS tool.
    const RSA_512: &str = include_str!("csr/rsa-512.pem");

    fn request(change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, String) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        change(&mut parameters);
        let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
        (key, pem)
    }

    #[test]
    fn an_ordinary_request_gives_its_key() {
        let (key, pem) = request(|parameters| {
            let name = SanType::DnsName("db.example".try_into().unwrap());
            parameters.subject_alt_names.push(name);
        });
        let csr = Csr::parse(&pem).unwrap();
        assert!(csr.public_key_der().ends_with(key.public_key_raw()));
        assert_eq!(csr.key_digest(), digest_of(csr.public_key_der()));
    }

    #[test]
    fn every_accepted_kind_of_key_is_accepted() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let request = CertificateParams::default()
                .serialize_request(&key)
                .unwrap();
            assert!(Csr::parse(&request.pem().unwrap()).is_ok(), "{algorithm:?}");
        }
    }

    #[test]
    fn a_request_for_an_authority_is_refused() {
        let (_, pem) = request(|parameters| {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        assert_eq!(Csr::parse(&pem).unwrap_err(), CsrError::Authority);
    }

    #[test]
    fn a_changed_request_no_longer_verifies() {
        let (_, pem) = request(|_| {});
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut bytes = der.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(parse_der(&bytes).unwrap_err(), CsrError::BadSignature);
    }

    #[test]
    fn a_weak_key_is_refused() {
        assert_eq!(Csr::parse(RSA_512).unwrap_err(), CsrError::WeakKey);
    }

    #[test]
    fn garbage_is_refused() {
        let (_, pem) = request(|_| {});
        let cut = &pem[..pem.len() / 2];
        let long = format!("{pem}{}", " ".repeat(CSR_BYTES_MAX));
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE REQUEST-----",
            cut,
            &long,
        ] {
            assert_eq!(Csr::parse(text).unwrap_err(), CsrError::Garbage);
        }
    }

    proptest! {
        /// A few bytes of the envelope may be written in more than one way; what is signed may not.
        #[test]
        fn no_change_of_one_byte_gets_another_key_in(at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
            let (key, pem) = request(|_| {});
            let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap();
            let mut bytes = der.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(csr) = parse_der(&bytes) {
                prop_assert!(csr.public_key_der().ends_with(key.public_key_raw()));
            }
        }
    }

    fn parse_der(der: &[u8]) -> Result<Csr, CsrError> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
        );
        Csr::parse(&pem)
    }
}
