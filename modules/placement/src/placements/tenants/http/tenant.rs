//! The tenant in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use fleetwright_plugin_api::sdk::Problem;
use fleetwright_plugin_api::sdk::axum::http::request::Parts;
use fleetwright_protocol::text;

use crate::placements::request::TENANT_CHARS_MAX;

/// A tenant's id: one line of text. Anything else is 400 `malformed`.
#[derive(Clone, Debug)]
pub struct TenantPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for TenantPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::malformed(format!(
                "The tenant in the path is not one line of at most {TENANT_CHARS_MAX} characters."
            ))
        };
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| refused())?;
        let tenant = parameters.iter().map(|(_, tenant)| tenant).next();
        tenant
            .filter(|tenant| !tenant.is_empty() && text::is_line(tenant, TENANT_CHARS_MAX))
            .map(|tenant| Self(tenant.to_owned()))
            .ok_or_else(refused)
    }
}
