//! What changes a budget. Sums are moved by the database's own arithmetic, so that any number of spenders at once lose
//! nothing; everything else is written on the condition that the revision is the one that was read.

use fleetwright_plugin_api::sdk::{Batch, Statement};

use super::super::calendar::day_of;
use super::super::decide::Budget;
use super::{DOLLARS_MAX, Spending};

/// Adds a budget that was not there: a constraint refuses a second one.
#[must_use]
pub fn insert(batch: Batch, budget: &Budget) -> Batch {
    let sql = "INSERT INTO placement_budget (product_id, ceiling_micros, period, starts_at, ends_at, spent_micros, \
               reserved_micros, paused_by, paused_at, paused_by_name, created_at, updated_at, revision) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let pause = budget.pause.as_ref();
    let statement = Statement::new(sql)
        .bind(budget.product_id.as_str())
        .bind(budget.ceiling_micros)
        .bind(budget.period.as_str())
        .bind(budget.window.starts_at_us)
        .bind(budget.window.ends_at_us)
        .bind(budget.spent_micros)
        .bind(budget.reserved_micros)
        .bind(pause.map(|pause| pause.by.as_str()))
        .bind(pause.map(|pause| pause.at_us))
        .bind(pause.and_then(|pause| pause.by_name.as_deref()))
        .bind(budget.created_at_us)
        .bind(budget.updated_at_us)
        .bind(budget.revision);
    batch.sql(statement)
}

/// Writes another ceiling and window. What is spent stays, or is summed up anew where the window is another one.
#[must_use]
pub fn set(batch: Batch, before: &Budget, after: &Budget, is_enforced: bool) -> Batch {
    // What others spend meanwhile is seen by the statements after this one.
    let lock =
        "UPDATE placement_budget SET revision = revision WHERE product_id = $1 AND revision = $2";
    let lock = Statement::new(lock)
        .bind(before.product_id.as_str())
        .bind(before.revision);
    let of_window =
        "FROM placement_spend_day WHERE placement_spend_day.product_id = $1 AND day >= $8";
    let (spent, guard) = if before.window == after.window {
        ("spent_micros".to_owned(), String::new())
    } else {
        let sum = format!("(SELECT CAST(COALESCE(SUM(amount_micros), 0) AS BIGINT) {of_window})");
        // Else the sum would be an error of the database.
        let parts =
            "COALESCE(SUM(amount_micros / 1000000) + SUM(amount_micros % 1000000) / 1000000, 0)";
        let guard = format!(" AND (SELECT {parts} {of_window}) < {DOLLARS_MAX}");
        (sum, guard)
    };
    let sql = format!(
        "UPDATE placement_budget SET ceiling_micros = $2, period = $3, starts_at = $4, ends_at = $5, updated_at = $6, \
         revision = $7, spent_micros = {spent} WHERE product_id = $1{guard}"
    );
    let statement = Statement::new(sql)
        .bind(after.product_id.as_str())
        .bind(after.ceiling_micros)
        .bind(after.period.as_str())
        .bind(after.window.starts_at_us)
        .bind(after.window.ends_at_us)
        .bind(after.updated_at_us)
        .bind(after.revision);
    let statement = if before.window == after.window {
        statement
    } else {
        statement.bind(day_of(after.window.starts_at_us))
    };
    let batch = batch.sql_expecting(lock, 1).sql_expecting(statement, 1);
    judge(batch, after, is_enforced)
}

/// Begins the next window, if the one that was read is still the one.
#[must_use]
pub fn roll_over(batch: Batch, before: &Budget, after: &Budget, is_enforced: bool) -> Batch {
    let sql = "UPDATE placement_budget SET starts_at = $3, ends_at = $4, spent_micros = 0, updated_at = $5, revision = $6 \
               WHERE product_id = $1 AND revision = $2";
    let statement = Statement::new(sql)
        .bind(before.product_id.as_str())
        .bind(before.revision)
        .bind(after.window.starts_at_us)
        .bind(after.window.ends_at_us)
        .bind(after.updated_at_us)
        .bind(after.revision);
    judge(batch.sql_expecting(statement, 1), after, is_enforced)
}

/// Pauses or resumes. Resuming, where it is enforced, asks that the ceiling is not reached.
#[must_use]
pub fn pause(batch: Batch, before: &Budget, after: &Budget, is_enforced: bool) -> Batch {
    let guard = if after.pause.is_none() && is_enforced {
        " AND spent_micros < ceiling_micros"
    } else {
        ""
    };
    let sql = format!(
        "UPDATE placement_budget SET paused_by = $3, paused_at = $4, paused_by_name = $5, updated_at = $6, revision = $7 \
         WHERE product_id = $1 AND revision = $2{guard}"
    );
    let pause = after.pause.as_ref();
    let statement = Statement::new(sql)
        .bind(before.product_id.as_str())
        .bind(before.revision)
        .bind(pause.map(|pause| pause.by.as_str()))
        .bind(pause.map(|pause| pause.at_us))
        .bind(pause.and_then(|pause| pause.by_name.as_deref()))
        .bind(after.updated_at_us)
        .bind(after.revision);
    batch.sql_expecting(statement, 1)
}

