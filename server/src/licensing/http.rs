//! `/license`: what is licensed, putting a licence beside those of other keys or in place of its key's, taking one away, and
//! the way back for a server whose clock was once ahead.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use fleetwright_signing::Claims;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Licensing;
use super::actions::{self, InstallError};
use super::decide::{self, Entitlement, Licensed};
use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::http::{JsonBody, Problem, Timestamp, from_input};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_license, put_license))
        .routes(routes!(delete_license))
        .routes(routes!(reset_floor))
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
    /// One of each signer, the best first, which is the one above.
    licenses: Vec<OneLicense>,
}

/// The licence of one signer, for the modules that this signer has signed.
#[derive(Debug, Serialize, ToSchema)]
struct OneLicense {
    /// The name that `trusted_keys` gives the key's owner, or the key.
    signer: String,
    key_id: String,
    development: bool,
    /// `active`, `grace` or `expired`.
    state: &'static str,
    customer: String,
    features: Vec<String>,
    unknown_features: Vec<String>,
    modules: BTreeMap<String, String>,
    issued_at: Timestamp,
    not_before: Timestamp,
    expires_at: Timestamp,
    grace_ends_at: Timestamp,
    max_hosts: Option<u64>,
    host_limit_exceeded: bool,
}

/// The licences in force.
#[utoipa::path(get, path = "/license", tag = "license", responses((status = OK, body = LicenseView)))]
async fn get_license(State(app): State<AppState>) -> Json<LicenseView> {
    Json(view(&app.licensing))
}

/// Stores a licence, in place of the one of the same key. Those of other keys stay.
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

/// Takes a key's stored licence away. One from `license_file` stays.
#[utoipa::path(delete, path = "/license/{key_id}", tag = "license",
    params(("key_id" = String, Path, description = "As `GET /license` shows it.")),
    responses((status = OK, body = LicenseView)))]
async fn delete_license(
    State(app): State<AppState>,
    caller: Caller,
    Path(key_id): Path<String>,
) -> Result<Json<LicenseView>, Problem> {
    let is_key = key_id.len() == 16 && key_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key_id = key_id.to_uppercase();
    let removed =
        is_key && actions::remove(&app.licensing, AuditContext::from(&caller), key_id).await?;
    if removed {
        Ok(Json(view(&app.licensing)))
    } else {
        Err(Problem::not_found("license"))
    }
}

/// Lets time count by this server's clock again, after it was once ahead: with a licence the vendor has just issued.
#[utoipa::path(post, path = "/license/floor-reset", tag = "license", request_body = PutLicense,
    responses((status = OK, body = LicenseView)))]
async fn reset_floor(
    State(app): State<AppState>,
    caller: Caller,
    JsonBody(body): JsonBody<PutLicense>,
) -> Result<Json<LicenseView>, Problem> {
    actions::reset_floor(&app.licensing, AuditContext::from(&caller), body.license).await?;
    Ok(Json(view(&app.licensing)))
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::License(_)
            | InstallError::NotInForce(_)
            | InstallError::Expired
            | InstallError::NoProof(_) => {
                Self::invalid_field("/license", "license-invalid", error.to_string())
            }
            InstallError::Db(error) => error.into(),
        }
    }
}

fn view(licensing: &Licensing) -> LicenseView {
    let entitlement = licensing.current();
    let best = entitlement.best();
    let claims = best.map(|license| &license.claims);
    LicenseView {
        state: state(&entitlement),
        reason: entitlement.problem.clone(),
        customer: claims.map(|claims| claims.sub.clone()),
        features: entitlement.feature_states(),
        unknown_features: claims.map(decide::unknown_features).unwrap_or_default(),
        modules: claims.map(modules).unwrap_or_default(),
        issued_at: claims.map(|claims| at(claims.iat)),
        not_before: claims.map(|claims| at(claims.nbf)),
        expires_at: claims.map(|claims| at(claims.exp)),
        grace_ends_at: claims.map(|claims| at(decide::grace_ends_s(claims))),
        max_hosts: claims.and_then(|claims| claims.max_hosts),
        hosts: entitlement.hosts,
        host_limit_exceeded: entitlement.is_over_host_limit(),
        key_id: best.map(|license| license.key_id.clone()),
        development: best.is_some_and(|license| license.development),
        installation_id: licensing.installation_id().to_owned(),
        licenses: entitlement
            .licenses
            .iter()
            .map(|license| one(license, entitlement.outgrows(license)))
            .collect(),
    }
}

fn one(license: &Licensed, host_limit_exceeded: bool) -> OneLicense {
    let claims = &license.claims;
    OneLicense {
        signer: license.signer.clone(),
        key_id: license.key_id.clone(),
        development: license.development,
        state: license.phase.as_str(),
        customer: claims.sub.clone(),
        features: decide::known_features(claims).map(str::to_owned).collect(),
        unknown_features: decide::unknown_features(claims),
        modules: modules(claims),
        issued_at: at(claims.iat),
        not_before: at(claims.nbf),
        expires_at: at(claims.exp),
        grace_ends_at: at(decide::grace_ends_s(claims)),
        max_hosts: claims.max_hosts,
        host_limit_exceeded,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000))
}

fn modules(claims: &Claims) -> BTreeMap<String, String> {
    let modules = claims.modules.iter();
    modules
        .map(|(name, versions)| (name.clone(), versions.to_string()))
        .collect()
}

fn state(entitlement: &Entitlement) -> &'static str {
    match (entitlement.best(), &entitlement.problem) {
        (Some(license), _) => license.phase.as_str(),
        (None, Some(_)) => "invalid",
        (None, None) => "none",
    }
}
