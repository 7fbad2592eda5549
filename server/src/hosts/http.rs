//! `/hosts`: the inventory for operators.

mod conflict;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fleetwright_protocol::{HostId, Violation};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::actions::{self, Approved, HostError, HostPatch};
use super::claims::{self, Accept};
use super::host::{Approval, Host};
use super::store::listing::{self, HostFilter, Position};
use super::view::{self, HostView};
use super::{Hosts, deletion, labels, store};
use crate::app::AppState;
use crate::audit::AuditContext;
use crate::auth::Caller;
use crate::commands::actions::end_with_host;
use crate::http::etag::{self, IfMatch};
use crate::http::{
    JsonBody, ListQuery, OptionalJsonBody, Page, PageParameters, PathId, Problem, from_input,
};

/// The longest filter text looked at: no tag and no host name is longer.
const FILTER_CHARS_MAX: usize = 256;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_hosts))
        .routes(routes!(get_host, patch_host, delete_host))
        .routes(routes!(approve_host))
        .routes(routes!(reject_host))
        .routes(routes!(approve_hosts))
        .routes(routes!(accept_claims))
        .routes(routes!(conflict::unlock_host))
}

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct HostFilters {
    /// `online` or `offline`.
    status: Option<String>,
    /// `pending`, `approved` or `rejected`.
    approval_status: Option<String>,
    /// A tag that people gave the host.
    tag: Option<String>,
    /// The beginning of the FQDN or host name, in any case; or a whole host id.
    q: Option<String>,
}

#[derive(Debug, ToSchema)]
struct PatchHost {
    /// Replaces the tags that people gave it; what the agent says itself is apart.
    tags: Option<Vec<String>>,
    /// Replaces the attributes that people gave it; what the agent says itself is apart.
    attributes: Option<BTreeMap<String, String>>,
    /// Kept free of placements.
    reserved: Option<bool>,
}

#[derive(Debug, ToSchema)]
struct ApproveHosts {
    /// At most 5,000; with `accept_tags` 200.
    #[schema(value_type = Vec<Uuid>)]
    host_ids: Vec<HostId>,
    /// Takes over the tags and attributes that the hosts claim, as they are now.
    accept_tags: Option<bool>,
    /// Of those of the hosts that were looked at, the revision they had then: if one that waits has changed since, none is
    /// approved (412).
    #[schema(value_type = BTreeMap<Uuid, i64>)]
    revisions: Option<BTreeMap<String, i64>>,
}

#[derive(Debug, Default, ToSchema)]
struct ApproveHost {
    /// Takes over the tags and attributes that the host claims, as they are now.
    accept_tags: Option<bool>,
}

#[derive(Debug, ToSchema)]
struct AcceptClaims {
    /// Its tags and attributes: they are added to those that people set.
    tags: Option<bool>,
    /// What it calls itself.
    names: Option<bool>,
}

from_input!(HostFilters {
    status,
    approval_status,
    tag,
    q
});
from_input!(PatchHost {
    tags,
    attributes,
    reserved
});
from_input!(ApproveHosts {
    host_ids,
    accept_tags,
    revisions
});
from_input!(ApproveHost { accept_tags });
from_input!(AcceptClaims { tags, names });

#[derive(Debug, Serialize, ToSchema)]
struct ApprovedView {
    approved: usize,
    /// Were approved already.
    unchanged: usize,
}

/// Lists hosts, by id; with `q`, by name.
#[utoipa::path(get, path = "/hosts", tag = "hosts", params(PageParameters, HostFilters),
    responses((status = OK, body = Page<HostView>)))]
async fn list_hosts(
    State(app): State<AppState>,
    ListQuery { filters, paging }: ListQuery<HostFilters>,
) -> Result<Json<Page<HostView>>, Problem> {
    let filter = filter(&filters)?;
    let after = paging.after()?.map(|(name, id)| Position { name, id });
    if let Some(id) = filters.q.as_deref().and_then(|q| Uuid::try_parse(q).ok()) {
        return one_by_id(&app.hosts, HostId(id), &filter).await;
    }
    let rows = listing::list(&app.db, &filter, after.as_ref(), paging.limit() + 1).await?;
    let position = |host: &Host| {
        let Position { name, id } = listing::position_of(&filter, host);
        (name, id)
    };
    let view = |host| view::listed(&app.hosts, host);
    Ok(Json(paging.page(rows, position, view)))
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
        Some(host) => conflict::shown(&app.hosts, host).await,
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

/// Lets a host in, by the name it has now; also lifts a lock, in favour of the machine that was known before. Honours
/// `If-Match`.
#[utoipa::path(post, path = "/hosts/{id}/approve", tag = "hosts", params(("id" = Uuid, Path)),
    request_body = ApproveHost, responses((status = OK, body = HostView)))]
