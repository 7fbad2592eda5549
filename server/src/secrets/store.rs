//! All SQL of secrets. Values are sealed before they come here.

use std::collections::BTreeMap;

use fleetwright_protocol::SecretRef;

use crate::db::{ColumnKind, Db, DbError, Row, RowError, Statement, Tx};

/// A secret, without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    pub name: String,
    /// The newest.
    pub version: u32,
    /// By id; empty: every host may get it.
    pub groups: Vec<String>,
    pub created_at_us: i64,
    pub is_deleted: bool,
}

/// A version, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    pub version: u32,
    pub created_at_us: i64,
    pub created_by: String,
    pub created_by_name: String,
}

/// A version with its value, sealed, and who may get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRow {
    pub version: u32,
    pub key_id: String,
    pub sealed: Vec<u8>,
    pub groups: Vec<String>,
}

/// What is written of a new version.
pub struct NewVersion<'a> {
    pub name: &'a str,
    pub version: u32,
    pub key_id: &'a str,
    pub sealed: Vec<u8>,
    pub at_us: i64,
    pub by: &'a str,
    pub by_name: &'a str,
}

const COLUMNS: &str = "name, version, group_ids, created_at, deleted_at";

/// The secret of this name, also a deleted one.
pub fn load(tx: &mut Tx<'_>, name: &str) -> Result<Option<SecretRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM secrets WHERE name = $1{}",
        tx.dialect().for_update()
    );
    let rows = tx.query(Statement::new(sql).bind(name))?;
    Ok(rows.first().map(secret_row).transpose()?)
}

/// Writes it as it is now; deleted ones come back.
pub fn save(tx: &mut Tx<'_>, row: &SecretRow, now_us: i64) -> Result<(), DbError> {
    let sql = "INSERT INTO secrets (name, version, group_ids, created_at, deleted_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (name) DO UPDATE SET version = excluded.version, group_ids = excluded.group_ids, \
               created_at = excluded.created_at, deleted_at = excluded.deleted_at";
    let deleted_at = row.is_deleted.then_some(now_us);
    let statement = Statement::new(sql)
        .bind(row.name.as_str())
        .bind(i64::from(row.version))
        .bind(serde_json::json!(row.groups).to_string())
        .bind(row.created_at_us)
        .bind(deleted_at);
    tx.execute(statement).map(|_| ())
}

pub fn insert_version(tx: &mut Tx<'_>, new: NewVersion<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO secret_versions (name, version, key_id, sealed, created_at, created_by, created_by_name) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let statement = Statement::new(sql)
        .bind(new.name)
        .bind(i64::from(new.version))
        .bind(new.key_id)
        .bind(new.sealed)
        .bind(new.at_us)
        .bind(new.by)
        .bind(new.by_name);
    tx.execute(statement).map(|_| ())
}

/// Deletes the versions up to this one.
pub fn delete_versions(tx: &mut Tx<'_>, name: &str, up_to: u32) -> Result<(), DbError> {
    let sql = "DELETE FROM secret_versions WHERE name = $1 AND version <= $2";
    let statement = Statement::new(sql).bind(name).bind(i64::from(up_to));
    tx.execute(statement).map(|_| ())
}

/// What a reference means now; none if there is no such secret or version.
pub async fn sealed(db: &Db, reference: &SecretRef) -> Result<Option<SealedRow>, DbError> {
    let sql = "SELECT v.version, v.key_id, v.sealed, s.group_ids FROM secrets s JOIN secret_versions v ON v.name = s.name \
               WHERE s.name = $1 AND s.deleted_at IS NULL AND v.version = COALESCE(CAST($2 AS bigint), s.version)";
    let statement = Statement::new(sql)
        .bind(reference.secret.as_str())
        .bind(reference.version.map(i64::from));
    let rows = db.read(statement).await?;
    let sealed = |row: Row<'_>| {
        Ok::<_, RowError>(SealedRow {
            version: version(row)?,
            key_id: row.text("key_id")?.to_owned(),
            sealed: row.bytes("sealed")?.to_vec(),
            groups: row.json("group_ids")?,
        })
    };
    Ok(rows.first().map(sealed).transpose()?)
}

/// Those that are there, by name, after `after`.
pub async fn page(db: &Db, after: &str, limit: u32) -> Result<Vec<SecretRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM secrets WHERE name > $1 AND deleted_at IS NULL ORDER BY name LIMIT $2"
    );
    let rows = db.read(Statement::new(sql).bind(after).bind(limit)).await?;
    Ok(rows.iter().map(secret_row).collect::<Result<_, _>>()?)
}

/// The versions of these secrets, newest first.
pub async fn versions(
    db: &Db,
    names: &[&str],
) -> Result<BTreeMap<String, Vec<VersionRow>>, DbError> {
    let source = db
        .dialect()
        .rows_from_json("$1", &[("name", ColumnKind::Text)]);
    let sql = format!(
        "SELECT v.name, v.version, v.created_at, v.created_by, v.created_by_name FROM {source} AS n \
         JOIN secret_versions v ON v.name = n.name ORDER BY v.name, v.version DESC"
    );
    let list: Vec<[&str; 1]> = names.iter().map(|name| [*name]).collect();
    let statement = Statement::new(sql).bind(serde_json::json!(list).to_string());
    let mut found: BTreeMap<String, Vec<VersionRow>> = BTreeMap::new();
    for row in db.read(statement).await?.iter() {
        let of_secret = found.entry(row.text("name")?.to_owned()).or_default();
        of_secret.push(VersionRow {
            version: version(row)?,
            created_at_us: row.integer("created_at")?,
            created_by: row.text("created_by")?.to_owned(),
            created_by_name: row.text("created_by_name")?.to_owned(),
        });
    }
    Ok(found)
}

/// The keys that values are sealed with.
pub async fn key_ids(db: &Db) -> Result<Vec<String>, DbError> {
    let sql = "SELECT DISTINCT key_id FROM secret_versions";
    let rows = db.read(Statement::new(sql)).await?;
    let ids = rows.iter().map(|row| row.text("key_id").map(str::to_owned));
    Ok(ids.collect::<Result<_, _>>()?)
}

fn secret_row(row: Row<'_>) -> Result<SecretRow, RowError> {
    Ok(SecretRow {
        name: row.text("name")?.to_owned(),
        version: version(row)?,
        groups: row.json("group_ids")?,
        created_at_us: row.integer("created_at")?,
        is_deleted: row.optional_integer("deleted_at")?.is_some(),
    })
}

fn version(row: Row<'_>) -> Result<u32, RowError> {
    u32::try_from(row.integer("version")?).map_err(|_| row.unexpected("version", "a version"))
}
