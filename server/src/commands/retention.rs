//! Deletes finished sets with their commands and outputs when their time has come, a small batch at a time; and parts of
//! outputs whose result will never come.

use std::collections::BTreeSet;

use fleetwright_protocol::{CommandId, SetId};
use serde_json::json;

use super::service::Commands;
use super::store::retention as sql;
use crate::clock::{Now, first_id_at};
use crate::db::DbError;

/// Commands deleted per transaction.
const BATCH: u32 = 500;

/// Deletes one batch of what finished before that time by the wall clock, and was born before it by the lease clock.
/// Returns whether there may be more.
pub async fn sweep(commands: &Commands, before: Now) -> Result<bool, DbError> {
    let born_before = SetId(first_id_at(before.lease_us));
    commands
        .db()
        .write(move |tx| {
            let rows = tx.query(sql::select_finished(before.wall_us, born_before))?;
            let Some(row) = rows.first() else {
                return Ok(false);
            };
            let set_id: SetId = row.id("id")?;
            let ids = tx.query(sql::select_commands(set_id, BATCH))?;
            if ids.is_empty() {
                for statement in sql::delete_set(set_id) {
                    tx.execute(statement)?;
                }
                return Ok(true);
            }
            let list = ids
                .iter()
                .map(|row| Ok(json!([hex::encode(row.bytes("id")?)])))
                .collect::<Result<Vec<_>, DbError>>()?;
            for statement in sql::delete_commands(tx.dialect(), &json!(list).to_string()) {
                tx.execute(statement)?;
            }
            Ok(true)
        })
        .await
}

/// Removes the spooled parts of every attempt that is not under way: its command is over, deleted, or at a later one.
pub async fn sweep_spool(commands: &Commands) -> Result<(), DbError> {
    let spooled = match commands.spool().attempts().await {
        Ok(spooled) => spooled,
        Err(error) => {
            tracing::warn!(%error, "the spooled outputs could not be listed");
            return Ok(());
        }
    };
    for chunk in spooled.chunks(BATCH as usize) {
        let list: Vec<_> = chunk
            .iter()
            .map(|(id, _)| json!([hex::encode(id.as_bytes())]))
            .collect();
        let statement =
            sql::select_open_attempts(commands.db().dialect(), &json!(list).to_string());
        let rows = commands.db().read(statement).await?;
        let open: BTreeSet<(CommandId, i64)> = rows
            .iter()
            .map(|row| Ok((row.id("id")?, row.integer("attempt")?)))
            .collect::<Result<_, DbError>>()?;
        for (id, attempt) in chunk {
            if !open.contains(&(*id, i64::from(*attempt))) {
                commands.spool().forget(*id, *attempt).await;
            }
        }
    }
    Ok(())
}
