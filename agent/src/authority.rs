//! Whom an answer of the server may make this agent trust: an authority that it trusts already, or one that such an
//! authority has signed; and only with a certificate for this host's own key and id. Whoever has the agent port for a while
//! must not have the host for ever. Pure.

use fleetwright_protocol::HostId;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls;

/// An installation has one authority, and two while it changes it.
const AUTHORITIES_MAX: usize = 8;
/// What the server writes into an agent's certificate: this, the host's id, `:`, the generation.
const URN: &str = "urn:fleetwright:host:";

/// What is trusted before the answer.
pub enum Trusted<'a> {
    /// Certificates of authorities, PEM.
    Authorities(&'a [u8]),
    /// The SHA-256 of the certificate (DER) of one.
    Fingerprint([u8; 32]),
}

/// The part of an answer that is believed or not.
pub struct Answer<'a> {
    pub host_id: HostId,
    pub generation: i64,
    pub certificate_pem: &'a str,
    pub ca_pem: &'a str,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    #[error("it names a certificate authority that the one trusted so far has not signed")]
    Stranger,
    #[error("what it names as a certificate authority is none")]
    NoAuthority,
    #[error("the certificate is for another key than this host's")]
    OtherKey,
    #[error("the certificate is not for host {0} in generation {1}")]
    OtherHost(HostId, i64),
    #[error("the certificate is not signed by the authority that is trusted")]
    NotSigned,
}

/// Whether the answer may be used by the owner of this key. What it says of time is not looked at: the host's own clock may
/// be the wrong one.
pub fn check(trusted: &Trusted<'_>, key_pem: &str, answer: &Answer<'_>) -> Result<(), Untrusted> {
    let new = certificates(answer.ca_pem.as_bytes(), "the authority's certificate")?;
    let known = match trusted {
        Trusted::Authorities(pem) => certificates(pem, "the certificate of the trusted authority")?,
        Trusted::Fingerprint(pin) => {
            let pinned = new.iter().find(|der| Sha256::digest(der).as_slice() == pin);
            vec![pinned.ok_or(Untrusted::Stranger)?.clone()]
        }
    };
    let known = parsed(&known, "the certificate of the trusted authority")?;
    let new = parsed(&new, "the authority's certificate")?;
    if new.is_empty() || new.len() > AUTHORITIES_MAX {
        return Err(Untrusted::Unreadable("the authority's certificate"));
    }
    for authority in &new {
        if known
            .iter()
            .any(|known| known.as_raw() == authority.as_raw())
        {
            continue;
        }
        if !signs(authority) {
            return Err(Untrusted::NoAuthority);
        }
        let vouched = |known: &X509Certificate<'_>| {
            known.public_key().raw == authority.public_key().raw || is_signed_by(authority, known)
        };
        if !known.iter().any(vouched) {
            return Err(Untrusted::Stranger);
        }
    }
    check_own(&new, key_pem, answer)
}

