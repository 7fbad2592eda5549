//! Log-in, refresh with rotation, log-out. A refresh token that is used a second time was stolen from one of its
//! two users: its session ends at once.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::attempts::{Attempt, Begun};
use super::super::bearer::{self, NewSecret};
use super::super::passwords::Asker;
use super::super::session_token::{self, SessionClaim};
use super::super::store::sessions::SessionUser;
use super::super::store::{self, User, sessions};
use super::super::{Auth, AuthError, Role};
use crate::audit::{self, AuditContext};
use crate::db::Tx;

/// After this a person types the password again, however often the session was refreshed.
const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a client gets for valid credentials.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    pub expires_in_seconds: u64,
    /// Exchange it at `/auth/refresh`; it works once.
    pub refresh_token: String,
    pub user: SessionUserView,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionUserView {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
}

/// Checks the password and opens a session.
pub async fn log_in(
    auth: &Auth,
    request_id: &str,
    address: &str,
    name: String,
    password: String,
) -> Result<SessionView, AuthError> {
    let now = auth.clock.now();
    let (now_us, moment_us) = (now.wall_us, auth.clock.monotonic_us());
    let attempt = auth
        .attempts
        .begin(address, &name, moment_us)
        .map_err(throttled)?;
    let found = verified(auth, &attempt, &name, password)
        .await
        // Nobody has looked at the password.
        .inspect_err(|_| auth.attempts.give_back(&attempt))?;
    let Some(user) = found else {
        tracing::warn!(address, "a log-in was refused");
        return Err(AuthError::Refused);
    };
    // Only failures count against the limits.
    auth.attempts.give_back(&attempt);
    auth.attempts.remember(address, &name);
    auth.attempts
        .count_session(Begun::SignIn, user.id, moment_us)
        .map_err(throttled)?;
    let session = SessionUser {
        session_id: auth.clock.new_id(),
        user_id: user.id,
        name: user.name,
        role: user.role,
        expires_at_us: now_us.saturating_add(as_us(SESSION_LIFETIME)),
    };
    let refresh = bearer::new_secret(bearer::REFRESH_TOKEN_PREFIX);
    let context = context(&session, request_id, address);
    let written = session.clone();
    let digest = refresh.digest;
    auth.db
        .write(move |tx| -> Result<(), AuthError> {
            let id = written.session_id;
            sessions::insert(tx, id, written.user_id, now_us, written.expires_at_us)?;
            sessions::insert_refresh_token(tx, &digest, id, now_us)?;
            let entry = audit::entry("session.create", "session", id, json!({}));
            Ok(audit::append(tx, now_us, &context, &entry)?)
        })
        .await?;
    auth.first_password.used_by(&session.name);
    view(auth, now.lease_us, session, refresh)
}

/// The user of this name, if it is the right password.
async fn verified(
    auth: &Auth,
    attempt: &Attempt,
    name: &str,
    password: String,
) -> Result<Option<User>, AuthError> {
    let found = if super::check_name("", name).is_none() {
        store::by_name(&auth.db, name).await?
    } else {
        None
    };
    let (user, stored) = found.unzip();
    let asker = if attempt.is_familiar() {
        Asker::Known(attempt.name())
    } else {
        Asker::Stranger(attempt.address())
    };
    let is_right = auth.passwords.verify(password, stored, asker).await?;
    Ok(user.filter(|_| is_right))
}

