//! What clients see of jobs.

use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::{Brief, Checkpoint, Job};
use super::store::edges::Dependency;
use super::store::records::{Kept, Record};
use crate::budgets::money::Usd;

/// A job in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobView {
    pub id: Uuid,
    pub idempotency_key: String,
    /// Null: nobody's.
    pub tenant_id: Option<String>,
    pub product_id: String,
    pub kind: String,
    /// `low`, `normal`, `high` or `critical`.
    pub priority: &'static str,
    pub required_capabilities: Vec<String>,
    /// `queued`, `blocked`, `assigned`, `building`, `review`, `testing`, `shipped`, `failed`, `dead_letter` or `cancelled`.
    pub stage: &'static str,
    /// Why it is where it is, where that was said.
    pub reason: Option<String>,
    /// A review that waits for a human.
    pub released: bool,
    pub attempts: i64,
    pub max_attempts: i64,
    pub preemptions: i64,
    pub estimate_usd: Usd,
    /// How many others it still waits for.
    pub waits_for: i64,
    pub parent_id: Option<Uuid>,
    /// False: it ships with what it waits for.
    pub has_work: bool,
    pub lease_epoch: i64,
    /// Null: nobody holds it.
    pub factory_id: Option<Uuid>,
    #[schema(format = DateTime)]
    pub claimed_at: Option<String>,
    pub created_by: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    pub revision: i64,
}

/// A page of jobs, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobPage {
    pub items: Vec<JobView>,
    pub next_cursor: Option<String>,
}

/// A job after it was submitted, or after it was given children.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubmittedView {
    #[serde(flatten)]
    pub job: JobView,
    /// Those that were submitted with this request, at most 1,000 of them.
    pub children: Vec<DagNode>,
}

/// A job with all that is told of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    pub job: JobView,
    pub body_md: Option<String>,
    pub checkpoint: Option<String>,
    /// Of what it waits for, what ended without shipping: it stays blocked until they are requeued or waived.
    pub blocked_by: Vec<DagNode>,
    /// What it waits for first; at most 100.
    pub dependencies: Vec<DependencyView>,
    /// Newest first, at most 50.
    pub events: Vec<EventView>,
    /// Newest first, at most 50.
    pub runs: Vec<RunView>,
    /// Newest first, at most 100.
    pub artifacts: Vec<ArtifactView>,
}

/// A job as part of a graph.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DagNode {
    pub id: Uuid,
    pub idempotency_key: String,
    pub kind: String,
    pub stage: &'static str,
    pub waits_for: i64,
    pub parent_id: Option<Uuid>,
}

/// Who waits for whom.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DagEdge {
    /// Who waits.
    pub from: Uuid,
    /// For whom.
    pub to: Uuid,
    /// `child`, or `dependency` where it is only waited for.
    pub kind: &'static str,
    /// Shipped or waived.
    pub settled: bool,
    pub waived: bool,
}

/// A job and all it waits for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dag {
    pub root: Uuid,
    pub nodes: Vec<DagNode>,
    pub edges: Vec<DagEdge>,
    /// There is more than is shown.
    pub truncated: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DependencyView {
    pub id: Uuid,
    /// `child` or `dependency`.
    pub kind: &'static str,
    /// Null: it is not there any more.
    pub stage: Option<&'static str>,
    pub idempotency_key: Option<String>,
    pub settled: bool,
    pub waived: bool,
}

/// Something that happened to a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventView {
    pub sequence: i64,
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(format = DateTime)]
    pub at: String,
    pub actor: String,
    pub from_stage: Option<&'static str>,
    pub to_stage: &'static str,
    #[schema(value_type = Object)]
    pub data: Value,
}

/// An attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunView {
    pub id: Uuid,
    pub lease_epoch: i64,
    pub factory_id: Option<Uuid>,
    pub outcome: String,
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    #[schema(value_type = Object)]
    pub data: Value,
    #[schema(format = DateTime)]
    pub recorded_at: String,
}

