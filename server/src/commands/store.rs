//! All SQL of command sets and commands. Functions that take a [`Tx`] run inside the caller's transaction.

pub mod reads;
pub mod retention;
pub mod sets;

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{CommandId, HostId, OperationType, SetId};
use serde_json::json;

use super::decide::{CommandState, known_reason};
use crate::db::{ColumnKind, DbError, Dialect, Row, RowError, Statement, Tx};

/// A command's row as decisions need it.
#[derive(Clone, Debug)]
pub struct CommandRow {
    pub id: CommandId,
    pub set_id: SetId,
    pub host_id: HostId,
    pub ordinal: u64,
    pub state: CommandState,
    /// A result of its last attempt is stored already: the same one again says nothing new.
    pub answered: bool,
    /// What a result adds; written only if set.
    pub result: Option<StoredResult>,
    pub late_result: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct StoredResult {
    pub exit_code: Option<i32>,
    pub changed: bool,
    pub message: String,
    /// JSON.
    pub details: Option<String>,
}

/// One row to insert when a set materialises.
#[derive(Clone, Debug)]
pub struct NewRow {
    pub id: CommandId,
    pub ordinal: u64,
    pub host_id: HostId,
    pub status: CommandStatus,
    pub reason: Option<&'static str>,
}

/// One output to store. Heads and tails as in `OutputSummary`.
#[derive(Clone, Debug, Default)]
pub struct StoredOutput {
    pub stdout: StoredStream,
    pub stderr: StoredStream,
    /// It came in parts, which are to be removed once it is stored.
    pub in_parts: bool,
}

#[derive(Clone, Debug, Default)]
pub struct StoredStream {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
    pub total_bytes: u64,
    pub sha256: String,
}

impl StoredOutput {
    pub fn is_empty(&self) -> bool {
        self.stdout.total_bytes == 0 && self.stderr.total_bytes == 0
    }

    /// How much of it is kept.
    pub fn bytes(&self) -> usize {
        [&self.stdout, &self.stderr]
            .iter()
            .map(|stream| stream.head.len() + stream.tail.len())
            .sum()
    }
}

const STATE_COLUMNS: &str = "c.id, c.set_id, c.host_id, c.ordinal, c.status, c.reason, c.attempt, c.cancel_requested, \
     c.kill_requested, c.sent_at, c.slot, c.due_at, c.started_at, c.finished_at, s.expires_at, s.timeout_seconds, \
     s.cancel_reason, CAST(CASE WHEN c.changed IS NULL THEN 0 ELSE 1 END AS BIGINT) AS answered, \
     CAST(CASE WHEN s.cancel = 'none' THEN 0 ELSE 1 END AS BIGINT) AS set_cancelled, s.operation_type, \
     CAST(CASE WHEN c.ordinal < s.given_up_below THEN 1 ELSE 0 END AS BIGINT) AS given_up";

/// Loads the named commands with what decisions need of their sets. Unknown ids are absent.
pub fn load(tx: &mut Tx<'_>, ids: &[CommandId]) -> Result<Vec<CommandRow>, DbError> {
    let list: Vec<_> = ids
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    let source = tx
        .dialect()
        .rows_from_json("$1", &[("id", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM {source} AS v JOIN commands c ON c.id = v.id \
         JOIN command_sets s ON s.id = c.set_id"
    );
    query_rows(tx, Statement::new(sql).bind(json!(list).to_string()))
}

/// The host's commands that are sent and not resolved.
pub fn load_open_of_host(tx: &mut Tx<'_>, host_id: HostId) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.host_id = $1 AND c.status IN ('queued', 'running') ORDER BY c.id"
    );
    query_rows(tx, Statement::new(sql).bind(host_id))
}

/// Every command of the host that is not terminal, held ones too; they are few.
pub fn load_unfinished_of_host(
    tx: &mut Tx<'_>,
    host_id: HostId,
) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.host_id = $1 AND c.status IN ('held', 'queued', 'running')"
    );
    query_rows(tx, Statement::new(sql).bind(host_id))
}

/// Commands whose deadline has passed.
pub fn load_due(tx: &mut Tx<'_>, now_us: i64, limit: u32) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.due_at IS NOT NULL AND c.due_at <= $1 ORDER BY c.due_at LIMIT $2"
    );
    query_rows(tx, Statement::new(sql).bind(now_us).bind(limit))
}

/// Commands of a set that are not terminal and have not been asked to be cancelled, from `ordinal` on.
pub fn load_uncancelled(
    tx: &mut Tx<'_>,
    set_id: SetId,
    ordinal: u64,
    limit: u32,
) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.set_id = $1 AND c.ordinal >= $2 AND c.status IN ('held', 'queued', 'running') \
         ORDER BY c.ordinal LIMIT $3"
    );
    query_rows(
        tx,
        Statement::new(sql).bind(set_id).bind(ordinal).bind(limit),
    )
}

