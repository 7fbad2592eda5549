//! Hands commands to connections: first durably marked as sent, then written to the socket. Whether a set still allows
//! it is decided inside that transaction, so a pause or a cancel that has been acknowledged is never overtaken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleetwright_protocol::frame::command_frame;
use fleetwright_protocol::limits::START_WITHIN_MS;
use fleetwright_protocol::{CommandId, HostId, SetId};

use super::Dispatcher;
use super::walk::slots;
use crate::agents::connections::Room;
use crate::commands::decide::CommandState;
use crate::commands::store;
use crate::commands::store::reads::{self, Waiting};
use crate::commands::store::sets::{self, CancelMode, CounterDelta, SetRow};
use crate::db::{DbError, Tx};

impl Dispatcher {
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
            let free = slots(&set);
            open.insert(set.view.id, (set, free));
        }
        let now_us = self.commands.now_us();
        let mut picks = Vec::new();
        for command in waiting {
            let Some((set, free)) = open.get_mut(&command.set_id) else {
                continue;
            };
            if !may_send(set, now_us) {
                // Expiry and cancellation are worked off by the set's own step.
                self.enqueue(command.set_id);
            } else if *free == 0 {
                if let Some(work) = self.work.get_mut(&command.set_id) {
                    work.rescan = true;
                }
            } else if self
                .commands
                .connections()
                .reserve(command.host_id, command.id)
                == Room::Reserved
            {
                *free -= 1;
                picks.push(command);
            }
        }
        self.send(&picks).await
    }

    /// What waits for these hosts. If that is more than one query gives, some of the hosts are left for later.
    async fn waiting_of_hosts(&mut self, hosts: &[HostId]) -> Result<Vec<Waiting>, DbError> {
        let mut hosts = hosts;
        loop {
            let db = self.commands.db();
            let rows = db
                .read(reads::waiting_of_hosts(db.dialect(), hosts))
                .await?;
            if rows.len() < reads::WAITING_MAX || hosts.len() == 1 {
                return Ok(rows
                    .iter_rows()
                    .map(reads::waiting)
                    .collect::<Result<_, _>>()?);
            }
            let (now, later) = hosts.split_at(hosts.len() / 2);
            self.hosts.extend(later);
            hosts = now;
        }
    }

    /// Marks the picks as sent and writes them to their connections. Their room has been reserved; it is given back
    /// for those the transaction refuses.
    pub(super) async fn send(&mut self, picks: &[Waiting]) -> Result<(), DbError> {
        if picks.is_empty() {
            return Ok(());
        }
        let now_us = self.commands.now_us();
        let list = picks.to_vec();
        let marked = self
            .commands
            .db()
            .write(move |tx| mark_sent_in(tx, &list, now_us))
            .await;
        let sent = match marked {
            Ok(sent) => sent,
            Err(error) => {
                for command in picks {
                    self.commands
                        .connections()
                        .resolve(command.host_id, command.id);
                }
                return Err(error);
            }
        };
        for command in picks {
            match sent.get(&command.id) {
                Some(terms) => self.write(command, *terms, now_us),
                None => {
                    if self
                        .commands
                        .connections()
                        .resolve(command.host_id, command.id)
                    {
                        self.hosts.insert(command.host_id);
                    }
                    // The walk has gone past it, and it may still wait.
                    if let Some(work) = self.work.get_mut(&command.set_id) {
                        work.rescan = true;
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&self, command: &Waiting, terms: Terms, now_us: i64) {
        let Some(work) = self.work.get(&command.set_id) else {
            return;
        };
        let ttl_ms = u64::try_from((terms.expires_at - now_us) / 1_000).unwrap_or(0);
        let frame = command_frame(
            command.id,
            command.attempt,
            &work.operation,
            terms.timeout_seconds,
            START_WITHIN_MS,
            ttl_ms,
        );
        self.commands
            .connections()
            .send_text(command.host_id, frame);
    }
}

/// What the frame says of its set.
#[derive(Clone, Copy)]
struct Terms {
    timeout_seconds: u64,
    expires_at: i64,
}

fn may_send(set: &SetRow, now_us: i64) -> bool {
    !set.view.paused && set.cancel == CancelMode::None && now_us < set.view.expires_at_us
}

/// Marks as many of the picks as their sets allow at this very moment, in order.
fn mark_sent_in(
    tx: &mut Tx<'_>,
    picks: &[Waiting],
    now_us: i64,
) -> Result<HashMap<CommandId, Terms>, DbError> {
    let mut by_set: BTreeMap<SetId, Vec<&Waiting>> = BTreeMap::new();
    for pick in picks {
        by_set.entry(pick.set_id).or_default().push(pick);
    }
    let mut sent = HashMap::new();
    let mut deltas = BTreeMap::new();
    for (set_id, picks) in by_set {
        let Some(set) = sets::load(tx, set_id)? else {
            continue;
        };
        if !may_send(&set, now_us) {
            continue;
        }
        let allowed = if set.view.max_running == 0 {
            u64::MAX
        } else {
            slots(&set)
        };
        let ids: Vec<CommandId> = picks
            .into_iter()
            .take(usize::try_from(allowed).unwrap_or(usize::MAX))
            .map(|pick| pick.id)
            .collect();
        let marked = store::mark_sent(tx, &ids, now_us, CommandState::lease_due(now_us))?;
        let in_flight = i64::try_from(marked.len()).unwrap_or(i64::MAX);
        deltas.insert(
            set_id,
            CounterDelta {
                in_flight,
                ..CounterDelta::default()
            },
        );
        let terms = Terms {
            timeout_seconds: set.timeout_seconds,
            expires_at: set.view.expires_at_us,
        };
        sent.extend(marked.into_iter().map(|id| (id, terms)));
    }
    sets::apply(tx, &deltas, now_us)?;
    Ok(sent)
}
