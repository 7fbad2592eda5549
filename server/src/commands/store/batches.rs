//! What happens to many commands at once: born, sent, changed, answered. A round trip to the database costs more than a
//! row, and JSON more than both, so rows that are alike travel as packed ids beside what they have in common, and the
//! others as parameters, dozens in a statement. The texts of the statements are few and stay prepared.

use std::collections::BTreeMap;

use fleetwright_plugin_api::wire::{Cell, CommandStatus};
use fleetwright_protocol::{CommandId, SetId};

use super::{CommandRow, NewRow, StoredOutput};
use crate::db::{ColumnKind, DbError, Dialect, Statement, Tx, packed};

/// From this many rows on it is worth a statement of their own to write what they have in common once.
const ALIKE_MIN: usize = 8;
/// Rows of one statement with a parameter for every cell: few enough sizes that each stays prepared.
const STEPS: [usize; 3] = [64, 8, 1];
const OUTPUT_COLUMNS: usize = 9;
/// The columns that `save` writes, the id first. What comes after `finished_at` is written once, by a result.
const SAVED: [(&str, ColumnKind); 16] = [
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
];

/// Writes the changed rows back.
pub fn save(tx: &mut Tx<'_>, rows: &[CommandRow]) -> Result<(), DbError> {
    let mut alike: BTreeMap<Saved<'_>, Vec<CommandId>> = BTreeMap::new();
    for row in rows {
        alike.entry(Saved::of(row)).or_default().push(row.id);
    }
    let mut singly = Vec::new();
    for (saved, ids) in alike {
        if ids.len() < ALIKE_MIN {
            singly.extend(ids.into_iter().map(|id| (id, saved)));
            continue;
        }
        let among = tx.dialect().is_among("id", "$1");
        let set = assignments(|column| format!("${}", column + 1));
        let sql = format!("UPDATE commands SET {set} WHERE {among}");
        tx.execute(bind_all(
            Statement::new(sql).bind(packed(ids.iter().map(CommandId::as_bytes))),
            saved.cells(),
        ))?;
    }
    let kinds = SAVED.map(|(_, kind)| kind);
    in_steps(&singly, |rows| {
        let source = tx.dialect().rows_of_parameters(&kinds, rows.len());
        let set = assignments(|column| format!("v.column{}", column + 1));
        let sql =
            format!("UPDATE commands SET {set} FROM {source} AS v WHERE commands.id = v.column1");
        let statement = rows
            .iter()
            .fold(Statement::new(sql), |statement, (id, saved)| {
                bind_all(statement.bind(*id), saved.cells())
            });
        tx.execute(statement).map(|_| ())
    })
}

/// `value` names the new value of a column by its place in `SAVED`.
fn assignments(value: impl Fn(usize) -> String) -> String {
    let assigned = SAVED.iter().enumerate().skip(1).map(|(place, (name, _))| {
        let value = value(place);
        match *name {
            "late_result" => format!("{name} = COALESCE(commands.{name}, {value})"),
            "exit_code" | "changed" | "message" | "details" => {
                format!("{name} = COALESCE({value}, commands.{name})")
            }
            _ => format!("{name} = {value}"),
        }
    });
    assigned.collect::<Vec<_>>().join(", ")
}

/// What `save` writes of a row, the id apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Saved<'a> {
    status: CommandStatus,
    reason: Option<&'static str>,
    attempt: u32,
    cancel_requested: bool,
    kill_requested: bool,
    sent_at: Option<i64>,
    slot: bool,
    due_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    exit_code: Option<i32>,
    changed: Option<bool>,
    message: Option<&'a str>,
    details: Option<&'a str>,
    late_result: Option<&'a str>,
}

impl<'a> Saved<'a> {
    fn of(row: &'a CommandRow) -> Self {
        let (state, result) = (&row.state, row.result.as_ref());
        Self {
            status: state.status,
            reason: state.reason,
            attempt: state.attempt,
            cancel_requested: state.cancel_requested,
            kill_requested: state.kill_requested,
            sent_at: state.sent_at,
            slot: state.slot,
            due_at: state.due_at,
            started_at: state.started_at,
            finished_at: state.finished_at,
            exit_code: result.and_then(|result| result.exit_code),
            changed: result.map(|result| result.changed),
            message: result.map(|result| result.message.as_str()),
            details: result.and_then(|result| result.details.as_deref()),
            late_result: row.late_result.as_deref(),
        }
    }

    /// In the order of `SAVED`.
    fn cells(&self) -> [Cell; SAVED.len() - 1] {
        [
            self.status.as_str().into(),
            self.reason.into(),
            self.attempt.into(),
            self.cancel_requested.into(),
            self.kill_requested.into(),
            self.sent_at.into(),
            self.slot.into(),
            self.due_at.into(),
            self.started_at.into(),
            self.finished_at.into(),
            self.exit_code.into(),
            self.changed.into(),
            self.message.into(),
            self.details.into(),
            self.late_result.into(),
        ]
    }
}

