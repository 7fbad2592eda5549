//! One operation, and how far it is.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fleetwright_plugin_api::sdk::{Caller, IfNoneMatch, PathId, Problem, Server, concealed};
use serde_json::json;
use uuid::Uuid;

use crate::kind::{Kind, problem};
use crate::read;

/// One operation with its counters and what was asked; of its texts viewers see sizes and digests.
pub async fn get<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfNoneMatch,
) -> Result<Response, Problem> {
    let found = read::detail::<K>(&server, context.tenant.as_deref(), id).await;
    let (loaded, asked) = found.map_err(problem::<K>)?;
    Ok(seen.reply(loaded.revision(), || {
        concealed::for_reader(&context.role, json!(K::detail(&loaded, asked)))
    }))
}

/// How far it is.
pub async fn progress<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Json<K::Progress>, Problem> {
    let found = read::operation::<K>(&server, context.tenant.as_deref(), id).await;
    let loaded = found.map_err(problem::<K>)?;
    Ok(Json(K::progress(&loaded)))
}
