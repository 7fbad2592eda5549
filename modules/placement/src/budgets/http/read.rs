//! Reads: the list, one budget, its history.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleetwright_plugin_api::sdk::{ListQuery, PageParameters, Problem, etag, from_input};
use utoipa::IntoParams;

use super::super::actions::Desk;
use super::super::decide::Budget;
use super::super::store::{Day, Filter};
use super::super::view::{self, BudgetPage, DayPage};
use crate::http::path_name::PathName;

/// The filters of the list.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BudgetFilters {
    /// Only those that are paused, or that are not.
    paused: Option<bool>,
}

from_input!(BudgetFilters { paused });

/// Budgets, by product.
#[utoipa::path(
    get, path = "/fleet/budgets", tag = "budgets", operation_id = "list_budgets",
    params(BudgetFilters, PageParameters),
    responses(
        (status = 200, description = "A page", body = BudgetPage),
        (status = 400, description = "`malformed`"),
        (status = 422, description = "The limit or the filter is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn list(
    State(desk): State<Desk>,
    ListQuery { filters, paging }: ListQuery<BudgetFilters>,
) -> Result<Json<BudgetPage>, Problem> {
    let filter = Filter {
        paused: filters.paused,
        after: paging.after()?,
    };
    let found = desk.budgets(&filter, paging.limit()).await?;
    let now_us = desk.server.now_us();
    let place = |budget: &Budget| budget.product_id.clone();
    let page = paging.page(found, place, |budget| {
        view::budget(&budget, now_us, desk.is_enforced)
    });
    Ok(Json(BudgetPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// One budget.
#[utoipa::path(
    get, path = "/fleet/budgets/{product_id}", tag = "budgets", operation_id = "get_budget",
    params(("product_id" = String, Path)),
    responses(
        (status = 200, description = "The budget", body = view::BudgetView,
         headers(("etag" = String, description = "The revision; counters do not change it"))),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "The product has no budget"),
        (status = 409, description = "`in-progress`: others keep changing it"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn get(
    State(desk): State<Desk>,
    PathName(product_id): PathName,
) -> Result<Response, Problem> {
    let budget = desk.budget(&product_id).await?;
    let tag = [(header::ETAG, etag::of(budget.revision))];
    let shown = view::budget(&budget, desk.server.now_us(), desk.is_enforced);
    Ok((tag, Json(shown)).into_response())
}

/// What was spent on which day (UTC), newest first; days without spending are left out.
#[utoipa::path(
    get, path = "/fleet/budgets/{product_id}/history", tag = "budgets", operation_id = "get_budget_history",
    params(("product_id" = String, Path), PageParameters),
    responses(
        (status = 200, description = "A page", body = DayPage),
        (status = 400, description = "`malformed`"),
        (status = 404, description = "The product has no budget"),
        (status = 422, description = "The limit is invalid"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn history(
    State(desk): State<Desk>,
    PathName(product_id): PathName,
    ListQuery { paging, .. }: ListQuery,
) -> Result<Json<DayPage>, Problem> {
    let before = paging.after()?;
    let found = desk.history(&product_id, before, paging.limit()).await?;
    let page = paging.page(found, |day: &Day| day.day, view::day);
    Ok(Json(DayPage {
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}
