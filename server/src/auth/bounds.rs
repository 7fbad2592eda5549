//! What whoever asks may hand on, as it is in the transaction that hands it on.

use uuid::Uuid;

use super::decide::Bounds;
use super::store::{self, tokens};
use super::{AuthError, Principal, delegation};
use crate::db::Tx;

use tokens::Owner;

/// Whoever makes a token.
pub struct Maker {
    pub bounds: Bounds,
    /// To whom the new token belongs.
    pub owner: Owner,
    /// The token that makes it.
    pub token_id: Option<Uuid>,
}

/// Locks the principal's own row, so that nothing is made by what is being revoked. `Refused`: it is gone.
pub fn lock_maker(tx: &mut Tx<'_>, by: &Principal, now_us: i64) -> Result<Maker, AuthError> {
    if let Some(token_id) = id_of(by, "token:") {
        let (bounds, owner) = lock_token(tx, by, token_id, now_us)?;
        return Ok(Maker {
            bounds,
            owner,
            token_id: Some(token_id),
        });
    }
    let id = id_of(by, "user:").ok_or(AuthError::Refused)?;
    let user = store::lock(tx, id)?.filter(|user| !user.disabled);
    let user = user.ok_or(AuthError::Refused)?;
    Ok(Maker {
        bounds: Bounds {
            role: by.role.min(user.role),
            ..of_principal(by)
        },
        owner: Owner::User {
            id,
            name: user.name,
            role: user.role,
            disabled: false,
        },
        token_id: None,
    })
}

/// The same for who changes users, of whom no row is locked but a token's own: two administrators who change each other
/// would wait for one another.
pub fn lock_changer(tx: &mut Tx<'_>, by: &Principal, now_us: i64) -> Result<Bounds, AuthError> {
    match id_of(by, "token:") {
        Some(id) => Ok(lock_token(tx, by, id, now_us)?.0),
        None => Ok(of_principal(by)),
    }
}

fn lock_token(
    tx: &mut Tx<'_>,
    by: &Principal,
    id: Uuid,
    now_us: i64,
) -> Result<(Bounds, Owner), AuthError> {
    let token = tokens::lock(tx, id)?.ok_or(AuthError::Refused)?;
    let (expires_at_us, owner) = (token.expires_at_us, token.owner.clone());
    let now = delegation::of_token(token, now_us).ok_or(AuthError::Refused)?;
    let bounds = Bounds {
        role: by.role.min(now.role),
        expires_at_us,
        ..of_principal(by)
    };
    Ok((bounds, owner))
}

fn of_principal(by: &Principal) -> Bounds {
    Bounds {
        role: by.role,
        scopes: by.scopes.clone(),
        tenant: by.tenant.clone(),
        expires_at_us: None,
    }
}

fn id_of(by: &Principal, kind: &str) -> Option<Uuid> {
    Uuid::try_parse(by.id.strip_prefix(kind)?).ok()
}