/// Inserts the rows of one chunk of a set, which follow each other in its order. Those that are born sent are so as of
/// `now_us`, until `due_at`.
pub fn insert(
    tx: &mut Tx<'_>,
    set_id: SetId,
    rows: &[NewRow],
    now_us: i64,
    due_at: i64,
) -> Result<(), DbError> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let ids = packed(rows.iter().map(|row| row.id.as_bytes()));
    let hosts = packed(rows.iter().map(|row| row.host_id.as_bytes()));
    let mut alike: BTreeMap<(CommandStatus, Option<&str>, bool), Vec<u8>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let born = (row.status, row.reason, row.sent);
        let chosen = alike.entry(born).or_insert_with(|| vec![0; rows.len()]);
        if let Some(mark) = chosen.get_mut(place) {
            *mark = 1;
        }
    }
    for ((status, reason, sent), chosen) in alike {
        let statement = Statement::new(insert_sql(tx.dialect()))
            .bind(ids.as_slice())
            .bind(hosts.as_slice())
            .bind(chosen)
            .bind(vec![1_u8])
            .bind(set_id)
            .bind(first.ordinal)
            .bind(status.as_str())
            .bind(reason)
            .bind(now_us)
            .bind(status.is_terminal().then_some(now_us))
            .bind(sent.then_some(now_us))
            .bind(sent)
            .bind(sent.then_some(due_at));
        tx.execute(statement)?;
    }
    Ok(())
}

/// `$3` has a byte for each row, `$4` where it is to be inserted.
fn insert_sql(dialect: Dialect) -> String {
    let source = dialect.rows_from_ids("$1");
    let host = dialect.bytes_slice("$2", "place * 16 + 1", "16");
    let chosen = dialect.bytes_slice("$3", "place + 1", "1");
    format!(
        "INSERT INTO commands (id, set_id, ordinal, host_id, status, reason, created_at, finished_at, sent_at, slot, \
         due_at) SELECT id, $5, $6 + place, {host}, $7, CAST($8 AS text), $9, CAST($10 AS bigint), CAST($11 AS bigint), \
         $12, CAST($13 AS bigint) FROM {source} AS v \
         WHERE {chosen} = $4"
    )
}

/// Marks waiting commands as sent; returns those that still waited.
pub fn mark_sent(
    tx: &mut Tx<'_>,
    ids: &[CommandId],
    now_us: i64,
    due_at: i64,
) -> Result<Vec<CommandId>, DbError> {
    let among = tx.dialect().is_among("id", "$1");
    let sql = format!(
        "UPDATE commands SET sent_at = $2, slot = 1, due_at = $3 \
         WHERE {among} AND status = 'queued' AND sent_at IS NULL AND cancel_requested = 0 RETURNING id"
    );
    let statement = Statement::new(sql)
        .bind(packed(ids.iter().map(CommandId::as_bytes)))
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
    let mut alike: BTreeMap<&StoredOutput, Vec<CommandId>> = BTreeMap::new();
    for (id, output) in outputs {
        alike.entry(output).or_default().push(*id);
    }
    let mut singly = Vec::new();
    for (output, ids) in alike {
        if ids.len() < ALIKE_MIN {
            singly.extend(ids.into_iter().map(|id| (id, output)));
            continue;
        }
        // `WHERE true` tells SQLite that this is not a join's `ON`.
        let sql = format!(
            "{INSERT_OUTPUTS} SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM {} AS v WHERE true {UNLESS_STORED}",
            tx.dialect().rows_from_ids("$1")
        );
        tx.execute(bind_output(
            Statement::new(sql).bind(packed(ids.iter().map(CommandId::as_bytes))),
            output,
        ))?;
    }
    in_steps(&singly, |rows| {
        let row = |number: usize| {
            let first = number * OUTPUT_COLUMNS + 1;
            let places = (first..first + OUTPUT_COLUMNS).map(|place| format!("${place}"));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        let values = (0..rows.len()).map(row).collect::<Vec<_>>().join(", ");
        let sql = format!("{INSERT_OUTPUTS} VALUES {values} {UNLESS_STORED}");
        let statement = rows
            .iter()
            .fold(Statement::new(sql), |statement, (id, output)| {
                bind_output(statement.bind(*id), output)
            });
        tx.execute(statement).map(|_| ())
    })
}

const INSERT_OUTPUTS: &str = "INSERT INTO command_outputs (command_id, stdout_head, stdout_tail, stdout_bytes, \
    stdout_sha256, stderr_head, stderr_tail, stderr_bytes, stderr_sha256)";
const UNLESS_STORED: &str = "ON CONFLICT (command_id) DO NOTHING";

fn bind_output(statement: Statement, output: &StoredOutput) -> Statement {
    [&output.stdout, &output.stderr]
        .into_iter()
        .fold(statement, |statement, stream| {
            statement
                .bind(stream.head.as_slice())
                .bind(stream.tail.as_slice())
                .bind(stream.total_bytes)
                .bind(&stream.sha256)
        })
}

fn bind_all(statement: Statement, cells: impl IntoIterator<Item = Cell>) -> Statement {
    cells.into_iter().fold(statement, Statement::bind)
}

fn in_steps<T>(
    mut rows: &[T],
    mut run: impl FnMut(&[T]) -> Result<(), DbError>,
) -> Result<(), DbError> {
    while !rows.is_empty() {
        let step = STEPS.into_iter().find(|step| *step <= rows.len());
        let (now, later) = rows.split_at(step.unwrap_or(1));
        run(now)?;
        rows = later;
    }
    Ok(())
}
