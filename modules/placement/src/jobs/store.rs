//! The tables of jobs: reads. What changes a job is in `change`, where counts, queues, seats and reservations follow it.

pub mod change;
pub mod lease;

use fleetwright_plugin_api::sdk::{Database, ServerError, Statement};
use uuid::Uuid;

use super::job::Job;

/// Everything of a job but its body.
pub const COLUMNS: &str = "id, tenant_id, idempotency_key, request_digest, product_id, kind, priority, capabilities, has_work, \
     estimate_micros, max_attempts, attempts, preemptions, stage, reason, released, checkpoint, waits_for, parent_id, \
     bucket_id, lease_epoch, factory_id, claim_id, claimed_at, expires_lease, created_at, created_by, created_by_name, \
     updated_at, ended_at, revision";

/// One job, if it is there.
pub async fn job(db: &Database, id: Uuid) -> Result<Option<Job>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_job WHERE id = $1");
    let rows = db.read_one(Statement::new(sql).bind(id)).await?;
    Ok(rows.first().map(Job::of).transpose()?)
}
