//! What other modules call in process: a schedule has a request looked at, creates a deployment under an id it chose,
//! reads its status, and cancels it. The same actions as the routes, with the caller's identity and without its idempotency record, which belongs to the
//! caller's own answer.

use fleetwright_plugin_api::sdk::{CallError, Host, HostError, Payload};
use fleetwright_plugin_api::wire::CallContext;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::create::{Created, create_from_body};
use crate::actions::{RollingError, control, read};
use crate::decide::control::Control;
use crate::http::problem::of;
use crate::{store, view};

/// Deployments one `status` call may ask for: a page of the API.
const IDS_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateCall {
    /// Chosen by the caller: a second call with it creates nothing and answers the first one's deployment.
    id: Uuid,
    /// The body of `POST /fleet/rolling`.
    request: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckCall {
    request: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusCall {
    ids: Vec<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelCall {
    id: Uuid,
    #[serde(default)]
    kill: bool,
}

/// `check {request}` → `{}`, or what is wrong with it but for its selector; `create {id, request}` → `{id, status, total}`; `status {ids}` → `{operations: [{id, status, …counters}]}`;
/// `cancel {id, kill}` → `{id, status}`.
pub async fn invoke(
    host: &Host,
    context: CallContext,
    method: &str,
    payload: Payload,
) -> Result<Payload, CallError> {
    let context = CallContext {
        idempotency: 0,
        ..context
    };
    let answer = match method {
        "check" => check(&read_call(payload.json)?),
        "create" => create(host, &context, read_call(payload.json)?).await,
        "status" => status(host, &context, read_call(payload.json)?).await,
        "cancel" => cancel(host, &context, read_call(payload.json)?).await,
        other => return Err(CallError::unknown_method(other)),
    };
    let json = answer.map_err(|error| CallError::Problem(of(error)))?;
    Ok(Payload::json(json))
}

fn check(call: &CheckCall) -> Result<Value, RollingError> {
    let read = crate::request::new_rolling(&call.request);
    read.map(|_new| json!({})).map_err(RollingError::Invalid)
}

async fn create(
    host: &Host,
    context: &CallContext,
    call: CreateCall,
) -> Result<Value, RollingError> {
    if let Some(existing) = existing(host, context, call.id).await? {
        return Ok(existing);
    }
    match create_from_body(host, context, &call.request, Some(call.id)).await {
        Ok(Created::Accepted(accepted)) => Ok(json!(accepted.view)),
        Ok(Created::Planned(plan)) => Ok(json!(plan)),
        // Another replica was faster between the look and the commit.
        Err(RollingError::Host(HostError::Constraint { .. })) => {
            let existing = existing(host, context, call.id).await?;
            existing.ok_or(RollingError::Contended)
        }
        Err(error) => Err(error),
    }
}

async fn existing(
    host: &Host,
    context: &CallContext,
    id: Uuid,
) -> Result<Option<Value>, RollingError> {
    match read::deployment(host, context.tenant.as_deref(), id).await {
        Ok(standing) => Ok(Some(json!(view::summary(&standing)))),
        Err(RollingError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn status(
    host: &Host,
    context: &CallContext,
    call: StatusCall,
) -> Result<Value, RollingError> {
    let ids = call.ids.get(..IDS_MAX).unwrap_or(&call.ids);
    let headers = store::headers_of(host.db(), ids, context.tenant.as_deref()).await?;
    let found = read::standings(host, headers).await?;
    let operations: Vec<Value> = found
        .iter()
        .map(|standing| json!(view::summary(standing)))
        .collect();
    Ok(json!({ "operations": operations }))
}

async fn cancel(
    host: &Host,
    context: &CallContext,
    call: CancelCall,
) -> Result<Value, RollingError> {
    let asked = Control::Cancel { kill: call.kill };
    let standing = control::control(host, context, call.id, None, asked).await?;
    Ok(json!(view::summary(&standing)))
}

fn read_call<T: serde::de::DeserializeOwned>(json: Value) -> Result<T, CallError> {
    serde_json::from_value(json).map_err(|error| HostError::Invalid(error.to_string()).into())
}
