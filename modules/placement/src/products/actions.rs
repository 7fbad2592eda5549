//! Sets the weights of a product, and shows them.

use fleetwright_plugin_api::sdk::{
    AuditEntry, Batch, CallContext, IfMatch, Problem, Reply, Server, ServerError,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::store::{self, Registered};
use crate::claims::score::{SomeWeights, Weights};
use crate::error::{ATTEMPTS_MAX, PlacementError};

/// The weights of a product.
#[derive(Debug, Serialize, ToSchema)]
pub struct WeightsView {
    product_id: String,
    /// All four, as its jobs are scored unless a claim says otherwise.
    #[schema(value_type = Object)]
    weights: Value,
    /// Those of them that were set for it; the others are the defaults.
    #[schema(value_type = Object)]
    set: Value,
    /// 0: none was ever set.
    revision: i64,
}

/// Sets these; the others are the defaults again.
pub async fn set(
    server: &Server,
    context: &CallContext,
    product_id: &str,
    seen: &IfMatch,
    weights: SomeWeights,
) -> Result<Reply, PlacementError> {
    for _ in 0..ATTEMPTS_MAX {
        let before = store::product(server.db(), product_id).await?;
        if !seen.matches(before.revision) {
            return Err(Problem::precondition_failed().into());
        }
        let after = Registered {
            weights,
            revision: before.revision + 1,
        };
        let audit = AuditEntry {
            action: "product.weights".to_owned(),
            target_kind: "product".to_owned(),
            target_id: product_id.to_owned(),
            detail: json!({"from": before.weights.to_json(), "to": weights.to_json()}),
        };
        let reply = reply(product_id, after)?;
        let batch = Batch::new()
            .sql_expecting(store::put(product_id, after), 1)
            .audit(&audit)
            .respond(&reply);
        match server.db().commit(context, batch).await {
            Ok(()) => return Ok(reply),
            Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

/// As they are now.
pub async fn get(server: &Server, product_id: &str) -> Result<Reply, PlacementError> {
    let registered = store::product(server.db(), product_id).await?;
    reply(product_id, registered)
}

fn reply(product_id: &str, registered: Registered) -> Result<Reply, PlacementError> {
    let shown = WeightsView {
        product_id: product_id.to_owned(),
        weights: registered.weights.or(Weights::default()).to_json(),
        set: registered.weights.to_json(),
        revision: registered.revision,
    };
    let tag = format!("\"{}\"", registered.revision);
    Ok(Reply::json(200, &shown)?.with_header("etag", tag))
}
