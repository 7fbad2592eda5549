//! Hands commands to connections: first durably marked as sent, then written to the socket. Whether a set still allows
//! it is decided inside that transaction, so a pause or a cancel that has been acknowledged is never overtaken.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fleetwright_plugin_api::wire::{SetAction, SetControl};
use fleetwright_protocol::frame::{command_frame, with_secrets};
use fleetwright_protocol::limits::START_WITHIN_MS;
use fleetwright_protocol::{CommandId, HostId, SetId};

use super::Dispatcher;
use crate::clock::Now;
use crate::commands::control::control_in;
use crate::commands::create::SetError;
use crate::commands::decide::CommandState;
use crate::commands::store::batches;
use crate::commands::store::reads::{self, Waiting};
use crate::commands::store::sets::{self, CounterDelta, SetRow};
use crate::db::{DbError, Tx};
use crate::links::{Connection, Room};
use crate::secrets::resolve::Unresolved;

/// Operations held while one batch is sent: some forty of the largest, thousands of ordinary ones.
const OPERATIONS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a set waits whose secrets this server's key does not open, before they are tried again.
const SEALED_FOR_US: i64 = 60 * 1_000_000;

/// What every host of a set is sent. The secrets are in memory as long as it is being sent, and stand nowhere.
pub(super) struct Payload {
    pub operation: String,
    /// As in the frame; none if it names none.
    pub secrets: Option<String>,
}

pub(super) type Payloads = HashMap<SetId, Payload>;

/// A command with the connection that has room for it, the only one it may be sent through.
#[derive(Clone)]
pub(super) struct Pick {
    pub command: Waiting,
    pub connection: Arc<Connection>,
}

impl Dispatcher {
    /// Takes room for a command on its host, if there is any now, the host has not asked for a pause, and the secrets of its
    /// set are not known to be unreadable.
    pub(super) fn pick(&self, command: Waiting) -> Option<Pick> {
        if self.resting.includes(command.host_id) || self.sealed.includes(command.set_id) {
            return None;
        }
        let connections = self.commands.connections();
        match connections.reserve(command.host_id, command.id, command.attempt) {
            Room::Reserved(connection) => Some(Pick {
                command,
                connection,
            }),
            Room::Busy | Room::Offline => None,
        }
    }

    /// Sends what waits for these hosts, oldest first.
    pub(super) async fn serve_hosts(&mut self, hosts: &[HostId]) -> Result<(), DbError> {
        let waiting = self.waiting_of_hosts(hosts).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let ids: Vec<SetId> = waiting
            .iter()
            .map(|command| command.set_id)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let db = self.commands.db();
        let rows = db.read(sets::select(db.dialect(), &ids)).await?;
        let mut open: HashMap<SetId, (SetRow, u64)> = HashMap::new();
        for row in &rows {
            let set = sets::set_row(row)?;
            self.prepare(&set).await?;
            let free = set.free_slots();
            open.insert(set.view.id, (set, free));
        }
        let lease_us = self.commands.now().lease_us;
        let mut picks = Vec::new();
        for command in waiting {
            let Some((set, free)) = open.get_mut(&command.set_id) else {
                continue;
            };
            if !set.may_send(lease_us) || command.ordinal < set.view.given_up_below {
                // Expiry, cancellation and giving up are worked off by the set's own step.
                self.enqueue(command.set_id);
            } else if *free == 0 {
                if let Some(work) = self.work.get_mut(&command.set_id) {
                    work.rescan = true;
                }
            } else if let Some(pick) = self.pick(command) {
                *free -= 1;
                picks.push(pick);
            }
        }
        self.send(picks).await
    }

