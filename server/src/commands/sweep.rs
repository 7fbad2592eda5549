//! The timer: deadlines that are rows, and sets whose time to live is over. Level-triggered: what it misses while the
//! server is down it finds at the next tick.

use super::control::change_rows;
use super::decide;
use super::effects::{Effects, Hint};
use super::service::Commands;
use super::store::{self, sets};
use crate::db::DbError;
use crate::loops::Place;

/// Rows per transaction.
const BATCH: u32 = 500;

pub(super) async fn run(commands: Commands, place: Place) {
    place
        .every(|| async {
            if let Err(error) = tick(&commands).await {
                tracing::warn!(%error, "the deadline sweep failed; it tries again");
            }
        })
        .await;
}

/// One pass over everything that is due now.
pub async fn tick(commands: &Commands) -> Result<(), DbError> {
    loop {
        let handle = commands.clone();
        let now = commands.now();
        let due = commands
            .db()
            .write(move |tx| {
                let rows = store::load_due(tx, now.lease_us, BATCH)?;
                let count = rows.len();
                let mut effects = Effects::default();
                change_rows(tx, rows, now, &mut effects, |row, _| {
                    decide::on_due(&mut row.state, now);
                })?;
                effects.after_commit(tx, handle.outlets());
                Ok::<_, DbError>(count)
            })
            .await?;
        if due < BATCH as usize {
            break;
        }
    }
    let expired = commands
        .db()
        .read(sets::select_expired(commands.now().lease_us))
        .await?;
    for row in &expired {
        commands.outlets().hint(Hint::Set(row.id("id")?));
    }
    Ok(())
}
