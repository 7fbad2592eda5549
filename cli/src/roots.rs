//! Which certificates an HTTPS server is trusted by.

use ureq::tls::{Certificate, PemItem};

/// The certificates of a PEM file; what else is in it is passed over.
pub fn parse(pem: &[u8]) -> Vec<Certificate<'static>> {
    ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

/// The machine's trusted roots: where the common distributions keep them, or `SSL_CERT_FILE`.
pub fn of_this_machine() -> Vec<Certificate<'static>> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let known = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    named
        .iter()
        .map(String::as_str)
        .chain(known)
        .find_map(|path| std::fs::read(path).ok())
        .map(|pem| parse(&pem))
        .unwrap_or_default()
}
