//! The audit log's rows and its two anchors: `head`, the newest row, and `floor`, the newest row that retention
//! has deleted. With both, a row missing at either end is noticed too.

use fleetwright_plugin_api::wire::{AuditEntry, Cell};

use super::AuditContext;
use super::chain::{self, Digest};
use crate::db::{Db, DbError, Row, RowError, Statement, Tx};

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
    pub fn expected_digest(&self, previous: &Digest) -> Digest {
        chain::digest(
            previous,
            self.sequence,
            self.at_us,
            &self.context,
            (
                &self.action,
                &self.target_kind,
                &self.target_id,
                &self.detail,
            ),
        )
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

/// A sequence number and the digest of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub sequence: i64,
    pub digest: Digest,
}

const COLUMNS: &str = "sequence, at, request_id, principal, principal_name, tenant, address, action, \
    target_kind, target_id, detail, digest";

pub(super) fn append(
    tx: &mut Tx<'_>,
    now_us: i64,
    context: &AuditContext,
    entry: &AuditEntry,
) -> Result<(), DbError> {
    let lock = tx.dialect().for_update();
    let head = tx.query(Statement::new(format!(
        "SELECT sequence, digest FROM audit_anchors WHERE name = 'head'{lock}"
    )))?;
    let head = anchor(head.first())?;
    let mut row = AuditRow {
        sequence: head.sequence + 1,
        at_us: now_us,
        context: context.clone(),
        action: entry.action.clone(),
        target_kind: entry.target_kind.clone(),
        target_id: entry.target_id.clone(),
        detail: entry.detail.to_string(),
        digest: Vec::new(),
    };
    let digest = row.expected_digest(&head.digest);
    row.digest = digest.to_vec();
    let sequence = row.sequence;
    insert(tx, row)?;
    tx.execute(
        Statement::new("UPDATE audit_anchors SET sequence = $1, digest = $2 WHERE name = 'head'")
            .bind(sequence)
            .bind(digest),
    )?;
    Ok(())
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
        "SELECT {COLUMNS} FROM audit WHERE sequence < $1{conditions} ORDER BY sequence DESC LIMIT ${}",
        bound.len()
    );
    let statement = bound.into_iter().fold(Statement::new(sql), Statement::bind);
    let rows = db.read(statement).await?;
    Ok(rows.iter().map(read_row).collect::<Result<_, _>>()?)
}

/// `(floor, head)`.
pub async fn anchors(db: &Db) -> Result<(Anchor, Anchor), DbError> {
    let named = |name: &str| {
        Statement::new("SELECT sequence, digest FROM audit_anchors WHERE name = $1").bind(name)
    };
    let found = db.read_all(vec![named("floor"), named("head")]).await?;
    let read = |index: usize| anchor(found.get(index).and_then(|rows| rows.first()));
    Ok((read(0)?, read(1)?))
}

/// Deletes at most `limit` of the oldest rows, up to the first that is not older than `before_us`, and moves the floor.
/// Returns how many. The newest row always stays. A row that was dated while the wall clock was behind takes none before
/// it along.
pub fn delete_before(tx: &mut Tx<'_>, before_us: i64, limit: u32) -> Result<u64, DbError> {
    let found = tx.query(
        Statement::new(
            "WITH oldest AS (
                 SELECT sequence, digest, at FROM audit
                 WHERE sequence < (SELECT sequence FROM audit_anchors WHERE name = 'head')
                 ORDER BY sequence LIMIT $2
             )
             SELECT sequence, digest FROM oldest
             WHERE at < $1 AND NOT EXISTS (
                 SELECT 1 FROM oldest AS kept WHERE kept.at >= $1 AND kept.sequence < oldest.sequence
             )
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(before_us)
        .bind(limit),
    )?;
    if found.is_empty() {
        return Ok(0);
    }
    let last = anchor(found.first())?;
    tx.execute(
        Statement::new("UPDATE audit_anchors SET sequence = $1, digest = $2 WHERE name = 'floor'")
            .bind(last.sequence)
            .bind(last.digest),
    )?;
    tx.execute(Statement::new("DELETE FROM audit WHERE sequence <= $1").bind(last.sequence))
}

fn anchor(row: Option<Row<'_>>) -> Result<Anchor, DbError> {
    let missing = || DbError::Unfit("the audit log has lost its anchors".to_owned());
    let row = row.ok_or_else(missing)?;
    let digest = Digest::try_from(row.bytes("digest")?).map_err(|_| missing())?;
    Ok(Anchor {
        sequence: row.integer("sequence")?,
        digest,
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
