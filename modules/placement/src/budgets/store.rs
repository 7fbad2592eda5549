//! The tables of budgets: reads, and what claims and ends of leases set aside and give back. What changes a budget is in
//! `change`.
//!
//! Whatever touches both locks the reservation before the budget, so that on PostgreSQL what is read of the one still holds
//! when the other is written, and two never wait for each other.

pub mod change;

use fleetwright_plugin_api::sdk::{Batch, Database, Row, RowError, ServerError, Statement};
use uuid::Uuid;

use super::calendar::{Period, Window};
use super::decide::{Budget, Pause, PausedBy};

const COLUMNS: &str = "product_id, ceiling_micros, period, starts_at, ends_at, spent_micros, reserved_micros, paused_by, \
     paused_at, paused_by_name, created_at, updated_at, revision";

/// Whole dollars of the largest sum.
const DOLLARS_MAX: i64 = i64::MAX / 1_000_000;

/// Something that was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    pub product_id: String,
    /// One of these is counted once.
    pub key: String,
    pub amount_micros: i64,
    /// By which job, under which lease.
    pub job: Option<(Uuid, i64)>,
    /// What of it had been set aside.
    pub consumed_micros: i64,
    pub recorded_at_us: i64,
}

/// What was spent on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Since the Unix epoch, UTC.
    pub day: i64,
    pub amount_micros: i64,
}

/// Which budgets a list shows, by product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub paused: Option<bool>,
    pub after: Option<String>,
}

/// Sets `amount_micros` aside for a lease that begins. The whole batch is refused (`ServerError::Guard`) where the product's
/// budget is paused, or what is spent and set aside would pass its ceiling with it. A product without a budget sets nothing
/// aside, and is never refused. The window is not looked at: [`current`](super::actions::current) before it.
///
/// Only where budgets are enforced; once per job and epoch.
#[must_use]
pub fn reserve(
    batch: Batch,
    product_id: &str,
    job_id: Uuid,
    lease_epoch: i64,
    amount_micros: i64,
) -> Batch {
    // From here on it is certain whether there is a budget: none is ever deleted.
    let sql = "INSERT INTO placement_reservation (job_id, lease_epoch, product_id, rest_micros) \
               SELECT $1, $2, product_id, $3 FROM placement_budget WHERE product_id = $4";
    let note = Statement::new(sql)
        .bind(job_id)
        .bind(lease_epoch)
        .bind(amount_micros)
        .bind(product_id);
    let of_lease = "product_id = (SELECT product_id FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2)";
    let on_lease = |sql: String| Statement::new(sql).bind(job_id).bind(lease_epoch);
    let lock = on_lease(format!(
        "UPDATE placement_budget SET reserved_micros = reserved_micros WHERE {of_lease}"
    ));
    // Nothing of it is larger than a ceiling, so that no sum overflows.
    let refused = on_lease(format!(
        "UPDATE placement_budget SET reserved_micros = reserved_micros WHERE {of_lease} \
         AND (paused_by IS NOT NULL OR spent_micros >= ceiling_micros \
              OR ceiling_micros - spent_micros - $3 < reserved_micros)"
    ))
    .bind(amount_micros);
    let take = on_lease(format!(
        "UPDATE placement_budget SET reserved_micros = reserved_micros + $3 WHERE {of_lease}"
    ))
    .bind(amount_micros);
    let batch = batch.sql(note).sql(lock);
    batch.sql_expecting(refused, 0).sql(take)
}

/// Gives back what is left of the reservation of a lease; nothing where none was made.
#[must_use]
pub fn release(batch: Batch, job_id: Uuid, lease_epoch: i64) -> Batch {
    let on_lease = |sql: &'static str| Statement::new(sql).bind(job_id).bind(lease_epoch);
    let lock = on_lease(
        "UPDATE placement_reservation SET rest_micros = rest_micros WHERE job_id = $1 AND lease_epoch = $2",
    );
    let give_back = on_lease(
        "UPDATE placement_budget SET reserved_micros = reserved_micros - \
         (SELECT rest_micros FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2) \
         WHERE product_id = (SELECT product_id FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2)",
    );
    let forget =
        on_lease("DELETE FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2");
    batch.sql(lock).sql(give_back).sql(forget)
}

pub async fn budget(db: &Database, product_id: &str) -> Result<Option<Budget>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_budget WHERE product_id = $1");
    let rows = db.read_one(Statement::new(sql).bind(product_id)).await?;
    Ok(rows.first().map(budget_of).transpose()?)
}

/// Up to `limit` budgets, by product.
pub async fn list(db: &Database, filter: &Filter, limit: u32) -> Result<Vec<Budget>, ServerError> {
    let paused = match filter.paused {
        None => "",
        Some(true) => " AND paused_by IS NOT NULL",
        Some(false) => " AND paused_by IS NULL",
    };
    // No product is called by the empty text.
    let sql = format!(
        "SELECT {COLUMNS} FROM placement_budget WHERE product_id > $1{paused} ORDER BY product_id LIMIT $2"
    );
    let after = filter.after.as_deref().unwrap_or_default();
    let statement = Statement::new(sql).bind(after).bind(limit);
    budgets(db, statement).await
}

