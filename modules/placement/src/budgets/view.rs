//! Budgets as clients see them.

use fleetwright_plugin_api::sdk::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::calendar::day_text;
use super::decide::Budget;
use super::money::Usd;
use super::store::{Day, Spending};

/// A budget in its window of now.
#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetView {
    pub product_id: String,
    pub ceiling_usd: Usd,
    /// `daily`, `weekly`, `monthly`, `total`.
    pub window: &'static str,
    pub spent_usd: Usd,
    /// Set aside for jobs under way.
    pub reserved_usd: Usd,
    /// Of the ceiling, what is neither spent nor reserved; 0 beyond it.
    pub remaining_usd: Usd,
    pub window_start: Timestamp,
    /// Null for a total.
    #[schema(required)]
    pub window_end: Option<Timestamp>,
    /// Spent when the window ends, if it goes on as in this window until now; null for a total.
    #[schema(required)]
    pub projected_usd: Option<Usd>,
    pub paused: bool,
    /// `manual`, or `ceiling`: by itself.
    #[schema(required)]
    pub paused_by: Option<&'static str>,
    #[schema(required)]
    pub paused_at: Option<Timestamp>,
    /// The person's name.
    #[schema(required)]
    pub paused_by_name: Option<String>,
    /// Whether this server refuses claims by it.
    pub enforced: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpendView {
    pub key: String,
    pub amount_usd: Usd,
    #[schema(required)]
    pub job_id: Option<Uuid>,
    #[schema(required)]
    pub lease_epoch: Option<i64>,
    /// What of it had been reserved for the job.
    pub consumed_usd: Usd,
    pub recorded_at: Timestamp,
    /// False where the key was recorded before, and nothing was counted now.
    pub accrued: bool,
    pub budget: BudgetView,
}

/// What was spent on one day, in UTC.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayView {
    /// As `2026-01-31`.
    pub day: String,
    pub spent_usd: Usd,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetPage {
    pub items: Vec<BudgetView>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DayPage {
    pub items: Vec<DayView>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

pub fn budget(budget: &Budget, now_us: i64, is_enforced: bool) -> BudgetView {
    let pause = budget.pause.as_ref();
    BudgetView {
        product_id: budget.product_id.clone(),
        ceiling_usd: Usd::of(budget.ceiling_micros),
        window: budget.period.as_str(),
        spent_usd: Usd::of(budget.spent_micros),
        reserved_usd: Usd::of(budget.reserved_micros),
        remaining_usd: Usd::of(budget.remaining_micros()),
        window_start: Timestamp(budget.window.starts_at_us),
        window_end: budget.window.ends_at_us.map(Timestamp),
        projected_usd: budget.projected_micros(now_us).map(Usd::of),
        paused: pause.is_some(),
        paused_by: pause.map(|pause| pause.by.as_str()),
        paused_at: pause.map(|pause| Timestamp(pause.at_us)),
        paused_by_name: pause.and_then(|pause| pause.by_name.clone()),
        enforced: is_enforced,
        created_at: Timestamp(budget.created_at_us),
        updated_at: Timestamp(budget.updated_at_us),
    }
}

pub fn spending(spending: &Spending, is_new: bool, budget: BudgetView) -> SpendView {
    SpendView {
        key: spending.key.clone(),
        amount_usd: Usd::of(spending.amount_micros),
        job_id: spending.job.map(|(id, _)| id),
        lease_epoch: spending.job.map(|(_, epoch)| epoch),
        consumed_usd: Usd::of(spending.consumed_micros),
        recorded_at: Timestamp(spending.recorded_at_us),
        accrued: is_new,
        budget,
    }
}

pub fn day(day: Day) -> DayView {
    DayView {
        day: day_text(day.day),
        spent_usd: Usd::of(day.amount_micros),
    }
}