/// Something a job made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ArtifactView {
    pub id: Uuid,
    pub lease_epoch: i64,
    pub name: String,
    #[schema(value_type = Object)]
    pub data: Value,
    #[schema(format = DateTime)]
    pub recorded_at: String,
}

/// How many jobs are where.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CountsView {
    /// By product.
    pub items: Vec<ProductCounts>,
    /// By stage, of all products shown.
    pub totals: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProductCounts {
    pub product_id: String,
    /// By stage; one without jobs is left out.
    pub stages: BTreeMap<String, i64>,
    pub total: i64,
}

pub fn job<C: Checkpoint>(job: &Job<C>) -> JobView {
    let lease = job.lease.as_ref();
    JobView {
        id: job.id,
        idempotency_key: job.idempotency_key.clone(),
        tenant_id: Some(job.tenant_id.clone()).filter(|tenant| !tenant.is_empty()),
        product_id: job.product_id.clone(),
        kind: job.kind.clone(),
        priority: job.priority.as_str(),
        required_capabilities: job.capabilities.clone(),
        stage: job.stage.as_str(),
        reason: job.reason.clone(),
        released: job.released,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        preemptions: job.preemptions,
        estimate_usd: Usd {
            micros: job.estimate_micros,
        },
        waits_for: job.waits_for,
        parent_id: job.parent_id,
        has_work: job.has_work,
        lease_epoch: job.lease_epoch,
        factory_id: lease.map(|lease| lease.factory_id),
        claimed_at: lease.map(|lease| time(lease.claimed_at_us)),
        created_by: job.created_by_name.clone(),
        created_at: time(job.created_at_us),
        updated_at: time(job.updated_at_us),
        ended_at: job.ended_at_us.map(time),
        revision: job.revision,
    }
}

pub fn node<C: Checkpoint>(job: &Job<C>) -> DagNode {
    DagNode {
        id: job.id,
        idempotency_key: job.idempotency_key.clone(),
        kind: job.kind.clone(),
        stage: job.stage.as_str(),
        waits_for: job.waits_for,
        parent_id: job.parent_id,
    }
}

pub fn edge(one: &Dependency) -> DagEdge {
    DagEdge {
        from: one.job_id,
        to: one.dependency_id,
        kind: kind(one),
        settled: one.settled,
        waived: one.waived,
    }
}

pub fn dependency(one: &Dependency, job: Option<&Brief>) -> DependencyView {
    DependencyView {
        id: one.dependency_id,
        kind: kind(one),
        stage: job.map(|job| job.stage.as_str()),
        idempotency_key: job.map(|job| job.idempotency_key.clone()),
        settled: one.settled,
        waived: one.waived,
    }
}

pub fn event(kept: Kept) -> EventView {
    EventView {
        sequence: kept.sequence,
        kind: kept.kind,
        at: time(kept.at_us),
        actor: kept.actor,
        from_stage: kept.from.map(|stage| stage.as_str()),
        to_stage: kept.to.as_str(),
        data: kept.data,
    }
}

pub fn run(record: Record) -> RunView {
    RunView {
        id: record.id,
        lease_epoch: record.lease_epoch,
        factory_id: record.factory_id,
        outcome: record.name,
        started_at: record.started_at_us.map(time),
        ended_at: record.ended_at_us.map(time),
        data: record.data,
        recorded_at: time(record.recorded_at_us),
    }
}

pub fn artifact(record: Record) -> ArtifactView {
    ArtifactView {
        id: record.id,
        lease_epoch: record.lease_epoch,
        name: record.name,
        data: record.data,
        recorded_at: time(record.recorded_at_us),
    }
}

fn kind(one: &Dependency) -> &'static str {
    if one.child { "child" } else { "dependency" }
}

fn time(at_us: i64) -> String {
    Timestamp(at_us).to_string()
}
