//! SQL that deletes what is older than its retention.

use fleetwright_protocol::SetId;

use crate::db::{ColumnKind, Dialect, Statement};

/// A set that finished before `before_us` by the wall clock, and whose id is older than `born_before`: ids are made by
/// the lease clock, so what was dated while the wall clock was behind is not taken for old.
pub fn select_finished(before_us: i64, born_before: SetId) -> Statement {
    let sql = "SELECT id FROM command_sets WHERE finished_at IS NOT NULL AND finished_at < $1 AND id < $2 \
        ORDER BY finished_at LIMIT 1";
    Statement::new(sql).bind(before_us).bind(born_before)
}

pub fn select_commands(set_id: SetId, limit: u32) -> Statement {
    Statement::new("SELECT id FROM commands WHERE set_id = $1 LIMIT $2")
        .bind(set_id)
        .bind(limit)
}

/// `ids` is a JSON list of one-column rows of hex ids.
pub fn delete_commands(dialect: Dialect, ids: &str) -> [Statement; 2] {
    let source = dialect.rows_from_json("$1", &[("wanted", ColumnKind::Bytes)]);
    let outputs = format!(
        "DELETE FROM command_outputs WHERE command_id IN (SELECT wanted FROM {source} AS v)"
    );
    let commands = format!("DELETE FROM commands WHERE id IN (SELECT wanted FROM {source} AS v)");
    [
        Statement::new(outputs).bind(ids),
        Statement::new(commands).bind(ids),
    ]
}

pub fn delete_set(set_id: SetId) -> [Statement; 2] {
    [
        Statement::new("DELETE FROM command_set_contents WHERE set_id = $1").bind(set_id),
        Statement::new("DELETE FROM command_sets WHERE id = $1").bind(set_id),
    ]
}

/// Of these commands, those that are not over, with their attempts. `ids` as above.
pub fn select_open_attempts(dialect: Dialect, ids: &str) -> Statement {
    let source = dialect.rows_from_json("$1", &[("wanted", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT id, CAST(attempt AS BIGINT) AS attempt FROM commands WHERE id IN (SELECT wanted FROM {source} AS v) \
         AND status IN ('held', 'queued', 'running')"
    );
    Statement::new(sql).bind(ids)
}
