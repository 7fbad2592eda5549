//! What claims and the reaper read, and the table of claims that were given names.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::sdk::{Batch, Database, Row, RowError, Rows, ServerError, Statement};
use uuid::Uuid;

use super::decide::{Queue, Running, Waiting};
use super::score::SomeWeights;
use crate::jobs::job::{Bucket, Priority};
use crate::jobs::store as jobs;

/// Of one pass. The next goes on at once.
const REAPED_MAX: i64 = 500;
/// Queues of one read: each has names and capabilities of at most 2 KiB together, and one read ends at 4 MiB.
const QUEUES_PER_READ: usize = 1_000;
/// Queues looked at: combinations of tenant, product, capabilities, priority and attempts in which something waits.
const QUEUES_MAX: usize = 20_000;
/// Rows removed in one commit.
const PRUNED_MAX: i64 = 1_000;

/// A claim that was given a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub factory_id: Uuid,
    pub claim_id: String,
    pub job_id: Uuid,
    pub lease_epoch: i64,
}

/// The queues of these tenants in which something waits (of all tenants where one of them is nobody), each with when its first
/// job was submitted and without its jobs.
pub async fn queues(db: &Database, tenants: &BTreeSet<&str>) -> Result<Vec<Queue>, ServerError> {
    let is_of_all = tenants.contains("");
    let own = match is_of_all {
        true => "",
        false => " AND b.tenant_id IN ({list})",
    };
    let sql = format!(
        "SELECT b.id, b.tenant_id, b.product_id, b.capabilities, b.priority, b.attempts, \
         (SELECT j.created_at FROM placement_job j WHERE j.bucket_id = b.id AND j.stage = 'queued' \
          ORDER BY j.created_at, j.id LIMIT 1) AS oldest \
         FROM placement_bucket b WHERE b.queued > 0 AND b.id > $1{own} ORDER BY b.id LIMIT $2"
    );
    let limit = i64::try_from(QUEUES_PER_READ).unwrap_or(i64::MAX);
    let (mut queues, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let statement = Statement::new(sql.clone()).bind(after).bind(limit);
        let statement = match is_of_all {
            true => statement,
            false => statement.bind_list(tenants.iter().copied()),
        };
        let rows = db.read_one(statement).await?;
        let mut read = 0;
        for row in rows.iter() {
            (read, after) = (read + 1, row.id("id")?);
            // None: emptied since the row was counted.
            if let Some(oldest_us) = row.optional_integer("oldest")? {
                queues.push(Queue {
                    bucket: bucket_of(row)?,
                    oldest_us,
                    heads: Vec::new(),
                });
            }
        }
        if read < QUEUES_PER_READ || queues.len() >= QUEUES_MAX {
            return Ok(queues);
        }
    }
}

/// The weights that products in whose queues something waits have set.
pub fn select_weights() -> Statement {
    Statement::new(
        "SELECT product_id, weights FROM placement_product WHERE tenant_id = '' \
         AND product_id IN (SELECT b.product_id FROM placement_bucket b WHERE b.queued > 0)",
    )
}

/// Read from the rows of [`select_weights`].
pub fn weights_of(rows: &Rows) -> Result<BTreeMap<String, SomeWeights>, RowError> {
    let weights = rows.iter().map(|row| {
        let set: serde_json::Value = row.json("weights")?;
        Ok((
            row.text("product_id")?.to_owned(),
            SomeWeights::of_json(&set),
        ))
    });
    weights.collect()
}

/// The claims of these names; None where there are no names.
pub fn select_named(names: &[(Uuid, &str)]) -> Option<Statement> {
    if names.is_empty() {
        return None;
    }
    let places = (0..names.len()).map(|at| {
        let (factory, claim) = (2 * at + 1, 2 * at + 2);
        format!("(factory_id = ${factory} AND claim_id = ${claim})")
    });
    let places: Vec<String> = places.collect();
    let sql = format!(
        "SELECT factory_id, claim_id, job_id, lease_epoch FROM placement_claim WHERE {}",
        places.join(" OR ")
    );
    let bind = |statement: Statement, (factory_id, claim_id): &(Uuid, &str)| {
        statement.bind(*factory_id).bind(*claim_id)
    };
    Some(names.iter().fold(Statement::new(sql), bind))
}

