//! Has what a schedule launches looked at by the modules that will launch it: groups reads the selector, bulk or rolling the
//! rest. Everything that is wrong is told together.

use fleetwright_operations::calls;
use fleetwright_plugin_api::sdk::{CallContext, CallError, Payload, Server, ServerError};
use fleetwright_protocol::Violation;
use serde_json::{Value, json};
use uuid::Uuid;

use super::SchedulesError;
use crate::decide::Kind;
use crate::request::{launch_body, placed};
use crate::store::Work;

/// A selector as it is kept.
pub struct KeptSelector {
    pub selector: Value,
    pub group_ids: Vec<Uuid>,
}

/// Looks at the selector and at the rest; the selector comes back with groups by id.
pub async fn look_at(
    server: &Server,
    context: &CallContext,
    kind: Kind,
    operation_type: &str,
    work: &Work,
) -> Result<KeptSelector, SchedulesError> {
    let mut found = Vec::new();
    let kept = match kept_selector(server, context, &work.selector).await {
        Ok(kept) => Some(kept),
        Err(SchedulesError::Invalid(violations)) => {
            found.extend(violations);
            None
        }
        Err(error) => return Err(error),
    };
    let request = launch_body(operation_type, work);
    match calls::check(server, context, kind.as_str(), request).await {
        Ok(()) => {}
        // It looks only when it launches.
        Err(CallError::Server(ServerError::NotFound(_))) => {}
        Err(CallError::Problem(problem)) if problem.status() == 422 => {
            found.extend(problem.into_errors().into_iter().map(placed));
        }
        Err(error) => return Err(error.into()),
    }
    match kept {
        Some(kept) if found.is_empty() => Ok(kept),
        Some(_) | None => Err(SchedulesError::Invalid(found)),
    }
}

/// What is wrong with the work of a body that is refused anyway.
pub async fn faults(server: &Server, context: &CallContext, body: &Value) -> Vec<Violation> {
    let object = |name: &str| body.get(name).filter(|value| value.is_object()).cloned();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    // Without these the body itself said what is missing.
    let (Some(selector), Some(operation_type)) = (object("selector"), text("operation_type"))
    else {
        return Vec::new();
    };
    let work = Work {
        selector,
        parameters: object("parameters").unwrap_or_else(|| json!({})),
        options: object("options").unwrap_or_else(|| json!({})),
    };
    let kind = text("kind").and_then(Kind::from_name).unwrap_or(Kind::Bulk);
    match look_at(server, context, kind, operation_type, &work).await {
        Err(SchedulesError::Invalid(found)) => found,
        Ok(_) | Err(_) => Vec::new(),
    }
}

async fn kept_selector(
    server: &Server,
    context: &CallContext,
    selector: &Value,
) -> Result<KeptSelector, SchedulesError> {
    let asked = Payload::json(json!({ "selector": selector }));
    let answer = server
        .call()
        .invoke(context, "groups", "stored", asked)
        .await;
    match answer {
        Ok(answer) => {
            let unreadable = || ServerError::Internal("groups answered another shape".to_owned());
            let group_ids = answer.json.get("group_ids").cloned().unwrap_or_default();
            Ok(KeptSelector {
                selector: answer
                    .json
                    .get("selector")
                    .cloned()
                    .ok_or_else(unreadable)?,
                group_ids: serde_json::from_value(group_ids).map_err(|_| unreadable())?,
            })
        }
        Err(CallError::Problem(problem)) if problem.status() == 422 => Err(
            SchedulesError::Invalid(problem.under("/selector").into_errors()),
        ),
        Err(CallError::Problem(problem)) => {
            Err(CallError::Problem(problem.under("/selector")).into())
        }
        Err(error) => Err(error.into()),
    }
}
