//! `/license`: what is licensed, and putting another licence in its place.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Licensing;
use super::actions::{self, InstallError};
use super::decide::{self, Entitlement};
use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::http::{JsonBody, Problem, Timestamp, from_input};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_license, put_license))
}

#[derive(Debug, ToSchema)]
struct PutLicense {
    /// The licence's text, as the vendor sent it.
    license: String,
}

from_input!(PutLicense { license });

#[derive(Debug, Serialize, ToSchema)]
struct LicenseView {
    /// `active`, `grace`, `expired`, `invalid` or `none`.
    state: &'static str,
    /// Why an offered licence is not in force.
    reason: Option<String>,
    customer: Option<String>,
    /// `active`, `grace`, `expired`, or `none` for one that an earlier licence granted.
    features: BTreeMap<String, &'static str>,
    /// Codes this server does not know; they grant nothing here.
    unknown_features: Vec<String>,
    /// Modules the licence is limited to, with the versions; empty: any.
    modules: BTreeMap<String, String>,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    grace_ends_at: Option<Timestamp>,
    max_hosts: Option<u64>,
    /// Approved hosts, which is what `max_hosts` limits.
    hosts: u64,
    host_limit_exceeded: bool,
    key_id: Option<String>,
    /// Signed with a development key.
    development: bool,
    /// Name it to the vendor for a licence that is bound to this installation.
    installation_id: String,
}

/// The licence in force.
#[utoipa::path(get, path = "/license", tag = "license", responses((status = OK, body = LicenseView)))]
async fn get_license(State(app): State<AppState>) -> Json<LicenseView> {
    Json(view(&app.licensing))
}

/// Replaces the licence.
#[utoipa::path(put, path = "/license", tag = "license", request_body = PutLicense,
    responses((status = OK, body = LicenseView)))]
async fn put_license(
    State(app): State<AppState>,
    caller: Caller,
    JsonBody(body): JsonBody<PutLicense>,
) -> Result<Json<LicenseView>, Problem> {
    actions::install(&app.licensing, AuditContext::from(&caller), body.license).await?;
    Ok(Json(view(&app.licensing)))
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::License(_) | InstallError::NotInForce(_) | InstallError::Expired => {
                Self::invalid_field("/license", "license-invalid", error.to_string())
            }
            InstallError::Db(error) => error.into(),
        }
    }
}

fn view(licensing: &Licensing) -> LicenseView {
    let entitlement = licensing.current();
    let claims = entitlement.license.as_ref().map(|license| &license.claims);
    let at = |seconds: i64| Timestamp(seconds.saturating_mul(1_000_000));
    LicenseView {
        state: state(&entitlement),
        reason: entitlement.problem.clone(),
        customer: claims.map(|claims| claims.sub.clone()),
        features: entitlement.feature_states(),
        unknown_features: claims.map(decide::unknown_features).unwrap_or_default(),
        modules: claims
            .map(|claims| {
                let modules = claims.modules.iter();
                modules
                    .map(|(name, versions)| (name.clone(), versions.to_string()))
                    .collect()
            })
            .unwrap_or_default(),
        issued_at: claims.map(|claims| at(claims.iat)),
        not_before: claims.map(|claims| at(claims.nbf)),
        expires_at: claims.map(|claims| at(claims.exp)),
        grace_ends_at: claims.map(|claims| at(decide::grace_ends_s(claims))),
        max_hosts: claims.and_then(|claims| claims.max_hosts),
        hosts: entitlement.hosts,
        host_limit_exceeded: entitlement.is_over_host_limit(),
        key_id: entitlement
            .license
            .as_ref()
            .map(|license| license.key_id.clone()),
        development: entitlement
            .license
            .as_ref()
            .is_some_and(|license| license.development),
        installation_id: licensing.installation_id().to_owned(),
    }
}

fn state(entitlement: &Entitlement) -> &'static str {
    match (&entitlement.license, &entitlement.problem) {
        (Some(license), _) => license.phase.as_str(),
        (None, Some(_)) => "invalid",
        (None, None) => "none",
    }
}
