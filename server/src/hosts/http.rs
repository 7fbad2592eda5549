//! `/hosts`: the inventory for operators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fleetwright_protocol::HostId;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::actions::{self, Approved, HostPatch, ServerError};
use super::host::{Approval, Host};
use super::store::listing::{self, HostFilter, Position};
use super::view::{self, HostView};
use super::{Hosts, deletion, labels, store};
use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::commands::actions::end_with_host;
use crate::http::etag::{self, IfMatch};
use crate::http::{JsonBody, Page, PathId, Problem, StrictQuery, page};

/// The longest filter text looked at: no tag and no host name is longer.
const FILTER_CHARS_MAX: usize = 256;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_hosts))
        .routes(routes!(get_host, patch_host, delete_host))
        .routes(routes!(approve_host))
        .routes(routes!(reject_host))
        .routes(routes!(approve_hosts))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `online` or `offline`.
    status: Option<String>,
    /// `pending`, `approved` or `rejected`.
    approval_status: Option<String>,
    /// A tag the host has.
    tag: Option<String>,
    /// The beginning of the FQDN or host name, in any case; or a whole host id.
    q: Option<String>,
    /// Default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
struct PatchHost {
    /// Replaces the operator's tags; what the agent says itself stays.
    tags: Option<Vec<String>>,
    /// Replaces the operator's attributes; what the agent says itself stays.
    attributes: Option<BTreeMap<String, String>>,
    /// Kept free of placements.
    reserved: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
struct ApproveHosts {
    /// At most 5,000.
    #[schema(value_type = Vec<Uuid>)]
    host_ids: Vec<HostId>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ApprovedView {
    approved: usize,
    /// Were approved already.
    unchanged: usize,
}

/// Lists hosts, by id; with `q`, by name.
#[utoipa::path(get, path = "/hosts", tag = "hosts", params(ListQuery),
    responses((status = OK, body = Page<HostView>)))]
async fn list_hosts(
    State(app): State<AppState>,
    StrictQuery(query): StrictQuery<ListQuery>,
) -> Result<Json<Page<HostView>>, Problem> {
    let limit = page::limit(query.limit)?;
    if let Some(id) = query.q.as_deref().and_then(|q| Uuid::try_parse(q).ok()) {
        return one_by_id(&app.hosts, HostId(id), &query).await;
    }
    let list = list_name(&query);
    let filter = filter(&query)?;
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (name, id): (String, HostId) = app.cursors.open(&list, cursor)?;
            Some(Position { name, id })
        }
    };
    let rows = listing::list(&app.db, &filter, after.as_ref(), limit + 1).await?;
    let position = |host: &Host| {
        let Position { name, id } = listing::position_of(&filter, host);
        (name, id)
    };
    let view = |host| view::listed(&app.hosts, host);
    Ok(Json(app.cursors.page(&list, limit, rows, position, view)))
}

/// One host, with what its agent last said of its load.
#[utoipa::path(get, path = "/hosts/{id}", tag = "hosts", params(("id" = Uuid, Path)),
    responses((status = OK, body = HostView)))]
async fn get_host(
    State(app): State<AppState>,
    PathId(id): PathId<HostId>,
) -> Result<Response, Problem> {
    match store::get(&app.db, id).await? {
        None => Err(Problem::not_found("host")),
        Some(host) => Ok(answer(&app.hosts, host)),
    }
}

/// Changes tags, attributes or the reserved flag. Honours `If-Match`.
#[utoipa::path(patch, path = "/hosts/{id}", tag = "hosts", params(("id" = Uuid, Path)),
    request_body = PatchHost, responses((status = OK, body = HostView)))]
async fn patch_host(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
    if_match: IfMatch,
    JsonBody(body): JsonBody<PatchHost>,
) -> Result<Response, Problem> {
    let patch = HostPatch {
        tags: body.tags,
        attributes: body.attributes,
        reserved: body.reserved,
    };
    let context = AuditContext::from(&caller);
    let is_expected = move |revision| if_match.matches(revision);
    let host = actions::patch_host(&app.hosts, context, id, patch, is_expected).await?;
    Ok(answer(&app.hosts, host))
}

/// Forgets a host: its open commands end and its agent is cut off. Honours `If-Match`.
#[utoipa::path(delete, path = "/hosts/{id}", tag = "hosts", params(("id" = Uuid, Path)),
    responses((status = NO_CONTENT)))]
async fn delete_host(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let context = AuditContext::from(&caller);
    let is_expected = move |revision| if_match.matches(revision);
    let end_commands = end_with_host(&app.commands);
    deletion::delete_host(&app.hosts, context, id, is_expected, end_commands).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a host in; also lifts a lock.
#[utoipa::path(post, path = "/hosts/{id}/approve", tag = "hosts", params(("id" = Uuid, Path)),
    responses((status = OK, body = HostView)))]
async fn approve_host(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
) -> Result<Response, Problem> {
    let host = actions::approve_host(&app.hosts, AuditContext::from(&caller), id).await?;
    Ok(answer(&app.hosts, host))
}

/// Shuts a host out: its connection is cut and its certificate is no longer renewed.
#[utoipa::path(post, path = "/hosts/{id}/reject", tag = "hosts", params(("id" = Uuid, Path)),
    responses((status = OK, body = HostView)))]
