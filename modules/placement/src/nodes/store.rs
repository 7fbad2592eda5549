//! The table of nodes: all of its SQL. A node has a row once something is to be kept of it. Every change of a node or of its
//! placements is counted, and the node keeps the count: followers read what is above the count that they know.

use fleetwright_plugin_api::sdk::{Batch, Cell, Database, Row, ServerError, Statement};
use uuid::Uuid;

use super::node::{Capacity, Live, Node, Setting};

/// Rows of a read with what heartbeats said: each came in a frame of 1 MiB, and is little more as it is stored; one read has
/// 4 MiB.
const RESTORED_PER_READ: i64 = 3;
/// Of what one commit saves.
const SAVED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Rows of a read without it.
pub const NODES_PER_PAGE: usize = 5_000;
/// Rows of a read of live placements, with ids of at most 128 characters: half of what a read may give.
const LIVE_PER_READ: i64 = 5_000;
const COLUMNS: &str = "host_id, reserved, schedulable, generation, changed, revision";
/// What is read of a live placement.
pub const LIVE_COLUMNS: &str = "id, tenant_id, vm_id, host_id, memory_mb, vcpus, state, revision";

/// A node's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub host_id: Uuid,
    pub setting: Setting,
    pub generation: i64,
    /// The count at its last change.
    pub changed: i64,
    pub capacity: Option<Capacity>,
    pub saved_at_us: Option<i64>,
}

/// Those after one, ascending by id, with what their agents said last.
pub async fn restored(db: &Database, after: Uuid) -> Result<Vec<Saved>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS}, capacity, saved_at FROM placement_node WHERE host_id > $1 ORDER BY host_id LIMIT $2"
    );
    let statement = Statement::new(sql).bind(after).bind(RESTORED_PER_READ);
    let rows = db.read_one(statement).await?;
    rows.iter().map(with_capacity).collect()
}

/// How many changes there were.
pub async fn changes(db: &Database) -> Result<i64, ServerError> {
    let statement = Statement::new("SELECT value FROM placement_changes WHERE id = 1");
    let rows = db.read_one(statement).await?;
    let count = rows.first().map(|row| row.integer("value")).transpose()?;
    Ok(count.unwrap_or(0))
}

/// Those that changed after a count, in the order in which they did, without what their agents said.
pub async fn changed(db: &Database, after: i64) -> Result<Vec<Saved>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM placement_node WHERE changed > $1 ORDER BY changed LIMIT $2"
    );
    let statement = Statement::new(sql)
        .bind(after)
        .bind(i64::try_from(NODES_PER_PAGE).unwrap_or(i64::MAX));
    let rows = db.read_one(statement).await?;
    rows.iter().map(saved).collect()
}

/// Live placements on some nodes, after one, ascending by id; each with its node. None are left when the page is empty.
pub async fn live_on(
    db: &Database,
    node_ids: &[Uuid],
    after: Uuid,
) -> Result<Vec<(Uuid, Live)>, ServerError> {
    if node_ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {LIVE_COLUMNS} FROM placement_placement WHERE id > $1 AND state IN ('held', 'confirmed') \
         AND host_id IN ({{list}}) ORDER BY id LIMIT $2"
    );
    let statement = Statement::new(sql).bind(after).bind(LIVE_PER_READ);
    let statement = statement.bind_list(node_ids.iter().copied());
    let rows = db.read_one(statement).await?;
    rows.iter().map(live).collect()
}

/// A row of [`LIVE_COLUMNS`], with its node.
pub fn live(row: Row<'_>) -> Result<(Uuid, Live), ServerError> {
    let live = Live {
        id: row.id("id")?,
        tenant_id: row.text("tenant_id")?.to_owned(),
        vm_id: row.text("vm_id")?.to_owned(),
        memory_mb: row.integer("memory_mb")?,
        vcpus: row.integer("vcpus")?,
        confirmed: row.text("state")? == "confirmed",
        revision: row.integer("revision")?,
        seen: false,
        misses: 0,
    };
    Ok((row.id("host_id")?, live))
}

/// One, if it has a row.
pub async fn node(db: &Database, id: Uuid) -> Result<Option<Saved>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_node WHERE host_id = $1");
    let rows = db.read_one(Statement::new(sql).bind(id)).await?;
    rows.first().map(saved).transpose()
}

/// What a placement on the node begins with: the node still is as it was decided on.
#[must_use]
pub fn take(batch: Batch, id: Uuid, generation: i64) -> Batch {
    let sql = "UPDATE placement_node SET generation = generation + 1, \
               changed = (SELECT value FROM placement_changes WHERE id = 1) WHERE host_id = $1 AND generation = $2";
    let statement = Statement::new(sql).bind(id).bind(generation);
    with_row(counted(batch), id).sql_expecting(statement, 1)
}

/// A placement on the node has changed or ended: whoever decided on the node before decides again.
#[must_use]
pub fn touch(batch: Batch, id: Uuid) -> Batch {
    let sql = "UPDATE placement_node SET generation = generation + 1, \
               changed = (SELECT value FROM placement_changes WHERE id = 1) WHERE host_id = $1";
    counted(batch).sql(Statement::new(sql).bind(id))
}

/// What an operator decided, if nobody else has since it was read.
#[must_use]
pub fn set(batch: Batch, id: Uuid, before: i64, setting: &Setting) -> Batch {
    let sql = "UPDATE placement_node SET reserved = $3, schedulable = $4, revision = $5, generation = generation + 1, \
               changed = (SELECT value FROM placement_changes WHERE id = 1) WHERE host_id = $1 AND revision = $2";
    let statement = Statement::new(sql)
        .bind(id)
        .bind(before)
        .bind(setting.reserved.map(i64::from))
        .bind(i64::from(setting.schedulable))
        .bind(setting.revision);
    with_row(counted(batch), id).sql_expecting(statement, 1)
}

/// What agents said last: so much of it as one commit should have, and of how many nodes that was.
#[must_use]
pub fn save(batch: Batch, nodes: &[Node], now_us: i64) -> (Batch, usize) {
    let sql = "INSERT INTO placement_node (host_id, capacity, saved_at) VALUES {rows} \
               ON CONFLICT (host_id) DO UPDATE SET capacity = excluded.capacity, saved_at = excluded.saved_at";
    let (mut cells, mut bytes, mut taken) = (Vec::new(), 0, 0);
    for node in nodes {
        if bytes > SAVED_BYTES_MAX {
            break;
        }
        taken += 1;
        let capacity = node.capacity.as_ref().map(serde_json::to_string);
        if let Some(Ok(capacity)) = capacity {
            bytes += capacity.len();
            cells.extend([
                Cell::from(node.id),
                Cell::from(capacity),
                Cell::from(now_us),
            ]);
        }
    }
    (batch.rows(sql, 3, &cells), taken)
}

fn with_row(batch: Batch, id: Uuid) -> Batch {
    let sql = "INSERT INTO placement_node (host_id) VALUES ($1) ON CONFLICT (host_id) DO NOTHING";
    batch.sql(Statement::new(sql).bind(id))
}

/// First in its batch, and held until the commit: of two servers one waits here, before it holds anything that the other needs.
fn counted(batch: Batch) -> Batch {
    batch.sql(Statement::new(
        "UPDATE placement_changes SET value = value + 1 WHERE id = 1",
    ))
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
        changed: row.integer("changed")?,
        capacity: None,
        saved_at_us: None,
    })
}
