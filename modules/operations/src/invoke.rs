//! What other modules call of a module that runs operations, and how the calls are written: a schedule has a request
//! looked at, creates an operation under an id it chose, reads its status, and cancels it. What the calls do is each
//! module's.

use fleetwright_plugin_api::sdk::{CallError, Payload, ServerError};
use fleetwright_plugin_api::wire::CallContext;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

/// Operations one `status` call may ask for: a page of the API.
const IDS_MAX: usize = 500;

/// `check {request}` → `{}`, or what is wrong with it but for its selector; `create {id, request}` → `{id, status, total}`;
/// `status {ids}` → `{operations: [{id, status, …counters}]}`; `cancel {id, kill}` → `{id, status}`.
pub enum Call {
    Check(Check),
    Create(Create),
    Status(Status),
    Cancel(Cancel),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The body of the route that creates an operation.
    pub request: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Chosen by the caller: a second call with it creates nothing and answers the first one's operation.
    pub id: Uuid,
    /// The body of the route that creates one.
    pub request: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// At most 500; what is more is left out.
    pub ids: Vec<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    pub id: Uuid,
    #[serde(default)]
    pub kill: bool,
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

/// As the caller, but without its idempotency record, which belongs to the caller's own answer.
pub fn on_behalf_of(context: CallContext) -> CallContext {
    CallContext {
        idempotency: 0,
        ..context
    }
}

fn of<T: DeserializeOwned>(json: Value) -> Result<T, CallError> {
    serde_json::from_value(json).map_err(|error| ServerError::Invalid(error.to_string()).into())
}
