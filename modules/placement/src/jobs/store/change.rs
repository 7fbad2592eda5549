//! Writing a job, and with it all that follows from where it stands: the kept counts, its queue, the seat of whoever held it,
//! what was reserved for it, and the event. One place, so that none of them is ever forgotten.

use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::{Batch, Cell, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::super::job::{Bucket, Job};
use super::super::stage::Stage;
use crate::factories::store::Factory;
use crate::{budgets, factories};

/// What happened, for whoever follows the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `claimed`, `preempted`, `stage`, `requeued` …
    pub kind: &'static str,
    /// `user:…`, `token:…`, `factory:<id>` or `module:placement`.
    pub actor: String,
    /// An object.
    pub data: Value,
}

/// The signal for whoever follows a job.
pub fn signal_of(job: &Job) -> String {
    format!("placement:job:{}", job.id)
}

/// Published when a job can be claimed that could not before.
pub const QUEUED_SIGNAL: &str = "placement:queued";

/// Rows of one step: 23 columns of so many are fewer than the 32,766 parameters that SQLite takes.
const ROWS_PER_STEP: usize = 1_000;

const COUNT: &str = "INSERT INTO placement_job_count (tenant_id, product_id, stage, jobs) VALUES {rows} \
     ON CONFLICT (tenant_id, product_id, stage) DO UPDATE SET jobs = placement_job_count.jobs + excluded.jobs";
const QUEUE: &str = "INSERT INTO placement_bucket (id, tenant_id, product_id, capabilities, priority, attempts, queued) \
     VALUES {rows} ON CONFLICT (id) DO UPDATE SET queued = placement_bucket.queued + excluded.queued";

/// Adds a job that was not there, with its first event.
#[must_use]
pub fn insert(batch: Batch, job: &Job, event: &Event) -> Batch {
    let sql = "INSERT INTO placement_job (id, tenant_id, idempotency_key, request_digest, product_id, kind, priority, \
               capabilities, has_work, estimate_micros, max_attempts, parent_id, created_at, created_by, created_by_name, \
               bucket_id, attempts, preemptions, stage, reason, released, checkpoint, waits_for, lease_epoch, factory_id, \
               claim_id, claimed_at, expires_lease, updated_at, ended_at, revision) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
               $23, $24, $25, $26, $27, $28, $29, $30, $31)";
    let statement = Statement::new(sql)
        .bind(job.id)
        .bind(job.tenant_id.as_str())
        .bind(job.idempotency_key.as_str())
        .bind(job.request_digest.as_str())
        .bind(job.product_id.as_str())
        .bind(job.kind.as_str())
        .bind(job.priority.order())
        .bind(Value::from(job.capabilities.clone()).to_string())
        .bind(job.has_work)
        .bind(job.estimate_micros)
        .bind(job.max_attempts)
        .bind(job.parent_id)
        .bind(job.created_at_us)
        .bind(job.created_by.as_str())
        .bind(job.created_by_name.as_str());
    let batch = batch.sql(moving(statement, job));
    let batch = queue(count(batch, None, job), None, job);
    tell(batch, None, job, event)
}

