//! What is remembered of a deployment beside its row: the batches that were dispatched, every move with its cause, and where
//! the batches of its rollback end.

use fleetwright_plugin_api::sdk::{Batch, Cell, Database, Row, ServerError, Statement};
use serde_json::Value;
use uuid::Uuid;

use crate::decide::{Cause, Tally};

/// Rows of one step of a batch: the most the server takes.
const ROWS_MAX: usize = 5_000;

/// A batch that was dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    pub number: u64,
    pub size: u64,
    pub dispatched_at_us: i64,
    pub finished_at_us: Option<i64>,
    pub tally: Tally,
    pub skipped: u64,
}

/// One move.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    pub generation: i64,
    pub at_us: i64,
    pub from: String,
    pub to: String,
    pub cause: Value,
    pub principal: String,
}

pub fn dispatched(deployment_id: Uuid, number: u64, size: u64, now_us: i64) -> Statement {
    let sql = "INSERT INTO rolling_batches (deployment_id, number, size, dispatched_at) VALUES ($1, $2, $3, $4)";
    Statement::new(sql)
        .bind(deployment_id)
        .bind(integer(number))
        .bind(integer(size))
        .bind(now_us)
}

pub fn finished(
    deployment_id: Uuid,
    number: u64,
    tally: &Tally,
    skipped: u64,
    now_us: i64,
) -> Statement {
    let sql = "UPDATE rolling_batches SET finished_at = $1, succeeded = $2, failed = $3, unreachable = $4, \
               skipped = $5 WHERE deployment_id = $6 AND number = $7";
    Statement::new(sql)
        .bind(now_us)
        .bind(integer(tally.succeeded))
        .bind(integer(tally.failed))
        .bind(integer(tally.unreachable))
        .bind(integer(skipped))
        .bind(deployment_id)
        .bind(integer(number))
}

/// Adds a move that `generation` was written with.
pub fn moved(
    deployment_id: Uuid,
    generation: i64,
    now_us: i64,
    names: (&str, &str),
    cause: &Cause,
    principal: &str,
) -> Statement {
    let sql = "INSERT INTO rolling_trace (deployment_id, generation, at, from_state, to_state, cause, principal) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    Statement::new(sql)
        .bind(deployment_id)
        .bind(generation)
        .bind(now_us)
        .bind(names.0)
        .bind(names.1)
        .bind(serde_json::to_string(cause).unwrap_or_default())
        .bind(principal)
}

/// Adds where the batches of a rollback end, with their numbers.
pub fn rollback_ends(batch: Batch, deployment_id: Uuid, ends: &[(u64, u64)]) -> Batch {
    const SQL: &str =
        "INSERT INTO rolling_rollback_batches (deployment_id, end_ordinal, number) VALUES {rows}";
    ends.chunks(ROWS_MAX).fold(batch, |batch, chunk| {
        let cells: Vec<Cell> = chunk
            .iter()
            .flat_map(|(end, number)| {
                [
                    deployment_id.into(),
                    integer(*end).into(),
                    integer(*number).into(),
                ]
            })
            .collect();
        batch.rows(SQL, 3, &cells)
    })
}

/// Where the next batch of a rollback ends, after the one that ends at `end`.
pub async fn next_rollback_end(
    db: &Database,
    deployment_id: Uuid,
    end: u64,
) -> Result<Option<u64>, ServerError> {
    let sql = "SELECT end_ordinal FROM rolling_rollback_batches WHERE deployment_id = $1 AND end_ordinal > $2 \
               ORDER BY end_ordinal LIMIT 1";
    let statement = Statement::new(sql).bind(deployment_id).bind(integer(end));
    let table = db.read_one(statement).await?;
    Ok(table
        .first()
        .map(|row| row.count("end_ordinal"))
        .transpose()?)
}

/// Dispatched batches in order, after `after`.
pub async fn batches(
    db: &Database,
    deployment_id: Uuid,
    after: u64,
    limit: u32,
) -> Result<Vec<BatchRow>, ServerError> {
    let sql = "SELECT number, size, dispatched_at, finished_at, succeeded, failed, unreachable, skipped \
               FROM rolling_batches WHERE deployment_id = $1 AND number > $2 ORDER BY number LIMIT $3";
    let statement = Statement::new(sql)
        .bind(deployment_id)
        .bind(integer(after))
        .bind(i64::from(limit));
    let table = db.read_one(statement).await?;
    table.iter().map(batch_of).collect()
}

/// Moves in order, after the one of `after`.
pub async fn trace(
    db: &Database,
    deployment_id: Uuid,
    after: i64,
    limit: u32,
) -> Result<Vec<Move>, ServerError> {
    let sql = "SELECT generation, at, from_state, to_state, cause, principal FROM rolling_trace \
               WHERE deployment_id = $1 AND generation > $2 ORDER BY generation LIMIT $3";
    let statement = Statement::new(sql)
        .bind(deployment_id)
        .bind(after)
        .bind(i64::from(limit));
    let table = db.read_one(statement).await?;
    table.iter().map(move_of).collect()
}

/// Drops everything that is remembered of a deployment beside its row.
pub fn delete(id: Uuid) -> [Statement; 3] {
    [
        Statement::new("DELETE FROM rolling_batches WHERE deployment_id = $1").bind(id),
        Statement::new("DELETE FROM rolling_trace WHERE deployment_id = $1").bind(id),
        Statement::new("DELETE FROM rolling_rollback_batches WHERE deployment_id = $1").bind(id),
    ]
}

fn batch_of(row: Row<'_>) -> Result<BatchRow, ServerError> {
    Ok(BatchRow {
        number: row.count("number")?,
        size: row.count("size")?,
        dispatched_at_us: row.integer("dispatched_at")?,
        finished_at_us: row.optional_integer("finished_at")?,
        tally: Tally {
            succeeded: row.count("succeeded")?,
            failed: row.count("failed")?,
            unreachable: row.count("unreachable")?,
        },
        skipped: row.count("skipped")?,
    })
}

fn move_of(row: Row<'_>) -> Result<Move, ServerError> {
    Ok(Move {
        generation: row.integer("generation")?,
        at_us: row.integer("at")?,
        from: row.text("from_state")?.to_owned(),
        to: row.text("to_state")?.to_owned(),
        cause: serde_json::from_str(row.text("cause")?).unwrap_or_default(),
        principal: row.text("principal")?.to_owned(),
    })
}

/// Counts are of hosts, at most 100,000.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
