//! What surrounds every request: its id, its time limit, a net under panics, the safety headers, and the books
//! (metrics, log).

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::access::{self, Access, BodySize, Lookup};
use crate::app::AppState;
use crate::config::Config;
use crate::http::Problem;
use crate::http::peer::ClientAddress;
use crate::http::{forwarded, limits, request_id};
use crate::telemetry;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost middleware.
pub async fn envelop(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let id = app.clock.new_id().to_string();
    let started_us = app.clock.monotonic_us();
    let method = request.method().clone();
    let pattern = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let limit = time_limit(&request, &pattern);
    let request = from_client(request, &app.config);
    let mut response = request_id::within(id.clone(), serve(request, next, limit)).await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(&id) {
        headers.insert(X_REQUEST_ID, value);
    }
    add_safety_headers(headers);
    let status = response.status();
    let took_us = app.clock.monotonic_us().saturating_sub(started_us);
    let took = Duration::from_micros(took_us.unsigned_abs());
    telemetry::count_request(&method, &pattern, status.as_u16(), took);
    if status.is_server_error() {
        let method = telemetry::method_label(&method);
        tracing::warn!(request_id = %id, method, route = %pattern, status = status.as_u16(), "answered");
    } else {
        let method = telemetry::method_label(&method);
        tracing::debug!(request_id = %id, method, route = %pattern, status = status.as_u16(), "answered");
    }
    response
}

/// Says where a request comes from that a trusted proxy has handed on.
fn from_client(mut request: Request, config: &Config) -> Request {
    let trusted = &config.trusted_proxies;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.ip());
    if let Some(peer) = peer.filter(|_| !trusted.is_empty()) {
        let client = forwarded::client(peer, request.headers(), config.forwarded_header, trusted);
        request.extensions_mut().insert(ClientAddress(client));
    }
    request
}

async fn serve(request: Request, next: Next, limit: Duration) -> Response {
    if uri_length(&request) > limits::URI_BYTES_MAX {
        let detail = "The URI is longer than 8 KiB.";
        return Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", detail).into_response();
    }
    if names_nul(&request) {
        return Problem::malformed("The URI has a NUL character in it.").into_response();
    }
    let served = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, served).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic hook has logged what happened.
            tracing::error!(request_id = request_id::current(), "a handler panicked");
            Problem::internal_silent().into_response()
        }
        Err(_) => {
            let detail = "The request was not complete in time.";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

fn time_limit(request: &Request, pattern: &str) -> Duration {
    match access::rule(request.method(), pattern) {
        Lookup::Known(rule) if rule.body == BodySize::Blob => limits::BLOB_TIMEOUT,
        Lookup::Known(rule) if rule.access == Access::Fleet => limits::FLEET_TIMEOUT,
        Lookup::Known(_) | Lookup::OtherMethod { .. } | Lookup::Unknown => limits::REQUEST_TIMEOUT,
    }
}

fn uri_length(request: &Request) -> usize {
    request
        .uri()
        .path_and_query()
        .map_or(0, |path| path.as_str().len())
}

/// PostgreSQL takes no NUL in a text, and nothing has one in its name: so no filter need look for it.
fn names_nul(request: &Request) -> bool {
    request
        .uri()
        .path_and_query()
        .is_some_and(|path| path.as_str().contains("%00"))
}

fn add_safety_headers(headers: &mut http::HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
}
