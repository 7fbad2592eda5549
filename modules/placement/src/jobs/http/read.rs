//! Reads: the list, the counts, one job, and the graph below one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fleetwright_plugin_api::sdk::{Caller, ListQuery, PathId, Problem, Server, StrictQuery, etag};
use uuid::Uuid;

use crate::error::PlacementError;
use crate::jobs::actions::read;
use crate::jobs::job::Brief;
use crate::jobs::request::{CountParams, ListParams};
use crate::jobs::store::{self, ListFilter};
use crate::jobs::view::{self, CountsView, Dag, JobDetail, JobPage, ProductCounts};

/// Jobs, newest first.
#[utoipa::path(
    get, path = "/fleet/jobs", tag = "jobs",
    params(ListParams, ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
           ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page", body = JobPage),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "The limit or the stage is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    State(server): State<Server>,
    Caller(context): Caller,
    ListQuery {
        filters: params,
        paging,
    }: ListQuery<ListParams>,
) -> Result<Json<JobPage>, Problem> {
    let filter = ListFilter {
        tenant: context.tenant,
        stage: params.stage,
        product_id: params.product_id,
        before: paging.after()?,
    };
    let jobs = store::list(server.db(), &filter, paging.limit() + 1).await;
    let page = paging.page(
        jobs.map_err(PlacementError::from)?,
        |job: &Brief| job.id,
        |job| view::job(&job),
    );
    Ok(Json(JobPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// How many jobs are in which stage, by product. The counts are kept: nothing is counted when somebody asks.
#[utoipa::path(
    get, path = "/fleet/jobs/counts", tag = "jobs",
    params(CountParams),
    responses(
        (status = 200, description = "The counts", body = CountsView),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "A parameter is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn counts(
    State(server): State<Server>,
    Caller(context): Caller,
    StrictQuery(params): StrictQuery<CountParams>,
) -> Result<Json<CountsView>, Problem> {
    let (tenant, product) = (context.tenant.as_deref(), params.product_id.as_deref());
    let counts = store::counts(server.db(), tenant, product).await;
    let mut totals: BTreeMap<String, i64> = BTreeMap::new();
    let mut items = Vec::new();
    for (product_id, stages) in counts.map_err(PlacementError::from)? {
        for (stage, jobs) in &stages {
            *totals.entry(stage.as_str().to_owned()).or_default() += jobs;
        }
        items.push(ProductCounts {
            product_id,
            total: stages.values().sum(),
            stages: stages
                .into_iter()
                .map(|(stage, jobs)| (stage.as_str().to_owned(), jobs))
                .collect(),
        });
    }
    Ok(Json(CountsView { items, totals }))
}

/// One job, with its latest events, runs, artifacts, what it waits for, and why it is blocked.
#[utoipa::path(
    get, path = "/fleet/jobs/{id}", tag = "jobs",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The job", body = JobDetail,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn get(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    let detail = read::detail(&server, &context, id).await?;
    let tag = [(header::ETAG, etag::of(detail.job.revision))];
    Ok((tag, Json(detail)).into_response())
}

/// A job and all it waits for, as nodes and edges.
#[utoipa::path(
    get, path = "/fleet/jobs/{id}/dag", tag = "jobs",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The graph", body = Dag),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn dag(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Json<Dag>, Problem> {
    Ok(Json(read::dag(&server, &context, id).await?))
}
