//! Real sockets on loopback: what the accept loop adds to requests, and what it refuses.

use std::net::Ipv4Addr;

use axum::Extension;
use axum::extract::{ConnectInfo, State};
use axum::routing::get;
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1 as client;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::*;
use crate::agents::authority::Authority;
use crate::agents::authority::tests::{NOW, csr};
use crate::agents::identity::AgentCertificate;
use crate::agents::tls::{PortCertificate, server_config};
use fleetwright_protocol::HostId;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

fn start(tls: Option<Arc<ServerConfig>>, router: Router, limits: ConnectionLimits) -> Running {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let port = Served {
        listener,
        tls,
        router,
        limits,
        trusted_proxies: Vec::new(),
    };
    let served = tokio::spawn(serve(port, shutdown.clone()));
    Running {
        address,
        shutdown,
        served,
    }
}

async fn ask<S>(stream: S, path: &str) -> Result<(StatusCode, String), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "test");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn plain(address: SocketAddr, path: &str) -> Result<(StatusCode, String), hyper::Error> {
    ask(TcpStream::connect(address).await.unwrap(), path).await
}

/// Says who the peer is.
async fn who(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    certificate: Option<Extension<PeerCertificate>>,
) -> String {
    let host = certificate.map(|certificate| AgentCertificate::parse(&certificate.0.0).unwrap());
    let host = host.map_or("nobody".to_owned(), |host| host.host_id.to_string());
    format!("{} {host}", address.ip())
}

#[tokio::test]
async fn a_request_knows_its_peers_address() {
    let running = start(
        None,
        Router::new().route("/", get(who)),
        ConnectionLimits::OPERATORS,
    );
    let (status, body) = plain(running.address, "/").await.unwrap();
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::OK, "127.0.0.1 nobody")
    );
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let running = start(
        None,
        Router::new().route("/", get(who)),
        ConnectionLimits::AGENTS,
    );
    let long = format!("/?{}", "x".repeat(16 * 1024));
    let refused = plain(running.address, &long).await;
    assert!(!matches!(refused, Ok((StatusCode::OK, _))), "{refused:?}");
}

/// A client that trusts `server` and, if it has one, shows a certificate that `issuer` signed at `issued_at_us`.
fn connector(server: &Authority, issuer: Option<&Authority>, issued_at_us: i64) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match issuer {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let (key, csr) = csr();
            let host = HostId(uuid::Uuid::from_u128(5));
            let pem = issuer
                .sign_client(
                    &csr,
                    host,
                    1,
                    issued_at_us,
                    std::time::Duration::from_secs(86_400),
                )
                .unwrap();
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn over_tls(address: SocketAddr, connector: TlsConnector) -> Option<String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await.ok()?;
    // In TLS 1.3 a refused client learns of it with its first answer.
    ask(stream, "/").await.ok().map(|(_, body)| body)
}

#[tokio::test]
async fn agents_are_known_by_certificates_of_our_authority_only() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // The client checks the server's dates against the machine's clock.
    let now_us = crate::clock::SystemClock::shared().now_us();
    let [ours, theirs] = folders
        .each_ref()
        .map(|folder| Authority::open(folder.path(), now_us).unwrap());
    let certificate = PortCertificate::new(&ours, Vec::new(), now_us).unwrap();
    let tls = server_config(&ours, certificate).unwrap();
    let router = Router::new().route("/", get(who));
    let running = start(Some(tls), router, ConnectionLimits::AGENTS);
    let known = format!("127.0.0.1 {}", uuid::Uuid::from_u128(5));
    let table = [
        (connector(&ours, None, now_us), Some("127.0.0.1 nobody")),
        (connector(&ours, Some(&ours), now_us), Some(known.as_str())),
        // Expired long ago: the handshake lets it through, because it may renew.
        (connector(&ours, Some(&ours), NOW), Some(known.as_str())),
        (connector(&ours, Some(&theirs), now_us), None),
    ];
    for (connector, expected) in table {
        let answer = over_tls(running.address, connector).await;
        assert_eq!(answer.as_deref(), expected);
    }
}

/// As the gate does for a caller who has shown who it is.
async fn keep(Extension(seat): Extension<Seat>) -> &'static str {
    seat.keep_for(Key::of(&["somebody"]));
    "kept"
}

fn small(connections_max: usize) -> ConnectionLimits {
    ConnectionLimits {
        places: PlaceLimits {
            connections_max,
            newcomers_max: connections_max,
            newcomers_of_address_max: connections_max,
            ..ConnectionLimits::OPERATORS.places
        },
        ..ConnectionLimits::OPERATORS
    }
}

type Asker = client::SendRequest<Empty<Bytes>>;