    /// What waits for these hosts. If that is more than one query gives, some of the hosts are left for later.
    async fn waiting_of_hosts(&mut self, hosts: &[HostId]) -> Result<Vec<Waiting>, DbError> {
        let mut hosts = hosts;
        loop {
            let db = self.commands.db();
            let rows = db
                .read_many(
                    reads::waiting_of_hosts(db.dialect(), hosts),
                    &reads::WAITING,
                )
                .await?;
            if rows.len() < reads::WAITING_MAX || hosts.len() == 1 {
                return Ok(rows.iter().map(reads::waiting).collect::<Result<_, _>>()?);
            }
            let (now, later) = hosts.split_at(hosts.len() / 2);
            self.hosts.extend(later);
            hosts = now;
        }
    }

    /// Marks the picks as sent and writes them to their connections. Their room has been reserved; it is given back
    /// for those that are not sent after all.
    pub(super) async fn send(&mut self, picks: Vec<Pick>) -> Result<(), DbError> {
        if picks.is_empty() {
            return Ok(());
        }
        let now = self.commands.now();
        let mut operations = HashMap::new();
        let marked = self.mark_sent(&picks, &mut operations, now).await;
        let (sent, failed) = match marked {
            Ok(sent) => (sent, None),
            Err(error) => (HashMap::new(), Some(error)),
        };
        self.hand_out(picks, &operations, &sent, now.lease_us);
        failed.map_or(Ok(()), Err)
    }

    /// Writes those that are durably marked as sent to their connections, and gives the others' room back.
    pub(super) fn hand_out(
        &mut self,
        picks: Vec<Pick>,
        operations: &Payloads,
        sent: &HashMap<CommandId, TimeLimits>,
        lease_us: i64,
    ) {
        for pick in picks {
            let Waiting {
                id,
                set_id,
                host_id,
                ..
            } = pick.command;
            let operation = operations.get(&set_id);
            if let (Some(operation), Some(limits)) = (operation, sent.get(&id)) {
                self.write(&pick, operation, *limits, lease_us);
                continue;
            }
            if pick.connection.resolve(id) || operation.is_none() {
                self.hosts.insert(host_id);
            }
            // The walk has gone past it, and it may still wait.
            if let Some(work) = self.work.get_mut(&set_id) {
                work.rescan = true;
            }
        }
    }

    /// Only of sets whose operation is at hand, so that nothing is marked that cannot be written.
    async fn mark_sent(
        &mut self,
        picks: &[Pick],
        operations: &mut Payloads,
        now: Now,
    ) -> Result<HashMap<CommandId, TimeLimits>, DbError> {
        self.load_operations(picks, operations).await?;
        let list: Vec<Pick> = picks
            .iter()
            .filter(|pick| operations.contains_key(&pick.command.set_id))
            .cloned()
            .collect();
        let db = self.commands.db();
        db.write(move |tx| mark_sent_in(tx, &list, now)).await
    }

    /// The encoded operations of the picks' sets with their secrets, as many as fit; the rest of the picks is for the next
    /// time. A set whose secrets are not to be had any more is cancelled. One whose secrets are there and cannot be read waits:
    /// somebody may put the key's file back, or set them again.
    pub(super) async fn load_operations(
        &mut self,
        picks: &[Pick],
        operations: &mut Payloads,
    ) -> Result<(), DbError> {
        let mut bytes = 0;
        for pick in picks {
            let id = pick.command.set_id;
            if operations.contains_key(&id) || self.sealed.includes(id) {
                continue;
            }
            if bytes >= OPERATIONS_BYTES_MAX {
                return Ok(());
            }
            let rows = self.commands.db().read(sets::select_operation(id)).await?;
            let row = rows
                .first()
                .ok_or_else(|| DbError::Statement(format!("set {id} has no contents")))?;
            let operation = row.text("operation")?.to_owned();
            let secrets = match self.commands.secrets().resolve(&operation).await {
                Ok(secrets) if secrets.is_empty() => None,
                Ok(secrets) => serde_json::to_string(&secrets).ok(),
                Err(Unresolved::Db(error)) => return Err(error),
                Err(why @ Unresolved::Unreadable { .. }) => {
                    tracing::error!(set = %id, %why, "a command waits: restore the key's file, or set the secret again");
                    let now = self.commands.clock().monotonic_us();
                    self.sealed.begin(id, now.saturating_add(SEALED_FOR_US));
                    continue;
                }
                Err(why @ (Unresolved::Gone(_) | Unresolved::TooLarge(_))) => {
                    self.refuse_secrets(id, &why).await?;
                    continue;
                }
            };
            bytes += operation.len() + secrets.as_ref().map_or(0, String::len);
            operations.insert(id, Payload { operation, secrets });
        }
        Ok(())
    }

