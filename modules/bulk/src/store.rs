//! What is written of bulk operations beside what is written of every kind: the status that was followed. The table is
//! `bulk_operations`; its rows are read and added by `fleetwright_operations::store`.

use fleetwright_plugin_api::sdk::{Migration, Statement};
use uuid::Uuid;

use crate::decide::Status;

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "operations",
    sqlite: include_str!("../migrations/0001_operations.sqlite.sql"),
    postgres: include_str!("../migrations/0001_operations.postgres.sql"),
}];

/// Writes a status computed from the set at `revision`. Does nothing if a newer one is stored, or a terminal one.
pub fn follow(id: Uuid, status: Status, revision: i64) -> Statement {
    let sql = "UPDATE bulk_operations SET status = $1, status_revision = $2 \
               WHERE id = $3 AND status_revision < $2 AND status IN ('queued', 'running')";
    Statement::new(sql)
        .bind(status.as_str())
        .bind(revision)
        .bind(id)
}
