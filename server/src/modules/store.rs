//! Which version of each module this installation has had: an older one is refused.

use std::collections::BTreeSet;

use semver::Version;

use crate::db::{Db, DbError, Statement};

/// The newest version that was ever loaded here.
pub async fn newest_version(db: &Db, name: &str) -> Result<Option<Version>, DbError> {
    let sql = "SELECT version FROM installed_modules WHERE name = $1";
    let rows = db.read(Statement::new(sql).bind(name)).await?;
    let text = rows
        .first()
        .map(|row| row.text("version").map(str::to_owned))
        .transpose()?;
    Ok(text.and_then(|text| Version::parse(&text).ok()))
}

/// Every module that was ever loaded here, by name.
pub async fn installed(db: &Db) -> Result<BTreeSet<String>, DbError> {
    let rows = db.read(Statement::new("SELECT name FROM installed_modules"));
    let rows = rows.await?;
    let names = rows.iter().map(|row| Ok(row.text("name")?.to_owned()));
    names.collect()
}

pub async fn record(
    db: &Db,
    now_us: i64,
    name: &str,
    version: &Version,
    sha256: &str,
) -> Result<(), DbError> {
    let sql = "INSERT INTO installed_modules (name, version, sha256, loaded_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (name) DO UPDATE SET version = excluded.version, sha256 = excluded.sha256, \
               loaded_at = excluded.loaded_at";
    let statement = Statement::new(sql)
        .bind(name)
        .bind(version.to_string())
        .bind(sha256)
        .bind(now_us);
    db.write(move |tx| tx.execute(statement)).await.map(|_| ())
}
