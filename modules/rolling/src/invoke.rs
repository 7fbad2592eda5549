//! What other modules call in process: the calls of every kind of operations (`fleetwright_operations::invoke`), done
//! with the same actions as the routes.

use fleetwright_operations::invoke::{self, Call, on_behalf_of};
use fleetwright_plugin_api::sdk::{CallError, IfMatch, Payload, Server, ServerError};
use fleetwright_plugin_api::wire::CallContext;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::create::{Created, create_from_body};
use crate::actions::{RollingError, control, read};
use crate::decide::control::Control;
use crate::http::problem::of;
use crate::{request, store, view};

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

fn check(call: &invoke::Check) -> Result<Value, RollingError> {
    let read = request::new_rolling(&call.request);
    read.map(|_new| json!({})).map_err(RollingError::Invalid)
}

async fn create(
    server: &Server,
    context: &CallContext,
    call: invoke::Create,
) -> Result<Value, RollingError> {
    if let Some(existing) = existing(server, context, call.id).await? {
        return Ok(existing);
    }
    match create_from_body(server, context, &call.request, Some(call.id)).await {
        Ok(Created::Accepted(accepted)) => Ok(json!(accepted.view)),
        Ok(Created::Planned(plan)) => Ok(json!(plan)),
        // Another replica was faster between the look and the commit.
        Err(RollingError::Server(ServerError::Constraint { .. })) => {
            let existing = existing(server, context, call.id).await?;
            existing.ok_or(RollingError::Contended)
        }
        Err(error) => Err(error),
    }
}

async fn existing(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<Option<Value>, RollingError> {
    match read::deployment(server, context.tenant.as_deref(), id).await {
        Ok(standing) => Ok(Some(json!(view::summary(&standing)))),
        Err(RollingError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn status(
    server: &Server,
    context: &CallContext,
    call: invoke::Status,
) -> Result<Value, RollingError> {
    let headers = store::headers_of(server.db(), &call.ids, context.tenant.as_deref()).await?;
    let found = read::standings(server, headers).await?;
    let operations: Vec<Value> = found
        .iter()
        .map(|standing| json!(view::summary(standing)))
        .collect();
    Ok(json!({ "operations": operations }))
}

async fn cancel(
    server: &Server,
    context: &CallContext,
    call: invoke::Cancel,
) -> Result<Value, RollingError> {
    let asked = Control::Cancel { kill: call.kill };
    let standing = control::control(server, context, call.id, IfMatch::ANY, asked).await?;
    Ok(json!(view::summary(&standing)))
}
