//! What other modules call in process: groups asks which schedules name a group before it deletes it.

use fleetwright_plugin_api::sdk::{CallError, Payload, Server, ServerError};
use fleetwright_plugin_api::wire::{BLOBS_IN_USE, BlobsAsked, BlobsInUse};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store;

/// Schedules told in one answer: enough to see what is in the way.
const NAMED_MAX: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamingCall {
    group_id: Uuid,
}

/// `naming_group {group_id}` → `{schedules: [{id, name}]}`, at most a hundred. `blobs_in_use` is the server's question.
pub async fn invoke(server: &Server, method: &str, payload: Payload) -> Result<Payload, CallError> {
    match method {
        "naming_group" => {
            let call: NamingCall = serde_json::from_value(payload.json)
                .map_err(|error| ServerError::Invalid(error.to_string()))?;
            let found = store::naming_group(server.db(), call.group_id, NAMED_MAX).await?;
            let schedules: Vec<Value> = found
                .into_iter()
                .map(|(id, name)| json!({ "id": id, "name": name }))
                .collect();
            Ok(Payload::json(json!({ "schedules": schedules })))
        }
        BLOBS_IN_USE => {
            let asked: BlobsAsked = serde_json::from_value(payload.json)
                .map_err(|error| ServerError::Invalid(error.to_string()))?;
            let in_use = store::naming_blobs(server.db(), &asked.sha256).await?;
            Ok(Payload::json(json!(BlobsInUse { in_use })))
        }
        other => Err(CallError::unknown_method(other)),
    }
}
