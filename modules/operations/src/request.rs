//! The parts that requests for operations over many hosts have in common: what is run, where, within which limits, and
//! why. Pure: each part reads its fields and reports every violation. The selector is only known to be an object here:
//! the groups module reads it.

use fleetwright_plugin_api::wire::OfflinePolicy;
use fleetwright_protocol::limits::{
    EXPIRES_IN_SECONDS_MAX, OPERATION_BYTES_MAX, TIMEOUT_SECONDS_DEFAULT,
};
use fleetwright_protocol::{ExecutionOptions, HealthCheck, Operation, Violation, validate};
use serde_json::{Map, Value};

use crate::fields::{Fields, MISTYPED};
use crate::selection::Expected;

/// Room for a change ticket and a sentence; it is shown in lists.
const REASON_CHARS_MAX: usize = 500;

/// What is run, as the client sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct What {
    pub operation: Operation,
    /// As the client sent them.
    pub parameters: Value,
}

impl What {
    pub fn operation_type(&self) -> String {
        self.operation.operation_type().as_str().to_owned()
    }
}

/// A valid request for a new operation, but for its selector; with what a kind's own fields say.
#[derive(Clone, Debug, PartialEq)]
pub struct NewOperation<F> {
    pub what: What,
    /// What the hosts are told. May be as large as an operation: the environment is in it.
    pub execution: ExecutionOptions,
    pub own: F,
    pub reason: Option<String>,
    pub plan_only: bool,
    pub selector: Value,
    pub expected: Expected,
}

/// Reads the body of a new operation. `own` reads the kind's fields; it is given whether the hosts are told a dry run.
pub fn new_operation<F>(
    body: &Value,
    own: impl FnOnce(&mut Fields<'_>, bool) -> Option<F>,
) -> Result<NewOperation<F>, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let what = what(&mut fields);
    let selector = required_selector(&mut fields);
    let execution = execution(&mut fields, what.as_ref());
    let own = own(&mut fields, execution.dry_run);
    let reason = reason(&mut fields);
    let plan_only = fields.flag("plan_only");
    let expected = expected(&mut fields);
    fields.finish()?;
    match (what, selector, own) {
        (Some(what), Some(selector), Some(own)) => Ok(NewOperation {
            what,
            execution,
            own,
            reason,
            plan_only,
            selector,
            expected,
        }),
        // Whatever is missing was reported above, so `finish` has returned.
        _incomplete => Err(Vec::new()),
    }
}

/// The operation of `operation_type` and `parameters`.
pub fn what(fields: &mut Fields<'_>) -> Option<What> {
    let operation_type = fields.required_text("operation_type");
    let parameters = fields
        .value("parameters")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let operation = operation(fields, operation_type?, &parameters)?;
    Some(What {
        operation,
        parameters,
    })
}

/// A selector that must be there.
fn required_selector(fields: &mut Fields<'_>) -> Option<Value> {
    let selector = selector(fields);
    if selector.is_none() && !fields.has("selector") {
        fields.missing("selector");
    }
    selector
}

/// A selector, if there is one.
pub fn selector(fields: &mut Fields<'_>) -> Option<Value> {
    let value = fields.value("selector")?;
    if !value.is_object() {
        fields.refuse("selector", MISTYPED, "must be an object");
    }
    Some(value.clone())
}

/// The selector of a body that is otherwise wrong, so that its own faults can be reported with the rest.
pub fn selector_of(body: &Value) -> Option<&Value> {
    body.get("selector").filter(|selector| selector.is_object())
}

/// How each host runs it, and what of that does not go with the operation.
fn execution(fields: &mut Fields<'_>, what: Option<&What>) -> ExecutionOptions {
    let execution = ExecutionOptions {
        dry_run: fields.flag("dry_run"),
        working_directory: fields.text("working_directory").map(str::to_owned),
        environment: fields.texts_by_name("environment"),
        run_as: fields.text("run_as").map(str::to_owned),
        health_check: health_check(fields),
    };
    fields.refuse_all(validate::options(&execution));
    if let Some(what) = what {
        fields.refuse_all(validate::together(&what.operation, &execution));
    }
    execution
}

/// How long a run may take; none if that was said wrongly.
pub fn timeout_seconds(fields: &mut Fields<'_>) -> Option<u64> {
    let Some(seconds) = fields.integer("timeout_seconds", "operation-timeout-invalid") else {
        return Some(TIMEOUT_SECONDS_DEFAULT);
    };
    match validate::timeout_seconds(seconds) {
        Ok(seconds) => Some(seconds),
        Err(violation) => {
            fields.refuse_all(vec![violation]);
            None
        }
    }
}

/// How long a host may wait for its turn.
pub fn expires_in_seconds(fields: &mut Fields<'_>) -> Option<u64> {
    let expires_max = i64::try_from(EXPIRES_IN_SECONDS_MAX).unwrap_or(i64::MAX);
    fields.number(
        "expires_in_seconds",
        "operation-expiry-invalid",
        1..=expires_max,
    )
}

pub fn offline(fields: &mut Fields<'_>) -> OfflinePolicy {
    let offline = fields.word("offline", "operation-offline-invalid", &["queue", "skip"]);
    if offline == Some("skip") {
        OfflinePolicy::Skip
    } else {
        OfflinePolicy::Queue
    }
}

/// Why, for people.
pub fn reason(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("reason")?;
    if text.chars().count() > REASON_CHARS_MAX || text.chars().any(char::is_control) {
        let detail = format!("must be at most {REASON_CHARS_MAX} printable characters");
        fields.refuse("reason", "operation-reason-invalid", &detail);
    }
    Some(text.to_owned())
}

/// What the client expects its selector to select.
fn expected(fields: &mut Fields<'_>) -> Expected {
    Expected {
        digest: expected_digest(fields),
        count: fields.number(
            "expected_count",
            "selection-expectation-invalid",
            0..=i64::MAX,
        ),
    }
}

fn operation(fields: &mut Fields<'_>, kind: &str, parameters: &Value) -> Option<Operation> {
    match validate::operation(kind, parameters) {
        Ok(operation) => {
            let bytes = serde_json::to_vec(&operation).map_or(usize::MAX, |bytes| bytes.len());
            if bytes > OPERATION_BYTES_MAX {
                let detail = format!(
                    "the operation is {bytes} bytes, at most {OPERATION_BYTES_MAX} fit; use a blob"
                );
                fields.refuse("parameters", "operation-too-large", &detail);
            }
            Some(operation)
        }
        Err(found) => {
            fields.refuse_all(found);
            None
        }
    }
}

fn health_check(fields: &mut Fields<'_>) -> Option<HealthCheck> {
    match validate::health_check(fields.value("health_check")?) {
        Ok(check) => Some(check),
        Err(found) => {
            let found = found.into_iter();
            fields.refuse_all(found.map(|one| one.under("/health_check")).collect());
            None
        }
    }
}

fn expected_digest(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("expected_digest")?;
    let fits = text
        .strip_prefix("sha256:")
        .is_some_and(validate::sha256_hex);
    if !fits {
        let detail = "must be `sha256:` and 64 lower-case hex digits";
        fields.refuse("expected_digest", "selection-expectation-invalid", detail);
    }
    Some(text.to_owned())
}
