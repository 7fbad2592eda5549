//! All SQL of command sets and commands. Functions that take a [`Tx`] run inside the caller's transaction.

pub mod batches;
pub mod blobs;
pub mod reads;
pub mod retention;
pub mod sets;

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{CommandId, HostId, OperationType, SetId};

use super::decide::{CommandState, known_reason};
use crate::db::{ColumnKind, DbError, Dialect, Row, RowError, Statement, Tx, packed};

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
    /// It is handed to a connection as soon as it is stored.
    pub sent: bool,
}

/// One output to store. Heads and tails as in `OutputSummary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredOutput {
    pub stdout: StoredStream,
    pub stderr: StoredStream,
    /// It came in parts, which are to be removed once it is stored.
    pub in_parts: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
/// The same, with their kinds.
const STATE_KINDS: [(&str, ColumnKind); 21] = [
    ("id", ColumnKind::Bytes),
    ("set_id", ColumnKind::Bytes),
    ("host_id", ColumnKind::Bytes),
    ("ordinal", ColumnKind::Integer),
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
    ("expires_at", ColumnKind::Integer),
    ("timeout_seconds", ColumnKind::Integer),
    ("cancel_reason", ColumnKind::Text),
    ("answered", ColumnKind::Integer),
    ("set_cancelled", ColumnKind::Integer),
    ("operation_type", ColumnKind::Text),
    ("given_up", ColumnKind::Integer),
];

/// Loads the named commands with what decisions need of their sets. Unknown ids are absent.
pub fn load(tx: &mut Tx<'_>, ids: &[CommandId]) -> Result<Vec<CommandRow>, DbError> {
    let among = tx.dialect().is_among("c.id", "$1");
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id WHERE {among}"
    );
    query_rows(
        tx,
        Statement::new(sql).bind(packed(ids.iter().map(CommandId::as_bytes))),
    )
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
pub fn load_due(tx: &mut Tx<'_>, lease_us: i64, limit: u32) -> Result<Vec<CommandRow>, DbError> {
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM commands c JOIN command_sets s ON s.id = c.set_id \
         WHERE c.due_at IS NOT NULL AND c.due_at <= $1 ORDER BY c.due_at LIMIT $2"
    );
    query_rows(tx, Statement::new(sql).bind(lease_us).bind(limit))
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
    // A join, so that the hosts are looked up and not the whole set.
    let source = tx.dialect().rows_from_ids("$1");
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM {source} AS v JOIN commands c ON c.host_id = v.id \
         JOIN command_sets s ON s.id = c.set_id WHERE c.set_id = $2"
    );
    let statement = Statement::new(sql).bind(packed(hosts.iter().map(HostId::as_bytes)));
    query_rows(tx, statement.bind(set_id))
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

fn query_rows(tx: &mut Tx<'_>, mut statement: Statement) -> Result<Vec<CommandRow>, DbError> {
    if tx.dialect() == Dialect::Postgres {
        statement = statement.with_suffix(" FOR UPDATE OF c");
    }
    let rows = tx.query_many(statement, &STATE_KINDS)?;
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
