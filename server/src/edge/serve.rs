//! The accept loop for both ports: plain or TLS, HTTP/1.1 with upgrades, with small buffers and hard limits. Not a
//! router: who may do what is decided above it. What is known of the peer travels as request extensions:
//! `ConnectInfo<SocketAddr>`, the connection's [`Seat`] and, over mTLS, [`PeerCertificate`].

mod counted;
mod pace;
mod places;
mod unread;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use self::counted::Counted;
use self::places::{NoPlace, Place, Places};
use super::handshakes::Handshakes;
use crate::agents::identity::AgentCertificate;
use crate::auth::rate::Key;
use crate::config::Network;
use crate::http::peer::PeerCertificate;

pub use self::places::{PlaceLimits, Seat};

/// Connections that may wait to be accepted: a whole fleet that dials in at once, spread over a few seconds.
const BACKLOG: u32 = 4_096;
/// The header of each request, and the wait for the next one on an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After the process ran out of file descriptors or memory for sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a port allows.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Whose connections, and how many.
    pub places: PlaceLimits,
    /// The read buffer of a connection: the longest request head.
    pub head_bytes_max: usize,
    /// Requests under way may take this long after the shutdown signal.
    pub drain: Duration,
}

impl ConnectionLimits {
    /// People, pipelines and their event streams: a head holds an 8 KiB URI, a cookie and a token. Half of the places are
    /// for callers who have signed in; a request shows that within moments, so a newcomer has no time of its own.
    pub const OPERATORS: Self = Self {
        places: PlaceLimits {
            connections_max: 4_096,
            newcomers_max: 2_048,
            newcomers_of_address_max: 512,
            of_principal_max: 512,
            grace: Duration::ZERO,
        },
        head_bytes_max: 64 * 1024,
        drain: Duration::from_secs(15),
    };
    /// Agents: the stretch target of 50,000 and room for those that reconnect before their old socket is gone. Their
    /// heads are small, and the least the HTTP library allows is 8 KiB. They may all have one address, and after an outage
    /// they come at once and wait for each other's handshakes: so their time as newcomers is a long one. A host has one
    /// connection, and a few more for downloads and while the network changes.
    pub const AGENTS: Self = Self {
        places: PlaceLimits {
            connections_max: 60_000,
            newcomers_max: 12_288,
            newcomers_of_address_max: 10_240,
            of_principal_max: 8,
            grace: Duration::from_secs(10),
        },
        head_bytes_max: 8 * 1024,
        drain: Duration::from_secs(5),
    };
    /// Whoever collects metrics.
    pub const METRICS: Self = Self {
        places: PlaceLimits {
            connections_max: 64,
            newcomers_max: 64,
            newcomers_of_address_max: 16,
            of_principal_max: 64,
            grace: Duration::ZERO,
        },
        ..Self::OPERATORS
    };
}

impl ConnectionLimits {
    /// The same in proportion, with so many connections at most.
    #[must_use]
    pub fn within(self, connections_max: usize) -> Self {
        let places = self.places;
        if places.connections_max <= connections_max {
            return self;
        }
        let fewer = |count: usize| (count * connections_max / places.connections_max).max(1);
        Self {
            places: PlaceLimits {
                connections_max,
                newcomers_max: fewer(places.newcomers_max),
                newcomers_of_address_max: fewer(places.newcomers_of_address_max),
                // Eight principals do not take a small port either; one has a few connections at the least.
                of_principal_max: places.of_principal_max.min((connections_max / 8).max(8)),
                ..places
            },
            ..self
        }
    }
}

/// Everything a port is served with.
pub struct Served {
    pub listener: TcpListener,
    pub tls: Option<Arc<ServerConfig>>,
    pub router: Router,
    pub limits: ConnectionLimits,
    pub trusted_proxies: Vec<Network>,
}

/// Binds with a queue that is long enough for a fleet.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `shutdown`, then finishes the requests under way. Upgraded connections are their owners' to end.
pub async fn serve(served: Served, shutdown: CancellationToken) {
    let (listener, limits) = (served.listener, served.limits);
    let port = Port {
        handshakes: served.tls.map(|tls| Handshakes::start(tls.into())),
        router: served.router,
        http: http_builder(limits),
        shutdown: shutdown.clone(),
    };
    let port = Arc::new(port);
    let places = Places::new(limits.places, served.trusted_proxies);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok(Some((stream, address, place))) => {
                connections.spawn(port.clone().connection(stream, address, place));
            }
            // Closed, so that its client knows.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        let left = connections.len();
        tracing::warn!(left, "closing connections that did not finish in time");
    }
}

