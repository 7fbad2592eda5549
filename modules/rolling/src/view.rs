//! What the API shows of deployments: summaries, progress, batches, moves, plans. Pure. Hosts and their output are shown
//! as those of every operation (`fleetwright_operations::view`).

use std::collections::BTreeMap;

use fleetwright_operations::Asked;
use fleetwright_operations::decide::{Counters, percent, progress};
use fleetwright_operations::view::{Author, HostResult, PlannedSkip, host, time, time_after};
use fleetwright_plugin_api::wire::CommandView;
use fleetwright_protocol::{EnvironmentValue, HealthCheck, HostId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decide::policy::{Policy, failure_tenths};
use crate::decide::state::{Phase, State, Status, Was};
use crate::decide::{Tally, batch_size};
use crate::request::RollingOptions;
use crate::row::{DeploymentHeader, LoadedDeployment, RollingColumns, RollingKind};
use crate::store::history::{BatchRow, Move};

/// How far a deployment is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingProgress {
    pub id: Uuid,
    pub status: Status,
    /// `halting` or `cancelling` while hosts are finishing.
    pub phase: Option<Phase>,
    #[serde(flatten)]
    pub progress: Counters,
    /// The batch that was dispatched last; 0 before the first.
    pub current_batch: u64,
    pub batch_count: u64,
    /// When the next batch is dispatched, once the current one is over and nothing else is waited for.
    #[schema(format = DateTime)]
    pub next_batch_at: Option<String>,
    /// While it is paused: what is left of the delay.
    pub delay_remaining_ms: Option<i64>,
    /// The batch that waits for an approval.
    pub awaiting_batch: Option<u64>,
    /// Of all hosts, those that failed as the threshold counts them, with one decimal.
    pub failure_pct: f64,
    /// Failures that a resume has accepted.
    pub acknowledged_failures: u64,
    /// The counters of the rollback, if there is one.
    pub rollback: Option<Counters>,
}

/// A rolling deployment, as in lists.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingSummary {
    #[serde(flatten)]
    pub progress: RollingProgress,
    pub operation_type: String,
    /// SHA-256 of the frozen host ids, sorted.
    pub digest: String,
    pub reason: Option<String>,
    #[serde(flatten)]
    pub options: RollingOptions,
    pub created_by: Author,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// A rolling deployment with what was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingDeployment {
    #[serde(flatten)]
    pub summary: RollingSummary,
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// As asked; a long list of explicit ids is left out and counted in `selector_ids_omitted`.
    #[schema(value_type = Object)]
    pub selector: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector_ids_omitted: Option<u64>,
    /// `{"operation_type", "parameters"}` of the rollback.
    #[schema(value_type = Option<Object>)]
    pub rollback_operation: Option<Value>,
    pub working_directory: Option<String>,
    #[schema(value_type = Object)]
    pub environment: BTreeMap<String, EnvironmentValue>,
    pub run_as: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub health_check: Option<HealthCheck>,
}

/// A new deployment as it was accepted. Hosts that are skipped at once count from the first read on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingAccepted {
    pub id: Uuid,
    pub status: Status,
    pub operation_type: String,
    pub total: u64,
    pub batch_count: u64,
    pub digest: String,
    /// Explicit ids that are no host's.
    #[schema(value_type = Vec<Uuid>)]
    pub unknown_host_ids: Vec<Value>,
    pub dry_run: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// What `plan_only` answers: what would be created, had it been asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingPlan {
    pub plan_only: bool,
    pub operation_type: String,
    pub total: u64,
    pub digest: String,
    #[schema(value_type = Vec<Uuid>)]
    pub unknown_host_ids: Vec<Value>,
    pub batch_count: u64,
    pub batches: Vec<PlannedBatch>,
    /// The hosts that would run it, in order.
    #[schema(value_type = Vec<Uuid>)]
    pub hosts: Vec<HostId>,
    pub skips: Vec<PlannedSkip>,
    /// What each of `hosts` would be sent: ordered steps.
    #[schema(value_type = Object)]
    pub plan: Value,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlannedBatch {
    pub batch: u64,
    /// Those that would be skipped are among them.
    #[schema(value_type = Vec<Uuid>)]
    pub host_ids: Vec<HostId>,
}

