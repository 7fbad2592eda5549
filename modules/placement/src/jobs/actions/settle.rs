//! Settles what waits for a job that ships, in the batch in which it does. Where more wait than a batch can change, a loop goes
//! on with the others.

use std::collections::HashMap;
use std::time::Duration;

use fleetwright_plugin_api::sdk::{Batch, Server};
use futures_util::future::select;
use serde_json::json;
use uuid::Uuid;

use super::super::decide::settle::Settling;
use super::super::job::Job;
use super::super::stage::Stage;
use super::super::store::change::{self, Event};
use super::super::store::{self, edges};
use super::{commit, event};
use crate::error::PlacementError;

/// Dependencies settled in one batch: each takes about ten of its thousand steps.
const EDGES_MAX: usize = 80;
/// Published when more wait than a batch had room for.
const LEFT_SIGNAL: &str = "placement:left";
/// How often the loop looks by itself: for what a server that ended had left.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Shipped jobs looked at in one pass.
const SHIPPED_PER_PASS: i64 = 100;

/// Adds what follows from `shipped`, whose row is guarded by whoever commits, or never changes again.
pub async fn follow(
    server: &Server,
    settling: &mut Settling,
    shipped: Uuid,
) -> Result<(), PlacementError> {
    let (db, now_us) = (server.db(), server.now_us());
    let mut open = vec![shipped];
    while let Some(id) = open.pop() {
        let room = EDGES_MAX.saturating_sub(settling.edges.len());
        let mut waiting = edges::waiting_for(db, id, room + 1).await?;
        settling.is_cut |= waiting.len() > room;
        waiting.truncate(room);
        let ids: Vec<Uuid> = waiting.iter().map(|edge| edge.job_id).collect();
        let jobs = store::jobs(db, &ids).await?;
        let jobs: HashMap<Uuid, Job> = jobs.into_iter().map(|job| (job.id, job)).collect();
        for edge in waiting {
            if let Some(job) = jobs.get(&edge.job_id)
                && settling.settle(edge, job, now_us)
            {
                open.push(edge.job_id);
            }
        }
    }
    Ok(())
}

/// Writes it. `told` is what happened to the first of them, if it is more than that a dependency was settled; that one is
/// waived.
pub fn write(mut batch: Batch, settling: &Settling, told: Option<(Uuid, &Event)>) -> Batch {
    for (index, edge) in settling.edges.iter().enumerate() {
        batch = edges::settle(batch, *edge, index == 0 && told.is_some());
    }
    for (id, (before, after)) in &settling.changes {
        let event = match told {
            Some((told, event)) if told == *id => event.clone(),
            _ => settled(before, after),
        };
        batch = change::update(batch, before, after, &event);
    }
    if settling.is_cut {
        batch.signal(LEFT_SIGNAL)
    } else {
        batch
    }
}

fn settled(before: &Job, after: &Job) -> Event {
    let kind = match after.stage {
        stage if stage == before.stage => "dependency_settled",
        Stage::Shipped => "shipped",
        _ => "unblocked",
    };
    let data = json!({"waits_for": after.waits_for});
    event(kind, "module:placement", data)
}

/// Goes on where a batch had no room.
pub async fn run(server: Server) {
    let mut generation = 0;
    loop {
        match pass(&server).await {
            // There may be more.
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::debug!(error = %error, "what waits could not be settled"),
        }
        let keys = [LEFT_SIGNAL.to_owned()];
        let signals = server.signals().clone();
        let signal = std::pin::pin!(signals.wait(&keys, generation));
        let clock = server.clone();
        let timer = std::pin::pin!(clock.sleep(LOOK_EVERY));
        if let futures_util::future::Either::Left((next, _)) = select(signal, timer).await {
            generation = next;
        }
    }
}

/// Settles some of what is left; true if it changed something.
pub async fn pass(server: &Server) -> Result<bool, PlacementError> {
    let mut moved = false;
    for shipped in edges::left(server.db(), SHIPPED_PER_PASS).await? {
        let mut settling = Settling::default();
        follow(server, &mut settling, shipped).await?;
        let batch = write(Batch::new(), &settling, None);
        // One that lost against another is met again.
        if !batch.is_empty() {
            moved |= commit(server, &server.own_context(), batch).await?;
        }
    }
    Ok(moved)
}