/// The named hosts' commands in a set.
pub fn load_of_hosts(
    tx: &mut Tx<'_>,
    set_id: SetId,
    hosts: &[HostId],
) -> Result<Vec<CommandRow>, DbError> {
    let list: Vec<_> = hosts
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    let source = tx
        .dialect()
        .rows_from_json("$1", &[("host_id", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM {source} AS v JOIN commands c ON c.host_id = v.host_id \
         JOIN command_sets s ON s.id = c.set_id WHERE c.set_id = $2"
    );
    query_rows(
        tx,
        Statement::new(sql)
            .bind(json!(list).to_string())
            .bind(set_id),
    )
}

/// The first held commands of a set, in order.
pub fn load_held(tx: &mut Tx<'_>, set_id: SetId, limit: u64) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.set_id = $1 AND c.status = 'held' ORDER BY c.ordinal LIMIT $2"
    );
    query_rows(tx, Statement::new(sql).bind(set_id).bind(limit))
}

/// The held commands of a set with these ordinals, `to` excluded.
pub fn load_held_range(
    tx: &mut Tx<'_>,
    set_id: SetId,
    from: u64,
    to: u64,
) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.set_id = $1 AND c.ordinal >= $2 AND c.ordinal < $3 AND c.status = 'held' ORDER BY c.ordinal"
    );
    query_rows(tx, Statement::new(sql).bind(set_id).bind(from).bind(to))
}

/// Commands of a set that wait to start, from `ordinal` on and before `below`.
pub fn load_queued_range(
    tx: &mut Tx<'_>,
    set_id: SetId,
    ordinal: u64,
    below: u64,
    limit: u32,
) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.set_id = $1 AND c.ordinal >= $2 AND c.ordinal < $3 AND c.status = 'queued' \
         ORDER BY c.ordinal LIMIT $4"
    );
    let statement = Statement::new(sql).bind(set_id).bind(ordinal).bind(below);
    query_rows(tx, statement.bind(limit))
}

/// Writes the changed rows back: one statement for all of them.
pub fn save(tx: &mut Tx<'_>, rows: &[CommandRow]) -> Result<(), DbError> {
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            let state = &row.state;
            let result = row.result.as_ref();
            json!([
                hex::encode(row.id.as_bytes()),
                state.status.as_str(),
                state.reason,
                state.attempt,
                i64::from(state.cancel_requested),
                i64::from(state.kill_requested),
                state.sent_at,
                i64::from(state.slot),
                state.due_at,
                state.started_at,
                state.finished_at,
                result.and_then(|result| result.exit_code),
                result.map(|result| i64::from(result.changed)),
                result.map(|result| result.message.as_str()),
                result.and_then(|result| result.details.as_deref()),
                row.late_result,
            ])
        })
        .collect();
    tx.execute(Statement::new(save_sql(tx.dialect())).bind(json!(list).to_string()))?;
    Ok(())
}

fn save_sql(dialect: Dialect) -> String {
    let source = dialect.rows_from_json(
        "$1",
        &[
            ("id", ColumnKind::Bytes),
            ("status", ColumnKind::Text),
            ("reason", ColumnKind::Text),
            ("attempt", ColumnKind::Integer),
            ("cancel_requested", ColumnKind::Integer),
            ("kill_requested", ColumnKind::Integer),
            ("sent_at", ColumnKind::Integer),
            ("slot", ColumnKind::Integer),
            ("due_at", ColumnKind::Integer),
            ("started_at", ColumnKind::Integer),
            ("finished_at", ColumnKind::Integer),
            ("exit_code", ColumnKind::Integer),
            ("changed", ColumnKind::Integer),
            ("message", ColumnKind::Text),
            ("details", ColumnKind::Text),
            ("late_result", ColumnKind::Text),
        ],
    );
    format!(
        "UPDATE commands SET status = v.status, reason = v.reason, attempt = v.attempt, \
         cancel_requested = v.cancel_requested, kill_requested = v.kill_requested, sent_at = v.sent_at, \
         slot = v.slot, due_at = v.due_at, started_at = v.started_at, finished_at = v.finished_at, \
         exit_code = COALESCE(v.exit_code, commands.exit_code), changed = COALESCE(v.changed, commands.changed), \
         message = COALESCE(v.message, commands.message), details = COALESCE(v.details, commands.details), \
         late_result = COALESCE(commands.late_result, v.late_result) \
         FROM {source} AS v WHERE commands.id = v.id"
    )
}

