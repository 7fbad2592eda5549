//! The SQL of enrollment tokens and of the list of uploaded blobs.

use uuid::Uuid;

use super::blobs::BlobDigest;
use crate::db::{Db, DbError, Row, RowError, Statement, Tx};

/// An enrollment token as it is kept: of its secret, only the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentToken {
    pub id: Uuid,
    pub name: String,
    pub created_by: String,
    pub created_at_us: i64,
    pub expires_at_us: i64,
    pub uses_max: i64,
    pub uses: i64,
    pub auto_approve: bool,
    pub tags: Vec<String>,
}

const TOKEN_COLUMNS: &str =
    "id, name, created_by, created_at, expires_at, uses_max, uses, auto_approve, tags";

pub fn insert_token_in(
    tx: &mut Tx<'_>,
    token: &EnrollmentToken,
    secret_sha256: [u8; 32],
) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO enrollment_tokens ({TOKEN_COLUMNS}, secret_sha256) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    );
    let statement = Statement::new(sql)
        .bind(token.id)
        .bind(&token.name)
        .bind(&token.created_by)
        .bind(token.created_at_us)
        .bind(token.expires_at_us)
        .bind(token.uses_max)
        .bind(token.uses)
        .bind(token.auto_approve)
        .bind(serde_json::json!(token.tags).to_string())
        .bind(secret_sha256);
    tx.execute(statement)?;
    Ok(())
}

pub async fn find_token(
    db: &Db,
    secret_sha256: [u8; 32],
) -> Result<Option<EnrollmentToken>, DbError> {
    let rows = db.read(by_secret(secret_sha256)).await?;
    Ok(rows.first().map(token).transpose()?)
}

pub fn find_token_in(
    tx: &mut Tx<'_>,
    secret_sha256: [u8; 32],
) -> Result<Option<EnrollmentToken>, DbError> {
    let rows = tx.query(by_secret(secret_sha256))?;
    Ok(rows.first().map(token).transpose()?)
}

/// Takes one use; `false` if none is left.
pub fn take_use_in(tx: &mut Tx<'_>, id: Uuid) -> Result<bool, DbError> {
    let sql = "UPDATE enrollment_tokens SET uses = uses + 1 WHERE id = $1 AND uses < uses_max";
    Ok(tx.execute(Statement::new(sql).bind(id))? == 1)
}

/// Newest first: at most `limit` tokens made before the one with id `before`.
pub async fn tokens_page(
    db: &Db,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<EnrollmentToken>, DbError> {
    // Ids sort by time; no id is above this one.
    let before = before.unwrap_or(Uuid::max());
    let sql = format!(
        "SELECT {TOKEN_COLUMNS} FROM enrollment_tokens WHERE id < $1 ORDER BY id DESC LIMIT $2"
    );
    let rows = db
        .read(Statement::new(sql).bind(before).bind(limit))
        .await?;
    Ok(rows.iter().map(token).collect::<Result<_, _>>()?)
}

/// Whether there was such a token.
pub fn delete_token_in(tx: &mut Tx<'_>, id: Uuid) -> Result<bool, DbError> {
    let sql = "DELETE FROM enrollment_tokens WHERE id = $1";
    Ok(tx.execute(Statement::new(sql).bind(id))? == 1)
}

pub fn delete_tokens_expired_before_in(tx: &mut Tx<'_>, time_us: i64) -> Result<u64, DbError> {
    let sql = "DELETE FROM enrollment_tokens WHERE expires_at < $1";
    tx.execute(Statement::new(sql).bind(time_us))
}

/// Uploaded content as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub sha256: BlobDigest,
    pub size_bytes: i64,
    pub created_by: String,
    pub created_at_us: i64,
    /// When it was last uploaded or seen referred to.
    pub used_at_us: i64,
}

const BLOB_COLUMNS: &str = "sha256, size_bytes, created_by, created_at, used_at";

/// Remembers who uploaded a blob first, and that it was uploaded now; returns whether it is new.
pub fn insert_blob_in(
    tx: &mut Tx<'_>,
    sha256: [u8; 32],
    size_bytes: u64,
    created_by: &str,
    now_us: i64,
) -> Result<bool, DbError> {
    if use_blob_in(tx, sha256, now_us)? {
        return Ok(false);
    }
    let sql = format!("INSERT INTO blobs ({BLOB_COLUMNS}) VALUES ($1, $2, $3, $4, $5)");
    let statement = Statement::new(sql)
        .bind(sha256)
        .bind(size_bytes)
        .bind(created_by)
        .bind(now_us)
        .bind(now_us);
    Ok(tx.execute(statement)? == 1)
}

