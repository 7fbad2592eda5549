//! What is written of deployments beside what is written of every kind of operation: each step. The table is
//! `rolling_deployments`; its rows are read and added by `fleetwright_operations::store`.

pub mod history;

use fleetwright_operations::columns::text;
use fleetwright_plugin_api::sdk::{Migration, Statement};
use fleetwright_protocol::SetId;
use uuid::Uuid;

use crate::decide::Deployment;

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "deployments",
    sqlite: include_str!("../migrations/0001_deployments.sqlite.sql"),
    postgres: include_str!("../migrations/0001_deployments.postgres.sql"),
}];

/// Writes what changed, if nothing was written since `generation`: exactly one row, or none. The generation rises.
pub fn advance(
    id: Uuid,
    generation: i64,
    machine: &Deployment,
    finished_at_us: Option<i64>,
    rollback_set_id: Option<SetId>,
) -> Statement {
    let sql = "UPDATE rolling_deployments SET state = $1, machine = $2, generation = generation + 1, \
               finished_at = $3, rollback_set_id = $4 WHERE id = $5 AND generation = $6";
    Statement::new(sql)
        .bind(machine.state.name())
        .bind(text(machine))
        .bind(finished_at_us)
        .bind(rollback_set_id.map(|id| id.0))
        .bind(id)
        .bind(generation)
}
