//! The reaper: takes jobs from leases that ran out and from factories that fell silent. Each job is a commit of its own, on the
//! condition that it still is so: two servers, or one pass twice, reap a lease once.

use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use serde_json::json;

use super::store;
use crate::factories;
use crate::jobs::decide::{self as jobs, Actor, after};
use crate::jobs::job::Job;
use crate::jobs::store::change::{self, Event};
use crate::jobs::store::lease;
use crate::settings::Settings;

/// So long a claim can be repeated by its name: far longer than anybody tries.
const CLAIMS_KEPT_US: i64 = 24 * 3_600 * 1_000_000;

/// Reaps until the module is stopped.
pub async fn reap(server: Server) {
    let pause = Duration::from_secs(
        Settings::of(&server)
            .placement
            .job_reap_seconds
            .max(1)
            .into(),
    );
    loop {
        match reap_once(&server).await {
            Ok(0) => {
                if let Err(error) = prune(&server).await {
                    tracing::warn!(%error, "old claims could not be forgotten");
                }
            }
            // There may be more than one pass takes.
            Ok(_) => continue,
            Err(error) => tracing::warn!(%error, "leases could not be reaped"),
        }
        server.sleep(pause).await;
    }
}

async fn prune(server: &Server) -> Result<(), ServerError> {
    let before_us = server.earlier_us().saturating_sub(CLAIMS_KEPT_US);
    if !store::is_anything_old(server.db(), before_us).await? {
        return Ok(());
    }
    let batch = store::prune(Batch::new(), before_us);
    server.db().commit(&server.own_context(), batch).await
}

/// One pass; how many jobs it took back.
pub async fn reap_once(server: &Server) -> Result<usize, ServerError> {
    let stale_us =
        i64::from(Settings::of(server).placement.factory_stale_seconds).saturating_mul(1_000_000);
    let now_lease_us = server.lease_us();
    let silent_since_us = now_lease_us.saturating_sub(stale_us);
    let mut reaped = 0;
    for id in store::reapable(server.db(), now_lease_us, silent_since_us).await? {
        let job = crate::jobs::store::job(server.db(), id).await?;
        let made = job.and_then(|job| batch(server, &job, now_lease_us, silent_since_us));
        let Some(batch) = made else {
            continue;
        };
        match server.db().commit(&server.own_context(), batch).await {
            Ok(()) => reaped += 1,
            // It was renewed, reported or reaped in between.
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reaped)
}

/// None: nobody holds it.
fn batch(server: &Server, job: &Job, now_lease_us: i64, silent_since_us: i64) -> Option<Batch> {
    let held = job.lease.as_ref()?;
    let mut reaped = after(job, Actor::System, jobs::Event::Reap, server.now_us()).ok()?;
    let is_expired = held.expires_lease_us < now_lease_us;
    let reason = match is_expired {
        true => "its lease ran out",
        false => "its factory fell silent",
    };
    reaped.reason = Some(reason.to_owned());
    let told = Event {
        kind: jobs::Event::Reap.kind(),
        actor: "module:placement".to_owned(),
        data: json!({
            "factory_id": held.factory_id,
            "reason": reason,
            "attempts": reaped.attempts,
            "lease_epoch": reaped.lease_epoch,
        }),
    };
    // The job before its factory, as whoever reports has it: two never wait for each other.
    Some(match is_expired {
        true => change::update(lease::not_renewed(Batch::new(), job), job, &reaped, &told),
        false => {
            let batch = change::update(Batch::new(), job, &reaped, &told);
            factories::store::still_silent(batch, held.factory_id, silent_since_us)
        }
    })
}
