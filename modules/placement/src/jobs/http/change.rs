//! Submitting jobs, and what their holders say of them.

use axum::extract::State;
use fleetwright_plugin_api::sdk::{Caller, JsonBody, PathId, Problem, Reply, Server};
use serde_json::Value;
use uuid::Uuid;

use crate::budgets::http::body::MoneyBody;
use crate::jobs::actions::record::{What, record};
use crate::jobs::actions::{children as adding, report as reporting, submit as submitting};
use crate::jobs::request;

/// Submit a job, with its children. The fields may also be spelled in camel case.
#[utoipa::path(
    post, path = "/fleet/jobs", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::jobs::request::JobRequest,
    responses(
        (status = 201, description = "Submitted", body = crate::jobs::view::SubmittedView,
         headers(("location" = String, description = "The new job"), ("etag" = String, description = "The revision"))),
        (status = 200, description = "The key is known, and its job was asked for with the same body", body = crate::jobs::view::SubmittedView),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`idempotency-key-reused`, `job-cycle`, `job-dependency-unknown`, `job-*`: `errors` has everything that is wrong"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn submit(
    State(server): State<Server>,
    Caller(context): Caller,
    MoneyBody(body): MoneyBody<Value>,
) -> Result<Reply, Problem> {
    let draft = request::body(body)?;
    Ok(submitting::submit(&server, &context, draft).await?)
}

/// Report a job's stage, as its holder. Whatever is reported renews the lease.
#[utoipa::path(
    patch, path = "/fleet/jobs/{id}", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::jobs::request::ReportRequest,
    responses(
        (status = 200, description = "The job as it is now", body = crate::jobs::view::JobView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`stale-lease`: it is held no more, or by another; `invalid-transition`; `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn report(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let report = request::body(body)?;
    Ok(reporting::report(&server, &context, id, &report).await?)
}

/// Add jobs that this one waits for. Its holder gives it up with a checkpoint; an operator adds them before it is begun.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/children", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::jobs::request::ChildrenRequest,
    responses(
        (status = 201, description = "Added", body = crate::jobs::view::SubmittedView,
         headers(("etag" = String, description = "The revision"))),
        (status = 200, description = "All of them are there already", body = crate::jobs::view::SubmittedView),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`stale-lease`, `invalid-transition`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`idempotency-key-reused`, `job-cycle`, `job-dependency-unknown`, `job-*`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn children(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    MoneyBody(body): MoneyBody<Value>,
) -> Result<Reply, Problem> {
    let asked = request::body(body)?;
    Ok(adding::add(&server, &context, id, &asked).await?)
}

/// Record what a job made, as its holder. One of the same name is replaced.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/artifacts", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::jobs::request::ArtifactRequest,
    responses(
        (status = 201, description = "Recorded", body = crate::jobs::view::ArtifactView),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`stale-lease`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn artifacts(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked = request::artifact(body)?;
    Ok(record(&server, &context, id, What::Artifact, &asked).await?)
}

/// Record an attempt, as the job's holder.
#[utoipa::path(
    post, path = "/fleet/jobs/{id}/runs", tag = "jobs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = crate::jobs::request::RunRequest,
    responses(
        (status = 201, description = "Recorded", body = crate::jobs::view::RunView),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such job"),
        (status = 409, description = "`stale-lease`, `in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "A field is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn runs(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Reply, Problem> {
    let asked = request::run(body)?;
    Ok(record(&server, &context, id, What::Run, &asked).await?)
}
