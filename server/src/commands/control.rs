//! Pause, resume, limit, release and cancel a set, inside the caller's transaction. What a whole set's cancel means
//! for its rows is worked off by the dispatcher in chunks; from the commit on nothing of it is sent.

use std::collections::BTreeMap;

use fleetwright_plugin_api::wire::{SetAction, SetControl, SetView};
use fleetwright_protocol::{HostId, ServerFrame, SetId};

use super::create::SetError;
use super::decide;
use super::effects::Effects;
use super::materialise;
use super::service::Commands;
use super::store::sets::{self, CancelMode, CounterDelta, SetRow};
use super::store::{self, CommandRow, batches};
use crate::clock::Now;
use crate::db::{DbError, Tx};

/// Applies one control and returns the set as it is then.
pub fn control_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    control: &SetControl,
) -> Result<SetView, SetError> {
    let id = control.set_id;
    let mut set = sets::load(tx, id)?.ok_or(SetError::NotFound)?;
    if let Some(expected) = control.expect_generation
        && expected != set.view.generation
    {
        return Err(SetError::StaleGeneration {
            expected,
            found: set.view.generation,
        });
    }
    if set.view.is_finished() {
        return Err(SetError::Finished);
    }
    let mut effects = Effects::default();
    let cancel_reason = apply(tx, commands, &mut set, &control.action, &mut effects)?;
    sets::save_control(tx, &set, cancel_reason.as_deref())?;
    effects.changed.insert(id);
    effects.wake.insert(id);
    effects.after_commit(tx, commands.outlets());
    Ok(sets::load(tx, id)?.ok_or(SetError::NotFound)?.view)
}

fn apply(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set: &mut SetRow,
    action: &SetAction,
    effects: &mut Effects,
) -> Result<Option<String>, SetError> {
    let goes_with_a_cancel = matches!(action, SetAction::Cancel { .. } | SetAction::GiveUp { .. });
    if set.cancel != CancelMode::None && !goes_with_a_cancel {
        return Err(SetError::Cancelled);
    }
    match action {
        SetAction::Pause => set.view.paused = true,
        SetAction::Resume => set.view.paused = false,
        SetAction::Limit { max_concurrency } => set.view.max_concurrency = *max_concurrency,
        SetAction::Release { count } => release(tx, commands, set, *count)?,
        SetAction::ReleaseRange { from, to } => release_range(tx, commands, set, *from, *to)?,
        SetAction::GiveUp { below } => {
            set.view.given_up_below = set.view.given_up_below.max(*below).min(set.view.total);
        }
        SetAction::Cancel {
            kill,
            hosts: None,
            reason,
        } => {
            let reason = decide::known_reason(reason).unwrap_or("cancelled");
            set.cancel = match (set.cancel, kill) {
                (CancelMode::Kill, _) | (_, true) => CancelMode::Kill,
                (CancelMode::None | CancelMode::Finish, false) => CancelMode::Finish,
            };
            return Ok(Some(reason.to_owned()));
        }
        SetAction::Cancel {
            kill,
            hosts: Some(hosts),
            ..
        } => {
            // They can only be cancelled once they have rows. Writing all of a large set's here would hold the writer for
            // seconds; the dispatcher does it in chunks, whether the set is paused or not.
            if set.materialised < set.view.total {
                return Err(SetError::Preparing);
            }
            cancel_hosts(tx, commands, set.view.id, hosts, *kill, effects)?;
        }
    }
    Ok(None)
}

fn release(tx: &mut Tx<'_>, commands: &Commands, set: &SetRow, count: u64) -> Result<(), SetError> {
    let rows = store::load_held(tx, set.view.id, count)?;
    if (rows.len() as u64) < count.min(set.view.held) {
        return Err(SetError::Preparing);
    }
    release_rows(tx, commands, set.view.id, rows)
}

fn release_range(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set: &SetRow,
    from: u64,
    to: u64,
) -> Result<(), SetError> {
    if set.materialised < to.min(set.view.total) {
        return Err(SetError::Preparing);
    }
    let rows = store::load_held_range(tx, set.view.id, from, to)?;
    release_rows(tx, commands, set.view.id, rows)
}

