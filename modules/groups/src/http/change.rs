//! Changes of groups.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use fleetwright_plugin_api::sdk::{Caller, JsonBody, PathId, Problem, Reply};
use serde_json::Value;
use uuid::Uuid;

use crate::actions::delete as deletion;
use crate::actions::save::{Asked, save};
use crate::decide::SeenRevisions;
use crate::engine::Engine;
use crate::http::problem::of;

/// Create a group; with an `id` in the body, replace that one.
#[utoipa::path(
    post, path = "/fleet/groups", tag = "groups",
    params(("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::GroupRequest,
    responses(
        (status = 200, description = "Replaced", body = crate::view::GroupView,
         headers(("etag" = String, description = "The revision"))),
        (status = 201, description = "Created", body = crate::view::GroupView,
         headers(("location" = String, description = "The new group"), ("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No group of that id"),
        (status = 409, description = "`name-taken`, or a request with this key is in progress"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`group-*` or `selector-*`; of `group-cycle`, `path` names the groups"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn create(
    State(engine): State<Engine>,
    Caller(context): Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked = Asked::Posted(seen_revisions(&headers));
    save(&engine, &context, asked, &body).await.map_err(of)
}

/// Replace a group. What the body leaves out becomes empty.
#[utoipa::path(
    put, path = "/fleet/groups/{id}", tag = "groups",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    request_body = crate::request::GroupRequest,
    responses(
        (status = 200, description = "Replaced", body = crate::view::GroupView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such group"),
        (status = 409, description = "`name-taken`"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`group-*` or `selector-*`; of `group-cycle`, `path` names the groups"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn replace(
    State(engine): State<Engine>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked = Asked::Put(id, seen_revisions(&headers));
    save(&engine, &context, asked, &body).await.map_err(of)
}

/// Delete a group. Its children move to its parent.
#[utoipa::path(
    delete, path = "/fleet/groups/{id}", tag = "groups",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such group"),
        (status = 409, description = "`group-in-use`: `groups` and `schedules` name it"),
        (status = 412, description = "`precondition-failed`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn delete(
    State(engine): State<Engine>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let seen = seen_revisions(&headers);
    let deleted = deletion::delete(&engine, &context, id, &seen).await;
    deleted.map_err(of)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The revisions in `If-Match`; any without it or with `*`. A tag that was never ours matches nothing.
fn seen_revisions(headers: &HeaderMap) -> SeenRevisions {
    if !headers.contains_key(header::IF_MATCH) {
        return SeenRevisions::Any;
    }
    let mut revisions = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return SeenRevisions::Any;
            }
            let quoted = tag
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            revisions.extend(quoted.and_then(|number| number.parse::<i64>().ok()));
        }
    }
    SeenRevisions::OneOf(revisions)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(text: &str) -> SeenRevisions {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
        seen_revisions(&headers)
    }

    #[test]
    fn entity_tags_are_read_and_foreign_ones_match_nothing() {
        assert_eq!(seen_revisions(&HeaderMap::new()), SeenRevisions::Any);
        assert_eq!(seen("*"), SeenRevisions::Any);
        assert_eq!(seen("\"6\", \"7\""), SeenRevisions::OneOf(vec![6, 7]));
        for foreign in ["7", "\"x\"", "W/\"7\"", "\"", ""] {
            assert_eq!(seen(foreign), SeenRevisions::OneOf(vec![]), "{foreign}");
        }
    }
}
