//! What administrators do: set a secret, which makes a new version, and delete it with all of them.

use fleetwright_protocol::limits::SECRET_BYTES_MAX;
use fleetwright_protocol::{Violation, secret};
use serde_json::json;

use super::seal::Place;
use super::store::{self, NewVersion, SecretRow};
use super::{GroupsAnswer, GroupsQuestion, Secrets};
use crate::audit::{self, AuditContext};
use crate::db::DbError;

/// Of each secret so many versions are kept: who has pinned one has had that many changes to follow.
pub const VERSIONS_KEPT: u32 = 10;
/// Groups of one secret.
const GROUPS_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("there is no such secret")]
    NotFound,
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    #[error("the value could not be sealed")]
    Seal,
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A new value, or where a known secret may go.
pub struct NewSecret {
    pub name: String,
    /// None: the secret is there, and only its groups change.
    pub value: Option<Vec<u8>>,
    /// By name or id. None: as it is, which is every host for a new secret. An empty list: every host.
    pub groups: Option<Vec<String>>,
}

/// Sets it, and returns it as it is then.
pub async fn set(
    secrets: &Secrets,
    caller: AuditContext,
    new: NewSecret,
) -> Result<SecretRow, SecretError> {
    let faults = faults(&new);
    if !faults.is_empty() {
        return Err(SecretError::Invalid(faults));
    }
    let groups = match new.groups {
        Some(names) => Some(group_ids(secrets, names).await?),
        None => None,
    };
    let now_us = secrets.now_us();
    let handle = secrets.clone();
    let name = new.name;
    let Some(value) = new.value else {
        return regroup(secrets, caller, name, groups.unwrap_or_default()).await;
    };
    secrets
        .db()
        .write(move |tx| {
            let before = store::load(tx, &name)?;
            let living = before.as_ref().filter(|before| !before.is_deleted);
            let row = SecretRow {
                version: before.as_ref().map_or(0, |before| before.version) + 1,
                groups: groups
                    .or_else(|| living.map(|living| living.groups.clone()))
                    .unwrap_or_default(),
                created_at_us: living.map_or(now_us, |living| living.created_at_us),
                is_deleted: false,
                name,
            };
            let place = Place {
                installation: handle.installation(),
                name: &row.name,
                version: row.version,
            };
            let sealed = handle.key().seal(place, &value);
            let sealed = sealed.map_err(|_| SecretError::Seal)?;
            store::save(tx, &row, now_us)?;
            let version = NewVersion {
                name: &row.name,
                version: row.version,
                key_id: handle.key().id(),
                sealed,
                at_us: now_us,
                by: &caller.principal,
                by_name: &caller.principal_name,
            };
            store::insert_version(tx, version)?;
            let kept = row.version.saturating_sub(VERSIONS_KEPT);
            store::delete_versions(tx, &row.name, kept)?;
            let detail = json!({"version": row.version, "groups": row.groups});
            let entry = audit::entry("secret.set", "secret", &row.name, detail);
            audit::append(tx, now_us, &caller, &entry)?;
            Ok(row)
        })
        .await
}

/// Changes where a secret may go. Its value stays, also one that this server cannot read.
async fn regroup(
    secrets: &Secrets,
    caller: AuditContext,
    name: String,
    groups: Vec<String>,
) -> Result<SecretRow, SecretError> {
    let now_us = secrets.now_us();
    secrets
        .db()
        .write(move |tx| {
            let row = store::load(tx, &name)?.filter(|row| !row.is_deleted);
            let row = row.ok_or(SecretError::NotFound)?;
            let row = SecretRow { groups, ..row };
            store::save(tx, &row, now_us)?;
            let detail = json!({"version": row.version, "groups": row.groups});
            let entry = audit::entry("secret.set", "secret", &row.name, detail);
            audit::append(tx, now_us, &caller, &entry)?;
            Ok(row)
        })
        .await
}

/// Deletes it with all its versions. What was sent is where it was sent; what waits is not sent any more.
pub async fn delete(
    secrets: &Secrets,
    caller: AuditContext,
    name: String,
) -> Result<(), SecretError> {
    if !secret::is_name(&name) {
        return Err(SecretError::NotFound);
    }
    let now_us = secrets.now_us();
    secrets
        .db()
        .write(move |tx| {
            let row = store::load(tx, &name)?.filter(|row| !row.is_deleted);
            let row = row.ok_or(SecretError::NotFound)?;
            let gone = SecretRow {
                is_deleted: true,
                ..row
            };
            store::save(tx, &gone, now_us)?;
            store::delete_versions(tx, &name, gone.version)?;
            let detail = json!({"version": gone.version});
            let entry = audit::entry("secret.delete", "secret", &name, detail);
            Ok(audit::append(tx, now_us, &caller, &entry)?)
        })
        .await
}

fn faults(new: &NewSecret) -> Vec<Violation> {
    let mut found = Vec::new();
    if !secret::is_name(&new.name) {
        let detail = "a secret's name is parts of a-z, 0-9, `.`, `_` and `-`, joined by `/`, at most 128 bytes";
        found.push(Violation::new("", "secret-name-invalid", detail));
    }
    let fits = |value: &Vec<u8>| (1..=SECRET_BYTES_MAX).contains(&value.len());
    if new.value.is_none() && new.groups.is_none() {
        let detail = "a value, groups or both are required";
        found.push(Violation::new("/value", "secret-value-invalid", detail));
    }
    if !new.value.as_ref().is_none_or(fits) {
        let detail = format!("a secret has 1 to {SECRET_BYTES_MAX} bytes");
        found.push(Violation::new("/value", "secret-value-invalid", detail));
    }
    if new
        .groups
        .as_ref()
        .is_some_and(|names| names.len() > GROUPS_MAX)
    {
        let detail = format!("at most {GROUPS_MAX} groups");
        found.push(Violation::new("/groups", "secret-groups-invalid", detail));
    }
    found
}

/// Of groups that are there: a name may go to another group later.
async fn group_ids(secrets: &Secrets, names: Vec<String>) -> Result<Vec<String>, SecretError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let refused = |why: String| {
        let violation = Violation::new("/groups", "secret-groups-invalid", why);
        SecretError::Invalid(vec![violation])
    };
    match secrets.ask_groups(GroupsQuestion::Ids(names)).await {
        Ok(GroupsAnswer::Ids(ids)) if !ids.is_empty() => Ok(ids),
        Ok(GroupsAnswer::Ids(_) | GroupsAnswer::Hosts(_)) => {
            Err(refused("no such groups are known".to_owned()))
        }
        Err(why) => Err(refused(why)),
    }
}
