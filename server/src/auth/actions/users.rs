//! Users: made, changed and removed by administrators. Any change ends the user's sessions, so that nothing
//! outlives the rights it was given with; who is deleted or disabled takes their API tokens along. What may be given to a
//! user, and by whom, is in `decide`.

use fleetwright_protocol::Violation;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::bounds::lock_changer;
use super::super::decide::{Given, may_give};
use super::super::passwords;
use super::super::store::{self, User, sessions, tokens};
use super::super::{Auth, AuthError, Principal, Role};
use super::check_name;
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};
use crate::http::Timestamp;
use crate::http::created::Created;
use crate::http::etag::IfMatch;
use crate::http::idempotency::IdempotencyClaim;

#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    /// A disabled user cannot log in.
    pub disabled: bool,
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub struct NewUser {
    pub name: String,
    pub password: String,
    pub role: Role,
}

/// What to change; `None` leaves it.
#[derive(Debug, Default)]
pub struct UserChange {
    pub password: Option<String>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            role: user.role,
            disabled: user.disabled,
            revision: user.revision,
            created_at: Timestamp(user.created_at_us),
            updated_at: Timestamp(user.updated_at_us),
        }
    }
}

pub async fn create(
    auth: &Auth,
    by: Principal,
    context: AuditContext,
    claim: Option<IdempotencyClaim>,
    new: NewUser,
) -> Result<Created, AuthError> {
    let found: Vec<Violation> = [
        check_name("/name", &new.name),
        passwords::check("/password", &new.password),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !found.is_empty() {
        return Err(AuthError::Invalid(found));
    }
    let hash = auth.passwords.hash(new.password).await?;
    let now = auth.clock.now();
    let now_us = now.wall_us;
    let user = User {
        id: auth.clock.new_id(),
        name: new.name,
        role: new.role,
        disabled: false,
        revision: 1,
        created_at_us: now_us,
        updated_at_us: now_us,
    };
    auth.db
        .write(move |tx| -> Result<Created, AuthError> {
            let given = Given {
                role: Some(user.role),
                password: true,
                enabled: false,
            };
            let bounds = lock_changer(tx, &by, now_us)?;
            may_give(&bounds, given).map_err(AuthError::Beyond)?;
            insert(tx, &user, &hash)?;
            let detail = json!({"name": user.name, "role": user.role});
            let entry = audit::entry("user.create", "user", user.id, detail);
            audit::append(tx, now_us, &context, &entry)?;
            let location = format!("/api/v1/users/{}", user.id);
            let revision = user.revision;
            let created = Created::at(location, &UserView::from(user))?.with_etag(revision);
            created.keep(tx, now.lease_us, claim.as_ref())?;
            Ok(created)
        })
        .await
}

pub async fn change(
    auth: &Auth,
    by: Principal,
    context: AuditContext,
    id: Uuid,
    if_match: IfMatch,
    change: UserChange,
) -> Result<UserView, AuthError> {
    if let Some(password) = &change.password
        && let Some(found) = passwords::check("/password", password)
    {
        return Err(AuthError::Invalid(vec![found]));
    }
    let hash = match change.password.clone() {
        Some(password) => Some(auth.passwords.hash(password).await?),
        None => None,
    };
    let now_us = auth.clock.now_us();
    let identities = auth.identities.clone();
    let has_other_password = hash.is_some();
    let changed = auth
        .db
        .write(move |tx| -> Result<UserView, AuthError> {
            let mut user = store::lock(tx, id)?.ok_or(AuthError::NotFound("user"))?;
            if !if_match.matches(user.revision) {
                return Err(AuthError::Stale);
            }
            let given = Given {
                role: change.role.filter(|role| *role > user.role),
                password: hash.is_some(),
                enabled: user.disabled && change.disabled == Some(false),
            };
            let bounds = lock_changer(tx, &by, now_us)?;
            may_give(&bounds, given).map_err(AuthError::Beyond)?;
            let before = json!({"role": user.role, "disabled": user.disabled});
            user.role = change.role.unwrap_or(user.role);
            user.disabled = change.disabled.unwrap_or(user.disabled);
            user.revision += 1;
            user.updated_at_us = now_us;
            let stays_admin = user.role == Role::Admin && !user.disabled;
            if !stays_admin && !store::has_other_admin(tx, id)? {
                return Err(AuthError::LastAdmin);
            }
            store::update(tx, &user, hash.as_deref())?;
            sessions::end_all(tx, id, now_us)?;
            // For good: whoever is let in again may have been let out because of them.
            let revoked = if user.disabled {
                tokens::revoke_all_of(tx, id, now_us)?
            } else {
                0
            };
            let detail = json!({
                "before": before,
                "after": {"role": user.role, "disabled": user.disabled},
                "password_changed": hash.is_some(),
                "tokens_revoked": revoked,
            });
            let entry = audit::entry("user.update", "user", id, detail);
            audit::append(tx, now_us, &context, &entry)?;
            tx.after_commit(move || identities.forget_all());
            Ok(user.into())
        })
        .await?;
    if has_other_password {
        auth.first_password.used_by(&changed.name);
    }
    Ok(changed)
}

pub async fn delete(auth: &Auth, context: AuditContext, id: Uuid) -> Result<(), AuthError> {
    let now_us = auth.clock.now_us();
    let identities = auth.identities.clone();
    let name = auth
        .db
        .write(move |tx| -> Result<String, AuthError> {
            let user = store::lock(tx, id)?.ok_or(AuthError::NotFound("user"))?;
            if !store::has_other_admin(tx, id)? {
                return Err(AuthError::LastAdmin);
            }
            store::delete(tx, id)?;
            let revoked = tokens::revoke_all_of(tx, id, now_us)?;
            let detail = json!({"name": user.name, "tokens_revoked": revoked});
            let entry = audit::entry("user.delete", "user", id, detail);
            audit::append(tx, now_us, &context, &entry)?;
            tx.after_commit(move || identities.forget_all());
            Ok(user.name)
        })
        .await?;
    auth.first_password.used_by(&name);
    Ok(())
}

/// Inserts; a taken name is not a defect.
pub(in crate::auth) fn insert(
    tx: &mut Tx<'_>,
    user: &User,
    password_hash: &str,
) -> Result<(), AuthError> {
    store::insert(tx, user, password_hash).map_err(|error| match error {
        DbError::Unique(_) => AuthError::NameTaken(user.name.clone()),
        DbError::Unavailable(_)
        | DbError::Constraint(_)
        | DbError::Row(_)
        | DbError::Refused(_)
        | DbError::Statement(_)
        | DbError::Unfit(_) => AuthError::Db(error),
    })
}