/// Read from the rows of [`select_named`].
pub fn named_of(rows: &Rows) -> Result<Vec<Named>, RowError> {
    let named = rows.iter().map(|row| {
        Ok(Named {
            factory_id: row.id("factory_id")?,
            claim_id: row.text("claim_id")?.to_owned(),
            job_id: row.id("job_id")?,
            lease_epoch: row.integer("lease_epoch")?,
        })
    });
    named.collect()
}

/// Remembers a claim by its name; fails where it is taken.
#[must_use]
pub fn remember(batch: Batch, named: &Named, at_us: i64) -> Batch {
    let sql = "INSERT INTO placement_claim (factory_id, claim_id, job_id, lease_epoch, claimed_at) \
               VALUES ($1, $2, $3, $4, $5)";
    let statement = Statement::new(sql)
        .bind(named.factory_id)
        .bind(named.claim_id.as_str())
        .bind(named.job_id)
        .bind(named.lease_epoch)
        .bind(at_us);
    batch.sql(statement)
}

/// Whether [`prune`] has anything to do: the writer is not asked for nothing.
pub async fn is_anything_old(db: &Database, before_us: i64) -> Result<bool, ServerError> {
    let claims = "SELECT claim_id FROM placement_claim WHERE claimed_at < $1 LIMIT 1";
    let queues = "SELECT id FROM placement_bucket WHERE queued = 0 LIMIT 1";
    let claims = Statement::new(claims).bind(before_us);
    let found = db.read(vec![claims, Statement::new(queues)]).await?;
    Ok(found.iter().any(|rows| rows.first().is_some()))
}

/// Forgets claims made before, and queues in which nothing waits: some of them.
#[must_use]
pub fn prune(batch: Batch, before_us: i64) -> Batch {
    let claims = "DELETE FROM placement_claim WHERE (factory_id, claim_id) IN \
                  (SELECT factory_id, claim_id FROM placement_claim WHERE claimed_at < $1 ORDER BY claimed_at LIMIT $2)";
    let queues = "DELETE FROM placement_bucket WHERE queued = 0 AND id IN \
                  (SELECT id FROM placement_bucket WHERE queued = 0 LIMIT $1)";
    batch
        .sql(Statement::new(claims).bind(before_us).bind(PRUNED_MAX))
        .sql(Statement::new(queues).bind(PRUNED_MAX))
}

/// The first jobs of a queue.
pub fn select_heads(bucket: &Bucket, most: usize) -> Statement {
    let sql = "SELECT id, created_at, estimate_micros FROM placement_job WHERE bucket_id = $1 AND stage = 'queued' \
               ORDER BY created_at, id LIMIT $2";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Statement::new(sql).bind(bucket.id()).bind(most)
}

/// Read from the rows of [`select_heads`].
pub fn heads_of(rows: &Rows) -> Result<Vec<Waiting>, RowError> {
    rows.iter().map(waiting_of).collect()
}

/// One job as a queue of its own, if it is queued.
pub fn select_only(job_id: Uuid) -> Statement {
    let sql = "SELECT id, created_at, estimate_micros, tenant_id, product_id, capabilities, priority, attempts \
               FROM placement_job WHERE id = $1 AND stage = 'queued'";
    Statement::new(sql).bind(job_id)
}

/// Read from the rows of [`select_only`].
pub fn only_of(rows: &Rows) -> Result<Option<Queue>, RowError> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let head = waiting_of(row)?;
    Ok(Some(Queue {
        bucket: bucket_of(row)?,
        oldest_us: head.created_at_us,
        heads: vec![head],
    }))
}

