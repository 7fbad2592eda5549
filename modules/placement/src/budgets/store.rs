//! The tables of budgets: all of their SQL.

use fleetwright_plugin_api::sdk::{Batch, Statement};
use uuid::Uuid;

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