/// Remembers that a blob is in use; whether there is one.
pub fn use_blob_in(tx: &mut Tx<'_>, sha256: [u8; 32], now_us: i64) -> Result<bool, DbError> {
    let sql = "UPDATE blobs SET used_at = $1 WHERE sha256 = $2";
    Ok(tx.execute(Statement::new(sql).bind(now_us).bind(sha256))? == 1)
}

/// Whether there was such a blob.
pub fn delete_blob_in(tx: &mut Tx<'_>, sha256: [u8; 32]) -> Result<bool, DbError> {
    let sql = "DELETE FROM blobs WHERE sha256 = $1";
    Ok(tx.execute(Statement::new(sql).bind(sha256))? == 1)
}

/// Whether it was there, last used at that time.
pub fn delete_unused_blob_in(
    tx: &mut Tx<'_>,
    sha256: [u8; 32],
    used_at_us: i64,
) -> Result<bool, DbError> {
    let sql = "DELETE FROM blobs WHERE sha256 = $1 AND used_at = $2";
    Ok(tx.execute(Statement::new(sql).bind(sha256).bind(used_at_us))? == 1)
}

pub async fn blob(db: &Db, sha256: [u8; 32]) -> Result<Option<Blob>, DbError> {
    let sql = format!("SELECT {BLOB_COLUMNS} FROM blobs WHERE sha256 = $1");
    let rows = db.read(Statement::new(sql).bind(sha256)).await?;
    Ok(rows.first().map(blob_of).transpose()?)
}

/// Newest first: at most `limit` blobs uploaded before the one at that place.
pub async fn blobs_page(
    db: &Db,
    before: Option<(i64, BlobDigest)>,
    limit: u32,
) -> Result<Vec<Blob>, DbError> {
    // No place is after this one.
    let (time_us, sha256) = before.unwrap_or((i64::MAX, BlobDigest([0xff; 32])));
    let sql = format!(
        "SELECT {BLOB_COLUMNS} FROM blobs WHERE (created_at, sha256) < ($1, $2) \
         ORDER BY created_at DESC, sha256 DESC LIMIT $3"
    );
    let statement = Statement::new(sql).bind(time_us).bind(sha256.0).bind(limit);
    let rows = db.read(statement).await?;
    Ok(rows.iter().map(blob_of).collect::<Result<_, _>>()?)
}

/// Those last used before that time, the longest unused first.
pub async fn blobs_unused(db: &Db, before_us: i64, limit: u32) -> Result<Vec<Blob>, DbError> {
    let sql =
        format!("SELECT {BLOB_COLUMNS} FROM blobs WHERE used_at < $1 ORDER BY used_at LIMIT $2");
    let rows = db
        .read(Statement::new(sql).bind(before_us).bind(limit))
        .await?;
    Ok(rows.iter().map(blob_of).collect::<Result<_, _>>()?)
}

fn blob_of(row: Row<'_>) -> Result<Blob, RowError> {
    let sha256 = <[u8; 32]>::try_from(row.bytes("sha256")?)
        .map_err(|_| row.unexpected("sha256", "32 bytes"))?;
    Ok(Blob {
        sha256: BlobDigest(sha256),
        size_bytes: row.integer("size_bytes")?,
        created_by: row.text("created_by")?.to_owned(),
        created_at_us: row.integer("created_at")?,
        used_at_us: row.integer("used_at")?,
    })
}

fn by_secret(secret_sha256: [u8; 32]) -> Statement {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM enrollment_tokens WHERE secret_sha256 = $1");
    Statement::new(sql).bind(secret_sha256)
}

fn token(row: Row<'_>) -> Result<EnrollmentToken, RowError> {
    Ok(EnrollmentToken {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        created_by: row.text("created_by")?.to_owned(),
        created_at_us: row.integer("created_at")?,
        expires_at_us: row.integer("expires_at")?,
        uses_max: row.integer("uses_max")?,
        uses: row.integer("uses")?,
        auto_approve: row.flag("auto_approve")?,
        tags: row.json("tags")?,
    })
}