    /// Nothing more of the set is sent; its hosts that wait are skipped, and say why.
    async fn refuse_secrets(&self, id: SetId, why: &Unresolved) -> Result<(), DbError> {
        tracing::warn!(set = %id, %why, "a command is not sent: its secrets are not to be had");
        let commands = self.commands.clone();
        let refused = self.commands.db().write(move |tx| {
            let cancel = SetControl {
                set_id: id,
                action: SetAction::Cancel {
                    kill: false,
                    hosts: None,
                    reason: "secret_unavailable".to_owned(),
                },
                expect_generation: None,
            };
            control_in(tx, &commands, &cancel).map(|_| ())
        });
        match refused.await {
            Err(SetError::Db(error)) => Err(error),
            // What is over needs no end.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn write(&self, pick: &Pick, payload: &Payload, limits: TimeLimits, lease_us: i64) {
        let ttl_ms = u64::try_from((limits.expires_at - lease_us) / 1_000).unwrap_or(0);
        let frame = command_frame(
            pick.command.id,
            pick.command.attempt,
            &payload.operation,
            limits.timeout_seconds,
            START_WITHIN_MS,
            ttl_ms,
        );
        pick.connection.send_text(match &payload.secrets {
            Some(secrets) => with_secrets(frame, secrets),
            None => frame,
        });
    }
}

/// What the frame says of its set.
#[derive(Clone, Copy)]
pub(super) struct TimeLimits {
    timeout_seconds: u64,
    expires_at: i64,
}

impl TimeLimits {
    pub(super) fn of(set: &SetRow) -> Self {
        Self {
            timeout_seconds: set.timeout_seconds,
            expires_at: set.view.expires_at_us,
        }
    }
}

/// Marks as many of the picks as their sets allow at this very moment, in order. One whose connection is over is left
/// waiting: the host's next `hello` may be settled already, and nothing after it would notice that it never arrived.
/// A connection that is replaced only after this look settles what is marked here, because its `hello` comes later.
pub(super) fn mark_sent_in(
    tx: &mut Tx<'_>,
    picks: &[Pick],
    now: Now,
) -> Result<HashMap<CommandId, TimeLimits>, DbError> {
    let mut by_set: BTreeMap<SetId, Vec<&Waiting>> = BTreeMap::new();
    for pick in picks {
        if !pick.connection.is_over() {
            let of_set = by_set.entry(pick.command.set_id).or_default();
            of_set.push(&pick.command);
        }
    }
    let mut sent = HashMap::new();
    let mut deltas = BTreeMap::new();
    for (set_id, picks) in by_set {
        let Some(set) = sets::load(tx, set_id)? else {
            continue;
        };
        if !set.may_send(now.lease_us) {
            continue;
        }
        let ids: Vec<CommandId> = picks
            .into_iter()
            .filter(|pick| pick.ordinal >= set.view.given_up_below)
            .take(usize::try_from(set.free_slots()).unwrap_or(usize::MAX))
            .map(|pick| pick.id)
            .collect();
        let due_at = CommandState::lease_due(now.lease_us);
        let marked = batches::mark_sent(tx, &ids, now.wall_us, due_at)?;
        let in_flight = i64::try_from(marked.len()).unwrap_or(i64::MAX);
        deltas.insert(
            set_id,
            CounterDelta {
                in_flight,
                ..CounterDelta::default()
            },
        );
        let limits = TimeLimits::of(&set);
        sent.extend(marked.into_iter().map(|id| (id, limits)));
    }
    sets::apply(tx, &deltas, now.wall_us)?;
    Ok(sent)
}
