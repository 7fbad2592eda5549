//! Which of these hosts are gone: asked by whoever is about to write rows for a set that was frozen earlier.

use fleetwright_protocol::HostId;

use crate::db::{DbError, Statement, Tx, packed};

/// The ids that are not in the inventory, as this transaction sees it.
pub fn missing_in(tx: &mut Tx<'_>, ids: &[HostId]) -> Result<Vec<HostId>, DbError> {
    let source = tx.dialect().rows_from_ids("$1");
    let sql = format!(
        "SELECT v.id AS wanted FROM {source} AS v LEFT JOIN hosts h ON h.id = v.id WHERE h.id IS NULL"
    );
    let ids = packed(ids.iter().map(HostId::as_bytes));
    let rows = tx.query(Statement::new(sql).bind(ids))?;
    Ok(rows
        .iter()
        .map(|row| row.id("wanted"))
        .collect::<Result<_, _>>()?)
}
