//! The table of placements: all of its SQL. What a placement takes of its node and of its tenant's quota is taken and given back
//! in the same batch.

use fleetwright_plugin_api::sdk::{Batch, Cell, Database, Row, ServerError, Statement};
use uuid::Uuid;

use super::placement::{Placement, State};
use super::tenants::store as tenants;
use crate::nodes::node::Live;
use crate::nodes::{self, LIVE_COLUMNS, live};

const COLUMNS: &str = "id, tenant_id, vm_id, host_id, memory_mb, vcpus, require_kvm, labels, pass, state, reason, created_at, \
     created_by, expires_lease, expires_at, confirmed_at, ended_at, revision";

/// Which placements a list shows, ascending by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub tenant_id: Option<String>,
    pub node_id: Option<Uuid>,
    pub live_only: bool,
    pub after: Option<Uuid>,
}

/// Adds a placement, if its node still is of this generation and its tenant has room for it: the step of the batch that fails
/// says which.
#[must_use]
pub fn insert(batch: Batch, placement: &Placement, generation: i64) -> Batch {
    let batch = nodes::take(batch, placement.node_id, generation);
    let batch = tenants::take(batch, &placement.tenant_id, placement.memory_mb);
    let sql = format!(
        "INSERT INTO placement_placement ({COLUMNS}) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
    );
    let labels = serde_json::to_string(&placement.labels).unwrap_or_else(|_| "{}".to_owned());
    let statement = Statement::new(sql)
        .bind(placement.id)
        .bind(placement.tenant_id.as_str())
        .bind(placement.vm_id.as_str())
        .bind(placement.node_id)
        .bind(placement.memory_mb)
        .bind(placement.vcpus)
        .bind(placement.require_kvm)
        .bind(labels)
        .bind(placement.pass)
        .bind(placement.state.as_str())
        .bind(placement.reason.as_deref())
        .bind(placement.created_at_us)
        .bind(placement.created_by.as_str())
        .bind(placement.expires_lease_us)
        .bind(placement.expires_at_us)
        .bind(placement.confirmed_at_us)
        .bind(placement.ended_at_us)
        .bind(placement.revision);
    batch.sql(statement)
}

/// Confirms one that is still held, of the revision that was read.
#[must_use]
pub fn confirm(batch: Batch, node_id: Uuid, live: &Live, now_us: i64) -> Batch {
    let batch = nodes::touch(batch, node_id);
    let sql = "UPDATE placement_placement SET state = 'confirmed', confirmed_at = $3, revision = revision + 1 \
               WHERE id = $1 AND revision = $2 AND state = 'held'";
    let statement = Statement::new(sql)
        .bind(live.id)
        .bind(live.revision)
        .bind(now_us);
    batch.sql_expecting(statement, 1)
}

/// Ends one that is still as it was read.
#[must_use]
pub fn end(
    batch: Batch,
    node_id: Uuid,
    live: &Live,
    to: State,
    reason: Option<&str>,
    now_us: i64,
) -> Batch {
    let batch = nodes::touch(batch, node_id);
    let batch = tenants::give_back(batch, &live.tenant_id, live.memory_mb);
    let sql = "UPDATE placement_placement SET state = $3, reason = $4, ended_at = $5, revision = revision + 1 \
               WHERE id = $1 AND revision = $2 AND state IN ('held', 'confirmed')";
    let statement = Statement::new(sql)
        .bind(live.id)
        .bind(live.revision)
        .bind(to.as_str())
        .bind(reason)
        .bind(now_us);
    batch.sql_expecting(statement, 1)
}

pub async fn one(db: &Database, id: Uuid) -> Result<Option<Placement>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_placement WHERE id = $1");
    let rows = db.read_one(Statement::new(sql).bind(id)).await?;
    rows.first().map(placement).transpose()
}

pub async fn list(
    db: &Database,
    filter: &Filter,
    limit: u32,
) -> Result<Vec<Placement>, ServerError> {
    let mut conditions = vec!["id > $1".to_owned()];
    let mut cells: Vec<Cell> = vec![filter.after.unwrap_or(Uuid::nil()).into()];
    if let Some(tenant_id) = &filter.tenant_id {
        cells.push(tenant_id.as_str().into());
        conditions.push(format!("tenant_id = ${}", cells.len()));
    }
    if let Some(node_id) = filter.node_id {
        cells.push(node_id.into());
        conditions.push(format!("host_id = ${}", cells.len()));
    }
    if filter.live_only {
        conditions.push("state IN ('held', 'confirmed')".to_owned());
    }
    cells.push(i64::from(limit).into());
    let sql = format!(
        "SELECT {COLUMNS} FROM placement_placement WHERE {} ORDER BY id LIMIT ${}",
        conditions.join(" AND "),
        cells.len()
    );
    let statement = cells.into_iter().fold(Statement::new(sql), Statement::bind);
    let rows = db.read_one(statement).await?;
    rows.iter().map(placement).collect()
}

/// Held ones that nobody confirmed in time, the earliest first; each with its node.
pub async fn overdue(
    db: &Database,
    lease_us: i64,
    limit: i64,
) -> Result<Vec<(Uuid, Live)>, ServerError> {
    let sql = format!(
        "SELECT {LIVE_COLUMNS} FROM placement_placement WHERE state = 'held' AND expires_lease <= $1 \
         ORDER BY expires_lease LIMIT $2"
    );
    let statement = Statement::new(sql).bind(lease_us).bind(limit);
    let rows = db.read_one(statement).await?;
    rows.iter().map(live).collect()
}

/// Ids of those that ended long ago.
pub async fn old(db: &Database, before_us: i64, limit: i64) -> Result<Vec<Uuid>, ServerError> {
    let sql = "SELECT id FROM placement_placement WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2";
    let statement = Statement::new(sql).bind(before_us).bind(limit);
    let rows = db.read_one(statement).await?;
    rows.iter().map(|row| Ok(row.id("id")?)).collect()
}

pub fn delete(ids: &[Uuid]) -> Statement {
    let sql = "DELETE FROM placement_placement WHERE ended_at IS NOT NULL AND id IN ({list})";
    Statement::new(sql).bind_list(ids.iter().copied())
}

fn placement(row: Row<'_>) -> Result<Placement, ServerError> {
    Ok(Placement {
        id: row.id("id")?,
        tenant_id: row.text("tenant_id")?.to_owned(),
        vm_id: row.text("vm_id")?.to_owned(),
        node_id: row.id("host_id")?,
        memory_mb: row.integer("memory_mb")?,
        vcpus: row.integer("vcpus")?,
        require_kvm: row.flag("require_kvm")?,
        labels: row.json("labels")?,
        pass: row.integer("pass")?,
        state: row.word("state", "a state", State::from_name)?,
        reason: row.optional_text("reason")?.map(str::to_owned),
        created_at_us: row.integer("created_at")?,
        created_by: row.text("created_by")?.to_owned(),
        expires_lease_us: row.integer("expires_lease")?,
        expires_at_us: row.integer("expires_at")?,
        confirmed_at_us: row.optional_integer("confirmed_at")?,
        ended_at_us: row.optional_integer("ended_at")?,
        revision: row.integer("revision")?,
    })
}
