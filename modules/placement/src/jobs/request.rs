//! Reads what clients send about jobs. Every field may also be spelled in camel case. Everything that is wrong is told, with
//! its place.

use fleetwright_plugin_api::sdk::{
    At, Fields, FromInput, Problem, Timestamp, bounds, from_input, read,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::Priority;
use super::stage::Stage;
use crate::budgets::money::Usd;

/// The other spelling of each field that has one.
const SPELLINGS: [(&str, &str); 12] = [
    ("idempotencyKey", "idempotency_key"),
    ("productId", "product_id"),
    ("requiredCapabilities", "required_capabilities"),
    ("dependsOn", "depends_on"),
    ("bodyMd", "body_md"),
    ("maxAttempts", "max_attempts"),
    ("estimateUsd", "estimate_usd"),
    ("leaseEpoch", "lease_epoch"),
    ("factoryId", "factory_id"),
    ("startedAt", "started_at"),
    ("endedAt", "ended_at"),
    ("dependencyId", "dependency"),
];
/// Of names and keys, in characters. Our choice; a UUID with a prefix fits many times.
const KEY_CHARS_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 120;
const CAPABILITIES_MAX: usize = 32;
/// Each is a row that is guarded, and a batch has an end.
pub const DEPENDENCIES_MAX: usize = 100;
const ATTEMPTS_MAX: i64 = 100;
const ATTEMPTS_DEFAULT: i64 = 3;
/// Of a checkpoint or of what is said of a run or an artifact: where to look, not what is there.
const NOTE_BYTES_MAX: usize = 16 * 1024;
/// A million dollars.
const ESTIMATE_MICROS_MAX: i64 = 1_000_000_000_000;

/// A job as a client asks for it, valid but for what it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub idempotency_key: String,
    pub product_id: String,
    pub kind: String,
    pub priority: Priority,
    /// Sorted, without repetition.
    pub capabilities: Vec<String>,
    /// Ids, or keys of other jobs.
    pub depends_on: Vec<String>,
    pub body_md: Option<String>,
    pub max_attempts: i64,
    pub estimate_micros: i64,
    pub children: Vec<Draft>,
}

impl Draft {
    /// Whether there is something to do beside waiting for others.
    pub fn has_work(&self) -> bool {
        self.body_md.is_some() || (self.kind != "composite" && self.children.is_empty())
    }

    /// SHA-256 of what was asked, in hex: the same however it was spelled.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.canonical().to_string().as_bytes()))
    }

    fn canonical(&self) -> Value {
        let children: Vec<Value> = self.children.iter().map(Self::canonical).collect();
        json!([
            self.idempotency_key,
            self.product_id,
            self.kind,
            self.priority.as_str(),
            self.capabilities,
            self.depends_on,
            self.body_md,
            self.max_attempts,
            self.estimate_micros,
            children,
        ])
    }
}

impl FromInput for Draft {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(spelled(value), at)?;
        let key = required_line(&mut fields, "idempotency_key", KEY_CHARS_MAX);
        let product_id = name(&mut fields, "product_id", "default");
        let kind = name(&mut fields, "kind", "task");
        let priority = fields.optional("priority").unwrap_or(Priority::Normal);
        let capabilities = fields.optional::<Capabilities>("required_capabilities");
        let depends_on = fields.optional::<DependsOn>("depends_on");
        let body_md = fields.optional_by("body_md", text);
        let attempts = bounds::whole("job-attempts-invalid", 1..=ATTEMPTS_MAX);
        let max_attempts = fields.optional_by("max_attempts", attempts);
        let estimate_micros = fields.optional_by("estimate_usd", micros);
        let children = fields.optional::<Vec<Self>>("children");
        fields.finish();
        Some(Self {
            idempotency_key: key?,
            product_id,
            kind,
            priority,
            capabilities: capabilities.map(|list| list.0).unwrap_or_default(),
            depends_on: depends_on.map(|list| list.0).unwrap_or_default(),
            body_md,
            max_attempts: max_attempts
                .and_then(|count| i64::try_from(count).ok())
                .unwrap_or(ATTEMPTS_DEFAULT),
            estimate_micros: estimate_micros.unwrap_or(0),
            children: children.unwrap_or_default(),
        })
    }
}

