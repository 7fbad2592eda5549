//! A server's agent port, as far as an agent sees it: TLS with an authority of its own, one connection at a time, each
//! answered as the test says.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::{AgentFrame, ServerFrame};
use futures_util::{SinkExt, StreamExt};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair, SanType,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::harness::{Host, PATIENCE, PROGRAM};

pub const HOST_ID: &str = "01890000-0000-7000-8000-00000000000a";

pub struct FakeServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A request other than for the WebSocket.
pub struct Asked {
    pub line: String,
    pub body: Value,
    /// The generation the client's certificate carries here: its serial number. `None` without a certificate.
    pub generation: Option<u64>,
    stream: TlsStream<TcpStream>,
}

pub struct Link {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    pub generation: Option<u64>,
}

impl FakeServer {
    pub async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![leaf.der().clone(), authority.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority,
        }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.listener.local_addr().unwrap())
    }

    pub fn token(&self) -> String {
        format!(
            "fwe_secret.{}",
            hex::encode(Sha256::digest(self.authority.der()))
        )
    }

    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// A certificate for the key of this request that ends so many seconds from now, after a day.
    pub fn sign(&self, csr_pem: &str, generation: u64, seconds_left: i64) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        let ends = fleetwright_agent::clock::unix_seconds() as i64 + seconds_left;
        let at = |seconds: i64| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap())
        };
        request.params.not_before = at(ends - 86_400);
        request.params.not_after = at(ends);
        request.params.serial_number = Some(generation.into());
        let name = format!("urn:fleetwright:host:{HOST_ID}:{generation}");
        request.params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap())];
        request.signed_by(&self.authority).unwrap().pem()
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        loop {
            let (tcp, _) = timeout(PATIENCE, self.listener.accept())
                .await
                .expect("nobody connects")
                .unwrap();
            if let Ok(stream) = self.acceptor.accept(tcp).await {
                return stream;
            }
        }
    }

    /// The next connection, which must not be accepted by the client.
    pub async fn refused_by_client(&self) {
        let (tcp, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("nobody connects")
            .unwrap();
        // The client may only find out after the server believes all is well; then it hangs up without a word.
        if let Ok(mut stream) = self.acceptor.accept(tcp).await {
            let mut byte = [0; 1];
            assert!(
                !matches!(stream.read(&mut byte).await, Ok(1)),
                "it trusted the wrong server"
            );
        }
    }

    pub async fn asked(&self) -> Asked {
        let mut stream = self.accept().await;
        let generation = generation(&stream);
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let count = stream.read(&mut chunk).await.unwrap();
            assert!(count > 0, "it hung up");
            text.extend(&chunk[..count]);
            let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(text[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if text.len() >= end + 4 + length {
                let body = serde_json::from_slice(&text[end + 4..]).unwrap_or(Value::Null);
                return Asked {
                    line: head.lines().next().unwrap().to_owned(),
                    body,
                    generation,
                    stream,
                };
            }
        }
    }

    pub async fn link(&self) -> Link {
        let stream = self.accept().await;
        let generation = generation(&stream);
        #[expect(
            clippy::result_large_err,
            reason = "the callback's type is the library's"
        )]
        let check = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/api/v1/agent/connect");
            let protocol = request
                .headers()
                .get("sec-websocket-protocol")
                .unwrap()
                .clone();
            assert_eq!(protocol, "fleetwright.v1");
            response
                .headers_mut()
                .insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, check)
            .await
            .unwrap();
        Link { socket, generation }
    }

    /// Answers an enrollment: approved, with a certificate that ends so many seconds from now.
    pub async fn enroll(&self, seconds_left: i64) -> Value {
        let asked = self.asked().await;
        assert!(
            asked.line.starts_with("POST /api/v1/agent/enroll "),
            "{}",
            asked.line
        );
        let certificate_pem = self.sign(asked.body["csr_pem"].as_str().unwrap(), 1, seconds_left);
        let body = asked.body.clone();
        let answer = json!({
            "host_id": HOST_ID,
            "certificate_pem": certificate_pem,
            "ca_pem": self.authority.pem(),
            "approval_status": "approved",
            "generation": 1,
        });
        asked
            .answer("201 Created", answer.to_string().as_bytes())
            .await;
        body
    }
}

impl Asked {
    pub async fn answer(mut self, status: &str, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let whole = [head.as_bytes(), body].concat();
        self.stream.write_all(&whole).await.unwrap();
        // Whoever has read enough of it may have hung up by now.
        let _ = self.stream.shutdown().await;
    }
}

impl Link {
    pub async fn send(&mut self, frame: &ServerFrame) {
        let text = serde_json::to_string(frame).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Any text.
    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn welcome(&mut self) {
        self.welcome_with("1.0").await;
    }

    /// As a server of this version of the protocol.
    pub async fn welcome_with(&mut self, protocol: &str) {
        self.send(&ServerFrame::Welcome {
            protocol: protocol.into(),
            server_version: "test".into(),
            host_id: HOST_ID.parse().unwrap(),
            heartbeat_seconds: 1,
        })
        .await;
    }

    /// The next frame that `wanted` recognises.
    pub async fn expect<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(AgentFrame) -> Option<T>,
    ) -> T {
        loop {
            let message = timeout(PATIENCE, self.socket.next())
                .await
                .unwrap_or_else(|_| panic!("no {what}"))
                .unwrap_or_else(|| panic!("it hung up before {what}"))
                .unwrap();
            if let Message::Text(text) = message
                && let Some(found) = wanted(serde_json::from_str(&text).unwrap())
            {
                return found;
            }
        }
    }

    pub async fn close(mut self, code: u16, reason: &'static str) {
        use tokio_tungstenite::tungstenite::protocol::CloseFrame;
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.send(Message::Close(Some(frame))).await.unwrap();
    }

    /// The other side ends the connection. Returns with which code and reason, if it says so.
    pub async fn closed(mut self) -> Option<(u16, String)> {
        let mut farewell = None;
        while let Some(Ok(message)) = timeout(PATIENCE, self.socket.next())
            .await
            .expect("it does not hang up")
        {
            if let Message::Close(Some(frame)) = message {
                farewell = Some((frame.code.into(), frame.reason.to_string()));
            }
        }
        farewell
    }
}

fn generation(stream: &TlsStream<TcpStream>) -> Option<u64> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(shown).unwrap();
    certificate.serial.to_string().parse().ok()
}

/// The agent's program over the host's folder.
pub fn program(host: &Host, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--config")
        .arg(host.path("agent.toml"))
        .args(words);
    command.env_clear();
    command
}

/// A running agent, ended with the value.
pub struct Running(Option<Child>);

impl Running {
    pub fn start(host: &Host) -> Self {
        let log = std::fs::File::create(host.path("log")).unwrap();
        let child = program(host, &["run"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    /// Asks it to end. Returns whether it ended well.
    pub fn stop(mut self) -> bool {
        let mut child = self.0.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
