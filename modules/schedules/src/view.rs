//! What clients see: schedules, their runs, and times to come.

use fleetwright_plugin_api::sdk::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::runs::Run;
use crate::store::{Header, Person, Work};

/// A schedule in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScheduleSummary {
    pub id: Uuid,
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub enabled: bool,
    /// `bulk` or `rolling`.
    pub kind: &'static str,
    pub operation_type: String,
    /// `forbid`, `allow` or `replace`.
    pub overlap_policy: &'static str,
    /// `fire_once` or `skip`.
    pub misfire_policy: &'static str,
    pub jitter_seconds: u64,
    #[schema(format = DateTime)]
    pub starts_at: Option<String>,
    #[schema(format = DateTime)]
    pub ends_at: Option<String>,
    /// When the newest run was recorded.
    #[schema(format = DateTime)]
    pub last_run_at: Option<String>,
    /// Of the newest run: `pending`, the status of its operation, `skipped_overlap`, `skipped_misfire`,
    /// `skipped_unlicensed`, `selection_empty` or `failed_to_launch`.
    pub last_status: Option<String>,
    /// Why, of a run that launched nothing.
    pub last_reason: Option<String>,
    /// What the expression says; with jitter it fires up to that later. None: it does not fire any more.
    #[schema(format = DateTime)]
    pub next_run_at: Option<String>,
    pub created_by: Author,
    /// Who saved it last, and as whom it launches.
    pub owner: Author,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
    pub revision: i64,
}

/// A schedule with what it launches.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScheduleDetail {
    #[serde(flatten)]
    pub summary: ScheduleSummary,
    /// In canonical form, with groups by id.
    #[schema(value_type = Object)]
    pub selector: Value,
    #[schema(value_type = Object)]
    pub parameters: Value,
    #[schema(value_type = Object)]
    pub options: Value,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Author {
    pub id: String,
    pub name: String,
}

/// A page of schedules, in order of creation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SchedulePage {
    pub items: Vec<ScheduleSummary>,
    pub next_cursor: Option<String>,
}

/// One fire, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunView {
    /// Also that of the operation, if it launches one.
    pub id: Uuid,
    pub schedule_id: Uuid,
    /// The nominal time: what the expression says, or when it was asked for.
    #[schema(format = DateTime)]
    pub scheduled_for: String,
    /// `cron` or `manual`.
    pub cause: &'static str,
    /// `pending`, the status of its operation, `skipped_overlap`, `skipped_misfire`, `skipped_unlicensed`,
    /// `selection_empty` or `failed_to_launch`.
    pub status: String,
    pub reason: Option<String>,
    /// Once launched.
    pub operation: Option<RunOperation>,
    /// As whom it launches.
    pub principal: String,
    #[schema(format = DateTime)]
    pub recorded_at: String,
    #[schema(format = DateTime)]
    pub launched_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// Where a run's operation is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunOperation {
    pub id: Uuid,
    /// `bulk` or `rolling`.
    pub kind: &'static str,
    pub href: String,
}

/// A page of runs, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunPage {
    pub items: Vec<RunView>,
    pub next_cursor: Option<String>,
}

/// The next times an expression fires.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PreviewView {
    pub cron: String,
    /// As the database spells it.
    pub timezone: String,
    /// Ascending.
    #[schema(format = DateTime)]
    pub times: Vec<String>,
}

pub fn summary(header: &Header, newest: Option<&Run>) -> ScheduleSummary {
    ScheduleSummary {
        id: header.id,
        name: header.name.clone(),
        cron: header.cron.clone(),
        timezone: header.timezone.clone(),
        enabled: header.enabled,
        kind: header.kind.as_str(),
        operation_type: header.operation_type.clone(),
        overlap_policy: header.overlap.as_str(),
        misfire_policy: header.misfire.as_str(),
        jitter_seconds: header.jitter_seconds,
        starts_at: header.starts_at_us.map(time),
        ends_at: header.ends_at_us.map(time),
        last_run_at: newest.map(|run| time(run.recorded_at_us)),
        last_status: newest.map(|run| run.status.clone()),
        last_reason: newest.and_then(|run| run.reason.clone()),
        next_run_at: header.next.map(|next| time(next.nominal_us)),
        created_by: author(&header.created_by),
        owner: author(&header.owner),
        created_at: time(header.created_at_us),
        updated_at: time(header.updated_at_us),
        revision: header.revision,
    }
}

pub fn detail(header: &Header, work: &Work, newest: Option<&Run>) -> ScheduleDetail {
    ScheduleDetail {
        summary: summary(header, newest),
        selector: work.selector.clone(),
        parameters: work.parameters.clone(),
        options: work.options.clone(),
    }
}

pub fn run(run: &Run) -> RunView {
    let operation = run.launched_at_us.map(|_| RunOperation {
        id: run.id,
        kind: run.kind.as_str(),
        href: format!("{}/{}", run.kind.path(), run.id),
    });
    RunView {
        id: run.id,
        schedule_id: run.schedule_id,
        scheduled_for: time(run.nominal_us),
        cause: run.cause.as_str(),
        status: run.status.clone(),
        reason: run.reason.clone(),
        operation,
        principal: run.principal.clone(),
        recorded_at: time(run.recorded_at_us),
        launched_at: run.launched_at_us.map(time),
        finished_at: run.finished_at_us.map(time),
    }
}

pub fn time(at_us: i64) -> String {
    Timestamp(at_us).to_string()
}

fn author(person: &Person) -> Author {
    Author {
        id: person.id.clone(),
        name: person.name.clone(),
    }
}
