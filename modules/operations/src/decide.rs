//! What counters mean, alike for every kind of operation over many hosts: progress, and the outcome of one that ran to
//! its end. Pure.

use fleetwright_plugin_api::wire::SetView;
use serde::Serialize;
use utoipa::ToSchema;

/// How far an operation is. The five counters always sum to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Progress)]
pub struct Counters {
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub running: u64,
    pub queued: u64,
    pub skipped: u64,
    /// 0.0 to 100.0 with one decimal; 100.0 only when every host is terminal.
    pub percent_complete: f64,
}

/// How an operation ended that was neither cancelled nor halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Partial,
    Failed,
}

/// All succeeded, none did, or some.
pub fn outcome(total: u64, succeeded: u64) -> Outcome {
    if succeeded == total {
        Outcome::Succeeded
    } else if succeeded == 0 {
        Outcome::Failed
    } else {
        Outcome::Partial
    }
}

/// The counters as people see them: a held host counts as queued.
pub fn progress(set: &SetView) -> Counters {
    let queued = set.held + set.queued;
    let terminal = set.succeeded + set.failed + set.skipped;
    Counters {
        total: set.total,
        succeeded: set.succeeded,
        failed: set.failed,
        running: set.running,
        queued,
        skipped: set.skipped,
        percent_complete: percent(percent_tenths(terminal, set.total)),
    }
}

/// Tenths of a percent, rounded half up: `(2 × 1000 × done + total) / (2 × total)` in integers, and at most 999
/// while anything is left. Nothing to do is all done.
pub fn percent_tenths(done: u64, total: u64) -> u64 {
    if done >= total {
        return 1000;
    }
    let (done, total) = (u128::from(done), u128::from(total));
    let tenths = (2000 * done + total) / (2 * total);
    u64::try_from(tenths).map_or(999, |tenths| tenths.min(999))
}

/// 681 tenths as 68.1. Exact enough: the shortest text of the quotient has one decimal for every value up to 1000.
#[expect(
    clippy::cast_precision_loss,
    reason = "at most 1000, which a float holds exactly"
)]
pub fn percent(tenths: u64) -> f64 {
    tenths as f64 / 10.0
}