fn release_rows(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set_id: SetId,
    mut rows: Vec<CommandRow>,
) -> Result<(), SetError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut delta = CounterDelta::default();
    for row in &mut rows {
        let from = row.state.status;
        row.state.status = fleetwright_plugin_api::wire::CommandStatus::Queued;
        delta.shift(from, row.state.status, None);
    }
    batches::save(tx, &rows)?;
    sets::apply(
        tx,
        &BTreeMap::from([(set_id, delta)]),
        commands.now().wall_us,
    )?;
    Ok(())
}

fn cancel_hosts(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set_id: SetId,
    hosts: &[HostId],
    kill: bool,
    effects: &mut Effects,
) -> Result<(), SetError> {
    for chunk in hosts.chunks(materialise::CHUNK) {
        let rows = store::load_of_hosts(tx, set_id, chunk)?;
        cancel_rows(tx, rows, kill, commands.now(), effects)?;
    }
    Ok(())
}

/// Cancels these rows: those not sent are skipped, the others' agents are told.
pub(super) fn cancel_rows(
    tx: &mut Tx<'_>,
    rows: Vec<CommandRow>,
    kill: bool,
    now: Now,
    effects: &mut Effects,
) -> Result<(), DbError> {
    change_rows(tx, rows, now, effects, |row, effects| {
        if decide::on_cancel(&mut row.state, kill, now) {
            let frame = ServerFrame::Cancel {
                command_id: row.id,
                kill,
            };
            effects.frames.push((row.host_id, frame));
        }
    })
}

/// Gives up these rows: those that cannot start any more are failed, the others' agents are asked not to.
pub(super) fn give_up_rows(
    tx: &mut Tx<'_>,
    rows: Vec<CommandRow>,
    now: Now,
    effects: &mut Effects,
) -> Result<(), DbError> {
    change_rows(tx, rows, now, effects, |row, effects| {
        if decide::on_given_up(&mut row.state, now) {
            let frame = ServerFrame::Cancel {
                command_id: row.id,
                kill: false,
            };
            effects.frames.push((row.host_id, frame));
        }
    })
}

/// Applies a decision to rows, saves those that changed, and keeps their sets' counters and slots in step. This is
/// the one way rows change after their birth.
pub(super) fn change_rows(
    tx: &mut Tx<'_>,
    rows: Vec<CommandRow>,
    now: Now,
    effects: &mut Effects,
    mut decide: impl FnMut(&mut CommandRow, &mut Effects),
) -> Result<(), DbError> {
    let mut deltas: BTreeMap<SetId, CounterDelta> = BTreeMap::new();
    let mut changed = Vec::new();
    for mut row in rows {
        let before = row.state.clone();
        decide(&mut row, effects);
        if row.state == before && row.result.is_none() && row.late_result.is_none() {
            continue;
        }
        note_change(
            &row,
            &before,
            deltas.entry(row.set_id).or_default(),
            effects,
        );
        changed.push(row);
    }
    if changed.is_empty() {
        return Ok(());
    }
    batches::save(tx, &changed)?;
    sets::apply(tx, &deltas, now.wall_us)
}

fn note_change(
    row: &CommandRow,
    before: &decide::CommandState,
    delta: &mut CounterDelta,
    effects: &mut Effects,
) {
    let after = &row.state;
    delta.shift(before.status, after.status, after.reason);
    delta.in_flight += i64::from(after.slot) - i64::from(before.slot);
    delta.started |= before.started_at.is_none() && after.started_at.is_some();
    if before.status != after.status {
        effects.changed.insert(row.set_id);
    }
    let over = after.status.is_terminal() && !before.status.is_terminal();
    let waits_again = before.sent_at.is_some() && after.sent_at.is_none();
    if over || waits_again {
        effects.resolved.push((row.host_id, row.id));
    }
    if over {
        effects.over.push(row.id);
        *effects.finished.entry(after.status).or_default() += 1;
    }
    // With the last one over the dispatcher forgets the set; with a slot free it sends the next.
    if over || (before.slot && !after.slot) {
        effects.wake.insert(row.set_id);
    }
}