impl FromInput for Priority {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = Self::ALL.map(|one| (one.as_str(), one));
        bounds::word(&value, at, "job-priority-invalid", &words)
    }
}

impl FromInput for Stage {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut words = Self::ALL.map(|one| (one.as_str(), one)).to_vec();
        words.push(("done", Self::Shipped));
        bounds::word(&value, at, "job-stage-invalid", &words)
    }
}

struct Capabilities(Vec<String>);

impl FromInput for Capabilities {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut names: Vec<String> =
            lines(value, at, CAPABILITIES_MAX, "job-capabilities-invalid")?;
        names.sort_unstable();
        names.dedup();
        Some(Self(names))
    }
}

struct DependsOn(Vec<String>);

impl FromInput for DependsOn {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        lines(value, at, DEPENDENCIES_MAX, "job-dependencies-invalid").map(Self)
    }
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
        let mut fields = Fields::of(spelled(value), at)?;
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

/// Jobs that another is to wait for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChildren {
    pub children: Vec<Draft>,
    /// Of a holder; an operator names none.
    pub lease_epoch: Option<i64>,
    pub factory_id: Option<Uuid>,
    pub checkpoint: Option<String>,
}

impl FromInput for NewChildren {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        // One child may be sent as it is, and several as a list.
        let value = match spelled(value) {
            Value::Array(children) => json!({ "children": children }),
            Value::Object(one) if one.contains_key("idempotency_key") => json!({"children": [one]}),
            other => other,
        };
        let mut fields = Fields::of(value, at)?;
        let children = fields.take::<Vec<Draft>>("children");
        let lease_epoch = fields.optional("lease_epoch");
        let factory_id = fields.optional("factory_id");
        let checkpoint = fields.optional_by("checkpoint", note);
        if children.as_ref().is_some_and(Vec::is_empty) {
            let detail = "there must be at least one";
            fields
                .at()
                .field("children")
                .refuse("job-children-invalid", detail);
        }
        if lease_epoch.is_some() && checkpoint.is_none() {
            let detail = "a holder that adds children says where it stood: the field `checkpoint` is required";
            fields
                .at()
                .field("checkpoint")
                .refuse("missing-field", detail);
        }
        fields.finish();
        Some(Self {
            children: children?,
            lease_epoch,
            factory_id,
            checkpoint,
        })
    }
}

/// Why an operator does something.
#[derive(Clone, Debug, Default, PartialEq, ToSchema)]
pub struct Why {
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

impl FromInput for Why {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let reason = fields.optional_by("reason", bounds::line("job-reason-invalid", 0..=500));
        fields.finish();
        Some(Self { reason })
    }
}

