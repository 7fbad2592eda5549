//! Who is at the other end of a connection, as the accept loop leaves it in a request's extensions.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use rustls_pki_types::CertificateDer;

use super::request_id;
use crate::config;

/// One subscriber is given so many bits of IPv6 at least, and all that follows them is its own.
pub const SUBSCRIBER_BITS: u8 = 64;

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

/// Where a request comes from, if that is not the other end of its connection: a trusted proxy handed it on.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// The address a request comes from, without a port; empty for a request that came over no connection.
pub fn address(extensions: &http::Extensions) -> String {
    let client = extensions.get::<ClientAddress>().map(|client| client.0);
    let peer = || extensions.get::<ConnectInfo<SocketAddr>>();
    client
        .or_else(|| peer().map(|ConnectInfo(address)| address.ip().to_canonical()))
        .map_or_else(String::new, |address| address.to_string())
}

/// The address of the other end of a connection, as it is written down.
pub fn without_port(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

/// What limits count as one address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(_) => config::first_of(address, SUBSCRIBER_BITS),
    }
}
