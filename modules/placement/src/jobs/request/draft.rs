//! Reads jobs that are to be: one with its children, and what is added to one that is there.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, bounds};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{KEY_CHARS_MAX, lines, note, required_line, text};
use crate::budgets::money::Usd;
use crate::jobs::job::Priority;
use crate::names::{CHARS_MAX, snake_case};

const CAPABILITIES_MAX: usize = 32;
/// Of all together: queues are told apart by them, and many queues are read at once.
const CAPABILITIES_BYTES_MAX: usize = 1_024;
/// Each is a row that is guarded, and a batch has an end.
pub const DEPENDENCIES_MAX: usize = 100;
const ATTEMPTS_MAX: i64 = 100;
const ATTEMPTS_DEFAULT: i64 = 3;
/// A million dollars.
const ESTIMATE_MICROS_MAX: i64 = 1_000_000_000_000;

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
        let mut fields = Fields::of(snake_case(value), at)?;
        let key = required_line(&mut fields, "idempotency_key", KEY_CHARS_MAX);
        let product_id = name(&mut fields, "product_id", "default");
        let kind = name(&mut fields, "kind", "task");
        let priority = fields.optional("priority").unwrap_or(Priority::Normal);
        let capabilities = fields.optional::<Capabilities>("required_capabilities");
        let depends_on = fields.optional::<DependsOn>("depends_on");
        let body_md = fields.optional_by("body_md", text);
        let attempts = bounds::whole("job-attempts-invalid", 1..=ATTEMPTS_MAX);
        let max_attempts = fields.optional_by("max_attempts", attempts);
        let estimate_micros = fields.optional_by("estimate_usd", estimate);
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

struct Capabilities(Vec<String>);

impl FromInput for Capabilities {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut names: Vec<String> =
            lines(value, at, CAPABILITIES_MAX, "job-capabilities-invalid")?;
        if names.iter().map(String::len).sum::<usize>() > CAPABILITIES_BYTES_MAX {
            let detail = format_args!("at most {CAPABILITIES_BYTES_MAX} bytes together");
            at.refuse("job-capabilities-invalid", detail);
        }
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
        let value = match snake_case(value) {
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

fn name(fields: &mut Fields<'_, '_>, field: &'static str, default: &str) -> String {
    let given = fields.optional_by(field, bounds::line("job-name-invalid", 1..=CHARS_MAX));
    given.unwrap_or_else(|| default.to_owned())
}

/// Dollars in micro-dollars, up to the largest estimate.
fn estimate(value: Value, at: &mut At<'_>) -> Option<i64> {
    let most = Usd::of(ESTIMATE_MICROS_MAX);
    match Usd::from_json(&value) {
        Ok(amount) if amount <= most => Some(amount.micros),
        Ok(_) => {
            let detail = format_args!("must be at most {most}");
            at.refuse("job-estimate-invalid", detail);
            None
        }
        Err(error) => {
            at.refuse("job-estimate-invalid", error);
            None
        }
    }
}
