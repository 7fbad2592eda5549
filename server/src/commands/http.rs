//! `/hosts/{id}/commands` and `/commands`: one operation on one host, its history, output and cancellation.

mod follow;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fleetwright_plugin_api::wire::CommandView;
use fleetwright_protocol::limits::{EXPIRES_IN_SECONDS_DEFAULT, TIMEOUT_SECONDS_DEFAULT};
use fleetwright_protocol::{CommandId, EnvironmentValue, ExecutionOptions, HostId, validate};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::actions::{self, CommandError, NewCommand};
use super::view::{self, CommandBody, OutputBody};
use crate::app::AppState;
use crate::app::rights::end_of_stream;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::db::DbError;
use crate::http::created::Created;
use crate::http::{
    At, FromInput, JsonBody, ListQuery, OptionalJsonBody, Page, PageParameters, PathId, Problem,
    StrictQuery, from_input, one_of,
};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_commands, run_command))
        .routes(routes!(get_command))
        .routes(routes!(get_output))
        .routes(routes!(cancel_command))
}

#[derive(Debug, ToSchema)]
struct RunCommand {
    /// One of the eight operation types.
    operation_type: String,
    /// Depends on the type.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Say what would change and touch nothing.
    dry_run: Option<bool>,
    working_directory: Option<String>,
    /// Texts, or `{"secret": NAME}`.
    #[schema(value_type = Option<Object>)]
    environment: Option<BTreeMap<String, EnvironmentValue>>,
    run_as: Option<String>,
    /// `{"script", "timeout_seconds", "retries", "interval_seconds", "soak_seconds"}`: the host succeeds only if this
    /// script exits with 0, run after the operation and the soak.
    #[schema(value_type = Option<Object>)]
    health_check: Option<Value>,
    /// How long it may run; default 3600. A health check adds its own time.
    #[schema(value_type = Option<u64>)]
    timeout_seconds: Option<Number>,
    /// How long it may wait for its host; default a day.
    #[schema(value_type = Option<u64>)]
    expires_in_seconds: Option<Number>,
    /// Why, for the audit log.
    reason: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct OutputQuery {
    /// Leave out this many bytes at the beginning of each stream.
    offset: Option<u64>,
    /// Answer Server-Sent Events: live output while the command runs, then its end.
    follow: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WhatRuns {
    Finish,
    #[default]
    Kill,
}

#[derive(Debug, ToSchema)]
struct CancelCommand {
    /// What to do if it has started; default `kill`.
    running: Option<WhatRuns>,
}

from_input!(RunCommand {
    operation_type,
    parameters,
    dry_run,
    working_directory,
    environment,
    run_as,
    health_check,
    timeout_seconds,
    expires_in_seconds,
    reason,
});
from_input!(OutputQuery { offset, follow });
from_input!(CancelCommand { running });

impl FromInput for WhatRuns {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        one_of(
            &value,
            at,
            &[("finish", Self::Finish), ("kill", Self::Kill)],
        )
    }
}

/// Runs one operation on one host. Answers when it is stored, not when it has run.
#[utoipa::path(post, path = "/hosts/{id}/commands", tag = "commands", params(("id" = Uuid, Path)),
    request_body = RunCommand, responses((status = CREATED, body = CommandBody)))]
async fn run_command(
    State(app): State<AppState>,
    caller: Caller,
    PathId(host_id): PathId<HostId>,
    JsonBody(body): JsonBody<RunCommand>,
) -> Result<Response, Problem> {
    let new = new_command(body)?;
    let claim = caller.idempotency.clone();
    let clock = app.clock.clone();
    let context = AuditContext::from(&caller);
    let stored = actions::run_on_host(&app.commands, context, host_id, new, move |tx, view| {
        created(view.clone())?.keep(tx, clock.lease_us(), claim.as_ref())
    })
    .await?;
    Ok(created(stored)?.into_response())
}

/// A host's commands, newest first, those of bulk operations included.
#[utoipa::path(get, path = "/hosts/{id}/commands", tag = "commands", params(("id" = Uuid, Path), PageParameters),
    responses((status = OK, body = Page<CommandBody>)))]
async fn list_commands(
    State(app): State<AppState>,
    PathId(host_id): PathId<HostId>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Page<CommandBody>>, Problem> {
    if !app.hosts.registry().contains(host_id) {
        return Err(Problem::not_found("host"));
    }
    let before = paging.after()?;
    let rows = app
        .commands
        .of_host(host_id, before, paging.limit() + 1)
        .await?;
    let body = |view| view::command(view, None);
    Ok(Json(paging.page(rows, |view| view.id, body)))
}

/// One command with its operation and result.
#[utoipa::path(get, path = "/commands/{id}", tag = "commands", params(("id" = Uuid, Path)),
    responses((status = OK, body = CommandBody)))]
