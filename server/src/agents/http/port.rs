//! The agent port: enroll, renew, connect, fetch a blob. The bodies are those of the wire protocol: unknown fields are
//! ignored, because agents and servers are not upgraded in the same minute.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fleetwright_protocol::Session;
use fleetwright_protocol::close::IDENTITY_CONFLICT;
use fleetwright_protocol::enrollment::{
    EnrollRequest, EnrollResponse, RenewRequest, RenewResponse,
};
use fleetwright_protocol::frame::WEBSOCKET_SUBPROTOCOL;
use fleetwright_protocol::limits::FRAME_BYTES_MAX;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio_util::io::ReaderStream;

use super::state::AgentsState;
use crate::agents::blobs::BlobDigest;
use crate::agents::connect::{self, ConnectError};
use crate::agents::connection;
use crate::agents::conversation::ConnectionContext;
use crate::agents::csr::{Csr, CsrError};
use crate::agents::enrollment::{self, EnrollError};
use crate::agents::generations::Denial;
use crate::agents::identity::AgentCertificate;
use crate::agents::renewal::{self, RenewalError};
use crate::audit::AuditContext;
use crate::audit::attempts::{Attempt, Refused};
use crate::auth::actions::refusals;
use crate::hosts::conflicts::Visitor;
use crate::hosts::labels;
use crate::http::Problem;
use crate::http::limits;
use crate::http::peer::{self, PeerCertificate};
use crate::http::request_id;

/// A signing request, and facts, tags and attributes of a host that has very many of them. Nobody has been identified
/// when it is read.
const ENROLL_BYTES_MAX: usize = 64 * 1024;
/// A signing request.
const RENEW_BYTES_MAX: usize = 16 * 1024;
/// A machine that is still there answers a ping well within this; one that has gone costs its next connection this much.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Promised by the API. A connection's conversation and a blob's content come after the answer and are not counted.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a WebSocket: an idle connection holds one such buffer, and there are ten thousand of them. Most frames are far
/// smaller.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Frames that wait for a slow reader; beyond a frame of the largest size and this, the connection is dropped.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

fn at_most(bytes: usize) -> DefaultBodyLimit {
    DefaultBodyLimit::max(bytes)
}

