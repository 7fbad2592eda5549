//! Records what is due: each fire once, and with it the schedule's next one, in one batch. May run at any time, twice, or on
//! two servers: a schedule that somebody has armed since it was read is left alone.

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};

use super::RUNS_SIGNAL;
use super::save::times_of;
use crate::decide::{Armed, Firing, decide_fire};
use crate::store::{self, Header, runs};

/// Schedules of one batch: two statements each, so a batch holds the writer for some tens of milliseconds.
const PAGE: u32 = 250;

/// Records everything that is due now, and gives the time at which the next fire is.
pub async fn fire_due(server: &Server) -> Result<Option<i64>, ServerError> {
    loop {
        let now_us = server.now_us();
        let ahead = store::ahead(server.db(), now_us, PAGE).await?;
        let due = store::due(server.db(), now_us, PAGE).await?;
        let is_full = [&ahead, &due]
            .iter()
            .any(|page| u32::try_from(page.len()) == Ok(PAGE));
        if ahead.is_empty() && due.is_empty() {
            break;
        }
        let batch = ahead
            .iter()
            .chain(&due)
            .fold(Batch::new(), |batch, header| write(batch, header, now_us));
        let batch = batch.signal(RUNS_SIGNAL);
        server.db().commit(&server.own_context(), batch).await?;
        if !is_full
            && store::earliest_due(server.db())
                .await?
                .is_none_or(|due_us| due_us > now_us)
        {
            break;
        }
    }
    store::earliest_due(server.db()).await
}

fn write(batch: Batch, header: &Header, now_us: i64) -> Batch {
    let timing = times_of(header).timing(header.id);
    let (Some(timing), Some(next)) = (timing, header.next) else {
        // Of a zone or an expression that this version does not know: it fires no more until it is saved again.
        tracing::error!(schedule = %header.id, "a schedule cannot be read");
        return batch.sql(store::go_on(header, None, now_us));
    };
    let armed = Armed {
        schedule_id: header.id,
        misfire: header.misfire,
        next,
        computed_at_us: header.computed_at_us,
    };
    match decide_fire(&timing, &armed, now_us) {
        Firing::Wait => batch,
        Firing::Rearm(next) => batch.sql(store::go_on(header, next, now_us)),
        Firing::Record(fire, next) => batch
            .sql(runs::record(header, fire, now_us))
            .sql(store::go_on(header, next, now_us)),
    }
}
