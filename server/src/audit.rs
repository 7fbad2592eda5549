//! The audit log: one row per mutation by a principal, written in that mutation's transaction, each row holding
//! the digest of the one before it.

mod chain;
mod context;
pub mod http;
pub mod store;
pub mod verify;

use fleetwright_plugin_api::wire::AuditEntry;

use crate::db::{Db, DbError, Tx};

pub use chain::{Digest, GENESIS};
pub use context::AuditContext;

/// Adds a row to the log as part of `tx`: the row exists if and only if the mutation does.
pub fn append(
    tx: &mut Tx<'_>,
    now_us: i64,
    context: &AuditContext,
    entry: &AuditEntry,
) -> Result<(), DbError> {
    store::append(tx, now_us, context, entry)
}

/// Shorthand for an entry.
pub fn entry(
    action: &str,
    target_kind: &str,
    target_id: impl ToString,
    detail: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        target_kind: target_kind.to_owned(),
        target_id: target_id.to_string(),
        detail,
    }
}

/// Rows deleted in one transaction.
const SWEEP_BATCH: u32 = 500;

/// Deletes one batch of rows older than `before_us`. Returns whether there may be more.
pub async fn sweep(db: &Db, before_us: i64) -> Result<bool, DbError> {
    db.write(move |tx| {
        let deleted = store::delete_before(tx, before_us, SWEEP_BATCH)?;
        Ok(deleted >= u64::from(SWEEP_BATCH))
    })
    .await
}
