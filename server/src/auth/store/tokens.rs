//! API tokens.

use uuid::Uuid;

use super::role;
use crate::auth::bearer::TokenDigest;
use crate::auth::{Role, Scopes};
use crate::db::{Db, DbError, Row, Statement, Tx};

/// An API token, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    pub id: Uuid,
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    pub role: Role,
    pub scopes: Scopes,
    pub tenant: Option<String>,
    pub created_by: String,
    pub created_at_us: i64,
    pub expires_at_us: Option<i64>,
    /// To the minute.
    pub last_used_at_us: Option<i64>,
}

const COLUMNS: &str = "id, name, prefix, role, scopes, tenant, created_by, created_at, expires_at, \
    last_used_at";

pub fn insert(tx: &mut Tx<'_>, token: &ApiToken, digest: &TokenDigest) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "INSERT INTO api_tokens (id, name, prefix, role, scopes, tenant, created_by, created_at,
                 expires_at, token_sha256)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(token.id)
        .bind(&token.name)
        .bind(&token.prefix)
        .bind(token.role.as_str())
        .bind(serde_json::json!(token.scopes).to_string())
        .bind(token.tenant.clone())
        .bind(&token.created_by)
        .bind(token.created_at_us)
        .bind(token.expires_at_us)
        .bind(digest),
    )?;
    Ok(())
}

/// Revokes; whether there was such a token.
pub fn revoke(tx: &mut Tx<'_>, id: Uuid, now_us: i64) -> Result<bool, DbError> {
    let changed = tx.execute(
        Statement::new(
            "UPDATE api_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
        )
        .bind(id)
        .bind(now_us),
    )?;
    Ok(changed > 0)
}

pub fn set_last_used(tx: &mut Tx<'_>, id: Uuid, at_us: i64) -> Result<(), DbError> {
    tx.execute(
        Statement::new("UPDATE api_tokens SET last_used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(at_us),
    )?;
    Ok(())
}

/// Deletes at most `limit` tokens that were revoked or had expired before `before_us`; returns how many.
pub fn delete_dead(tx: &mut Tx<'_>, before_us: i64, limit: u32) -> Result<u64, DbError> {
    tx.execute(
        Statement::new(
            "DELETE FROM api_tokens WHERE id IN (
                 SELECT id FROM api_tokens WHERE revoked_at < $1 OR expires_at < $1 LIMIT $2)",
        )
        .bind(before_us)
        .bind(limit),
    )
}

/// The token with this digest, unless revoked. It may have expired.
pub async fn by_digest(db: &Db, digest: &TokenDigest) -> Result<Option<ApiToken>, DbError> {
    let rows = db
        .read(
            Statement::new(format!(
                "SELECT {COLUMNS} FROM api_tokens WHERE token_sha256 = $1 AND revoked_at IS NULL"
            ))
            .bind(digest),
        )
        .await?;
    rows.first().map(api_token).transpose()
}

/// The token of this id, unless revoked. It may have expired.
pub async fn get(db: &Db, id: Uuid) -> Result<Option<ApiToken>, DbError> {
    let rows = db
        .read(
            Statement::new(format!(
                "SELECT {COLUMNS} FROM api_tokens WHERE id = $1 AND revoked_at IS NULL"
            ))
            .bind(id),
        )
        .await?;
    rows.first().map(api_token).transpose()
}

/// Tokens not revoked, in order of creation, after `after` (exclusive).
pub async fn page(db: &Db, after: Option<Uuid>, limit: u32) -> Result<Vec<ApiToken>, DbError> {
    let rows = db
        .read(
            Statement::new(format!(
                "SELECT {COLUMNS} FROM api_tokens WHERE id > $1 AND revoked_at IS NULL
                 ORDER BY id LIMIT $2"
            ))
            .bind(after.unwrap_or(Uuid::nil()))
            .bind(limit),
        )
        .await?;
    rows.iter().map(api_token).collect()
}

fn api_token(row: Row<'_>) -> Result<ApiToken, DbError> {
    Ok(ApiToken {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        prefix: row.text("prefix")?.to_owned(),
        role: role(row)?,
        scopes: row.json("scopes")?,
        tenant: row.optional_text("tenant")?.map(str::to_owned),
        created_by: row.text("created_by")?.to_owned(),
        created_at_us: row.integer("created_at")?,
        expires_at_us: row.optional_integer("expires_at")?,
        last_used_at_us: row.optional_integer("last_used_at")?,
    })
}
