//! Reads what a holder says of its job, and what it records of it.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, Problem, Timestamp, bounds, read_with};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{KEY_CHARS_MAX, note, required_line, small};
use crate::jobs::stage::Stage;
use crate::names::snake_case;

/// What a holder reports, as the document shows it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `Report` reads")]
pub struct ReportRequest {
    /// Of the claim. An older one is 409 `stale-lease`.
    lease_epoch: i64,
    /// If given, the one that holds it.
    factory_id: Option<Uuid>,
    /// Left out: the lease is renewed, and the job stays where it is. `done` is another word for `shipped`.
    stage: Option<String>,
    reason: Option<String>,
    /// A text, or anything else as JSON, at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    checkpoint: Option<Value>,
    /// A review is given up to a human, with lease and seat.
    release: Option<bool>,
}

/// An artifact, as the document shows it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `artifact` reads")]
pub struct ArtifactRequest {
    lease_epoch: i64,
    factory_id: Option<Uuid>,
    /// Recorded again, it replaces the one of that name.
    name: String,
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// A run, as the document shows it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `run` reads")]
pub struct RunRequest {
    lease_epoch: i64,
    factory_id: Option<Uuid>,
    outcome: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// What a holder reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub lease_epoch: i64,
    pub factory_id: Option<Uuid>,
    pub stage: Option<Stage>,
    pub reason: Option<String>,
    pub checkpoint: Option<String>,
    pub release: bool,
}

impl FromInput for Report {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(snake_case(value), at)?;
        let lease_epoch = fields.take("lease_epoch");
        let factory_id = fields.optional("factory_id");
        let stage = fields.optional("stage");
        let reason = fields.optional_by("reason", bounds::line("job-reason-invalid", 0..=500));
        let checkpoint = fields.optional_by("checkpoint", note);
        let release = fields.optional("release").unwrap_or(false);
        if release && stage.is_some_and(|stage| stage != Stage::Review) {
            let detail = "only a review is released to a human";
            fields
                .at()
                .field("release")
                .refuse("job-release-invalid", detail);
        }
        fields.finish();
        Some(Self {
            lease_epoch: lease_epoch?,
            factory_id,
            stage,
            reason,
            checkpoint,
            release,
        })
    }
}

impl FromInput for Stage {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut words = Self::ALL.map(|one| (one.as_str(), one)).to_vec();
        words.push(("done", Self::Shipped));
        bounds::word(&value, at, "job-stage-invalid", &words)
    }
}

/// What a holder records of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub lease_epoch: i64,
    pub factory_id: Option<Uuid>,
    /// The name of an artifact, or the outcome of a run.
    pub name: String,
    /// JSON text of an object.
    pub data: String,
    pub started_at_us: Option<i64>,
    pub ended_at_us: Option<i64>,
}

/// Reads an artifact.
pub fn artifact(value: Value) -> Result<Recorded, Problem> {
    read_with(value, |value, at| recorded(value, at, "name"))
}

/// Reads a run.
pub fn run(value: Value) -> Result<Recorded, Problem> {
    read_with(value, |value, at| recorded(value, at, "outcome"))
}

fn recorded(value: Value, at: &mut At<'_>, named: &'static str) -> Option<Recorded> {
    let mut fields = Fields::of(snake_case(value), at)?;
    let lease_epoch = fields.take("lease_epoch");
    let factory_id = fields.optional("factory_id");
    let name = required_line(&mut fields, named, KEY_CHARS_MAX);
    let data = fields.optional_by("data", |value, at| {
        let members = Map::from_input(value, at)?;
        small(Value::Object(members).to_string(), at)
    });
    let (mut started, mut ended) = (None, None);
    if named == "outcome" {
        started = fields.optional::<Timestamp>("started_at");
        ended = fields.optional::<Timestamp>("ended_at");
    }
    fields.finish();
    Some(Recorded {
        lease_epoch: lease_epoch?,
        factory_id,
        name: name?,
        data: data.unwrap_or_else(|| "{}".to_owned()),
        started_at_us: started.map(|time| time.0),
        ended_at_us: ended.map(|time| time.0),
    })
}
