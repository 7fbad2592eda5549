//! SQL of command sets: their control fields, counters and contents.

use std::collections::BTreeMap;

use fleetwright_plugin_api::wire::{CommandStatus, SetView};
use fleetwright_protocol::{HostId, SetId};
use serde_json::json;

use crate::commands::decide::known_reason;
use crate::db::{ColumnKind, DbError, Dialect, Row, RowError, Statement, Tx};

/// How far a set's cancellation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelMode {
    None,
    /// Nothing new starts; what runs finishes.
    Finish,
    /// What runs is ended too.
    Kill,
}

impl CancelMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Finish => "finish",
            Self::Kill => "kill",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Finish, Self::Kill]
            .into_iter()
            .find(|mode| mode.as_str() == name)
    }
}

/// A set's row: what control and dispatch decide on, with the counters.
#[derive(Clone, Debug)]
pub struct SetRow {
    pub view: SetView,
    pub timeout_seconds: u64,
    pub cancel: CancelMode,
    /// Why what has not started ends, once the set is cancelled.
    pub cancel_reason: &'static str,
    pub born_held: bool,
    pub materialised: u64,
    pub in_flight: u64,
}

impl SetRow {
    /// Whether anything of it may be sent now.
    pub fn may_send(&self, lease_us: i64) -> bool {
        !self.view.paused && self.cancel == CancelMode::None && lease_us < self.view.expires_at_us
    }

    /// How many more of it may be sent now.
    pub fn free_slots(&self) -> u64 {
        match self.view.max_concurrency {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.in_flight),
        }
    }
}

/// What a group of decisions adds to one set's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterDelta {
    pub held: i64,
    pub queued: i64,
    pub running: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub skipped: i64,
    /// Of `skipped`: as cancelled or halted, be it alone or with the whole set.
    pub skipped_cancelled: i64,
    /// Of `failed`: those that never started.
    pub failed_unreachable: i64,
    pub in_flight: i64,
    /// Some command of the set has started.
    pub started: bool,
}

impl CounterDelta {
    /// Moves one command from one status to another.
    pub fn shift(&mut self, from: CommandStatus, to: CommandStatus, reason: Option<&str>) {
        if from == to {
            return;
        }
        *self.slot_of(from) -= 1;
        *self.slot_of(to) += 1;
        if to == CommandStatus::Skipped && matches!(reason, Some("cancelled" | "halted")) {
            self.skipped_cancelled += 1;
        }
        if to == CommandStatus::Failed && reason == Some("unreachable") {
            self.failed_unreachable += 1;
        }
    }

    fn slot_of(&mut self, status: CommandStatus) -> &mut i64 {
        match status {
            CommandStatus::Held => &mut self.held,
            CommandStatus::Queued => &mut self.queued,
            CommandStatus::Running => &mut self.running,
            CommandStatus::Succeeded => &mut self.succeeded,
            CommandStatus::Failed => &mut self.failed,
            CommandStatus::Skipped => &mut self.skipped,
        }
    }
}

