//! Who is at the other end of a connection, as the accept loop leaves it in a request's extensions.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use rustls_pki_types::CertificateDer;

use super::request_id;

/// Where a request comes from, also when nobody is authenticated.
#[derive(Clone, Debug)]
pub struct Peer {
    pub request_id: String,
    pub address: String,
}

/// The certificate that the peer proved to own.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Arc<CertificateDer<'static>>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            request_id: request_id::current().unwrap_or_default(),
            address: address(&parts.extensions),
        })
    }
}

/// The peer's address without its port; empty for a request that came over no connection.
pub fn address(extensions: &http::Extensions) -> String {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or_else(String::new, |ConnectInfo(address)| address.ip().to_string())
}