/// Exchanges a refresh token for new tokens. A valid one is asked for no limit but its user's own: the failures of others do
/// not end a session.
pub async fn refresh(
    auth: &Auth,
    request_id: &str,
    address: &str,
    token: &str,
) -> Result<SessionView, AuthError> {
    let now = auth.clock.now();
    let (now_us, moment_us) = (now.wall_us, auth.clock.monotonic_us());
    if !token.starts_with(bearer::REFRESH_TOKEN_PREFIX) || token.len() > bearer::BEARER_CHARS_MAX {
        return Err(refused(auth, address, moment_us));
    }
    let digest = bearer::digest(token);
    // Looked up before the one writer is asked: neither what is no token nor what was one costs everybody's writes. A used
    // one of a live session gets there, once, and ends it.
    let Some((user_id, is_used)) = sessions::of_refresh_token(&auth.db, &digest, now_us).await?
    else {
        return Err(refused(auth, address, moment_us));
    };
    if !is_used {
        // Before it is used: it works when its time has come.
        auth.attempts
            .count_session(Begun::Refresh, user_id, moment_us)
            .map_err(throttled)?;
    }
    let fresh = bearer::new_secret(bearer::REFRESH_TOKEN_PREFIX);
    let fresh_digest = fresh.digest;
    let peer = address.to_owned();
    let (request_id, address) = (request_id.to_owned(), address.to_owned());
    let identities = auth.identities.clone();
    let session = auth
        .db
        .write(move |tx| -> Result<Option<SessionUser>, AuthError> {
            let Some(known) = sessions::lock_refresh_token(tx, &digest)? else {
                return Ok(None);
            };
            let Some(session) = sessions::live_in(tx, known.session_id, now_us)? else {
                return Ok(None);
            };
            let context = context(&session, &request_id, &address);
            if known.used {
                end_for_reuse(tx, now_us, &session, &context)?;
                tx.after_commit(move || identities.forget_all());
                return Ok(None);
            }
            sessions::use_refresh_token(tx, &digest, now_us)?;
            sessions::insert_refresh_token(tx, &fresh_digest, session.session_id, now_us)?;
            let id = session.session_id;
            let entry = audit::entry("session.refresh", "session", id, json!({}));
            audit::append(tx, now_us, &context, &entry)?;
            Ok(Some(session))
        })
        .await?;
    let session = session.ok_or_else(|| refused(auth, &peer, moment_us))?;
    auth.attempts.remember(&peer, &session.name);
    view(auth, now.lease_us, session, fresh)
}

/// Counts a refresh token that is none.
fn refused(auth: &Auth, address: &str, moment_us: i64) -> AuthError {
    let counted = auth.attempts.count_failure(address, moment_us);
    counted.map_or_else(throttled, |()| AuthError::Refused)
}

fn throttled(retry_after_seconds: u64) -> AuthError {
    AuthError::Throttled {
        retry_after_seconds,
    }
}

/// Ends the session; its tokens are refused from now on.
pub async fn log_out(
    auth: &Auth,
    context: AuditContext,
    session_id: Uuid,
) -> Result<(), AuthError> {
    let now_us = auth.clock.now_us();
    let identities = auth.identities.clone();
    auth.db
        .write(move |tx| -> Result<(), AuthError> {
            if sessions::end(tx, session_id, now_us)? {
                let entry = audit::entry("session.end", "session", session_id, json!({}));
                audit::append(tx, now_us, &context, &entry)?;
            }
            tx.after_commit(move || identities.forget_all());
            Ok(())
        })
        .await
}

fn end_for_reuse(
    tx: &mut Tx<'_>,
    now_us: i64,
    session: &SessionUser,
    context: &AuditContext,
) -> Result<(), AuthError> {
    let id = session.session_id;
    tracing::warn!(session = %id, "a refresh token was used twice; its session ends");
    sessions::end(tx, id, now_us)?;
    let detail = json!({"reason": "refresh token used twice"});
    let entry = audit::entry("session.end", "session", id, detail);
    Ok(audit::append(tx, now_us, context, &entry)?)
}

fn context(session: &SessionUser, request_id: &str, address: &str) -> AuditContext {
    AuditContext {
        request_id: request_id.to_owned(),
        principal: format!("user:{}", session.user_id),
        principal_name: session.name.clone(),
        tenant: None,
        address: address.to_owned(),
    }
}

fn view(
    auth: &Auth,
    lease_us: i64,
    session: SessionUser,
    refresh: NewSecret,
) -> Result<SessionView, AuthError> {
    let claim = SessionClaim {
        session_id: session.session_id,
        user_id: session.user_id,
    };
    Ok(SessionView {
        access_token: auth
            .session_tokens
            .sign(lease_us, claim)
            .ok_or(AuthError::Signing)?,
        token_type: "Bearer",
        expires_in_seconds: session_token::LIFETIME.as_secs(),
        refresh_token: refresh.text,
        user: SessionUserView {
            id: session.user_id,
            name: session.name,
            role: session.role,
        },
    })
}

fn as_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
