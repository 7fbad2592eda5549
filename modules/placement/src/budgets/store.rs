//! The tables of budgets: all of their SQL.

use fleetwright_plugin_api::sdk::{Batch, Statement};
use uuid::Uuid;

/// Sets `amount_micros` aside for a lease that begins. The whole batch is refused (`ServerError::Guard`) where the product's
/// budget is paused, or what is spent and set aside would pass its ceiling with it. A product without a budget sets nothing
/// aside, and is never refused.
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
    let sql = "UPDATE placement_budget SET reserved_micros = reserved_micros - \
               (SELECT rest_micros FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2) \
               WHERE product_id = (SELECT product_id FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2)";
    let give_back = Statement::new(sql).bind(job_id).bind(lease_epoch);
    let sql = "DELETE FROM placement_reservation WHERE job_id = $1 AND lease_epoch = $2";
    let forget = Statement::new(sql).bind(job_id).bind(lease_epoch);
    batch.sql(give_back).sql(forget)
}