async fn approve_host(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
    if_match: IfMatch,
    OptionalJsonBody(body): OptionalJsonBody<ApproveHost>,
) -> Result<Response, Problem> {
    let accept_tags = body.accept_tags.unwrap_or_default();
    let context = AuditContext::from(&caller);
    let is_expected = move |revision| if_match.matches(revision);
    let host = actions::approve_host(&app.hosts, context, id, accept_tags, is_expected).await?;
    Ok(answer(&app.hosts, host))
}

/// Takes over what a host says of itself, as it is now. Honours `If-Match`.
#[utoipa::path(post, path = "/hosts/{id}/accept", tag = "hosts", params(("id" = Uuid, Path)),
    request_body = AcceptClaims, responses((status = OK, body = HostView)))]
async fn accept_claims(
    State(app): State<AppState>,
    caller: Caller,
    PathId(id): PathId<HostId>,
    if_match: IfMatch,
    JsonBody(body): JsonBody<AcceptClaims>,
) -> Result<Response, Problem> {
    let accept = Accept {
        tags: body.tags.unwrap_or_default(),
        names: body.names.unwrap_or_default(),
    };
    let context = AuditContext::from(&caller);
    let is_expected = move |revision| if_match.matches(revision);
    let host = claims::accept(&app.hosts, context, id, accept, is_expected).await?;
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
    let revisions = revisions(body.revisions.unwrap_or_default())?;
    let Approved {
        approved,
        unchanged,
    } = actions::approve_hosts(
        &app.hosts,
        context,
        body.host_ids,
        body.accept_tags.unwrap_or_default(),
        revisions,
    )
    .await?;
    Ok(Json(ApprovedView {
        approved,
        unchanged,
    }))
}

fn revisions(by_id: BTreeMap<String, i64>) -> Result<BTreeMap<HostId, i64>, Problem> {
    let read = |(id, revision): (String, i64)| {
        let id = Uuid::try_parse(&id).map_err(|_| {
            let detail = "the names are ids of hosts";
            Problem::invalid_field("/revisions", "invalid-field", detail)
        })?;
        Ok((HostId(id), revision))
    };
    by_id.into_iter().map(read).collect()
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotFound => Self::not_found("host"),
            HostError::InvalidTransition(detail) => Self::invalid_transition(detail),
            HostError::Stale => Self::precondition_failed(),
            HostError::Invalid(violations) => Self::invalid(violations),
            HostError::Db(error) => error.into(),
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
    filter: &HostFilter,
) -> Result<Json<Page<HostView>>, Problem> {
    let found = store::get(hosts.db(), id).await?.filter(|host| {
        filter.online.is_none_or(|online| online == host.online)
            && filter
                .approval
                .is_none_or(|approval| approval == host.approval)
            && filter
                .tag
                .as_ref()
                .is_none_or(|tag| host.labels.tags.contains(tag))
    });
    let items = found.into_iter().map(|host| view::listed(hosts, host));
    Ok(Json(Page {
        items: items.collect(),
        next_cursor: None,
    }))
}

fn filter(query: &HostFilters) -> Result<HostFilter, Problem> {
    let mut found = Vec::new();
    let mut refuse = |field: &str, detail: &str| {
        found.push(Violation::new(format!("/{field}"), "invalid-field", detail));
    };
    let online = query.status.as_deref().and_then(|status| match status {
        "online" => Some(true),
        "offline" => Some(false),
        _ => {
            refuse("status", "must be online or offline");
            None
        }
    });
    let approval = query.approval_status.as_deref().and_then(|name| {
        let approval = Approval::from_name(name);
        if approval.is_none() {
            refuse("approval_status", "must be pending, approved or rejected");
        }
        approval
    });
    for (field, text) in [("tag", &query.tag), ("q", &query.q)] {
        let Some(text) = text else { continue };
        if text.chars().count() > FILTER_CHARS_MAX {
            refuse(field, "is too long");
        } else if let Some(reason) = labels::bad_character(text) {
            refuse(field, &reason);
        }
    }
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let prefix = query.q.as_deref().map(str::trim).filter(|q| !q.is_empty());
    Ok(HostFilter {
        online,
        approval,
        tag: query.tag.clone(),
        // Names are matched in any case; the store compares lower-case.
        name_prefix: prefix.map(str::to_lowercase),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: impl FnOnce(&mut HostFilters)) -> HostFilters {
        let mut query = HostFilters::default();
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
    fn every_wrong_filter_is_named() {
        let wrong = query(|query| {
            query.status = Some("Online".into());
            query.approval_status = Some("x".into());
            query.tag = Some("a\0".into());
        });
        let problem = filter(&wrong).unwrap_err();
        let places = problem.errors().iter().map(|error| error.pointer.as_str());
        assert_eq!(
            places.collect::<Vec<_>>(),
            ["/status", "/approval_status", "/tag"]
        );
    }
}
