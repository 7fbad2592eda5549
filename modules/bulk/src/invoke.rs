//! What other modules call in process: the calls of every kind of operations (`fleetwright_operations::invoke`), done
//! with the same actions as the routes.

use fleetwright_operations::invoke::{self, Call, on_behalf_of};
use fleetwright_plugin_api::sdk::{CallError, IfMatch, Payload, Server, ServerError};
use fleetwright_plugin_api::wire::CallContext;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::create::{Created, Origin, create_from_body};
use crate::actions::{BulkError, control, read};
use crate::http::problem::of;
use crate::request::{self, Cancel};
use crate::{store, view};

pub async fn invoke(
    server: &Server,
    context: CallContext,
    method: &str,
    payload: Payload,
) -> Result<Payload, CallError> {
    let context = on_behalf_of(context);
    let answer = match Call::read(method, payload)? {
        Call::Check(call) => check(&call),
        Call::Create(call) => create(server, &context, call).await,
        Call::Status(call) => status(server, &context, call).await,
        Call::Cancel(call) => cancel(server, &context, call).await,
    };
    let json = answer.map_err(|error| CallError::Problem(of(error)))?;
    Ok(Payload::json(json))
}

fn check(call: &invoke::Check) -> Result<Value, BulkError> {
    let read = request::new_bulk(&call.request);
    read.map(|_new| json!({})).map_err(BulkError::Invalid)
}

async fn create(
    server: &Server,
    context: &CallContext,
    call: invoke::Create,
) -> Result<Value, BulkError> {
    if let Some(existing) = existing(server, context, call.id).await? {
        return Ok(existing);
    }
    let origin = Origin {
        id: Some(call.id),
        ..Origin::default()
    };
    match create_from_body(server, context, &call.request, origin).await {
        Ok(Created::Accepted(accepted)) => Ok(json!(accepted.view)),
        Ok(Created::Planned(plan)) => Ok(json!(plan)),
        // Another replica was faster between the look and the commit.
        Err(BulkError::Server(ServerError::Constraint { .. })) => {
            let existing = existing(server, context, call.id).await?;
            existing.ok_or(BulkError::Contended)
        }
        Err(error) => Err(error),
    }
}

async fn existing(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<Option<Value>, BulkError> {
    match read::operation(server, context.tenant.as_deref(), id).await {
        Ok((header, set)) => Ok(Some(json!(view::summary(&header, &set)))),
        Err(BulkError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn status(
    server: &Server,
    context: &CallContext,
    call: invoke::Status,
) -> Result<Value, BulkError> {
    let headers = store::headers_of(server.db(), &call.ids, context.tenant.as_deref()).await?;
    let found = read::with_sets(server, headers).await?;
    let operations: Vec<Value> = found
        .iter()
        .map(|(header, set)| json!(view::summary(header, set)))
        .collect();
    Ok(json!({ "operations": operations }))
}

async fn cancel(
    server: &Server,
    context: &CallContext,
    call: invoke::Cancel,
) -> Result<Value, BulkError> {
    let asked = Cancel {
        kill: call.kill,
        selector: None,
    };
    let (header, set) = control::cancel(server, context, call.id, IfMatch::ANY, asked).await?;
    Ok(json!(view::summary(&header, &set)))
}
