//! A small blocking HTTP/1.1 client with nothing hidden: any method, any bytes, kept or fresh connections, event
//! streams. Tests send what no polite client would; the load generator needs to cost little.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// The server answers within its own deadline of 30 s.
pub const TIMEOUT: Duration = Duration::from_secs(45);

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query, as it goes onto the wire.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .bytes(body.to_string().into_bytes())
    }

    #[must_use]
    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self
    }

    fn encode(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `Null` for an empty body; panics for one that is not JSON.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body of an answer with this status; panics with the whole answer otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// A problem's stable code, empty for anything else.
    pub fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|body| body.get("code")?.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// One connection, kept open between exchanges.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: address.to_string(),
        })
    }

    pub fn exchange(&mut self, request: &Request) -> Result<Answer> {
        self.send(request)?;
        let (status, headers) = self.read_head()?;
        let bodiless = request.method == "HEAD" || matches!(status, 100..=199 | 204 | 304);
        let mut body = Vec::new();
        if !bodiless {
            Body::new(&mut self.stream, &headers).read_to_end(&mut body)?;
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    pub fn send(&mut self, request: &Request) -> Result<()> {
        let bytes = request.encode(&self.host);
        let sent = self.stream.get_mut().write_all(&bytes);
        match sent {
            // A server that refuses a large body answers and closes before it has read it all.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends the request and leaves the answer's body open for [`Events`].
    pub fn into_events(mut self, request: &Request) -> Result<Events> {
        self.send(request)?;
        let (status, headers) = self.read_head()?;
        if status != 200 {
            let mut body = Vec::new();
            Body::new(&mut self.stream, &headers).read_to_end(&mut body)?;
            let text = String::from_utf8_lossy(&body).into_owned();
            return Err(Error::other(format!("{status}: {text}")));
        }
        let body = Body::new(self.stream, &headers);
        Ok(Events {
            lines: BufReader::new(body),
        })
    }

    pub fn read_head(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        let first = read_line(&mut self.stream)?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, first.clone()))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut self.stream)?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Error::new(ErrorKind::InvalidData, line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// One request on a connection of its own.
pub fn once(address: SocketAddr, request: &Request) -> Result<Answer> {
    let request = request.clone().header("connection", "close");
    Connection::open(address)?.exchange(&request)
}

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: String,
}

/// A stream of server-sent events. Comments are skipped.
pub struct Events {
    lines: BufReader<Body<BufReader<TcpStream>>>,
}

impl Events {
    /// The next event; `None` when the server ends the stream.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let mut event = Event::default();
        let mut any = false;
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if any {
                    return Ok(Some(event));
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.kind),
                "data" => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                }
                // A comment, or a field of no interest here.
                _ => continue,
            }
            any = true;
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(Error::new(
            ErrorKind::UnexpectedEof,
            "closed before an answer",
        ));
    }
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    Ok(line)
}

/// What is left of a body.
enum Left {
    Bytes(u64),
    /// In the current chunk; `None` before the first.
    Chunked(Option<u64>),
    UntilClosed,
    Nothing,
}

struct Body<S> {
    stream: S,
    left: Left,
}

impl<S: BufRead> Body<S> {
    fn new(stream: S, headers: &[(String, String)]) -> Self {
        let header = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let length = header("content-length").and_then(|text| text.parse().ok());
        let left = match (header("transfer-encoding"), length) {
            (Some("chunked"), _) => Left::Chunked(None),
            (_, Some(bytes)) => Left::Bytes(bytes),
            (_, None) => Left::UntilClosed,
        };
        Self { stream, left }
    }

    fn next_chunk(&mut self, first: bool) -> Result<u64> {
        if !first {
            read_line(&mut self.stream)?;
        }
        let line = read_line(&mut self.stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16)
            .map_err(|_| Error::new(ErrorKind::InvalidData, line.clone()))?;
        if size == 0 {
            read_line(&mut self.stream)?;
        }
        Ok(size)
    }

    fn read_some(&mut self, buffer: &mut [u8], left: u64) -> Result<(usize, u64)> {
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self
            .stream
            .read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if read == 0 && wanted > 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the body was cut off"));
        }
        Ok((read, left - read as u64))
    }
}

impl<S: BufRead> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.left {
            Left::Nothing | Left::Bytes(0) => Ok(0),
            Left::UntilClosed => self.stream.read(buffer),
            Left::Bytes(left) => {
                let (read, left) = self.read_some(buffer, left)?;
                self.left = Left::Bytes(left);
                Ok(read)
            }
            Left::Chunked(Some(left)) if left > 0 => {
                let (read, left) = self.read_some(buffer, left)?;
                self.left = Left::Chunked(Some(left));
                Ok(read)
            }
            Left::Chunked(current) => {
                let size = self.next_chunk(current.is_none())?;
                if size == 0 {
                    self.left = Left::Nothing;
                    return Ok(0);
                }
                self.left = Left::Chunked(Some(size));
                self.read(buffer)
            }
        }
    }
}
