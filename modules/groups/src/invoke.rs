//! What other modules call in process: a selector is resolved to raw ids, or brought into the form in which it is stored.

use fleetwright_plugin_api::sdk::{CallError, Payload, ServerError};
use fleetwright_plugin_api::wire::{BLOBS_IN_USE, BlobsInUse};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::select::{Expected, select_expected, stored_form};
use crate::catalog::referenced_ids;
use crate::engine::Engine;
use crate::http::problem::of;
use crate::store::raw_ids;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectCall {
    selector: Value,
    #[serde(default)]
    expected_digest: Option<String>,
    #[serde(default)]
    expected_count: Option<u64>,
    #[serde(default)]
    order: Order,
}

/// The order of the ids. The digest is that of the sorted ones in any case.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Id,
    /// Online before offline, then by fully qualified name, then by id.
    OnlineThenName,
}

/// `select {selector, expected_digest?, expected_count?, order?}` → `{count, digest, unknown_host_ids}` and, beside it, the
/// ids as raw bytes, sorted or in the order asked for. `stored {selector}` → `{selector, group_ids}`: in canonical form,
/// with groups by id. Pointers of problems are relative to the selector.
pub async fn invoke(engine: &Engine, method: &str, payload: Payload) -> Result<Payload, CallError> {
    match method {
        "select" => select(engine, payload.json).await,
        "stored" => stored(engine, payload.json).await,
        // Groups name hosts, and no content.
        BLOBS_IN_USE => Ok(Payload::json(json!(BlobsInUse::default()))),
        other => Err(CallError::unknown_method(other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCall {
    selector: Value,
}

async fn stored(engine: &Engine, json: Value) -> Result<Payload, CallError> {
    let call: StoredCall =
        serde_json::from_value(json).map_err(|error| ServerError::Invalid(error.to_string()))?;
    let selector = stored_form(engine, &call.selector).await;
    let selector = selector.map_err(|error| CallError::Problem(of(error)))?;
    Ok(Payload::json(json!({
        "selector": selector.to_json(),
        "group_ids": referenced_ids(&selector),
    })))
}

async fn select(engine: &Engine, json: Value) -> Result<Payload, CallError> {
    let call: SelectCall =
        serde_json::from_value(json).map_err(|error| ServerError::Invalid(error.to_string()))?;
    let expected = Expected {
        digest: call.expected_digest,
        count: call.expected_count,
    };
    let selected = select_expected(engine, &call.selector, &expected).await;
    let selection = selected
        .map_err(|error| CallError::Problem(of(error)))?
        .selection;
    Ok(Payload {
        json: json!({
            "count": selection.count,
            "digest": selection.digest,
            "unknown_host_ids": selection.unknown_host_ids,
        }),
        blob: raw_ids(&ordered(engine, selection.host_ids, call.order)),
    })
}

fn ordered(engine: &Engine, mut ids: Vec<Uuid>, order: Order) -> Vec<Uuid> {
    match order {
        Order::Id => ids,
        Order::OnlineThenName => {
            engine.sort_online_then_name(&mut ids);
            ids
        }
    }
}
