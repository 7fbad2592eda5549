//! The audit log's rows and its two anchors: `head`, the newest row, and `floor`, the newest row that retention
//! has deleted. With both, a row missing at either end is noticed too. Both are authenticated under the log's key, which is
//! not in the database.

pub mod heads;

pub use super::anchor::Anchor;

use fleetwright_plugin_api::wire::{AuditEntry, Cell};

use super::AuditContext;
use super::anchor::{BROKEN, Digest};
use super::chain::{self, Covered};
use super::key::{AuditKey, Which};
use crate::db::{Db, DbError, Row, RowError, Rows, Statement, Tx};

/// A stored row.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    pub sequence: i64,
    pub at_us: i64,
    pub context: AuditContext,
    pub action: String,
    pub target_kind: String,
    pub target_id: String,
    /// JSON text, exactly as digested.
    pub detail: String,
    pub digest: Vec<u8>,
}

impl AuditRow {
    /// What the row's digest must be after a row with digest `previous`.
    pub fn keyed_digest(&self, key: &AuditKey, previous: &Digest) -> Digest {
        chain::keyed(key, previous, self.covered())
    }

    /// The same for a row from before there was a key.
    pub fn plain_digest(&self, previous: &Digest) -> Digest {
        chain::plain(previous, self.covered())
    }

    fn covered(&self) -> Covered<'_> {
        Covered {
            sequence: self.sequence,
            at_us: self.at_us,
            context: &self.context,
            entry: (
                &self.action,
                &self.target_kind,
                &self.target_id,
                &self.detail,
            ),
        }
    }
}

/// Which rows to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub principal: Option<String>,
    pub action: Option<String>,
    pub target_kind: Option<String>,
    pub target_id: Option<String>,
    pub tenant: Option<String>,
    pub since_us: Option<i64>,
    pub until_us: Option<i64>,
}

/// An anchor as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnchor {
    pub anchor: Anchor,
    /// What authenticates it; `None` of a log that never had a key.
    pub mac: Option<Vec<u8>>,
    /// The key that `mac` was made with.
    pub key_id: Option<String>,
}

impl StoredAnchor {
    /// Whether the holder of the key put it there. The beginning of a log needs nobody's word.
    pub(super) fn is_vouched(&self, key: &AuditKey, which: Which) -> bool {
        let is_beginning = which == Which::Floor && self.anchor.sequence == 0;
        is_beginning || key.vouches(which, &self.anchor, self.mac.as_deref())
    }
}

const COLUMNS: &str = "sequence, at, request_id, principal, principal_name, tenant, address, action, \
    target_kind, target_id, detail, digest";

pub(super) fn append(
    tx: &mut Tx<'_>,
    now_us: i64,
    context: &AuditContext,
    entry: &AuditEntry,
) -> Result<(), DbError> {
    let no_key = || DbError::Unfit("the audit log's key has not been read".to_owned());
    let key: std::sync::Arc<AuditKey> = tx.held().ok_or_else(no_key)?;
    let head = anchor_in(tx, Which::Head)?;
    let previous = if head.is_vouched(&key, Which::Head) {
        head.anchor.digest
    } else {
        tracing::error!(
            sequence = head.anchor.sequence,
            "the audit log is not as this server left it, or its key was changed: look at GET /api/v1/audit/verify"
        );
        BROKEN
    };
    let mut row = AuditRow {
        sequence: head.anchor.sequence + 1,
        at_us: now_us,
        context: context.clone(),
        action: entry.action.clone(),
        target_kind: entry.target_kind.clone(),
        target_id: entry.target_id.clone(),
        detail: entry.detail.to_string(),
        digest: Vec::new(),
    };
    let digest = row.keyed_digest(&key, &previous);
    row.digest = digest.to_vec();
    let sequence = row.sequence;
    insert(tx, row)?;
    let moved = set_anchor(
        tx,
        &key,
        Which::Head,
        Anchor { sequence, digest },
        &head.anchor,
    )?;
    match moved {
        true => Ok(()),
        false => Err(DbError::Unavailable(
            "the audit log moved under this write".to_owned(),
        )),
    }
}