/// What a factory holds; no more than it may have seats.
pub fn select_running(factory_id: Uuid) -> Statement {
    let sql = "SELECT id, created_at, claimed_at, preemptions, tenant_id, product_id, capabilities, priority, attempts \
               FROM placement_job WHERE factory_id = $1 LIMIT 1000";
    Statement::new(sql).bind(factory_id)
}

/// Read from the rows of [`select_running`].
pub fn running_of(rows: &Rows) -> Result<Vec<Running>, RowError> {
    let running = rows.iter().map(|row| {
        Ok(Running {
            job_id: row.id("id")?,
            bucket: bucket_of(row)?,
            created_at_us: row.integer("created_at")?,
            claimed_at_us: row.integer("claimed_at")?,
            preemptions: row.integer("preemptions")?,
        })
    });
    running.collect()
}

/// Reads any number of statements, `most` at once.
pub async fn read_all(
    db: &Database,
    statements: Vec<Statement>,
    most: usize,
) -> Result<Vec<Rows>, ServerError> {
    let mut tables = Vec::with_capacity(statements.len());
    let mut rest = statements.into_iter().peekable();
    while rest.peek().is_some() {
        let some: Vec<Statement> = rest.by_ref().take(most.max(1)).collect();
        tables.extend(db.read(some).await?);
    }
    Ok(tables)
}

/// What these jobs are about, by job. Bodies may be large: where they do not fit into one read each is read by itself.
pub async fn bodies(db: &Database, ids: &[Uuid]) -> Result<BTreeMap<Uuid, String>, ServerError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT job_id, body_md FROM placement_job_body WHERE job_id IN ({list})";
    let statement = Statement::new(sql).bind_list(ids.iter().copied());
    match db.read_one(statement).await {
        Ok(rows) => Ok(rows.iter().map(body_of).collect::<Result<_, _>>()?),
        Err(ServerError::TooLarge(_)) => {
            let mut bodies = BTreeMap::new();
            for id in ids {
                let body = jobs::body(db, *id).await?;
                bodies.extend(body.map(|body| (*id, body)));
            }
            Ok(bodies)
        }
        Err(error) => Err(error),
    }
}

/// Ids of jobs whose lease ran out, or whose factory was silent since before then.
pub async fn reapable(
    db: &Database,
    now_lease_us: i64,
    silent_since_us: i64,
) -> Result<BTreeSet<Uuid>, ServerError> {
    let expired =
        "SELECT id FROM placement_job WHERE expires_lease < $1 ORDER BY expires_lease LIMIT $2";
    let silent = "SELECT id FROM placement_job WHERE factory_id IN \
                  (SELECT id FROM placement_factory WHERE seen_lease < $1 AND seats_used > 0) LIMIT $2";
    let tables = db
        .read(vec![
            Statement::new(expired).bind(now_lease_us).bind(REAPED_MAX),
            Statement::new(silent)
                .bind(silent_since_us)
                .bind(REAPED_MAX),
        ])
        .await?;
    let ids = tables.iter().flat_map(Rows::iter).map(|row| row.id("id"));
    Ok(ids.collect::<Result<_, _>>()?)
}

fn body_of(row: Row<'_>) -> Result<(Uuid, String), RowError> {
    Ok((row.id("job_id")?, row.text("body_md")?.to_owned()))
}

fn waiting_of(row: Row<'_>) -> Result<Waiting, RowError> {
    Ok(Waiting {
        job_id: row.id("id")?,
        created_at_us: row.integer("created_at")?,
        estimate_micros: row.integer("estimate_micros")?,
    })
}

fn bucket_of(row: Row<'_>) -> Result<Bucket, RowError> {
    let priority = Priority::from_order(row.integer("priority")?);
    Ok(Bucket {
        tenant_id: row.text("tenant_id")?.to_owned(),
        product_id: row.text("product_id")?.to_owned(),
        capabilities: row.json("capabilities")?,
        priority: priority.ok_or_else(|| row.unexpected("priority", "a priority"))?,
        attempts: row.integer("attempts")?,
    })
}
