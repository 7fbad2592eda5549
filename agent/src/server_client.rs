//! Talks to the server's agent port: single requests here, the connection itself in `session`.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server that takes longer to answer is as good as away; the caller tries again.
const ANSWER_SECONDS_MAX: u64 = 30;
/// No answer but a blob is larger; certificates and problems are a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Where the agent port is, from `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    pub host: String,
    pub port: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the server's address `{0}` is not https://host:port")]
    Address(String),
    #[error("cannot reach {address}: {error}")]
    Unreachable {
        address: String,
        error: std::io::Error,
    },
    #[error("{0} did not answer in time")]
    Slow(String),
    #[error("the conversation with the server broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The server said no. `code` is the problem's slug.
    #[error("the server refused ({status} {code}): {detail}")]
    Refused {
        status: StatusCode,
        code: String,
        detail: String,
    },
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(String),
    #[error("cannot keep what the server sent: {0}")]
    Disk(std::io::Error),
}

pub struct ServerClient {
    address: ServerAddress,
    /// Replaced when the certificate is renewed.
    tls: Mutex<Arc<ClientConfig>>,
}

impl ServerAddress {
    pub fn parse(url: &str) -> Result<Self, ServerError> {
        let wrong =
            || ServerError::Address(url.chars().filter(|c| !c.is_control()).take(200).collect());
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        let host = uri.host().filter(|_| plain).ok_or_else(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(443),
        })
    }

    /// `host:port`, as in a `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl ServerClient {
    pub fn new(address: ServerAddress, tls: Arc<ClientConfig>) -> Self {
        Self {
            address,
            tls: Mutex::new(tls),
        }
    }

    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Uses these settings for connections made from now on.
    pub fn set_tls(&self, tls: Arc<ClientConfig>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// A fresh TLS connection.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, ServerError> {
        let unreachable = |error| ServerError::Unreachable {
            address: self.address.authority(),
            error,
        };
        let name = ServerName::try_from(self.address.host.clone())
            .map_err(|_| ServerError::Address(self.address.authority()))?;
        let tls = Arc::clone(&self.tls.lock().unwrap_or_else(PoisonError::into_inner));
        let connecting = async {
            let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port)).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(tls).connect(name, tcp).await
        };
        timeout(Duration::from_secs(ANSWER_SECONDS_MAX), connecting)
            .await
            .map_err(|_| ServerError::Slow(self.address.authority()))?
            .map_err(unreachable)
    }

    /// Posts JSON and reads JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ServerError> {
        let exchange = async {
            let answer = self
                .send(Method::POST, path, Bytes::from(body.to_string()))
                .await?;
            let status = answer.status();
            let body = read_all(answer.into_body()).await?;
            if status.is_success() {
                serde_json::from_slice(&body)
                    .map_err(|error| ServerError::Nonsense(error.to_string()))
            } else {
                Err(refusal(status, &body))
            }
        };
        timeout(Duration::from_secs(ANSWER_SECONDS_MAX), exchange)
            .await
            .map_err(|_| ServerError::Slow(self.address.authority()))?
    }

    /// Downloads a blob into `file`, piece by piece, and checks that it is the one asked for. Returns its size. The
    /// caller limits the time.
    pub async fn download_blob(&self, sha256: &str, file: &mut File) -> Result<u64, ServerError> {
        let path = format!("/api/v1/agent/blobs/{sha256}");
        let answer = self.send(Method::GET, &path, Bytes::new()).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            return Err(refusal(status, &read_all(body).await?));
        }
        let mut digest = Sha256::new();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            digest.update(&data);
            bytes += data.len() as u64;
            file.write_all(&data).map_err(ServerError::Disk)?;
        }
        if hex::encode(digest.finalize()) == sha256 {
            Ok(bytes)
        } else {
            Err(ServerError::Nonsense(
                "the blob does not have the digest it was asked for by".to_owned(),
            ))
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<http::Response<Incoming>, ServerError> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the request; its error shows up there.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::ACCEPT,
                "application/json, application/problem+json, application/octet-stream",
            )
            .header(
                header::USER_AGENT,
                concat!("fleetwright-agent/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(body))
            .map_err(|error| ServerError::Nonsense(error.to_string()))?;
        Ok(sender.send_request(request).await?)
    }
}

/// What a refusal says, from its problem document if there is one.
pub fn refusal(status: StatusCode, body: &[u8]) -> ServerError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Problem {
        code: String,
        title: String,
        detail: String,
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let detail = if problem.detail.is_empty() {
        problem.title
    } else {
        problem.detail
    };
    ServerError::Refused {
        status,
        code: problem.code,
        detail,
    }
}

async fn read_all(body: Incoming) -> Result<Bytes, ServerError> {
    Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map(|collected| collected.to_bytes())
        .map_err(|error| ServerError::Nonsense(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_with_nothing_behind_it() {
        let parsed = ServerAddress::parse("https://fleet.example:8443/").unwrap();
        assert_eq!((parsed.host.as_str(), parsed.port), ("fleet.example", 8443));
        assert_eq!(
            ServerAddress::parse("https://[::1]:9").unwrap().authority(),
            "[::1]:9"
        );
        for url in [
            "http://x:1",
            "x:1",
            "https://x/api",
            "https://x?y",
            "https://",
            "",
        ] {
            assert!(ServerAddress::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_refusal_shows_code_and_detail_and_survives_rubbish() {
        let said = refusal(
            StatusCode::FORBIDDEN,
            br#"{"code":"forbidden","detail":"not approved"}"#,
        );
        assert_eq!(
            said.to_string(),
            "the server refused (403 Forbidden forbidden): not approved"
        );
        assert!(matches!(
            refusal(StatusCode::BAD_GATEWAY, b"<html>"),
            ServerError::Refused { .. }
        ));
    }
}