/// An anchor, locked until the transaction ends.
pub(super) fn anchor_in(tx: &mut Tx<'_>, which: Which) -> Result<StoredAnchor, DbError> {
    let lock = tx.dialect().for_update();
    let found = tx.query(
        Statement::new(format!(
            "SELECT sequence, digest, mac, key_id FROM audit_anchors WHERE name = $1{lock}"
        ))
        .bind(which.name()),
    )?;
    stored_anchor(found.first())
}

/// Moves an anchor that is still where it was seen, and authenticates it. Returns whether it was there.
pub(super) fn set_anchor(
    tx: &mut Tx<'_>,
    key: &AuditKey,
    which: Which,
    to: Anchor,
    from: &Anchor,
) -> Result<bool, DbError> {
    let changed = tx.execute(
        Statement::new(
            "UPDATE audit_anchors SET sequence = $1, digest = $2, mac = $3, key_id = $4 \
             WHERE name = $5 AND sequence = $6",
        )
        .bind(to.sequence)
        .bind(to.digest)
        .bind(key.seal(which, &to))
        .bind(key.id.as_str())
        .bind(which.name())
        .bind(from.sequence),
    )?;
    Ok(changed > 0)
}

fn insert(tx: &mut Tx<'_>, row: AuditRow) -> Result<(), DbError> {
    tx.execute(
        Statement::new(format!(
            "INSERT INTO audit ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        ))
        .bind(row.sequence)
        .bind(row.at_us)
        .bind(row.context.request_id)
        .bind(row.context.principal)
        .bind(row.context.principal_name)
        .bind(row.context.tenant)
        .bind(row.context.address)
        .bind(row.action)
        .bind(row.target_kind)
        .bind(row.target_id)
        .bind(row.detail)
        .bind(row.digest),
    )?;
    Ok(())
}

/// Rows after `floor` (exclusive) in order, at most `limit`.
pub async fn after(db: &Db, floor: i64, limit: u32) -> Result<Vec<AuditRow>, DbError> {
    let rows = db
        .read(
            Statement::new(format!(
                "SELECT {COLUMNS} FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2"
            ))
            .bind(floor)
            .bind(limit),
        )
        .await?;
    Ok(rows.iter().map(read_row).collect::<Result<_, _>>()?)
}

/// Newest rows first, before `before` (exclusive), at most `limit`.
pub async fn page(
    db: &Db,
    filter: &AuditFilter,
    before: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, DbError> {
    let mut conditions = String::new();
    let mut bound = vec![Cell::Integer(before)];
    let texts = [
        ("principal =", &filter.principal),
        ("action =", &filter.action),
        ("target_kind =", &filter.target_kind),
        ("target_id =", &filter.target_id),
        ("tenant =", &filter.tenant),
    ];
    let texts = texts.map(|(left, wanted)| (left, wanted.clone().map(Cell::Text)));
    let times = [("at >=", filter.since_us), ("at <", filter.until_us)];
    let times = times.map(|(left, wanted)| (left, wanted.map(Cell::Integer)));
    for (left, wanted) in texts.into_iter().chain(times) {
        if let Some(wanted) = wanted {
            bound.push(wanted);
            conditions.push_str(&format!(" AND {left} ${}", bound.len()));
        }
    }
    bound.push(Cell::Integer(limit.into()));
    let sql = format!(
        "SELECT {COLUMNS} FROM audit WHERE sequence < $1 \
         AND sequence > (SELECT sequence FROM audit_anchors WHERE name = 'floor'){conditions} \
         ORDER BY sequence DESC LIMIT ${}",
        bound.len()
    );
    let statement = bound.into_iter().fold(Statement::new(sql), Statement::bind);
    let rows = db.read(statement).await?;
    Ok(rows.iter().map(read_row).collect::<Result<_, _>>()?)
}

/// `(floor, head)`.
pub async fn anchors(db: &Db) -> Result<(StoredAnchor, StoredAnchor), DbError> {
    let named = |which: Which| {
        Statement::new("SELECT sequence, digest, mac, key_id FROM audit_anchors WHERE name = $1")
            .bind(which.name())
    };
    let found = db
        .read_all(vec![named(Which::Floor), named(Which::Head)])
        .await?;
    let read = |index: usize| stored_anchor(found.get(index).and_then(|rows| rows.first()));
    Ok((read(0)?, read(1)?))
}

/// The oldest row after `floor` that is not older than `before_us`: nothing from there on is deleted. A row that was dated
/// while the wall clock was behind takes none before it along.
pub async fn first_kept(db: &Db, floor: i64, before_us: i64) -> Result<Option<i64>, DbError> {
    let sql =
        "SELECT sequence FROM audit WHERE sequence > $1 AND at >= $2 ORDER BY sequence LIMIT 1";
    let found = db
        .read(Statement::new(sql).bind(floor).bind(before_us))
        .await?;
    Ok(found
        .first()
        .map(|row| row.integer("sequence"))
        .transpose()?)
}

/// When a row was written, and its digest; `None` if it is not there.
pub async fn row_at(db: &Db, sequence: i64) -> Result<Option<(i64, Vec<u8>)>, DbError> {
    one_row(&db.read(row_statement(sequence)).await?)
}

pub(super) fn row_at_in(tx: &mut Tx<'_>, sequence: i64) -> Result<Option<(i64, Vec<u8>)>, DbError> {
    one_row(&tx.query(row_statement(sequence))?)
}

fn row_statement(sequence: i64) -> Statement {
    Statement::new("SELECT at, digest FROM audit WHERE sequence = $1").bind(sequence)
}

fn one_row(rows: &Rows) -> Result<Option<(i64, Vec<u8>)>, DbError> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some((row.integer("at")?, row.bytes("digest")?.to_vec())))
}

/// Deletes at most `limit` of the rows up to the floor. Returns how many.
pub fn delete_to_floor(tx: &mut Tx<'_>, limit: u32) -> Result<u64, DbError> {
    tx.execute(
        Statement::new(
            "DELETE FROM audit WHERE sequence IN (
                 SELECT sequence FROM audit
                 WHERE sequence <= (SELECT sequence FROM audit_anchors WHERE name = 'floor')
                 ORDER BY sequence LIMIT $1
             )",
        )
        .bind(limit),
    )
}

