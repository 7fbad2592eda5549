//! Signed heads: what the newest row was at a time, for whoever keeps it elsewhere. The server makes one an hour and when it stops, writes it
//! to its log, keeps it in the database as a place where retention may cut, and the latest also in the data folder.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use fleetwright_signing::AuditHead;

use super::key::{AuditKey, Which};
use super::store::{self, Anchor, StoredAnchor};
use crate::db::{Db, DbError};

/// The latest head beside the key: found to be gone from the database, it shows that the database was set back.
const FILE: &str = "audit.head";

#[derive(Debug, thiserror::Error)]
pub enum HeadRefused {
    /// A signature on it would vouch for what somebody else did.
    #[error("the newest row of the audit log is not as this server left it")]
    NotOurs,
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Signs the newest row as it is now.
pub async fn current(db: &Db, now_us: i64) -> Result<AuditHead, HeadRefused> {
    let key = super::key_of(db)?;
    let (_, head) = store::anchors(db).await?;
    let row = store::row_at(db, head.anchor.sequence).await?;
    signed(&key, &head, row, now_us)
}

/// Signs the newest row, if both its mark and the row itself are as this server left them.
fn signed(
    key: &AuditKey,
    head: &StoredAnchor,
    row: Option<(i64, Vec<u8>)>,
    now_us: i64,
) -> Result<AuditHead, HeadRefused> {
    let is_there = match &row {
        Some((_, digest)) => *digest == head.anchor.digest,
        None => head.anchor.sequence == 0,
    };
    match is_there && head.is_vouched(key, Which::Head) {
        true => Ok(key.sign(&head.anchor, row.map(|(at_us, _)| at_us), now_us)),
        false => Err(HeadRefused::NotOurs),
    }
}

/// Signs the newest row and keeps the head. What is not as this server left it is not signed, and the head that was kept
/// stays: it is what shows it.
pub async fn stamp(db: &Db, now_us: i64) -> Result<(), HeadRefused> {
    let key = super::key_of(db)?;
    let signer = Arc::clone(&key);
    let head = db
        .write(move |tx| {
            let head = store::anchor_in(tx, Which::Head)?;
            let row = store::row_at_in(tx, head.anchor.sequence)?;
            let signed = signed(&signer, &head, row, now_us)?;
            if head.anchor.sequence > 0 {
                store::heads::insert(tx, &signed, head.anchor.digest)?;
            }
            Ok::<AuditHead, HeadRefused>(signed)
        })
        .await?;
    tracing::info!(
        sequence = head.sequence,
        digest = head.digest,
        row_at = head.row_at,
        at = head.at,
        key = head.key_id,
        signature = head.signature,
        "audit head"
    );
    if let Some(kept) = kept(&key)
        && !is_in_log(db, &kept).await?
    {
        return Err(HeadRefused::NotOurs);
    }
    if let Err(error) = keep(&key, &head) {
        tracing::warn!(%error, "the latest head of the audit log could not be kept in the data folder");
    }
    Ok(())
}

/// The latest head in the data folder, if this key signed it.
pub(super) fn kept(key: &AuditKey) -> Option<AuditHead> {
    let text = std::fs::read(path(key)).ok()?;
    let head: AuditHead = serde_json::from_slice(&text).ok()?;
    key.signed(&head).then_some(head)
}

fn keep(key: &AuditKey, head: &AuditHead) -> io::Result<()> {
    let beside = path(key).with_extension("head.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&serde_json::to_vec(head)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, path(key))
}

fn path(key: &AuditKey) -> PathBuf {
    key.folder.join(FILE)
}

/// Whether the row of an earlier head is still there, or retention has deleted it.
async fn is_in_log(db: &Db, head: &AuditHead) -> Result<bool, DbError> {
    let (floor, _) = store::anchors(db).await?;
    let Anchor { sequence, digest } = floor.anchor;
    Ok(match head.sequence.cmp(&sequence) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => hex::encode(digest) == head.digest,
        std::cmp::Ordering::Greater => {
            let there = store::row_at(db, head.sequence).await?;
            there.is_some_and(|(_, digest)| hex::encode(digest) == head.digest)
        }
    })
}