/// What requests are told of the other end of their connection.
struct Peer {
    address: SocketAddr,
    certificate: Option<PeerCertificate>,
    seat: Seat,
    is_cut_short: Arc<AtomicBool>,
}

struct Port {
    /// None on a port without TLS.
    handshakes: Option<Handshakes>,
    router: Router,
    http: http1::Builder,
    shutdown: CancellationToken,
}

impl Port {
    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        // Frames and answers are written whole; waiting to coalesce them only adds delay.
        let _ = stream.set_nodelay(true);
        let seat = place.seat();
        if self.handshakes.is_some() {
            // Whoever says nothing costs no handshake, and has no claim on time for one.
            let begun = tokio::select! {
                begun = tokio::time::timeout(HEADER_TIMEOUT, stream.readable()) => begun.is_ok(),
                () = seat.until_ended() => false,
                () = self.shutdown.cancelled() => false,
            };
            if !begun {
                return;
            }
            seat.set_begun();
        }
        tokio::select! {
            () = self.transport(Counted::new(stream, place), address, &seat) => {}
            () = seat.until_ended() => tracing::debug!(%address, "a connection made room for others"),
        }
    }

    async fn transport(&self, stream: Counted<TcpStream>, address: SocketAddr, seat: &Seat) {
        let is_cut_short = stream.is_cut_short();
        let peer = Peer {
            address,
            certificate: None,
            seat: seat.clone(),
            is_cut_short,
        };
        let Some(handshakes) = &self.handshakes else {
            return self.http(stream, peer).await;
        };
        match handshakes.shake(stream).await {
            Ok(stream) => {
                let certificate = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first)
                    .map(|certificate| PeerCertificate(Arc::new(certificate.clone().into_owned())));
                if let Some(host) = certificate.as_ref().and_then(known_host) {
                    seat.keep_for(host);
                }
                self.http(
                    stream,
                    Peer {
                        certificate,
                        ..peer
                    },
                )
                .await;
            }
            Err(error) => tracing::debug!(%address, %error, "a TLS handshake failed"),
        }
    }

    /// In a box, so that the handshake's state is not kept while the connection lives.
    fn http<S>(&self, stream: S, peer: Peer) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let address = peer.address;
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            request.extensions_mut().insert(peer.seat.clone());
            if let Some(certificate) = &peer.certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            let is_cut_short = Arc::clone(&peer.is_cut_short);
            answer(router.clone(), request, is_cut_short, peer.seat.clone())
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        Box::pin(async move {
            let mut connection = pin!(connection.with_upgrades());
            let done = tokio::select! {
                done = connection.as_mut() => Some(done),
                () = self.shutdown.cancelled() => None,
            };
            let done = match done {
                Some(done) => done,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = done {
                tracing::debug!(%address, %error, "a connection ended badly");
            }
        })
    }
}

/// Serves one request. Where much of its body was left unread, the answer says that the connection ends.
async fn answer(
    router: Router,
    request: http::Request<Incoming>,
    is_cut_short: Arc<AtomicBool>,
    seat: Seat,
) -> Result<Response, Infallible> {
    let waits_to_be_asked = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (body, unread) = unread::watch(body, seat.clone());
    let request = http::Request::from_parts(parts, axum::body::Body::new(body));
    let mut response = router.oneshot(request).await?;
    seat.set_served(false);
    let is_clean = if waits_to_be_asked {
        unread.nothing_left()
    } else {
        unread.read_away().await
    };
    if !is_clean {
        is_cut_short.store(true, Ordering::Relaxed);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

/// Waits for room, then accepts. `None` for a connection of an address that has its share.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Places>,
) -> io::Result<Option<(TcpStream, SocketAddr, Place)>> {
    places.room().await;
    let (stream, address) = listener.accept().await?;
    loop {
        match places.take(address.ip(), Instant::now()) {
            Ok(place) => return Ok(Some((stream, address, place))),
            Err(NoPlace::OfAddress) => return Ok(None),
            // Whoever was to go has become known meanwhile.
            Err(NoPlace::Yet) => places.room().await,
        }
    }
}

/// Whom a certificate of our authority names.
fn known_host(certificate: &PeerCertificate) -> Option<Key> {
    let host = AgentCertificate::parse(&certificate.0)?.host_id;
    Some(Key::of(&["host", &host.to_string()]))
}

fn http_builder(limits: ConnectionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(limits.head_bytes_max);
    builder
}

#[cfg(test)]
mod tests;
