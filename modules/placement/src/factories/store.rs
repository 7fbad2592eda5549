//! The tables of factories and products: all of their SQL.

use fleetwright_plugin_api::sdk::{Batch, Statement};
use uuid::Uuid;

/// Takes a seat, if there is one: else the whole batch is refused.
#[must_use]
pub fn take_seat(batch: Batch, factory_id: Uuid) -> Batch {
    let sql = "UPDATE placement_factory SET seats_used = seats_used + 1 WHERE id = $1 AND seats_used < seat_limit";
    batch.sql_expecting(Statement::new(sql).bind(factory_id), 1)
}

/// Gives a seat back.
#[must_use]
pub fn give_back_seat(batch: Batch, factory_id: Uuid) -> Batch {
    let sql =
        "UPDATE placement_factory SET seats_used = seats_used - 1 WHERE id = $1 AND seats_used > 0";
    batch.sql_expecting(Statement::new(sql).bind(factory_id), 1)
}
