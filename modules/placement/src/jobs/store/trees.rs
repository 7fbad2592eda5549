//! What keeps trees of jobs within their limit and free of circles, whoever adds to them at once: how many jobs each has, and how
//! often jobs of a tenant came to wait for others.

use fleetwright_plugin_api::sdk::{Batch, Database, ServerError, Statement};
use uuid::Uuid;

/// The root of the tree in which the job is. Its parents are looked at one by one: trees are broad rather than deep.
pub async fn root(db: &Database, id: Uuid) -> Result<Uuid, ServerError> {
    let sql = "SELECT parent_id FROM placement_job WHERE id = $1";
    let mut root = id;
    loop {
        let rows = db.read_one(Statement::new(sql).bind(root)).await?;
        let parent = rows.first().map(|row| row.optional_id("parent_id"));
        match parent.transpose()?.flatten() {
            Some(parent_id) => root = parent_id,
            None => return Ok(root),
        }
    }
}

/// How many jobs the tree has. None: it never was more than one.
pub async fn jobs(db: &Database, root_id: Uuid) -> Result<Option<i64>, ServerError> {
    let sql = "SELECT jobs FROM placement_tree WHERE root_id = $1";
    let rows = db.read_one(Statement::new(sql).bind(root_id)).await?;
    Ok(rows.first().map(|row| row.integer("jobs")).transpose()?)
}

/// Counts `after` jobs, if there still are as many as were read: else the whole batch is refused.
#[must_use]
pub fn grow(batch: Batch, root_id: Uuid, before: Option<i64>, after: i64) -> Batch {
    match before {
        None => {
            let sql = "INSERT INTO placement_tree (root_id, jobs) VALUES ($1, $2)";
            batch.sql(Statement::new(sql).bind(root_id).bind(after))
        }
        Some(before) => {
            let sql = "UPDATE placement_tree SET jobs = $3 WHERE root_id = $1 AND jobs = $2";
            let statement = Statement::new(sql).bind(root_id).bind(before).bind(after);
            batch.sql_expecting(statement, 1)
        }
    }
}

/// How often jobs of this tenant came to wait for others. None: never.
pub async fn generation(db: &Database, tenant_id: &str) -> Result<Option<i64>, ServerError> {
    let sql = "SELECT generation FROM placement_graph WHERE tenant_id = $1";
    let rows = db.read_one(Statement::new(sql).bind(tenant_id)).await?;
    let generation = rows.first().map(|row| row.integer("generation"));
    Ok(generation.transpose()?)
}

/// Refuses the whole batch unless nobody else did so since `seen` was read.
#[must_use]
pub fn connect(batch: Batch, tenant_id: &str, seen: Option<i64>) -> Batch {
    match seen {
        None => {
            let sql = "INSERT INTO placement_graph (tenant_id, generation) VALUES ($1, 1)";
            batch.sql(Statement::new(sql).bind(tenant_id))
        }
        Some(seen) => {
            let sql = "UPDATE placement_graph SET generation = generation + 1 \
                       WHERE tenant_id = $1 AND generation = $2";
            batch.sql_expecting(Statement::new(sql).bind(tenant_id).bind(seen), 1)
        }
    }
}
