//! What other modules call of a module that runs operations, answered with the same actions as the routes: a schedule has a
//! request looked at, creates an operation under an id it chose, reads its status, and cancels it. How the calls are
//! written, and the caller's side, is in `calls`.

use fleetwright_plugin_api::sdk::{CallError, IfMatch, Payload, Server, ServerError};
use fleetwright_plugin_api::wire::{BLOBS_IN_USE, BlobsAsked, BlobsInUse, CallContext};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::calls::{Call, Cancel, Create, Status};
use crate::control::control;
use crate::create;
use crate::error::OperationError;
use crate::kind::{Kind, problem};
use crate::{read, store};

/// `check {request}` → `{}`, or what is wrong with it but for its selector; `create {id, request}` → `{id, status, total}`;
/// `blobs_in_use` is the server's question; `status {ids}` → `{operations: [{id, status, …counters}]}`; `cancel {id, kill}` → `{id, status}`.
pub async fn invoke<K: Kind>(
    server: &Server,
    context: CallContext,
    method: &str,
    payload: Payload,
) -> Result<Payload, CallError> {
    if method == BLOBS_IN_USE {
        return blobs_in_use::<K>(server, payload).await;
    }
    // As the caller, but without its idempotency record, which belongs to the caller's own answer.
    let context = CallContext {
        idempotency: 0,
        ..context
    };
    let answer = match Call::read(method, payload)? {
        Call::Check(call) => K::read_request(call.request)
            .map(|_new| json!({}))
            .map_err(OperationError::Unreadable),
        Call::Create(call) => create::<K>(server, &context, call).await,
        Call::Status(call) => status::<K>(server, &context, call).await,
        Call::Cancel(call) => cancel::<K>(server, &context, call).await,
    };
    let json = answer.map_err(|error| CallError::Problem(problem::<K>(error)))?;
    Ok(Payload::json(json))
}

/// What is delivered is a command set's, which the server knows itself; a kind may keep what it would send later.
async fn blobs_in_use<K: Kind>(server: &Server, payload: Payload) -> Result<Payload, CallError> {
    let asked: BlobsAsked = serde_json::from_value(payload.json)
        .map_err(|error| ServerError::Invalid(error.to_string()))?;
    let in_use = store::kept_for_later::<K>(server.db(), &asked.sha256).await?;
    Ok(Payload::json(json!(BlobsInUse { in_use })))
}

async fn create<K: Kind>(
    server: &Server,
    context: &CallContext,
    call: Create,
) -> Result<Value, OperationError> {
    if let Some(existing) = existing::<K>(server, context, call.id).await? {
        return Ok(existing);
    }
    match create::from_body::<K>(server, context, call.request, Some(call.id)).await {
        Ok(created) => Ok(created.to_json()),
        // Another replica was faster between the look and the commit.
        Err(OperationError::Server(ServerError::Constraint { .. })) => {
            let existing = existing::<K>(server, context, call.id).await?;
            existing.ok_or(OperationError::Contended)
        }
        Err(error) => Err(error),
    }
}

async fn existing<K: Kind>(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<Option<Value>, OperationError> {
    match read::operation::<K>(server, context.tenant.as_deref(), id).await {
        Ok(loaded) => Ok(Some(json!(K::summary(&loaded)))),
        Err(OperationError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn status<K: Kind>(
    server: &Server,
    context: &CallContext,
    call: Status,
) -> Result<Value, OperationError> {
    let tenant = context.tenant.as_deref();
    let headers = store::headers_of::<K>(server.db(), &call.ids, tenant).await?;
    let found = read::with_sets(server, headers).await?;
    let operations: Vec<K::Summary> = found.iter().map(K::summary).collect();
    Ok(json!({ "operations": operations }))
}

async fn cancel<K: Kind>(
    server: &Server,
    context: &CallContext,
    call: Cancel,
) -> Result<Value, OperationError> {
    let asked = K::cancel(call.kill);
    let loaded = control::<K>(server, context, call.id, IfMatch::ANY, &asked).await?;
    Ok(json!(K::summary(&loaded)))
}
