//! Turns a set's frozen hosts into rows, a chunk at a time: resumable after a crash, and never long in the writer.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{CommandId, HostId, SetId};

use super::effects::Effects;
use super::service::Commands;
use super::store::sets::{self, CancelMode, CounterDelta, NewSet, SetRow};
use super::store::{self, NewRow};
use crate::db::{DbError, Tx};

/// Rows per transaction: about 8 ms of the writer with all indexes, measured on SQLite.
pub(super) const CHUNK: usize = 500;

/// The part of a set's contents that materialising needs, kept while it lasts.
pub(super) struct Frozen {
    pub host_ids: Vec<HostId>,
    pub skips: BTreeMap<u64, String>,
}

impl Frozen {
    pub fn new(contents: &sets::Contents) -> Self {
        Self {
            host_ids: contents
                .host_ids
                .chunks_exact(16)
                .filter_map(HostId::from_slice)
                .collect(),
            skips: contents.skips.iter().cloned().collect(),
        }
    }
}

/// All rows of a set small enough to be created at once.
pub(super) fn first_chunk_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set: &NewSet,
) -> Result<(), DbError> {
    let frozen = Frozen {
        host_ids: set.host_ids.clone(),
        skips: set
            .skips
            .iter()
            .map(|(ordinal, reason)| (*ordinal, (*reason).to_owned()))
            .collect(),
    };
    chunk_in(tx, commands, set.id, &frozen).map(|_| ())
}

/// The next chunk; returns how many rows exist now.
pub(super) fn chunk_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set_id: SetId,
    frozen: &Frozen,
) -> Result<u64, DbError> {
    let Some(set) = sets::load(tx, set_id)? else {
        return Ok(0);
    };
    let from = usize::try_from(set.materialised).unwrap_or(usize::MAX);
    let hosts = frozen.host_ids.get(from..).unwrap_or_default();
    let hosts = hosts.get(..CHUNK).unwrap_or(hosts);
    if hosts.is_empty() {
        return Ok(set.materialised);
    }
    let now_us = commands.now_us();
    let gone: BTreeSet<HostId> = crate::hosts::actions::missing_in(tx, hosts)?
        .into_iter()
        .collect();
    let mut delta = CounterDelta::default();
    let mut rows = Vec::with_capacity(hosts.len());
    for (ordinal, host_id) in (set.materialised..).zip(hosts) {
        let (status, reason) = birth(
            &set,
            frozen.skips.get(&ordinal),
            gone.contains(host_id),
            now_us,
        );
        let counted = counted_as(&set, frozen.skips.contains_key(&ordinal));
        delta.shift(counted, status, reason);
        let id = CommandId(commands.new_id());
        rows.push(NewRow {
            id,
            ordinal,
            host_id: *host_id,
            status,
            reason,
        });
    }
    let materialised = set.materialised + rows.len() as u64;
    store::insert(tx, set_id, &rows, now_us)?;
    sets::advance_materialised(tx, set_id, set.materialised, materialised)?;
    sets::apply(tx, &BTreeMap::from([(set_id, delta)]), now_us)?;
    let mut effects = Effects::default();
    effects.changed.insert(set_id);
    effects.after_commit(tx, commands.outlets());
    Ok(materialised)
}

/// How the set's counters have counted a row so far.
fn counted_as(set: &SetRow, skipped: bool) -> CommandStatus {
    if skipped {
        CommandStatus::Skipped
    } else if set.born_held {
        CommandStatus::Held
    } else {
        CommandStatus::Queued
    }
}

fn birth(
    set: &SetRow,
    skip: Option<&String>,
    gone: bool,
    now_us: i64,
) -> (CommandStatus, Option<&'static str>) {
    if let Some(reason) = skip {
        let reason = super::decide::known_reason(reason).unwrap_or("not_approved");
        return (CommandStatus::Skipped, Some(reason));
    }
    if gone {
        return (CommandStatus::Skipped, Some("host_deleted"));
    }
    if set.cancel != CancelMode::None {
        return (CommandStatus::Skipped, Some(set.cancel_reason));
    }
    if now_us >= set.view.expires_at_us {
        return (CommandStatus::Skipped, Some("expired"));
    }
    (counted_as(set, false), None)
}