/// Counts what was spent, in the window that was read, of a lease's reservation as much as is left of it, and in its day.
/// A constraint refuses a key that was counted.
#[must_use]
pub fn spend(batch: Batch, budget: &Budget, spending: &Spending, is_enforced: bool) -> Batch {
    let (job_id, lease_epoch) = spending.job.unzip();
    let lock = "UPDATE placement_reservation SET rest_micros = rest_micros WHERE job_id = $1 AND lease_epoch = $2";
    let note = "INSERT INTO placement_spend (product_id, key, amount_micros, job_id, lease_epoch, recorded_at, consumed_micros) \
                VALUES ($1, $2, $3, $4, $5, $6, COALESCE((SELECT CASE WHEN rest_micros < $3 THEN rest_micros ELSE $3 END \
                FROM placement_reservation WHERE job_id = $4 AND lease_epoch = $5 AND product_id = $1), 0))";
    let note = Statement::new(note)
        .bind(spending.product_id.as_str())
        .bind(spending.key.as_str())
        .bind(spending.amount_micros)
        .bind(job_id)
        .bind(lease_epoch)
        .bind(spending.recorded_at_us);
    let consumed =
        "(SELECT consumed_micros FROM placement_spend WHERE product_id = $1 AND key = $2)";
    let of_key = |sql: String| {
        Statement::new(sql)
            .bind(spending.product_id.as_str())
            .bind(spending.key.as_str())
    };
    let consume = of_key(format!(
        "UPDATE placement_reservation SET rest_micros = rest_micros - {consumed} \
         WHERE job_id = $3 AND lease_epoch = $4 AND product_id = $1"
    ))
    .bind(job_id)
    .bind(lease_epoch);
    let batch = if job_id.is_some() {
        let lock = Statement::new(lock).bind(job_id).bind(lease_epoch);
        batch.sql(lock).sql(note).sql(consume)
    } else {
        batch.sql(note)
    };
    // Beyond the last bound a sum could not be counted.
    let count = of_key(format!(
        "UPDATE placement_budget SET spent_micros = spent_micros + $3, reserved_micros = reserved_micros - {consumed}, \
         updated_at = $4 WHERE product_id = $1 AND starts_at = $5 AND period = $6 AND spent_micros <= $7"
    ))
    .bind(spending.amount_micros)
    .bind(spending.recorded_at_us)
    .bind(budget.window.starts_at_us)
    .bind(budget.period.as_str())
    .bind(i64::MAX - spending.amount_micros);
    let batch = batch
        .sql_expecting(count, 1)
        .sql_expecting(in_its_day(spending), 1);
    if is_enforced {
        let sql = close("revision = revision + 1");
        batch.sql(on(sql, budget, spending.recorded_at_us))
    } else {
        batch
    }
}

/// Pauses whatever reached its ceiling while nothing was enforced.
#[must_use]
pub fn close_all(batch: Batch, now_us: i64) -> Batch {
    let sql = "UPDATE placement_budget SET paused_by = 'ceiling', paused_at = $1, revision = revision + 1 \
               WHERE paused_by IS NULL AND spent_micros >= ceiling_micros";
    batch.sql(Statement::new(sql).bind(now_us))
}

fn in_its_day(spending: &Spending) -> Statement {
    let sql = "INSERT INTO placement_spend_day (product_id, day, amount_micros) VALUES ($1, $2, $3) \
               ON CONFLICT (product_id, day) DO UPDATE SET amount_micros = placement_spend_day.amount_micros + $3 \
               WHERE placement_spend_day.amount_micros <= $4";
    Statement::new(sql)
        .bind(spending.product_id.as_str())
        .bind(day_of(spending.recorded_at_us))
        .bind(spending.amount_micros)
        .bind(i64::MAX - spending.amount_micros)
}

/// Lifts a pause by the ceiling where it is not reached any more; pauses where it is.
fn judge(batch: Batch, after: &Budget, is_enforced: bool) -> Batch {
    let sql = "UPDATE placement_budget SET paused_by = NULL, paused_at = NULL, paused_by_name = NULL \
               WHERE product_id = $1 AND paused_by = 'ceiling' AND spent_micros < ceiling_micros";
    let batch = batch.sql(Statement::new(sql).bind(after.product_id.as_str()));
    if is_enforced {
        batch.sql(on(close("revision = revision"), after, after.updated_at_us))
    } else {
        batch
    }
}

fn close(revision: &str) -> String {
    format!(
        "UPDATE placement_budget SET paused_by = 'ceiling', paused_at = $2, {revision} \
         WHERE product_id = $1 AND paused_by IS NULL AND spent_micros >= ceiling_micros"
    )
}

fn on(sql: String, budget: &Budget, now_us: i64) -> Statement {
    Statement::new(sql)
        .bind(budget.product_id.as_str())
        .bind(now_us)
}
