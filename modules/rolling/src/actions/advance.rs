//! Carries out decisions: one write each, against the generation that was decided on. For the controller and for operators'
//! controls alike.

use fleetwright_operations::create::count;
use fleetwright_operations::request::What;
use fleetwright_operations::store::with_asked;
use fleetwright_operations::{Kind, OperationError};
use fleetwright_plugin_api::sdk::{Batch, Server, ServerError};
use fleetwright_plugin_api::wire::{CallContext, SetAction, SetControl};
use fleetwright_protocol::{HostId, SetId, validate};
use serde_json::Value;

use super::{counts, create};
use crate::decide::{self, Decision, Effect, Seen, SetChange, Snapshot, Step, Target};
use crate::row::{LoadedDeployment, RollingKind};
use crate::store::{self, history};

/// Rows of one read while the hosts that had started are gathered: the most the API itself pages by.
const PAGE: u32 = 500;

/// The hosts a rollback runs on, last batch first, and where each batch of them ends, with its number.
#[derive(Debug, Default)]
pub struct Started {
    pub hosts: Vec<HostId>,
    pub ends: Vec<(u64, u64)>,
}

/// What a deployment does next by the lease clock, on which its waits are; with the hosts that had started, if it needed to know.
pub async fn next(
    server: &Server,
    loaded: &LoadedDeployment,
    lease_us: i64,
) -> Result<(Decision, Option<Started>), OperationError> {
    let rollback = rollback_seen(server, loaded).await?;
    let snapshot = snapshot(loaded, rollback);
    match decide::decide(&snapshot, lease_us) {
        Decision::GatherStarted => {
            let started = gather_started(server, loaded).await?;
            let known = Snapshot {
                started: Some(count(&started.hosts)),
                ..snapshot
            };
            Ok((decide::decide(&known, lease_us), Some(started)))
        }
        other => Ok((other, None)),
    }
}

/// What a decision reads.
pub fn snapshot(loaded: &LoadedDeployment, rollback: Option<Seen>) -> Snapshot<'_> {
    Snapshot {
        policy: &loaded.header.own.policy,
        deployment: &loaded.header.own.machine,
        counts: counts(&loaded.set),
        rollback,
        started: None,
    }
}

/// What a decision reads of a rollback.
pub async fn rollback_seen(
    server: &Server,
    loaded: &LoadedDeployment,
) -> Result<Option<Seen>, ServerError> {
    let (Some(set), Some(rollback)) = (&loaded.rollback, &loaded.header.own.machine.rollback)
    else {
        return Ok(None);
    };
    let (id, end) = (loaded.header.id, rollback.batch_end);
    Ok(Some(Seen {
        counts: counts(set),
        next_end: history::next_rollback_end(server.db(), id, end).await?,
    }))
}

/// Everything a step writes. `ServerError::Guard` at the commit: someone wrote first.
pub async fn batch_of(
    server: &Server,
    context: &CallContext,
    loaded: &LoadedDeployment,
    step: &Step,
    started: Option<Started>,
    now_us: i64,
) -> Result<Batch, OperationError> {
    let header = &loaded.header;
    let own = &header.own;
    let creates_rollback = step.effects.contains(&Effect::CreateRollback);
    let rollback_set_id = if creates_rollback {
        Some(SetId(server.new_id()))
    } else {
        own.rollback_set_id
    };
    let finished_at_us = step.deployment.state.is_terminal().then_some(now_us);
    let write = store::advance(
        header.id,
        own.generation,
        &step.deployment,
        finished_at_us,
        rollback_set_id,
    );
    let mut batch = Batch::new().sql_expecting(write, 1);
    for effect in &step.effects {
        batch = with_effect(batch, loaded, effect, now_us);
    }
    if let (true, Some(set_id), Some(started)) = (creates_rollback, rollback_set_id, started) {
        batch = with_rollback(batch, server, loaded, set_id, &started).await?;
    }
    let (from, to) = (own.machine.state, step.deployment.state);
    if from != to {
        let names = (from.name(), to.name());
        let principal = context.principal.as_str();
        let generation = own.generation + 1;
        let (id, cause) = (header.id, &step.cause);
        batch = batch.sql(history::moved(
            id, generation, now_us, names, cause, principal,
        ));
    }
    Ok(batch.signal(RollingKind::NAMES.signal))
}

fn with_effect(batch: Batch, loaded: &LoadedDeployment, effect: &Effect, now_us: i64) -> Batch {
    let id = loaded.header.id;
    match effect {
        Effect::Set(target, change) => {
            let set_id = match target {
                Target::Deployment => Some(loaded.header.set_id),
                Target::Rollback => loaded.header.own.rollback_set_id,
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
    loaded: &LoadedDeployment,
    set_id: SetId,
    started: &Started,
) -> Result<Batch, OperationError> {
    let id = loaded.header.id;
    let found = with_asked::<RollingKind>(server.db(), id, None).await?;
    let (header, asked) = found.ok_or(OperationError::NotFound)?;
    let rollback = asked.more.0.unwrap_or_default();
    let kind = rollback["operation_type"].as_str().unwrap_or_default();
    let parameters: Value = rollback["parameters"].clone();
    let operation = validate::operation(kind, &parameters).map_err(OperationError::Invalid)?;
    let what = What {
        operation,
        parameters,
    };
    let set = create::rollback_set(set_id, &what, &asked.execution, &header.options);
    let batch = batch.create_set(&set, &started.hosts);
    Ok(history::rollback_ends(batch, id, &started.ends))
}

/// The hosts whose operation had started, last batch first and in their order within each.
async fn gather_started(
    server: &Server,
    loaded: &LoadedDeployment,
) -> Result<Started, ServerError> {
    let policy = &loaded.header.own.policy;
    let mut by_batch: Vec<(u64, Vec<HostId>)> = Vec::new();
    let mut cursor = 0;
    loop {
        let page = server
            .sets()
            .commands(loaded.set.id, None, cursor, PAGE)
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
            Some(next) if next < loaded.header.own.machine.batch.released => cursor = next,
            Some(_) | None => break,
        }
    }
    let mut started = Started::default();
    for (number, hosts) in by_batch.into_iter().rev() {
        started.hosts.extend(hosts);
        started.ends.push((count(&started.hosts), number));
    }
    Ok(started)
}
