//! The tables of jobs: reads. What changes a job is in `change`, where counts, queues, seats and reservations follow it.

pub mod change;
pub mod edges;
pub mod lease;
pub mod records;
pub mod trees;

use std::collections::{BTreeMap, HashMap};

use fleetwright_plugin_api::sdk::{Cell, Database, ServerError, Statement};
use uuid::Uuid;

use super::job::{Brief, Checkpoint, Job, NotRead};
use super::stage::Stage;

/// Everything of a job but its body.
pub const COLUMNS: &str = "id, tenant_id, idempotency_key, request_digest, product_id, kind, priority, capabilities, has_work, \
     estimate_micros, max_attempts, attempts, preemptions, stage, reason, released, checkpoint, waits_for, parent_id, \
     bucket_id, lease_epoch, factory_id, claim_id, claimed_at, expires_lease, created_at, created_by, created_by_name, \
     updated_at, ended_at, revision";

/// Ids in one statement.
pub const IDS_PER_READ: usize = 200;
/// Kept counts read at once; each product has one for each stage.
const COUNTS_MAX: i64 = 9_000;

/// Which jobs are listed.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// None: every tenant's.
    pub tenant: Option<String>,
    pub stage: Option<Stage>,
    pub product_id: Option<String>,
    pub before: Option<Uuid>,
}

/// One job, if it is there.
pub async fn job(db: &Database, id: Uuid) -> Result<Option<Job>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_job WHERE id = $1");
    let rows = db.read_one(Statement::new(sql).bind(id)).await?;
    Ok(rows.first().map(Job::of).transpose()?)
}

/// Those of the jobs that are there.
pub async fn jobs(db: &Database, ids: &[Uuid]) -> Result<Vec<Job>, ServerError> {
    // With checkpoints, so few that they fit into one read.
    some_of(db, ids, 100).await
}

/// The same without checkpoints.
pub async fn briefly(db: &Database, ids: &[Uuid]) -> Result<Vec<Brief>, ServerError> {
    some_of(db, ids, IDS_PER_READ).await
}

async fn some_of<C: Checkpoint>(
    db: &Database,
    ids: &[Uuid],
    ids_each: usize,
) -> Result<Vec<Job<C>>, ServerError> {
    let mut found = Vec::new();
    for some in ids.chunks(ids_each) {
        let sql = format!(
            "SELECT {} FROM placement_job WHERE id IN ({{list}})",
            columns::<C>()
        );
        let statement = Statement::new(sql).bind_list(some.iter().copied());
        for row in db.read_one(statement).await?.iter() {
            found.push(Job::of(row)?);
        }
    }
    Ok(found)
}

/// The jobs of one tenant with these keys, by key.
pub async fn by_keys(
    db: &Database,
    tenant_id: &str,
    keys: &[&str],
) -> Result<HashMap<String, Brief>, ServerError> {
    let mut found = HashMap::new();
    for some in keys.chunks(IDS_PER_READ) {
        let sql = format!(
            "SELECT {} FROM placement_job WHERE tenant_id = $1 AND idempotency_key IN ({{list}})",
            columns::<NotRead>()
        );
        let statement = Statement::new(sql).bind(tenant_id);
        let statement = statement.bind_list(some.iter().copied());
        for row in db.read_one(statement).await?.iter() {
            let job = Brief::of(row)?;
            found.insert(job.idempotency_key.clone(), job);
        }
    }
    Ok(found)
}

/// A page, newest first.
pub async fn list(
    db: &Database,
    filter: &ListFilter,
    limit: u32,
) -> Result<Vec<Brief>, ServerError> {
    let mut conditions = vec!["1 = 1".to_owned()];
    let mut cells: Vec<Cell> = Vec::new();
    let mut add = |condition: &str, cell: Cell| {
        cells.push(cell);
        conditions.push(format!("{condition} ${}", cells.len()));
    };
    if let Some(before) = filter.before {
        add("id <", before.into());
    }
    if let Some(tenant) = &filter.tenant {
        add("tenant_id =", tenant.as_str().into());
    }
    if let Some(stage) = filter.stage {
        add("stage =", stage.as_str().into());
    }
    if let Some(product_id) = &filter.product_id {
        add("product_id =", product_id.as_str().into());
    }
    cells.push(i64::from(limit).into());
    let sql = format!(
        "SELECT {} FROM placement_job WHERE {} ORDER BY id DESC LIMIT ${}",
        columns::<NotRead>(),
        conditions.join(" AND "),
        cells.len()
    );
    let statement = cells.into_iter().fold(Statement::new(sql), Statement::bind);
    let rows = db.read_one(statement).await?;
    Ok(rows.iter().map(Job::of).collect::<Result<_, _>>()?)
}

/// The kept counts, by product and stage.
pub async fn counts(
    db: &Database,
    tenant: Option<&str>,
    product_id: Option<&str>,
) -> Result<BTreeMap<String, BTreeMap<Stage, i64>>, ServerError> {
    let mut conditions = "jobs > 0".to_owned();
    let mut cells: Vec<Cell> = Vec::new();
    for (column, value) in [("tenant_id", tenant), ("product_id", product_id)] {
        if let Some(value) = value {
            cells.push(value.into());
            conditions.push_str(&format!(" AND {column} = ${}", cells.len()));
        }
    }
    cells.push(COUNTS_MAX.into());
    let sql = format!(
        "SELECT product_id, stage, jobs FROM placement_job_count WHERE {conditions} \
         ORDER BY tenant_id, product_id, stage LIMIT ${}",
        cells.len()
    );
    let statement = cells.into_iter().fold(Statement::new(sql), Statement::bind);
    let mut counts: BTreeMap<String, BTreeMap<Stage, i64>> = BTreeMap::new();
    for row in db.read_one(statement).await?.iter() {
        let stage = row.word("stage", "a stage", Stage::from_name)?;
        let product = counts
            .entry(row.text("product_id")?.to_owned())
            .or_default();
        *product.entry(stage).or_default() += row.integer("jobs")?;
    }
    Ok(counts)
}

/// What a job is about.
pub async fn body(db: &Database, id: Uuid) -> Result<Option<String>, ServerError> {
    let sql = "SELECT body_md FROM placement_job_body WHERE job_id = $1";
    let rows = db.read_one(Statement::new(sql).bind(id)).await?;
    Ok(rows
        .first()
        .map(|row| row.text("body_md").map(str::to_owned))
        .transpose()?)
}

/// To be given the bodies' cells.
pub const INSERT_BODIES: &str = "INSERT INTO placement_job_body (job_id, body_md) VALUES {rows}";

fn columns<C: Checkpoint>() -> String {
    COLUMNS.replace(" checkpoint,", &format!(" {},", C::COLUMN))
}
