//! Deletes a group: its children move to its parent in the same batch.

use fleetwright_plugin_api::sdk::{
    AuditEntry, CallContext, CallError, IfMatch, Payload, ServerError,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ATTEMPTS_MAX, GROUPS_SIGNAL, GroupsError};
use crate::catalog::Catalog;
use crate::decide::{DeleteRefusal, decide_delete};
use crate::engine::Engine;
use crate::store;

/// Deletes a group nobody names any more.
pub async fn delete(
    engine: &Engine,
    context: &CallContext,
    id: Uuid,
    seen: &IfMatch,
) -> Result<(), GroupsError> {
    for _ in 0..ATTEMPTS_MAX {
        let catalog = engine.catalog().await?;
        let decided = decide_delete(&catalog, id, seen);
        let schedules = match decided {
            Ok(()) | Err(DeleteRefusal::InUse(_)) => schedules_naming(engine, context, id).await?,
            Err(DeleteRefusal::NotFound | DeleteRefusal::Stale) => Vec::new(),
        };
        refuse(&catalog, decided, schedules)?;
        match write(engine, context, &catalog, id).await {
            Ok(()) => return Ok(()),
            // Somebody else was faster: the decision may be another now.
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(GroupsError::Contended)
}

fn refuse(
    catalog: &Catalog,
    decided: Result<(), DeleteRefusal>,
    schedules: Vec<Value>,
) -> Result<(), GroupsError> {
    let users = match decided {
        Ok(()) if schedules.is_empty() => return Ok(()),
        Ok(()) => Vec::new(),
        Err(DeleteRefusal::NotFound) => return Err(GroupsError::NotFound),
        Err(DeleteRefusal::Stale) => return Err(GroupsError::Stale),
        Err(DeleteRefusal::InUse(users)) => users.into_iter().collect(),
    };
    let groups = users
        .into_iter()
        .filter_map(|id| Some((id, catalog.get(id)?.name.clone())))
        .collect();
    Err(GroupsError::InUse { groups, schedules })
}

async fn write(
    engine: &Engine,
    context: &CallContext,
    catalog: &Catalog,
    id: Uuid,
) -> Result<(), ServerError> {
    let now_us = engine.server().now_us();
    let next = catalog.generation() + 1;
    let group = catalog.get(id);
    let parent_id = group.and_then(|group| group.parent_id);
    let audit = AuditEntry {
        action: "group.delete".to_owned(),
        target_kind: "group".to_owned(),
        target_id: id.to_string(),
        detail: json!({
            "name": group.map(|group| group.name.as_str()),
            "children_moved": catalog.children(Some(id)).count(),
        }),
    };
    let batch = store::next_generation(catalog.generation())
        .sql(store::reparent(id, parent_id, now_us, next))
        .sql_expecting(store::delete(id), 1)
        .sql(store::insert_removed(id, next))
        .audit(&audit)
        .signal(GROUPS_SIGNAL);
    engine.server().db().commit(context, batch).await
}

/// The schedules whose selectors name the group, as the schedules module tells them; none where there is no such module.
async fn schedules_naming(
    engine: &Engine,
    context: &CallContext,
    id: Uuid,
) -> Result<Vec<Value>, GroupsError> {
    let asked = Payload::json(json!({ "group_id": id }));
    let call = engine.server().call();
    match call
        .invoke(context, "schedules", "naming_group", asked)
        .await
    {
        Ok(answer) => Ok(answer
            .json
            .get("schedules")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()),
        Err(CallError::Unavailable { .. } | CallError::Server(ServerError::NotFound(_))) => {
            Ok(Vec::new())
        }
        Err(CallError::Server(error)) => Err(error.into()),
        Err(CallError::Problem(problem)) => {
            Err(ServerError::Unavailable(format!("schedules: {problem}")).into())
        }
    }
}
