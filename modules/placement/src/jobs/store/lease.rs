//! Leases of jobs: renewing them, and the conditions that they are still as they were read. Renewing changes nothing else of a
//! job, so its revision stays.

use fleetwright_plugin_api::sdk::{Batch, Statement};
use uuid::Uuid;

use super::super::job::Job;

/// Prolongs a lease, if this factory still holds the job at this epoch: else the whole batch is refused.
#[must_use]
pub fn renew(
    batch: Batch,
    factory_id: Uuid,
    job_id: Uuid,
    epoch: i64,
    expires_lease_us: i64,
) -> Batch {
    let sql = "UPDATE placement_job SET expires_lease = $4 WHERE id = $1 AND factory_id = $2 AND lease_epoch = $3";
    let statement = Statement::new(sql)
        .bind(job_id)
        .bind(factory_id)
        .bind(epoch)
        .bind(expires_lease_us);
    batch.sql_expecting(statement, 1)
}

/// Refuses the whole batch if the lease was renewed since the job was read.
#[must_use]
pub fn not_renewed(batch: Batch, job: &Job) -> Batch {
    let expires_lease_us = job.lease.as_ref().map(|lease| lease.expires_lease_us);
    let sql = "UPDATE placement_job SET expires_lease = expires_lease WHERE id = $1 AND expires_lease = $2";
    batch.sql_expecting(Statement::new(sql).bind(job.id).bind(expires_lease_us), 1)
}
