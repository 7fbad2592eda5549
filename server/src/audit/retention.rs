//! Deletes rows that have been kept long enough. The log is cut only at a signed head, after everything up to there was
//! verified: rows that were given an old date are not deleted by their forger's leave.

use super::key::{AuditKey, Which};
use super::store::heads::{self, StoredHead};
use super::store::{self, Anchor};
use super::verify;
use crate::db::{Db, DbError};

/// Rows deleted in one transaction.
const SWEEP_BATCH: u32 = 500;

/// Deletes one batch of rows older than `before_us`. Returns whether there may be more. The newest row always stays.
pub async fn sweep(db: &Db, before_us: i64) -> Result<bool, DbError> {
    let key = super::key_of(db)?;
    let deleted = db
        .write(move |tx| {
            let floor = store::anchor_in(tx, Which::Floor)?;
            if !floor.is_vouched(&key, Which::Floor) {
                // Nothing is deleted at the word of whoever moved it.
                tracing::error!(
                    sequence = floor.anchor.sequence,
                    "the beginning of the audit log is not where this server left it: look at GET /api/v1/audit/verify"
                );
                return Ok(0);
            }
            let deleted = store::delete_to_floor(tx, SWEEP_BATCH)?;
            if deleted > 0 {
                heads::delete_before(tx, floor.anchor.sequence)?;
            }
            Ok::<u64, DbError>(deleted)
        })
        .await?;
    if deleted > 0 {
        return Ok(true);
    }
    move_floor(db, before_us).await
}

/// Moves the floor to the newest signed head before which everything is old enough. Returns whether it moved.
async fn move_floor(db: &Db, before_us: i64) -> Result<bool, DbError> {
    let key = super::key_of(db)?;
    let (floor, head) = store::anchors(db).await?;
    let from = floor.anchor;
    let first_kept = store::first_kept(db, from.sequence, before_us).await?;
    let end = first_kept.map_or(head.anchor.sequence, |first| {
        first.min(head.anchor.sequence)
    });
    let Some(cut) = heads::newest_between(db, from.sequence, end).await? else {
        return Ok(false);
    };
    if !is_signed(&key, &cut) || !verify::holds_up_to(db, &key, &floor, cut.anchor).await? {
        tracing::error!(
            first = from.sequence + 1,
            last = cut.anchor.sequence,
            "these rows of the audit log are old enough to be deleted, but they do not verify: they stay. \
             Look at GET /api/v1/audit/verify"
        );
        return Ok(false);
    }
    let to: Anchor = cut.anchor;
    db.write(move |tx| store::set_anchor(tx, &key, Which::Floor, to, &from))
        .await
}

/// One of a key that was lost cannot be checked and cuts only what cannot be checked either.
fn is_signed(key: &AuditKey, cut: &StoredHead) -> bool {
    let is_of_lost_key = !key.begun.first && cut.anchor.sequence <= key.begun.head.sequence;
    let head = key.completed(cut.head());
    is_of_lost_key || (cut.key_id == key.id && key.signed(&head))
}
