//! Reads: the list, one schedule, its runs, and a preview of an expression.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleetwright_plugin_api::sdk::{
    Caller, JsonBody, ListQuery, PathId, Problem, Server, concealed, etag, from_input,
};
use serde_json::{Value, json};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::actions::read;
use crate::http::problem::of;
use crate::request;
use crate::store::runs::Run;
use crate::store::{Header, ListFilter, name_key};
use crate::view::{self, PreviewView, RunPage, SchedulePage};

/// The filters of the list; all must hold.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// The schedule of this name, in any ASCII case.
    name: Option<String>,
    enabled: Option<bool>,
}

from_input!(ListParams { name, enabled });

/// Schedules, in order of creation.
#[utoipa::path(
    get, path = "/fleet/schedules", tag = "schedules",
    params(ListParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = SchedulePage),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "The limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    State(server): State<Server>,
    ListQuery {
        filters: params,
        paging,
    }: ListQuery<ListParams>,
) -> Result<Json<SchedulePage>, Problem> {
    let filter = ListFilter {
        name_key: params.name.as_deref().map(name_key),
        enabled: params.enabled,
        after: paging.after()?,
    };
    let listed = read::list(&server, &filter, paging.limit()).await;
    let (schedules, more) = listed.map_err(of)?;
    let place = |(header, _): &(Header, Option<Run>)| header.id;
    let last = schedules.last().map(place).filter(|_| more);
    let page = paging.page_until(schedules, last, place, |(header, newest)| {
        view::summary(&header, newest.as_ref())
    });
    Ok(Json(SchedulePage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// One schedule, with what it launches; of its texts viewers see sizes and digests.
#[utoipa::path(
    get, path = "/fleet/schedules/{id}", tag = "schedules",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The schedule", body = crate::view::ScheduleDetail,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such schedule"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn get(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    let (header, work, newest) = read::detail(&server, id).await.map_err(of)?;
    let tag = [(header::ETAG, etag::of(header.revision))];
    let answer = json!(view::detail(&header, &work, newest.as_ref()));
    let answer = concealed::for_reader(&context.role, answer);
    Ok((tag, Json(answer)).into_response())
}

/// A schedule's runs, newest first.
#[utoipa::path(
    get, path = "/fleet/schedules/{id}/runs", tag = "schedules",
    params(("id" = Uuid, Path), ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = RunPage),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such schedule"),
        (status = 422, description = "The limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn runs(
    State(server): State<Server>,
    PathId(id): PathId<Uuid>,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<RunPage>, Problem> {
    let found = read::runs_of(&server, id, paging.after()?, paging.limit()).await;
    let (runs, more) = found.map_err(of)?;
    let place = |run: &Run| run.nominal_us;
    let last = runs.last().map(place).filter(|_| more);
    let page = paging.page_until(runs, last, place, |run| view::run(&run));
    Ok(Json(RunPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// The next times an expression fires. Nothing is stored.
#[utoipa::path(
    post, path = "/fleet/schedules/preview", tag = "schedules",
    request_body = crate::request::PreviewRequest,
    responses(
        (status = 200, description = "The times", body = PreviewView),
        (status = 400, description = "`malformed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`cron-invalid` or `schedule-*`")
    )
)]
pub async fn preview(
    State(server): State<Server>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<PreviewView>, Problem> {
    let now_us = server.now_us();
    let preview = request::preview(body, now_us)?;
    let times = std::iter::successors(preview.timetable.next_after(now_us), |at_us| {
        preview.timetable.next_after(*at_us)
    });
    let count = usize::try_from(preview.count).unwrap_or(usize::MAX);
    Ok(Json(PreviewView {
        times: times.take(count).map(view::time).collect(),
        cron: preview.cron,
        timezone: preview.timezone,
    }))
}