/// What is written once when a set is created.
#[derive(Clone, Debug)]
pub struct NewSet {
    pub id: SetId,
    pub owner: String,
    pub created_by: String,
    pub operation_type: &'static str,
    pub operation_json: String,
    pub timeout_seconds: u64,
    pub created_at: i64,
    pub expires_at: i64,
    pub max_concurrency: u64,
    pub held: bool,
    pub host_ids: Vec<HostId>,
    /// Ordinal and reason, in order.
    pub skips: Vec<(u64, &'static str)>,
}

/// A set's unchanging contents.
#[derive(Clone, Debug)]
pub struct Contents {
    pub operation_json: String,
    pub host_ids: Vec<u8>,
    pub skips: Vec<(u64, String)>,
}

const COLUMNS: &str = "id, owner, operation_type, generation, revision, max_concurrency, paused, cancel, total, held, queued, \
     running, succeeded, failed, skipped, skipped_cancelled, created_at, expires_at, started_at, finished_at, \
     timeout_seconds, born_held, materialised, in_flight, cancel_reason, given_up_below, failed_unreachable";

pub fn insert(tx: &mut Tx<'_>, set: &NewSet) -> Result<(), DbError> {
    let total = set.host_ids.len();
    let skipped = set.skips.len();
    let waiting = total - skipped;
    let (held, queued) = if set.held { (waiting, 0) } else { (0, waiting) };
    let sql = "INSERT INTO command_sets (id, owner, created_by, operation_type, timeout_seconds, created_at, \
        expires_at, max_concurrency, born_held, total, held, queued, skipped, finished_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let statement = Statement::new(sql)
        .bind(set.id)
        .bind(&set.owner)
        .bind(&set.created_by)
        .bind(set.operation_type)
        .bind(set.timeout_seconds)
        .bind(set.created_at)
        .bind(set.expires_at)
        .bind(set.max_concurrency)
        .bind(set.held)
        .bind(total)
        .bind(held)
        .bind(queued)
        .bind(skipped)
        .bind((waiting == 0).then_some(set.created_at));
    tx.execute(statement)?;
    let mut bytes = Vec::with_capacity(total * 16);
    for id in &set.host_ids {
        bytes.extend_from_slice(id.as_bytes());
    }
    let sql = "INSERT INTO command_set_contents (set_id, operation, host_ids, skips) VALUES ($1, $2, $3, $4)";
    let statement = Statement::new(sql)
        .bind(set.id)
        .bind(&set.operation_json)
        .bind(bytes)
        .bind(json!(set.skips).to_string());
    tx.execute(statement)?;
    Ok(())
}

/// Reads one set and, on PostgreSQL, locks it for the transaction.
pub fn load(tx: &mut Tx<'_>, id: SetId) -> Result<Option<SetRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM command_sets WHERE id = $1{}",
        tx.dialect().for_update()
    );
    let rows = tx.query(Statement::new(sql).bind(id))?;
    Ok(rows.first().map(set_row).transpose()?)
}

