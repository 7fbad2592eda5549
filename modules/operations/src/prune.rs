//! Drops operations whose sets were swept away, now and every hour.

use std::collections::HashSet;
use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use fleetwright_protocol::SetId;
use uuid::Uuid;

use crate::kind::Kind;
use crate::store;

/// Ids looked at in one read.
const PAGE: u32 = 1_000;
/// Sets are swept away after days, so their operations may stay an hour longer.
const PERIOD: Duration = Duration::from_secs(3600);
/// An operation and its set are created together; this is only not to race with a commit.
const AGE_US: i64 = 3_600 * 1_000_000;

/// Starts the loop of a kind, `<module>-prune`.
pub fn spawn<K: Kind>(server: &Server) {
    let pruned = server.clone();
    let name = format!("{}-prune", K::NAMES.module);
    server.spawn(&name, move || run::<K>(pruned.clone()));
}

async fn run<K: Kind>(server: Server) {
    loop {
        if let Err(error) = once::<K>(&server).await {
            let kind = K::NAMES.module;
            tracing::warn!(error = %error, kind, "operations could not be pruned");
        }
        server.sleep(PERIOD).await;
    }
}

/// One pass over all operations old enough.
pub async fn once<K: Kind>(server: &Server) -> Result<(), ServerError> {
    let before_us = server.earlier_us().saturating_sub(AGE_US);
    let mut after = Uuid::nil();
    loop {
        let ids = store::ids_created_before::<K>(server.db(), before_us, after, PAGE).await?;
        let Some((last, _)) = ids.last() else {
            return Ok(());
        };
        after = *last;
        let set_ids: Vec<SetId> = ids.iter().map(|(_, set_id)| *set_id).collect();
        let sets = server.sets().get(&set_ids).await?;
        let kept: HashSet<SetId> = sets.iter().map(|set| set.id).collect();
        let gone: Vec<Uuid> = ids
            .iter()
            .filter(|(_, set_id)| !kept.contains(set_id))
            .map(|(id, _)| *id)
            .collect();
        for together in gone.chunks(K::DROPPED_AT_ONCE) {
            let statements = together.iter().flat_map(|id| store::delete::<K>(*id));
            let batch = statements.fold(Batch::new(), Batch::sql);
            server.db().commit(&server.own_context(), batch).await?;
        }
    }
}