/// Inserts the rows of one chunk of a set.
pub fn insert(tx: &mut Tx<'_>, set_id: SetId, rows: &[NewRow], now_us: i64) -> Result<(), DbError> {
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            json!([
                hex::encode(row.id.as_bytes()),
                row.ordinal,
                hex::encode(row.host_id.as_bytes()),
                row.status.as_str(),
                row.reason,
                row.status.is_terminal().then_some(now_us),
            ])
        })
        .collect();
    let source = tx.dialect().rows_from_json(
        "$1",
        &[
            ("id", ColumnKind::Bytes),
            ("ordinal", ColumnKind::Integer),
            ("host_id", ColumnKind::Bytes),
            ("status", ColumnKind::Text),
            ("reason", ColumnKind::Text),
            ("finished_at", ColumnKind::Integer),
        ],
    );
    let sql = format!(
        "INSERT INTO commands (id, set_id, ordinal, host_id, status, reason, created_at, finished_at) \
         SELECT v.id, $2, v.ordinal, v.host_id, v.status, v.reason, $3, v.finished_at FROM {source} AS v"
    );
    let statement = Statement::new(sql)
        .bind(json!(list).to_string())
        .bind(set_id)
        .bind(now_us);
    tx.execute(statement)?;
    Ok(())
}

/// Marks waiting commands as sent; returns those that still waited.
pub fn mark_sent(
    tx: &mut Tx<'_>,
    ids: &[CommandId],
    now_us: i64,
    due_at: i64,
) -> Result<Vec<CommandId>, DbError> {
    let list: Vec<_> = ids
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    let source = tx
        .dialect()
        .rows_from_json("$1", &[("wanted", ColumnKind::Bytes)]);
    let sql = format!(
        "UPDATE commands SET sent_at = $2, slot = 1, due_at = $3 FROM {source} AS v \
         WHERE commands.id = v.wanted AND status = 'queued' AND sent_at IS NULL AND cancel_requested = 0 \
         RETURNING id"
    );
    let statement = Statement::new(sql)
        .bind(json!(list).to_string())
        .bind(now_us)
        .bind(due_at);
    let rows = tx.query(statement)?;
    Ok(rows
        .iter()
        .map(|row| row.id("id"))
        .collect::<Result<_, _>>()?)
}

/// Stores outputs. A second result for the same command changes nothing.
pub fn insert_outputs(
    tx: &mut Tx<'_>,
    outputs: &[(CommandId, &StoredOutput)],
) -> Result<(), DbError> {
    const SQL: &str = "INSERT INTO command_outputs (command_id, stdout_head, stdout_tail, stdout_bytes, \
        stdout_sha256, stderr_head, stderr_tail, stderr_bytes, stderr_sha256) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (command_id) DO NOTHING";
    for (id, output) in outputs {
        let statement = Statement::new(SQL)
            .bind(*id)
            .bind(output.stdout.head.as_slice())
            .bind(output.stdout.tail.as_slice())
            .bind(output.stdout.total_bytes)
            .bind(&output.stdout.sha256)
            .bind(output.stderr.head.as_slice())
            .bind(output.stderr.tail.as_slice())
            .bind(output.stderr.total_bytes)
            .bind(&output.stderr.sha256);
        tx.execute(statement)?;
    }
    Ok(())
}

fn query_rows(tx: &mut Tx<'_>, mut statement: Statement) -> Result<Vec<CommandRow>, DbError> {
    if tx.dialect() == Dialect::Postgres {
        statement = statement.with_suffix(" FOR UPDATE OF c");
    }
    let rows = tx.query(statement)?;
    rows.iter()
        .map(command_row)
        .collect::<Result<_, _>>()
        .map_err(DbError::from)
}

fn command_row(row: Row<'_>) -> Result<CommandRow, RowError> {
    let timeout_seconds = row.integer("timeout_seconds")?;
    let cancel_reason = row.optional_text("cancel_reason")?;
    Ok(CommandRow {
        id: row.id("id")?,
        set_id: row.id("set_id")?,
        host_id: row.id("host_id")?,
        ordinal: row.count("ordinal")?,
        state: CommandState {
            status: status(row)?,
            reason: match row.optional_text("reason")? {
                None => None,
                Some(_) => Some(row.word("reason", "a known reason", known_reason)?),
            },
            attempt: u32::try_from(row.integer("attempt")?)
                .map_err(|_| row.unexpected("attempt", "an attempt"))?,
            cancel_requested: row.flag("cancel_requested")?,
            kill_requested: row.flag("kill_requested")?,
            sent_at: row.optional_integer("sent_at")?,
            slot: row.flag("slot")?,
            due_at: row.optional_integer("due_at")?,
            started_at: row.optional_integer("started_at")?,
            finished_at: row.optional_integer("finished_at")?,
            expires_at: row.integer("expires_at")?,
            timeout_us: timeout_seconds.saturating_mul(1_000_000),
            operation_type: row.word(
                "operation_type",
                "an operation type",
                OperationType::from_name,
            )?,
            cancel_reason: cancel_reason.and_then(known_reason).unwrap_or("cancelled"),
            set_cancelled: row.flag("set_cancelled")?,
            given_up: row.flag("given_up")?,
        },
        answered: row.flag("answered")?,
        result: None,
        late_result: None,
    })
}

fn status(row: Row<'_>) -> Result<CommandStatus, RowError> {
    row.word("status", "a command status", CommandStatus::from_name)
}