/// The statement that reads the named sets outside a transaction.
pub fn select(dialect: Dialect, ids: &[SetId]) -> Statement {
    let list: Vec<_> = ids
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    let source = dialect.rows_from_json("$1", &[("wanted", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT {COLUMNS} FROM command_sets WHERE id IN (SELECT wanted FROM {source} AS v)"
    );
    Statement::new(sql).bind(json!(list).to_string())
}

/// The statement that lists the open sets: those the dispatcher must look at after a start. One whose hosts were all
/// skipped is finished from the beginning, and may still lack rows.
pub fn select_open() -> Statement {
    let sql =
        "SELECT id FROM command_sets WHERE finished_at IS NULL OR materialised < total ORDER BY id";
    Statement::new(sql)
}

/// The statement that lists open sets whose time to live is over.
pub fn select_expired(lease_us: i64) -> Statement {
    let sql = "SELECT id FROM command_sets WHERE finished_at IS NULL AND expires_at <= $1 \
        AND held + queued > 0";
    Statement::new(sql).bind(lease_us)
}

pub fn select_contents(id: SetId) -> Statement {
    Statement::new("SELECT operation, host_ids, skips FROM command_set_contents WHERE set_id = $1")
        .bind(id)
}

pub fn select_operation(id: SetId) -> Statement {
    Statement::new("SELECT operation FROM command_set_contents WHERE set_id = $1").bind(id)
}

pub fn contents(row: Row<'_>) -> Result<Contents, RowError> {
    Ok(Contents {
        operation_json: row.text("operation")?.to_owned(),
        host_ids: row.bytes("host_ids")?.to_vec(),
        skips: row.json("skips")?,
    })
}

/// Records that rows exist up to `materialised`, if they did up to `from`. Returns whether that was so.
pub fn advance_materialised(
    tx: &mut Tx<'_>,
    id: SetId,
    from: u64,
    materialised: u64,
) -> Result<bool, DbError> {
    let sql = "UPDATE command_sets SET materialised = $3 WHERE id = $1 AND materialised = $2";
    Ok(tx.execute(Statement::new(sql).bind(id).bind(from).bind(materialised))? == 1)
}

/// Adds the deltas to their sets' counters and finishes the sets that have nothing left. A host that is skipped as cancelled
/// counts as skipped by the whole set's cancel only once there is one.
pub fn apply(
    tx: &mut Tx<'_>,
    deltas: &BTreeMap<SetId, CounterDelta>,
    now_us: i64,
) -> Result<(), DbError> {
    const SQL: &str = "UPDATE command_sets SET held = held + $2, queued = queued + $3, running = running + $4, \
        succeeded = succeeded + $5, failed = failed + $6, skipped = skipped + $7, \
        skipped_cancelled = skipped_cancelled + CASE WHEN cancel = 'none' THEN 0 ELSE $8 END, in_flight = in_flight + $9, \
        failed_unreachable = failed_unreachable + $13, revision = revision + 1, \
        started_at = COALESCE(started_at, $10), \
        finished_at = CASE WHEN finished_at IS NULL AND held + queued + running + $11 = 0 THEN $12 \
            ELSE finished_at END WHERE id = $1";
    for (id, delta) in deltas {
        if *delta == CounterDelta::default() {
            continue;
        }
        let statement = Statement::new(SQL)
            .bind(*id)
            .bind(delta.held)
            .bind(delta.queued)
            .bind(delta.running)
            .bind(delta.succeeded)
            .bind(delta.failed)
            .bind(delta.skipped)
            .bind(delta.skipped_cancelled)
            .bind(delta.in_flight)
            .bind(delta.started.then_some(now_us))
            .bind(delta.held + delta.queued + delta.running)
            .bind(now_us)
            .bind(delta.failed_unreachable);
        tx.execute(statement)?;
    }
    Ok(())
}

/// Writes the control fields and raises the generation.
pub fn save_control(
    tx: &mut Tx<'_>,
    set: &SetRow,
    cancel_reason: Option<&str>,
) -> Result<(), DbError> {
    let sql = "UPDATE command_sets SET paused = $2, cancel = $3, cancel_reason = COALESCE(cancel_reason, $4), \
        max_concurrency = $5, given_up_below = $6, generation = generation + 1, revision = revision + 1 WHERE id = $1";
    let statement = Statement::new(sql)
        .bind(set.view.id)
        .bind(set.view.paused)
        .bind(set.cancel.as_str())
        .bind(cancel_reason)
        .bind(set.view.max_concurrency)
        .bind(set.view.given_up_below);
    tx.execute(statement)?;
    Ok(())
}

pub fn set_row(row: Row<'_>) -> Result<SetRow, RowError> {
    let cancel = row.word("cancel", "a cancel mode", CancelMode::from_name)?;
    Ok(SetRow {
        view: SetView {
            id: row.id("id")?,
            owner: row.text("owner")?.to_owned(),
            operation_type: row.text("operation_type")?.to_owned(),
            generation: row.integer("generation")?,
            revision: row.integer("revision")?,
            max_concurrency: row.count("max_concurrency")?,
            paused: row.flag("paused")?,
            cancelled: cancel != CancelMode::None,
            total: row.count("total")?,
            held: row.count("held")?,
            queued: row.count("queued")?,
            running: row.count("running")?,
            succeeded: row.count("succeeded")?,
            failed: row.count("failed")?,
            skipped: row.count("skipped")?,
            skipped_cancelled: row.count("skipped_cancelled")?,
            failed_unreachable: row.count("failed_unreachable")?,
            given_up_below: row.count("given_up_below")?,
            created_at_us: row.integer("created_at")?,
            expires_at_us: row.integer("expires_at")?,
            started_at_us: row.optional_integer("started_at")?,
            finished_at_us: row.optional_integer("finished_at")?,
        },
        timeout_seconds: row.count("timeout_seconds")?,
        cancel,
        cancel_reason: row
            .optional_text("cancel_reason")?
            .and_then(known_reason)
            .unwrap_or("cancelled"),
        born_held: row.flag("born_held")?,
        materialised: row.count("materialised")?,
        in_flight: row.count("in_flight")?,
    })
}
