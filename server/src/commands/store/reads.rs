//! Read-only SQL of commands, outside transactions: pages, history, output, and what waits to be sent.

use fleetwright_plugin_api::wire::{
    CommandOutput, CommandQuery, CommandStatus, CommandView, StreamOutput,
};
use fleetwright_protocol::{CommandId, HostId, SetId};
use serde_json::{Value, json};

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

/// The columns of what waits.
pub const WAITING: [(&str, ColumnKind); 5] = [
    ("id", ColumnKind::Bytes),
    ("set_id", ColumnKind::Bytes),
    ("host_id", ColumnKind::Bytes),
    ("ordinal", ColumnKind::Integer),
    ("attempt", ColumnKind::Integer),
];

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

pub fn waiting(row: Row<'_>) -> Result<Waiting, RowError> {
    Ok(Waiting {
        id: row.id("id")?,
        set_id: row.id("set_id")?,
        host_id: row.id("host_id")?,
        ordinal: row.count("ordinal")?,
        attempt: u32::try_from(row.integer("attempt")?)
            .map_err(|_| row.unexpected("attempt", "an attempt"))?,
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

pub fn command_output(row: Row<'_>) -> Result<CommandOutput, RowError> {
    Ok(CommandOutput {
        stdout: StreamOutput {
            head: row.bytes("stdout_head")?.to_vec(),
            tail: row.bytes("stdout_tail")?.to_vec(),
            total_bytes: row.count("stdout_bytes")?,
            sha256: row.text("stdout_sha256")?.to_owned(),
        },
        stderr: StreamOutput {
            head: row.bytes("stderr_head")?.to_vec(),
            tail: row.bytes("stderr_tail")?.to_vec(),
            total_bytes: row.count("stderr_bytes")?,
            sha256: row.text("stderr_sha256")?.to_owned(),
        },
    })
}

pub fn command_view(row: Row<'_>) -> Result<CommandView, RowError> {
    let narrow =
        |value| i32::try_from(value).map_err(|_| row.unexpected("exit_code", "an exit code"));
    let json = |column| -> Result<Option<Value>, RowError> {
        let text = row.optional_text(column)?;
        Ok(text.and_then(|text| serde_json::from_str(text).ok()))
    };
    Ok(CommandView {
        id: row.id("id")?,
        set_id: row.id("set_id")?,
        host_id: row.id("host_id")?,
        ordinal: row.count("ordinal")?,
        status: row.word("status", "a command status", CommandStatus::from_name)?,
        reason: row.optional_text("reason")?.map(str::to_owned),
        attempt: u32::try_from(row.integer("attempt")?)
            .map_err(|_| row.unexpected("attempt", "an attempt"))?,
        cancel_requested: row.flag("cancel_requested")?,
        exit_code: row.optional_integer("exit_code")?.map(narrow).transpose()?,
        changed: row.optional_integer("changed")?.map(|value| value != 0),
        message: row.optional_text("message")?.unwrap_or_default().to_owned(),
        created_at_us: row.integer("created_at")?,
        started_at_us: row.optional_integer("started_at")?,
        finished_at_us: row.optional_integer("finished_at")?,
        late_result: json("late_result")?,
        details: json("details")?,
        stdout_tail: lossy(row.optional_bytes("stdout_tail")?),
        stderr_tail: lossy(row.optional_bytes("stderr_tail")?),
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
         c.changed, c.message, c.created_at, c.started_at, c.finished_at, c.late_result, {details} AS details, \
         {} AS stdout_tail, {} AS stderr_tail",
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

fn lossy(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
