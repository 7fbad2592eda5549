//! HTTP to the server: one request in, one JSON value or one [`ClientError`] out. No knowledge of any route.

use std::io::{BufReader, Read as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::problem::Problem;
use crate::roots;

/// Under the server's own deadline of 30 s per request there is always an answer; this is for a dead network.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server sends a comment every 15 s; three missed ones mean that nobody is there.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(45);
/// Command output is at most 2 MiB a stream; a page of 500 rows with output tails stays below 4 MiB.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Attempts of a request that may safely be repeated, and the pauses between them.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
const BASE: &str = "/api/v1";

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{}", .0.for_people())]
    Problem(Box<Problem>),
    #[error("cannot reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("the server's answer is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("the connection to {server} broke: {reason}")]
    Broken { server: String, reason: String },
    #[error("not a server address: {0}")]
    BadAddress(String),
}

pub struct Client {
    agent: Agent,
    server: String,
    token: Mutex<Option<String>>,
    renew: Option<Renew>,
}

/// Exchanges a token that was refused for one that is not; `None` if that cannot be done.
pub type Renew = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A request below `/api/v1`.
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: Option<&'a Value>,
    /// Makes a repeated POST answer what the first one did.
    pub idempotency_key: Option<&'a str>,
    pub if_match: Option<&'a str>,
}

