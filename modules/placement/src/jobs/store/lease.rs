//! Leases of jobs: renewing them, and the conditions that they are still as they were read. Renewing changes nothing else of a
//! job, so its revision stays.

use fleetwright_plugin_api::sdk::{Batch, Statement};
use uuid::Uuid;

use super::super::job::Job;

/// Leases renewed in one statement: an expression has an end.
pub const RENEWED_TOGETHER_MAX: usize = 100;

/// Prolongs these leases (job and epoch, each once), if this factory still holds all of them: else the whole batch is refused.
#[must_use]
pub fn renew(
    batch: Batch,
    factory_id: Uuid,
    leases: &[(Uuid, i64)],
    expires_lease_us: i64,
) -> Batch {
    let places = (0..leases.len()).map(|at| {
        let (job, epoch) = (2 * at + 3, 2 * at + 4);
        format!("(id = ${job} AND lease_epoch = ${epoch})")
    });
    let places: Vec<String> = places.collect();
    let sql = format!(
        "UPDATE placement_job SET expires_lease = $2 WHERE factory_id = $1 AND ({})",
        places.join(" OR ")
    );
    let statement = Statement::new(sql).bind(factory_id).bind(expires_lease_us);
    let statement = leases.iter().fold(statement, |statement, (job_id, epoch)| {
        statement.bind(*job_id).bind(*epoch)
    });
    let rows = u64::try_from(leases.len()).unwrap_or(u64::MAX);
    batch.sql_expecting(statement, rows)
}

/// Refuses the whole batch if the lease was renewed since the job was read.
#[must_use]
pub fn not_renewed(batch: Batch, job: &Job) -> Batch {
    let expires_lease_us = job.lease.as_ref().map(|lease| lease.expires_lease_us);
    let sql = "UPDATE placement_job SET expires_lease = expires_lease WHERE id = $1 AND expires_lease = $2";
    batch.sql_expecting(Statement::new(sql).bind(job.id).bind(expires_lease_us), 1)
}
