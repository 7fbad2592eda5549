//! The tables of factories and products: all of their SQL.

use fleetwright_plugin_api::sdk::{Batch, Database, Row, RowError, ServerError, Statement};
use uuid::Uuid;

/// It claims, which is a sign of life, and takes a seat. The whole batch is refused if there is none, or if what it can or how
/// many seats it has was changed since it was read.
#[must_use]
pub fn take_seat(batch: Batch, factory: &Factory, lease_us: i64, at_us: i64) -> Batch {
    let sql = "UPDATE placement_factory SET seats_used = seats_used + 1, seen_lease = $3, seen_at = $4 \
               WHERE id = $1 AND revision = $2 AND seats_used < seat_limit";
    let statement = Statement::new(sql)
        .bind(factory.id)
        .bind(factory.revision)
        .bind(lease_us)
        .bind(at_us);
    batch.sql_expecting(statement, 1)
}

/// Gives a seat back.
#[must_use]
pub fn give_back_seat(batch: Batch, factory_id: Uuid) -> Batch {
    let sql =
        "UPDATE placement_factory SET seats_used = seats_used - 1 WHERE id = $1 AND seats_used > 0";
    batch.sql_expecting(Statement::new(sql).bind(factory_id), 1)
}

const COLUMNS: &str = "id, tenant_id, name, capabilities, seat_limit, seats_used, seen_lease, seen_at, registered_at, revision";

/// One factory.
#[derive(Clone, Debug, PartialEq)]
pub struct Factory {
    pub id: Uuid,
    pub tenant_id: String,
    pub name: String,
    /// Sorted.
    pub capabilities: Vec<String>,
    pub seat_limit: i64,
    pub seats_used: i64,
    pub seen_lease_us: i64,
    pub seen_at_us: i64,
    pub registered_at_us: i64,
    pub revision: i64,
}

/// What a factory holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub factory_id: Uuid,
    pub job_id: Uuid,
    pub lease_epoch: i64,
    pub stage: String,
}

/// The statement that reads one.
pub fn select(id: Uuid) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM placement_factory WHERE id = $1"
    ))
    .bind(id)
}

/// The factories of these ids.
pub fn select_all(ids: &[Uuid]) -> Statement {
    let sql = format!("SELECT {COLUMNS} FROM placement_factory WHERE id IN ({{list}})");
    Statement::new(sql).bind_list(ids.iter().copied())
}

pub fn factory_of(row: Row<'_>) -> Result<Factory, RowError> {
    Ok(Factory {
        id: row.id("id")?,
        tenant_id: row.text("tenant_id")?.to_owned(),
        name: row.text("name")?.to_owned(),
        capabilities: row.json("capabilities")?,
        seat_limit: row.integer("seat_limit")?,
        seats_used: row.integer("seats_used")?,
        seen_lease_us: row.integer("seen_lease")?,
        seen_at_us: row.integer("seen_at")?,
        registered_at_us: row.integer("registered_at")?,
        revision: row.integer("revision")?,
    })
}

pub async fn factory(db: &Database, id: Uuid) -> Result<Option<Factory>, ServerError> {
    let rows = db.read_one(select(id)).await?;
    Ok(rows.first().map(factory_of).transpose()?)
}

pub async fn named(
    db: &Database,
    tenant_id: &str,
    name: &str,
) -> Result<Option<Factory>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_factory WHERE tenant_id = $1 AND name = $2");
    let rows = db
        .read_one(Statement::new(sql).bind(tenant_id).bind(name))
        .await?;
    Ok(rows.first().map(factory_of).transpose()?)
}

/// A page in order of registration, of one tenant or of all.
pub async fn list(
    db: &Database,
    tenant: Option<&str>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Factory>, ServerError> {
    let own = if tenant.is_some() {
        " AND tenant_id = $3"
    } else {
        ""
    };
    let sql =
        format!("SELECT {COLUMNS} FROM placement_factory WHERE id > $1{own} ORDER BY id LIMIT $2");
    let statement = Statement::new(sql)
        .bind(after.unwrap_or(Uuid::nil()))
        .bind(limit);
    let statement = match tenant {
        Some(tenant) => statement.bind(tenant),
        None => statement,
    };
    let rows = db.read_one(statement).await?;
    Ok(rows.iter().map(factory_of).collect::<Result<_, _>>()?)
}

/// The jobs that one factory holds; no more than it may have seats.
pub async fn held(db: &Database, factory_id: Uuid) -> Result<Vec<Held>, ServerError> {
    let sql = "SELECT id, factory_id, lease_epoch, stage FROM placement_job WHERE factory_id = $1 ORDER BY id LIMIT 1000";
    let rows = db.read_one(Statement::new(sql).bind(factory_id)).await?;
    let held = rows.iter().map(|row| {
        Ok(Held {
            factory_id: row.id("factory_id")?,
            job_id: row.id("id")?,
            lease_epoch: row.integer("lease_epoch")?,
            stage: row.text("stage")?.to_owned(),
        })
    });
    Ok(held.collect::<Result<_, RowError>>()?)
}

/// Adds one; fails on a name of its tenant that is taken.
pub fn insert(factory: &Factory, registered_by: &str) -> Statement {
    let sql = format!(
        "INSERT INTO placement_factory ({COLUMNS}, registered_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    );
    Statement::new(sql)
        .bind(factory.id)
        .bind(factory.tenant_id.as_str())
        .bind(factory.name.as_str())
        .bind(serde_json::Value::from(factory.capabilities.clone()).to_string())
        .bind(factory.seat_limit)
        .bind(factory.seats_used)
        .bind(factory.seen_lease_us)
        .bind(factory.seen_at_us)
        .bind(factory.registered_at_us)
        .bind(factory.revision)
        .bind(registered_by)
}

/// Writes what it can and how much; expect one row.
pub fn register_again(before: &Factory, after: &Factory) -> Statement {
    let sql = "UPDATE placement_factory SET capabilities = $3, seat_limit = $4, seen_lease = $5, seen_at = $6, \
               revision = revision + 1 WHERE id = $1 AND revision = $2";
    Statement::new(sql)
        .bind(before.id)
        .bind(before.revision)
        .bind(serde_json::Value::from(after.capabilities.clone()).to_string())
        .bind(after.seat_limit)
        .bind(after.seen_lease_us)
        .bind(after.seen_at_us)
}

/// It spoke.
pub fn seen(factory_id: Uuid, lease_us: i64, at_us: i64) -> Statement {
    let sql = "UPDATE placement_factory SET seen_lease = $2, seen_at = $3 WHERE id = $1";
    Statement::new(sql)
        .bind(factory_id)
        .bind(lease_us)
        .bind(at_us)
}

/// Refuses the whole batch if it spoke after this.
#[must_use]
pub fn still_silent(batch: Batch, factory_id: Uuid, since_lease_us: i64) -> Batch {
    let sql =
        "UPDATE placement_factory SET seen_lease = seen_lease WHERE id = $1 AND seen_lease < $2";
    batch.sql_expecting(Statement::new(sql).bind(factory_id).bind(since_lease_us), 1)
}