async fn get_command(
    State(app): State<AppState>,
    PathId(id): PathId<CommandId>,
) -> Result<Json<CommandBody>, Problem> {
    let found = app
        .commands
        .get(id)
        .await?
        .ok_or_else(|| Problem::not_found("command"))?;
    let operation = app.commands.operation(found.set_id).await?;
    Ok(Json(view::command(found, operation)))
}

/// The whole stored output, or with `follow` the live one.
#[utoipa::path(get, path = "/commands/{id}/output", tag = "commands", params(("id" = Uuid, Path), OutputQuery),
    responses((status = OK, body = OutputBody)))]
async fn get_output(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<CommandId>,
    headers: HeaderMap,
    StrictQuery(query): StrictQuery<OutputQuery>,
) -> Result<Response, Problem> {
    if app.commands.get(id).await?.is_none() {
        return Err(Problem::not_found("command"));
    }
    if query.follow == Some(true) {
        let end = end_of_stream(&app, &headers, caller.principal);
        return Ok(follow::events(app.commands.clone(), id, end).into_response());
    }
    let stored = app.commands.output(id).await?.unwrap_or_default();
    Ok(Json(view::output(id.0, &stored, query.offset.unwrap_or(0))).into_response())
}

/// Cancels one command. One that has been delivered stays `queued` until its agent has said that it did not start.
#[utoipa::path(post, path = "/commands/{id}/cancel", tag = "commands", params(("id" = Uuid, Path)),
    request_body = CancelCommand, responses((status = OK, body = CommandBody)))]
async fn cancel_command(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<CommandId>,
    OptionalJsonBody(body): OptionalJsonBody<CancelCommand>,
) -> Result<Json<CommandBody>, Problem> {
    let kill = body.running.unwrap_or_default() == WhatRuns::Kill;
    let stored = actions::cancel(&app.commands, AuditContext::from(&caller), id, kill).await?;
    Ok(Json(view::command(stored, None)))
}

fn created(stored: CommandView) -> Result<Created, DbError> {
    let location = format!("/api/v1/commands/{}", stored.id);
    Created::at(location, &view::command(stored, None))
}

/// What a set cannot hold is checked here (a negative time limit, a health check of another shape); everything else
/// where the set is made.
fn new_command(body: RunCommand) -> Result<NewCommand, Problem> {
    // What is no whole number is out of range, as what is too large.
    let whole = |number: Number| number.as_i64().unwrap_or(i64::MAX);
    let parameters = body.parameters.unwrap_or_else(|| Map::new().into());
    let check = body.health_check.as_ref().map(validate::health_check);
    let (health_check, mut found) = match check.transpose() {
        Ok(check) => (check, Vec::new()),
        Err(found) => (None, found),
    };
    for violation in &mut found {
        violation.pointer.insert_str(0, "/health_check");
    }
    let options = ExecutionOptions {
        dry_run: body.dry_run.unwrap_or(false),
        working_directory: body.working_directory,
        environment: body.environment.unwrap_or_default(),
        run_as: body.run_as,
        health_check,
    };
    let timeout = body
        .timeout_seconds
        .map(|number| validate::timeout_seconds(whole(number)));
    let timeout_seconds = match timeout.transpose() {
        Ok(seconds) => seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT),
        Err(violation) => {
            found.push(violation);
            0
        }
    };
    if !found.is_empty() {
        found.extend(validate::options(&options));
        if let Err(more) = validate::operation(&body.operation_type, &parameters) {
            found.extend(more);
        }
        return Err(Problem::invalid(found));
    }
    // A negative number fails the set's own check, as 0 does.
    let expires_in_seconds = body
        .expires_in_seconds
        .map_or(EXPIRES_IN_SECONDS_DEFAULT, |number| {
            u64::try_from(whole(number)).unwrap_or(0)
        });
    Ok(NewCommand {
        operation_type: body.operation_type,
        parameters,
        options,
        timeout_seconds,
        expires_in_seconds,
        reason: body.reason,
    })
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::HostNotFound => Self::not_found("host"),
            CommandError::NotFound => Self::not_found("command"),
            CommandError::HostNotApproved => Self::conflict(
                "host-not-approved",
                "The host is not approved; approve it first.",
            ),
            CommandError::Ended(status) => {
                Self::invalid_transition(format!("The command has already ended as {status}."))
            }
            CommandError::Invalid(violations) => Self::invalid(violations),
            CommandError::Forbidden(why) => Self::forbidden(why),
            CommandError::Db(error) => error.into(),
        }
    }
}
