//! Who asks a module in a test: an operator, through the same adapter as in the server.

use axum::Router;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;

use crate::sdk::{CallContext, ServerError, adapter};

/// Sends requests to a module's router, through the same adapter as in the server.
#[derive(Clone)]
pub struct TestClient {
    /// The module's, as `start` built it.
    pub router: Router,
    /// Who asks; an operator unless a test says otherwise.
    pub context: CallContext,
}

/// An answer, its body read whole.
#[derive(Debug)]
pub struct TestResponse {
    /// Of HTTP.
    pub status: u16,
    /// As the module set them: the server's own are missing.
    pub headers: http::HeaderMap,
    /// A stream is read to its end.
    pub body: Bytes,
}

impl TestResponse {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl TestClient {
    /// Fails only if the body's stream does.
    pub async fn send(&self, request: Request<Bytes>) -> Result<TestResponse, ServerError> {
        let request = adapter::abi_request(&self.context, request);
        let runtime = tokio::runtime::Handle::current();
        let answer = adapter::serve(self.router.clone(), request, runtime).await;
        let (parts, body) = adapter::collect_response(answer).await?.into_parts();
        let body = http_body_util::Full::new(body)
            .collect()
            .await
            .map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
        Ok(TestResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// A request with a JSON body; `null` sends none.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<TestResponse, ServerError> {
        let mut request = Request::builder().method(method).uri(path);
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            request = request.header("content-type", "application/json");
            Bytes::from(body.to_string())
        };
        let request = request
            .body(bytes)
            .map_err(|error| ServerError::Invalid(error.to_string()))?;
        self.send(request).await
    }
}

/// The context of an operator without a tenant.
pub fn operator() -> CallContext {
    CallContext {
        request_id: "test-request".to_owned(),
        principal: "user:test".to_owned(),
        principal_name: "test".to_owned(),
        role: "operator".to_owned(),
        address: "127.0.0.1".to_owned(),
        ..CallContext::default()
    }
}
