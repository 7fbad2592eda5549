//! Whether the failures so far stop a deployment: of all its hosts, or of the current batch.

use super::policy::{batch_size, is_passed};
use super::snapshot::Snapshot;
use super::step::Cause;

/// The threshold that the failures so far pass, if any.
pub fn passed_threshold(snapshot: &Snapshot<'_>) -> Option<Cause> {
    let Snapshot {
        policy,
        deployment,
        counts,
        ..
    } = *snapshot;
    let tally = counts.tally();
    let failed = tally
        .counted(policy)
        .saturating_sub(deployment.acknowledged);
    let threshold_pct = policy.failure_threshold_pct;
    let total = policy.total;
    if is_passed(failed, threshold_pct, total) {
        return Some(Cause::FailureThresholdPassed {
            failed,
            total,
            threshold_pct,
        });
    }
    let threshold_pct = policy.batch_failure_threshold_pct?;
    let batch = &deployment.batch;
    let of_batch = tally.since(&batch.before).counted(policy);
    let failed = of_batch.saturating_sub(batch.acknowledged);
    let size = batch_size(policy, batch.number);
    is_passed(failed, threshold_pct, size).then_some(Cause::BatchFailureThresholdPassed {
        batch: batch.number,
        failed,
        size,
        threshold_pct,
    })
}
