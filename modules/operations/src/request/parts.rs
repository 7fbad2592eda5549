//! The fields that every kind's body has, as they are written and as the API document tells them, and readers for those
//! that a kind may have among its own. A field that is wrong is told and left out: the others are still held against each
//! other.

use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, bounds, from_input};
use fleetwright_plugin_api::wire::OfflinePolicy;
use fleetwright_protocol::limits::EXPIRES_IN_SECONDS_MAX;
use fleetwright_protocol::{EnvironmentValue, ExecutionOptions, HealthCheck, Operation, validate};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Room for a change ticket and a sentence; it is shown in lists.
const REASON_CHARS_MAX: usize = 500;
/// Of either field that says what the selector is expected to select.
const EXPECTATION: &str = "selection-expectation-invalid";

/// What is run.
#[derive(ToSchema)]
pub(super) struct WhatFields {
    /// One of the eight operation types.
    pub(super) operation_type: String,
    /// As the operation type says.
    #[schema(value_type = Object)]
    pub(super) parameters: Option<Value>,
}

from_input!(WhatFields {
    operation_type,
    parameters,
});

/// Where it is run, and how each host runs it.
#[derive(ToSchema)]
pub(super) struct RunFields {
    /// Resolved once; the hosts it selects now are frozen.
    #[schema(value_type = Object)]
    selector: Option<Map<String, Value>>,
    /// Sent to the hosts, which report what would change and touch nothing.
    dry_run: Option<bool>,
    working_directory: Option<String>,
    /// Texts, or `{"secret": NAME}`.
    #[schema(value_type = Option<Object>)]
    environment: Option<BTreeMap<String, EnvironmentValue>>,
    run_as: Option<String>,
    /// `{"script", "timeout_seconds", "retries", "interval_seconds", "soak_seconds"}`: a host succeeds only if this
    /// script exits with 0, run after the operation and the soak. It adds its own time to `timeout_seconds`.
    #[schema(value_type = Option<Object>)]
    health_check: Option<HealthCheck>,
}

/// Why, whether at all, and if the selection is the one that the client has seen.
#[derive(ToSchema)]
pub(super) struct AskedFields {
    /// Why, for people and for the audit log. At most 500 characters.
    #[schema(value_type = Option<String>)]
    pub(super) reason: Option<Reason>,
    /// Answer what would be created and store nothing.
    pub(super) plan_only: Option<bool>,
    /// Refuse with 409 unless the selection has this digest.
    #[schema(example = "sha256:…")]
    pub(super) expected_digest: Option<String>,
    /// Refuse with 409 unless the selection has this many hosts.
    pub(super) expected_count: Option<u64>,
}

/// Why, for people.
pub struct Reason(pub String);

impl RunFields {
    pub(super) fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            // The one that must be there.
            selector: fields.take("selector"),
            dry_run: fields.optional("dry_run"),
            working_directory: fields.optional("working_directory"),
            environment: fields.optional("environment"),
            run_as: fields.optional("run_as"),
            health_check: fields.optional_by("health_check", health_check),
        }
    }

    /// The selector, and what the hosts are told; what of that does not go with the operation is told at `at`.
    pub(super) fn checked(
        self,
        operation: Option<&Operation>,
        at: &mut At<'_>,
    ) -> (Option<Map<String, Value>>, ExecutionOptions) {
        let execution = ExecutionOptions {
            dry_run: self.dry_run.unwrap_or(false),
            working_directory: self.working_directory,
            environment: self.environment.unwrap_or_default(),
            run_as: self.run_as,
            health_check: self.health_check,
        };
        at.refuse_all(validate::options(&execution));
        if let Some(operation) = operation {
            at.refuse_all(validate::together(operation, &execution));
        }
        (self.selector, execution)
    }
}

impl AskedFields {
    pub(super) fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            reason: fields.optional("reason"),
            plan_only: fields.optional("plan_only"),
            expected_digest: fields.optional_by("expected_digest", digest),
            expected_count: fields
                .optional_by("expected_count", bounds::whole(EXPECTATION, 0..=i64::MAX)),
        }
    }
}

impl FromInput for Reason {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let text = String::from_input(value, at)?;
        if text.chars().count() > REASON_CHARS_MAX || text.chars().any(char::is_control) {
            let detail = format_args!("must be at most {REASON_CHARS_MAX} printable characters");
            at.refuse("operation-reason-invalid", detail);
        }
        Some(Self(text))
    }
}

/// How long a run may take.
pub fn timeout_seconds(value: Value, at: &mut At<'_>) -> Option<u64> {
    let seconds = bounds::integer(value, at, "operation-timeout-invalid")?;
    match validate::timeout_seconds(seconds) {
        Ok(seconds) => Some(seconds),
        Err(violation) => {
            at.refuse(&violation.code, violation.detail);
            None
        }
    }
}

/// How long a host may wait for its turn.
pub fn expires_in_seconds(value: Value, at: &mut At<'_>) -> Option<u64> {
    let range = 1..=EXPIRES_IN_SECONDS_MAX.cast_signed();
    bounds::whole("operation-expiry-invalid", range)(value, at)
}

/// What becomes of hosts that are offline.
pub fn offline(value: Value, at: &mut At<'_>) -> Option<OfflinePolicy> {
    let words = [
        ("queue", OfflinePolicy::Queue),
        ("skip", OfflinePolicy::Skip),
    ];
    bounds::word(&value, at, "operation-offline-invalid", &words)
}

fn health_check(value: Value, at: &mut At<'_>) -> Option<HealthCheck> {
    match validate::health_check(&value) {
        Ok(check) => Some(check),
        Err(found) => {
            at.refuse_all(found);
            None
        }
    }
}

fn digest(value: Value, at: &mut At<'_>) -> Option<String> {
    let text = String::from_input(value, at)?;
    let fits = text
        .strip_prefix("sha256:")
        .is_some_and(validate::sha256_hex);
    if !fits {
        let detail = "must be `sha256:` and 64 lower-case hex digits";
        at.refuse(EXPECTATION, detail);
    }
    Some(text)
}
