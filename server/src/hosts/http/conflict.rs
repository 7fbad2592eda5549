//! Two machines with one identity, as an operator sees them, and `POST /hosts/{id}/unlock`: which of them is the host.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use fleetwright_protocol::{HostId, Violation};
use http::header;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::hosts::host::Host;
use crate::hosts::sessions::Keep;
use crate::hosts::view::{self, HostView};
use crate::hosts::{Hosts, conflicts, store};
use crate::http::etag;
use crate::http::{JsonBody, PathId, Problem, from_input};

#[derive(Debug, ToSchema)]
pub(super) struct UnlockHost {
    /// `earlier` or `later`, as `conflict` of the host names them: the machine that stays this host. The other one is
    /// refused from now on, and enrolls anew. Required if the host was locked because two machines were met.
    keep: Option<String>,
}

from_input!(UnlockHost { keep });

/// Ends a lock, and says which of two machines is the host; with the other one, changes that.
#[utoipa::path(post, path = "/hosts/{id}/unlock", tag = "hosts", params(("id" = uuid::Uuid, Path)),
    request_body = UnlockHost, responses((status = OK, body = HostView)))]
pub(super) async fn unlock_host(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
    JsonBody(body): JsonBody<UnlockHost>,
) -> Result<Response, Problem> {
    let keep = match body.keep.as_deref() {
        None => None,
        Some("earlier") => Some(Keep::Earlier),
        Some("later") => Some(Keep::Later),
        Some(_) => {
            let found = Violation::new("/keep", "invalid-field", "must be earlier or later");
            return Err(Problem::invalid(vec![found]));
        }
    };
    let context = AuditContext::from(&caller);
    let host = conflicts::unlock(&app.hosts, context, id, keep).await?;
    shown(&app.hosts, host).await
}

/// A host with the last time that two machines were met with its identity.
pub(super) async fn shown(hosts: &Hosts, host: Host) -> Result<Response, Problem> {
    let found = store::sessions::standing(hosts.db(), host.id).await?;
    let tag = etag::of(host.revision);
    let mut view = view::single(hosts, host);
    view.conflict = found
        .and_then(|found| found.standing.conflict)
        .map(view::conflict);
    Ok(([(header::ETAG, tag)], Json(view)).into_response())
}
