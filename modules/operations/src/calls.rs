//! How modules that run operations are called in process, written and read in one place: the four calls, and what of their
//! answers a caller looks at. Every kind answers them (`invoke`).

use fleetwright_plugin_api::sdk::{CallError, Payload, Server, ServerError};
use fleetwright_plugin_api::wire::CallContext;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::status::OperationStatus;

/// Operations one `status` call may ask for: a page of the API.
pub const IDS_MAX: usize = 500;

/// A call as it is answered.
pub enum Call {
    Check(Check),
    Create(Create),
    Status(Status),
    Cancel(Cancel),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The body of the route that creates an operation.
    pub request: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Chosen by the caller: a second call with it creates nothing and answers the first one's operation.
    pub id: Uuid,
    /// The body of the route that creates one.
    pub request: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// At most 500; what is more is left out.
    pub ids: Vec<Uuid>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    pub id: Uuid,
    #[serde(default)]
    pub kill: bool,
}

/// What a caller looks at of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Known {
    pub id: Uuid,
    pub status: OperationStatus,
}

#[derive(Deserialize)]
struct Statuses {
    operations: Vec<Known>,
}

impl Call {
    pub fn read(method: &str, payload: Payload) -> Result<Self, CallError> {
        match method {
            "check" => Ok(Self::Check(of(payload.json)?)),
            "create" => Ok(Self::Create(of(payload.json)?)),
            "status" => {
                let mut status: Status = of(payload.json)?;
                status.ids.truncate(IDS_MAX);
                Ok(Self::Status(status))
            }
            "cancel" => Ok(Self::Cancel(of(payload.json)?)),
            other => Err(CallError::unknown_method(other)),
        }
    }
}

/// Has a request looked at, but for its selector.
pub async fn check(
    server: &Server,
    context: &CallContext,
    module: &str,
    request: Value,
) -> Result<(), CallError> {
    let _empty = call(server, context, module, "check", &Check { request }).await?;
    Ok(())
}

/// Creates an operation, or finds the one that has its id; gives its status, unless the request was for a plan.
pub async fn create(
    server: &Server,
    context: &CallContext,
    module: &str,
    asked: &Create,
) -> Result<Option<OperationStatus>, CallError> {
    let answer = call(server, context, module, "create", asked).await?;
    let status = answer.get("status").and_then(Value::as_str);
    Ok(status.and_then(OperationStatus::from_name))
}

/// Those of the operations that are there, at most 500.
pub async fn statuses(
    server: &Server,
    context: &CallContext,
    module: &str,
    ids: &[Uuid],
) -> Result<Vec<Known>, CallError> {
    let asked = Status { ids: ids.to_vec() };
    let answer = call(server, context, module, "status", &asked).await?;
    let found: Statuses = serde_json::from_value(answer).map_err(|error| {
        ServerError::Internal(format!("{module} answered another shape: {error}"))
    })?;
    Ok(found.operations)
}

/// Cancels an operation; what runs finishes.
pub async fn cancel(
    server: &Server,
    context: &CallContext,
    module: &str,
    id: Uuid,
) -> Result<(), CallError> {
    let asked = Cancel { id, kill: false };
    let _summary = call(server, context, module, "cancel", &asked).await?;
    Ok(())
}

async fn call<T: Serialize>(
    server: &Server,
    context: &CallContext,
    module: &str,
    method: &str,
    asked: &T,
) -> Result<Value, CallError> {
    let payload = Payload::json(json!(asked));
    let answer = server.call().invoke(context, module, method, payload);
    Ok(answer.await?.json)
}

fn of<T: DeserializeOwned>(json: Value) -> Result<T, CallError> {
    serde_json::from_value(json).map_err(|error| ServerError::Invalid(error.to_string()).into())
}