/// What is done without.
#[derive(Clone, Debug, PartialEq, ToSchema)]
pub struct Waiver {
    pub dependency: Uuid,
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

impl FromInput for Waiver {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(spelled(value), at)?;
        let dependency = fields.take("dependency");
        let reason = fields.optional_by("reason", bounds::line("job-reason-invalid", 0..=500));
        fields.finish();
        Some(Self {
            dependency: dependency?,
            reason,
        })
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
    fleetwright_plugin_api::sdk::read_with(value, |value, at| recorded(value, at, "name"))
}

/// Reads a run.
pub fn run(value: Value) -> Result<Recorded, Problem> {
    fleetwright_plugin_api::sdk::read_with(value, |value, at| recorded(value, at, "outcome"))
}

/// Reads any other body of this slice.
pub fn body<T: FromInput>(value: Value) -> Result<T, Problem> {
    read(value)
}

fn recorded(value: Value, at: &mut At<'_>, named: &'static str) -> Option<Recorded> {
    let mut fields = Fields::of(spelled(value), at)?;
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

/// An object with its fields by the names of the document. One that is there in both spellings is left, and so refused.
fn spelled(value: Value) -> Value {
    let Value::Object(mut members) = value else {
        return value;
    };
    for (camel, snake) in SPELLINGS {
        if !members.contains_key(snake)
            && let Some(value) = members.remove(camel)
        {
            members.insert(snake.to_owned(), value);
        }
    }
    Value::Object(members)
}

fn required_line(fields: &mut Fields<'_, '_>, field: &'static str, chars: usize) -> Option<String> {
    if !fields.has(field) {
        return fields.take::<String>(field);
    }
    fields.optional_by(field, bounds::line("job-name-invalid", 1..=chars))
}

fn name(fields: &mut Fields<'_, '_>, field: &'static str, default: &str) -> String {
    let given = fields.optional_by(field, bounds::line("job-name-invalid", 1..=NAME_CHARS_MAX));
    given.unwrap_or_else(|| default.to_owned())
}

fn lines(value: Value, at: &mut At<'_>, most: usize, code: &'static str) -> Option<Vec<String>> {
    let names = Vec::<String>::from_input(value, at)?;
    if names.len() > most {
        at.refuse(code, format_args!("at most {most}"));
    }
    for (index, name) in names.iter().enumerate() {
        let line = bounds::line(code, 1..=KEY_CHARS_MAX);
        line(Value::from(name.as_str()), &mut at.item(index));
    }
    Some(names)
}

/// A text of any lines; databases take no NUL.
fn text(value: Value, at: &mut At<'_>) -> Option<String> {
    let text = String::from_input(value, at)?;
    if text.contains('\0') {
        at.refuse("invalid-field", "must not contain NUL characters");
    }
    Some(text)
}

/// A text, or anything else as JSON.
fn note(value: Value, at: &mut At<'_>) -> Option<String> {
    match value {
        value @ Value::String(_) => small(text(value, at)?, at),
        other => small(other.to_string(), at),
    }
}

fn small(text: String, at: &mut At<'_>) -> Option<String> {
    if text.len() > NOTE_BYTES_MAX {
        at.refuse(
            "too-large",
            format_args!("must be at most {NOTE_BYTES_MAX} bytes"),
        );
    }
    Some(text)
}

/// Dollars in micro-dollars, up to the largest estimate.
fn micros(value: Value, at: &mut At<'_>) -> Option<i64> {
    let most = Usd::of(ESTIMATE_MICROS_MAX);
    match Usd::from_json(&value) {
        Ok(amount) if amount <= most => Some(amount.micros),
        Ok(_) => {
            at.refuse(
                "job-estimate-invalid",
                format_args!("must be at most {most}"),
            );
            None
        }
        Err(error) => {
            at.refuse("job-estimate-invalid", error);
            None
        }
    }
}

/// A new job, as the document shows it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `Draft` reads")]
pub struct JobRequest {
    /// One key creates one job: 200 with the job that is there for the same body, 422 for another.
    #[schema(min_length = 1, max_length = 200)]
    idempotency_key: String,
    /// Default `default`.
    product_id: Option<String>,
    /// Default `task`; a `composite` without a body has no work of its own, and ships with its children.
    kind: Option<String>,
    /// `low`, `normal` (default), `high` or `critical`.
    priority: Option<String>,
    required_capabilities: Option<Vec<String>>,
    /// Ids of jobs, or their keys; also those of other jobs of this request. At most 100.
    depends_on: Option<Vec<String>>,
    body_md: Option<String>,
    /// 1 to 100, default 3.
    max_attempts: Option<u32>,
    /// A decimal of at most 6 places, as a number or a text.
    #[schema(value_type = Option<String>)]
    estimate_usd: Option<String>,
    /// Jobs of the same shape, which this one waits for. At most 10,000 altogether.
    #[schema(value_type = Option<Vec<Object>>)]
    children: Option<Vec<Value>>,
}

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

/// New children, as the document shows them. A list of jobs, or one job, is also taken.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `NewChildren` reads")]
pub struct ChildrenRequest {
    children: Vec<JobRequest>,
    /// Of a holder, with a checkpoint; without it an operator adds them.
    lease_epoch: Option<i64>,
    factory_id: Option<Uuid>,
    #[schema(value_type = Option<Object>)]
    checkpoint: Option<Value>,
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

/// The filters of the list; all must hold.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    #[param(value_type = Option<String>)]
    pub stage: Option<Stage>,
    pub product_id: Option<String>,
}

from_input!(ListParams { stage, product_id });

/// The filter of the counts.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CountParams {
    pub product_id: Option<String>,
}

from_input!(CountParams { product_id });
