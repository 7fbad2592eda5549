//! What licensing keeps in the `settings` table: the installation's id, the stored licence, the clock's floor, and which
//! features were ever licensed.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::db::{Db, DbError, Statement, Tx};

const INSTALLATION: &str = "installation_id";
const LICENSE: &str = "license";
const FLOOR: &str = "license_clock_floor_us";
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

/// The licence that `PUT /license` stored.
pub async fn license(db: &Db) -> Result<Option<String>, DbError> {
    get(db, LICENSE).await
}

pub fn put_license(tx: &mut Tx<'_>, text: &str) -> Result<(), DbError> {
    put(tx, LICENSE, text)
}

/// The latest time ever stored: time never counts as earlier.
pub async fn floor_us(db: &Db) -> Result<i64, DbError> {
    Ok(get(db, FLOOR)
        .await?
        .and_then(|text| text.parse().ok())
        .unwrap_or_default())
}

pub async fn raise_floor(db: &Db, to_us: i64) -> Result<(), DbError> {
    db.write(move |tx| {
        let rows = tx.query(select(FLOOR))?;
        let stored = rows
            .first()
            .map(|row| row.text("value").map(str::to_owned))
            .transpose()?;
        let stored: i64 = stored
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        if to_us > stored {
            put(tx, FLOOR, &to_us.to_string())
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
