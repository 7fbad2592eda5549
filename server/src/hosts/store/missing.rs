//! Which of these hosts are gone: asked by whoever is about to write rows for a set that was frozen earlier.

use fleetwright_protocol::HostId;
use serde_json::json;

use crate::db::{ColumnKind, DbError, Statement, Tx};

/// The ids that are not in the inventory, as this transaction sees it.
pub fn missing_in(tx: &mut Tx<'_>, ids: &[HostId]) -> Result<Vec<HostId>, DbError> {
    let list: Vec<_> = ids
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    let source = tx
        .dialect()
        .rows_from_json("$1", &[("wanted", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT v.wanted AS wanted FROM {source} AS v LEFT JOIN hosts h ON h.id = v.wanted WHERE h.id IS NULL"
    );
    let rows = tx.query(Statement::new(sql).bind(json!(list).to_string()))?;
    Ok(rows
        .iter()
        .map(|row| row.id("wanted"))
        .collect::<Result<_, _>>()?)
}
