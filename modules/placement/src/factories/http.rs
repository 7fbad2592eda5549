//! Its routes.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use fleetwright_plugin_api::sdk::{
    At, Caller, Fields, FromInput, JsonBody, ListQuery, PathId, Problem, Reply, Server, bounds,
    from_input,
};
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use super::{actions, store};
use crate::error::PlacementError;

/// Of a name and of a capability, in characters.
const NAME_CHARS_MAX: usize = 120;
/// As many as a job may require.
const CAPABILITIES_MAX: usize = 32;
/// What one heartbeat can name.
const SEATS_MAX: i64 = 1_000;

/// Its routes as an OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(register, list, detail, heartbeat))]
pub struct ApiDocument;

/// Its routes, at their full paths.
pub fn router(server: Server) -> Router {
    Router::new()
        .route("/api/v1/fleet/factories", get(list).post(register))
        .route("/api/v1/fleet/factories/{id}", get(detail))
        .route("/api/v1/fleet/factories/{id}/heartbeat", post(heartbeat))
        .with_state(server)
}

/// The body of `POST /fleet/factories`.
#[derive(ToSchema)]
pub struct FactoryRequest {
    /// Unique within its tenant.
    name: String,
    /// At most 32.
    capabilities: Option<Vec<String>>,
    /// How many jobs at once: 1 to 1000, default 1.
    seat_limit: Option<i64>,
}

impl FromInput for FactoryRequest {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let line = || bounds::line("factory-name-invalid", 1..=NAME_CHARS_MAX);
        let name = fields
            .take::<Value>("name")
            .and_then(|name| line()(name, &mut fields.at().field("name")));
        let capabilities = fields.optional::<Vec<String>>("capabilities");
        let seats = fields.optional_by(
            "seat_limit",
            bounds::whole("factory-seats-invalid", 1..=SEATS_MAX),
        );
        let mut sorted = capabilities.unwrap_or_default();
        sorted.sort();
        sorted.dedup();
        let is_wrong = |one: &String| {
            one.is_empty() || !fleetwright_protocol::text::is_line(one, NAME_CHARS_MAX)
        };
        if sorted.len() > CAPABILITIES_MAX || sorted.iter().any(is_wrong) {
            let detail = "must be at most 32 texts of 1 to 120 printable characters";
            fields
                .at()
                .field("capabilities")
                .refuse("factory-capabilities-invalid", detail);
        }
        fields.finish();
        Some(Self {
            name: name?,
            capabilities: Some(sorted),
            seat_limit: seats.and_then(|seats| i64::try_from(seats).ok()),
        })
    }
}

/// The body of a heartbeat.
#[derive(ToSchema)]
pub struct HeartbeatRequest {
    /// What it holds: only these leases go on. At most 1000.
    jobs: Option<Vec<HeldJob>>,
}

/// A job as its holder knows it.
#[derive(ToSchema)]
pub struct HeldJob {
    job_id: Uuid,
    lease_epoch: i64,
}

from_input!(HeartbeatRequest { jobs });
from_input!(HeldJob {
    job_id,
    lease_epoch
});

/// Register a factory, or say anew what the one of this name can.
#[utoipa::path(
    post, path = "/fleet/factories", tag = "factories",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = FactoryRequest,
    responses(
        (status = 201, description = "Registered"),
        (status = 200, description = "It was; it is as asked now"),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`factory-*`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn register(
    State(server): State<Server>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<FactoryRequest>,
) -> Result<Reply, Problem> {
    let capabilities = body.capabilities.unwrap_or_default();
    let seats = body.seat_limit.unwrap_or(1);
    Ok(actions::register(&server, &context, &body.name, &capabilities, seats).await?)
}

/// Factories, in order of registration.
#[utoipa::path(
    get, path = "/fleet/factories", tag = "factories",
    params(("limit" = Option<u32>, Query, description = "1 to 500, default 50"), ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "A page"),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "The limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    State(server): State<Server>,
    Caller(context): Caller,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<Value>, Problem> {
    let found = store::list(
        server.db(),
        context.tenant.as_deref(),
        paging.after()?,
        paging.limit() + 1,
    );
    let rows = found.await.map_err(PlacementError::from)?;
    let page = paging.page(rows, |one| one.id, |one| actions::view(&server, &one));
    Ok(Json(json!(page)))
}

/// One factory, with the jobs it holds.
#[utoipa::path(
    get, path = "/fleet/factories/{id}", tag = "factories", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The factory"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such factory"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn detail(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Json<Value>, Problem> {
    let factory = actions::visible(&server, &context, id).await?;
    let held = store::held(server.db(), id)
        .await
        .map_err(PlacementError::from)?;
    let jobs = held.iter().map(
        |one| json!({"job_id": one.job_id, "lease_epoch": one.lease_epoch, "stage": one.stage}),
    );
    let mut shown = actions::view(&server, &factory);
    if let Some(members) = shown.as_object_mut() {
        members.insert("jobs".to_owned(), jobs.collect());
    }
    Ok(Json(shown))
}

/// A factory lives, and holds these jobs.
#[utoipa::path(
    post, path = "/fleet/factories/{id}/heartbeat", tag = "factories", params(("id" = Uuid, Path)),
    request_body = HeartbeatRequest,
    responses(
        (status = 200, description = "Per job whether it is still held"),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "No such factory"),
        (status = 409, description = "`in-progress`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`invalid-field`, `factory-jobs-invalid`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn heartbeat(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    JsonBody(body): JsonBody<HeartbeatRequest>,
) -> Result<Json<Value>, Problem> {
    let jobs: Vec<(Uuid, i64)> = body
        .jobs
        .unwrap_or_default()
        .iter()
        .map(|one| (one.job_id, one.lease_epoch))
        .collect();
    if i64::try_from(jobs.len()).is_ok_and(|count| count > SEATS_MAX) {
        return Err(Problem::invalid_field(
            "/jobs",
            "factory-jobs-invalid",
            "must be at most 1000",
        ));
    }
    Ok(Json(
        actions::heartbeat(&server, &context, id, &jobs).await?,
    ))
}
