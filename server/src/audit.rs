//! The audit log: one row per mutation by a principal, written in that mutation's transaction, each row holding
//! the digest of the one before it under a key that is not in the database. Sign-ins that were refused are rows too.

mod anchor;
pub mod attempts;
mod chain;
mod context;
pub mod heads;
pub mod http;
pub mod key;
mod open;
mod retention;
pub mod store;
pub mod verify;

use std::sync::Arc;

use fleetwright_plugin_api::wire::AuditEntry;

use crate::db::{Db, DbError, Tx};

pub use anchor::{Digest, GENESIS};
pub use context::AuditContext;
pub use key::AuditKey;
pub use open::{AuditStartError, open};
pub use retention::sweep;

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

/// The key that [`open`] gave to the database.
fn key_of(db: &Db) -> Result<Arc<AuditKey>, DbError> {
    let missing = || DbError::Unfit("the audit log's key has not been read".to_owned());
    db.held().ok_or_else(missing)
}