/// One batch. Its counters always sum to `total`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RollingBatch {
    pub batch: u64,
    /// `pending`, `running` or `finished`; `skipped` if the deployment ended before it.
    #[schema(example = "running")]
    pub status: &'static str,
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub running: u64,
    pub queued: u64,
    pub skipped: u64,
    /// Of `failed`: those that never started.
    pub unreachable: u64,
    #[schema(format = DateTime)]
    pub dispatched_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// One move of a deployment. States are statuses, and `halting` and `cancelling`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingMove {
    pub sequence: i64,
    #[schema(format = DateTime)]
    pub at: String,
    pub from: String,
    pub to: String,
    /// `{"cause": …}` with its facts.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub cause: Value,
    /// Who asked for it: `module:rolling` if nobody did.
    pub by: String,
}

/// One host of a deployment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingHost {
    pub batch: u64,
    #[serde(flatten)]
    pub result: HostResult,
    /// What the rollback did on it.
    pub rollback: Option<HostResult>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingBatchPage {
    pub items: Vec<RollingBatch>,
    pub next_cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RollingTracePage {
    pub items: Vec<RollingMove>,
    pub next_cursor: Option<String>,
}

pub fn progress_of(loaded: &LoadedDeployment) -> RollingProgress {
    let RollingColumns {
        policy, machine, ..
    } = &loaded.header.own;
    let counts = crate::actions::counts(&loaded.set);
    let failed = counts.tally().counted(policy);
    RollingProgress {
        id: loaded.header.id,
        status: machine.state.status(),
        phase: machine.state.phase(),
        progress: progress(&loaded.set),
        current_batch: machine.batch.number,
        batch_count: policy.partition.count(),
        next_batch_at: machine.next_batch_at_us(policy).map(time),
        delay_remaining_ms: machine.batch.delay.left_us().map(|left_us| left_us / 1_000),
        awaiting_batch: awaiting(machine.state),
        failure_pct: percent(failure_tenths(failed, policy.total)),
        acknowledged_failures: machine.acknowledged,
        rollback: loaded.rollback.as_ref().map(progress),
    }
}

pub fn summary(loaded: &LoadedDeployment) -> RollingSummary {
    let header = &loaded.header;
    RollingSummary {
        progress: progress_of(loaded),
        operation_type: header.operation_type.clone(),
        digest: header.digest.clone(),
        reason: header.reason.clone(),
        options: header.options.clone(),
        created_by: Author::of(header),
        created_at: time(header.created_at_us),
        expires_at: time(loaded.set.expires_at_us),
        started_at: loaded.set.started_at_us.map(time),
        finished_at: header.own.finished_at_us.map(time),
    }
}

pub fn detail(loaded: &LoadedDeployment, asked: Asked<RollingKind>) -> RollingDeployment {
    let execution = asked.execution;
    RollingDeployment {
        summary: summary(loaded),
        parameters: asked.parameters,
        selector: asked.selector.shown,
        selector_ids_omitted: asked.selector.ids_omitted,
        rollback_operation: asked.more.0,
        working_directory: execution.working_directory,
        environment: execution.environment,
        run_as: execution.run_as,
        health_check: execution.health_check,
    }
}

pub fn accepted(
    header: &DeploymentHeader,
    total: u64,
    unknown_host_ids: Vec<Value>,
) -> RollingAccepted {
    RollingAccepted {
        id: header.id,
        status: header.own.machine.state.status(),
        operation_type: header.operation_type.clone(),
        total,
        batch_count: header.own.policy.partition.count(),
        digest: header.digest.clone(),
        unknown_host_ids,
        dry_run: header.options.dry_run,
        created_at: time(header.created_at_us),
        expires_at: time_after(header.created_at_us, header.options.expires_in_seconds),
    }
}

/// The batches hosts would be in.
pub fn planned_batches(policy: &Policy, hosts: &[HostId]) -> Vec<PlannedBatch> {
    let place = |batch: u64| usize::try_from(policy.partition.end(batch)).unwrap_or(usize::MAX);
    let batches = (1..=policy.partition.count()).map(|batch| PlannedBatch {
        batch,
        host_ids: hosts
            .get(place(batch - 1)..place(batch))
            .unwrap_or_default()
            .to_vec(),
    });
    batches.collect()
}

/// A batch that was dispatched, or (`row` absent) one that was not.
pub fn batch(loaded: &LoadedDeployment, number: u64, row: Option<&BatchRow>) -> RollingBatch {
    let RollingColumns {
        policy, machine, ..
    } = &loaded.header.own;
    let total = batch_size(policy, number);
    let ended = machine.state.is_terminal();
    let Some(row) = row else {
        let (status, queued) = if ended {
            ("skipped", 0)
        } else {
            ("pending", total)
        };
        let skipped = total - queued;
        return RollingBatch {
            status,
            queued,
            skipped,
            ..empty(number, total)
        };
    };
    let shown = RollingBatch {
        dispatched_at: Some(time(row.dispatched_at_us)),
        finished_at: row.finished_at_us.map(time),
        ..empty(number, total)
    };
    if row.finished_at_us.is_some() {
        return with_tally(shown, "finished", &row.tally, row.skipped);
    }
    // The current one: what the set counts now, less what it counted before.
    let counts = crate::actions::counts(&loaded.set);
    let tally = counts.tally().since(&machine.batch.before);
    let known = tally.succeeded + tally.failed + counts.running;
    let open = total.saturating_sub(known);
    // Released and not started, or still to be released; the rest of the batch was skipped.
    let unreleased = policy
        .partition
        .end(number)
        .saturating_sub(machine.batch.released);
    let queued = open.min(counts.queued + unreleased);
    RollingBatch {
        running: counts.running,
        queued,
        ..with_tally(shown, "running", &tally, open - queued)
    }
}

pub fn moved(entry: Move) -> RollingMove {
    RollingMove {
        sequence: entry.generation,
        at: time(entry.at_us),
        from: entry.from,
        to: entry.to,
        cause: entry.cause,
        by: entry.principal,
    }
}

pub fn rolling_host(
    policy: &Policy,
    row: CommandView,
    rolled_back: Option<CommandView>,
) -> RollingHost {
    RollingHost {
        batch: policy.partition.batch_of(row.ordinal),
        rollback: rolled_back.map(host),
        result: host(row),
    }
}

fn awaiting(state: State) -> Option<u64> {
    match state {
        State::AwaitingApproval { batch, .. }
        | State::Paused {
            was: Was::AwaitingApproval { batch },
            ..
        } => Some(batch),
        State::Paused {
            was: Was::Running, ..
        }
        | State::Queued { .. }
        | State::Running
        | State::Halting
        | State::Cancelling
        | State::RollingBack { .. }
        | State::Over { .. } => None,
    }
}

fn empty(number: u64, total: u64) -> RollingBatch {
    RollingBatch {
        batch: number,
        status: "pending",
        total,
        succeeded: 0,
        failed: 0,
        running: 0,
        queued: 0,
        skipped: 0,
        unreachable: 0,
        dispatched_at: None,
        finished_at: None,
    }
}

fn with_tally(
    shown: RollingBatch,
    status: &'static str,
    tally: &Tally,
    skipped: u64,
) -> RollingBatch {
    RollingBatch {
        status,
        succeeded: tally.succeeded,
        failed: tally.failed,
        unreachable: tally.unreachable,
        skipped,
        ..shown
    }
}
