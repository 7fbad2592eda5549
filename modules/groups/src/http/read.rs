//! Reads: the list of groups, one group, and its members.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fleetwright_plugin_api::sdk::{
    IfNoneMatch, ListQuery, Paging, PathId, Problem, from_input, hyphenated,
};
use fleetwright_protocol::Violation;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::actions::read::{self, ListFilter};
use crate::engine::{Engine, MembersAsked};
use crate::http::problem::of;
use crate::view::{self, GroupPage, MemberPageView};

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// The children of this group; `root`: the groups at the top level.
    parent_id: Option<String>,
    /// The group of this name, in any ASCII case.
    name: Option<String>,
}

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MemberParams {
    /// Without the members of descendants.
    direct: Option<bool>,
}

from_input!(ListParams { parent_id, name });
from_input!(MemberParams { direct });

/// Groups, ascending by id. A page may be shorter than its limit if its groups name very many hosts.
#[utoipa::path(
    get, path = "/fleet/groups", tag = "groups",
    params(ListParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = GroupPage),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "A filter or the limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    State(engine): State<Engine>,
    ListQuery {
        filters: params,
        paging,
    }: ListQuery<ListParams>,
) -> Result<Json<GroupPage>, Problem> {
    let filter = ListFilter {
        parent_id: parent(params.parent_id.as_deref())?,
        name: params.name,
        after: paging.after()?,
    };
    let listed = read::list(&engine, &filter, limit(&paging)).await;
    let (groups, more) = listed.map_err(of)?;
    let last = groups.last().map(|group| group.id).filter(|_| more);
    let page = paging.page_until(groups, last, |group| group.id, |group| view::group(&group));
    Ok(Json(GroupPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// One group.
#[utoipa::path(
    get, path = "/fleet/groups/{id}", tag = "groups",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The group", body = crate::view::GroupView,
         headers(("etag" = String, description = "The revision"))),
        (status = 304, description = "It is what the client has"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such group"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn get(
    State(engine): State<Engine>,
    PathId(id): PathId<Uuid>,
    seen: IfNoneMatch,
) -> Result<Response, Problem> {
    let group = read::group(&engine, id).await.map_err(of)?;
    Ok(seen.reply(group.revision, || view::group(&group)))
}

/// The hosts that are in the group now: its explicit members, those its selector matches, and those of all descendants.
#[utoipa::path(
    get, path = "/fleet/groups/{id}/hosts", tag = "groups",
    params(("id" = Uuid, Path), MemberParams,
           ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = MemberPageView),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such group"),
        (status = 422, description = "The limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn hosts(
    State(engine): State<Engine>,
    PathId(id): PathId<Uuid>,
    ListQuery {
        filters: params,
        paging,
    }: ListQuery<MemberParams>,
) -> Result<Json<MemberPageView>, Problem> {
    let asked = MembersAsked {
        group_id: id,
        direct: params.direct.unwrap_or(false),
        after: paging.after()?,
        limit: limit(&paging),
    };
    let page = read::members(&engine, asked).await.map_err(of)?;
    Ok(Json(view::members(page, &paging)))
}

fn parent(text: Option<&str>) -> Result<Option<Option<Uuid>>, Problem> {
    match text {
        None => Ok(None),
        Some("root") => Ok(Some(None)),
        Some(text) => match hyphenated(text) {
            Some(id) => Ok(Some(Some(id))),
            None => {
                let detail = "parent_id must be the id of a group, or root.";
                let violation = Violation::new("/parent_id", "invalid-field", detail);
                Err(Problem::invalid(vec![violation]))
            }
        },
    }
}

fn limit(paging: &Paging) -> usize {
    usize::try_from(paging.limit()).unwrap_or(usize::MAX)
}
