//! The TLS side of the agent port: our own certificate, made anew when it grows old, and optional client certificates.
//! Connections live for days, so nothing is kept for resuming them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, AuthorityError, SERVER_BACKDATED, SERVER_LIFETIME};
use super::identity::AgentVerifier;

/// The agent port's certificate, replaced while the port is open.
#[derive(Debug)]
pub struct PortCertificate {
    current: ArcSwap<CertifiedKey>,
    names: Vec<String>,
    made_at_us: std::sync::atomic::AtomicI64,
}

impl PortCertificate {
    pub fn new(
        authority: &Authority,
        names: Vec<String>,
        now_us: i64,
    ) -> Result<Arc<Self>, AuthorityError> {
        let certificate = authority.server_certificate(&names, now_us)?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(certificate),
            names,
            made_at_us: now_us.into(),
        }))
    }

    /// Replaces the certificate once two thirds of its life are over, or when the clock was set back so far that it would
    /// soon be one that is not valid yet; returns whether it did.
    pub fn renew_if_due(&self, authority: &Authority, now_us: i64) -> Result<bool, AuthorityError> {
        use std::sync::atomic::Ordering::Relaxed;
        let lifetime_us = i64::try_from(SERVER_LIFETIME.as_micros()).unwrap_or(i64::MAX);
        let set_back_us = i64::try_from(SERVER_BACKDATED.as_micros() / 2).unwrap_or(i64::MAX);
        let age_us = now_us - self.made_at_us.load(Relaxed);
        if (-set_back_us..lifetime_us / 3 * 2).contains(&age_us) {
            return Ok(false);
        }
        let certificate = authority.server_certificate(&self.names, now_us)?;
        self.current.store(Arc::new(certificate));
        self.made_at_us.store(now_us, Relaxed);
        Ok(true)
    }
}

impl ResolvesServerCert for PortCertificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The configuration of the agent port. TLS 1.3 only: every peer is one of our agents.
pub fn server_config(
    authority: &Authority,
    certificate: Arc<PortCertificate>,
) -> Result<Arc<ServerConfig>, AuthorityError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = AgentVerifier::new(authority.certificate(), provider.clone())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(certificate);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::authority::tests::NOW;

    #[test]
    fn the_ports_certificate_is_replaced_at_two_thirds_of_its_life() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let certificate = PortCertificate::new(&authority, Vec::new(), NOW).unwrap();
        let first = certificate.current.load_full();
        let day = 24 * 3600 * 1_000_000;
        assert!(
            !certificate
                .renew_if_due(&authority, NOW + 59 * day)
                .unwrap()
        );
        assert!(Arc::ptr_eq(&first, &certificate.current.load_full()));
        assert!(
            certificate
                .renew_if_due(&authority, NOW + 60 * day)
                .unwrap()
        );
        assert!(!Arc::ptr_eq(&first, &certificate.current.load_full()));
        assert!(
            !certificate
                .renew_if_due(&authority, NOW + 61 * day)
                .unwrap()
        );
        // The clock was sixty days ahead, and somebody set it right.
        assert!(certificate.renew_if_due(&authority, NOW).unwrap());
        assert!(!certificate.renew_if_due(&authority, NOW - day / 2).unwrap());
    }
}