pub(super) fn router(state: AgentsState) -> Router {
    let routes = Router::new()
        .route("/enroll", post(enroll).layer(at_most(ENROLL_BYTES_MAX)))
        .route("/renew", post(renew).layer(at_most(RENEW_BYTES_MAX)))
        .route("/connect", get(connect))
        .route("/blobs/{sha256}", get(blob))
        .layer(middleware::from_fn_with_state(state.clone(), within_limits));
    Router::new()
        .nest("/api/v1/agent", routes)
        .fallback(async || Problem::not_found("route"))
        .method_not_allowed_fallback(async || {
            let detail = "This route does not have that method.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .with_state(state)
}

/// Gives the request its id, and an end.
async fn within_limits(
    State(AgentsState { app, .. }): State<AgentsState>,
    request: Request,
    next: Next,
) -> Response {
    let id = app.clock.new_id().to_string();
    let answer = async {
        match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::unavailable().into_response(),
        }
    };
    let mut response = request_id::within(id.clone(), answer).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn enroll(
    State(AgentsState { app, agents }): State<AgentsState>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body: EnrollRequest = read(body)?;
    let request = enrollment::EnrollRequest {
        token: body.token,
        csr_pem: body.csr_pem,
        reported: labels::harmless(body.facts, body.tags, body.attributes),
    };
    let from = peer::without_port(address);
    let request_id = request_id::current().unwrap_or_default();
    let enrolled = enrollment::enroll(&agents, from.clone(), request_id.clone(), request).await;
    if let Err(EnrollError::Token) = enrolled {
        let counted = agents.count_failed_enrollment(address.ip());
        let refused = Refused {
            attempt: Attempt::Enrollment,
            user: None,
            address: from,
            throttled: counted.is_err(),
        };
        refusals::note(&app.auth, &request_id, &refused);
        counted.map_err(limits::rate_limited)?;
    }
    let enrolled = enrolled?;
    let view = EnrollResponse {
        host_id: enrolled.admitted.host_id,
        certificate_pem: enrolled.certificate_pem,
        ca_pem: agents.authority().certificate_pem().to_owned(),
        approval_status: enrolled.admitted.approval.as_str().to_owned(),
        generation: enrolled.admitted.generation,
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn renew(
    State(AgentsState { agents, .. }): State<AgentsState>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    certificate: AgentCertificate,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RenewResponse>, Problem> {
    let body: RenewRequest = read(body)?;
    let csr = Csr::parse(&body.csr_pem)?;
    let context = AuditContext {
        request_id: request_id::current().unwrap_or_default(),
        address: peer::without_port(address),
        ..AuditContext::system("agents")
    };
    if let Some(violation) = body.session.as_ref().and_then(Session::violation) {
        return Err(Problem::invalid_field(
            "/session",
            "session-invalid",
            violation,
        ));
    }
    let issued = certificate.presented.issued;
    let visitor = Visitor::new(
        context.address.clone(),
        &body.boot_id,
        &body.machine_id,
        issued,
    );
    connect::admit_renewal(&agents, certificate, &csr, body.session, visitor).await?;
    let renewed = renewal::renew(&agents, certificate, &csr, context).await?;
    Ok(Json(RenewResponse {
        certificate_pem: renewed.certificate_pem,
        ca_pem: agents.authority().certificate_pem().to_owned(),
        generation: renewed.generation,
    }))
}

async fn connect(
    State(AgentsState { app, agents }): State<AgentsState>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    certificate: AgentCertificate,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| upgrade_required("This route is a WebSocket."))?;
    let speaks_ours = upgrade
        .requested_protocols()
        .any(|offered| offered == WEBSOCKET_SUBPROTOCOL);
    if !speaks_ours {
        let detail = format!("This server speaks the sub-protocol {WEBSOCKET_SUBPROTOCOL}.");
        return Err(upgrade_required(&detail));
    }
    connect::admit_connection(&agents, certificate).await?;
    let context = ConnectionContext {
        commands: app.commands.clone(),
        hosts: app.hosts.clone(),
        answer_within: ANSWER_WITHIN,
    };
    let address = address.ip().to_string();
    let response = upgrade
        .protocols([WEBSOCKET_SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        // Each frame is written at once; nothing is gathered.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| connection::serve(socket, certificate, address, context));
    Ok(response)
}

async fn blob(
    State(AgentsState { agents, .. }): State<AgentsState>,
    certificate: AgentCertificate,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    let digest = BlobDigest::parse(&digest)
        .ok_or_else(|| Problem::malformed("The path must end with 64 lower-case hex digits."))?;
    connect::admit_download(&agents, certificate).await?;
    let found = agents.blobs().find(digest).await;
    match found.map_err(|error| Problem::internal(&error))? {
        None => Err(Problem::not_found("blob")),
        Some((file, size)) => {
            let headers = [
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/octet-stream"),
                ),
                (header::CONTENT_LENGTH, HeaderValue::from(size)),
            ];
            let content = Body::from_stream(ReaderStream::new(file));
            Ok((headers, content).into_response())
        }
    }
}

/// 401 without a certificate of a host.
impl<S: Sync> FromRequestParts<S> for AgentCertificate {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let presented = parts.extensions.get::<PeerCertificate>();
        presented
            .and_then(|certificate| Self::parse(&certificate.0))
            .ok_or_else(|| {
                let detail = "A client certificate of an enrolled host is required.";
                Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            })
    }
}

impl From<CsrError> for Problem {
    fn from(error: CsrError) -> Self {
        Self::invalid_field("/csr_pem", "csr-invalid", format!("The request {error}."))
    }
}

impl From<EnrollError> for Problem {
    fn from(error: EnrollError) -> Self {
        match error {
            EnrollError::Token => {
                let detail = "The enrollment token is unknown, revoked, expired or used up.";
                Self::new(StatusCode::UNAUTHORIZED, "enrollment-token-invalid", detail)
            }
            EnrollError::Csr(error) => error.into(),
            EnrollError::Rejected => denied(Denial::Rejected),
            EnrollError::Db(error) => error.into(),
            EnrollError::Authority(error) => Self::internal(&error),
        }
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unknown => deleted(),
            ConnectError::Denied(denial) => denied(denial),
            ConnectError::Db(error) => error.into(),
        }
    }
}

impl From<RenewalError> for Problem {
    fn from(error: RenewalError) -> Self {
        match error {
            RenewalError::Unknown => deleted(),
            RenewalError::Denied(denial) => denied(denial),
            RenewalError::Db(error) => error.into(),
            RenewalError::Authority(error) => Self::internal(&error),
        }
    }
}

fn deleted() -> Problem {
    let detail = "The host is not in the inventory any more; enroll it again.";
    Problem::forbidden(detail).with_extension("reason", "deleted")
}

/// `reason` tells the agent's log, and its patience, what to do.
fn denied(denial: Denial) -> Problem {
    match denial {
        Denial::Pending => {
            Problem::forbidden("The host waits for approval.").with_extension("reason", "pending")
        }
        Denial::Rejected => {
            Problem::forbidden("The host was rejected.").with_extension("reason", "rejected")
        }
        Denial::Locked => {
            let detail = "The host is locked: two machines share its identity.";
            Problem::forbidden(detail).with_extension("reason", "locked")
        }
        Denial::Expired => {
            let detail = "The certificate has expired.";
            Problem::new(StatusCode::UNAUTHORIZED, "certificate-expired", detail)
        }
        Denial::Disowned => {
            let detail = "Another machine is this host; enroll this one anew.";
            Problem::forbidden(detail).with_extension("reason", IDENTITY_CONFLICT)
        }
        Denial::Stale => {
            let detail = "A newer certificate of this host is in use.";
            Problem::conflict("stale-generation", detail)
        }
    }
}

fn upgrade_required(detail: &str) -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(WEBSOCKET_SUBPROTOCOL),
        )
}

fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = "The body is larger than this route accepts.";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        } else {
            Problem::malformed("The body could not be read.")
        }
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            Problem::invalid_field("", "invalid-field", error.to_string())
        } else {
            Problem::malformed(format!("The body is not valid JSON: {error}"))
        }
    })
}
