//! The routes every kind of operation has, generic in the kind: the list, one, its progress, hosts, output and events; and
//! what the kind's own routes need. Licence, roles, body limits and idempotent replays are the server's; none of them is
//! looked at here.

mod created;
pub mod document;
pub mod events;
pub mod hosts;
pub mod list;
pub mod one;

pub use document::document;

use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use fleetwright_plugin_api::sdk::{IfMatch, Problem, Server, etag};
use fleetwright_plugin_api::wire::CallContext;
use uuid::Uuid;

use crate::control::control;
use crate::kind::{Kind, problem};

/// The shared routes of a kind at their full paths, and those the kind adds: paths below `/api/v1/fleet/<module>`.
pub fn routes<K: Kind>(
    server: Server,
    own: impl FnOnce(Router<Server>, &str) -> Router<Server>,
) -> Router {
    let base = format!("/api/v1/fleet/{}", K::NAMES.module);
    let output = if K::HAS_ROLLBACK {
        get(hosts::output_of_either::<K>)
    } else {
        get(hosts::output::<K>)
    };
    let shared = Router::new()
        .route(&base, get(list::list::<K>))
        .route(&format!("{base}/{{id}}"), get(one::get::<K>))
        .route(&format!("{base}/{{id}}/progress"), get(one::progress::<K>))
        .route(&format!("{base}/{{id}}/hosts"), get(hosts::hosts::<K>))
        .route(&format!("{base}/{{id}}/hosts/{{host_id}}/output"), output)
        .route(&format!("{base}/{{id}}/events"), get(events::events::<K>));
    own(shared, &base)
        // The server has limited the body already, and more generously: a selector may name 100,000 hosts.
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}

/// Applies a control and answers the summary as it is then.
pub async fn controlled<K: Kind>(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: IfMatch,
    asked: K::Control,
) -> Result<Response, Problem> {
    let loaded = control::<K>(server, context, id, seen, &asked).await;
    let loaded = loaded.map_err(problem::<K>)?;
    let tag = [(header::ETAG, etag::of(loaded.revision()))];
    Ok((tag, Json(K::summary(&loaded))).into_response())
}
