//! The stored responses.

use std::time::Duration;

use crate::db::{Db, DbError, Statement, Tx};

/// How long a record is kept, as the API promises.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The `DbError::Unique` text of a key that another request used first.
pub const KEY_TAKEN: &str = "idempotency key";

/// What makes two requests the same.
pub type Fingerprint = [u8; 32];

/// A response as it is kept. `headers` are lower-case names and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

pub(super) struct Found {
    pub(super) fingerprint: Fingerprint,
    pub(super) response: StoredResponse,
}

pub(super) async fn find(
    db: &Db,
    lease_us: i64,
    principal: &str,
    key: &str,
) -> Result<Option<Found>, DbError> {
    let rows = db
        .read(
            Statement::new(
                "SELECT fingerprint, status, headers, body FROM idempotency_records
                 WHERE principal = $1 AND key = $2 AND expires_at > $3",
            )
            .bind(principal)
            .bind(key)
            .bind(lease_us),
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let fingerprint = Fingerprint::try_from(row.bytes("fingerprint")?)
        .map_err(|_| row.unexpected("fingerprint", "32 bytes"))?;
    let status = u16::try_from(row.integer("status")?)
        .map_err(|_| row.unexpected("status", "an HTTP status"))?;
    let headers = row.json("headers")?;
    Ok(Some(Found {
        fingerprint,
        response: StoredResponse {
            status,
            headers,
            body: row.text("body")?.to_owned(),
        },
    }))
}

pub(super) fn insert(
    tx: &mut Tx<'_>,
    lease_us: i64,
    principal: &str,
    key: &str,
    fingerprint: &Fingerprint,
    response: &StoredResponse,
) -> Result<(), DbError> {
    let lifetime_us = i64::try_from(RECORD_LIFETIME.as_micros()).unwrap_or(i64::MAX);
    let headers: Vec<_> = response.headers.iter().collect();
    // An expired record that the sweep has not reached yet is replaced; a live one is not.
    let changed = tx.execute(
        Statement::new(
            "INSERT INTO idempotency_records
                 (principal, key, fingerprint, status, headers, body, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (principal, key) DO UPDATE SET
                 fingerprint = excluded.fingerprint, status = excluded.status,
                 headers = excluded.headers, body = excluded.body, expires_at = excluded.expires_at
             WHERE idempotency_records.expires_at <= $8",
        )
        .bind(principal)
        .bind(key)
        .bind(fingerprint)
        .bind(response.status)
        .bind(serde_json::json!(headers).to_string())
        .bind(&response.body)
        .bind(lease_us.saturating_add(lifetime_us))
        .bind(lease_us),
    )?;
    if changed == 0 {
        return Err(DbError::Unique(KEY_TAKEN.to_owned()));
    }
    Ok(())
}

/// Deletes at most `limit` records that have expired; returns how many.
pub fn delete_expired(tx: &mut Tx<'_>, lease_us: i64, limit: u32) -> Result<u64, DbError> {
    tx.execute(
        Statement::new(
            "DELETE FROM idempotency_records WHERE (principal, key) IN (
                 SELECT principal, key FROM idempotency_records WHERE expires_at <= $1 LIMIT $2)",
        )
        .bind(lease_us)
        .bind(limit),
    )
}
