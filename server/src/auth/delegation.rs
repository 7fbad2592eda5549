//! What a principal that is not calling may do now: read from the database, so that whoever acts for it later is stopped by
//! what has happened since. Not the way of a request, which proves who it is and is remembered (`identities`).

use uuid::Uuid;

use super::{Principal, Scopes, store};
use crate::db::{Db, DbError};

/// By its id (`user:<uuid>`, `token:<uuid>`); none if it is deleted, disabled, revoked or expired, or never was.
pub async fn of(db: &Db, principal: &str, now_us: i64) -> Result<Option<Principal>, DbError> {
    let Some((kind, id)) = principal.split_once(':') else {
        return Ok(None);
    };
    let Ok(id) = Uuid::try_parse(id) else {
        return Ok(None);
    };
    match kind {
        "user" => {
            let user = store::get(db, id).await?.filter(|user| !user.disabled);
            Ok(user.map(|user| Principal {
                id: principal.to_owned(),
                name: user.name,
                role: user.role,
                tenant: None,
                scopes: Scopes::default(),
            }))
        }
        "token" => {
            let token = store::tokens::get(db, id).await?;
            let live = token.filter(|token| token.expires_at_us.is_none_or(|at_us| at_us > now_us));
            Ok(live.map(|token| Principal {
                id: principal.to_owned(),
                name: token.name,
                role: token.role,
                tenant: token.tenant,
                scopes: token.scopes,
            }))
        }
        _ => Ok(None),
    }
}