fn stored_anchor(row: Option<Row<'_>>) -> Result<StoredAnchor, DbError> {
    let missing = || DbError::Unfit("the audit log has lost its anchors".to_owned());
    let row = row.ok_or_else(missing)?;
    let digest = Digest::try_from(row.bytes("digest")?).map_err(|_| missing())?;
    Ok(StoredAnchor {
        anchor: Anchor {
            sequence: row.integer("sequence")?,
            digest,
        },
        mac: row.optional_bytes("mac")?.map(<[u8]>::to_vec),
        key_id: row.optional_text("key_id")?.map(str::to_owned),
    })
}

fn read_row(row: Row<'_>) -> Result<AuditRow, RowError> {
    Ok(AuditRow {
        sequence: row.integer("sequence")?,
        at_us: row.integer("at")?,
        context: AuditContext {
            request_id: row.text("request_id")?.to_owned(),
            principal: row.text("principal")?.to_owned(),
            principal_name: row.text("principal_name")?.to_owned(),
            tenant: row.optional_text("tenant")?.map(str::to_owned),
            address: row.text("address")?.to_owned(),
        },
        action: row.text("action")?.to_owned(),
        target_kind: row.text("target_kind")?.to_owned(),
        target_id: row.text("target_id")?.to_owned(),
        detail: row.text("detail")?.to_owned(),
        digest: row.bytes("digest")?.to_vec(),
    })
}
