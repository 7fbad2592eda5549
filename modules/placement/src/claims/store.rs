//! What claims and the reaper read.

use fleetwright_plugin_api::sdk::{Database, ServerError, Statement};

use crate::jobs::job::Job;
use crate::jobs::store::COLUMNS;

/// Of one pass: a job may carry a checkpoint of 16 KiB, and one read ends at 4 MiB. The next pass goes on at once.
const REAPED_MAX: i64 = 100;

/// Jobs whose lease ran out, or whose factory was silent since before then.
pub async fn reapable(
    db: &Database,
    now_lease_us: i64,
    silent_since_us: i64,
) -> Result<Vec<Job>, ServerError> {
    let expired = format!(
        "SELECT {COLUMNS} FROM placement_job WHERE expires_lease < $1 ORDER BY expires_lease LIMIT $2"
    );
    let silent = format!(
        "SELECT {COLUMNS} FROM placement_job WHERE factory_id IN \
         (SELECT id FROM placement_factory WHERE seen_lease < $1 AND seats_used > 0) LIMIT $2"
    );
    let tables = db
        .read(vec![
            Statement::new(expired).bind(now_lease_us).bind(REAPED_MAX),
            Statement::new(silent)
                .bind(silent_since_us)
                .bind(REAPED_MAX),
        ])
        .await?;
    let mut jobs: Vec<Job> = Vec::new();
    for row in tables.iter().flat_map(|rows| rows.iter()) {
        let job = Job::of(row)?;
        if job.lease.is_some() && !jobs.iter().any(|known| known.id == job.id) {
            jobs.push(job);
        }
    }
    Ok(jobs)
}
