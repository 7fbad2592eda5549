//! Routes of sessions, users and API tokens.

pub mod identified;
mod sessions;
mod tokens;
mod users;

use fleetwright_protocol::Violation;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AuthError;
use super::Role;
use crate::app::AppState;
use crate::http::{At, FromInput, Problem, one_of};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(sessions::log_in))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::log_out))
        .routes(routes!(sessions::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::change, users::delete))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused => Self::unauthenticated(),
            AuthError::Throttled {
                retry_after_seconds,
            } => crate::http::limits::rate_limited(retry_after_seconds),
            AuthError::NotFound(what) => Self::not_found(what),
            AuthError::NameTaken(name) => {
                Self::conflict("name-taken", format!("The name `{name}` is taken."))
            }
            AuthError::LastAdmin => Self::conflict(
                "last-admin",
                "This is the last administrator who can log in; make another one first.",
            ),
            AuthError::Stale => Self::precondition_failed(),
            AuthError::Invalid(found) => Self::invalid(found),
            AuthError::Beyond(found) => beyond(found),
            AuthError::Password(_) | AuthError::FirstPassword(_) | AuthError::Signing => {
                Self::internal(&error)
            }
            AuthError::Db(error) => error.into(),
        }
    }
}

/// 403, with what reaches too far.
fn beyond(found: Vec<Violation>) -> Problem {
    let first = found.first();
    let first = first.map(|first| format!(" {}: {}", first.pointer, first.detail));
    let detail = format!("This exceeds your own rights.{}", first.unwrap_or_default());
    Problem::forbidden(detail).with_errors(found)
}

impl FromInput for Role {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        one_of(&value, at, &Self::ALL.map(|role| (role.as_str(), role)))
    }
}
