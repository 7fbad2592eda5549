//! Changes: setting a budget, pausing and resuming it, and recording what was spent.

use axum::extract::State;
use fleetwright_plugin_api::sdk::{Caller, IfMatch, Problem, Reply};

use super::super::actions::Desk;
use super::super::request::{Settled, Spent};
use super::body::MoneyBody;
use crate::http::path_name::PathName;

/// Set a budget. Another window counts what was spent in it already.
#[utoipa::path(
    put, path = "/fleet/budgets/{product_id}", tag = "budgets", operation_id = "set_budget",
    params(("product_id" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = super::super::request::BudgetRequest,
    responses(
        (status = 200, description = "Changed", body = super::super::view::BudgetView,
         headers(("etag" = String, description = "The revision"))),
        (status = 201, description = "Added", body = super::super::view::BudgetView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 409, description = "`in-progress`: others keep changing it"),
        (status = 412, description = "`precondition-failed`"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`money-invalid`, `budget-window-invalid`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn set(
    State(desk): State<Desk>,
    Caller(context): Caller,
    PathName(product_id): PathName,
    seen: IfMatch,
    MoneyBody(settled): MoneyBody<Settled>,
) -> Result<Reply, Problem> {
    Ok(desk.set(&context, &product_id, &seen, &settled).await?)
}

/// Pause a budget: nothing of the product is claimed until it is resumed.
#[utoipa::path(
    post, path = "/fleet/budgets/{product_id}/pause", tag = "budgets", operation_id = "pause_budget",
    params(("product_id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, description = "Paused", body = super::super::view::BudgetView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "The product has no budget"),
        (status = 409, description = "`in-progress`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn pause(
    State(desk): State<Desk>,
    Caller(context): Caller,
    PathName(product_id): PathName,
) -> Result<Reply, Problem> {
    Ok(desk.pause(&context, &product_id).await?)
}

/// Resume a budget, whoever paused it.
#[utoipa::path(
    post, path = "/fleet/budgets/{product_id}/resume", tag = "budgets", operation_id = "resume_budget",
    params(("product_id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, description = "Resumed", body = super::super::view::BudgetView,
         headers(("etag" = String, description = "The revision"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "The product has no budget"),
        (status = 409, description = "`budget-exhausted`: what was spent reaches the ceiling; or `in-progress`"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn resume(
    State(desk): State<Desk>,
    Caller(context): Caller,
    PathName(product_id): PathName,
) -> Result<Reply, Problem> {
    Ok(desk.resume(&context, &product_id).await?)
}

/// Record what was spent. One key is counted once.
#[utoipa::path(
    post, path = "/fleet/budgets/{product_id}/spend", tag = "budgets", operation_id = "spend_budget",
    params(("product_id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = super::super::request::SpendRequest,
    responses(
        (status = 200, description = "Recorded, now or before", body = super::super::view::SpendView),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "The product has no budget"),
        (status = 409, description = "`in-progress`: others keep changing it"),
        (status = 413, description = "`too-large`"),
        (status = 415, description = "`media-type`"),
        (status = 422, description = "`money-invalid`, `spend-key-invalid`; `idempotency-mismatch`: the key stands for something else"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn spend(
    State(desk): State<Desk>,
    Caller(context): Caller,
    PathName(product_id): PathName,
    MoneyBody(spent): MoneyBody<Spent>,
) -> Result<Reply, Problem> {
    Ok(desk.spend(&context, &product_id, &spent).await?)
}
