//! What a principal that is not calling may do now: read from the database, so that whoever acts for it later is stopped by
//! what has happened since. Not the way of a request, which proves who it is and is remembered (`identities`).

use uuid::Uuid;

use super::store::tokens::ApiToken;
use super::{Principal, Scopes, store};
use crate::db::{Db, DbError};

/// By its id (`user:<uuid>`, `token:<uuid>`); none if it is deleted, disabled, revoked or expired, or never was.
pub async fn of(db: &Db, principal: &str, now_us: i64) -> Result<Option<Principal>, DbError> {
    Ok(with_end(db, principal, now_us)
        .await?
        .map(|(principal, _)| principal))
}

/// The same, with when it ends by itself, for who remembers it.
pub async fn with_end(
    db: &Db,
    principal: &str,
    now_us: i64,
) -> Result<Option<(Principal, Option<i64>)>, DbError> {
    let Some((kind, id)) = principal.split_once(':') else {
        return Ok(None);
    };
    let Ok(id) = Uuid::try_parse(id) else {
        return Ok(None);
    };
    match kind {
        "user" => {
            let user = store::get(db, id).await?.filter(|user| !user.disabled);
            Ok(user.map(|user| {
                let principal = Principal {
                    id: format!("user:{id}"),
                    name: user.name,
                    role: user.role,
                    tenant: None,
                    scopes: Scopes::default(),
                };
                (principal, None)
            }))
        }
        "token" => {
            let token = store::tokens::get(db, id).await?;
            Ok(token.and_then(|token| {
                let end_us = token.expires_at_us;
                Some((of_token(token, now_us)?, end_us))
            }))
        }
        _ => Ok(None),
    }
}

/// Whom a token stands for now; none if it has expired or died with its owner.
pub fn of_token(token: ApiToken, now_us: i64) -> Option<Principal> {
    if token.expires_at_us.is_some_and(|at_us| at_us <= now_us) {
        return None;
    }
    Some(Principal {
        role: token.effective_role()?,
        id: format!("token:{}", token.id),
        name: token.name,
        tenant: token.tenant,
        scopes: token.scopes,
    })
}
