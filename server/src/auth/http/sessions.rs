//! Log-in, refresh, log-out, and who one is.

use axum::Json;
use axum::extract::State;
use fleetwright_protocol::Violation;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::actions::NAME_CHARS_MAX;
use crate::auth::actions::refusals;
use crate::auth::actions::sessions::{self, SessionView};
use crate::auth::bearer::BEARER_CHARS_MAX;
use crate::auth::http::identified::Identified;
use crate::auth::identities::IdentityKind;
use crate::auth::passwords;
use crate::auth::{AuthError, Caller, Role, Scopes};
use crate::http::peer::Peer;
use crate::http::{JsonBody, Problem, from_input, request_id};

#[derive(ToSchema)]
pub struct LogIn {
    username: String,
    password: String,
}

#[derive(ToSchema)]
pub struct Refresh {
    refresh_token: String,
}

from_input!(LogIn { username, password });
from_input!(Refresh { refresh_token });

/// 422 for what can be no credential: nothing is looked up, hashed or kept for it.
fn check_lengths(texts: &[(&str, &str, usize)]) -> Result<(), Problem> {
    let too_long = |(pointer, text, chars_max): &(&str, &str, usize)| {
        let is_too_long = text.len() > *chars_max && text.chars().count() > *chars_max;
        let detail = format!("is longer than {chars_max} characters");
        is_too_long.then(|| Violation::new(*pointer, "invalid-field", detail))
    };
    let found: Vec<Violation> = texts.iter().filter_map(too_long).collect();
    if found.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(found))
    }
}

#[derive(Serialize, ToSchema)]
pub struct Me {
    /// `user:<uuid>` or `token:<uuid>`.
    id: String,
    name: String,
    role: Role,
    tenant: Option<String>,
    /// Empty: everything the role may do.
    #[schema(value_type = Vec<String>)]
    scopes: Scopes,
    /// The session's id, for a user.
    session_id: Option<Uuid>,
}

/// An attempt outlives its client: whoever hangs up while a password is looked at is counted and written down like anybody
/// else, and a right one is no failure.
async fn to_its_end(
    attempt: impl Future<Output = Result<SessionView, AuthError>> + Send + 'static,
) -> Result<Json<SessionView>, Problem> {
    let id = request_id::current().unwrap_or_default();
    let ended = tokio::spawn(request_id::within(id, attempt)).await;
    let view = ended.map_err(|error| Problem::internal(&error))?;
    Ok(Json(view?))
}

/// Log in with a name and a password
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LogIn,
    responses((status = 200, body = SessionView)))]
pub async fn log_in(
    State(app): State<AppState>,
    peer: Peer,
    JsonBody(body): JsonBody<LogIn>,
) -> Result<Json<SessionView>, Problem> {
    check_lengths(&[
        ("/username", &body.username, NAME_CHARS_MAX),
        ("/password", &body.password, passwords::CHARS_MAX),
    ])?;
    let (name, password) = (body.username, body.password);
    let attempt = async move {
        let (id, address) = (&peer.request_id, &peer.address);
        refusals::log_in(&app.auth, id, address, name, password).await
    };
    to_its_end(attempt).await
}

/// Exchange a refresh token for new tokens
///
/// A refresh token works once. Using one twice ends its session.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = SessionView)))]
pub async fn refresh(
    State(app): State<AppState>,
    peer: Peer,
    JsonBody(body): JsonBody<Refresh>,
) -> Result<Json<SessionView>, Problem> {
    let token = ("/refresh_token", &*body.refresh_token, BEARER_CHARS_MAX);
    check_lengths(&[token])?;
    let attempt = async move {
        let (id, address) = (&peer.request_id, &peer.address);
        refusals::refresh(&app.auth, id, address, &body.refresh_token).await
    };
    to_its_end(attempt).await
}

/// End the session
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 204)))]
pub async fn log_out(
    State(app): State<AppState>,
    caller: Caller,
    identified: Identified,
) -> Result<StatusCode, Problem> {
    match identified.0 {
        IdentityKind::Session { session_id, .. } => {
            sessions::log_out(&app.auth, AuditContext::from(&caller), session_id).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        IdentityKind::ApiToken { .. } => Err(Problem::forbidden(
            "An API token has no session; revoke it instead.",
        )),
    }
}

/// Who is calling
#[utoipa::path(get, path = "/auth/me", tag = "auth", responses((status = 200, body = Me)))]
pub async fn me(caller: Caller, identified: Identified) -> Json<Me> {
    let principal = caller.principal;
    Json(Me {
        id: principal.id,
        name: principal.name,
        role: principal.role,
        tenant: principal.tenant,
        scopes: principal.scopes,
        session_id: match identified.0 {
            IdentityKind::Session { session_id, .. } => Some(session_id),
            IdentityKind::ApiToken { .. } => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::poll;
    use http::Request;
    use serde_json::json;
    use tower::ServiceExt as _;

    use crate::app::App;
    use crate::audit::store::{self as audit_store, AuditFilter};
    use crate::clock::ManualClock;
    use crate::config::Config;

    #[tokio::test]
    async fn whoever_hangs_up_while_the_password_is_looked_at_is_written_down() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            data_dir: folder.path().join("data"),
            modules_dir: folder.path().join("modules"),
            ..Config::default()
        };
        crate::install_crypto();
        let clock = ManualClock::at(1_800_000_000_000_000);
        let (app, _workers) = App::build(config, clock, None).await.expect("built");
        let (router, _) = crate::auth::http::router()
            .with_state(app.clone())
            .split_for_parts();
        let body = json!({"username": "nobody", "password": "a long enough password"});
        let request = Request::post("/auth/login")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        let mut asked = Box::pin(router.oneshot(request));
        // It has begun, and then its client is gone.
        assert!(poll!(asked.as_mut()).is_pending());
        drop(asked);
        let filter = AuditFilter {
            action: Some("session.refused".to_owned()),
            ..AuditFilter::default()
        };
        for _ in 0..500 {
            let rows = audit_store::page(&app.db, &filter, i64::MAX, 10).await;
            if rows.expect("read").len() == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nothing was written");
    }
}
