//! Turns a set's frozen hosts into rows, a chunk at a time: resumable after a crash, and never long in the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{CommandId, HostId, SetId};

use super::decide::CommandState;
use super::effects::Effects;
use super::service::Commands;
use super::store::sets::{self, CancelMode, CounterDelta, NewSet, SetRow};
use super::store::{NewRow, batches};
use crate::db::{DbError, Tx};
use crate::links::Connection;

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

    /// The hosts that are to have the next rows, with their places in the order, once there are `materialised`.
    pub fn chunk(&self, materialised: u64) -> impl Iterator<Item = (u64, HostId)> + '_ {
        let from = usize::try_from(materialised).unwrap_or(usize::MAX);
        let hosts = self.host_ids.get(from..).unwrap_or_default();
        (materialised..).zip(hosts.iter().copied().take(CHUNK))
    }
}

/// A connection that has room for a command to come, and the id it is to have.
pub(super) struct Offer {
    pub id: CommandId,
    pub connection: Arc<Connection>,
}

/// What has become of a chunk.
#[derive(Default)]
pub(super) struct Chunk {
    /// How many rows of the set exist now.
    pub materialised: u64,
    /// Born sent: to be handed to their connections once this is on disk.
    pub sent: BTreeSet<CommandId>,
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
    chunk_in(tx, commands, set.id, &frozen, &BTreeMap::new()).map(|_| ())
}

/// The next chunk. An offer, by its place in the set's order, is taken if the set allows it at this very moment and the
/// connection is not over; the next `hello` of a host whose connection ends later settles what is marked here.
pub(super) fn chunk_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    set_id: SetId,
    frozen: &Frozen,
    offers: &BTreeMap<u64, Offer>,
) -> Result<Chunk, DbError> {
    let mut sent = BTreeSet::new();
    let Some(set) = sets::load(tx, set_id)? else {
        return Ok(Chunk::default());
    };
    let hosts: Vec<HostId> = frozen
        .chunk(set.materialised)
        .map(|(_, host_id)| host_id)
        .collect();
    if hosts.is_empty() {
        return Ok(Chunk {
            materialised: set.materialised,
            sent,
        });
    }
    let now = commands.now();
    let gone: BTreeSet<HostId> = crate::hosts::actions::missing_in(tx, &hosts)?
        .into_iter()
        .collect();
    let mut delta = CounterDelta::default();
    let mut rows = Vec::with_capacity(hosts.len());
    for (ordinal, host_id) in frozen.chunk(set.materialised) {
        let (status, reason) = birth(
            &set,
            frozen.skips.get(&ordinal),
            gone.contains(&host_id),
            now.lease_us,
        );
        let counted = counted_as(&set, frozen.skips.contains_key(&ordinal));
        delta.shift(counted, status, reason);
        let waits = status == CommandStatus::Queued && ordinal >= set.view.given_up_below;
        let offer = offers.get(&ordinal).filter(|offer| {
            waits
                && set.may_send(now.lease_us)
                && (sent.len() as u64) < set.free_slots()
                && !offer.connection.is_over()
        });
        let id = match offer {
            Some(offer) => offer.id,
            None => CommandId(commands.new_id()),
        };
        if offer.is_some() {
            sent.insert(id);
        }
        rows.push(NewRow {
            id,
            ordinal,
            host_id,
            status,
            reason,
            sent: offer.is_some(),
        });
    }
    delta.in_flight = i64::try_from(sent.len()).unwrap_or(i64::MAX);
    let materialised = set.materialised + rows.len() as u64;
    let due_at = CommandState::lease_due(now.lease_us);
    batches::insert(tx, set_id, &rows, now.wall_us, due_at)?;
    sets::advance_materialised(tx, set_id, set.materialised, materialised)?;
    sets::apply(tx, &BTreeMap::from([(set_id, delta)]), now.wall_us)?;
    let mut effects = Effects::default();
    effects.changed.insert(set_id);
    effects.after_commit(tx, commands.outlets());
    Ok(Chunk { materialised, sent })
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
    lease_us: i64,
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
    if lease_us >= set.view.expires_at_us {
        return (CommandStatus::Skipped, Some("expired"));
    }
    (counted_as(set, false), None)
}
