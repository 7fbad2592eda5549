//! Read-only SQL of commands, outside transactions: pages, history, output, and what waits to be sent.

use fleetwright_plugin_api::wire::{
    CommandOutput, CommandQuery, CommandStatus, CommandView, StreamOutput,
};
use fleetwright_protocol::{CommandId, HostId, SetId};
use serde_json::json;

use crate::db::{ColumnKind, Dialect, Row, RowError, Statement};

/// Bytes of output shown per stream in lists.
const TAIL_BYTES: u32 = 2_048;

/// In lists, details of more than 16 KiB are left out: a page of a thousand rows stays in the size of a page of outputs.
const DETAILS_LISTED: &str = "CASE WHEN length(c.details) > 16384 THEN NULL ELSE c.details END";

/// Rows of one look at what waits for hosts.
pub const WAITING_MAX: usize = 2_000;

/// A command that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub id: CommandId,
    pub set_id: SetId,
    pub host_id: HostId,
    pub ordinal: u64,
    pub attempt: u32,
}

/// What of a set waits to be sent, from `ordinal` on, in order.
pub fn waiting_of_set(set_id: SetId, ordinal: u64, limit: u32) -> Statement {
    let sql = "SELECT id, set_id, host_id, ordinal, attempt FROM commands WHERE set_id = $1 \
        AND status = 'queued' AND sent_at IS NULL AND ordinal >= $2 ORDER BY ordinal LIMIT $3";
    Statement::new(sql).bind(set_id).bind(ordinal).bind(limit)
}