async fn kept_open(address: SocketAddr) -> (Asker, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn status(asker: &mut Asker, path: &str) -> hyper::Result<StatusCode> {
    let request = http::Request::get(path).header("host", "test");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = asker.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(status)
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_who_is_known_to_leave() {
    let router = Router::new().route("/", get(who)).route("/keep", get(keep));
    let running = start(None, router, small(1));
    let (mut known, connection) = kept_open(running.address).await;
    // Served and kept open: it holds the only place.
    assert_eq!(status(&mut known, "/keep").await.unwrap(), 200);
    let mut second = tokio::spawn(plain(running.address, "/"));
    let waits = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
    assert!(waits.is_err(), "served although there is no room");
    drop(known);
    connection.await.unwrap().unwrap();
    let served = tokio::time::timeout(PATIENCE, second).await.unwrap();
    assert_eq!(served.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn a_crowd_of_strangers_shuts_out_nobody() {
    let router = Router::new().route("/", get(who)).route("/keep", get(keep));
    let running = start(None, router, small(8));
    let (mut known, _connection) = kept_open(running.address).await;
    assert_eq!(status(&mut known, "/keep").await.unwrap(), 200);
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(running.address).await.unwrap());
    }
    let served = tokio::time::timeout(PATIENCE, plain(running.address, "/")).await;
    assert_eq!(served.unwrap().unwrap().0, 200, "the newest comes in");
    assert_eq!(
        status(&mut known, "/").await.unwrap(),
        200,
        "and the known one stays"
    );
}

#[tokio::test]
async fn strangers_without_a_handshake_make_room_for_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let now_us = crate::clock::SystemClock::shared().now_us();
    let ours = Authority::open(folder.path(), now_us).unwrap();
    let certificate = PortCertificate::new(&ours, Vec::new(), now_us).unwrap();
    let tls = server_config(&ours, certificate).unwrap();
    let running = start(Some(tls), Router::new().route("/", get(who)), small(8));
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(running.address).await.unwrap());
    }
    let agent = over_tls(running.address, connector(&ours, Some(&ours), now_us));
    let answer = tokio::time::timeout(PATIENCE, agent).await.unwrap();
    assert!(answer.is_some_and(|answer| answer.contains("00000005")));
}

#[tokio::test]
async fn few_descriptors_are_shared_in_proportion() {
    let limits = ConnectionLimits::AGENTS.within(600).places;
    assert_eq!((limits.connections_max, limits.newcomers_max), (600, 122));
    let whole = ConnectionLimits::OPERATORS.within(100_000).places;
    assert_eq!(whole.connections_max, 4_096);
}

/// More than the buffers of both sides hold.
const ENDLESS_BYTES: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn whoever_asks_and_does_not_read_is_let_go() {
    let endless = async || vec![b'x'; ENDLESS_BYTES];
    let router = Router::new().route("/", get(endless));
    let running = start(None, router, small(1));
    let mut asked = TcpStream::connect(running.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    asked.write_all(request).await.unwrap();
    asked.readable().await.unwrap();
    // Its answer has begun. When it has been let go, the shutdown has nobody to wait for.
    running.shutdown.cancel();
    tokio::time::timeout(ConnectionLimits::OPERATORS.drain / 2, running.served)
        .await
        .expect("it was waited for")
        .unwrap();
    let mut answer = Vec::new();
    let _ = asked.read_to_end(&mut answer).await;
    assert!(answer.len() < ENDLESS_BYTES, "all of it was sent");
}

#[tokio::test]
async fn shutdown_finishes_the_requests_under_way_and_takes_no_more() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = |State((entered, release)): State<(Arc<Notify>, Arc<Notify>)>| async move {
        entered.notify_one();
        release.notified().await;
        "done"
    };
    let router = Router::new()
        .route("/slow", get(slow))
        .with_state((entered.clone(), release.clone()));
    let running = start(None, router, ConnectionLimits::OPERATORS);
    let asked = tokio::spawn(plain(running.address, "/slow"));
    tokio::time::timeout(PATIENCE, entered.notified())
        .await
        .unwrap();
    running.shutdown.cancel();
    release.notify_one();
    let (_, body) = tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(body, "done");
    tokio::time::timeout(PATIENCE, running.served)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// Refuses before it looks at the body.
async fn refuse() -> StatusCode {
    StatusCode::UNAUTHORIZED
}

/// Sends a POST with `body` and then, unless the answer announced the end, a GET; says whether it did.
async fn refused_then_asked_again(address: SocketAddr, body: Bytes) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let post = http::Request::post("/refused").header("host", "test");
    let post = post.body(http_body_util::Full::new(body)).unwrap();
    let refused = sender.send_request(post).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let ends = refused
        .headers()
        .get("connection")
        .is_some_and(|value| value == "close");
    refused.into_body().collect().await.unwrap();
    if !ends {
        let get = http::Request::get("/").header("host", "test");
        let get = get.body(http_body_util::Full::default()).unwrap();
        let answer = sender.send_request(get).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    ends
}

#[tokio::test]
async fn a_refused_body_is_read_away_or_the_answer_says_that_the_connection_ends() {
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/refused", axum::routing::post(refuse));
    let running = start(None, router, ConnectionLimits::OPERATORS);
    for _ in 0..20 {
        let small = Bytes::from_static(b"{\"name\": \"x\"}");
        assert!(!refused_then_asked_again(running.address, small).await);
        let large = Bytes::from(vec![b' '; 4 * 1024 * 1024]);
        assert!(refused_then_asked_again(running.address, large).await);
    }
}
