//! Keys and certificates of simulated agents, got through the real enrollment endpoint over kept connections.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;

use fleetwright_protocol::HostId;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::facts::facts;

/// Connections that enroll side by side.
const ENROLLING: usize = 8;
const ENROLL_PATH: &str = "/api/v1/agent/enroll";

/// One simulated host's identity.
pub struct Identity {
    pub host_id: HostId,
    pub name: String,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

#[derive(Deserialize)]
struct Enrolled {
    host_id: HostId,
    certificate_pem: String,
}

impl Identity {
    /// TLS with this identity. Made for one connection and dropped with it: ten thousand of them would weigh.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        let config = base_config()
            .with_client_auth_cert(vec![self.certificate.clone()], key)
            .expect("the server signs certificates that fit their keys");
        Arc::new(without_resumption(config))
    }
}

/// TLS without a client certificate, for enrollment and for tests of what is refused without one.
pub fn anonymous_config() -> Arc<ClientConfig> {
    Arc::new(without_resumption(base_config().with_no_client_auth()))
}

fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    // Its cache alone would be larger than all the rest of a connection.
    config.resumption = Resumption::disabled();
    config
}

fn base_config() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = provider();
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual cipher suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer { provider }))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

/// Enrols `count` hosts with one token, in order of their numbers.
pub async fn enroll_all(
    address: SocketAddr,
    token: &str,
    prefix: &str,
    count: usize,
) -> Result<Vec<Arc<Identity>>> {
    let workers = ENROLLING.min(count.max(1));
    let mut tasks = Vec::new();
    for worker in 0..workers {
        let (token, prefix) = (token.to_owned(), prefix.to_owned());
        tasks.push(tokio::spawn(async move {
            let mut door = Door::open(address).await?;
            let mut made = Vec::new();
            for number in (worker..count).step_by(workers) {
                let name = format!("{prefix}-{number}.sim");
                made.push((number, Arc::new(door.enroll(&token, &name).await?)));
            }
            Ok::<_, Error>(made)
        }));
    }
    let mut all = Vec::with_capacity(count);
    for task in tasks {
        all.extend(task.await??);
    }
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, identity)| identity).collect())
}

/// A kept connection to the enrollment endpoint.
struct Door {
    stream: TlsStream<TcpStream>,
    host: String,
}

impl Door {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(anonymous_config())
            .connect(name, stream)
            .await?;
        Ok(Self {
            stream,
            host: address.to_string(),
        })
    }

    async fn enroll(&mut self, token: &str, name: &str) -> Result<Identity> {
        let key = rcgen::KeyPair::generate().map_err(Error::other)?;
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).map_err(Error::other)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let csr = parameters
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(Error::other)?;
        let body = json!({
            "token": token,
            "csr_pem": csr,
            "facts": facts(name),
        });
        let (status, answer) = self.post(&body.to_string()).await?;
        if status != 200 && status != 201 {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(Error::other(format!("{status}: {text}")));
        }
        let enrolled: Enrolled = serde_json::from_slice(&answer)?;
        let certificate = CertificateDer::from_pem_slice(enrolled.certificate_pem.as_bytes())
            .map_err(|error| Error::other(error.to_string()))?;
        Ok(Identity {
            host_id: enrolled.host_id,
            name: name.to_owned(),
            certificate,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    async fn post(&mut self, body: &str) -> Result<(u16, Vec<u8>)> {
        let request = format!(
            "POST {ENROLL_PATH} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let mut bytes = Vec::new();
        loop {
            if let Some((status, start, length)) = parse_head(&bytes)
                && bytes.len() >= start + length
            {
                return Ok((status, bytes.split_off(start)));
            }
            let mut part = [0_u8; 4096];
            let read = self.stream.read(&mut part).await?;
            if read == 0 {
                return Err(Error::other("the server hung up during enrollment"));
            }
            bytes.extend_from_slice(part.get(..read).unwrap_or_default());
        }
    }
}

/// Status, where the body starts and how long it is, once the head is whole.
fn parse_head(bytes: &[u8]) -> Option<(u16, usize, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?)
        .ok()?
        .to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())?;
    Some((status, end + 4, length))
}

/// Trusts whatever answers on the loopback port a test has just started. Real agents pin the authority; simulated
/// ones save the time.
#[derive(Debug)]
struct AnyServer {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
