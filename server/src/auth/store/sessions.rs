//! Sessions and their refresh tokens. Used refresh tokens are kept as long as their session, to notice a second use.

use uuid::Uuid;

use super::role;
use crate::auth::Role;
use crate::auth::bearer::TokenDigest;
use crate::db::{Db, DbError, Statement, Tx};

/// Who a live session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUser {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    pub role: Role,
    pub expires_at_us: i64,
}

/// A stored refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub session_id: Uuid,
    pub used: bool,
}

pub fn insert(
    tx: &mut Tx<'_>,
    session_id: Uuid,
    user_id: Uuid,
    now_us: i64,
    expires_at_us: i64,
) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(session_id)
        .bind(user_id)
        .bind(now_us)
        .bind(expires_at_us),
    )?;
    Ok(())
}

pub fn insert_refresh_token(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
    session_id: Uuid,
    now_us: i64,
) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "INSERT INTO refresh_tokens (token_sha256, session_id, created_at) VALUES ($1, $2, $3)",
        )
        .bind(digest)
        .bind(session_id)
        .bind(now_us),
    )?;
    Ok(())
}

/// Whose live session this token is of, and whether it has been used; none for any other token.
pub async fn of_refresh_token(
    db: &Db,
    digest: &TokenDigest,
    now_us: i64,
) -> Result<Option<(Uuid, bool)>, DbError> {
    let statement = Statement::new(
        "SELECT s.user_id, r.used_at
         FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id
         WHERE r.token_sha256 = $1 AND s.ended_at IS NULL AND s.expires_at > $2 AND u.disabled = 0",
    );
    let rows = db.read(statement.bind(digest).bind(now_us)).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let is_used = row.optional_integer("used_at")?.is_some();
    Ok(Some((row.id("user_id")?, is_used)))
}

pub fn lock_refresh_token(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
) -> Result<Option<RefreshToken>, DbError> {
    let lock = tx.dialect().for_update();
    let rows = tx.query(
        Statement::new(format!(
            "SELECT session_id, used_at FROM refresh_tokens WHERE token_sha256 = $1{lock}"
        ))
        .bind(digest),
    )?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(RefreshToken {
        session_id: row.id("session_id")?,
        used: row.optional_integer("used_at")?.is_some(),
    }))
}

pub fn use_refresh_token(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
    now_us: i64,
) -> Result<(), DbError> {
    tx.execute(
        Statement::new("UPDATE refresh_tokens SET used_at = $2 WHERE token_sha256 = $1")
            .bind(digest)
            .bind(now_us),
    )?;
    Ok(())
}

/// The session if it is live: not ended, not expired, its user not disabled.
pub fn live_in(tx: &mut Tx<'_>, id: Uuid, now_us: i64) -> Result<Option<SessionUser>, DbError> {
    let rows = tx.query(live_statement(id, now_us))?;
    rows.first().map(session_user).transpose()
}

pub async fn live(db: &Db, id: Uuid, now_us: i64) -> Result<Option<SessionUser>, DbError> {
    let rows = db.read(live_statement(id, now_us)).await?;
    rows.first().map(session_user).transpose()
}

/// Ends one session; whether it was live.
pub fn end(tx: &mut Tx<'_>, id: Uuid, now_us: i64) -> Result<bool, DbError> {
    let changed = tx.execute(
        Statement::new("UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL")
            .bind(id)
            .bind(now_us),
    )?;
    Ok(changed > 0)
}

/// Ends every session of a user.
pub fn end_all(tx: &mut Tx<'_>, user_id: Uuid, now_us: i64) -> Result<(), DbError> {
    tx.execute(
        Statement::new("UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL")
            .bind(user_id)
            .bind(now_us),
    )?;
    Ok(())
}

/// Deletes at most `limit` sessions that expired before `before_us`, with their tokens; returns how many.
pub fn delete_expired(tx: &mut Tx<'_>, before_us: i64, limit: u32) -> Result<u64, DbError> {
    let expired = "SELECT id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2";
    tx.execute(
        Statement::new(format!(
            "DELETE FROM refresh_tokens WHERE session_id IN ({expired})"
        ))
        .bind(before_us)
        .bind(limit),
    )?;
    tx.execute(
        Statement::new(format!("DELETE FROM sessions WHERE id IN ({expired})"))
            .bind(before_us)
            .bind(limit),
    )
}

fn live_statement(id: Uuid, now_us: i64) -> Statement {
    Statement::new(
        "SELECT s.id, s.user_id, u.name, u.role, s.expires_at
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > $2 AND u.disabled = 0",
    )
    .bind(id)
    .bind(now_us)
}

fn session_user(row: crate::db::Row<'_>) -> Result<SessionUser, DbError> {
    Ok(SessionUser {
        session_id: row.id("id")?,
        user_id: row.id("user_id")?,
        name: row.text("name")?.to_owned(),
        role: role(row)?,
        expires_at_us: row.integer("expires_at")?,
    })
}
