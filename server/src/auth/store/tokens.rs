//! API tokens, each read with the user it belongs to.

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
    /// What it was made with; [`ApiToken::effective_role`] is what it has.
    pub role: Role,
    pub scopes: Scopes,
    pub tenant: Option<String>,
    pub created_by: String,
    pub owner: Owner,
    /// The token that made it.
    pub parent_id: Option<Uuid>,
    pub created_at_us: i64,
    pub expires_at_us: Option<i64>,
    /// To the minute.
    pub last_used_at_us: Option<i64>,
}

/// Whose a token is: who made it, or whose token made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It was made before owners were kept.
    Unknown,
    /// Deleted, and nobody who is made since is the same, whatever their name.
    Gone(Uuid),
    User {
        id: Uuid,
        name: String,
        role: Role,
        disabled: bool,
    },
}

impl Owner {
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Unknown => None,
            Self::Gone(id) | Self::User { id, .. } => Some(*id),
        }
    }
}

impl ApiToken {
    /// No more than its owner has now; none if it died with its owner.
    pub fn effective_role(&self) -> Option<Role> {
        match &self.owner {
            Owner::Unknown => Some(self.role),
            Owner::Gone(_) | Owner::User { disabled: true, .. } => None,
            Owner::User { role, .. } => Some(self.role.min(*role)),
        }
    }
}

const SELECT: &str = "SELECT t.id, t.name, t.prefix, t.role, t.scopes, t.tenant, t.created_by, t.owner_id, t.parent_id, \
    t.created_at, t.expires_at, t.last_used_at, u.name AS owner_name, u.role AS owner_role, u.disabled AS owner_disabled \
    FROM api_tokens t LEFT JOIN users u ON u.id = t.owner_id";

pub fn insert(tx: &mut Tx<'_>, token: &ApiToken, digest: &TokenDigest) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "INSERT INTO api_tokens (id, name, prefix, role, scopes, tenant, created_by, owner_id, parent_id,
                 created_at, expires_at, token_sha256)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(token.id)
        .bind(&token.name)
        .bind(&token.prefix)
        .bind(token.role.as_str())
        .bind(serde_json::json!(token.scopes).to_string())
        .bind(token.tenant.clone())
        .bind(&token.created_by)
        .bind(token.owner.id())
        .bind(token.parent_id)
        .bind(token.created_at_us)
        .bind(token.expires_at_us)
        .bind(digest),
    )?;
    Ok(())
}

/// Revokes it and whatever it has made; how many, or none if there was no such token.
pub fn revoke(tx: &mut Tx<'_>, id: Uuid, now_us: i64) -> Result<Option<u64>, DbError> {
    let revoke_one = "UPDATE api_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    if tx.execute(Statement::new(revoke_one).bind(id).bind(now_us))? == 0 {
        return Ok(None);
    }
    // Made ones after their makers, each in a statement that sees what was made until it had the makers: a token locks
    // itself while it makes another.
    let (mut revoked, mut makers) = (1, vec![id]);
    while let Some(maker) = makers.pop() {
        let rows = tx.query(
            Statement::new("SELECT id FROM api_tokens WHERE parent_id = $1 AND revoked_at IS NULL")
                .bind(maker),
        )?;
        let made: Vec<Uuid> = rows
            .iter()
            .map(|row| row.id("id"))
            .collect::<Result<_, _>>()?;
        for id in made {
            revoked += tx.execute(Statement::new(revoke_one).bind(id).bind(now_us))?;
            makers.push(id);
        }
    }
    Ok(Some(revoked))
}

/// Revokes whatever belongs to a user; how many.
pub fn revoke_all_of(tx: &mut Tx<'_>, owner_id: Uuid, now_us: i64) -> Result<u64, DbError> {
    tx.execute(
        Statement::new(
            "UPDATE api_tokens SET revoked_at = $2 WHERE owner_id = $1 AND revoked_at IS NULL",
        )
        .bind(owner_id)
        .bind(now_us),
    )
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

/// The token with this digest, unless revoked. It may have expired, or died with its owner.
pub async fn by_digest(db: &Db, digest: &TokenDigest) -> Result<Option<ApiToken>, DbError> {
    let sql = format!("{SELECT} WHERE t.token_sha256 = $1 AND t.revoked_at IS NULL");
    let rows = db.read(Statement::new(sql).bind(digest)).await?;
    rows.first().map(api_token).transpose()
}

/// The token of this id, unless revoked. It may have expired, or died with its owner.
pub async fn get(db: &Db, id: Uuid) -> Result<Option<ApiToken>, DbError> {
    let rows = db.read(of_id(id)).await?;
    rows.first().map(api_token).transpose()
}

/// The same, locked until the transaction ends.
pub fn lock(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<ApiToken>, DbError> {
    let lock = tx.dialect().for_update();
    // By itself: a lock does not reach through an outer join.
    let sql = format!("SELECT id FROM api_tokens WHERE id = $1{lock}");
    tx.query(Statement::new(sql).bind(id))?;
    let rows = tx.query(of_id(id))?;
    rows.first().map(api_token).transpose()
}

/// Tokens not revoked, in order of creation, after `after` (exclusive).
pub async fn page(db: &Db, after: Option<Uuid>, limit: u32) -> Result<Vec<ApiToken>, DbError> {
    let sql = format!("{SELECT} WHERE t.id > $1 AND t.revoked_at IS NULL ORDER BY t.id LIMIT $2");
    let statement = Statement::new(sql)
        .bind(after.unwrap_or(Uuid::nil()))
        .bind(limit);
    let rows = db.read(statement).await?;
    rows.iter().map(api_token).collect()
}

/// Whether a token is in use whose owner is not known.
pub async fn has_unowned(db: &Db, now_us: i64) -> Result<bool, DbError> {
    let rows = db
        .read(
            Statement::new(
                "SELECT 1 FROM api_tokens WHERE owner_id IS NULL AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > $1) LIMIT 1",
            )
            .bind(now_us),
        )
        .await?;
    Ok(!rows.is_empty())
}

fn of_id(id: Uuid) -> Statement {
    Statement::new(format!("{SELECT} WHERE t.id = $1 AND t.revoked_at IS NULL")).bind(id)
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
        owner: owner(row)?,
        parent_id: row.optional_id("parent_id")?,
        created_at_us: row.integer("created_at")?,
        expires_at_us: row.optional_integer("expires_at")?,
        last_used_at_us: row.optional_integer("last_used_at")?,
    })
}

fn owner(row: Row<'_>) -> Result<Owner, DbError> {
    let Some(id) = row.optional_id("owner_id")? else {
        return Ok(Owner::Unknown);
    };
    let Some(name) = row.optional_text("owner_name")? else {
        return Ok(Owner::Gone(id));
    };
    Ok(Owner::User {
        id,
        name: name.to_owned(),
        role: row.word("owner_role", "a role", Role::from_name)?,
        disabled: row.flag("owner_disabled")?,
    })
}
