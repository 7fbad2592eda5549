//! The table of nodes: all of its SQL. A node has a row once something is to be kept of it.

use fleetwright_plugin_api::sdk::{Batch, Cell, Database, Row, ServerError, Statement};
use uuid::Uuid;

use super::node::{Capacity, Node, Setting};

/// Rows of a read with what heartbeats said: at most 150 KiB each, and one read has 4 MiB.
pub const RESTORED_PER_READ: u32 = 25;
/// Rows of a read without it.
pub const NODES_PER_READ: u32 = 5_000;

/// A node's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub host_id: Uuid,
    pub setting: Setting,
    pub generation: i64,
    pub capacity: Option<Capacity>,
    pub saved_at_us: Option<i64>,
}

/// Those after one, ascending by id, with what their agents said last.
pub async fn restored(db: &Database, after: Uuid) -> Result<Vec<Saved>, ServerError> {
    let sql = "SELECT host_id, reserved, schedulable, generation, revision, capacity, saved_at FROM placement_node \
               WHERE host_id > $1 ORDER BY host_id LIMIT $2";
    let statement = Statement::new(sql)
        .bind(after)
        .bind(i64::from(RESTORED_PER_READ));
    let rows = db.read_one(statement).await?;
    rows.iter().map(with_capacity).collect()
}

/// Those after one, ascending by id, without what their agents said.
pub async fn nodes(db: &Database, after: Uuid) -> Result<Vec<Saved>, ServerError> {
    let sql = "SELECT host_id, reserved, schedulable, generation, revision FROM placement_node \
               WHERE host_id > $1 ORDER BY host_id LIMIT $2";
    let statement = Statement::new(sql)
        .bind(after)
        .bind(i64::from(NODES_PER_READ));
    let rows = db.read_one(statement).await?;
    rows.iter().map(saved).collect()
}

/// One, if it has a row.
pub async fn node(db: &Database, id: Uuid) -> Result<Option<Saved>, ServerError> {
    let sql = "SELECT host_id, reserved, schedulable, generation, revision FROM placement_node WHERE host_id = $1";
    let rows = db.read_one(Statement::new(sql).bind(id)).await?;
    rows.first().map(saved).transpose()
}

/// What a placement on the node begins with: the node still is as it was decided on.
#[must_use]
pub fn take(batch: Batch, id: Uuid, generation: i64) -> Batch {
    let sql = "UPDATE placement_node SET generation = generation + 1 WHERE host_id = $1 AND generation = $2";
    let statement = Statement::new(sql).bind(id).bind(generation);
    with_row(batch, id).sql_expecting(statement, 1)
}

/// A placement on the node has ended: whoever decided on it before decides again.
#[must_use]
pub fn give_back(batch: Batch, id: Uuid) -> Batch {
    let sql = "UPDATE placement_node SET generation = generation + 1 WHERE host_id = $1";
    batch.sql(Statement::new(sql).bind(id))
}

/// What an operator decided, if nobody else has since it was read.
#[must_use]
pub fn set(batch: Batch, id: Uuid, before: i64, setting: &Setting) -> Batch {
    let sql = "UPDATE placement_node SET reserved = $3, schedulable = $4, revision = $5, generation = generation + 1 \
               WHERE host_id = $1 AND revision = $2";
    let statement = Statement::new(sql)
        .bind(id)
        .bind(before)
        .bind(setting.reserved.map(i64::from))
        .bind(i64::from(setting.schedulable))
        .bind(setting.revision);
    with_row(batch, id).sql_expecting(statement, 1)
}

/// What agents said last.
#[must_use]
pub fn save(batch: Batch, nodes: &[Node], now_us: i64) -> Batch {
    let sql = "INSERT INTO placement_node (host_id, capacity, saved_at) VALUES {rows} \
               ON CONFLICT (host_id) DO UPDATE SET capacity = excluded.capacity, saved_at = excluded.saved_at";
    let cells: Vec<Cell> = nodes
        .iter()
        .filter_map(|node| {
            let capacity = serde_json::to_string(node.capacity.as_ref()?).ok()?;
            Some([
                Cell::from(node.id),
                Cell::from(capacity),
                Cell::from(now_us),
            ])
        })
        .flatten()
        .collect();
    batch.rows(sql, 3, &cells)
}

fn with_row(batch: Batch, id: Uuid) -> Batch {
    let sql = "INSERT INTO placement_node (host_id) VALUES ($1) ON CONFLICT (host_id) DO NOTHING";
    batch.sql(Statement::new(sql).bind(id))
}

fn with_capacity(row: Row<'_>) -> Result<Saved, ServerError> {
    let mut saved = saved(row)?;
    // What another version wrote may be unreadable: the next heartbeat says it again.
    let text = row.optional_text("capacity")?;
    saved.capacity = text.and_then(|text| serde_json::from_str(text).ok());
    saved.saved_at_us = row.optional_integer("saved_at")?;
    Ok(saved)
}

fn saved(row: Row<'_>) -> Result<Saved, ServerError> {
    Ok(Saved {
        host_id: row.id("host_id")?,
        setting: Setting {
            reserved: row.optional_integer("reserved")?.map(|flag| flag != 0),
            schedulable: row.flag("schedulable")?,
            revision: row.integer("revision")?,
        },
        generation: row.integer("generation")?,
        capacity: None,
        saved_at_us: None,
    })
}