/// What waits to be sent to these hosts, oldest first.
pub fn waiting_of_hosts(dialect: Dialect, hosts: &[HostId]) -> Statement {
    let source = dialect.rows_from_json("$1", &[("host_id", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT c.id, c.set_id, c.host_id, c.ordinal, c.attempt FROM {source} AS v \
         JOIN commands c ON c.host_id = v.host_id WHERE c.status IN ('queued', 'running') \
         AND c.status = 'queued' AND c.sent_at IS NULL ORDER BY c.id LIMIT {WAITING_MAX}"
    );
    Statement::new(sql).bind(host_list(hosts))
}

pub fn waiting(row: &Row) -> Result<Waiting, RowError> {
    Ok(Waiting {
        id: row.id(0)?,
        set_id: row.id(1)?,
        host_id: row.id(2)?,
        ordinal: row.count(3)?,
        attempt: u32::try_from(row.integer(4)?).map_err(|_| row.unexpected(4, "an attempt"))?,
    })
}

/// A page of a set's rows in order. Of named hosts it looks from the query's ordinal on until it has found one row for each.
pub fn page_of_set(dialect: Dialect, query: &CommandQuery) -> Statement {
    let mut filter = match query.status {
        None => String::new(),
        Some(CommandStatus::Queued) => "AND c.status IN ('queued', 'held')".to_owned(),
        Some(
            status @ (CommandStatus::Held
            | CommandStatus::Running
            | CommandStatus::Succeeded
            | CommandStatus::Failed
            | CommandStatus::Skipped),
        ) => format!("AND c.status = '{}'", status.as_str()),
    };
    if !query.hosts.is_empty() {
        let source = dialect.rows_from_json("$4", &[("host_id", ColumnKind::Bytes)]);
        filter.push_str(&format!(
            " AND c.host_id IN (SELECT v.host_id FROM {source} AS v)"
        ));
    }
    let sql = format!(
        "SELECT {} FROM commands c LEFT JOIN command_outputs o ON o.command_id = c.id \
         WHERE c.set_id = $1 AND c.ordinal >= $2 {filter} ORDER BY c.ordinal LIMIT $3",
        view_columns(dialect, DETAILS_LISTED)
    );
    let statement = Statement::new(sql)
        .bind(query.set_id)
        .bind(query.cursor)
        .bind(query.limit);
    if query.hosts.is_empty() {
        statement
    } else {
        statement.bind(host_list(&query.hosts))
    }
}

/// The newest commands of a host, before `before` if given.
pub fn page_of_host(
    dialect: Dialect,
    host_id: HostId,
    before: Option<CommandId>,
    limit: u32,
) -> Statement {
    let filter = before.map_or("", |_| "AND c.id < $3");
    let sql = format!(
        "SELECT {} FROM commands c LEFT JOIN command_outputs o ON o.command_id = c.id \
         WHERE c.host_id = $1 {filter} ORDER BY c.id DESC LIMIT $2",
        view_columns(dialect, DETAILS_LISTED)
    );
    let statement = Statement::new(sql).bind(host_id).bind(limit);
    match before {
        Some(id) => statement.bind(id),
        None => statement,
    }
}

pub fn one(dialect: Dialect, id: CommandId) -> Statement {
    let sql = format!(
        "SELECT {} FROM commands c LEFT JOIN command_outputs o ON o.command_id = c.id WHERE c.id = $1",
        view_columns(dialect, "c.details")
    );
    Statement::new(sql).bind(id)
}

pub fn one_of_host(dialect: Dialect, set_id: SetId, host_id: HostId) -> Statement {
    let sql = format!(
        "SELECT {} FROM commands c LEFT JOIN command_outputs o ON o.command_id = c.id \
         WHERE c.host_id = $2 AND c.set_id = $1",
        view_columns(dialect, "c.details")
    );
    Statement::new(sql).bind(set_id).bind(host_id)
}

pub fn output(id: CommandId) -> Statement {
    let sql = "SELECT stdout_head, stdout_tail, stdout_bytes, stdout_sha256, stderr_head, stderr_tail, \
        stderr_bytes, stderr_sha256 FROM command_outputs WHERE command_id = $1";
    Statement::new(sql).bind(id)
}

pub fn command_output(row: &Row) -> Result<CommandOutput, RowError> {
    let stream = |first: usize| -> Result<StreamOutput, RowError> {
        Ok(StreamOutput {
            head: row.bytes(first)?.to_vec(),
            tail: row.bytes(first + 1)?.to_vec(),
            total_bytes: row.count(first + 2)?,
            sha256: row.text(first + 3)?.to_owned(),
        })
    };
    Ok(CommandOutput {
        stdout: stream(0)?,
        stderr: stream(4)?,
    })
}

pub fn command_view(row: &Row) -> Result<CommandView, RowError> {
    let status = CommandStatus::from_name(row.text(4)?)
        .ok_or_else(|| row.unexpected(4, "a command status"))?;
    let narrow = |value: i64, index: usize| {
        i32::try_from(value).map_err(|_| row.unexpected(index, "an exit code"))
    };
    Ok(CommandView {
        id: row.id(0)?,
        set_id: row.id(1)?,
        host_id: row.id(2)?,
        ordinal: row.count(3)?,
        status,
        reason: row.optional_text(5)?,
        attempt: u32::try_from(row.integer(6)?).map_err(|_| row.unexpected(6, "an attempt"))?,
        cancel_requested: row.flag(7)?,
        exit_code: row
            .optional_integer(8)?
            .map(|value| narrow(value, 8))
            .transpose()?,
        changed: row.optional_integer(9)?.map(|value| value != 0),
        message: row.optional_text(10)?.unwrap_or_default(),
        created_at_us: row.integer(11)?,
        started_at_us: row.optional_integer(12)?,
        finished_at_us: row.optional_integer(13)?,
        late_result: row
            .optional_text(14)?
            .and_then(|text| serde_json::from_str(&text).ok()),
        details: row
            .optional_text(15)?
            .and_then(|text| serde_json::from_str(&text).ok()),
        stdout_tail: lossy(row.optional_bytes(16)?),
        stderr_tail: lossy(row.optional_bytes(17)?),
    })
}

/// For `rows_from_json`.
fn host_list(hosts: &[HostId]) -> String {
    let list: Vec<_> = hosts
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    json!(list).to_string()
}

/// `details` is the expression that stands for them: all of them, or what a list can bear.
fn view_columns(dialect: Dialect, details: &str) -> String {
    format!(
        "c.id, c.set_id, c.host_id, c.ordinal, c.status, c.reason, c.attempt, c.cancel_requested, c.exit_code, \
         c.changed, c.message, c.created_at, c.started_at, c.finished_at, c.late_result, {details}, {}, {}",
        tail(dialect, "stdout"),
        tail(dialect, "stderr")
    )
}

/// The last bytes of a stream, cut out by the database so that a page of long outputs stays small.
fn tail(dialect: Dialect, stream: &str) -> String {
    let last = |column: &str| {
        let start = format!(
            "CASE WHEN length({column}) > {TAIL_BYTES} THEN length({column}) - {TAIL_BYTES} + 1 ELSE 1 END"
        );
        dialect.bytes_slice(column, &start, &TAIL_BYTES.to_string())
    };
    let head = format!("o.{stream}_head");
    let tail = format!("o.{stream}_tail");
    format!(
        "CASE WHEN length({tail}) > 0 THEN {} ELSE {} END",
        last(&tail),
        last(&head)
    )
}

fn lossy(bytes: Option<Vec<u8>>) -> String {
    bytes
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
