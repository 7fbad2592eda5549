//! Deletes finished sets with their commands and outputs when their time has come, a small batch at a time.

use fleetwright_protocol::SetId;
use serde_json::json;

use super::service::Commands;
use super::store::retention as sql;
use crate::db::DbError;

/// Commands deleted per transaction.
const BATCH: u32 = 500;

/// Deletes one batch of what finished before `before_us`. Returns whether there may be more.
pub async fn sweep(commands: &Commands, before_us: i64) -> Result<bool, DbError> {
    commands
        .db()
        .write(move |tx| {
            let rows = tx.query(sql::select_finished(before_us))?;
            let Some(row) = rows.first() else {
                return Ok(false);
            };
            let set_id: SetId = row.id(0)?;
            let ids = tx.query(sql::select_commands(set_id, BATCH))?;
            if ids.is_empty() {
                for statement in sql::delete_set(set_id) {
                    tx.execute(statement)?;
                }
                return Ok(true);
            }
            let list = ids
                .iter_rows()
                .map(|row| Ok(json!([hex::encode(row.bytes(0)?)])))
                .collect::<Result<Vec<_>, DbError>>()?;
            for statement in sql::delete_commands(tx.dialect(), &json!(list).to_string()) {
                tx.execute(statement)?;
            }
            Ok(true)
        })
        .await
}
