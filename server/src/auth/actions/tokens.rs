//! API tokens: made and revoked by administrators, and within the rights of whoever makes them (`decide`). The secret is
//! shown in the answer that made it and nowhere else; a repetition of that request under its idempotency key shows the token
//! without it.

use fleetwright_protocol::Violation;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::bearer;
use super::super::bounds::lock_maker;
use super::super::decide::{Bounds, within};
use super::super::store::tokens::{self, ApiToken, Owner};
use super::super::{Auth, AuthError, Principal, Role, Scopes};
use super::check_name;
use crate::audit::{self, AuditContext};
use crate::http::Timestamp;
use crate::http::created::Created;
use crate::http::idempotency::IdempotencyClaim;

/// Ten years: longer is the same as for ever, which is said by leaving it out.
const LIFETIME_SECONDS_MAX: u64 = 10 * 366 * 24 * 3600;
/// More scopes than there are areas to name.
const SCOPES_MAX: usize = 64;

#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    pub id: Uuid,
    pub name: String,
    /// The first characters, to tell tokens apart.
    pub prefix: String,
    /// What it was made with.
    pub role: Role,
    /// What it has now: never more than its owner has.
    pub effective_role: Role,
    /// Empty: everything the role may do.
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    pub tenant: Option<String>,
    /// `user:<uuid>` or `token:<uuid>`.
    pub created_by: String,
    /// Whose it is, and with whom it dies: the user who made it, or whose token made it. Null for a token from before owners
    /// were kept: it lives until it is revoked, whatever becomes of whoever made it.
    pub owner: Option<TokenOwnerView>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TokenOwnerView {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTokenView {
    /// The secret. It cannot be shown again; null in a replayed answer.
    #[schema(required)]
    pub token: Option<String>,
    #[serde(flatten)]
    pub view: TokenView,
}

pub struct NewToken {
    pub name: String,
    pub role: Role,
    pub scopes: Vec<String>,
    pub tenant: Option<String>,
    pub expires_in_seconds: Option<u64>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            // One that died with its owner is revoked, so a viewer's is the least there is to show.
            effective_role: token.effective_role().unwrap_or(Role::Viewer),
            owner: match token.owner {
                Owner::Unknown | Owner::Gone(_) => None,
                Owner::User { id, name, role, .. } => Some(TokenOwnerView { id, name, role }),
            },
            id: token.id,
            name: token.name,
            prefix: token.prefix,
            role: token.role,
            scopes: token.scopes,
            tenant: token.tenant,
            created_by: token.created_by,
            created_at: Timestamp(token.created_at_us),
            expires_at: token.expires_at_us.map(Timestamp),
            last_used_at: token.last_used_at_us.map(Timestamp),
        }
    }
}

/// Makes a token that reaches no further than `by`.
pub async fn create(
    auth: &Auth,
    by: Principal,
    context: AuditContext,
    claim: Option<IdempotencyClaim>,
    new: NewToken,
) -> Result<Created, AuthError> {
    let scopes = check(&new).map_err(AuthError::Invalid)?;
    let now = auth.clock.now();
    let now_us = now.wall_us;
    let secret = bearer::new_secret(bearer::API_TOKEN_PREFIX);
    let asked = Bounds {
        role: new.role,
        scopes,
        tenant: new.tenant,
        expires_at_us: new
            .expires_in_seconds
            .map(|seconds| now_us.saturating_add(as_us(seconds))),
    };
    let (id, name) = (auth.clock.new_id(), new.name);
    auth.db
        .write(move |tx| -> Result<Created, AuthError> {
            let maker = lock_maker(tx, &by, now_us)?;
            let made = within(&maker.bounds, asked).map_err(AuthError::Beyond)?;
            let token = ApiToken {
                id,
                name,
                prefix: secret.shown_prefix,
                role: made.role,
                scopes: made.scopes,
                tenant: made.tenant,
                created_by: context.principal.clone(),
                owner: maker.owner,
                parent_id: maker.token_id,
                created_at_us: now_us,
                expires_at_us: made.expires_at_us,
                last_used_at_us: None,
            };
            tokens::insert(tx, &token, &secret.digest)?;
            let detail = json!({
                "name": token.name, "role": token.role, "scopes": token.scopes,
                "tenant": token.tenant, "expires_at": token.expires_at_us.map(Timestamp),
                "owner": token.owner.id(),
            });
            let entry = audit::entry("token.create", "token", token.id, detail);
            audit::append(tx, now_us, &context, &entry)?;
            let location = format!("/api/v1/tokens/{}", token.id);
            let mut shown = CreatedTokenView {
                token: None,
                view: token.into(),
            };
            Created::at(&location, &shown)?.keep(tx, now.lease_us, claim.as_ref())?;
            shown.token = Some(secret.text);
            Ok(Created::at(location, &shown)?)
        })
        .await
}

/// Revokes a token, and with it whatever it has made: that reaches no further in time either.
pub async fn revoke(auth: &Auth, context: AuditContext, id: Uuid) -> Result<(), AuthError> {
    let now_us = auth.clock.now_us();
    let identities = auth.identities.clone();
    auth.db
        .write(move |tx| -> Result<(), AuthError> {
            let revoked = tokens::revoke(tx, id, now_us)?;
            let revoked = revoked.ok_or(AuthError::NotFound("token"))?;
            let detail = json!({"tokens_revoked": revoked});
            let entry = audit::entry("token.revoke", "token", id, detail);
            audit::append(tx, now_us, &context, &entry)?;
            tx.after_commit(move || identities.forget_all());
            Ok(())
        })
        .await
}

fn as_us(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}

fn check(new: &NewToken) -> Result<Scopes, Vec<Violation>> {
    let mut found: Vec<Violation> = check_name("/name", &new.name).into_iter().collect();
    if let Some(tenant) = &new.tenant {
        found.extend(check_name("/tenant", tenant));
    }
    if let Some(seconds) = new.expires_in_seconds
        && !(1..=LIFETIME_SECONDS_MAX).contains(&seconds)
    {
        found.push(Violation::new(
            "/expires_in_seconds",
            "invalid-field",
            format!("A token lives 1 to {LIFETIME_SECONDS_MAX} seconds."),
        ));
    }
    if new.scopes.len() > SCOPES_MAX {
        let detail = format!("At most {SCOPES_MAX} scopes.");
        found.push(Violation::new("/scopes", "invalid-field", detail));
        return Err(found);
    }
    let mut scopes = Vec::with_capacity(new.scopes.len());
    for (index, text) in new.scopes.iter().enumerate() {
        match text.parse() {
            Ok(scope) => scopes.push(scope),
            Err(_) => found.push(Violation::new(
                format!("/scopes/{index}"),
                "invalid-field",
                "Not a scope: an area such as `hosts` or `fleet.bulk`, optionally with `:read`.",
            )),
        }
    }
    if found.is_empty() {
        Ok(Scopes(scopes))
    } else {
        Err(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_a_token_is_said_at_once() {
        let new = NewToken {
            name: String::new(),
            role: Role::Viewer,
            scopes: vec!["hosts".into(), "nonsense".into()],
            tenant: Some("a\nb".into()),
            expires_in_seconds: Some(0),
        };
        let found = check(&new).expect_err("invalid");
        let pointers: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/name", "/tenant", "/expires_in_seconds", "/scopes/1"]
        );
    }
}