/// Adds many at once, each with its first event, in steps of many rows: a batch has room for a thousand steps, and a tree for
/// ten thousand jobs.
#[must_use]
pub fn insert_all(mut batch: Batch, jobs: &[Job], event: &Event) -> Batch {
    let sql = "INSERT INTO placement_job (id, tenant_id, idempotency_key, request_digest, product_id, kind, priority, \
               capabilities, has_work, estimate_micros, max_attempts, parent_id, created_at, created_by, created_by_name, \
               bucket_id, attempts, preemptions, stage, waits_for, lease_epoch, updated_at, revision) VALUES {rows}";
    for some in jobs.chunks(ROWS_PER_STEP) {
        let cells: Vec<Cell> = some.iter().flat_map(cells).collect();
        batch = batch.rows(sql, 23, &cells);
    }
    let mut counts: BTreeMap<(&str, &str, Stage), i64> = BTreeMap::new();
    let mut queues: BTreeMap<Uuid, (Bucket, i64)> = BTreeMap::new();
    for job in jobs {
        let key = (job.tenant_id.as_str(), job.product_id.as_str(), job.stage);
        *counts.entry(key).or_default() += 1;
        if job.stage == Stage::Queued {
            let bucket = job.bucket();
            queues.entry(bucket.id()).or_insert((bucket, 0)).1 += 1;
        }
    }
    let cells: Vec<Cell> = counts
        .into_iter()
        .flat_map(|((tenant, product, stage), jobs)| {
            [
                Cell::from(tenant),
                product.into(),
                stage.as_str().into(),
                jobs.into(),
            ]
        })
        .collect();
    batch = in_steps(batch, COUNT, 4, &cells);
    let cells: Vec<Cell> = queues.into_iter().flat_map(queue_cells).collect();
    if !cells.is_empty() {
        batch = in_steps(batch, QUEUE, 7, &cells).signal(QUEUED_SIGNAL);
    }
    let sql = "INSERT INTO placement_job_event (job_id, sequence, at, type, actor, to_stage, data) VALUES {rows}";
    let cells: Vec<Cell> = jobs
        .iter()
        .flat_map(|job| {
            [
                Cell::from(job.id),
                job.revision.into(),
                job.updated_at_us.into(),
                event.kind.into(),
                event.actor.as_str().into(),
                job.stage.as_str().into(),
                event.data.to_string().into(),
            ]
        })
        .collect();
    in_steps(batch, sql, 7, &cells)
}

/// Writes rows of `columns` cells, so many in a step as PostgreSQL takes parameters for.
#[must_use]
pub fn in_steps(batch: Batch, sql: &str, columns: usize, cells: &[Cell]) -> Batch {
    let steps = cells.chunks(columns.saturating_mul(ROWS_PER_STEP).max(1));
    steps.fold(batch, |batch, some| batch.rows(sql, columns, some))
}

fn cells(job: &Job) -> [Cell; 23] {
    [
        job.id.into(),
        job.tenant_id.as_str().into(),
        job.idempotency_key.as_str().into(),
        job.request_digest.as_str().into(),
        job.product_id.as_str().into(),
        job.kind.as_str().into(),
        job.priority.order().into(),
        Value::from(job.capabilities.clone()).to_string().into(),
        job.has_work.into(),
        job.estimate_micros.into(),
        job.max_attempts.into(),
        job.parent_id.into(),
        job.created_at_us.into(),
        job.created_by.as_str().into(),
        job.created_by_name.as_str().into(),
        job.bucket().id().into(),
        job.attempts.into(),
        job.preemptions.into(),
        job.stage.as_str().into(),
        job.waits_for.into(),
        job.lease_epoch.into(),
        job.updated_at_us.into(),
        job.revision.into(),
    ]
}

fn queue_cells((id, (bucket, queued)): (Uuid, (Bucket, i64))) -> [Cell; 7] {
    [
        id.into(),
        bucket.tenant_id.into(),
        bucket.product_id.into(),
        Value::from(bucket.capabilities).to_string().into(),
        bucket.priority.order().into(),
        bucket.attempts.into(),
        queued.into(),
    ]
}

/// Writes a job as `after`, if it still is as `before` was read: its revision guards the whole batch. The revision of `after`
/// is one more. Whoever stops holding it gives back a seat and what is left of its reservation. Who begins to: [`claim`].
#[must_use]
pub fn update(batch: Batch, before: &Job, after: &Job, event: &Event) -> Batch {
    let batch = write(batch, before, after);
    let batch = match &before.lease {
        Some(old) if after.lease.is_none() => {
            let batch = factories::store::give_back_seat(batch, old.factory_id);
            budgets::store::release(batch, before.id, before.lease_epoch)
        }
        _ => batch,
    };
    tell(batch, Some(before.stage), after, event)
}

/// The same of a job that nobody held and this factory is to hold: it takes a seat, guarded; what it reserves is the claim's
/// to add.
#[must_use]
pub fn claim(
    batch: Batch,
    before: &Job,
    after: &Job,
    factory: &Factory,
    now_lease_us: i64,
    event: &Event,
) -> Batch {
    debug_assert!(before.lease.is_none() && after.lease.is_some());
    let batch = write(batch, before, after);
    let batch = factories::store::take_seat(batch, factory, now_lease_us, after.updated_at_us);
    tell(batch, Some(before.stage), after, event)
}

