//! The accept loop for both ports: plain or TLS, HTTP/1.1 with upgrades, with small buffers and hard limits. Not a
//! router: who may do what is decided above it. What is known of the peer travels as request extensions:
//! `ConnectInfo<SocketAddr>` and, over mTLS, [`PeerCertificate`].

mod counted;
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use self::counted::Counted;
use super::handshakes::Handshakes;
use crate::http::peer::PeerCertificate;

/// Connections that may wait to be accepted: a whole fleet that dials in at once, spread over a few seconds.
const BACKLOG: u32 = 4_096;
/// The header of each request, and the wait for the next one on an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After the process ran out of file descriptors or memory for sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a port allows.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at a time, upgraded ones included; more wait in the kernel's queue.
    pub connections_max: usize,
    /// The read buffer of a connection: the longest request head.
    pub head_bytes_max: usize,
    /// Requests under way may take this long after the shutdown signal.
    pub drain: Duration,
}

impl ConnectionLimits {
    /// People, pipelines and their event streams: a head holds an 8 KiB URI, a cookie and a token.
    pub const OPERATORS: Self = Self {
        connections_max: 4_096,
        head_bytes_max: 64 * 1024,
        drain: Duration::from_secs(15),
    };
    /// Agents: the stretch target of 50,000 and room for those that reconnect before their old socket is gone. Their
    /// heads are small, and the least the HTTP library allows is 8 KiB.
    pub const AGENTS: Self = Self {
        connections_max: 60_000,
        head_bytes_max: 8 * 1024,
        drain: Duration::from_secs(5),
    };
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
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) {
    let port = Port {
        handshakes: tls.map(|tls| Handshakes::start(tls.into())),
        router,
        http: http_builder(limits),
        shutdown: shutdown.clone(),
    };
    let port = Arc::new(port);
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, address, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        connections.spawn(port.clone().connection(stream, address, permit));
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

struct Port {
    /// None on a port without TLS.
    handshakes: Option<Handshakes>,
    router: Router,
    http: http1::Builder,
    shutdown: CancellationToken,
}

impl Port {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        // Frames and answers are written whole; waiting to coalesce them only adds delay.
        let _ = stream.set_nodelay(true);
        let Some(handshakes) = &self.handshakes else {
            return self.http(Counted::new(stream, permit), address, None).await;
        };
        match handshakes.shake(stream).await {
            Ok(stream) => {
                let certificate = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first)
                    .map(|certificate| PeerCertificate(Arc::new(certificate.clone().into_owned())));
                self.http(Counted::new(stream, permit), address, certificate)
                    .await;
            }
            Err(error) => tracing::debug!(%address, %error, "a TLS handshake failed"),
        }
    }

    /// In a box, so that the handshake's state is not kept while the connection lives.
    fn http<S>(
        &self,
        stream: Counted<S>,
        address: SocketAddr,
        certificate: Option<PeerCertificate>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let is_cut_short = stream.is_cut_short();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            answer(router.clone(), request, Arc::clone(&is_cut_short))
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
) -> Result<Response, Infallible> {
    let waits_to_be_asked = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (body, unread) = unread::watch(body);
    let request = http::Request::from_parts(parts, axum::body::Body::new(body));
    let mut response = router.oneshot(request).await?;
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

/// Takes room for a connection, then accepts one. `None` if the system could not.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
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
