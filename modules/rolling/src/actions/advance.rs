//! Carries out decisions: one write each, against the generation that was decided on. For the controller and for operators'
//! controls alike.

use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use fleetwright_plugin_api::wire::{CallContext, SetAction, SetControl};
use fleetwright_protocol::{HostId, SetId, validate};
use serde_json::Value;

use super::read::Standing;
use super::{DEPLOYMENTS_SIGNAL, RollingError, counts, create};
use crate::decide::rollback::Seen;
use crate::decide::{self, Decision, Effect, SetChange, Snapshot, Step, Target};
use crate::request::What;
use crate::store::{self, history};

/// Rows of one read while the hosts that had started are gathered: the most the API itself pages by.
const PAGE: u32 = 500;

/// The hosts a rollback runs on, last batch first, and where each batch of them ends, with its number.
#[derive(Debug, Default)]
pub struct Started {
    pub hosts: Vec<HostId>,
    pub ends: Vec<(u64, u64)>,
}

/// What a deployment does next; with the hosts that had started, if it needed to know.
pub async fn next(
    server: &Server,
    standing: &Standing,
    now_us: i64,
) -> Result<(Decision, Option<Started>), RollingError> {
    let rollback = rollback_seen(server, standing).await?;
    let snapshot = snapshot(standing, rollback);
    match decide::decide(&snapshot, now_us) {
        Decision::GatherStarted => {
            let started = gather_started(server, standing).await?;
            let known = Snapshot {
                started: u64::try_from(started.hosts.len()).ok(),
                ..snapshot
            };
            Ok((decide::decide(&known, now_us), Some(started)))
        }
        other => Ok((other, None)),
    }
}

/// What a decision reads.
pub fn snapshot(standing: &Standing, rollback: Option<Seen>) -> Snapshot<'_> {
    Snapshot {
        policy: &standing.header.policy,
        deployment: &standing.header.machine,
        counts: counts(&standing.set),
        rollback,
        started: None,
    }
}

/// What a decision reads of a rollback.
pub async fn rollback_seen(
    server: &Server,
    standing: &Standing,
) -> Result<Option<Seen>, ServerError> {
    let (Some(set), Some(rollback)) = (&standing.rollback, &standing.header.machine.rollback)
    else {
        return Ok(None);
    };
    let (id, end) = (standing.header.id, rollback.batch_end);
    Ok(Some(Seen {
        counts: counts(set),
        next_end: history::next_rollback_end(server.db(), id, end).await?,
    }))
}

/// Everything a step writes. `ServerError::Guard` at the commit: someone wrote first.
pub async fn batch_of(
    server: &Server,
    context: &CallContext,
    standing: &Standing,
    step: &Step,
    started: Option<Started>,
    now_us: i64,
) -> Result<Batch, RollingError> {
    let header = &standing.header;
    let creates_rollback = step.effects.contains(&Effect::CreateRollback);
    let rollback_set_id = if creates_rollback {
        Some(SetId(server.new_id()))
    } else {
        header.rollback_set_id
    };
    let finished_at_us = step.deployment.state.is_terminal().then_some(now_us);
    let write = store::advance(
        header.id,
        header.generation,
        &step.deployment,
        finished_at_us,
        rollback_set_id,
    );
    let mut batch = Batch::new().sql_expecting(write, 1);
    for effect in &step.effects {
        batch = with_effect(batch, standing, effect, now_us);
    }
    if let (true, Some(set_id), Some(started)) = (creates_rollback, rollback_set_id, started) {
        batch = with_rollback(batch, server, standing, set_id, &started).await?;
    }
    let (from, to) = (header.machine.state, step.deployment.state);
    if from != to {
        let names = (from.name(), to.name());
        let principal = context.principal.as_str();
        let generation = header.generation + 1;
        let (id, cause) = (header.id, &step.cause);
        batch = batch.sql(history::moved(
            id, generation, now_us, names, cause, principal,
        ));
    }
    Ok(batch.signal(DEPLOYMENTS_SIGNAL))
}

fn with_effect(batch: Batch, standing: &Standing, effect: &Effect, now_us: i64) -> Batch {
    let id = standing.header.id;
    match effect {
        Effect::Set(target, change) => {
            let set_id = match target {
                Target::Deployment => Some(standing.header.set_id),
                Target::Rollback => standing.header.rollback_set_id,
            };
            match set_id {
                Some(set_id) => batch.control_set(&SetControl {
                    set_id,
                    action: action(*change),
                    // The deployment's own generation guards the whole batch.
                    expect_generation: None,
                }),
                None => batch,
            }
        }
        Effect::Dispatched {
            batch: number,
            size,
        } => batch.sql(history::dispatched(id, *number, *size, now_us)),
        Effect::Finished {
            batch: number,
            tally,
            skipped,
        } => batch.sql(history::finished(id, *number, tally, *skipped, now_us)),
        // Added by the caller, which knows the hosts.
        Effect::CreateRollback => batch,
    }
}

fn action(change: SetChange) -> SetAction {
    match change {
        SetChange::Release { from, to } => SetAction::ReleaseRange { from, to },
        SetChange::Pause => SetAction::Pause,
        SetChange::Resume => SetAction::Resume,
        SetChange::Cancel { kill, halted } => SetAction::Cancel {
            kill,
            hosts: None,
            reason: if halted { "halted" } else { "cancelled" }.to_owned(),
        },
        SetChange::GiveUp { below } => SetAction::GiveUp { below },
    }
}

async fn with_rollback(
    batch: Batch,
    server: &Server,
    standing: &Standing,
    set_id: SetId,
    started: &Started,
) -> Result<Batch, RollingError> {
    let id = standing.header.id;
    let found = store::with_asked(server.db(), id, None).await?;
    let (header, asked) = found.ok_or(RollingError::NotFound)?;
    let rollback = asked.rollback.unwrap_or_default();
    let kind = rollback["operation_type"].as_str().unwrap_or_default();
    let parameters: Value = rollback["parameters"].clone();
    let operation = validate::operation(kind, &parameters).map_err(RollingError::Invalid)?;
    let what = What {
        operation,
        parameters,
    };
    let set = create::rollback_set(set_id, &what, &asked.execution, &header.terms);
    let batch = batch.create_set(&set, &started.hosts);
    Ok(history::rollback_ends(batch, id, &started.ends))
}

/// The hosts whose operation had started, last batch first and in their order within each.
async fn gather_started(server: &Server, standing: &Standing) -> Result<Started, ServerError> {
    let policy = &standing.header.policy;
    let mut by_batch: Vec<(u64, Vec<HostId>)> = Vec::new();
    let mut cursor = 0;
    loop {
        let page = server
            .sets()
            .commands(standing.set.id, None, cursor, PAGE)
            .await?;
        for row in page.items.iter().filter(|row| row.started_at_us.is_some()) {
            let number = policy.partition.batch_of(row.ordinal);
            match by_batch.last_mut() {
                Some((last, hosts)) if *last == number => hosts.push(row.host_id),
                Some(_) | None => by_batch.push((number, vec![row.host_id])),
            }
        }
        // Nothing beyond what was released has started.
        match page.next_cursor {
            Some(next) if next < standing.header.machine.batch.released => cursor = next,
            Some(_) | None => break,
        }
    }
    let mut started = Started::default();
    for (number, hosts) in by_batch.into_iter().rev() {
        started.hosts.extend(hosts);
        let end = u64::try_from(started.hosts.len()).unwrap_or(u64::MAX);
        started.ends.push((end, number));
    }
    Ok(started)
}