fn check_own(
    authorities: &[X509Certificate<'_>],
    key_pem: &str,
    answer: &Answer<'_>,
) -> Result<(), Untrusted> {
    const WHAT: &str = "the new certificate";
    let chain = certificates(answer.certificate_pem.as_bytes(), WHAT)?;
    let chain = parsed(chain.get(..1).unwrap_or_default(), WHAT)?;
    let own = chain.first().ok_or(Untrusted::Unreadable(WHAT))?;
    let key = KeyPair::from_pem(key_pem).map_err(|_| Untrusted::Unreadable("this host's key"))?;
    if own.public_key().subject_public_key.data != key.public_key_raw() {
        return Err(Untrusted::OtherKey);
    }
    if !authorities
        .iter()
        .any(|authority| is_signed_by(own, authority))
    {
        return Err(Untrusted::NotSigned);
    }
    let name = format!("{URN}{}:{}", answer.host_id, answer.generation);
    let is_named = own.subject_alternative_name().ok().flatten().is_some_and(|names| {
        matches!(names.value.general_names.as_slice(), [GeneralName::URI(found)] if *found == name)
    });
    if is_named && !own.is_ca() {
        Ok(())
    } else {
        Err(Untrusted::OtherHost(answer.host_id, answer.generation))
    }
}

/// Whether a certificate may stand for others at all.
fn signs(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage();
    let may_sign = usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    certificate.is_ca() && may_sign
}

/// Whether this authority's key has signed it. Which of the algorithms it was need not be looked up: a signature that holds
/// under one of them was made with the key.
fn is_signed_by(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = &authority.public_key().subject_public_key.data;
    let signed = certificate.tbs_certificate.as_ref();
    let signature = &certificate.signature_value.data;
    let mut algorithms = provider.signature_verification_algorithms.all.iter();
    certificate.issuer() == authority.subject()
        && algorithms.any(|algorithm| algorithm.verify_signature(key, signed, signature).is_ok())
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, Untrusted> {
    tls::certificates(pem, what).map_err(|_| Untrusted::Unreadable(what))
}

fn parsed<'a>(
    ders: &'a [CertificateDer<'_>],
    what: &'static str,
) -> Result<Vec<X509Certificate<'a>>, Untrusted> {
    let each = ders.iter().map(|der| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Untrusted::Unreadable(what)),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyUsagePurpose,
        SanType,
    };

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    const HOST: &str = "01890000-0000-7000-8000-00000000000a";
    const OTHER: &str = "01890000-0000-7000-8000-00000000000b";

    fn authority_params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn authority(name: &str) -> Authority {
        CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
    }

    fn own(name: &str, key: &KeyPair, issuer: &Authority) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.signed_by(key, issuer).unwrap().pem()
    }

    fn judged(
        trusted: &Trusted<'_>,
        key: &KeyPair,
        certificate_pem: &str,
        ca_pem: &str,
    ) -> Result<(), Untrusted> {
        let answer = Answer {
            host_id: HOST.parse().unwrap(),
            generation: 2,
            certificate_pem,
            ca_pem,
        };
        check(trusted, &key.serialize_pem(), &answer)
    }

    #[test]
    fn an_authority_is_trusted_only_if_the_old_one_signed_it() {
        let (old, stranger) = (authority("old"), authority("stranger"));
        let name = format!("{URN}{HOST}:2");
        let key = KeyPair::generate().unwrap();
        let next_key = || KeyPair::generate().unwrap();
        // Signed by the old one; the old one's key under another name; a host's certificate; the old one's name alone.
        let crossed =
            CertifiedIssuer::signed_by(authority_params("next"), next_key(), &old).unwrap();
        let same_key = KeyPair::from_pem(&old.key().serialize_pem()).unwrap();
        let renamed = CertifiedIssuer::self_signed(authority_params("renamed"), same_key).unwrap();
        let mut no_authority = CertificateParams::default();
        no_authority.is_ca = IsCa::ExplicitNoCa;
        let leaf = CertifiedIssuer::signed_by(no_authority, next_key(), &old).unwrap();
        let namesake = authority("old");
        let by_namesake =
            CertifiedIssuer::signed_by(authority_params("next"), next_key(), &namesake).unwrap();
        let old_pem = old.pem();
        let pin: [u8; 32] = Sha256::digest(old.der()).into();
        let both = |one: &Authority, other: &Authority| [one.pem(), other.pem()].concat();
        for (what, ca_pem, issuer, expected) in [
            ("as before", old.pem(), &old, Ok(())),
            ("the next beside it", both(&old, &crossed), &old, Ok(())),
            (
                "the next beside it, in use",
                both(&old, &crossed),
                &crossed,
                Ok(()),
            ),
            ("the old key", both(&old, &renamed), &renamed, Ok(())),
            (
                "another",
                stranger.pem(),
                &stranger,
                Err(Untrusted::Stranger),
            ),
            (
                "another beside it",
                both(&old, &stranger),
                &old,
                Err(Untrusted::Stranger),
            ),
            (
                "of its name",
                both(&old, &namesake),
                &namesake,
                Err(Untrusted::Stranger),
            ),
            (
                "signed by its namesake",
                both(&old, &by_namesake),
                &by_namesake,
                Err(Untrusted::Stranger),
            ),
            (
                "a host",
                both(&old, &leaf),
                &old,
                Err(Untrusted::NoAuthority),
            ),
            (
                "signed by none of them",
                old.pem(),
                &crossed,
                Err(Untrusted::NotSigned),
            ),
            (
                "signed by another",
                old.pem(),
                &stranger,
                Err(Untrusted::NotSigned),
            ),
            (
                "signed by a namesake",
                old.pem(),
                &namesake,
                Err(Untrusted::NotSigned),
            ),
            (
                "nothing",
                String::new(),
                &old,
                Err(Untrusted::Unreadable("the authority's certificate")),
            ),
        ] {
            let mine = own(&name, &key, issuer);
            for trusted in [
                Trusted::Authorities(old_pem.as_bytes()),
                Trusted::Fingerprint(pin),
            ] {
                let found = judged(&trusted, &key, &mine, &ca_pem);
                // A pinned authority that is not shown is as strange as another one.
                let pinned_only =
                    matches!(trusted, Trusted::Fingerprint(_)) && !ca_pem.contains(&old_pem);
                if pinned_only && !ca_pem.is_empty() {
                    assert_eq!(found, Err(Untrusted::Stranger), "{what}");
                } else {
                    assert_eq!(found, expected, "{what}");
                }
            }
        }
        // The old one may be left behind, once it has signed the next.
        let mine = own(&name, &key, &crossed);
        let trusted = Trusted::Authorities(old_pem.as_bytes());
        assert_eq!(judged(&trusted, &key, &mine, &crossed.pem()), Ok(()));
    }

    #[test]
    fn a_certificate_is_taken_only_for_our_own_key_and_id() {
        let (authority, key) = (authority("ours"), KeyPair::generate().unwrap());
        let ca_pem = authority.pem();
        let trusted = Trusted::Authorities(ca_pem.as_bytes());
        let other = Err(Untrusted::OtherHost(HOST.parse().unwrap(), 2));
        for (name, expected) in [
            (format!("{URN}{HOST}:2"), Ok(())),
            (format!("{URN}{HOST}:3"), other),
            (
                format!("{URN}{OTHER}:2"),
                Err(Untrusted::OtherHost(HOST.parse().unwrap(), 2)),
            ),
            (
                format!("{HOST}:2"),
                Err(Untrusted::OtherHost(HOST.parse().unwrap(), 2)),
            ),
        ] {
            let mine = own(&name, &key, &authority);
            assert_eq!(judged(&trusted, &key, &mine, &ca_pem), expected, "{name}");
            let theirs = own(&name, &KeyPair::generate().unwrap(), &authority);
            assert_eq!(
                judged(&trusted, &key, &theirs, &ca_pem),
                Err(Untrusted::OtherKey)
            );
        }
    }
}