async fn reject_host(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
) -> Result<Response, Problem> {
    let host = actions::reject_host(&app.hosts, AuditContext::from(&caller), id).await?;
    Ok(answer(&app.hosts, host))
}

/// Lets many hosts in at once; if one of them is unknown, none.
#[utoipa::path(post, path = "/hosts/approve", tag = "hosts", request_body = ApproveHosts,
    responses((status = OK, body = ApprovedView)))]
async fn approve_hosts(
    State(app): State<AppState>,
    caller: Caller,
    JsonBody(body): JsonBody<ApproveHosts>,
) -> Result<Json<ApprovedView>, Problem> {
    let context = AuditContext::from(&caller);
    let Approved {
        approved,
        unchanged,
    } = actions::approve_hosts(&app.hosts, context, body.host_ids).await?;
    Ok(Json(ApprovedView {
        approved,
        unchanged,
    }))
}

impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::NotFound => Self::not_found("host"),
            ServerError::InvalidTransition(detail) => Self::invalid_transition(detail),
            ServerError::Stale => Self::precondition_failed(),
            ServerError::Invalid(violations) => Self::invalid(violations),
            ServerError::Db(error) => error.into(),
        }
    }
}

fn answer(hosts: &Hosts, host: Host) -> Response {
    let tag = etag::of(host.revision);
    ([(header::ETAG, tag)], Json(view::single(hosts, host))).into_response()
}

async fn one_by_id(
    hosts: &Hosts,
    id: HostId,
    query: &ListQuery,
) -> Result<Json<Page<HostView>>, Problem> {
    let filter = filter(query)?;
    let found = store::get(hosts.db(), id).await?.filter(|host| {
        filter.online.is_none_or(|online| online == host.online)
            && filter
                .approval
                .is_none_or(|approval| approval == host.approval)
            && filter
                .tag
                .as_ref()
                .is_none_or(|tag| host.tags().contains(tag))
    });
    let items = found.into_iter().map(|host| view::listed(hosts, host));
    Ok(Json(Page {
        items: items.collect(),
        next_cursor: None,
    }))
}

fn filter(query: &ListQuery) -> Result<HostFilter, Problem> {
    let invalid = |field: &str, detail: &str| {
        Problem::invalid_field(&format!("/{field}"), "invalid-field", detail)
    };
    let online = match query.status.as_deref() {
        None => None,
        Some("online") => Some(true),
        Some("offline") => Some(false),
        Some(_) => return Err(invalid("status", "must be online or offline")),
    };
    let approval =
        match query.approval_status.as_deref() {
            None => None,
            Some(name) => Some(Approval::from_name(name).ok_or_else(|| {
                invalid("approval_status", "must be pending, approved or rejected")
            })?),
        };
    for (field, text) in [("tag", &query.tag), ("q", &query.q)] {
        let Some(text) = text else { continue };
        if text.chars().count() > FILTER_CHARS_MAX {
            return Err(invalid(field, "is too long"));
        }
        if let Some(reason) = labels::bad_character(text) {
            return Err(invalid(field, &reason));
        }
    }
    let prefix = query.q.as_deref().map(str::trim).filter(|q| !q.is_empty());
    Ok(HostFilter {
        online,
        approval,
        tag: query.tag.clone(),
        name_prefix: prefix.map(str::to_lowercase),
    })
}

/// A cursor is good for the list it came from only: the filters are part of the name.
fn list_name(query: &ListQuery) -> String {
    let filters = [&query.status, &query.approval_status, &query.tag, &query.q];
    format!("hosts {}", serde_json::json!(filters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: impl FnOnce(&mut ListQuery)) -> ListQuery {
        let mut query = ListQuery {
            status: None,
            approval_status: None,
            tag: None,
            q: None,
            limit: None,
            cursor: None,
        };
        change(&mut query);
        query
    }

    #[test]
    fn filters_are_read_or_refused() {
        let good = query(|query| {
            query.status = Some("online".into());
            query.approval_status = Some("pending".into());
            query.q = Some(" WEB ".into());
        });
        let read = filter(&good).unwrap();
        assert_eq!(
            (read.online, read.approval),
            (Some(true), Some(Approval::Pending))
        );
        assert_eq!(read.name_prefix.as_deref(), Some("web"));
        let bad = [
            query(|query| query.status = Some("Online".into())),
            query(|query| query.approval_status = Some(String::new())),
            query(|query| query.tag = Some("a\0".into())),
            query(|query| query.q = Some("x".repeat(FILTER_CHARS_MAX + 1))),
        ];
        for query in bad {
            assert_eq!(filter(&query).unwrap_err().status(), 422, "{query:?}");
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_filters() {
        let plain = list_name(&query(|_| {}));
        assert_eq!(plain, list_name(&query(|query| query.limit = Some(7))));
        assert_ne!(
            plain,
            list_name(&query(|query| query.tag = Some("web".into())))
        );
        let tag = list_name(&query(|query| query.tag = Some("web".into())));
        assert_ne!(tag, list_name(&query(|query| query.q = Some("web".into()))));
    }
}
