//! Pause, resume, cancel. `If-Match` makes each conditional on the state the client has seen.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fleetwright_plugin_api::sdk::{Caller, Host, PathId, Problem};
use fleetwright_plugin_api::wire::SetView;
use uuid::Uuid;

use crate::actions::BulkError;
use crate::actions::control::{self, SeenRevisions};
use crate::http::create::optional_body;
use crate::http::problem::of;
use crate::request;
use crate::store::Header;
use crate::view;

/// Start nothing more. Hosts that run finish, or are ended with `kill`; hosts that wait are skipped as `cancelled`.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/cancel", tag = "bulk",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::CancelRequest,
    responses(
        (status = 200, description = "Cancelled, or being cancelled already", body = crate::view::BulkSummary),
        (status = 404, description = "No such operation"),
        (status = 409, description = "`invalid-transition`: it is finished"),
        (status = 412, description = "It changed since it was read"),
        (status = 422, description = "The body is invalid, or the selector selects nothing")
    )
)]
pub async fn cancel(
    State(host): State<Host>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let body = optional_body(request).await?;
    let asked = request::cancel(&body).map_err(|found| of(BulkError::Invalid(found)))?;
    let seen = seen_revisions(&headers);
    let changed = control::cancel(&host, &context, id, seen, asked).await;
    Ok(answer(changed.map_err(of)?))
}

/// Start nothing more until resumed. Pausing a paused operation changes nothing.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/pause", tag = "bulk",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "Paused", body = crate::view::BulkSummary),
        (status = 404, description = "No such operation"),
        (status = 409, description = "`invalid-transition`: it is finished or being cancelled"),
        (status = 412, description = "It changed since it was read")
    )
)]
pub async fn pause(
    State(host): State<Host>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = seen_revisions(&headers);
    let changed = control::pause(&host, &context, id, seen).await;
    Ok(answer(changed.map_err(of)?))
}

/// Go on with a paused operation.
#[utoipa::path(
    post, path = "/fleet/bulk/{id}/resume", tag = "bulk",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "Resumed", body = crate::view::BulkSummary),
        (status = 404, description = "No such operation"),
        (status = 409, description = "`invalid-transition`: it is not paused"),
        (status = 412, description = "It changed since it was read")
    )
)]
pub async fn resume(
    State(host): State<Host>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = seen_revisions(&headers);
    let changed = control::resume(&host, &context, id, seen).await;
    Ok(answer(changed.map_err(of)?))
}

/// The entity tag of an operation: its set's revision.
pub(super) fn etag(set: &SetView) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", set.revision))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn answer((header, set): (Header, SetView)) -> Response {
    let tag = [(header::ETAG, etag(&set))];
    (tag, Json(view::summary(&header, &set))).into_response()
}

/// The revisions in `If-Match`; none without it or with `*`. A tag that was never ours matches nothing.
fn seen_revisions(headers: &HeaderMap) -> SeenRevisions {
    if !headers.contains_key(header::IF_MATCH) {
        return None;
    }
    let mut revisions = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return None;
            }
            let quoted = tag
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            revisions.extend(quoted.and_then(|number| number.parse::<i64>().ok()));
        }
    }
    Some(revisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> SeenRevisions {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
        seen_revisions(&headers)
    }

    #[test]
    fn entity_tags_are_read_and_foreign_ones_match_nothing() {
        assert_eq!(seen_revisions(&HeaderMap::new()), None);
        assert_eq!(seen("*"), None);
        assert_eq!(seen("\"7\""), Some(vec![7]));
        assert_eq!(seen("\"6\", \"7\""), Some(vec![6, 7]));
        for foreign in ["7", "\"x\"", "W/\"7\"", "\"", ""] {
            assert_eq!(seen(foreign), Some(vec![]), "{foreign}");
        }
    }
}