fn write(batch: Batch, before: &Job, after: &Job) -> Batch {
    debug_assert_eq!(before.revision + 1, after.revision);
    let sql = "UPDATE placement_job SET bucket_id = $3, attempts = $4, preemptions = $5, stage = $6, reason = $7, \
               released = $8, checkpoint = $9, waits_for = $10, lease_epoch = $11, factory_id = $12, claim_id = $13, \
               claimed_at = $14, expires_lease = $15, updated_at = $16, ended_at = $17, revision = $18 \
               WHERE id = $1 AND revision = $2";
    let statement = Statement::new(sql).bind(before.id).bind(before.revision);
    let batch = batch.sql_expecting(moving(statement, after), 1);
    let batch = if before.stage == after.stage {
        batch
    } else {
        count(batch, Some(before), after)
    };
    queue(batch, Some(before), after)
}

/// What of a job changes, from the statement's next parameter on.
fn moving(statement: Statement, job: &Job) -> Statement {
    let lease = job.lease.as_ref();
    statement
        .bind(job.bucket().id())
        .bind(job.attempts)
        .bind(job.preemptions)
        .bind(job.stage.as_str())
        .bind(job.reason.as_deref())
        .bind(job.released)
        .bind(job.checkpoint.as_deref())
        .bind(job.waits_for)
        .bind(job.lease_epoch)
        .bind(lease.map(|lease| lease.factory_id))
        .bind(lease.and_then(|lease| lease.claim_id.as_deref()))
        .bind(lease.map(|lease| lease.claimed_at_us))
        .bind(lease.map(|lease| lease.expires_lease_us))
        .bind(job.updated_at_us)
        .bind(job.ended_at_us)
        .bind(job.revision)
}

/// One less where it was, one more where it is.
fn count(batch: Batch, before: Option<&Job>, after: &Job) -> Batch {
    let mut rows = vec![(after.stage.as_str(), 1_i64)];
    rows.extend(before.map(|before| (before.stage.as_str(), -1)));
    // In one order, so that two who count never wait for each other.
    rows.sort_unstable();
    let cells: Vec<Cell> = rows
        .into_iter()
        .flat_map(|(stage, jobs)| {
            let (tenant_id, product_id) = (after.tenant_id.as_str(), after.product_id.as_str());
            [
                tenant_id.into(),
                product_id.into(),
                stage.into(),
                jobs.into(),
            ]
        })
        .collect();
    batch.rows(COUNT, 4, &cells)
}

/// It leaves its queue and joins another, where it does.
fn queue(batch: Batch, before: Option<&Job>, after: &Job) -> Batch {
    let queued = |job: &&Job| job.stage == Stage::Queued;
    let left = before.filter(queued).map(Job::bucket);
    let joined = Some(after).filter(queued).map(Job::bucket);
    if left == joined {
        return batch;
    }
    let batch = match left {
        Some(bucket) => {
            let sql = "UPDATE placement_bucket SET queued = queued - 1 WHERE id = $1";
            batch.sql_expecting(Statement::new(sql).bind(bucket.id()), 1)
        }
        None => batch,
    };
    match joined {
        Some(bucket) => {
            let cells = queue_cells((bucket.id(), (bucket, 1)));
            batch.rows(QUEUE, 7, &cells).signal(QUEUED_SIGNAL)
        }
        None => batch,
    }
}

fn tell(batch: Batch, from: Option<Stage>, job: &Job, event: &Event) -> Batch {
    let sql = "INSERT INTO placement_job_event (job_id, sequence, at, type, actor, from_stage, to_stage, data) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let statement = Statement::new(sql)
        .bind(job.id)
        .bind(job.revision)
        .bind(job.updated_at_us)
        .bind(event.kind)
        .bind(event.actor.as_str())
        .bind(from.map(Stage::as_str))
        .bind(job.stage.as_str())
        .bind(event.data.to_string());
    batch.sql(statement).signal(&signal_of(job))
}