impl Client {
    /// `roots`: trusted certificates as PEM; `None` for the machine's own.
    pub fn new(
        server: &str,
        token: Option<String>,
        roots: Option<&[u8]>,
    ) -> Result<Self, ClientError> {
        let server = server.trim_end_matches('/').to_owned();
        if !(server.starts_with("http://") || server.starts_with("https://")) {
            return Err(ClientError::BadAddress(format!(
                "{server} (http://… or https://… is expected)"
            )));
        }
        let roots = match roots {
            Some(pem) => roots::parse(pem),
            None => roots::of_this_machine(),
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(STREAM_SILENCE_MAX))
            .user_agent(concat!("fleetwright/", env!("CARGO_PKG_VERSION")))
            .tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::from(roots))
                    .build(),
            )
            .build()
            .into();
        Ok(Self {
            agent,
            server,
            token: Mutex::new(token),
            renew: None,
        })
    }

    #[must_use]
    pub fn with_renewal(self, renew: Renew) -> Self {
        Self {
            renew: Some(renew),
            ..self
        }
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(&Call {
            method: Method::GET,
            path,
            body: None,
            idempotency_key: None,
            if_match: None,
        })
    }

    pub fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(&Call {
            method: Method::DELETE,
            path,
            body: None,
            idempotency_key: None,
            if_match: None,
        })
    }

    pub fn patch(&self, path: &str, body: &Value, if_match: &str) -> Result<Value, ClientError> {
        self.call(&Call {
            method: Method::PATCH,
            path,
            body: Some(body),
            idempotency_key: None,
            if_match: Some(if_match),
        })
    }

    pub fn put(
        &self,
        path: &str,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<Value, ClientError> {
        self.call(&Call {
            method: Method::PUT,
            path,
            body: Some(body),
            idempotency_key: None,
            if_match,
        })
    }

    /// A POST that changes nothing or may be repeated without a key.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(&Call {
            method: Method::POST,
            path,
            body: Some(body),
            idempotency_key: None,
            if_match: None,
        })
    }

    /// A POST that is refused if what it is about has changed since it was read.
    pub fn post_if(&self, path: &str, body: &Value, if_match: &str) -> Result<Value, ClientError> {
        self.call(&Call {
            method: Method::POST,
            path,
            body: Some(body),
            idempotency_key: None,
            if_match: Some(if_match),
        })
    }

    /// A POST that creates: safe to repeat, because all attempts carry the same fresh key.
    pub fn create(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let key = uuid::Uuid::new_v4().to_string();
        self.call(&Call {
            method: Method::POST,
            path,
            body: Some(body),
            idempotency_key: Some(&key),
            if_match: None,
        })
    }

    pub fn call(&self, call: &Call<'_>) -> Result<Value, ClientError> {
        let repeatable = call.idempotency_key.is_some() || call.method == Method::GET;
        let mut pauses = RETRY_PAUSES
            .iter()
            .take(if repeatable { RETRY_PAUSES.len() } else { 0 });
        loop {
            let result = self.with_fresh_token(|| self.call_once(call));
            match (&result, pauses.next()) {
                (Err(error), Some(pause)) if is_passing(error) => rest(*pause),
                _ => return result,
            }
        }
    }

    /// Opens a stream of server-sent events.
    pub fn events(
        &self,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Result<impl std::io::BufRead + use<>, ClientError> {
        self.with_fresh_token(|| {
            let mut request = self
                .request(Method::GET, path)
                .header("accept", "text/event-stream");
            if let Some(id) = last_event_id {
                request = request.header("last-event-id", id);
            }
            let request = request
                .body(())
                .map_err(|error| ClientError::BadAddress(error.to_string()))?;
            let response = self
                .agent
                .run(request)
                .map_err(|error| self.unreachable(&error))?;
            let response = self.accepted(response)?;
            Ok(BufReader::new(response.into_body().into_reader()))
        })
    }

    /// Does it again if the token was refused and another one can be had.
    fn with_fresh_token<T>(
        &self,
        work: impl Fn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let result = work();
        let is_refused =
            matches!(&result, Err(ClientError::Problem(problem)) if problem.status == 401);
        let (true, Some(renew)) = (is_refused, &self.renew) else {
            return result;
        };
        let refused = self.token().unwrap_or_default();
        match renew(&refused) {
            Some(fresh) => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
                work()
            }
            None => result,
        }
    }

    fn token(&self) -> Option<String> {
        let token = self.token.lock();
        token.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn call_once(&self, call: &Call<'_>) -> Result<Value, ClientError> {
        let mut request = self
            .request(call.method.clone(), call.path)
            .header("accept", "application/json");
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(tag) = call.if_match {
            request = request.header("if-match", tag);
        }
        let body = call.body.map(Value::to_string);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let response = match body {
            Some(text) => self.send(request.body(text))?,
            None => self.send(request.body(()))?,
        };
        let bytes = self.bytes(self.accepted(response)?)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(ClientError::NotJson)
    }

    fn request(&self, method: Method, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{BASE}{path}", self.server));
        match self.token() {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn send<B: ureq::AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
    ) -> Result<Response<Body>, ClientError> {
        let request = request.map_err(|error| ClientError::BadAddress(error.to_string()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        self.agent
            .run(request)
            .map_err(|error| self.unreachable(&error))
    }

    fn accepted(&self, response: Response<Body>) -> Result<Response<Body>, ClientError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.bytes(response)?;
        Err(ClientError::Problem(Box::new(Problem::parse(
            status, &body,
        ))))
    }

    fn bytes(&self, response: Response<Body>) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(BODY_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| ClientError::Broken {
                server: self.server.clone(),
                reason: error.to_string(),
            })?;
        Ok(bytes)
    }

    fn unreachable(&self, error: &ureq::Error) -> ClientError {
        ClientError::Unreachable {
            server: self.server.clone(),
            reason: error.to_string(),
        }
    }
}

/// One segment of a path: what is not unreserved in RFC 3986 is escaped.
pub fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

/// Waits before the next attempt.
#[expect(
    clippy::disallowed_methods,
    reason = "a back-off has nothing to wait on but time"
)]
pub fn rest(pause: Duration) {
    std::thread::sleep(pause);
}

/// Whether the same request may well succeed a moment later.
pub fn is_passing(error: &ClientError) -> bool {
    match error {
        // In progress: an attempt whose answer was lost, and which the server still carries out.
        ClientError::Problem(problem) => {
            problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16()
                || problem.code == "in-progress"
        }
        ClientError::Unreachable { .. } | ClientError::Broken { .. } => true,
        ClientError::NotJson(_) | ClientError::BadAddress(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_cannot_leave_its_place() {
        assert_eq!(escape("web 1/../x?"), "web%201%2F..%2Fx%3F");
    }

    #[test]
    fn an_address_without_a_scheme_is_refused() {
        assert!(Client::new("localhost:80", None, None).is_err());
    }

    #[test]
    fn only_what_may_pass_by_itself_is_repeated() {
        let problem = |status| {
            ClientError::Problem(Box::new(Problem {
                status,
                ..Problem::default()
            }))
        };
        assert!(is_passing(&problem(503)));
        assert!(!is_passing(&problem(500)));
        assert!(!is_passing(&problem(409)));
    }
}
