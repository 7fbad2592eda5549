//! The SQL of signed heads: the places at which retention may cut.

use fleetwright_signing::AuditHead;

use super::{Anchor, Digest};
use crate::db::{Db, DbError, Statement, Tx};

/// A signed head as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    pub anchor: Anchor,
    pub row_at: String,
    pub at: String,
    pub key_id: String,
    pub signature: String,
}

/// Keeps a signed head; one of the same row stays as it is.
pub fn insert(tx: &mut Tx<'_>, head: &AuditHead, digest: Digest) -> Result<(), DbError> {
    tx.execute(
        Statement::new(
            "INSERT INTO audit_heads (sequence, digest, row_at, at, key_id, signature) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (sequence) DO NOTHING",
        )
        .bind(head.sequence)
        .bind(digest)
        .bind(head.row_at.as_str())
        .bind(head.at.as_str())
        .bind(head.key_id.as_str())
        .bind(head.signature.as_str()),
    )?;
    Ok(())
}

/// The newest head between two rows, both excluded.
pub async fn newest_between(
    db: &Db,
    after: i64,
    before: i64,
) -> Result<Option<StoredHead>, DbError> {
    let sql = "SELECT sequence, digest, row_at, at, key_id, signature FROM audit_heads \
               WHERE sequence > $1 AND sequence < $2 ORDER BY sequence DESC LIMIT 1";
    let found = db
        .read(Statement::new(sql).bind(after).bind(before))
        .await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    Ok(Some(StoredHead {
        anchor: Anchor {
            sequence: row.integer("sequence")?,
            // One of another length fits no row.
            digest: Digest::try_from(row.bytes("digest")?).unwrap_or_default(),
        },
        row_at: row.text("row_at")?.to_owned(),
        at: row.text("at")?.to_owned(),
        key_id: row.text("key_id")?.to_owned(),
        signature: row.text("signature")?.to_owned(),
    }))
}

/// Heads of rows that are gone serve no cut.
pub fn delete_before(tx: &mut Tx<'_>, sequence: i64) -> Result<(), DbError> {
    let sql = "DELETE FROM audit_heads WHERE sequence < $1";
    tx.execute(Statement::new(sql).bind(sequence))?;
    Ok(())
}

impl StoredHead {
    /// As it was signed, but for the public key.
    pub fn head(&self) -> AuditHead {
        AuditHead {
            sequence: self.anchor.sequence,
            digest: hex::encode(self.anchor.digest),
            row_at: self.row_at.clone(),
            at: self.at.clone(),
            key_id: self.key_id.clone(),
            public_key: String::new(),
            signature: self.signature.clone(),
        }
    }
}
