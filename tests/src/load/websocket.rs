//! A client's end of a WebSocket over TLS that costs little: one small buffer a connection, no copy of a payload, a
//! zero mask. Not a general client: text frames, ping, pong and close are all that agents and servers exchange.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;

use fleetwright_protocol::frame::WEBSOCKET_SUBPROTOCOL;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Holds any frame the load needs; a larger one grows the buffer and stays grown.
const BUFFER_BYTES: usize = 4 * 1024;
/// A server that sends more in one frame breaks the protocol.
const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

pub struct Socket {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    /// What of the buffer has not been handed out yet.
    filled: std::ops::Range<usize>,
    /// Frames waiting to be written in one go.
    outgoing: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// The text is [`Socket::payload`] of this range until the next call.
    Text(std::ops::Range<usize>),
    /// Must be answered with [`Socket::queue_pong`].
    Ping(Vec<u8>),
    Pong,
    /// The code and reason the server closed with; 1005 if it gave none.
    Closed(u16, String),
}

impl Socket {
    /// Opens the connection, with the client certificate the configuration carries.
    pub async fn connect(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        path: &str,
    ) -> Result<Self> {
        let mut socket = Self::open_tls(address, config).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: {WEBSOCKET_SUBPROTOCOL}\r\n\r\n"
        );
        socket.stream.write_all(request.as_bytes()).await?;
        socket.stream.flush().await?;
        let head = socket.read_head().await?;
        if head.split(' ').nth(1) == Some("101") {
            Ok(socket)
        } else {
            let rest = socket.drain().await;
            Err(Error::new(
                ErrorKind::PermissionDenied,
                format!("{head}{rest}"),
            ))
        }
    }

    async fn open_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER_BYTES],
            filled: 0..0,
            outgoing: Vec::new(),
        })
    }

    /// The next message. Safe to drop half-way.
    pub async fn next(&mut self) -> Result<Message> {
        loop {
            if let Some((opcode, payload)) = self.take_frame()? {
                return match opcode {
                    TEXT => Ok(Message::Text(payload)),
                    PING => Ok(Message::Ping(self.payload(payload).to_vec())),
                    PONG => Ok(Message::Pong),
                    CLOSE => Ok(closed(self.payload(payload))),
                    other => Err(Error::new(
                        ErrorKind::InvalidData,
                        format!("opcode {other}"),
                    )),
                };
            }
            self.fill().await?;
        }
    }

    pub fn payload(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    pub fn queue_text(&mut self, text: &str) {
        self.queue(TEXT, text.as_bytes());
    }

    pub fn queue_ping(&mut self) {
        self.queue(PING, b"");
    }

    pub fn queue_pong(&mut self, payload: &[u8]) {
        self.queue(PONG, payload);
    }

    pub fn queue_close(&mut self) {
        self.queue(CLOSE, &1000_u16.to_be_bytes());
    }

    /// Writes everything that is queued.
    pub async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        self.outgoing.shrink_to(BUFFER_BYTES);
        self.stream.flush().await
    }

    fn queue(&mut self, opcode: u8, payload: &[u8]) {
        self.outgoing.push(0x80 | opcode);
        let length = payload.len();
        // The mask bit is set and the mask is zero: masking is for browsers' proxies, and costs time.
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 126 => self.outgoing.push(0x80 | short),
            (_, Ok(medium)) => {
                self.outgoing.push(0x80 | 126);
                self.outgoing.extend_from_slice(&medium.to_be_bytes());
            }
            (_, Err(_)) => {
                self.outgoing.push(0x80 | 127);
                self.outgoing
                    .extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.outgoing.extend_from_slice(&[0; 4]);
        self.outgoing.extend_from_slice(payload);
    }

    async fn fill(&mut self) -> Result<()> {
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.filled.start > 0 {
            let length = self.filled.len();
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..length;
        }
        if self.filled.end == self.buffer.len() {
            let larger = (self.buffer.len() * 2).min(FRAME_BYTES_MAX + 16);
            if larger == self.buffer.len() {
                return Err(Error::new(ErrorKind::InvalidData, "a frame is too large"));
            }
            self.buffer.resize(larger, 0);
        }
        let free = self.buffer.get_mut(self.filled.end..).unwrap_or_default();
        let read = self.stream.read(free).await?;
        if read == 0 {
            return Err(Error::new(
                ErrorKind::UnexpectedEof,
                "the server hung up without a close",
            ));
        }
        self.filled.end += read;
        Ok(())
    }

    /// A whole frame of the buffer: its opcode and where its payload is.
    fn take_frame(&mut self) -> Result<Option<(u8, std::ops::Range<usize>)>> {
        let bytes = self.payload(self.filled.clone());
        let Some((header, length)) = frame_header(bytes) else {
            return Ok(None);
        };
        let first = bytes.first().copied().unwrap_or_default();
        if first & 0x80 == 0 {
            return Err(Error::new(ErrorKind::InvalidData, "a fragmented frame"));
        }
        if length > FRAME_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "a frame is too large"));
        }
        if bytes.len() < header + length {
            return Ok(None);
        }
        let start = self.filled.start + header;
        self.filled.start = start + length;
        Ok(Some((first & 0x0F, start..start + length)))
    }

    async fn read_head(&mut self) -> Result<String> {
        loop {
            let bytes = self.payload(self.filled.clone());
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
                let head = head.into_owned() + "\r\n\r\n";
                self.filled.start += end + 4;
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// What else a refusing server says, for the error.
    async fn drain(&mut self) -> String {
        let so_far = self.payload(self.filled.clone()).to_vec();
        String::from_utf8_lossy(&so_far).into_owned()
    }
}

/// Length of the header and of the payload, once the header is whole. A server's frames carry no mask.
fn frame_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = usize::from(bytes.get(1)? & 0x7F);
    match short {
        126 => {
            let length: [u8; 2] = bytes.get(2..4)?.try_into().ok()?;
            Some((4, usize::from(u16::from_be_bytes(length))))
        }
        127 => {
            let length: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
            let length = usize::try_from(u64::from_be_bytes(length)).unwrap_or(usize::MAX);
            Some((10, length))
        }
        _ => Some((2, short)),
    }
}

fn closed(payload: &[u8]) -> Message {
    match payload {
        [high, low, reason @ ..] => Message::Closed(
            u16::from_be_bytes([*high, *low]),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        _ => Message::Closed(1005, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_only_when_they_are_whole() {
        for (bytes, expected) in [
            (&[0x81][..], None),
            (&[0x81, 5], Some((2, 5))),
            (&[0x81, 126, 1], None),
            (&[0x81, 126, 1, 0], Some((4, 256))),
            (&[0x81, 127, 0, 0, 0, 0, 0, 1, 0], None),
            (&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], Some((10, 65_536))),
        ] {
            assert_eq!(frame_header(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_close_tells_its_code_and_reason() {
        let expected = Message::Closed(1008, "no".to_owned());
        assert_eq!(closed(&[0x03, 0xF0, b'n', b'o']), expected);
        assert_eq!(closed(&[]), Message::Closed(1005, String::new()));
    }
}
