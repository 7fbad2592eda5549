//! What licensing keeps in the `settings` table: the installation's id, the stored licence, the clock's floor, and which
//! features were ever licensed.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::db::{Db, DbError, Statement, Tx};

const INSTALLATION: &str = "installation_id";
const LICENSE: &str = "license";
const FLOOR: &str = "license_clock_floor_us";
const NEWEST_ISSUE: &str = "license_newest_issue_s";
const FEATURES: &str = "licensed_features";

/// The id of this installation, made on first start.
pub async fn installation_id(db: &Db, fresh: Uuid) -> Result<String, DbError> {
    let fresh = fresh.to_string();
    db.write(move |tx| {
        let insert =
            "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        tx.execute(
            Statement::new(insert)
                .bind(INSTALLATION)
                .bind(fresh.clone()),
        )?;
        let rows = tx.query(select(INSTALLATION))?;
        let stored = rows
            .first()
            .map(|row| row.text("value").map(str::to_owned))
            .transpose()?;
        Ok::<_, DbError>(stored.unwrap_or(fresh))
    })
    .await
}

/// The licences that `PUT /license` stored: each with the id of its key, but for one that an older release stored.
pub async fn licenses(db: &Db) -> Result<Vec<(Option<String>, String)>, DbError> {
    let sql = "SELECT name, value FROM settings WHERE name = $1 OR (name >= $2 AND name < $3) ORDER BY name";
    let statement = Statement::new(sql)
        .bind(LICENSE)
        .bind(format!("{LICENSE}:"))
        // The character behind the colon.
        .bind(format!("{LICENSE};"));
    let rows = db.read(statement).await?;
    rows.iter()
        .map(|row| {
            let key_id = row.text("name")?.strip_prefix("license:");
            Ok((key_id.map(str::to_owned), row.text("value")?.to_owned()))
        })
        .collect()
}

/// Stores a key's licence in place of the one it had.
pub fn put_license(tx: &mut Tx<'_>, key_id: &str, text: &str) -> Result<(), DbError> {
    put(tx, &format!("{LICENSE}:{key_id}"), text)
}

/// Forgets a key's licence, or without a key the one an older release stored; whether there was one.
pub fn remove_license(tx: &mut Tx<'_>, key_id: Option<&str>) -> Result<bool, DbError> {
    let name = key_id.map_or_else(
        || LICENSE.to_owned(),
        |key_id| format!("{LICENSE}:{key_id}"),
    );
    let sql = "DELETE FROM settings WHERE name = $1";
    Ok(tx.execute(Statement::new(sql).bind(name))? > 0)
}

/// What is kept of each key under this name.
async fn of_each_key(db: &Db, name: &str) -> Result<BTreeMap<String, i64>, DbError> {
    let from = format!("{name}:");
    let length = i64::try_from(from.len()).unwrap_or_default();
    // Not by a range, which a database's language may order in its own way; there are a few dozen settings.
    let sql = "SELECT name, value FROM settings WHERE substr(name, 1, CAST($1 AS INTEGER)) = $2";
    let statement = Statement::new(sql).bind(length).bind(from.clone());
    let rows = db.read(statement).await?;
    let mut found = BTreeMap::new();
    for row in rows.iter() {
        let (key_id, value) = (row.text("name")?.strip_prefix(&from), row.text("value")?);
        if let (Some(key_id), Ok(value)) = (key_id, value.parse()) {
            found.insert(key_id.to_owned(), value);
        }
    }
    Ok(found)
}

/// When the newest licence of each key that was ever offered was issued, in seconds.
pub async fn newest_issues_s(db: &Db) -> Result<BTreeMap<String, i64>, DbError> {
    of_each_key(db, NEWEST_ISSUE).await
}

/// The latest time ever stored for licences of keys that have had theirs reset.
pub async fn floors_us(db: &Db) -> Result<BTreeMap<String, i64>, DbError> {
    of_each_key(db, FLOOR).await
}

/// The same of all keys together, as older releases kept it.
pub async fn newest_issue_s(db: &Db) -> Result<i64, DbError> {
    let stored = get(db, NEWEST_ISSUE).await?;
    Ok(stored
        .and_then(|text| text.parse().ok())
        .unwrap_or_default())
}

pub fn put_newest_issue(tx: &mut Tx<'_>, key_id: &str, issued_s: i64) -> Result<(), DbError> {
    put(
        tx,
        &format!("{NEWEST_ISSUE}:{key_id}"),
        &issued_s.to_string(),
    )
}

/// Lets time count from here again for a key's licences, earlier than it was.
pub fn reset_floor(tx: &mut Tx<'_>, key_id: &str, to_us: i64) -> Result<(), DbError> {
    put(tx, &format!("{FLOOR}:{key_id}"), &to_us.to_string())
}

/// The latest time ever stored: time never counts as earlier.
pub async fn floor_us(db: &Db) -> Result<i64, DbError> {
    Ok(get(db, FLOOR)
        .await?
        .and_then(|text| text.parse().ok())
        .unwrap_or_default())
}

/// Of all keys, or of one that has its own.
pub async fn raise_floor(db: &Db, key_id: Option<&str>, to_us: i64) -> Result<(), DbError> {
    let name = key_id.map_or_else(|| FLOOR.to_owned(), |key_id| format!("{FLOOR}:{key_id}"));
    db.write(move |tx| {
        let rows = tx.query(select(&name))?;
        let stored = rows
            .first()
            .map(|row| row.text("value").map(str::to_owned))
            .transpose()?;
        let stored: i64 = stored
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        if to_us > stored {
            put(tx, &name, &to_us.to_string())
        } else {
            Ok(())
        }
    })
    .await
}

pub async fn once_licensed(db: &Db) -> Result<BTreeSet<String>, DbError> {
    let text = get(db, FEATURES).await?;
    Ok(text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}

pub async fn put_once_licensed(db: &Db, features: &BTreeSet<String>) -> Result<(), DbError> {
    let json =
        serde_json::to_string(features).map_err(|error| DbError::Statement(error.to_string()))?;
    db.write(move |tx| put(tx, FEATURES, &json)).await
}

fn select(name: &str) -> Statement {
    Statement::new("SELECT value FROM settings WHERE name = $1").bind(name)
}

async fn get(db: &Db, name: &str) -> Result<Option<String>, DbError> {
    let rows = db.read(select(name)).await?;
    Ok(rows
        .first()
        .map(|row| row.text("value").map(str::to_owned))
        .transpose()?)
}

fn put(tx: &mut Tx<'_>, name: &str, value: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.execute(Statement::new(sql).bind(name).bind(value))
        .map(|_| ())
}