/// Up to `limit` budgets whose window is over.
pub async fn lapsed(db: &Database, now_us: i64, limit: u32) -> Result<Vec<Budget>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM placement_budget WHERE ends_at IS NOT NULL AND ends_at <= $1 ORDER BY ends_at LIMIT $2"
    );
    budgets(db, Statement::new(sql).bind(now_us).bind(limit)).await
}

/// Whether something reached its ceiling while nothing was enforced.
pub async fn is_any_open_at_its_ceiling(db: &Database) -> Result<bool, ServerError> {
    let sql = "SELECT product_id FROM placement_budget WHERE paused_by IS NULL AND spent_micros >= ceiling_micros LIMIT 1";
    let rows = db.read_one(Statement::new(sql)).await?;
    Ok(rows.first().is_some())
}

/// When the next window ends.
pub async fn next_end_us(db: &Database) -> Result<Option<i64>, ServerError> {
    let sql =
        "SELECT ends_at FROM placement_budget WHERE ends_at IS NOT NULL ORDER BY ends_at LIMIT 1";
    let rows = db.read_one(Statement::new(sql)).await?;
    let end = rows.first().map(|row| row.integer("ends_at")).transpose()?;
    Ok(end)
}

/// The budgets of products of which a job waits.
pub fn select_awaited() -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM placement_budget WHERE product_id IN \
         (SELECT b.product_id FROM placement_bucket b WHERE b.queued > 0)"
    ))
}

/// What was spent under this key.
pub async fn spending(
    db: &Database,
    product_id: &str,
    key: &str,
) -> Result<Option<Spending>, ServerError> {
    let sql = "SELECT product_id, key, amount_micros, job_id, lease_epoch, consumed_micros, recorded_at \
               FROM placement_spend WHERE product_id = $1 AND key = $2";
    let statement = Statement::new(sql).bind(product_id).bind(key);
    let rows = db.read_one(statement).await?;
    Ok(rows.first().map(spending_of).transpose()?)
}

/// Up to `limit` days on which something was spent, newest first.
pub async fn days(
    db: &Database,
    product_id: &str,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Day>, ServerError> {
    let sql = "SELECT day, amount_micros FROM placement_spend_day WHERE product_id = $1 AND day < $2 \
               ORDER BY day DESC LIMIT $3";
    let statement = Statement::new(sql)
        .bind(product_id)
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit);
    let rows = db.read_one(statement).await?;
    let days = rows.iter().map(|row| {
        Ok(Day {
            day: row.integer("day")?,
            amount_micros: row.integer("amount_micros")?,
        })
    });
    Ok(days.collect::<Result<_, RowError>>()?)
}

/// What was spent on that day and after; none where that is more than can be counted. Summed in parts, because a sum that
/// overflows is an error of the database.
pub async fn spent_since(
    db: &Database,
    product_id: &str,
    day: i64,
) -> Result<Option<i64>, ServerError> {
    let sql = "SELECT CAST(COALESCE(SUM(amount_micros / 1000000), 0) AS BIGINT) AS dollars, \
               CAST(COALESCE(SUM(amount_micros % 1000000), 0) AS BIGINT) AS micros FROM placement_spend_day \
               WHERE product_id = $1 AND day >= $2";
    let statement = Statement::new(sql).bind(product_id).bind(day);
    let rows = db.read_one(statement).await?;
    let Some(row) = rows.first() else {
        return Ok(Some(0));
    };
    let sum = i128::from(row.integer("dollars")?) * 1_000_000 + i128::from(row.integer("micros")?);
    let most = i128::from(DOLLARS_MAX) * 1_000_000;
    Ok(i64::try_from(sum).ok().filter(|_| sum < most))
}

async fn budgets(db: &Database, statement: Statement) -> Result<Vec<Budget>, ServerError> {
    let rows = db.read_one(statement).await?;
    Ok(rows
        .iter()
        .map(budget_of)
        .collect::<Result<_, RowError>>()?)
}

/// Read from a row of this module's budgets.
pub fn budget_of(row: Row<'_>) -> Result<Budget, RowError> {
    let pause = match row.optional_text("paused_by")? {
        None => None,
        Some(_) => Some(Pause {
            by: row.word("paused_by", "manual or ceiling", PausedBy::from_name)?,
            at_us: row.integer("paused_at")?,
            by_name: row.optional_text("paused_by_name")?.map(str::to_owned),
        }),
    };
    Ok(Budget {
        product_id: row.text("product_id")?.to_owned(),
        ceiling_micros: row.integer("ceiling_micros")?,
        period: row.word("period", "a period", Period::from_name)?,
        window: Window {
            starts_at_us: row.integer("starts_at")?,
            ends_at_us: row.optional_integer("ends_at")?,
        },
        spent_micros: row.integer("spent_micros")?,
        reserved_micros: row.integer("reserved_micros")?,
        pause,
        created_at_us: row.integer("created_at")?,
        updated_at_us: row.integer("updated_at")?,
        revision: row.integer("revision")?,
    })
}

fn spending_of(row: Row<'_>) -> Result<Spending, RowError> {
    let job = match row.optional_id("job_id")? {
        None => None,
        Some(id) => Some((id, row.integer("lease_epoch")?)),
    };
    Ok(Spending {
        product_id: row.text("product_id")?.to_owned(),
        key: row.text("key")?.to_owned(),
        amount_micros: row.integer("amount_micros")?,
        job,
        consumed_micros: row.integer("consumed_micros")?,
        recorded_at_us: row.integer("recorded_at")?,
    })
}
