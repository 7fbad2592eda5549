//! Users and sessions. API tokens are in `store/tokens.rs`.

pub mod sessions;
pub mod tokens;

use uuid::Uuid;

use super::Role;
use crate::db::{Db, DbError, Row, RowError, Statement, Tx};

/// A user, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    pub disabled: bool,
    pub revision: i64,
    pub created_at_us: i64,
    pub updated_at_us: i64,
}

const COLUMNS: &str = "id, name, role, disabled, revision, created_at, updated_at";

pub fn insert(tx: &mut Tx<'_>, user: &User, password_hash: &str) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "INSERT INTO users (id, name, role, disabled, revision, created_at, updated_at, password_hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(user.id)
        .bind(&user.name)
        .bind(user.role.as_str())
        .bind(user.disabled)
        .bind(user.revision)
        .bind(user.created_at_us)
        .bind(user.updated_at_us)
        .bind(password_hash),
    )?;
    Ok(())
}

/// Writes role, disabled, revision and time; the password only if there is a new one.
pub fn update(tx: &mut Tx<'_>, user: &User, password_hash: Option<&str>) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "UPDATE users SET role = $2, disabled = $3, revision = $4, updated_at = $5,
                 password_hash = COALESCE($6, password_hash) WHERE id = $1",
        )
        .bind(user.id)
        .bind(user.role.as_str())
        .bind(user.disabled)
        .bind(user.revision)
        .bind(user.updated_at_us)
        .bind(password_hash.map(str::to_owned)),
    )?;
    Ok(())
}

pub fn delete(tx: &mut Tx<'_>, id: Uuid) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "DELETE FROM refresh_tokens
             WHERE session_id IN (SELECT id FROM sessions WHERE user_id = $1)",
        )
        .bind(id),
    )?;
    tx.execute(Statement::new("DELETE FROM sessions WHERE user_id = $1").bind(id))?;
    tx.execute(Statement::new("DELETE FROM users WHERE id = $1").bind(id))?;
    Ok(())
}

/// The user, locked until the transaction ends.
pub fn lock(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<User>, DbError> {
    let lock = tx.dialect().for_update();
    let rows = tx.query(
        Statement::new(format!("SELECT {COLUMNS} FROM users WHERE id = $1{lock}")).bind(id),
    )?;
    rows.first().map(user).transpose()
}

/// Whether another administrator who may log in exists.
pub fn has_other_admin(tx: &mut Tx<'_>, id: Uuid) -> Result<bool, DbError> {
    let rows = tx.query(
        Statement::new(
            "SELECT 1 FROM users WHERE role = 'admin' AND disabled = 0 AND id <> $1 LIMIT 1",
        )
        .bind(id),
    )?;
    Ok(!rows.is_empty())
}

pub fn exists_any(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    Ok(!tx
        .query(Statement::new("SELECT 1 FROM users LIMIT 1"))?
        .is_empty())
}

pub async fn get(db: &Db, id: Uuid) -> Result<Option<User>, DbError> {
    let rows = db
        .read(Statement::new(format!("SELECT {COLUMNS} FROM users WHERE id = $1")).bind(id))
        .await?;
    rows.first().map(user).transpose()
}

/// The user of that name who may log in, with the password's hash.
pub async fn by_name(db: &Db, name: &str) -> Result<Option<(User, String)>, DbError> {
    let rows = db
        .read(
            Statement::new(format!(
                "SELECT {COLUMNS}, password_hash FROM users WHERE name = $1 AND disabled = 0"
            ))
            .bind(name),
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some((user(row)?, row.text("password_hash")?.to_owned())))
}

/// In order of creation, after `after` (exclusive).
pub async fn page(db: &Db, after: Option<Uuid>, limit: u32) -> Result<Vec<User>, DbError> {
    let rows = db
        .read(
            Statement::new(format!(
                "SELECT {COLUMNS} FROM users WHERE id > $1 ORDER BY id LIMIT $2"
            ))
            .bind(after.unwrap_or(Uuid::nil()))
            .bind(limit),
        )
        .await?;
    rows.iter().map(user).collect()
}

fn user(row: Row<'_>) -> Result<User, DbError> {
    Ok(User {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        role: role(row)?,
        disabled: row.flag("disabled")?,
        revision: row.integer("revision")?,
        created_at_us: row.integer("created_at")?,
        updated_at_us: row.integer("updated_at")?,
    })
}

fn role(row: Row<'_>) -> Result<Role, RowError> {
    row.word("role", "a role", Role::from_name)
}
