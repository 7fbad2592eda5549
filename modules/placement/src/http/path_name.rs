//! A product or a tenant in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use fleetwright_plugin_api::sdk::Problem;
use fleetwright_plugin_api::sdk::axum::http::request::Parts;
use fleetwright_protocol::text;

use crate::names::CHARS_MAX;

/// The only parameter of a path, where it is such a name: one line of text. Anything else is 400 `malformed`.
#[derive(Clone, Debug)]
pub struct PathName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::malformed(format!(
                "The name in the path is not one line of at most {CHARS_MAX} characters."
            ))
        };
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| refused())?;
        let name = parameters.iter().map(|(_, name)| name).next();
        name.filter(|name| !name.is_empty() && text::is_line(name, CHARS_MAX))
            .map(|name| Self(name.to_owned()))
            .ok_or_else(refused)
    }
}
